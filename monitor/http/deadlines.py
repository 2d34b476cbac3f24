"""The deadlines of requests under way."""

import asyncio
from typing import Any


class Deadlines:
    """Ends exchanges at their deadlines, with one timer for all: one for each, or `asyncio.timeout`, costs several times as much."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, waiter: asyncio.Future[Any], deadline: float) -> None:
        """End *waiter* with TimeoutError at *deadline*, in seconds of the loop's clock."""
        self._waiting[waiter] = deadline
        if self._timer is None or deadline < self._timer.when():
            self._start(deadline)

    def discard(self, waiter: asyncio.Future[Any]) -> None:
        """Forget *waiter*; the timer stays for the next one."""
        self._waiting.pop(waiter, None)

    def close(self) -> None:
        """End without the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _start(self, deadline: float) -> None:
        self.close()
        self._timer = asyncio.get_running_loop().call_at(deadline, self._expire, deadline)

    def _expire(self, reached: float) -> None:
        self._timer = None
        for waiter, deadline in self._waiting.items():
            if deadline <= reached and not waiter.done():
                waiter.set_exception(TimeoutError())
        later = [deadline for deadline in self._waiting.values() if deadline > reached]
        if later:
            self._start(min(later))
