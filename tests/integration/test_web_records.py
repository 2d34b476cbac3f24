"""What visitors may ask of the database: in turns, with patience, and never in the way of the checks."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from monitor.clock import SystemClock
from monitor.db import Database, Reader, read_meta, read_outbox
from monitor.errors import StoreUnavailable
from monitor.web.db_access import ReadLimiter
from tests.waiting import eventually, patience


@pytest.fixture
async def opened(sqlite_url: str) -> AsyncIterator[Database]:
    """An open database."""
    database = Database(sqlite_url, clock=SystemClock(), owner="test")
    await database.start()
    yield database
    await database.close()


class Slow:
    """A question that lasts until it is let go, and counts how many of it run."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.let_go = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, _: Reader) -> str:
        """Wait to be let go."""
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.let_go.wait(patience())
        with self._lock:
            self.running -= 1
        return "answered"


async def test_answers(opened: Database) -> None:
    """A question gets what it finds on the database."""
    reads = ReadLimiter(opened.read)

    assert await reads.run(lambda reader: read_meta(reader, "instance_id")) == opened.instance_id


async def test_in_turns(opened: Database) -> None:
    """However many ask, only a few are with the database at once, so that its other readers find a place."""
    reads, slow = ReadLimiter(opened.read, at_once=2), Slow()
    crowd = [asyncio.create_task(reads.run(slow)) for _ in range(20)]
    await eventually(lambda: slow.running == 2)

    assert await opened.read(lambda reader: read_meta(reader, "nothing")) is None
    slow.let_go.set()

    assert await asyncio.gather(*crowd) == ["answered"] * 20
    assert slow.most == 2


async def test_patience(opened: Database) -> None:
    """A question that takes too long is given up, but keeps its turn until the database is done with it."""
    reads, slow = ReadLimiter(opened.read, at_once=1, patience_seconds=0.05), Slow()

    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        await reads.run(slow)
    with pytest.raises(StoreUnavailable, match="too many reads"):
        await reads.run(slow)
    slow.let_go.set()
    await eventually(lambda: slow.running == 0)

    assert await reads.run(lambda reader: read_meta(reader, "instance_id")) == opened.instance_id


async def test_visitors_who_leave(opened: Database) -> None:
    """Who hangs up while asking leaves no turn behind."""
    reads, slow = ReadLimiter(opened.read, at_once=1), Slow()
    for _ in range(3):
        gone = asyncio.create_task(reads.run(slow))
        await eventually(lambda: slow.running == 1)
        gone.cancel()
        slow.let_go.set()
        await eventually(lambda: slow.running == 0)
        slow.let_go.clear()

    assert await reads.run(lambda reader: read_meta(reader, "instance_id")) == opened.instance_id


async def test_nothing_to_read(opened: Database) -> None:
    """A database that is not there, or no longer, is told as such, and the next question may ask again."""
    reads = ReadLimiter(opened.read)
    await opened.close()

    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="not open"):
            await reads.run(read_outbox)
    with pytest.raises(StoreUnavailable, match="no database"):
        await ReadLimiter(None).run(read_outbox)
