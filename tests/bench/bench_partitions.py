"""On PostgreSQL: a day of history deleted row by row, against its partition dropped; and ways to insert the rows of a commit."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from monitor.clock import SystemClock, to_milliseconds
from monitor.config import RetentionSettings
from monitor.db import Database, partitions, uptime
from monitor.db.tables import checks
from monitor.db.transaction import row_insert
from monitor.workers.retention import RetentionWorker
from tests.bench.result import Result
from tests.builders import DAY, HOUR, START
from tests.clock import FakeClock
from tests.databases import migrated_postgres
from tests.postgres import start_postgres

ROWS = min(2_000_000, int(os.environ.get("ROWS", "2000000")))
"""Rows of a day; a quarter as many lie before it, in a partition that is wider than a day."""

DELETE_SECONDS = 20.0
"""So long rows are deleted one by one; what the whole day would take follows from that."""

GROUPS, GROUP = 600, 35
"""Commits, and the rows of each: as many as the writer puts together with 32 checks in flight."""

_A_DAY = 96
_KEPT = 10 * DAY


def measure() -> Iterator[Result]:
    """CPU and write-ahead log of both; CPU of each row, commit included. CPU is that of this process and of the server's sessions."""
    server = start_postgres()
    try:
        url = migrated_postgres(server)
        size = ROWS // _A_DAY
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO connections SELECT n, 'main', '', 'l-' || n, 'linkedin', NULL, '{}', 900000, 'auto', '[]', true"
                " FROM generate_series(1, %s) n",
                (size,),
            )
            yield from asyncio.run(_days(url, connection, size))
            yield from _inserts(connection)
    finally:
        server.stop()


async def _days(url: str, connection: psycopg.Connection[Any], size: int) -> list[Result]:
    database = Database(url, clock=SystemClock(), owner="bench")
    await database.start()
    try:
        await database.write(partial(uptime.put_until, until=START + 100 * DAY))
        # The day before START stays undivided, that of START has a partition.
        await database.write(lambda store: partitions.divide(store, START - DAY))
        # Foreign keys are not checked: that would take most of the time.
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "INSERT INTO checks SELECT c, %s + n * CAST(900000 AS BIGINT) + c %% 900 * 1000, 'ok', 180, 200, '59d 3h', 1"
            " FROM generate_series(1, %s) c, generate_series(%s, %s) n",
            (to_milliseconds(START - DAY), size, _A_DAY * 3 // 4, 2 * _A_DAY - 1),
        )
        connection.execute("SET session_replication_role = DEFAULT")
        connection.execute("VACUUM ANALYZE checks")
        one_by_one = await _retain(database, connection, START - HOUR, DELETE_SECONDS)
        await database.write(lambda store: partitions.divide(store, START + DAY + _KEPT))
        whole = await _retain(database, connection, START + DAY, 0)
    finally:
        await database.close()
    rows, seconds, log = one_by_one
    scale = size * _A_DAY / rows
    return [
        Result(f"{size * _A_DAY:,} rows: deleted row by row", seconds * scale, "s"),
        Result("of one of them", seconds / rows * 1e6, "us"),
        Result("its write-ahead log", log / rows, "B"),
        Result(f"{size * _A_DAY:,} rows: dropped as a day", whole[1] * 1e3, "ms"),
        Result("its write-ahead log", whole[2] / 1e3, "kB"),
        Result("dropped, as a share of deleted", whole[1] / (seconds * scale), "x", limit=0.01),
    ]


async def _retain(database: Database, connection: psycopg.Connection[Any], before: Any, seconds: float) -> tuple[int, float, int]:
    """Rows that went, with how much CPU and log: the steps of *seconds*, one at least."""
    worker = RetentionWorker(database, FakeClock(before + _KEPT), RetentionSettings(checks=_KEPT))
    count, log, cpu, began = _count(connection), _log(connection), _cpu(connection), time.perf_counter()
    await worker.step()
    while time.perf_counter() - began < seconds and await worker.step():
        pass
    cpu, log = _cpu(connection) - cpu, _log(connection) - log
    return count - _count(connection), cpu, log


def _count(connection: psycopg.Connection[Any]) -> int:
    return int((connection.execute("SELECT count(*) FROM checks").fetchone() or (0,))[0])


def _log(connection: psycopg.Connection[Any]) -> int:
    return int((connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone() or (0,))[0])


def _cpu(connection: psycopg.Connection[Any]) -> float:
    """CPU seconds of this process and of the sessions of its database."""
    rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND leader_pid IS NULL").fetchall()
    ticks = 0
    for (pid,) in rows:
        with contextlib.suppress(FileNotFoundError):
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13]))
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _inserts(connection: psycopg.Connection[Any]) -> Iterator[Result]:
    statement = row_insert(checks, ["connection_id", "at"]).texts["postgresql"]
    columns = ("int[]", "bigint[]", "text[]", "int[]", "int[]", "text[]", "bigint[]")
    arrays = f"INSERT INTO checks SELECT * FROM unnest({', '.join(f'%s::{one}' for one in columns)}) ON CONFLICT DO NOTHING"
    connection.execute("CREATE TEMP TABLE fresh (LIKE checks)")

    def copy(cursor: psycopg.Cursor[Any], rows: list[tuple[Any, ...]]) -> None:
        with cursor.copy("COPY fresh FROM STDIN") as into:
            for row in rows:
                into.write_row(row)
        cursor.execute("INSERT INTO checks SELECT * FROM fresh ON CONFLICT DO NOTHING")
        cursor.execute("TRUNCATE fresh")

    ways: dict[str, Callable[[psycopg.Cursor[Any], list[tuple[Any, ...]]], object]] = {
        "executemany": lambda cursor, rows: cursor.executemany(statement.encode(), rows),
        "unnest": lambda cursor, rows: cursor.execute(arrays.encode(), [list(column) for column in zip(*rows, strict=True)]),
        "COPY, then INSERT": copy,
    }
    for number, (name, insert) in enumerate(ways.items()):
        yield Result(f"insert a row by {name}", _insert(connection, insert, number) * 1e6, "us")


def _insert(connection: psycopg.Connection[Any], insert: Callable[..., object], number: int) -> float:
    """CPU seconds of a row."""
    at = to_milliseconds(START + (20 + number) * DAY)
    cpu = _cpu(connection)
    for group in range(GROUPS):
        rows = [(n + 1, at + group, "ok", 180, 200, "59d 3h", 1) for n in range(GROUP)]
        with connection.transaction(), connection.cursor() as cursor:
            insert(cursor, rows)
    return (_cpu(connection) - cpu) / (GROUPS * GROUP)
