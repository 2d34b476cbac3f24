"""The partitions of the history on PostgreSQL: an upgrade, days to come and days that are dropped, and what is read of them."""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from structlog.testing import capture_logs

from monitor.clock import SystemClock, to_milliseconds
from monitor.config import RetentionSettings
from monitor.db import CheckRow, Database, Store, list_checks, partitions, uptime
from monitor.db.queries.history import last_checks_at
from monitor.db.transaction import Transaction
from monitor.domain.connections import ConnectionSpec
from monitor.domain.reasons import Health
from monitor.domain.uptime import day_of
from monitor.errors import Reason, StoreUnavailable
from monitor.workers.retention import RetentionWorker
from tests.builders import DAY, HOUR, START, a_state, at
from tests.clock import FakeClock
from tests.integration.test_indexes import recorded
from tests.integration.test_migrations import migrate
from tests.postgres import PostgresServer
from tests.waiting import eventually

SETTINGS = RetentionSettings(checks=10 * DAY)
_INSERT = "INSERT INTO checks VALUES (1, %s, 'ok', 5, 200, NULL, NULL)"
_ROWS = "SELECT * FROM checks ORDER BY connection_id, at"


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url) as connection:
        yield connection


@pytest.fixture
async def database(postgres_url: str) -> Any:
    """A started database with one connection, upgraded on the day before `START`."""
    with connected(postgres_url) as connection:
        (day,) = connection.execute("SELECT max(substr(relname, 13)) FROM pg_class WHERE relname ~ '^checks_from_\\d+$'").fetchone() or (
            "",
        )
        start = to_milliseconds(START)
        connection.execute(f"DROP TABLE checks_until_{day}, checks_from_{day}".encode())
        connection.execute(f"CREATE TABLE checks_until_20300101 PARTITION OF checks FOR VALUES FROM (MINVALUE) TO ({start})".encode())
        connection.execute(f"CREATE TABLE checks_from_20300101 PARTITION OF checks FOR VALUES FROM ({start}) TO (MAXVALUE)".encode())
    opened = Database(postgres_url, clock=SystemClock(), owner="test")
    await opened.start()
    await opened.write(lambda store: store.ensure_connections([ConnectionSpec("main", "", "x-1", "x")]))
    await opened.write(partial(uptime.put_until, until=at(1000 * DAY)))
    yield opened
    await opened.close()


def tables(store: Store) -> list[str]:
    return sorted(one.table for one in partitions.partitions(store))


async def retain(database: Database, clock: FakeClock) -> None:
    """All that retention has to do at this moment."""
    worker = RetentionWorker(database, clock, SETTINGS)
    while await worker.step():
        pass


async def test_days_go_as_a_whole(database: Database) -> None:
    """Day by day one is made and one is dropped, no row of them is deleted, and what is older than all days goes as before."""
    clock = FakeClock(START)
    old = [CheckRow(1, at(-n * HOUR), Reason.OK, 5, 200, None, "a text") for n in range(1, 400, 7)]
    await database.write(lambda store: store.record_checks(old))
    for day in range(14):
        await retain(database, clock)
        rows = [CheckRow(1, clock.now() + n * HOUR, Reason.OK, 5, 200, None, "a text") for n in range(24)]
        with recorded() as statements:
            await database.write(lambda store, rows=rows: store.record_checks(rows))  # type: ignore[misc]
            await clock.advance(DAY)
            await retain(database, clock)
        deleted = [one for one, _ in statements if one.startswith("DELETE FROM checks")]
        assert day < 10 or not deleted, "the older ones are gone"
        parts = await database.read(partitions.partitions)
        assert {one.lower for one in parts if one.is_day} >= {day_of(clock.now()) + n * DAY for n in range(3)}

    kept = await database.read(lambda reader: list_checks(reader, 1, 1000))
    assert {row.at for row in kept} == {at(n * HOUR) for n in range(4 * 24, 14 * 24)}
    assert {row.detail for row in kept} == {"a text"}, "as long as a check is kept, so is its text"
    await clock.advance(12 * HOUR)
    await retain(database, clock)
    assert len(await database.read(lambda reader: list_checks(reader, 1, 1000))) == 240, "half a day over: not yet"


async def test_every_moment_has_a_place(database: Database) -> None:
    """No check fails or is lost for want of a partition: with a wrong clock, after weeks of absence, before and after every change."""
    moments = [day * DAY + hour * HOUR for day in (-20_000, -40, 0, 1, 2, 3, 30, 60, 3650) for hour in (0, 23)]
    written = []
    for number, now in enumerate((0, 1, 29, 30, 60, 30, 3649, 31)):
        rows = [CheckRow(1, at(one) + number * HOUR / 60, Reason.OK, 5, 200, None, "") for one in moments]
        written += rows
        await database.write(lambda store, rows=rows: store.record_checks(rows))  # type: ignore[misc]
        assert await database.write(lambda store, now=now: partitions.divide(store, at(now * DAY))) is None  # type: ignore[misc]
    kept = await database.read(lambda reader: list_checks(reader, 1, 1000))
    assert sorted(row.at for row in kept) == sorted(row.at for row in written)


