"""
The API's list of connections, and its difference from the lists before.

Source: api-contract 4.3, "Discovery safety".
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from monitor.domain.policy import DiscoveryPolicy
from monitor.domain.replies.checks import LastError
from monitor.domain.replies.token_life import TokenLife

_LISTS_TO_VANISH = 2
_LISTS_TO_VANISH_WHEN_SHORT = 3

# Fewer ids than this may always be removed at once without being unusual.
_UNUSUAL_COUNT = 3


@dataclass(frozen=True, slots=True)
class Inventory:
    """
    The ids that are taken to exist, after all lists so far.

    Attributes:
        missing: id to the number of successful lists in a row without it.
        short_since: since when the lists lack more than half of the ids, in monotonic seconds; None when they do not.
        counted_at: when missing ids were last counted, in monotonic seconds.
    """

    platform_ids: frozenset[str] = frozenset()
    missing: Mapping[str, int] = field(default_factory=dict)
    short_since: float | None = None
    counted_at: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    The difference that one more list made.

    Attributes:
        appeared, vanished: ids that are new, and ids that are taken to exist no longer.
        short: the list is the first in a row that lacks more than half of the ids; to be notified.
        known: how many ids were taken to exist before.
    """

    inventory: Inventory
    appeared: frozenset[str]
    vanished: frozenset[str]
    short: bool
    known: int

    def is_unusual(self, policy: DiscoveryPolicy) -> bool:
        """Whether so many ids vanished at once that a person should know."""
        return len(self.vanished) >= max(_UNUSUAL_COUNT, policy.unusual * self.known)


def diff_listing(inventory: Inventory, listed: Collection[str], *, at: float, min_gap: float, short_over: float = 0.0) -> Comparison:
    """
    Return the difference between *inventory* and a successful list of *listed* ids, read *at* that many monotonic seconds.

    An id has vanished when two lists in a row lack it; three over *short_over* seconds when they lack more than half of all ids. Lists
    count if they are at least *min_gap* seconds apart: a list that is read again at once repeats the same fault.
    """
    present = frozenset(listed)
    absent = inventory.platform_ids - present
    short = len(absent) * 2 > len(inventory.platform_ids)
    counts = at - inventory.counted_at >= min_gap
    short_since = (at if inventory.short_since is None else inventory.short_since) if short else None
    needed = _LISTS_TO_VANISH_WHEN_SHORT if short else _LISTS_TO_VANISH
    believed = short_since is None or at - short_since >= short_over
    missing = {platform_id: inventory.missing.get(platform_id, 0) + int(counts) for platform_id in absent}
    vanished = frozenset(platform_id for platform_id, count in missing.items() if believed and count >= needed)
    appeared = present - inventory.platform_ids
    after = Inventory(
        platform_ids=(inventory.platform_ids | present) - vanished,
        missing={platform_id: count for platform_id, count in missing.items() if platform_id not in vanished},
        short_since=short_since,
        counted_at=at if counts else inventory.counted_at,
    )
    return Comparison(after, appeared, vanished, short=short and inventory.short_since is None, known=len(inventory.platform_ids))


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


def is_same_listing(one: Listing, other: Listing) -> bool:
    """
    Whether two listings are of the same user: the API answers with the owner's connections when a key's owner is named as managed user.

    Both have the same rows, and not only by chance: at least one of them has a date that two users would not share.
    """
    ours, theirs = (sorted(map(_lasting, listing.rows), key=str) for listing in (one, other))
    dated = any(row.token_expires_at is not None or row.last_successful_post_at is not None for row in one.rows)
    return dated and ours == theirs


def _lasting(row: ListedConnection) -> tuple[object, ...]:
    """The parts of a row that are the same when it is read again at once."""
    return (
        row.platform_id,
        row.username,
        row.display_name,
        row.token_expires_at,
        row.token_status,
        row.last_successful_post_at,
        row.last_error,
    )


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
        inactive: ids of the users that the API reports as inactive.
        skipped: the number of invalid rows.
    """

    users: tuple[ManagedUser, ...]
    inactive: tuple[str, ...] = ()
    skipped: int = 0
