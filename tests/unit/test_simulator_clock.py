"""The clocks of the tests and of the simulator."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from monitor.simulator.clock import ShiftedClock
from tests.clock import FakeClock

START = datetime(2030, 1, 1, tzinfo=UTC)


async def test_advance_wakes_in_due_order() -> None:
    """Sleepers wake in the order they are due, each seeing its own moment, those due together in the order they came."""
    clock = FakeClock(START)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    tasks = [asyncio.create_task(sleeper(name, seconds)) for name, seconds in [("c", 3), ("a", 1), ("b1", 2), ("b2", 2), ("d", 9)]]
    await clock.advance(timedelta(seconds=5))

    assert woken == [("a", 1), ("b1", 2), ("b2", 2), ("c", 3)]
    assert clock.now() == START + timedelta(seconds=5)
    assert clock.sleepers == 1
    tasks[-1].cancel()


async def test_wait_for_event_or_time() -> None:
    """A waiter learns whether its event was set or its time is up, and its sleep is removed."""
    clock = FakeClock(START)
    event = asyncio.Event()
    first = asyncio.create_task(clock.wait(event, 10))
    await clock.advance(timedelta(seconds=10))
    assert first.done()
    assert not first.result()

    second = asyncio.create_task(clock.wait(event, 10))
    await clock.advance(timedelta(seconds=1))
    event.set()
    await clock.settle()
    assert second.done()
    assert second.result()
    assert clock.sleepers == 0
    assert await clock.wait(event, 10)


async def test_three_clocks() -> None:
    """A jump moves the wall only, a suspend wall and boottime, an advance all three; neither of the former wakes anyone."""
    clock = FakeClock(START)
    sleeper = asyncio.create_task(clock.sleep(60))
    await clock.settle()
    clock.jump(timedelta(hours=-1))
    clock.suspend(timedelta(hours=3))
    await clock.settle()

    assert not sleeper.done()
    assert clock.now() == START + timedelta(hours=2)
    assert (clock.monotonic(), clock.boottime()) == (0, 3 * 3600)

    await clock.advance(timedelta(seconds=60))
    assert sleeper.done()
    assert (clock.monotonic(), clock.boottime()) == (60, 3 * 3600 + 60)


async def test_shifted_clock() -> None:
    """The shifted wall clock can be moved, set, stopped and sped up without a jump; the other clocks stay those of the base."""
    base = FakeClock(START)
    clock = ShiftedClock(base)
    clock.move(timedelta(days=3))
    assert clock.now() == START + timedelta(days=3)

    clock.set_speed(3600)
    assert clock.now() == START + timedelta(days=3)
    await base.advance(timedelta(seconds=2))
    assert clock.now() == START + timedelta(days=3, hours=2)
    assert clock.monotonic() == 2

    clock.set_speed(0)
    await base.advance(timedelta(seconds=2))
    assert clock.now() == START + timedelta(days=3, hours=2)

    clock.set_to(START)
    clock.set_speed(1)
    await base.advance(timedelta(seconds=2))
    assert clock.now() == START + timedelta(seconds=2)

    clock.reset()
    assert clock.now() == base.now()


async def test_shifted_clock_stays_in_calendar() -> None:
    """A move out of the calendar is refused and leaves the clock as it was."""
    clock = ShiftedClock(FakeClock(START))
    for span in (timedelta(days=999_999), timedelta(days=-999_999)):
        with pytest.raises(ValueError, match="1970 to 2500"):
            clock.move(span)
    with pytest.raises(ValueError, match="backwards"):
        clock.set_speed(-1)
    assert clock.now() == START