async def test_two_at_once(database: Database, postgres_url: str) -> None:
    """Two instances that make and drop the same days at the same time do it once, without an error."""
    engine = create_engine(postgres_url.replace("://", "+psycopg://"))

    def change(day: int) -> list[object]:
        with engine.begin() as connection:
            store = Transaction(connection)
            return [partitions.divide(store, at(day * DAY)), partitions.drop(store, at((day - 2) * DAY))]

    for day in range(4):
        done = await asyncio.gather(*(asyncio.to_thread(change, day) for _ in range(2)))
        assert done == [[None, None]] * 2
    engine.dispose()
    assert await database.write(tables) == [
        "checks_20300102",
        "checks_20300103",
        "checks_20300104",
        "checks_20300105",
        "checks_20300106",
        "checks_from_20300107",
        "checks_until_20300102",
    ]


async def test_a_backup_is_waited_for(database: Database, postgres_url: str) -> None:
    """While a backup reads the table nothing is divided: that is logged, checks are written all the same, and it is done the next time."""
    clock = FakeClock(START)
    before = await database.write(tables)
    with connected(postgres_url) as backup, capture_logs() as logged:
        backup.execute("SELECT 1 FROM checks")
        await retain(database, clock)
        await database.write(lambda store: store.record_checks([CheckRow(1, START, Reason.OK, 5, 200, None, "")]))
        assert await database.write(tables) == before
        assert isinstance(await database.write(lambda store: partitions.drop(store, START)), StoreUnavailable)
    assert [(one["event"], one["log_level"]) for one in logged] == [("partitions.refused", "warning")]
    await retain(database, clock)
    assert "checks_20300102" in await database.write(tables)
    assert len(await database.read(lambda reader: list_checks(reader, 1))) == 1


async def test_a_reader_of_both_tables(database: Database, postgres_url: str) -> None:
    """Who has read the connections and wants the history gets it: the days wait for both tables, and give up before that is a deadlock."""
    with connected(postgres_url) as reader, connected(postgres_url) as watcher:
        watcher.autocommit = True
        reader.execute("SELECT 1 FROM connections")
        dividing = asyncio.ensure_future(database.write(lambda store: partitions.divide(store, START)))
        waiting = "SELECT 1 FROM pg_locks JOIN pg_database d ON d.oid = database WHERE NOT granted AND datname = current_database()"
        await eventually(lambda: watcher.execute(waiting).fetchall(), what="the days wait")
        await asyncio.to_thread(reader.execute, "SELECT 1 FROM checks")
        assert "lock timeout" in str(await dividing)


async def test_without_the_right_to_change_tables(database: Database, postgres_server: PostgresServer, postgres_url: str) -> None:
    """A role that may only write rows makes no day, which is logged; its old checks are deleted one by one. Once it owns the history it does."""
    await database.close()
    postgres_server.run("CREATE ROLE writer LOGIN")
    with connected(postgres_url) as owner:
        owner.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO writer")
    restricted = Database(re.sub("//postgres:", "//writer:", postgres_url), clock=SystemClock(), owner="test")
    await restricted.start()
    rows = [CheckRow(1, at(n * HOUR), Reason.OK, 5, 200, None, "") for n in range(48)]
    await restricted.write(lambda store: store.record_checks(rows))
    with capture_logs() as logged:
        await retain(restricted, FakeClock(at(11 * DAY + HOUR)))
    assert [one["error"] for one in logged if one["event"] == "partitions.refused"] == ["must be owner of table checks (42501)"]
    assert [row.at for row in await restricted.read(lambda reader: list_checks(reader, 1))] == [at(n * HOUR) for n in range(47, 24, -1)]
    with connected(postgres_url) as owner:
        owner.execute("GRANT CREATE ON SCHEMA public TO writer")
        for (statement,) in owner.execute("SELECT format('ALTER TABLE %s OWNER TO writer', relid) FROM pg_partition_tree('checks')"):
            owner.execute(statement.encode())
    await retain(restricted, FakeClock(at(11 * DAY + HOUR)))
    assert {"checks_20300113", "checks_20300114"} < set(await restricted.write(tables))
    await restricted.close()
    with connected(postgres_url) as owner:
        owner.execute("DROP OWNED BY writer")
    postgres_server.run("DROP ROLE writer")


