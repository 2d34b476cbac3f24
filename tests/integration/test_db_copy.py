"""`db copy`: everything into an empty database of either kind, or nothing."""

import asyncio
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Boolean, Column, Engine, Integer, LargeBinary, create_engine, func, insert, inspect, select, text

from monitor.cli.main import main
from monitor.clock import SystemClock
from monitor.db import Database, copy_database, operator_session
from monitor.db.sqlite import writing_engine
from monitor.db.tables import findings, lease, members, metadata, shards
from monitor.errors import AnotherInstance, SchemaMismatch, StoreError
from tests.builders import HOUR
from tests.databases import migrated_sqlite
from tests.watched import tell_a_story, watched, write_config

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TABLES = [table for table in metadata.sorted_tables if table not in (lease, members, shards, findings)]


def _engine(url: str) -> Engine:
    sqlite = url.startswith("sqlite")
    return writing_engine(Path(url.removeprefix("sqlite:///"))) if sqlite else create_engine(url.replace("://", "+psycopg://"))


def _contents(url: str) -> dict[str, list[str]]:
    """Table -> its rows, in an order that both kinds share."""
    engine = _engine(url)
    with engine.connect() as connection:
        names = inspect(connection).get_table_names()
        found = {table.name: sorted(map(repr, connection.execute(select(table)))) for table in TABLES if table.name in names}
    engine.dispose()
    return found


def _value(column: Column[object], referred: dict[str, object]) -> object:
    if column.foreign_keys:
        return referred[next(iter(column.foreign_keys)).column.table.name]
    if column.table.name == "accepted_permissions" and column.name == "permissions":
        return '["w_ä"]'
    return {Boolean: True, LargeBinary: b"\x00\xff", Integer: 1}.get(type(column.type), 1 if "INT" in str(column.type) else "ä'\\ 1")


async def _fill(folder: Path, url: str) -> None:
    """Rows in every table: a story's, one made up where it leaves none, a digest's, and ids that were given but are gone."""
    async with watched(write_config(folder, url)) as world:
        await tell_a_story(world)
    with operator_session(url) as writer:
        for _ in range(2):
            writer.add_silence({"platform": "x"}, starts_at=NOW, ends_at=NOW + HOUR, author="anna", reason="“ü”", now=NOW)
    engine = _engine(url)
    with engine.begin() as connection:
        referred = {name: connection.scalar(text(f"SELECT min(id) FROM {name}")) for name in ("connections", "notifications", "deliveries")}
        for table in TABLES:
            if connection.scalar(select(func.count()).select_from(table)) == 0:
                connection.execute(insert(table), {column.name: _value(column, referred) for column in table.columns})
        connection.execute(
            text("UPDATE deliveries SET digest_id = (SELECT max(id) FROM deliveries) WHERE id = (SELECT min(id) FROM deliveries)")
        )
        connection.execute(text("DELETE FROM silences WHERE id = 2"))
    engine.dispose()


@pytest.mark.slow
async def test_both_ways(tmp_path: Path, sqlite_url: str, empty_postgres_url: str) -> None:
    """SQLite to PostgreSQL and back: every row of every table, and ids go on where they were."""
    await _fill(tmp_path, sqlite_url)
    before = _contents(sqlite_url)
    assert all(before.values())

    back = f"sqlite:///{tmp_path}/back/monitor.db"
    copy_database(sqlite_url, empty_postgres_url, SystemClock())
    said = copy_database(empty_postgres_url, back, SystemClock())

    assert _contents(empty_postgres_url) == _contents(back) == before
    assert said == f"Copied {sum(map(len, before.values()))} rows in {len(TABLES)} tables, and found them equal."
    for url in (empty_postgres_url, back):
        with operator_session(url) as writer:
            silence = writer.add_silence({"platform": "x"}, starts_at=NOW, ends_at=NOW + HOUR, author="", reason="", now=NOW)
        assert silence.id == 3
    # The monitor goes on where it was: it takes the copy for its own database.
    async with watched(write_config(tmp_path, empty_postgres_url)) as world:
        await tell_a_story(world)


