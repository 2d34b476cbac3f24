"""What one durable write costs: the writer's grouped works, against one plain SQLite commit for each."""

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from monitor.clock import SystemClock
from monitor.db import CheckRow, Database, Store
from monitor.domain.connections import ConnectionSpec
from monitor.errors import Reason
from tests.bench.result import Result
from tests.builders import START, a_state

WORKS = 10_000
IN_FLIGHT = 32

_STATE = a_state(username="page1", display_name="Page 1", permissions=("r_liteprofile", "w_member_social"))


def measure() -> Iterator[Result]:
    """Microseconds of CPU and of time for each work of a check (history row and state), 32 in flight."""
    with tempfile.TemporaryDirectory() as folder:
        plain_cpu, plain_time = _plain(Path(folder) / "plain.db")
        ours_cpu, ours_time = asyncio.run(_ours(Path(folder) / "ours.db"))
    yield Result("durable works in a second, 32 in flight", 1 / ours_time, "/s")
    yield Result("CPU of one work", ours_cpu * 1e6, "us")
    yield Result("CPU of one work, as a multiple of a bare commit", ours_cpu / plain_cpu, "x", limit=1)
    yield Result("time of one work, as a multiple of a bare commit", ours_time / plain_time, "x", limit=1)


def _plain(path: Path) -> tuple[float, float]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE checks (connection_id, at, reason, duration_ms, token, PRIMARY KEY (connection_id, at)) WITHOUT ROWID")
    count = WORKS // 5
    began, cpu = time.perf_counter(), time.process_time()
    for number in range(count):
        connection.execute("INSERT INTO checks VALUES (?, ?, 'ok', 200, '59d 3h')", (number % 1000, number))
    result = (time.process_time() - cpu) / count, (time.perf_counter() - began) / count
    connection.close()
    return result


async def _ours(path: Path) -> tuple[float, float]:
    database = Database(f"sqlite:///{path}", clock=SystemClock(), owner="bench")
    await database.start()
    wanted = [ConnectionSpec("main", "", f"linkedin-{number}", "linkedin") for number in range(1000)]
    ids = list((await database.write(lambda store: store.ensure_connections(wanted))).values())
    versions = dict.fromkeys(ids, 0)
    numbers = iter(range(WORKS))

    async def check() -> None:
        for number in numbers:
            connection_id = ids[number % len(ids)]
            await database.write(_work(connection_id, number, versions[connection_id]))
            versions[connection_id] += 1

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(check() for _ in range(IN_FLIGHT)))
    result = (time.process_time() - cpu) / WORKS, (time.perf_counter() - began) / WORKS
    await database.close()
    return result


def _work(connection_id: int, number: int, version: int) -> Callable[[Store], None]:
    at = START + timedelta(milliseconds=number)
    row = CheckRow(connection_id, at, Reason.OK, 212, 200, "59d 3h", "Connection is working")
    state = replace(_STATE, last_check_at=at)

    def work(store: Store) -> None:
        store.record_checks([row])
        store.save_states({connection_id: (version, state)})

    return work
