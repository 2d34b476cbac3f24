"""
How much of the time a connection worked, and how much of the time that can be said at all.

A check speaks for the time since the check before it, up to a bound; what lies further back nobody looked at. Time so
covered is `down` from the first of the failed checks that opened an incident of the connection until the first of the
good ones that closed it, else `ok`: a blip that was never confirmed costs nothing. Neither counts what no check could
have told: a connection that can't be tested, a silence, an outage of the API, the account, the managed user or the
whole platform. That is `excluded`, and whatever is left is `unknown`.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from monitor.domain.reasons import Health, Scope
from monitor.domain.time_spans import Span, difference, intersection, union

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
_NONE = timedelta()

WINDOWS: Mapping[str, timedelta] = {"24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "90d": 90 * DAY}
"""The windows that are shown, by their names."""

LONGEST_REACH = DAY
"""No check speaks for more than this."""

EXCUSES = frozenset({Scope.API, Scope.ACCOUNT, Scope.USER, Scope.PLATFORM})
"""The scopes whose incidents excuse the connections below them."""

_GOOD = frozenset({Health.OK, Health.UNSUPPORTED})


@dataclass(frozen=True, slots=True)
class Uptime:
    """
    What is known of a stretch of time; the four together are its length.

    Attributes:
        ok, down: covered by checks, and the connection worked, or did not.
        excluded: silenced, in an outage of something wider, or not testable.
        unknown: not looked at.
    """

    ok: timedelta = _NONE
    down: timedelta = _NONE
    excluded: timedelta = _NONE
    unknown: timedelta = _NONE

    @property
    def ratio(self) -> float | None:
        """The share of the time that counts in which the connection worked; None when no time counts."""
        counted = self.ok + self.down
        return self.ok / counted if counted else None

    def __add__(self, other: "Uptime") -> "Uptime":
        return Uptime(self.ok + other.ok, self.down + other.down, self.excluded + other.excluded, self.unknown + other.unknown)

    def within(self, length: timedelta) -> "Uptime":
        """The same with everything else of a stretch of this *length* as unknown."""
        return Uptime(self.ok, self.down, self.excluded, max(length - self.ok - self.down - self.excluded, _NONE))


NOTHING = Uptime()


@dataclass(frozen=True, slots=True)
class DayUptime:
    """One day (UTC); of the day that is not over, as much as is known."""

    day: date
    uptime: Uptime


class Evidence(NamedTuple):
    """A conclusive check: when it ended, and the health that it told of."""

    at: datetime
    health: Health


@dataclass(frozen=True, slots=True)
class IncidentSpan:
    """An incident of a connection (other than its going stale), or one that excuses what is below it; open without an end."""

    opened_at: datetime
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Life:
    """
    What is known of one connection in a stretch of time.

    Attributes:
        watched: from its first check until now, or until it was retired.
        evidence: its conclusive checks, oldest first: those of the stretch, and those before it as far back as *reach*.
        incidents: of the connection itself.
        excused: silences and wider outages.
        reach: how much time a check speaks for at most.
    """

    watched: Span
    evidence: Sequence[Evidence]
    incidents: Sequence[IncidentSpan]
    excused: Sequence[Span]
    reach: timedelta


def hour_of(at: datetime) -> datetime:
    """The full hour (UTC) at or before *at*."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def day_of(at: datetime) -> datetime:
    """Midnight (UTC) at or before *at*."""
    return hour_of(at).replace(hour=0)


def begin(window: str, now: datetime) -> datetime:
    """When the *window* of `WINDOWS` that ends *now* begins: at a full hour, that of ninety days at a midnight."""
    if WINDOWS[window] > 30 * DAY:
        return day_of(now) - WINDOWS[window] + DAY
    return hour_of(now - WINDOWS[window])


def by_hour(life: Life, since: datetime, until: datetime) -> dict[datetime, Uptime]:
    """
    The hours (each by its beginning) from *since*, a full hour, until *until*, of which anything is known.

    Unknown time is not in them: see `Uptime.within`.
    """
    frame = intersection([Span(since, until)], union([life.watched]))
    tested, untestable = _covered(life)
    excluded = intersection(union([*life.excused, *untestable]), frame)
    counted = difference(intersection(tested, frame), excluded)
    down = intersection(counted, union(_outages(life))) if life.incidents else []
    hours: dict[datetime, Uptime] = {}
    _add(hours, difference(counted, down), lambda length: Uptime(ok=length))
    _add(hours, down, lambda length: Uptime(down=length))
    _add(hours, excluded, lambda length: Uptime(excluded=length))
    return hours


def _covered(life: Life) -> tuple[list[Span], list[Span]]:
    """The time that checks speak for, as sets: of those that could tell, and of those that found the connection untestable."""
    tested: list[Span] = []
    untestable: list[Span] = []
    before: datetime | None = None
    last: list[Span] = tested
    for one in life.evidence:
        start = one.at - life.reach
        spans = untestable if one.health is Health.UNSUPPORTED else tested
        if before is None or start > before:
            spans.append(Span(start, one.at))
        elif spans is last:
            spans[-1] = Span(spans[-1].start, one.at)
        else:
            spans.append(Span(before, one.at))
        before, last = one.at, spans
    return tested, untestable


def _outages(life: Life) -> list[Span]:
    """When the connection was down, by its incidents and the checks that began and ended them."""
    moments = [one.at for one in life.evidence]
    good = [one.health in _GOOD for one in life.evidence]
    outages: list[Span] = []
    for incident in life.incidents:
        start = _first_of_run(moments, good, incident.opened_at, wanted=False)
        end = datetime.max.replace(tzinfo=UTC)
        if incident.closed_at is not None:
            end = _first_of_run(moments, good, incident.closed_at, wanted=True)
        outages.append(Span(start, end))
    return outages


def _first_of_run(moments: Sequence[datetime], good: Sequence[bool], at: datetime, *, wanted: bool) -> datetime:
    """When the run of *wanted* checks that lasts until *at* began; *at* itself without one."""
    index = bisect_right(moments, at)
    while index > 0 and good[index - 1] is wanted:
        index -= 1
        at = moments[index]
    return at


def _add(hours: dict[datetime, Uptime], spans: Iterable[Span], kind: Callable[[timedelta], Uptime]) -> None:
    for start, end in spans:
        hour = hour_of(start)
        while hour < end:
            following = hour + HOUR
            hours[hour] = hours.get(hour, NOTHING) + kind(min(end, following) - max(start, hour))
            hour = following
