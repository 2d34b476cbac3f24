"""The metronome's own rule of when the next beat is."""

from datetime import UTC, datetime, timedelta

import pytest

from monitor.runtime.scheduler import CoalescingIntervalTrigger

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND, YEAR = timedelta(seconds=1), timedelta(days=365)


@pytest.mark.parametrize(
    ("late", "following"),
    [
        (0 * SECOND, START + SECOND),
        (0.9 * SECOND, START + SECOND),
        (1 * SECOND, START + 2 * SECOND),
        (7.3 * SECOND, START + 8 * SECOND),
        (10 * YEAR, START + 10 * YEAR + SECOND),
        (-10 * YEAR, START + SECOND),
    ],
)
def test_missed_beats_are_one(late: timedelta, following: datetime) -> None:
    """However late it is, the beat after one is the first that is still to come, in step with it: what was missed is not made up."""
    pulse = CoalescingIntervalTrigger(seconds=1, timezone=UTC)

    assert pulse.get_next_fire_time(START, START + late) == following


def test_first_beat() -> None:
    """The first beat is after the pulse was made."""
    pulse = CoalescingIntervalTrigger(seconds=1, timezone=UTC, start_date=START)

    assert pulse.get_next_fire_time(None, START - SECOND) == START
