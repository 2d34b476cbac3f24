"""
The API's list of connections, and its difference from the lists before.

Source: api-contract 4.3, "Discovery safety".
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from monitor.domain.checks import LastError
from monitor.domain.token_life import TokenLife

_LISTS_TO_VANISH = 2
_LISTS_TO_VANISH_WHEN_SHORT = 3


@dataclass(frozen=True, slots=True)
class Inventory:
    """
    The ids that are taken to exist, after all lists so far.

    Attributes:
        platform_ids: the ids.
        missing: id to the number of successful lists in a row without it.
        short: whether the last list lacked more than half of the ids.
        counted_at: when missing ids were last counted, in monotonic seconds.
    """

    platform_ids: frozenset[str] = frozenset()
    missing: Mapping[str, int] = field(default_factory=dict)
    short: bool = False
    counted_at: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    The difference that one more list made.

    Attributes:
        appeared, vanished: ids that are new, and ids that are taken to exist no longer.
        short: the list is the first in a row that lacks more than half of the ids; to be notified.
    """

    inventory: Inventory
    appeared: frozenset[str]
    vanished: frozenset[str]
    short: bool


def diff_listing(inventory: Inventory, listed: Collection[str], *, at: float, min_gap: float) -> Comparison:
    """
    Return the difference between *inventory* and a successful list of *listed* ids, read *at* that many monotonic seconds.

    An id has vanished when two lists in a row lack it; three when they lack more than half of all ids. Lists count if they are at
    least *min_gap* seconds apart: a list that is read again at once repeats the same fault.
    """
    present = frozenset(listed)
    absent = inventory.platform_ids - present
    short = len(absent) * 2 > len(inventory.platform_ids)
    counts = at - inventory.counted_at >= min_gap
    needed = _LISTS_TO_VANISH_WHEN_SHORT if short else _LISTS_TO_VANISH
    missing = {platform_id: inventory.missing.get(platform_id, 0) + int(counts) for platform_id in absent}
    vanished = frozenset(platform_id for platform_id, count in missing.items() if count >= needed)
    appeared = present - inventory.platform_ids
    after = Inventory(
        platform_ids=(inventory.platform_ids | present) - vanished,
        missing={platform_id: count for platform_id, count in missing.items() if platform_id not in vanished},
        short=short,
        counted_at=at if counts else inventory.counted_at,
    )
    return Comparison(after, appeared, vanished, short=short and not inventory.short)


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
    """One answer of the list of connections; *skipped* counts the invalid rows."""

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
        users: the active users.
        inactive: ids of the users that the API reports as inactive.
        skipped: the number of invalid rows.
    """

    users: tuple[ManagedUser, ...]
    inactive: tuple[str, ...] = ()
    skipped: int = 0