READS: dict[str, tuple[Callable[[Store], object], set[str]]] = {
    "a page of history": (lambda store: list_checks(store, 1, 10, at(2 * DAY)), {"until_20300101", "20300101", "20300102"}),
    "uptime": (lambda store: uptime.evidence(store, [1], at(DAY), at(2 * DAY)), {"20300102"}),
    "state at a moment": (lambda store: last_checks_at(store, at(DAY)), {"until_20300101", "20300101", "20300102"}),
    "conclusive state at a moment": (
        lambda store: last_checks_at(store, at(DAY), conclusive=True),
        {"until_20300101", "20300101", "20300102"},
    ),
    "old checks": (lambda store: store.retention.delete_checks([1], START, 5), {"until_20300101"}),
}


@pytest.mark.parametrize("what", READS)
async def test_partitions_are_left_out(database: Database, what: str) -> None:
    """What is read or deleted of a time touches the partitions of that time alone, each by its index."""
    read, expected = READS[what]

    def work(store: Store) -> str:
        for day in range(4):
            partitions.divide(store, at(day * DAY))
        with recorded() as statements:
            read(store)
        store._connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        (found,) = [one for one in statements if "checks" in one[0]]
        return "\n".join(row[0] for row in store._connection.exec_driver_sql(f"EXPLAIN {found[0]}", found[1]))

    plan = await database.write(work)
    assert "Seq Scan on checks" not in plan
    assert set(re.findall(r"on checks_(\w*?\d+)(?= )", plan)) == expected, plan


def _file_of(connection: Connection, table: str) -> int:
    return int(connection.execute(text(f"SELECT pg_relation_filenode('{table}')")).scalar_one())


def test_upgrade(empty_postgres_url: str) -> None:
    """
    The history of a filled database becomes a partition as it is: its file and its index are the same, every row and right stays, also
    of a row that a wrong clock wrote in the future. Going down brings the table back.
    """
    engine: Engine = create_engine(empty_postgres_url.replace("://", "+psycopg://"))
    now = to_milliseconds(day_of(SystemClock().now()))
    moments = [0, now - 5, now, now + 86_399_999, now + 86_400_000, now + 10**12]
    with engine.begin() as connection:
        migrate(connection, "0013")
        connection.execute(
            text("INSERT INTO connections SELECT 1, 'main', '', 'x-1', 'x', NULL, '{}', 1000, 'auto', '[]', true, NULL, NULL")
        )
        for moment in moments:
            connection.exec_driver_sql(_INSERT, (moment,))
        connection.exec_driver_sql("GRANT SELECT, DELETE ON checks TO PUBLIC")
        rows, before = connection.exec_driver_sql(_ROWS).all(), [_file_of(connection, name) for name in ("checks", "pk_checks")]
    with engine.begin() as connection:
        migrate(connection, "head")
        assert connection.exec_driver_sql(_ROWS).all() == rows
        (old,) = [one.table for one in partitions.partitions(Transaction(connection)) if one.lower is None]
        assert [_file_of(connection, name) for name in (old, f"{old}_pkey")] == before
        assert connection.exec_driver_sql(f"SELECT count(*) FROM {old}").scalar() == 4
        rights = "SELECT privilege_type FROM information_schema.table_privileges WHERE table_name = 'checks' AND grantee = 'PUBLIC'"
        assert sorted(row[0] for row in connection.exec_driver_sql(rights)) == ["DELETE", "SELECT"]
        keys = "SELECT conname FROM pg_constraint WHERE conrelid = CAST('checks' AS regclass) ORDER BY 1"
        assert connection.exec_driver_sql(keys).scalars().all() == ["fk_checks_connection_id_connections", "pk_checks"]
        assert connection.exec_driver_sql(f"{_INSERT} ON CONFLICT DO NOTHING", (now,)).rowcount == 0
    with engine.begin() as connection:
        migrate(connection, "-1")
        assert connection.exec_driver_sql(_ROWS).all() == rows
    engine.dispose()


async def test_states_are_rewritten_in_place(database: Database, postgres_url: str) -> None:
    """Most updates of states find room in their page and leave the index alone (HOT), by `pg_stat_user_tables`."""
    wanted = [ConnectionSpec("main", "", f"y-{n}", "y") for n in range(120)]
    ids = list((await database.write(lambda store: store.ensure_connections(wanted))).values())
    state = a_state(Health.OK, permissions=tuple(f"permission_{n}" for n in range(20)))

    async def rewrite(version: int) -> None:
        """Each state once, those of a commit far from each other."""
        for first in range(20):
            changed = dict.fromkeys(ids[first::20], (version, state))
            await database.write(lambda store: store.save_states(changed))  # noqa: B023 - awaited at once

    await rewrite(0)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("VACUUM FULL connection_states")
    await rewrite(1)
    await rewrite(2)
    await database.close()
    with connected(postgres_url) as connection:
        counted = "SELECT n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables WHERE relname = 'connection_states'"
        hot, updated = connection.execute(counted).fetchone() or (0, 0)
    assert updated == 3 * 120
    assert hot > 0.6 * updated
