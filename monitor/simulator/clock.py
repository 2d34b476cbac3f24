"""A clock that is shifted from another."""

import asyncio
from datetime import datetime, timedelta

from monitor.clock import Clock

_YEARS = range(1970, 2501)


class ShiftedClock:
    """The wall clock of *base*, moved and sped up; `monotonic`, `boottime` and all waiting stay those of *base*."""

    def __init__(self, base: Clock) -> None:
        self._base = base
        self.reset()

    @property
    def speed(self) -> float:
        """Simulated seconds per real second; 1 is normal, 0 stands still."""
        return self._speed

    def reset(self) -> None:
        """Remove the offset, and return to normal speed."""
        self._offset = timedelta()
        self._speed = 1.0
        self._anchor = self._base.monotonic()

    def now(self) -> datetime:
        """The shifted wall clock, aware, UTC."""
        if self._speed == 1.0:
            return self._base.now() + self._offset
        gained = (self._base.monotonic() - self._anchor) * (self._speed - 1.0)
        return self._base.now() + self._offset + timedelta(seconds=gained)

    def move(self, span: timedelta) -> None:
        """Set the clock by *span*, forwards or backwards. Raises ValueError when that leaves the years 1970 to 2500."""
        self.set_to(_reachable(self.now(), span))

    def set_to(self, at: datetime) -> None:
        """Set the clock to *at*, in the years 1970 to 2500; it goes on from there."""
        if at.year not in _YEARS:
            raise ValueError("the clock goes from 1970 to 2500")
        self._offset += at - self.now()

    def set_speed(self, speed: float) -> None:
        """From now on let *speed* simulated seconds pass per second; the clock does not jump."""
        if speed < 0:
            raise ValueError("a clock does not run backwards; use move()")
        before = self.now()
        self._speed = speed
        self._anchor = self._base.monotonic()
        self.set_to(before)

    def monotonic(self) -> float:
        """Seconds of *base*, unshifted."""
        return self._base.monotonic()

    def boottime(self) -> float:
        """Seconds of *base*, unshifted."""
        return self._base.boottime()

    async def sleep(self, seconds: float) -> None:
        """Wait *seconds* of *base*."""
        await self._base.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait until *event* is set, at most *seconds* of *base*; returns whether it was set."""
        return await self._base.wait(event, seconds)


def _reachable(at: datetime, span: timedelta) -> datetime:
    try:
        return at + span
    except OverflowError:
        raise ValueError("the clock goes from 1970 to 2500") from None
