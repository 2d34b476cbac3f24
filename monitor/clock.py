"""Reading and waiting for time, which nothing else does, and the forms of a moment for machines."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def iso_utc(at: datetime) -> str:
    """A moment as ISO 8601 in UTC, to the millisecond: `2030-01-01T00:00:00.000Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def to_milliseconds(at: datetime) -> int:
    """Milliseconds since 1970, rounded down."""
    return (at - EPOCH) // _MILLISECOND


def from_milliseconds(number: int) -> datetime:
    """The moment that is *number* milliseconds after 1970. Raises OverflowError: there is no such date."""
    return EPOCH + number * _MILLISECOND


class Clock(Protocol):
    """Three clocks and two waits. Wall time may jump; `monotonic` never does; `boottime` also counts suspend."""

    def now(self) -> datetime:
        """The wall clock, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed point; never goes back, stands still while the machine is suspended."""
        ...

    def boottime(self) -> float:
        """Seconds since some fixed point, including the time the machine was suspended."""
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


class ClockChanges:
    """What the wall clock did besides running: how far it was set, and how long the machine was suspended."""

    JUMP_SECONDS = 5.0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset, self._suspended = self._offsets()

    def since_last(self) -> tuple[float, float]:
        """By how many seconds the clock was set, and for how many the machine was suspended, since the last call; 0 for what is too small."""
        offset, suspended = self._offsets()
        suspend = suspended - self._suspended
        jump = offset - self._offset - suspend
        self._offset, self._suspended = offset, suspended
        return jump if abs(jump) > self.JUMP_SECONDS else 0.0, suspend if suspend > self.JUMP_SECONDS else 0.0

    def _offsets(self) -> tuple[float, float]:
        monotonic = self._clock.monotonic()
        return self._clock.now().timestamp() - monotonic, self._clock.boottime() - monotonic


class Continuity:
    """Notices when the process did not run on: its wall clock was set, the machine was suspended, or it stood still (a late `beat`)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = clock.now()
        self._changes = ClockChanges(clock)
        self._beat_at: float | None = None

    def beat(self, longest_pause: float) -> datetime:
        """The process runs now; as `since`. Called regularly, far more often than every *longest_pause* seconds."""
        since = self.since(longest_pause)
        self._beat_at = self._clock.monotonic()
        return since

    def since(self, longest_pause: float) -> datetime:
        """Since when the process runs on: the start, or when the last interruption was noticed; a longer pause between beats is one."""
        stood_still = self._beat_at is not None and self._clock.monotonic() - self._beat_at > longest_pause
        if any(self._changes.since_last()) or stood_still:
            self._since = self._clock.now()
            self._beat_at = None
        return self._since
