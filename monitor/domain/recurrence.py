"""
Daily and weekly time windows in local time.

With daylight saving time a local time may occur twice or not at all. A window starts at the first and ends at the second
occurrence of such a time; a time that does not occur stands for the moment of the jump over it. So a window is never split and
never shorter than its local times say.
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
# A weekly window may have no length in the week of a clock change: then the one a week later counts.
_DAYS_AHEAD = 17


@dataclass(frozen=True, slots=True)
class Schedule:
    """
    A time window on some days of every week, in one time zone.

    Attributes:
        days: days on which it starts; 0 is Monday.
        start: time since midnight.
        end: time since midnight; on the following day if not later than *start*.
    """

    days: frozenset[int]
    start: timedelta
    end: timedelta
    zone: tzinfo

    @property
    def lasts_all_week(self) -> bool:
        """Whether each window begins when the one before it ends."""
        return len(self.days) == len(EVERY_DAY) and self.end - self.start == _DAY

    def ends_at(self, now: datetime) -> datetime | None:
        """Return when the window that is active at *now* ends; None when none is active."""
        ends = [end for start, end in self._around(now, days=2) if start <= now < end]
        return max(ends, default=None)

    def starts_at(self, now: datetime) -> datetime:
        """Return when the next window starts, later than *now*."""
        return min(start for start, _ in self._around(now, days=_DAYS_AHEAD) if start > now)

    def between(self, since: datetime, until: datetime) -> Iterator[Span]:
        """Return the windows that overlap the time from *since* until *until*."""
        days = (until - since) // _DAY + 3
        return (Span(start, end) for start, end in self._around(since, days=days) if start < until and end > since)

    def _around(self, now: datetime, *, days: int) -> Iterator[tuple[datetime, datetime]]:
        """Return start and end of the windows that start from two days before *now* until *days* after it."""
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
    Return the moment of a local time: of two occurrences the *last* or the first; the jump over it if it does not occur.

    Source: PEP 495: in a gap, `fold` chooses the offset of the other side, so that the two results lie around the jump.
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
