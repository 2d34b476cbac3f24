"""A few reads at a time, and never for long: checks and deliveries come first. The one way from the port to the rows."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from monitor.db import Reader
from monitor.errors import StoreUnavailable

MOST_AT_ONCE = 2
PATIENCE_SECONDS = 5.0

T = TypeVar("T")

Read = Callable[[Callable[[Reader], Any]], Awaitable[Any]]
"""Runs a function on one consistent view of the database, away from the event loop; `Database.read` is one. Raises StoreError."""


class ReadLimiter:
    """
    The reads of the web port.

    Args:
        at_once: most reads at the same time.
        patience_seconds: the longest wait for a turn, and the longest for a result.
    """

    def __init__(self, read: Read | None, *, at_once: int = MOST_AT_ONCE, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._read = read
        self._turns = asyncio.Semaphore(at_once)
        self._patience_seconds = patience_seconds

    async def run(self, work: Callable[[Reader], T]) -> T:
        """The result of *work*, a short read by an index. Raises StoreUnavailable: the database can't be read, or not in time."""
        if self._read is None:
            raise StoreUnavailable("there is no database to read")
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._turns.acquire()
        except TimeoutError:
            raise StoreUnavailable("too many reads at once; try again in a few seconds") from None
        reading: asyncio.Future[T] = asyncio.ensure_future(self._read(work))
        # The turn ends with the read itself, not with the request: a thread can't be called back.
        reading.add_done_callback(self._done)
        try:
            async with asyncio.timeout(self._patience_seconds):
                return await asyncio.shield(reading)
        except TimeoutError:
            raise StoreUnavailable("the database did not answer in time; try again in a few seconds") from None

    def _done(self, reading: "asyncio.Future[T]") -> None:
        self._turns.release()
        if not reading.cancelled():
            reading.exception()
