"""The metronome's own rule of when the next beat is."""

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from monitor.clock import SystemClock
from monitor.runtime.scheduler import CoalescingIntervalTrigger, Scheduler, WakeJob

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


@pytest.mark.parametrize("steps", range(4))
async def test_stop_between_jobs(steps: int, caplog: pytest.LogCaptureFixture) -> None:
    """A stop so many *steps* of the loop after jobs are due, when they are begun or about to run, is logged as the failure of none of them."""
    ran: list[str] = []
    scheduler = Scheduler(tuple(WakeJob(name, SECOND / 100, partial(ran.append, name)) for name in "abc"), SystemClock())
    scheduler.start()
    # So long that all three are due at once.
    time.sleep(0.05)  # noqa: ASYNC251 - the loop stands still
    for _ in range(steps):
        await asyncio.sleep(0)
    scheduler.stop()
    for _ in range(5):
        await asyncio.sleep(0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
