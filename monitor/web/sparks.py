"""How long checks took, as a line to draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from monitor.db.glances import LatencyRow
from monitor.web.words import milliseconds

_LEAST = 2
_HEADROOM = 4.0


@dataclass(frozen=True, slots=True)
class Spark:
    """
    A line in a box of *width* by *height*.

    Attributes:
        points: as SVG writes them.
        last: what the last check took, in words.
        words: the whole line in words.
    """

    points: str
    width: int
    height: int
    last: str
    words: str


def spark_of(checks: Sequence[LatencyRow], *, width: int = 112, height: int = 24) -> Spark | None:
    """The line of these checks, oldest first; None when there are too few for one."""
    if len(checks) < _LEAST:
        return None
    took = [check.duration_ms for check in checks]
    middle = median(took)
    # One time-out among quick answers would press all the others flat against the floor.
    top = min(float(max(took)), max(1.0, middle * _HEADROOM)) or 1.0
    step = (width - 2) / (len(took) - 1)
    room = height - 2
    points = " ".join(f"{1 + number * step:.1f},{1 + room - room * min(one, top) / top:.1f}" for number, one in enumerate(took))
    words = (
        f"Response time of the last {len(took)} checks: {milliseconds(middle)} in the middle, "
        f"{milliseconds(min(took))} to {milliseconds(max(took))}."
    )
    return Spark(points, width, height, milliseconds(took[-1]), words)
