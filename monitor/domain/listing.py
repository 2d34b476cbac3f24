"""What the API's two lists tell: an account's connections, and the users it manages."""

from dataclasses import dataclass

from monitor.domain.model import ListedConnection


@dataclass(frozen=True, slots=True)
class Listing:
    """One answer of the list of connections; *skipped* counts the rows that could not be used."""

    rows: tuple[ListedConnection, ...]
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class ManagedUser:
    """One user that the account's key may act for; an e-mail address in *display_name* is masked."""

    id: str
    display_name: str | None = None


@dataclass(frozen=True, slots=True)
class UserListing:
    """
    One answer of the list of managed users.

    Attributes:
        users: those that are asked about.
        inactive: ids of those that the API calls inactive.
        skipped: how many rows could not be used.
    """

    users: tuple[ManagedUser, ...]
    inactive: tuple[str, ...] = ()
    skipped: int = 0
