import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from monitor.clock import SystemClock
from monitor.db import Database, Store, read_scopes
from monitor.db.errors import translate
from monitor.db.maintenance import parse
from monitor.db.postgres import PostgresBackend
from monitor.db.writer import QUEUE, Writer
from monitor.errors import AnotherInstance, StaleStateError, StoreCorrupt, StoreError, StoreUnavailable
from tests.waiting import eventually, patience


def put(name: str, document: bytes = b"{}") -> Callable[[Store], str]:
    """A work that inserts a scope and returns its name."""

    def work(store: Store) -> str:
        store.save_scopes({name: (0, document)})
        return name

    return work


async def names(database: Database) -> list[str]:
    return sorted(await database.read(read_scopes))


class Gate:
    """A work that holds the writer until it is opened, so that others gather behind it."""

    def __init__(self) -> None:
        self._entered, self._open = threading.Event(), threading.Event()
        self.passed: asyncio.Future[None] | None = None

    @classmethod
    async def closed(cls, database: Database) -> "Gate":
        """A gate before which the writer stands."""
        gate = cls()
        gate.passed = database.submit(gate._work)
        assert await asyncio.to_thread(gate._entered.wait, patience())
        return gate

    def _work(self, _store: Store) -> None:
        self._entered.set()
        assert self._open.wait(patience())

    async def gather(self, futures: list["asyncio.Future[str]"]) -> list[Any]:
        """Open the gate; what became of *futures*, exceptions included."""
        self._open.set()
        return await asyncio.gather(*futures, return_exceptions=True)


async def test_works_share_a_transaction(database: Database) -> None:
    """What waits together is committed together: the works of a group share one scratch, and see each other's writes."""
    gate = await Gate.closed(database)

    def work(store: Store) -> str:
        seen = store.scratch.setdefault("seen", [])
        assert isinstance(seen, list)
        seen.append(len(seen))
        return str(len(seen))

    futures = [database.submit(work) for _ in range(150)]
    results = await gate.gather(futures)
    assert results[:100] == [str(n + 1) for n in range(100)], "a hundred at most"
    assert results[100:] == [str(n + 1) for n in range(50)]
    assert await database.write(lambda store: store.scratch) == {}


async def test_only_the_culprit_fails(database: Database) -> None:
    """A work that raises takes nobody with it: the group is rolled back and every work is run again by itself."""
    gate = await Gate.closed(database)
    runs: list[str] = []

    def bad(store: Store) -> str:
        runs.append("bad")
        store.save_scopes({"left behind": (0, b"{}")})
        raise LookupError("no")

    futures = [database.submit(put("a")), database.submit(bad), database.submit(put("b"))]
    results = await gate.gather(futures)
    assert [results[0], results[2]] == ["a", "b"]
    assert isinstance(results[1], LookupError)
    assert await names(database) == ["a", "b"]
    assert runs == ["bad", "bad"], "once in the group, once alone"


async def test_a_late_error_finds_its_work(database: Database) -> None:
    """A stale state shows only when the batch is written; the error still reaches its own work alone."""
    gate = await Gate.closed(database)

    def stale(store: Store) -> str:
        from tests.builders import a_state

        store.save_states({4711: (3, a_state())})
        return "never"

    results = await gate.gather([database.submit(put("a")), database.submit(stale), database.submit(put("b"))])
    assert isinstance(results[1], StaleStateError)
    assert await names(database) == ["a", "b"]


