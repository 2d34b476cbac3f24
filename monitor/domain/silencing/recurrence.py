"""
Times that come back every day or every week, by the clock on a wall.

Clocks are set back and forth, so a time of day may not exist on one day and come twice on another. The rule: what
begins at a time that comes twice begins at the first, and what ends at one ends at the second; a time that is left
out is the moment at which the clock jumps over it. So a window is never cut in two, and never shorter than on a wall.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from monitor.domain.time_spans import Span

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""The days of the week, as the configuration spells them, Monday first."""

EVERY_DAY = frozenset(range(7))

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
# One a week may fall into an hour that is left out.
_SURELY_ONE = 17


@dataclass(frozen=True, slots=True)
class Schedule:
    """
    A window of time on some days of every week, in one time zone.

    Attributes:
        days: on which it begins; 0 is Monday.
        start: when it begins, since midnight.
        end: when it ends, since midnight; not later than *start* means on the following day.
        zone: whose clocks are meant.
    """

    days: frozenset[int]
    start: timedelta
    end: timedelta
    zone: tzinfo

    def ends_at(self, now: datetime) -> datetime | None:
        """When the window ends that holds at *now*; None when none does."""
        ends = [end for start, end in self._around(now, days=2) if start <= now < end]
        return max(ends, default=None)

    def starts_at(self, now: datetime) -> datetime:
        """When the next window begins, later than *now*."""
        return min(start for start, _ in self._around(now, days=_SURELY_ONE) if start > now)

    def between(self, since: datetime, until: datetime) -> Iterator[Span]:
        """The windows that hold at some time from *since* until *until*."""
        days = (until - since) // _DAY + 3
        return (Span(start, end) for start, end in self._around(since, days=days) if start < until and end > since)

    def _around(self, now: datetime, *, days: int) -> Iterator[tuple[datetime, datetime]]:
        """The windows that begin from two days before *now* until *days* after it, each by its beginning and its end."""
        today = now.astimezone(self.zone).date()
        # Yesterday's may last until today; clocks set back at midnight may read yesterday's date once more.
        for offset in range(-2, days):
            day = today + offset * _DAY
            if day.weekday() in self.days:
                start, end = self._on(day)
                if start < end:
                    yield start, end

    def _on(self, day: date) -> tuple[datetime, datetime]:
        last = day if self.end > self.start else day + _DAY
        return instant(day, self.start, self.zone, last=False), instant(last, self.end, self.zone, last=True)


def instant(day: date, since_midnight: timedelta, zone: tzinfo, *, last: bool) -> datetime:
    """
    The moment at which the clocks of *zone* show this time of *day*: of two the *last* or the first, of none the jump over it.

    Source: PEP 495: in a gap, `fold` chooses the offset of the other side, so that the two readings lie around the jump.
    """
    wall = datetime.combine(day, time()) + since_midnight
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if _wall(first, zone) == wall:
        return second if last and _wall(second, zone) == wall else first
    before, after = min(first, second), max(first, second)
    while after - before > _SECOND:
        middle = before + (after - before) / 2
        before, after = (before, middle) if _wall(middle, zone) >= wall else (middle, after)
    return after.replace(microsecond=0)


def _wall(moment: datetime, zone: tzinfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)
