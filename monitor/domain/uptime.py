"""
Uptime of a connection, computed from its checks and incidents.

A check covers the time since the check before it, up to a limit. Covered time is `down` from the first of the failed checks that
opened an incident of the connection until the first of the passed ones that closed it, else `ok`: a failure that was never
confirmed does not count. `excluded` is time in which the connection can't be tested or is silenced, and outages of the API, the
account, the managed user or the whole platform. The rest is `unknown`.
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
"""The most time that a check covers."""

EXCLUDING_SCOPES = frozenset({Scope.API, Scope.ACCOUNT, Scope.USER, Scope.PLATFORM})
"""The scopes whose incidents exclude the time of the connections below them."""

_GOOD = frozenset({Health.OK, Health.UNSUPPORTED})


@dataclass(frozen=True, slots=True)
class Uptime:
    """
    The uptime within a time span; the four parts add up to its length.

    Attributes:
        ok, down: covered by checks while the connection worked, or did not.
        excluded: silenced, within the incident of a scope, or not testable.
        unknown: not covered by checks.
    """

    ok: timedelta = _NONE
    down: timedelta = _NONE
    excluded: timedelta = _NONE
    unknown: timedelta = _NONE

    @property
    def known(self) -> timedelta:
        """How much of the span is covered by checks."""
        return self.ok + self.down + self.excluded

    @property
    def counted(self) -> timedelta:
        """How much of the span `ratio` is of."""
        return self.ok + self.down

    @property
    def ratio(self) -> float | None:
        """The share of `ok` in `ok` and `down`; None when both are zero."""
        return self.ok / self.counted if self.counted else None

    def __add__(self, other: "Uptime") -> "Uptime":
        return Uptime(self.ok + other.ok, self.down + other.down, self.excluded + other.excluded, self.unknown + other.unknown)

    def within(self, length: timedelta) -> "Uptime":
        """Return a copy with the rest of a span of this *length* as unknown."""
        return Uptime(self.ok, self.down, self.excluded, max(length - self.ok - self.down - self.excluded, _NONE))


NOTHING = Uptime()


@dataclass(frozen=True, slots=True)
class DayUptime:
    """Uptime of one day (UTC); for the current day, so far."""

    day: date
    uptime: Uptime


class Evidence(NamedTuple):
    """A conclusive check: when it ended, and the health that it is evidence for."""

    at: datetime
    health: Health


@dataclass(frozen=True, slots=True)
class IncidentSpan:
    """An incident of a connection (other than `stale`), or of an excluding scope; *closed_at* is None while it is open."""

    opened_at: datetime
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class UptimeInput:
    """
    The recorded history of one connection within a time span.

    Attributes:
        monitored: from its first check until now, or until it was retired.
        evidence: its conclusive checks, oldest first: those of the span, and those before it as far back as *reach*.
        excluded: silences, and incidents of scopes.
        reach: the most time that a check covers.
    """

    monitored: Span
    evidence: Sequence[Evidence]
    incidents: Sequence[IncidentSpan]
    excluded: Sequence[Span]
    reach: timedelta


@dataclass(frozen=True, slots=True)
class OpenOutage:
    """
    The open incident of a connection, whose time is not added up yet.

    Attributes:
        until: up to when the sums have been added up; None when nothing is yet.
    """

    since: datetime
    opened_at: datetime
    until: datetime | None = None

    def counted_in(self, uptime: Uptime, start: datetime, end: datetime) -> Uptime:
        """Return *uptime*, that of the time from *start* until *end* as it was added up, with this outage counted."""
        begun = self.since if self.until is None or self.opened_at > self.until else self.until
        begun = max(start, begun)
        if begun >= end:
            return uptime
        added = end - begun
        moved = min(uptime.ok, max(self.until - begun, _NONE)) if self.until is not None else _NONE
        return Uptime(uptime.ok - moved, uptime.down + added, uptime.excluded, max(uptime.unknown - (added - moved), _NONE))


def hour_of(at: datetime) -> datetime:
    """Return the full hour (UTC) at or before *at*."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def day_of(at: datetime) -> datetime:
    """Return the midnight (UTC) at or before *at*."""
    return hour_of(at).replace(hour=0)


def begin(window: str, now: datetime) -> datetime:
    """Return the start of the *window* of `WINDOWS` that ends *now*: a full hour; a midnight for ninety days."""
    if WINDOWS[window] > 30 * DAY:
        return day_of(now) - WINDOWS[window] + DAY
    return hour_of(now - WINDOWS[window])


def by_hour(history: UptimeInput, since: datetime, until: datetime) -> dict[datetime, Uptime]:
    """Return the uptime by hour (each by its start) from *since*, a full hour, until *until*."""
    frame = intersection([Span(since, until)], union([history.monitored]))
    tested, untestable = _covered(history)
    excluded = intersection(union([*history.excluded, *untestable]), frame)
    counted = difference(intersection(tested, frame), excluded)
    down = intersection(counted, union(_outages(history))) if history.incidents else []
    hours: dict[datetime, Uptime] = {}
    _add(hours, difference(counted, down), lambda length: Uptime(ok=length))
    _add(hours, down, lambda length: Uptime(down=length))
    _add(hours, excluded, lambda length: Uptime(excluded=length))
    return hours


def _covered(history: UptimeInput) -> tuple[list[Span], list[Span]]:
    """Return the time covered by checks, as two sets: by conclusive tests, and by checks of an untestable connection."""
    tested: list[Span] = []
    untestable: list[Span] = []
    before: datetime | None = None
    last: list[Span] = tested
    for check in history.evidence:
        start = check.at - history.reach
        spans = untestable if check.health is Health.UNSUPPORTED else tested
        if before is None or start > before:
            spans.append(Span(start, check.at))
        elif spans is last:
            spans[-1] = Span(spans[-1].start, check.at)
        else:
            spans.append(Span(before, check.at))
        before, last = check.at, spans
    return tested, untestable


def _outages(history: UptimeInput) -> list[Span]:
    """Return when the connection was down: its incidents, extended to the checks that opened and closed them."""
    moments = [check.at for check in history.evidence]
    good = [check.health in _GOOD for check in history.evidence]
    outages: list[Span] = []
    for incident in history.incidents:
        start = _first_of_run(moments, good, incident.opened_at, wanted=False)
        end = datetime.max.replace(tzinfo=UTC)
        if incident.closed_at is not None:
            end = _first_of_run(moments, good, incident.closed_at, wanted=True)
        outages.append(Span(start, end))
    return outages


def _first_of_run(moments: Sequence[datetime], good: Sequence[bool], at: datetime, *, wanted: bool) -> datetime:
    """Return the start of the run of *wanted* checks that ends at *at*; *at* itself without one."""
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
