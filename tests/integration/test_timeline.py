"""Checks of all connections in the order of time, on each kind of database."""

import random
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Select, text
from sqlalchemy.dialects import sqlite

from monitor.clock import SystemClock
from monitor.db import CheckRow, Database, Reader, checks_in_order, lifetimes, reading
from monitor.db.queries.history import LIFETIMES, SLICE
from monitor.domain.connections import ConnectionSpec
from monitor.errors import Reason
from tests.builders import DAY, HOUR, MINUTE, SECOND, START, at
from tests.sampling import sampled


@pytest.fixture
async def rows(database: Database) -> list[CheckRow]:
    """The checks of three connections over five weeks: crowds, gaps, and two at the same millisecond."""
    wanted = [ConnectionSpec("main", "", f"linkedin-{number}", "linkedin") for number in range(4)]
    ids = sorted((await database.write(lambda store: store.ensure_connections(wanted))).values())
    rng = random.Random(7)
    moments = [rng.choice((0, 1, 20)) * DAY + rng.randrange(4000) * SECOND for _ in range(150)] + [35 * DAY, 35 * DAY]
    found = {(moment, ids[number % 3]): number for number, moment in enumerate(moments)}
    checks = [CheckRow(number, at(moment), Reason.OK, 100, 200, "5d 3h", f"text {text % 5}") for (moment, number), text in found.items()]
    await database.write(lambda store: store.record_checks(checks))
    return sorted(checks, key=lambda row: (row.at, row.connection_id))


@pytest.mark.parametrize("page", sampled([7, 10_000, 1], first=2))
def test_order(database_url: str, rows: list[CheckRow], page: int) -> None:
    """Every check comes once, by time and connection, whatever the size of the pieces; each with its text."""
    assert list(checks_in_order(lambda: reading(database_url), START, at(36 * DAY), page)) == rows


def test_span(database_url: str, rows: list[CheckRow]) -> None:
    """The beginning counts, the end does not."""
    since, until = rows[10].at, rows[120].at
    found = list(checks_in_order(lambda: reading(database_url), since, until, 13))
    assert found == [row for row in rows if since <= row.at < until]
    assert list(checks_in_order(lambda: reading(database_url), until, since)) == []


def test_bounded(database_url: str, rows: list[CheckRow]) -> None:
    """No piece is larger than asked for, also where checks are crowded: what was handed out when the database is asked again."""
    handed: list[int] = []
    count = 0

    def counted() -> AbstractContextManager[Reader]:
        handed.append(count)
        return reading(database_url)

    for _ in checks_in_order(counted, START, at(36 * DAY), 5):
        count += 1
    assert count == len(rows)
    assert max(later - earlier for earlier, later in pairwise(handed)) <= 5


@pytest.mark.parametrize("query", [SLICE, LIFETIMES], ids=["slice", "lifetimes"])
async def test_no_scan(sqlite_url: str, query: Select[Any]) -> None:
    """SQLite seeks in the primary key for each connection; it never reads the whole history for a piece of it."""
    database = Database(sqlite_url, clock=SystemClock(), owner="test")
    await database.start()
    await database.close()
    words = text(f"EXPLAIN QUERY PLAN {query.compile(dialect=sqlite.dialect(paramstyle='named'))}")
    names = ("begin", "end", "after_at", "after_id", "limit", "param_1", "param_2")
    with reading(sqlite_url) as reader:
        plan = [row.detail for row in reader.rows(words, dict.fromkeys(names, 1))]
    assert any(step.startswith("SEARCH checks USING PRIMARY KEY") for step in plan), plan
    assert not any(step.startswith("SCAN checks") for step in plan), plan


async def test_lifetimes(database: Database, database_url: str, rows: list[CheckRow]) -> None:
    """Of every connection the oldest check and the retirement are known; of one that was never checked, nothing."""
    last = max(row.connection_id for row in rows)
    await database.write(lambda store: store.retire([last], at(HOUR + MINUTE)))
    with reading(database_url) as reader:
        found = lifetimes(reader)
    assert len(found) == 4
    assert found[last].retired_at == at(HOUR + MINUTE)
    assert found[last].first_at == min(row.at for row in rows if row.connection_id == last)
    assert [span for number, span in found.items() if number > last] == [(None, None)]
