"""Which partitions a history needs, and which it no longer needs, whatever the clock has said before."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.partitions import AHEAD, Bounds, Partition, deletable_until, division, droppable, table_of, whole_days
from tests.builders import DAY, HOUR, START, at

NEW = [Partition("checks_until_20300101", None, START), Partition("checks_from_20300101", START, None)]


def bounds(partitions: list[Partition]) -> list[Bounds]:
    return [(one.lower, one.upper) for one in sorted(partitions, key=lambda one: one.lower or datetime.min.replace(tzinfo=UTC))]


def divided(partitions: list[Partition], now: datetime) -> list[Partition]:
    """*partitions* after all divisions."""
    while (cut := division(partitions, now)) is not None:
        made = [*cut.made, *([cut.kept] if cut.kept is not None else [])]
        partitions = [*(one for one in partitions if one is not cut.wide), *(Partition(table_of(one), *one) for one in made)]
    return partitions


def dropped(partitions: list[Partition], before: datetime) -> list[Partition]:
    old = droppable(partitions, before)
    return [*(one for one in partitions if one not in old), *([Partition("first", None, old[-1].upper)] if old else [])]


def test_a_day_is_made_each_day() -> None:
    """From day to day one more of those to come has a partition; on a day that passes none is changed."""
    first = divided(NEW, at(12 * HOUR))
    assert bounds(first) == [(None, START), (START, at(DAY)), (at(DAY), at(2 * DAY)), (at(2 * DAY), at(3 * DAY)), (at(3 * DAY), None)]
    assert division(first, at(23 * HOUR)) is None
    second = divided(first, at(25 * HOUR))
    assert bounds(second) == [*bounds(first)[:-1], (at(3 * DAY), at(4 * DAY)), (at(4 * DAY), None)]
    assert [one.table for one in second if not one.is_day] == ["checks_until_20300101", "checks_from_20300105"]


def test_after_weeks() -> None:
    """After a stop the time without partitions is one, which keeps its rows; the days to come have theirs."""
    found = divided(divided(NEW, START), at(40 * DAY))
    wide = [one for one in found if not one.is_day and one.lower is not None and one.upper is not None]
    assert [one.table for one in wide] == ["checks_20300104_20300211"]
    assert deletable_until(found, at(20 * DAY + HOUR)) == at(20 * DAY + HOUR), "its rows are deleted one by one"


def test_whole_days_are_dropped() -> None:
    """Only what is over as a whole is dropped, with the first partition, which only takes in what is older; a day keeps its rows until then."""
    found = divided(divided(divided(NEW, START), at(DAY)), at(2 * DAY))
    assert list(droppable(found, at(HOUR))) == [], "no day yet"
    assert [one.table for one in droppable(found, at(2 * DAY + HOUR))] == ["checks_until_20300101", "checks_20300101", "checks_20300102"]
    assert deletable_until(found, at(2 * DAY + HOUR)) == at(2 * DAY)
    assert whole_days(found, at(2 * DAY + HOUR), latest=at(3 * DAY)) == at(3 * DAY)
    assert whole_days(found, at(2 * DAY + HOUR), latest=at(3 * DAY) - HOUR) == at(2 * DAY)


@given(st.lists(st.tuples(st.integers(-4000, 4000), st.integers(0, 100)), max_size=8))
def test_no_gap(steps: list[tuple[int, int]]) -> None:
    """Wherever the clock stands, all time has one partition, the days to come have their own, and no table has the name of another one."""
    partitions = NEW
    for hours, keep in steps:
        now = at(timedelta(hours=hours))
        partitions = dropped(divided(partitions, now), now - keep * DAY)
        found = bounds(partitions)
        assert found[0][0] is None
        assert found[-1][1] is None
        assert all(left[1] == right[0] for left, right in pairwise(found))
        assert len({table_of(one) for one in found}) == len(found)
        first = found[0][1] or now
        for n in range(1, AHEAD + 1):
            (one,) = [one for one in partitions if one.has(now + n * DAY)]
            assert one.is_day or now + n * DAY < first
