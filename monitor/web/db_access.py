"""
What the port reads from the database: a few questions at a time, and never for long.

Checks and deliveries come first: visitors share a part of the readers, wait for their turn only so long, and a question
that takes longer is given up. The one way from the port to the rows.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from monitor.db import Reader
from monitor.errors import StoreUnavailable

AT_ONCE = 2
PATIENCE_SECONDS = 5.0

T = TypeVar("T")


class Read(Protocol):
    """Runs a question on one consistent view of the database, away from the event loop; `Database.read` is one."""

    async def __call__(self, work: Callable[[Reader], T]) -> T:
        """What *work* returns; raises StoreError when the database can't be read."""
        ...


class ReadLimiter:
    """
    The rows, for visitors.

    Args:
        read: asks the database; None when there is none to ask.
        at_once: most questions that are with the database at the same time.
        patience_seconds: the longest wait for a turn, and the longest for an answer.
    """

    def __init__(self, read: Read | None, *, at_once: int = AT_ONCE, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._read = read
        self._turns = asyncio.Semaphore(at_once)
        self._patience_seconds = patience_seconds

    async def ask(self, work: Callable[[Reader], T]) -> T:
        """
        What *work* finds. It must be short: a page of rows by an index.

        Raises:
            StoreUnavailable: the database can't be read, or did not answer in time.
        """
        if self._read is None:
            raise StoreUnavailable("there is no database to read")
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._turns.acquire()
        except TimeoutError:
            raise StoreUnavailable("too much is asked of the database at once; try again in a few seconds") from None
        question = asyncio.ensure_future(self._read(work))
        # The turn ends with the question itself, not with who asked: a thread can't be called back.
        question.add_done_callback(self._done)
        try:
            async with asyncio.timeout(self._patience_seconds):
                return await asyncio.shield(question)
        except TimeoutError:
            raise StoreUnavailable("the database did not answer in time; try again in a few seconds") from None

    def _done(self, question: "asyncio.Future[T]") -> None:
        self._turns.release()
        if not question.cancelled():
            question.exception()
