"""What one row of history costs on disk and in CPU, indexes included, averaged over many rows."""

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from monitor.clock import SystemClock
from monitor.db import CheckRow, Database, Store
from monitor.domain.connections import ConnectionSpec
from monitor.errors import Reason
from tests.bench.result import Result
from tests.builders import MINUTE, START

CONNECTIONS = 200
ROUNDS = 5000
GROUP = 100
"""A million rows: checks per connection, and checks in one transaction."""


def measure() -> Iterator[Result]:
    """Bytes per row in the database file, and CPU per row as a multiple of the same rows by bare `executemany`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "monitor.db"
        started = time.process_time()
        asyncio.run(_fill(path))
        ours = (time.process_time() - started) / (CONNECTIONS * ROUNDS)
        size = path.stat().st_size / (CONNECTIONS * ROUNDS)
        bare = _bare(Path(folder) / "bare.db")

    yield Result("history row on disk, indexes included", size, "bytes", limit=80)
    yield Result("store one row", ours * 1e6, "us")
    yield Result("store one row, as a multiple of bare sqlite3", ours / bare, "x")


async def _fill(path: Path) -> None:
    database = Database(f"sqlite:///{path}", clock=SystemClock(), owner="bench")
    await database.start()
    try:
        wanted = [ConnectionSpec("main", "", f"linkedin-page{number}", "linkedin") for number in range(CONNECTIONS)]
        ids = list((await database.write(lambda store: store.ensure_connections(wanted))).values())
        for number in range(ROUNDS):
            rows = [_row(connection_id, number) for connection_id in ids]
            for start in range(0, CONNECTIONS, GROUP):
                await database.write(_record(rows[start : start + GROUP]))
    finally:
        await database.close()


def _record(rows: list[CheckRow]) -> Callable[[Store], None]:
    return lambda store: store.record_checks(rows)


def _row(connection_id: int, number: int) -> CheckRow:
    at = START + number * 15 * MINUTE + timedelta(milliseconds=connection_id * 4321)
    if number % 50 == 49:
        return CheckRow(connection_id, at, Reason.API_TIMEOUT, 30000, None, None, "no answer within 30 s")
    return CheckRow(
        connection_id, at, Reason.OK, 180 + number % 97, 200, f"{59 - number % 60}d {23 - number % 24}h", "Connection is working"
    )


def _bare(path: Path) -> float:
    """CPU seconds per row of the plainest table there is, in groups of the same size."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE checks (connection_id int, at int, reason int, duration_ms int, token text)")
    groups = 1000
    started = time.process_time()
    for number in range(groups):
        rows = [(row.connection_id, number, 1, row.duration_ms, row.token) for row in (_row(index, number) for index in range(GROUP))]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO checks VALUES (?, ?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
    spent = time.process_time() - started
    connection.close()
    return spent / (groups * GROUP)