async def test_interrupted(tmp_path: Path, sqlite_url: str, database_url_of_target: str) -> None:
    """A copy that is interrupted leaves no row, and the next one succeeds."""
    await _fill(tmp_path, sqlite_url)

    def interrupt(line: str) -> None:
        if line.startswith("comparing deliveries"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_database(sqlite_url, database_url_of_target, SystemClock(), interrupt)
    assert not any(_contents(database_url_of_target).values())

    copy_database(sqlite_url, database_url_of_target, SystemClock())
    assert _contents(database_url_of_target) == _contents(sqlite_url)


@pytest.fixture(params=["sqlite", "postgres"])
def database_url_of_target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without tables, of each kind, beside `sqlite_url`."""
    url: str = request.getfixturevalue("empty_postgres_url") if request.param == "postgres" else f"sqlite:///{tmp_path}/target/monitor.db"
    return url


@pytest.mark.slow
async def test_killed(tmp_path: Path, sqlite_url: str, database_url_of_target: str) -> None:
    """So does one that is killed."""
    await _fill(tmp_path, sqlite_url)
    script = f"""
import os, signal
from monitor.clock import SystemClock
from monitor.db import copy_database
def report(line):
    if line.startswith("copying incidents"):
        os.kill(os.getpid(), signal.SIGKILL)
copy_database({sqlite_url!r}, {database_url_of_target!r}, SystemClock(), report)
"""
    killed = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not any(_contents(database_url_of_target).values())

    copy_database(sqlite_url, database_url_of_target, SystemClock())
    assert _contents(database_url_of_target) == _contents(sqlite_url)


async def test_rows_that_differ(tmp_path: Path, sqlite_url: str) -> None:
    """A target that does not keep what it is given is found out, and keeps nothing."""
    await _fill(tmp_path, sqlite_url)
    target = migrated_sqlite(tmp_path / "target" / "monitor.db")
    engine = _engine(target)
    with engine.begin() as connection:
        connection.execute(text("CREATE TRIGGER lie AFTER INSERT ON scopes BEGIN UPDATE scopes SET version = version + 1; END"))
        connection.execute(text("INSERT INTO lease VALUES (1, 'h', 'o', 1, 1, 1)"))
    engine.dispose()
    with pytest.raises(StoreError, match="the copy of table scopes differs"):
        copy_database(sqlite_url, target, SystemClock())

    assert not any(_contents(target).values())


async def test_refusals(tmp_path: Path, sqlite_url: str) -> None:
    """A target with rows, the source itself, a source in use and one of another schema are refused, and nothing is changed."""
    await _fill(tmp_path, sqlite_url)
    filled = f"sqlite:///{tmp_path}/filled/monitor.db"
    copy_database(sqlite_url, filled, SystemClock())
    before = _contents(filled)

    with pytest.raises(StoreError, match=r"not empty: its table \w+ has rows"):
        copy_database(sqlite_url, filled, SystemClock())
    with pytest.raises(StoreError, match="same database"):
        copy_database(sqlite_url, sqlite_url, SystemClock())
    empty = f"sqlite:///{tmp_path}/empty/monitor.db"
    running = Database(sqlite_url, clock=SystemClock(), owner="run")
    await running.start()
    with pytest.raises(AnotherInstance):
        copy_database(sqlite_url, empty, SystemClock())
    await running.close()
    with _engine(sqlite_url).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    with pytest.raises(SchemaMismatch, match="db upgrade"):
        copy_database(sqlite_url, empty, SystemClock())
    assert _contents(filled) == before
    assert not (tmp_path / "empty").exists()


async def test_verb(tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The verb reads the new address from a file, as `database.url_file` does, and refuses one that is none."""
    config = write_config(tmp_path, sqlite_url)
    file = tmp_path / "database-url"
    file.touch(mode=0o600)
    file.write_text("mysql://root@host/name")
    assert main(["db", "copy", str(file), "--config", str(config)]) == 78
    assert "not a database URL" in capsys.readouterr().err

    file.write_text(f"sqlite:///{tmp_path}/new/monitor.db\n")
    assert main(["db", "copy", str(file), "--config", str(config)]) == 0
    assert "Copied 0 rows in " in capsys.readouterr().out
