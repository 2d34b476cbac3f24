"""The partitions of the history, which a PostgreSQL database has: which are missing, and which have only rows that are too old."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from monitor.domain.uptime import DAY, day_of

AHEAD = 2
"""So many days to come have a partition. More would cost: the newest check of a connection is looked for in each of them first."""

Bounds = tuple[datetime | None, datetime | None]
"""From when until before when; None for what has no such end."""

_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Partition:
    """
    The table of the checks from *lower* until before *upper*.

    All partitions together have no gap: *lower* is None for the first and *upper* for the last one. These two, and what a stop or a wrong
    clock left undivided, are wider than a day.
    """

    table: str
    lower: datetime | None
    upper: datetime | None

    @property
    def is_day(self) -> bool:
        """Whether it has one day and is therefore dropped as a whole."""
        return self.lower is not None and self.upper is not None and self.upper - self.lower == DAY

    def has(self, moment: datetime) -> bool:
        """Whether a check of that moment belongs into it."""
        return (self.lower is None or self.lower <= moment) and (self.upper is None or moment < self.upper)


@dataclass(frozen=True, slots=True)
class Division:
    """
    How days are cut out of the partition *wide*.

    Attributes:
        made: the bounds of new partitions: the days, and what remains on their other side.
        kept: the new bounds of *wide*, which keeps its rows as far as they are within; None when the days take all of it.
    """

    wide: Partition
    made: tuple[Bounds, ...]
    kept: Bounds | None


def division(partitions: Sequence[Partition], now: datetime) -> Division | None:
    """The next division that gives a partition to the days to come; None when they have one."""
    first = day_of(now) + DAY
    for wide in partitions:
        days = [day for day in (first + n * DAY for n in range(AHEAD)) if wide.has(day) and not wide.is_day]
        if days and wide.lower is not None:
            end = days[-1] + DAY
            rest: list[Bounds] = [(wide.lower, days[0])] if wide.lower != days[0] else []
            rest += [(end, wide.upper)] if wide.upper != end else []
            return Division(wide, (*((day, day + DAY) for day in days), *rest[1:]), rest[0] if rest else None)
    return None


def droppable(partitions: Sequence[Partition], before: datetime) -> Sequence[Partition]:
    """The partitions, the oldest ones, that have no check from *before* or later; none unless a day is among them."""
    old = [
        partition
        for partition in sorted(partitions, key=lambda partition: partition.upper or _EVER)
        if partition.upper is not None and partition.upper <= before
    ]
    return old if len(old) > 1 else ()


def deletable_until(partitions: Sequence[Partition], before: datetime) -> datetime:
    """Until when rows before *before* are deleted one by one: a day is kept until it can be dropped."""
    return next((partition.lower or before for partition in partitions if partition.is_day and partition.has(before)), before)


def whole_days(partitions: Sequence[Partition], before: datetime, latest: datetime) -> datetime:
    """*before*, or the end of the day that it is in if that has a partition; if that is after *latest*, the beginning of the day."""
    for partition in partitions:
        if partition.is_day and partition.has(before) and partition.lower is not None and partition.upper is not None:
            return partition.upper if partition.upper <= latest else partition.lower
    return before


def table_of(bounds: Bounds) -> str:
    """The name of the table with these bounds."""
    lower, upper = bounds
    if lower is None or upper is None:
        return f"checks_until_{upper:%Y%m%d}" if upper is not None else f"checks_from_{lower:%Y%m%d}"
    return f"checks_{lower:%Y%m%d}" if upper - lower == DAY else f"checks_{lower:%Y%m%d}_{upper:%Y%m%d}"
