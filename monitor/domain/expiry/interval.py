"""
Where a token's end lies, as half-open windows of time.

The API prints how much life is left in whole steps of a unit. Each print bounds the end: the step says by how
much, the moment of printing says from where. The end is an absolute instant that the server subtracts its own
clock from, so the server's `Date` plus the printed life gives that instant however wrong the server's clock is.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.domain.expiry.model import Rounding, TokenBelief
from monitor.domain.listings import ListedConnection
from monitor.domain.token_life import TokenLife, TokenSays

# Clocks further apart than this cannot both be used: the life left is then counted from our own clock, so that a
# wrong clock of ours never shows living tokens as expired. Equal to the grace after which an end counts as passed,
# hence no smaller error can do so either.
SKEW_LIMIT = timedelta(hours=2)

# `Date` has whole seconds.
DATE_STEP = timedelta(seconds=1)

# Rows whose date and text are this close to where the roundings part are not used to tell them apart.
LEARNING_MARGIN = timedelta(minutes=2)

# Connections that must tell of the same rounding, and none of the other, before it is believed.
LEARNING_ROWS = 3

# A window this narrow needs no further narrowing.
NARROW = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Interval:
    """The half-open span [earliest_at, latest_at); one instant when both are equal."""

    earliest_at: datetime
    latest_at: datetime

    @property
    def width(self) -> timedelta:
        """How long the span is."""
        return self.latest_at - self.earliest_at

    @property
    def middle(self) -> datetime:
        """The instant half-way."""
        return self.earliest_at + self.width / 2

    def meet(self, other: "Interval") -> "Interval | None":
        """The part both have in common, or None."""
        earliest_at = max(self.earliest_at, other.earliest_at)
        latest_at = min(self.latest_at, other.latest_at)
        return Interval(earliest_at, latest_at) if earliest_at < latest_at else None


def with_skew(at: datetime, server_at: datetime | None) -> bool:
    """Whether the server's clock is too far from ours for both to be right."""
    return server_at is not None and abs(server_at - at) > SKEW_LIMIT


def printed_by(sent_at: datetime, at: datetime, server_at: datetime | None) -> Interval:
    """
    When the answer was printed.

    With a `Date`, on the server's clock: the header is written after the value was computed, at most as much
    later as the whole request took. Without one, on ours: between sending and receiving.
    """
    if server_at is None:
        return Interval(min(sent_at, at), max(sent_at, at))
    took = max(at - sent_at, timedelta(0))
    return Interval(server_at - took, server_at + DATE_STEP)


def end_of(life: TokenLife, printed: Interval, rounding: Rounding) -> Interval:
    """
    Where the end lies, by one print of the time left.

    Args:
        life: a value that says `TokenSays.LEFT`.
        printed: when it was printed.
        rounding: what is known of the server's rounding; the result holds the truth for all that it may be.

    Raises:
        ValueError: for a value that tells of no time left.
    """
    if life.left is None or life.unit is None:
        raise ValueError("no time left was printed")
    if life.below:
        return Interval(printed.earliest_at, printed.latest_at + life.left)
    before = timedelta(0) if rounding is Rounding.FLOOR else life.unit / 2
    after = life.unit / 2 if rounding is Rounding.ROUND else life.unit
    return Interval(printed.earliest_at + life.left - before, printed.latest_at + life.left + after)


def next_informative_check(belief: TokenBelief, after: datetime) -> datetime | None:
    """
    The first instant from *after* on at which a check would halve what is not known of the end.

    The print steps when the life left crosses a step, by the server's clock. If the end were in the middle of the
    window, it would step at this instant; so whether it has stepped tells in which half the end lies. None when the window is narrow enough, or as
    narrow as it can become while the rounding is not known, or there is no window.
    """
    if belief.earliest_at is None or belief.latest_at is None or belief.unit is None:
        return None
    half = belief.unit / 2
    # The print steps whole units before `edge`: the end itself when cut off, half a unit later when rounded.
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
    What the lists so far tell of the server's rounding; keep one per account.

    Attributes:
        floor: platform ids of rows that only cutting off explains.
        rounded: platform ids of rows that only rounding to the nearest explains.
    """

    floor: tuple[str, ...] = ()
    rounded: tuple[str, ...] = ()

    @property
    def mode(self) -> Rounding:
        """The rounding, once enough rows agree and none says otherwise."""
        if len(self.floor) >= LEARNING_ROWS and not self.rounded:
            return Rounding.FLOOR
        if len(self.rounded) >= LEARNING_ROWS and not self.floor:
            return Rounding.ROUND
        return Rounding.UNKNOWN


def learn_rounding(
    evidence: RoundingEvidence, row: ListedConnection, *, at: datetime, server_at: datetime | None = None
) -> RoundingEvidence:
    """
    *evidence* with one more row of the list.

    Only a row that carries both the date and the text can teach, and only where the two roundings differ. Rows
    whose date and text do not belong together teach nothing.

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
    """The ids and one more, once each, no more than are needed."""
    return ids if platform_id in ids or len(ids) >= LEARNING_ROWS else (*ids, platform_id)
