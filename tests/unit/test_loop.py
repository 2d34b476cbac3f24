"""When a loop that rests is woken."""

import asyncio
import math
from datetime import timedelta

from monitor.runtime.loop import Loop
from tests.clock import FakeClock

SECOND = timedelta(seconds=1)


async def test_due_earlier_than_known() -> None:
    """What came up while a loop rests is done in time, though nothing was due yet when it was woken; what is known wakes it once."""
    clock, stop, due = FakeClock(), asyncio.Event(), [math.inf]
    steps: list[float] = []

    async def step() -> bool:
        steps.append(clock.monotonic())
        due[:] = [at for at in due if at > clock.monotonic()] or [math.inf]
        return False

    loop = Loop("one", step, rest_seconds=60.0, clock=clock, stop=stop, idle=lambda: due[0] - clock.monotonic())
    running = asyncio.ensure_future(loop.run())
    await clock.advance(SECOND)
    due[0] = 2.5
    for _ in range(5):
        loop.wake_if_due()
        await clock.advance(SECOND)
    stop.set()
    loop.wake.set()
    await running

    assert steps == [0.0, 1.0, 2.5]
