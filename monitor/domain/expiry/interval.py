"""
The time interval in which a token's end lies.

The API prints the time left in whole steps of a unit. Each print bounds the end: the width follows from the step, the position
from the moment of printing. The server subtracts its own clock from an absolute instant, so the server's `Date` plus the printed
time gives that instant even when the server's clock is wrong.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from monitor.domain.copies import quick_init
from monitor.domain.expiry.model import Rounding, TokenBelief
from monitor.domain.replies.token_life import TokenLife, TokenSays

if TYPE_CHECKING:
    from monitor.domain.replies.listings import ListedConnection

# When the clocks are further apart, the time left is counted from our own clock, so that a wrong clock of ours does not show
# valid tokens as expired. Equal to the grace after which an end counts as passed, so that a smaller error does not do so either.
SKEW_LIMIT = timedelta(hours=2)

# `Date` has whole seconds.
DATE_STEP = timedelta(seconds=1)

# Rows whose date and text are this close to the boundary between the roundings are not used as evidence.
LEARNING_MARGIN = timedelta(minutes=2)

# Number of connections that must show one rounding, and none the other, before it is used.
LEARNING_ROWS = 3

# An interval this narrow needs no further check.
NARROW = timedelta(seconds=30)


@quick_init
@dataclass(frozen=True, slots=True)
class Interval:
    """The half-open interval [earliest_at, latest_at); one instant when both are equal."""

    earliest_at: datetime
    latest_at: datetime

    @property
    def width(self) -> timedelta:
        """Length of the interval."""
        return self.latest_at - self.earliest_at

    @property
    def middle(self) -> datetime:
        """Middle of the interval."""
        return self.earliest_at + self.width / 2

    def intersect(self, other: "Interval") -> "Interval | None":
        """Return the common part, or None."""
        earliest_at = max(self.earliest_at, other.earliest_at)
        latest_at = min(self.latest_at, other.latest_at)
        return Interval(earliest_at, latest_at) if earliest_at < latest_at else None


def with_skew(at: datetime, server_at: datetime | None) -> bool:
    """Whether the server's clock differs from ours by more than `SKEW_LIMIT`."""
    return server_at is not None and abs(server_at - at) > SKEW_LIMIT


def printed_by(sent_at: datetime, at: datetime, server_at: datetime | None) -> Interval:
    """Return when the answer was printed: by its `Date`, else between sending and receiving by our clock."""
    if server_at is None:
        return Interval(min(sent_at, at), max(sent_at, at))
    took = max(at - sent_at, timedelta(0))
    return Interval(server_at - took, server_at + DATE_STEP)


def end_of(life: TokenLife, printed: Interval, rounding: Rounding) -> Interval:
    """
    Return the interval of the end, by one print of the time left.

    Args:
        life: a value that says `TokenSays.LEFT`.
        rounding: the server's; while unknown, the result covers every rounding.

    Raises:
        ValueError: the value has no time left.
    """
    if life.left is None or life.unit is None:
        raise ValueError("no time left was printed")
    if life.below:
        return Interval(printed.earliest_at, printed.latest_at + life.left)
    before = timedelta(0) if rounding is Rounding.FLOOR else life.unit / 2
    after = life.unit / 2 if rounding is Rounding.ROUND else life.unit
    return Interval(printed.earliest_at + life.left - before, printed.latest_at + life.left + after)


def next_informative_check(belief: TokenBelief, after: datetime) -> datetime | None:
    """Return the first instant from *after* on at which a check would halve the interval of the end; None when none would."""
    if belief.earliest_at is None or belief.latest_at is None or belief.unit is None:
        return None
    half = belief.unit / 2
    # The print changes whole units before `edge`: the end itself when cut off, half a unit later when rounded.
    edge = Interval(
        belief.earliest_at if belief.rounding is Rounding.FLOOR else belief.earliest_at + half,
        belief.latest_at + half if belief.rounding is Rounding.ROUND else belief.latest_at,
    )
    middle = edge.middle - belief.server_ahead
    if edge.width <= NARROW or middle < after:
        return None
    return after + (middle - after) % belief.unit


@dataclass(frozen=True, slots=True)
class RoundingEvidence:
    """
    Evidence of the server's rounding in the lists so far.

    Attributes:
        floor: platform ids of rows that are only possible with cutting off.
        rounded: platform ids of rows that are only possible with rounding to the nearest.
    """

    floor: tuple[str, ...] = ()
    rounded: tuple[str, ...] = ()

    @property
    def mode(self) -> Rounding:
        """The rounding, once enough rows show it and none shows another."""
        if len(self.floor) >= LEARNING_ROWS and not self.rounded:
            return Rounding.FLOOR
        if len(self.rounded) >= LEARNING_ROWS and not self.floor:
            return Rounding.ROUND
        return Rounding.UNKNOWN


def learn_rounding(
    evidence: RoundingEvidence, row: "ListedConnection", *, at: datetime, server_at: datetime | None = None
) -> RoundingEvidence:
    """
    Return *evidence* with one more row of the list.

    Only a row with both a date and a text is evidence, and only where the two roundings differ. Rows whose date and text
    contradict each other are ignored.

    Source: api-contract.md C17.
    """
    life, ends_at = row.token, row.token_expires_at
    if ends_at is None or life.says is not TokenSays.LEFT or life.below or life.left is None or life.unit is None:
        return evidence
    now = at if server_at is None or with_skew(at, server_at) else server_at
    rest = ends_at - now - life.left
    half = life.unit / 2
    if half + LEARNING_MARGIN <= rest <= life.unit - LEARNING_MARGIN:
        return RoundingEvidence(_with(evidence.floor, row.platform_id), evidence.rounded)
    if -half + LEARNING_MARGIN <= rest <= -LEARNING_MARGIN:
        return RoundingEvidence(evidence.floor, _with(evidence.rounded, row.platform_id))
    return evidence


def _with(ids: tuple[str, ...], platform_id: str) -> tuple[str, ...]:
    """Return *ids* with *platform_id*, once each, at most `LEARNING_ROWS`."""
    return ids if platform_id in ids or len(ids) >= LEARNING_ROWS else (*ids, platform_id)
