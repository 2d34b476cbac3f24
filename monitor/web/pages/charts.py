"""Uptime bar and latency sparkline."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from statistics import median

from monitor.db.queries.history import LatencyRow
from monitor.domain.status import Tone
from monitor.domain.uptime import NOTHING, DayUptime, Uptime
from monitor.text.durations import brief
from monitor.text.format import count, day, milliseconds, percent

DAYS = 90
PITCH = 3
"""The width of a day, its gap included."""

_DAY = timedelta(days=1)
_SLIGHT = 0.95
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
        text: the whole bar as one sentence.
        troubled: the first days with downtime, newest first.
    """

    slots: tuple[Slot, ...]
    runs: tuple[Run, ...]
    percent: str
    text: str
    troubled: tuple[Slot, ...]
    more: int


def bar_of(days: Sequence[DayUptime], now: datetime) -> Bar | None:
    """The bar of these days; None when nothing is known of any of them."""
    known = {each.day: each.uptime for each in days}
    today = now.astimezone(UTC).date()
    uptimes = [(at, known.get(at, NOTHING)) for at in (today - n * _DAY for n in range(DAYS - 1, -1, -1))]
    if not any(uptime.ok or uptime.down or uptime.excluded for _, uptime in uptimes):
        return None
    slots = tuple(_slot(at, uptime) for at, uptime in uptimes)
    troubled = [slot for slot in reversed(slots) if slot.tone in (Tone.BAD, Tone.WARN)]
    share = _share([uptime for _, uptime in uptimes])
    downtime = f"{count(len(troubled), 'day')} with downtime" if troubled else "no downtime"
    return Bar(
        slots=slots,
        runs=tuple(_runs(slots)),
        percent=share,
        text=f"Uptime {share} in the last {DAYS} days, {downtime}." if share else f"All of the last {DAYS} days is excluded.",
        troubled=tuple(troubled[:_MOST_LISTED]),
        more=max(0, len(troubled) - _MOST_LISTED),
    )


def windows_of(uptimes: Mapping[str, Uptime]) -> tuple[tuple[str, str], ...]:
    """The periods that end now, the shortest first, and the uptime in each; empty when no time counts."""
    return tuple((_WINDOWS[name], _share([uptimes.get(name, NOTHING)])) for name in _WINDOWS)


def _share(uptimes: Sequence[Uptime]) -> str:
    ratio = sum(uptimes, NOTHING).ratio
    return "" if ratio is None else percent(ratio)


def _slot(at: date, uptime: Uptime) -> Slot:
    tone, note = _judged(uptime)
    return Slot(at, tone, f"{day(at)}: {note}", note)


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


_LEAST = 2
_HEADROOM = 4.0


@dataclass(frozen=True, slots=True)
class Spark:
    """
    A line in a box of *width* by *height*.

    Attributes:
        points: as SVG writes them.
        last: the duration of the last check.
        text: the whole line as one sentence.
    """

    points: str
    width: int
    height: int
    last: str
    text: str


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
    return Spark(points, width, height, milliseconds(took[-1]), text)
