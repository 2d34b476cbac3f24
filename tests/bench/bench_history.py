"""What one row of history costs on disk and in CPU; and what it costs to read, and to delete a day, with ten million rows."""

import asyncio
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from monitor.clock import SystemClock
from monitor.config import RetentionSettings
from monitor.db import CheckRow, Database, Reader, Store, list_checks, uptime
from monitor.domain.connections import ConnectionSpec
from monitor.errors import Reason
from monitor.workers.retention import RetentionWorker
from tests.bench.result import Result
from tests.builders import DAY, HOUR, MINUTE, START
from tests.clock import FakeClock
from tests.databases import migrated_sqlite

ROWS = int(os.environ.get("ROWS", "10000000"))
DAYS = 90
_A_DAY = 96

CONNECTIONS = 200
ROUNDS = int(os.environ.get("ROUNDS", "5000"))
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
    with tempfile.TemporaryDirectory() as folder:
        yield from asyncio.run(_long(Path(folder) / "state" / "monitor.db"))


async def _long(path: Path) -> list[Result]:
    """Milliseconds of CPU, with a history of so many rows in ninety days."""
    url, size = migrated_sqlite(path), max(1, ROWS // (DAYS * _A_DAY))
    _generate(path, size)
    clock = FakeClock(START + DAYS * DAY)
    database = Database(url, clock=clock, owner="bench")
    await database.start()
    try:
        pages = [await _cpu(database, partial(list_checks, connection_id=number, limit=100)) for number in range(1, min(size, 20))]
        one = await _cpu(database, lambda reader: uptime.uptimes(reader, clock.now(), size))
        of_all = await _cpu(database, lambda reader: uptime.uptimes(reader, clock.now()))
        daily = await _cpu(database, lambda reader: uptime.daily_uptime(reader, range(1, min(size, 100) + 1), START))
        before, steps = time.process_time(), [0.0]
        worker = RetentionWorker(database, clock, RetentionSettings(checks=(DAYS - 1) * DAY))
        began, more = before, True
        while more:
            more = await worker.step()
            began, last = time.process_time(), began
            steps.append(began - last)
        left = await database.read(uptime.first_check)
    finally:
        await database.close()
    assert left is not None
    assert left >= START + DAY
    rows = size * DAYS * _A_DAY
    return [
        Result(f"{rows:,} rows: a page of history", max(pages) * 1e3, "ms", limit=20),
        Result(f"{rows:,} rows: uptime of {DAYS} days, one connection", one * 1e3, "ms", limit=20),
        Result(f"{rows:,} rows: uptime of {DAYS} days, all {size:,} connections", of_all * 1e3, "ms", limit=300),
        Result(f"{rows:,} rows: uptime of each of {DAYS} days, a page of connections", daily * 1e3, "ms", limit=300),
        Result(f"{rows:,} rows: delete a day of them, per row", (began - before) / (size * _A_DAY) * 1e6, "us", limit=20),
        Result(f"{rows:,} rows: delete a day of them, the longest step", max(steps) * 1e3, "ms"),
    ]


async def _cpu(database: Database, query: Callable[[Reader], object]) -> float:
    before = time.process_time()
    await database.read(query)
    return time.process_time() - before


def _generate(path: Path, size: int) -> None:
    """Ninety days of *size* connections, checked every quarter of an hour, with their sums; inserted in the order of the keys."""
    start, pause, day, hour = (
        number // timedelta(milliseconds=1) for number in (START - datetime.fromtimestamp(0, UTC), 15 * MINUTE, DAY, HOUR)
    )
    with sqlite3.connect(path, isolation_level=None) as database:
        database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN")
        numbers = range(1, size + 1)
        database.executemany(
            "INSERT INTO connections VALUES (?, 'main', '', 'linkedin-' || ?, 'linkedin', NULL, '{}', 900000, 'auto', '[]', 1, NULL, NULL)",
            ((number, number) for number in numbers),
        )
        database.execute("INSERT INTO connection_states SELECT id, 1, 'ok', '{}' FROM connections")
        database.execute("INSERT INTO messages VALUES (1, 'Connection is working', ?)", (start + DAYS * day,))
        count = "WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n + 1 < {})"
        database.execute(
            f"INSERT INTO checks {count.format(DAYS * _A_DAY)}"
            f" SELECT c.id, {start} + n * {pause} + c.id % 900 * 1000, 'ok', 180 + n % 97, 200, (59 - n / 96 % 60) || 'd 3h', 1"
            " FROM connections c, n ORDER BY c.id, n"
        )
        database.execute(
            f"INSERT INTO uptime_days {count.format(DAYS)} SELECT {start} + n * {day}, c.id, {day}, 0, 0 FROM n, connections c"
        )
        database.execute(
            f"INSERT INTO uptime_hours {count.format(2 * 24)} SELECT {start} + {(DAYS - 2) * day} + n * {hour}, c.id, {hour}, 0, 0 FROM n, connections c"
        )
        database.execute("INSERT INTO meta VALUES (?, ?)", (uptime.UNTIL, str(start + DAYS * day)))
        database.execute("COMMIT")


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
