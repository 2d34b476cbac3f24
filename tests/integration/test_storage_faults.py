"""A disk that is really full, a server that really crashes: what was told to be written is written, in order, once."""

import asyncio
import contextlib
import ctypes
import os
import random
import resource
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from monitor.clock import SystemClock
from monitor.db import Database, Store, read_scopes
from monitor.db.tables import scopes
from tests.postgres import PostgresServer, start_postgres
from tests.waiting import eventually

MIB = 1024 * 1024
DOCUMENT = b'"' + b"x" * 20_000 + b'"'


def put(number: int, document: bytes = b"{}") -> Callable[[Store], int]:
    """A work that inserts a scope named after *number*, and numbers it by those that are there already."""

    def work(store: Store) -> int:
        before = int(store.rows(select(func.count()).select_from(scopes))[0][0])
        store.save_scopes({f"{number:05}": (0, document)})
        return before

    return work


def fault(call: Callable[[], int]) -> None:
    if call() != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB where we may mount one; elsewhere a folder in which no file may grow beyond 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir(mode=0o700)
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        fault(lambda: libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, b"size=12m,mode=0700"))
    except OSError:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 * MIB, limits[1]))
        yield folder
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        return
    yield folder
    fault(lambda: libc.umount2(str(folder).encode(), 2))


def make_room(folder: Path) -> None:
    """What an operator does: free the disk, or raise the limit."""
    (folder / "other").unlink(missing_ok=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1], resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


async def test_a_full_disk(small_disk: Path) -> None:
    """
    On a full disk works wait in order, readers read, and all that waits is written once there is room: nothing is lost, nothing
    doubled, and the file is sound.
    """
    path = small_disk / "monitor.db"
    database = Database(f"sqlite:///{path}", clock=SystemClock(), owner="test")
    await database.start()
    fill(small_disk / "other", leave=2 * MIB)

    futures = [database.submit(put(number, DOCUMENT)) for number in range(400)]
    await eventually(lambda: not database.storage_up, what="the disk is full")
    done = sum(future.done() for future in futures)
    assert 0 < done < 400
    assert len(await database.read(read_scopes)) == done
    make_room(small_disk)
    assert await asyncio.gather(*futures) == list(range(400))
    assert database.storage_up
    assert await database.read(lambda reader: sorted(read_scopes(reader))) == [f"{number:05}" for number in range(400)]
    await database.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",)


def limited() -> bool:
    return resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY


def exists(path: Path) -> bool:
    return path.exists()


def fill(path: Path, *, leave: int) -> None:
    """Another program's file, which leaves only so many bytes."""
    space = os.statvfs(path.parent)
    size = space.f_bavail * space.f_frsize - leave
    if not limited():
        path.write_bytes(b"\0" * size)


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that a test may crash."""
    server = start_postgres()
    yield server
    server.stop()


@pytest.mark.slow
async def test_a_server_that_crashes(own_server: PostgresServer) -> None:
    """
    A PostgreSQL server that crashes and recovers three times under load: every work is done exactly once and in order, also
    those whose commit got no answer, and the lease is still ours.
    """
    rng = random.Random(5)
    database = Database(own_server.create_database(), clock=SystemClock(), owner="test")
    await database.start()
    results: list[int] = []

    async def load() -> None:
        for start in range(0, 1000, 20):
            works = [database.submit(put(number)) for number in range(start, start + 20)]
            results.extend(await asyncio.gather(*works))

    writing = asyncio.create_task(load())
    for crash in range(1, 4):
        await eventually(lambda crash=crash: len(results) >= 200 * crash)  # type: ignore[misc]
        await asyncio.sleep(rng.random() / 50)  # anywhere in the middle of a transaction
        own_server.crash()
        await eventually(lambda: not database.storage_up or writing.done())
        # Not in a thread: the server ends with the thread that started it.
        own_server.start_again()
    await writing
    assert results == list(range(1000)), "each saw exactly those before it"
    assert await database.read(lambda reader: sorted(read_scopes(reader))) == [f"{number:05}" for number in range(1000)]
    assert database.storage_up
    await database.close()
