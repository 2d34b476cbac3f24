"""Uptime bar and latency sparkline."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from statistics import median

from monitor.db.queries.history import LatencyRow
from monitor.domain.reasons import Outcome, outcome_of
from monitor.domain.uptime import NOTHING, WINDOWS, DayUptime, OpenOutage, Uptime, begin
from monitor.domain.views.status import Tone
from monitor.text.durations import brief
from monitor.text.format import count, day, milliseconds, percent

DAYS = 90
PITCH = 3
"""The width of a day, its gap included."""

_DAY = timedelta(days=1)
_SLIGHT = 0.95
# The first and the last hour of a period may be missing.
_COVERED = 0.95
_SAME = 1.02
_MOST_LISTED = 10
_WINDOWS = {"24h": "24 hours", "7d": "7 days", "30d": "30 days", "90d": f"{DAYS} days"}


@dataclass(frozen=True, slots=True)
class Slot:
    """One day and its tone; None where nothing is known."""

    day: date
    tone: Tone | None
    text: str
    note: str


@dataclass(frozen=True, slots=True)
class Run:
    """Adjacent days with the same tone and note, as one rectangle."""

    x: int
    width: int
    tone: Tone | None
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """
    The last 90 days, the oldest first.

    Attributes:
        percent: the uptime; empty when no time counts.
        counted: of how much time the uptime is, where that is not nearly all of it: `of the 51s counted`.
        troubled: the first days with downtime, newest first.
    """

    slots: tuple[Slot, ...]
    runs: tuple[Run, ...]
    percent: str
    counted: str
    text: str
    troubled: tuple[Slot, ...]
    more: int


def bar_of(days: Sequence[DayUptime], now: datetime, outage: OpenOutage | None = None) -> Bar | None:
    """The bar of these days; None when nothing is known of any of them. An open *outage* counts from its first failed check on."""
    known = {each.day: each.uptime for each in days}
    today = now.astimezone(UTC).date()
    uptimes = [(at, _of_day(known.get(at, NOTHING), at, outage, now)) for at in (today - n * _DAY for n in range(DAYS - 1, -1, -1))]
    if not any(uptime.ok or uptime.down or uptime.excluded for _, uptime in uptimes):
        return None
    judged = ((at, *_judged(uptime)) for at, uptime in uptimes)
    slots = tuple(Slot(at, tone, f"{day(at)}: {note}", note) for at, tone, note in judged)
    troubled = [slot for slot in reversed(slots) if slot.tone in (Tone.BAD, Tone.WARN)]
    total = sum((uptime for _, uptime in uptimes), NOTHING)
    share, counted = _share(total), counted_text(total, DAYS * _DAY)
    downtime = f"{count(len(troubled), 'day')} with downtime" if troubled else "no downtime"
    return Bar(
        slots=slots,
        runs=tuple(_runs(slots)),
        percent=share,
        counted=counted,
        text=_bar_text(share, counted, downtime),
        troubled=tuple(troubled[:_MOST_LISTED]),
        more=max(0, len(troubled) - _MOST_LISTED),
    )


def _bar_text(share: str, counted: str, downtime: str) -> str:
    if not share:
        return f"All of the last {DAYS} days is excluded."
    return f"Uptime {share} {counted}, {downtime}." if counted else f"Uptime {share} in the last {DAYS} days, {downtime}."


def _of_day(uptime: Uptime, at: date, outage: OpenOutage | None, now: datetime) -> Uptime:
    start = datetime(at.year, at.month, at.day, tzinfo=UTC)
    return uptime if outage is None else outage.counted_in(uptime, start, min(now, start + _DAY))


@dataclass(frozen=True, slots=True)
class WindowUptime:
    """A period that ends now: its name, the uptime, and of how much time that is where it is not nearly all of it."""

    name: str
    share: str
    counted: str


def windows_of(uptimes: Mapping[str, Uptime], now: datetime, outage: OpenOutage | None = None) -> tuple[WindowUptime, ...]:
    """The periods that end now, the shortest first, with their uptime; of those longer than the counted time only the first."""
    windows: list[WindowUptime] = []
    known: timedelta | None = None
    for name, title in _WINDOWS.items():
        uptime = uptimes.get(name, NOTHING)
        if outage is not None:
            uptime = outage.counted_in(uptime, begin(name, now), now)
        counted = counted_text(uptime, WINDOWS[name])
        if counted and known is not None and uptime.counted <= known * _SAME:
            continue
        windows.append(WindowUptime(title, _share(uptime), counted))
        known = uptime.counted
    return tuple(windows)


def counted_text(uptime: Uptime, length: timedelta) -> str:
    """Of how much time a share is, where that is not nearly all of a period of this *length*: what is excluded does not count."""
    if not uptime.counted or uptime.counted >= _COVERED * length:
        return ""
    return f"of the {brief(uptime.counted)} counted"


def _share(uptime: Uptime) -> str:
    return "" if uptime.ratio is None else percent(uptime.ratio)


def _judged(uptime: Uptime) -> tuple[Tone | None, str]:
    ratio = uptime.ratio
    if ratio is None:
        return (Tone.IDLE, "excluded: not testable, silenced, or during a scope incident") if uptime.excluded else (None, "no checks")
    if not uptime.down:
        return Tone.GOOD, "no downtime"
    return Tone.WARN if ratio >= _SLIGHT else Tone.BAD, f"down for {brief(uptime.down)}, {percent(ratio)}"


def _runs(slots: Sequence[Slot]) -> Iterator[Run]:
    start = 0
    for end in range(1, len(slots) + 1):
        if end == len(slots) or slots[end].note != slots[start].note:
            first, last = slots[start], slots[end - 1]
            text = first.text if first is last else f"{day(first.day)} to {day(last.day)}: {first.note}"
            yield Run(start * PITCH, (end - start) * PITCH, first.tone, text)
            start = end


# Two points are no trend.
_LEAST = 5
_HEADROOM = 4.0


@dataclass(frozen=True, slots=True)
class Spark:
    """
    A line in a box of *width* by *height*.

    Attributes:
        points: as SVG writes them.
        top: the duration at the upper edge.
        failed, clipped: where checks failed, and where one took longer than `top`.
    """

    points: str
    width: int
    height: int
    last: str
    text: str
    top: str
    since: datetime
    until: datetime
    failed: tuple[str, ...] = ()
    clipped: tuple[str, ...] = ()

    @property
    def legend(self) -> str:
        """What the marks mean, as far as there are any."""
        marks = [count(len(self.failed), "failed check")] if self.failed else []
        marks += [f"{len(self.clipped):,} slower than {self.top}"] if self.clipped else []
        return f"Marked: {', '.join(marks)}." if marks else ""


def spark_of(checks: Sequence[LatencyRow], *, width: int = 112, height: int = 24) -> Spark | None:
    """The line of these checks, oldest first; None when there are too few."""
    if len(checks) < _LEAST:
        return None
    took = [check.duration_ms for check in checks]
    middle = median(took)
    # One time-out among quick answers would press all the others flat against the axis.
    top = min(float(max(took)), max(1.0, middle * _HEADROOM)) or 1.0
    step = (width - 2) / (len(took) - 1)
    room = height - 2
    points = " ".join(f"{1 + number * step:.1f},{1 + room - room * min(duration, top) / top:.1f}" for number, duration in enumerate(took))
    text = (
        f"Response time of the last {len(took)} checks: {milliseconds(middle)} median, "
        f"{milliseconds(min(took))} to {milliseconds(max(took))}."
    )
    places = [f"{1 + number * step:.1f}" for number in range(len(took))]
    return Spark(
        points,
        width,
        height,
        milliseconds(took[-1]),
        text,
        milliseconds(top),
        checks[0].at,
        checks[-1].at,
        tuple(place for place, check in zip(places, checks, strict=True) if outcome_of(check.reason) is Outcome.FAILED),
        tuple(place for place, duration in zip(places, took, strict=True) if duration > top),
    )
