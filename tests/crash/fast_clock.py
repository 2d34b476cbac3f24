"""A clock on which time flies, so that a daemon whose shortest interval is a second does much in a short life."""

import asyncio
import time
from datetime import UTC, datetime


class FastClock:
    """
    The machine's clocks, *factor* times as fast since *origin*, a Unix time.

    Processes that are handed the same origin agree about the time, so it goes on over a crash.
    """

    def __init__(self, origin: float, factor: float) -> None:
        self.origin = origin
        self.factor = factor

    def now(self) -> datetime:
        """The wall clock, aware, UTC."""
        return datetime.fromtimestamp(self.origin + (time.time() - self.origin) * self.factor, UTC)

    def monotonic(self) -> float:
        """Seconds since some fixed point."""
        return time.monotonic() * self.factor

    def boottime(self) -> float:
        """Seconds since some fixed point; nobody suspends the machine here."""
        return self.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait *seconds* of this clock."""
        await asyncio.sleep(seconds / self.factor)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait until *event* is set, at most *seconds* of this clock; returns whether it was set."""
        if event.is_set():
            return True
        try:
            async with asyncio.timeout(seconds / self.factor):
                await event.wait()
        except TimeoutError:
            return event.is_set()
        return True
