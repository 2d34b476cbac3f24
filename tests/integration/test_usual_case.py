"""The usual case of a check in the database: a row of history and nothing else; counted, not timed."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Coroutine, Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from monitor.db import Database, Reader, Store, list_checks, read_state, read_states
from monitor.db.codec import whole_milliseconds
from monitor.domain.connections import Connection, ConnectionSpec
from monitor.domain.evaluation import Evaluation
from monitor.domain.policy import Policy
from monitor.domain.replies.checks import Observation, Verdict
from monitor.domain.replies.listings import ListedConnection
from monitor.domain.replies.token_life import parse_token_life
from monitor.domain.states import ConnectionState
from monitor.errors import Reason
from monitor.notify.identity import MonitorIdentity
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from monitor.state.unit_of_work import apply_listing, record_check
from tests.builders import DAY, HOUR, MINUTE, START, a_listed_connection, a_reply, an_observation
from tests.clock import FakeClock
from tests.databases import migrated_sqlite
from tests.story import API_HOST
from tests.virtual import monitoring, simple_world

CONFIG = EvaluationConfig(policy=Policy(), api_host=API_HOST, identity=MonitorIdentity("m", "1", ""))
CHECKS = 12


async def watching(database: Database, clock: FakeClock, *platform_ids: str) -> Registry:
    """A registry of these connections, as after a start."""
    specs = [ConnectionSpec("main", "", platform_id, "linkedin") for platform_id in platform_ids]
    ids = await database.write(lambda store: store.ensure_connections(specs))
    registry = Registry(CONFIG, clock)
    await database.read(registry.load)
    registry.set_connections([Connection(ids[spec.key], spec) for spec in specs])
    return registry


def passed(registry: Registry, number: int, text: str = "fine") -> Observation:
    """A check that tells nothing new, now."""
    now = registry.clock.now()
    reply = a_reply(message=text)
    return replace(an_observation(moment=now, reply=reply), connection_id=number, verdict=Verdict(Reason.OK, text))


async def check(database: Database, registry: Registry, number: int, text: str = "fine") -> Evaluation:
    evaluation = await database.write(partial(record_check, registry, passed(registry, number, text)))
    assert evaluation is not None
    return evaluation


async def calm(database: Database, registry: Registry, clock: FakeClock, number: int) -> None:
    """Checks until one is the usual case."""
    for _ in range(CHECKS):
        await clock.advance(15 * MINUTE)
        if (await check(database, registry, number)).usual:
            return
    pytest.fail("no check was the usual case")


def without_schedule(state: ConnectionState) -> ConnectionState:
    """*state* as a document and a row tell it: to the millisecond, without what the next check finds out again."""
    return replace(
        state,
        last_check_at=whole_milliseconds(state.last_check_at or START),
        last_evidence_at=whole_milliseconds(state.last_evidence_at or START),
        last_passed_at=whole_milliseconds(state.last_passed_at or START),
        token=replace(state.token, observed_at=whole_milliseconds(state.token.observed_at or START)),
        token_sightings=0,
        next_evaluation_at=None,
    )


async def test_read_back(database: Database) -> None:
    """A usual check changes no document and no version; a start, and a reader beside the daemon, know of it all the same."""
    clock = FakeClock(START + HOUR)
    registry = await watching(database, clock, "linkedin-a", "linkedin-b")
    number = registry.ids()[0]
    await calm(database, registry, clock, number)
    version = registry.versions[number]
    documents = await database.read(_documents)
    for text in ("fine", "well"):
        await clock.advance(15 * MINUTE)
        assert (await check(database, registry, number, text)).usual
    assert await database.read(_documents) == documents

    again = Registry(CONFIG, clock)
    await database.read(again.load)
    again.set_connections(registry.connections())
    assert again.versions == registry.versions
    assert again.versions[number] == version
    assert without_schedule(again.state(number)) == without_schedule(registry.state(number))
    assert again.state(number).last_detail == "well"
    assert again.state(number).next_evaluation_at == registry.state(number).next_evaluation_at
    stored = await database.read(lambda reader: read_state(reader, number))
    assert stored is not None
    assert without_schedule(stored) == without_schedule(registry.state(number))
    rows = await database.read(lambda reader: list_checks(reader, number))
    assert [row.at for row in rows] == sorted({row.at for row in rows}, reverse=True)
    assert (rows[0].at, rows[0].detail) == (whole_milliseconds(registry.state(number).last_check_at or START), "well")

    await clock.advance(15 * MINUTE)
    failed = replace(an_observation(Reason.CREDENTIAL_REJECTED, clock.now()), connection_id=number)
    await database.write(partial(record_check, again, failed))
    states = await database.read(read_states)
    assert (states[number][0], states[number][1].failures) == (version + 1, 1)


async def test_list(database: Database) -> None:
    """A row of a list that tells what is known changes no document; one that tells of another end, or much more of it, does."""
    clock = FakeClock(START + HOUR)
    registry = await watching(database, clock, "linkedin-a")
    number = registry.ids()[0]
    await calm(database, registry, clock, number)
    end = clock.now() + 60 * DAY

    async def changed_by(row: ListedConnection) -> bool:
        await clock.advance(MINUTE)
        version = registry.versions[number]
        await database.write(partial(apply_listing, registry, [(registry.connections()[0], row)], clock.now()))
        assert registry.state(number).token.observed_at == clock.now()
        return registry.versions[number] > version

    row = a_listed_connection(token_expires_at=end, token_status="valid")
    assert [await changed_by(row) for _ in range(3)] == [True, False, False]
    assert await changed_by(replace(row, token_expires_at=end + 30 * DAY))
    told = replace(row, token_expires_at=None, token=parse_token_life("59d"))
    assert await changed_by(told)
    assert not await changed_by(told)
    assert await changed_by(replace(told, token=parse_token_life("59d 1h")))


def _documents(reader: Reader) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in reader._connection.exec_driver_sql("SELECT * FROM connection_states ORDER BY connection_id")]


_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from monitor.clock import SystemClock
from monitor.db import Database
from tests.clock import FakeClock
from tests.integration.test_usual_case import START, HOUR, MINUTE, calm, check, watching

async def main():
    clock = FakeClock(START + HOUR)
    database = Database(sys.argv[1], clock=SystemClock(), owner="test")
    await database.start()
    registry = await watching(database, clock, "linkedin-a")
    number = registry.ids()[0]
    await calm(database, registry, clock, number)
    for _ in range(5):
        await clock.advance(15 * MINUTE)
        await check(database, registry, number, "last words")
    print(registry.state(number).last_check_at.isoformat(timespec="milliseconds"), registry.versions[number], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.slow
async def test_kill_9(tmp_path: Path) -> None:
    """After kill -9 the last usual check is known."""
    url = migrated_sqlite(tmp_path / "monitor.db")
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _KILLED, url, stdout=asyncio.subprocess.PIPE, env=environment, cwd=root
    )
    output, _ = await process.communicate()
    assert process.returncode == -signal.SIGKILL
    last_check_at, version = output.decode().splitlines()[-1].split()
    clock = FakeClock(START + 12 * HOUR)
    database = Database(url, clock=clock, owner="test")
    await database.start()
    try:
        ((stored_version, state),) = (await database.read(read_states)).values()
    finally:
        await database.close()
    assert state.last_check_at is not None
    assert (state.last_check_at.isoformat(timespec="milliseconds"), str(stored_version)) == (last_check_at, version)
    assert state.last_detail == "last words"


async def test_statements(database: Database) -> None:
    """However many usual checks one transaction holds: one statement and one row for each check, and no other statement."""
    clock = FakeClock(START + HOUR)
    registry = await watching(database, clock, "linkedin-a", "linkedin-b", "linkedin-c")
    for number in registry.ids():
        await calm(database, registry, clock, number)
    statements: Counter[str] = Counter()
    rows: list[int] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, _context: object, executemany: bool) -> None:
        statements[" ".join(statement.split()[:3])] += 1
        rows.append(len(parameters) if executemany else 1)

    def work(store: Store) -> list[Evaluation | None]:
        event.listen(store._connection.engine, "before_cursor_execute", note)
        try:
            evaluations = [record_check(registry, passed(registry, number), store) for number in registry.ids()]
            store.flush()
        finally:
            event.remove(store._connection.engine, "before_cursor_execute", note)
        return evaluations

    await clock.advance(15 * MINUTE)
    evaluations = await database.write(work)
    assert [evaluation is not None and evaluation.usual for evaluation in evaluations] == [True] * 3
    assert statements == {"INSERT INTO checks": 1, "INSERT INTO messages": 1}
    assert sum(rows) == 3 + 1
    statements.clear()
    rows.clear()
    await database.write(work)
    assert statements == {"INSERT INTO checks": 1}, "a text is written once a minute"
    assert rows == [3]


class Suspensions:
    """Runs a coroutine and counts how often it gives up control."""

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.count = 0
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, None]:
        """Part of the protocol of awaitables."""
        try:
            while True:
                future = self._coroutine.send(None)
                self.count += 1
                yield future
        except StopIteration:
            return


async def test_await_points(tmp_path: Path) -> None:
    """On a kept connection a check waits once: for its answer. It does not wait for the database."""
    clock = FakeClock()
    async with monitoring(tmp_path, simple_world(clock, "linkedin-a"), clock, "linkedin-a", schedule={"interval": MINUTE}) as one:
        await one.run(2 * MINUTE)
        await one.pause()
        connection, counts = one.connection("linkedin-a"), []
        for _ in range(3):
            suspensions = Suspensions(one.checkers[0]._check(connection))
            await suspensions
            counts.append(suspensions.count)
        assert counts[1:] == [1, 1]


async def test_one_wake_up_for_several(tmp_path: Path) -> None:
    """A loop wakes up at the end of the quarter of a second in which the next check is due: those due in the same one begin together."""
    clock = FakeClock()
    async with monitoring(tmp_path, simple_world(clock, "linkedin-a"), clock, "linkedin-a", schedule={"interval": MINUTE}) as one:
        await one.run(2 * MINUTE)
        await one.pause()
        checker = one.checkers[0]
        due = checker._queue.next_due()
        assert due is not None
        begins = clock.monotonic() + checker.idle_seconds()
        assert 0 <= begins - due < 0.25
        assert begins % 0.25 == pytest.approx(0)


async def test_group(tmp_path: Path) -> None:
    """Works that may wait share one transaction; one that may not takes all before it along, at once and in order."""
    database = Database(migrated_sqlite(tmp_path / "monitor.db"), clock=FakeClock(), owner="test")
    await database.start()
    transactions: list[int] = []
    order: list[int] = []

    def work(number: int, store: Store) -> None:
        transactions.append(id(store.scratch))
        order.append(number)
        store.scratch[number] = store

    try:
        await asyncio.gather(*(database.submit(partial(work, number), within_seconds=0.05) for number in range(10)))
        assert len(set(transactions)) == 1
        transactions.clear()
        order.clear()
        futures = [database.submit(partial(work, number), within_seconds=3600) for number in range(10)]
        await database.write(partial(work, 10))
        assert all(future.done() for future in futures)
        assert (len(set(transactions)), order) == (1, list(range(11)))
    finally:
        await database.close()


async def test_busy_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While results come faster than they can be written no check begins; it does as soon as there is room."""
    clock = FakeClock()
    async with monitoring(tmp_path, simple_world(clock, "linkedin-a"), clock, "linkedin-a", schedule={"interval": MINUTE}) as one:
        await one.run(2 * MINUTE)
        made = one.server.journal.total
        monkeypatch.setattr("monitor.db.writer.BUSY", 0)
        await one.run(5 * MINUTE)
        assert one.server.journal.total == made
        monkeypatch.undo()
        await one.run(2 * MINUTE)
        assert one.server.journal.total > made
