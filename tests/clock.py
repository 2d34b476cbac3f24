"""Clocks that stand still."""

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.clock import SystemClock

# Most loop rounds given to woken sleepers before time moves on: every hop between tasks costs one.
_ROUNDS = 40
# So many rounds without anything to run, and nobody is on the way: what one socket wrote, another one can read by then.
_IDLE_ROUNDS = 3
_TICK = timedelta(microseconds=1)
_NOTHING = timedelta()


class FakeClock:
    """
    A clock that moves only by `advance`, `jump`, `suspend` and `freeze`; nothing in it waits for real time.

    Sleepers wake in the order they are due, those due together in the order they went to sleep. Whatever a woken
    sleeper does without real I/O is done before time moves on.
    """

    def __init__(self, start: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        if start.tzinfo is None:
            raise ValueError("a clock starts at an aware datetime")
        self._start = start.astimezone(UTC)
        self._elapsed = _NOTHING
        self._jumped = _NOTHING
        self._suspended = _NOTHING
        self._order = itertools.count()
        self._sleepers: list[tuple[timedelta, int, asyncio.Future[None]]] = []

    @property
    def sleepers(self) -> int:
        """How many are asleep on this clock."""
        return sum(not waiter.done() for _, _, waiter in self._sleepers)

    @property
    def next_wake(self) -> float | None:
        """Seconds until the next sleeper wakes; None when nobody is asleep."""
        due = self._next_due()
        return None if due is None else max(0.0, (due - self._elapsed).total_seconds())

    def now(self) -> datetime:
        """The wall clock, aware, UTC."""
        return self._start + self._elapsed + self._jumped + self._suspended

    def monotonic(self) -> float:
        """Seconds advanced since the start; neither jumps nor suspends move it."""
        return self._elapsed.total_seconds()

    def boottime(self) -> float:
        """Seconds since the start, including suspends."""
        return (self._elapsed + self._suspended).total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was advanced by *seconds*; zero or less only lets others run."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        await self._waiter(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait until *event* is set, at most *seconds* of this clock; returns whether it was set."""
        if event.is_set() or seconds <= 0:
            await asyncio.sleep(0)
            return event.is_set()
        waiter = self._waiter(seconds)
        either: tuple[asyncio.Future[Any], ...] = (waiter, asyncio.ensure_future(event.wait()))
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in either:
                future.cancel()
        return event.is_set()

    async def advance(self, span: timedelta) -> None:
        """Move all three clocks by *span* and wake, one moment after the other, whoever is due on the way."""
        if span < _NOTHING:
            raise ValueError("time advances; use jump() to set the wall clock back")
        target = self._elapsed + span
        await self.settle()
        while (due := self._next_due()) is not None and due <= target:
            self._elapsed = max(self._elapsed, due)
            self._wake(due)
            await self.settle()
        self._elapsed = target
        await self.settle()

    def jump(self, span: timedelta) -> None:
        """Set the wall clock by *span*, forwards or backwards, as an administrator or NTP does; nobody wakes."""
        self._jumped += span

    def suspend(self, span: timedelta) -> None:
        """Let the machine sleep for *span*: wall clock and boottime move, monotonic stands still, nobody wakes."""
        self._suspended += span

    def freeze(self, span: timedelta) -> None:
        """Let the process stand still for *span*: every clock moves, and who is due in the meantime wakes only afterwards."""
        self._elapsed += span

    async def settle(self, rounds: int = _ROUNDS) -> None:
        """Let the event loop run whatever is ready, at most for *rounds*."""
        # No loop has a public way to tell whether anything is ready; one that does not tell gets all its rounds.
        ready = getattr(asyncio.get_running_loop(), "_ready", (None,))
        idle = 0
        for _ in range(rounds):
            await asyncio.sleep(0)
            idle = 0 if ready else idle + 1
            if idle == _IDLE_ROUNDS:
                return

    def _waiter(self, seconds: float) -> asyncio.Future[None]:
        due = self._elapsed + max(timedelta(seconds=seconds), _TICK)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (due, next(self._order), waiter))
        return waiter

    def _next_due(self) -> timedelta | None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def _wake(self, due: timedelta) -> None:
        while self._sleepers and self._sleepers[0][0] <= due:
            waiter = heapq.heappop(self._sleepers)[2]
            if not waiter.done():
                waiter.set_result(None)


class StoppedClock(SystemClock):
    """A clock whose date never changes; only its waits are real."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        """The same moment every time."""
        return self._now
