"""Supervised loops, with a bounded drain: `step` until nothing is left, then wait. A loop that raises ends the process."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from monitor.clock import Clock
from monitor.logs import get_logger

_log = get_logger(__name__)

Step = Callable[[], Awaitable[bool]]

_SHORTEST_REST_SECONDS = 0.02
_AT_ONCE_SECONDS = 5.0


class LoopProgress(Protocol):
    """What the watchdog reads: the name, and when the last step ended, in seconds of the monotonic clock."""

    @property
    def name(self) -> str: ...  # noqa: D102 - see the class

    @property
    def last_step(self) -> float: ...  # noqa: D102 - see the class


@dataclass(frozen=True, slots=True)
class WatchdogLimits:
    """
    After how many seconds without progress systemd's watchdog is no longer pinged.

    With the default timeouts of requests all of them together are below the minute of `WatchdogSec=`.

    Attributes:
        step: a step of a loop, in addition to its network timeouts.
        rest: the longest rest of a loop; the scheduler wakes it before that.
        scheduler: between two jobs.
        writer: the probe of the database writer, while storage is up.
    """

    step: float = 20.0
    rest: float = 5.0
    scheduler: float = 30.0
    writer: float = 30.0


class Loop:
    """
    One supervised loop: a name, a step, and when it last finished one.

    Args:
        rest_seconds: the longest wait when there is nothing to do; a wake ends it.
        idle: seconds until there will be something to do, where the worker knows; ends the rest in time.
        delay_seconds: the wait before the first step; a wake ends it.
    """

    def __init__(
        self,
        name: str,
        step: Step,
        *,
        rest_seconds: float,
        clock: Clock,
        stop: asyncio.Event,
        idle: Callable[[], float] | None = None,
        delay_seconds: float = 0.0,
    ) -> None:
        self.name = name
        self.wake = asyncio.Event()
        self.last_step = clock.monotonic()
        self._step = step
        self._rest_seconds = rest_seconds
        self._clock = clock
        self._stop = stop
        self._idle = idle
        self._delay_seconds = delay_seconds
        self._rests_until = clock.monotonic()

    async def run(self) -> None:
        """Step until the stop is requested; the current step is finished first."""
        if self._delay_seconds:
            await self._clock.wait(self.wake, self._delay_seconds)
        while not self._stop.is_set():
            self.wake.clear()
            busy = await self._step()
            self.last_step = self._clock.monotonic()
            if busy:
                await asyncio.sleep(0)  # noqa: TID251 - yields to the other loops, takes no time
            else:
                rest_seconds = self._rest()
                self._rests_until = self._clock.monotonic() + rest_seconds
                await self._clock.wait(self.wake, rest_seconds)

    def wake_if_due(self) -> None:
        """Wake it, unless there is nothing to do yet and its rest ends in time."""
        idle_seconds = 0.0 if self._idle is None else self._idle()
        # What there is to do may have come up since it began to rest, such as the next check of the only connection.
        if idle_seconds <= 0 or self._clock.monotonic() + idle_seconds < self._rests_until - _SHORTEST_REST_SECONDS:
            self.wake.set()

    def _rest(self) -> float:
        # Something that is due but postponed must not turn the wait into a spin.
        return self._rest_seconds if self._idle is None else min(self._rest_seconds, max(self._idle(), _SHORTEST_REST_SECONDS))


async def drain(tasks: dict[str, asyncio.Task[None]], *, seconds: float, abort: asyncio.Event) -> list[str]:
    """Let *tasks* finish, at most *seconds* or until *abort*; cancels the rest, and returns their names."""
    pending = {task for task in tasks.values() if not task.done()}
    if pending:
        aborted = asyncio.create_task(abort.wait())
        finished = asyncio.create_task(asyncio.wait(pending))
        await asyncio.wait({finished, aborted}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for helper in (aborted, finished):
            helper.cancel()
    left = [name for name, task in tasks.items() if not task.done()]
    for name in left:
        _log.warning("drain.exceeded", loop=name)
        tasks[name].cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    return left
