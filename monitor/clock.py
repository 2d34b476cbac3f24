"""The only place that reads or waits for time; everything else is handed a `Clock`."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Three clocks and a wait. Wall time may jump; `monotonic` never does; `boottime` also counts suspend."""

    def now(self) -> datetime:
        """The wall clock, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed point; never goes back, stands still while the machine sleeps."""
        ...

    def boottime(self) -> float:
        """Seconds since some fixed point, including the time the machine slept."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait *seconds* of this clock's time."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait until *event* is set, at most *seconds*; returns whether it was set."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """The wall clock, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """`CLOCK_MONOTONIC` in seconds."""
        return time.monotonic()

    def boottime(self) -> float:
        """`CLOCK_BOOTTIME` in seconds."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        """Wait *seconds*."""
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait until *event* is set, at most *seconds*; returns whether it was set."""
        if event.is_set():
            return True
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return event.is_set()
        return True


class Continuity:
    """Since when the wall clock has run on evenly: it was set, or the machine slept, whenever it moved unlike `monotonic`."""

    JUMP_SECONDS = 5.0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = clock.now()
        self._offset = self._wall_minus_monotonic()

    def since(self) -> datetime:
        """The start, or when the last jump was noticed."""
        offset = self._wall_minus_monotonic()
        if abs(offset - self._offset) > self.JUMP_SECONDS:
            self._since = self._clock.now()
        self._offset = offset
        return self._since

    def _wall_minus_monotonic(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()
