"""How a long calculation shares the event loop."""

import asyncio
from datetime import timedelta

import pytest

from monitor.web.time_slice import TimeSlice
from tests.clock import FakeClock

PIECE, MILLISECOND = timedelta(milliseconds=1.01), timedelta(milliseconds=1)


@pytest.mark.parametrize(("others", "rests"), [(0.0, 20), (9.5, 10), (100.0, 7)])
async def test_shares(others: float, rests: int) -> None:
    """It rests after 5 ms, or after as long as the last rest took, at most 15 ms: here a hundred of about 1 ms, while others take some."""
    clock, ran = FakeClock(), 0

    async def other() -> None:
        nonlocal ran
        while True:
            await asyncio.sleep(0)
            ran += 1
            clock.freeze(others * MILLISECOND)

    running = asyncio.ensure_future(other())
    await asyncio.sleep(0)
    time_slice = TimeSlice(clock)
    for _ in range(100):
        clock.freeze(PIECE)
        await time_slice.rest()
    running.cancel()

    assert ran == rests
