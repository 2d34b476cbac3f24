"""Response time of a connection over hours and weeks: median and worst of each bucket of checks, drawn against time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from statistics import median

from monitor.db.queries.history import LatencyRow
from monitor.domain.reasons import Outcome, outcome_of
from monitor.text.format import clock, count, milliseconds, short_day

WIDTH, HEIGHT = 600, 100
MOST_CHECKS = 10_000
"""So many checks are read at most: 30 days of one every five minutes are 8,640."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_LEAST = 5
_HEADROOM = 4
_STEPS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0)
_LOWEST_TOP = 10.0
_GAP = 2.5


@dataclass(frozen=True, slots=True)
class ResponseWindow:
    """A period that ends now: its length, the length of its buckets, the distance of its ticks."""

    name: str
    length: timedelta
    bucket: timedelta
    tick: timedelta


# At most 145 buckets each, with two points each.
RESPONSE_WINDOWS = {
    "24h": ResponseWindow("24 hours", timedelta(hours=24), timedelta(minutes=10), timedelta(hours=6)),
    "7d": ResponseWindow("7 days", timedelta(days=7), timedelta(hours=2), timedelta(days=1)),
    "30d": ResponseWindow("30 days", timedelta(days=30), timedelta(hours=6), timedelta(days=6)),
}


@dataclass(frozen=True, slots=True)
class ResponseBucket:
    """The checks of one span of time: its begin, their median and worst duration in milliseconds, and how many failed."""

    begin: datetime
    median: float
    worst: int
    failed: int


def buckets_of(checks: Sequence[LatencyRow], length: timedelta) -> tuple[ResponseBucket, ...]:
    """These checks, oldest first, in buckets of this *length* counted from midnight UTC; a bucket without checks is left out."""

    def place(check: LatencyRow) -> int:
        return (check.at - _EPOCH) // length

    return tuple(_bucket(_EPOCH + number * length, list(group)) for number, group in groupby(checks, place))


def _bucket(begin: datetime, checks: Sequence[LatencyRow]) -> ResponseBucket:
    took = [check.duration_ms for check in checks]
    failed = sum(outcome_of(check.reason) is Outcome.FAILED for check in checks)
    return ResponseBucket(begin, median(took), max(took), failed)


@dataclass(frozen=True, slots=True)
class ResponseChart:
    """
    Response time in a box of `WIDTH` by `HEIGHT`.

    Attributes:
        failed, clipped: where checks failed, and where the worst took longer than `top`.
        top, half: the durations at the upper edge and in the middle; 0 is at the lower one.
        ticks: when each part of the time axis begins, and that as text in UTC; the parts are of one width.
        text: the chart in words. legend: what the marks mean, as far as there are any.
    """

    line: str
    stems: str
    failed: tuple[str, ...]
    clipped: tuple[str, ...]
    top: str
    half: str
    ticks: tuple[tuple[datetime, str], ...]
    text: str
    legend: str
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def lines(self) -> tuple[str, ...]:
        """Where the parts of the time axis begin, but for the first."""
        return tuple(f"{number * WIDTH / len(self.ticks):.1f}" for number in range(1, len(self.ticks)))


def chart_of(checks: Sequence[LatencyRow], window: ResponseWindow, now: datetime) -> ResponseChart | None:
    """The chart of the checks of a window that ends *now*, oldest first; None when too few buckets have any."""
    begin = now - window.length
    shown = [check for check in checks if begin <= check.at <= now]
    buckets = buckets_of(shown, window.bucket)
    if len(buckets) < _LEAST:
        return None
    top = _top(buckets)
    places = [_across((bucket.begin + window.bucket / 2 - begin) / window.length) for bucket in buckets]
    heights = [(_up(bucket.median, top), _up(bucket.worst, top)) for bucket in buckets]
    points = [f"{x} {middle}" for x, (middle, _) in zip(places, heights, strict=True)]
    slow = [x for x, bucket in zip(places, buckets, strict=True) if bucket.worst > top]
    return ResponseChart(
        line=_path(points, buckets, window.bucket),
        stems="".join(f"M{x} {middle}V{worst}" for x, (middle, worst) in zip(places, heights, strict=True)),
        failed=tuple(x for x, bucket in zip(places, buckets, strict=True) if bucket.failed),
        clipped=tuple(slow),
        top=milliseconds(top),
        half=milliseconds(top / 2),
        ticks=_ticks(window, begin),
        text=_text(shown, window),
        legend=_legend(buckets, slow, top),
    )


def _ticks(window: ResponseWindow, begin: datetime) -> tuple[tuple[datetime, str], ...]:
    moments = [begin + number * window.tick for number in range(window.length // window.tick)]
    return tuple((at, short_day(at) if window.tick >= _DAY else clock(at)) for at in moments)


def _text(checks: Sequence[LatencyRow], window: ResponseWindow) -> str:
    took = [check.duration_ms for check in checks]
    known = f"the last {count(len(took), 'check')}" if len(took) >= MOST_CHECKS else count(len(took), "check")
    return (
        f"Response time of {known} in the last {window.name}: {milliseconds(median(took))} median, "
        f"{milliseconds(min(took))} to {milliseconds(max(took))}."
    )


def _legend(buckets: Sequence[ResponseBucket], slow: Sequence[str], top: float) -> str:
    failed = sum(bucket.failed for bucket in buckets)
    marks = [f"at the bottom {count(failed, 'failed check')}"] if failed else []
    marks += [f"at the top {count(len(slow), 'peak')} above {milliseconds(top)}"] if slow else []
    return f"Marked: {', '.join(marks)}." if marks else ""


def _top(buckets: Sequence[ResponseBucket]) -> float:
    # One time-out among quick answers would press all the others flat against the axis.
    highest = min(float(max(bucket.worst for bucket in buckets)), _HEADROOM * median(bucket.median for bucket in buckets))
    size = _LOWEST_TOP
    while size * _STEPS[-1] < highest:
        size *= _STEPS[-1]
    return next(size * step for step in _STEPS if size * step >= highest)


def _across(part: float) -> str:
    return f"{1 + (WIDTH - 2) * min(max(part, 0.0), 1.0):.1f}"


def _up(duration: float, top: float) -> str:
    return f"{HEIGHT - 1 - (HEIGHT - 2) * min(duration, top) / top:.1f}"


def _path(points: Sequence[str], buckets: Sequence[ResponseBucket], length: timedelta) -> str:
    """The line through *points*, interrupted where checks are missing; a point alone is a dot."""
    distances = [after.begin - before.begin for before, after in pairwise(buckets)]
    longest = max(length, _GAP * sorted(distances)[len(distances) // 2])
    return "".join(f"M{run[0]}{''.join(f'L{point}' for point in run[1:]) or 'h0'}" for run in _runs(points, distances, longest))


def _runs(points: Sequence[str], distances: Sequence[timedelta], longest: timedelta) -> Iterator[Sequence[str]]:
    start = 0
    for number, distance in enumerate(distances, start=1):
        if distance > longest:
            yield points[start:number]
            start = number
    yield points[start:]
