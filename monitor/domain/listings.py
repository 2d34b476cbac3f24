"""
The API's list of connections, and its difference from what is known.

Source: api-contract 4.3, "Discovery safety".
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from monitor.domain.checks import LastError
from monitor.domain.token_life import TokenLife

_LISTS = 2
_LISTS_WHEN_HALF_IS_GONE = 3


@dataclass(frozen=True, slots=True)
class Inventory:
    """
    The ids of one list that are believed to exist.

    Attributes:
        known: platform ids.
        missing: id to how many successful lists in a row lacked it.
        doubted: whether the last list was so short that it was not believed at once; said once per doubt.
        counted_at: when a list was last counted against those it lacks, in monotonic seconds.
    """

    known: frozenset[str] = frozenset()
    missing: Mapping[str, int] = field(default_factory=dict)
    doubted: bool = False
    counted_at: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    What one more list changed.

    Attributes:
        appeared, vanished: ids that are new, and ids that are now believed gone.
        doubt: the list lost more than half, and this is the first time: somebody should know.
    """

    inventory: Inventory
    appeared: frozenset[str]
    vanished: frozenset[str]
    doubt: bool


def diff_listing(inventory: Inventory, listed: Collection[str], *, at: float, apart: float) -> Comparison:
    """
    The inventory after a successful list of *listed* ids, which came *at* that many monotonic seconds.

    An id is gone when two lists in a row lack it; three when more than half of all ids are lacking. Only lists at
    least *apart* seconds after each other count: a list that is read again soon repeats the same fault.
    """
    present = frozenset(listed)
    absent = inventory.known - present
    short = len(absent) * 2 > len(inventory.known)
    counts = at - inventory.counted_at >= apart
    needed = _LISTS_WHEN_HALF_IS_GONE if short else _LISTS
    missing = {one: inventory.missing.get(one, 0) + int(counts) for one in absent}
    vanished = frozenset(one for one, count in missing.items() if count >= needed)
    appeared = present - inventory.known
    after = Inventory(
        known=(inventory.known | present) - vanished,
        missing={one: count for one, count in missing.items() if one not in vanished},
        doubted=short,
        counted_at=at if counts else inventory.counted_at,
    )
    return Comparison(after, appeared, vanished, doubt=short and not inventory.doubted)


@dataclass(frozen=True, slots=True)
class ListedConnection:
    """One row of the API's list of connections; texts cleaned and redacted."""

    platform_id: str
    username: str | None = None
    display_name: str | None = None
    token: TokenLife = TokenLife()
    token_expires_at: datetime | None = None
    token_status: str | None = None
    last_successful_post_at: datetime | None = None
    last_error: LastError | None = None


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