async def test_calls_after_the_commit(database: Database) -> None:
    """Calls for after the commit run after it, once, before the future is done, and never for what was rolled back."""
    gate = await Gate.closed(database)
    calls: list[str] = []

    def good(store: Store) -> str:
        store.after_commit(lambda: calls.append("good"))
        return "good"

    def bad(store: Store) -> str:
        store.after_commit(lambda: calls.append("bad"))
        raise LookupError("no")

    def loud(store: Store) -> str:
        store.after_commit(lambda: 1 // 0)  # type: ignore[arg-type]
        return "loud"

    futures = [database.submit(good), database.submit(bad)]
    futures[0].add_done_callback(lambda _: calls.append("done"))
    await gate.gather(futures)
    assert calls == ["good", "done"]
    assert await database.write(loud) == "loud", "a failing call does not undo the commit"
    assert database.storage_up


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process' write lock, as a backup tool or a shell would hold it."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("COMMIT")
    other.close()


async def test_locked_by_others(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody else holds the file works wait, readers read, and then everything lands in order."""
    monkeypatch.setattr("monitor.db.sqlite._BUSY_SECONDS", 0.2)
    database = Database(sqlite_url, clock=SystemClock(), owner="test")
    await database.start()
    order: list[str] = []
    with locked(Path(sqlite_url.removeprefix("sqlite:///"))):
        futures = [database.submit(put(f"{n:03}")) for n in range(250)]
        for future in futures:
            future.add_done_callback(lambda done: order.append(done.result()))
        await eventually(lambda: not database.storage_up)
        assert database.failing_since is not None
        assert await names(database) == []
        assert not any(future.done() for future in futures)
    await asyncio.gather(*futures)
    assert order == [f"{n:03}" for n in range(250)]
    assert await names(database) == order
    assert database.storage_up
    await database.close()


async def test_a_slow_reader_holds_up_no_housekeeping(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log can't be emptied while somebody reads what is in it, such as a backup; the writer does not wait for that, however patient it is."""
    monkeypatch.setattr("monitor.db.sqlite._BUSY_SECONDS", 2 * patience())
    database = Database(sqlite_url, clock=SystemClock(), owner="test")
    await database.start()
    await database.write(put("a"))
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM scopes").fetchone() == (1,)
        await database.write(put("b"))
        async with asyncio.timeout(patience()):
            await database.tidy()
            await database.write(put("c"))
        assert size(path.with_name("monitor.db-wal")) > 0
        reader.execute("COMMIT")
    await database.tidy()
    assert size(path.with_name("monitor.db-wal")) == 0
    await database.close()


def size(path: Path) -> int:
    return path.stat().st_size


@pytest.mark.parametrize("trouble", ["max_page_count = 1", "query_only = ON"])
async def test_a_full_or_read_only_disk(sqlite_url: str, trouble: str) -> None:
    """When the disk is full or read-only works wait, and are written once it is not."""
    database = Database(sqlite_url, clock=SystemClock(), owner="test")
    await database.start()
    # Holds for this connection only; the next one finds the disk in order.
    await database.write(lambda store: store.after_commit(lambda: _set(store, trouble)))
    document = b'"' + b"x" * 100_000 + b'"'
    assert await asyncio.gather(*(database.write(put(name, document)) for name in "abc")) == ["a", "b", "c"]
    assert await names(database) == ["a", "b", "c"]
    assert database.storage_up
    await database.close()


def _set(store: Store, pragma: str) -> None:
    driver = store._connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.execute(f"PRAGMA {pragma}")


async def test_the_queue_has_an_end(sqlite_url: str) -> None:
    """The oldest works are kept; what comes when ten thousand wait is refused at once, but not what may not wait."""
    database = Database(sqlite_url, clock=SystemClock(), owner="test")
    await database.start()
    gate = await Gate.closed(database)
    futures = [database.submit(lambda _store: "kept") for _ in range(QUEUE)]
    with pytest.raises(StoreUnavailable, match="waiting"):
        await database.submit(lambda _store: "refused", within_seconds=1)
    futures.append(database.submit(lambda _store: "kept"))
    assert set(await gate.gather(futures)) == {"kept"}
    await database.close()


async def test_close_writes_what_is_queued(database: Database) -> None:
    """Closing writes everything that was submitted before; afterwards nothing is taken."""
    futures = [database.submit(put(f"{n:03}")) for n in range(250)]
    await database.close()
    assert [future.result() for future in futures] == [f"{n:03}" for n in range(250)]
    with pytest.raises(StoreUnavailable, match="not open"):
        await database.write(put("late"))
    with pytest.raises(StoreUnavailable, match="not open"):
        await names(database)
    assert not database.storage_up


async def test_close_does_not_wait_for_ever(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that stays locked fails what is queued instead of holding up the end."""
    monkeypatch.setattr("monitor.db.sqlite._BUSY_SECONDS", 0.1)
    monkeypatch.setattr("monitor.db.writer._DRAIN_SECONDS", 0.5)
    database = Database(sqlite_url, clock=SystemClock(), owner="test")
    await database.start()
    with locked(Path(sqlite_url.removeprefix("sqlite:///"))):
        futures = [database.submit(put(f"{n:03}")) for n in range(150)]
        async with asyncio.timeout(patience()):
            await database.close()
        results = await asyncio.gather(*futures, return_exceptions=True)
    assert {type(result) for result in results} == {StoreUnavailable}


async def test_cancelled_waiting(database: Database) -> None:
    """Who stops waiting does not stop the write."""
    gate = await Gate.closed(database)
    task = asyncio.create_task(database.write(put("a")))
    await asyncio.sleep(0)
    task.cancel()
    await gate.gather([database.submit(put("b"))])
    assert await names(database) == ["a", "b"]


async def test_damage_ends_writing(database: Database) -> None:
    """Damage found while running ends all writing, for what waits too, and says so to whoever asked."""
    gate = await Gate.closed(database)

    def damaged(_store: Store) -> str:
        raise StoreCorrupt("page 3")

    results = await gate.gather([database.submit(damaged), database.submit(put("a"))])
    assert {type(result) for result in results} == {StoreCorrupt}
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match="page 3"):
            await database.ended()
    with pytest.raises(StoreCorrupt):
        await database.write(put("b"))
    assert not database.storage_up


# PostgreSQL: connections break, and another instance may take over


async def test_postgres_ends_the_session(postgres_url: str) -> None:
    """A server that drops the connection costs a moment, not a write."""
    database = Database(postgres_url, clock=SystemClock(), owner="test")
    await database.start()

    def suicide(store: Store) -> None:
        if not runs:
            runs.append(1)
            store.rows(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    runs: list[int] = []
    await database.write(put("a"))
    ended = database.submit(suicide)
    await asyncio.gather(*(database.submit(put(f"{n}")) for n in range(5)))
    await ended
    assert await names(database) == ["0", "1", "2", "3", "4", "a"]
    await database.close()


async def test_a_lost_answer_is_no_lost_commit(postgres_url: str) -> None:
    """When the connection breaks during COMMIT the server is asked what became of it; nothing is done twice."""

    class LosesAnswers(PostgresBackend):
        patience = (0.01, 0.01)
        before, after = False, False

        def commit(self) -> None:
            if self.before:
                self.before = False
                self.rollback()
                raise StoreUnavailable("the server went away before it committed")
            super().commit()
            if self.after:
                self.after = False
                raise StoreUnavailable("the server committed and went away")

    backend = LosesAnswers(parse(postgres_url), owner="test", clock=SystemClock())
    await asyncio.to_thread(backend.open)
    writer = Writer(backend, clock=SystemClock(), on_end=lambda _error: None)
    writer.start()
    runs: list[str] = []

    def count(store: Store) -> int:
        runs.append("run")
        version, document = read_scopes(store).get("count", (0, b"0"))
        store.save_scopes({"count": (version, str(int(document) + 1).encode())})
        return int(document) + 1

    assert await writer.submit(count) == 1
    backend.after = True
    assert await writer.submit(count) == 2
    assert len(runs) == 2
    backend.before = True
    assert await writer.submit(count) == 3
    assert len(runs) == 4, "rolled back, so run again"
    await asyncio.to_thread(writer.stop)
    backend.close()


async def test_take_over(postgres_url: str) -> None:
    """An instance that stopped renewing its lease is replaced; when it wakes up it writes nothing and ends."""
    first = Database(postgres_url, clock=SystemClock(), owner="first")
    await first.start()
    with pytest.raises(AnotherInstance, match=r"pid \d+ on host .* \(first\)"):
        await Database(postgres_url, clock=SystemClock(), owner="second").start()

    await _change_lease(postgres_url, "expires_at = 0")
    second = Database(postgres_url, clock=SystemClock(), owner="second")
    await second.start()
    await second.write(put("mine"))
    with pytest.raises(AnotherInstance, match="another instance holds the database"):
        await first.write(put("late"))
    with pytest.raises(AnotherInstance):
        await first.ended()
    await first.close()
    assert await names(second) == ["mine"]
    await second.write(put("still here"))
    await second.close()


async def test_the_fence(postgres_url: str) -> None:
    """The lease row alone keeps a replaced instance from writing, even while its session and its lock live on."""
    database = Database(postgres_url, clock=SystemClock(), owner="test")
    await database.start()
    gate = await Gate.closed(database)
    change = asyncio.ensure_future(_change_lease(postgres_url, "holder = 'other', epoch = epoch + 1"))
    await asyncio.sleep(0.05)
    assert not change.done(), "nobody takes over in the middle of a transaction"
    await gate.gather([])
    await change
    with capture_logs() as logs, pytest.raises(AnotherInstance, match="taken over"):
        await asyncio.gather(*(database.write(put(f"late {number}")) for number in range(3)))
    assert [(entry["event"], entry["writes"]) for entry in logs if entry["log_level"] == "error"] == [("database.writes_lost", 3)]
    assert await names(database) == []
    await database.close()


async def test_an_idle_writer_renews_its_lease(postgres_url: str) -> None:
    """Without work the lease is renewed all the same, and a lost one is noticed."""
    database = Database(postgres_url, clock=SystemClock(), owner="test", standby_lease=timedelta(milliseconds=150))
    await database.start()
    await _change_lease(postgres_url, "expires_at = 0")
    await eventually(lambda: _lease_is_valid(postgres_url))
    await _change_lease(postgres_url, "epoch = epoch + 1")
    async with asyncio.timeout(patience()):
        with pytest.raises(AnotherInstance):
            await database.ended()
    await database.close()


async def _change_lease(url: str, change: str) -> None:
    def run() -> None:
        with psycopg.connect(url) as connection:
            connection.execute(f"UPDATE lease SET {change}".encode())

    await asyncio.to_thread(run)


def _lease_is_valid(url: str) -> bool:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT expires_at > 0 FROM lease").fetchone()
    return row == (True,)


async def test_errors_are_ours(database: Database) -> None:
    """What the libraries raise stays behind the door."""

    def broken(store: Store) -> None:
        store.rows(text("SELECT * FROM nowhere"))

    with pytest.raises(StoreError) as caught:
        await database.write(broken)
    assert type(caught.value).__module__ == "monitor.errors"
    with pytest.raises(StoreError):
        await database.read(broken)  # type: ignore[arg-type]
    assert database.storage_up


def test_a_server_that_does_not_answer() -> None:
    """A connection that is not made in time is a database that is away, as one that is refused: the work is tried again."""
    for original in (psycopg.errors.ConnectionTimeout("connection timeout expired"), psycopg.OperationalError("connection refused")):
        assert isinstance(translate(OperationalError("SELECT 1", None, original)), StoreUnavailable)
