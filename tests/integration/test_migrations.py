import ast
import asyncio
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Row, create_engine, inspect, text

from alembic import command
from monitor.clock import SystemClock
from monitor.db import CheckRow, Database, Store, acks_of_open, operator_session, reading, silences_since
from monitor.db.migrations import known, migrations
from monitor.db.sqlite import writing_engine
from monitor.db.tables import REVISION, metadata
from monitor.domain.connections import ConnectionSpec
from monitor.domain.events import IncidentRef, Severity, Topic, Transition
from monitor.domain.reasons import Health, Scope
from monitor.errors import Reason, SchemaMismatch
from tests.builders import START, a_notification, a_state
from tests.databases import table_names
from tests.waiting import patience

ROOT = Path(__file__).parents[2]


def scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(migrations()))
    return ScriptDirectory.from_config(config)


def migrate(connection: Connection, target: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations()))
    config.attributes["connection"] = connection
    (command.downgrade if target.startswith("-") or target == "base" else command.upgrade)(config, target)


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    if request.param == "sqlite":
        return writing_engine(tmp_path / "monitor.db")
    url: str = request.getfixturevalue("empty_postgres_url")
    return create_engine(url.replace("://", "+psycopg://"))


def differences(engine: Engine) -> list[Any]:
    with engine.begin() as connection:
        names = table_names(connection)
        options = {
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or name in names,
        }
        context = MigrationContext.configure(connection, opts=options)
        found = compare_metadata(context, metadata)
    engine.dispose()
    return list(found)


def test_head_equals_tables(engine: Engine) -> None:
    """From nothing the migrations arrive at exactly the tables that the program knows."""
    with engine.begin() as connection:
        migrate(connection, "head")
    assert differences(engine) == []


def test_difference_is_noticed(engine: Engine) -> None:
    """The comparison can fail: a missing index and a missing column are reported."""
    with engine.begin() as connection:
        migrate(connection, "head")
        connection.execute(text("DROP INDEX uq_incidents_open"))
        connection.execute(text("ALTER TABLE notifications DROP COLUMN document"))
    assert len(differences(engine)) == 2


def test_checks_are_written_alike(engine: Engine) -> None:
    """What the comparison can't see, it shares with the tables: CHECK constraints, and the form of SQLite's history table."""
    with engine.begin() as connection:
        migrate(connection, "head")
        inspector = inspect(connection)
        found = {(table, one["name"]) for table in metadata.tables for one in inspector.get_check_constraints(table)}
        assert found == {
            ("lease", "ck_lease_single"),
            ("deliveries", "ck_deliveries_state"),
            ("connection_states", "ck_connection_states_health"),
            ("silences", "ck_silences_order"),
        }
        if engine.dialect.name == "sqlite":
            assert "WITHOUT ROWID" in connection.execute(text("SELECT sql FROM sqlite_master WHERE name = 'checks'")).scalar_one()
            assert "AUTOINCREMENT" in connection.execute(text("SELECT sql FROM sqlite_master WHERE name = 'silences'")).scalar_one()
    engine.dispose()


def test_stairway(engine: Engine) -> None:
    """Every migration can be undone and done again."""
    steps = [script.revision for script in scripts().walk_revisions()][::-1]
    assert steps[-1] == REVISION
    for step in steps:
        for target in (step, "-1", step):
            with engine.begin() as connection:
                migrate(connection, target)
    with engine.begin() as connection:
        migrate(connection, "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_migrations_are_history() -> None:
    """No migration imports the program, and the folder is no package, which would shadow the library."""
    for path in (ROOT / "alembic").rglob("*.py"):
        assert path.name != "__init__.py"
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "monitor"], path


def _rows(engine: Engine) -> dict[str, list[Any]]:
    """Every row of every table, without its empty columns, of which a later schema may have more, and the one that is filled from then on."""
    with engine.connect() as connection:
        tables = table_names(connection) - {"alembic_version", "lease"}
        return {name: sorted(map(_filled, connection.execute(text(f"SELECT * FROM {name}"))), key=repr) for name in tables}


def _filled(row: Row[Any]) -> dict[str, Any]:
    return {name: value for name, value in row._mapping.items() if value is not None and name != "confirmed_at"}


async def test_silences_are_added_to_a_filled_database(empty_database_url: str) -> None:
    """The second schema leaves every row of a filled first one as it is, upwards and downwards, and the program goes on with it."""
    database = Database(empty_database_url, clock=SystemClock(), owner="test")
    await database.start()
    await database.write(fill)
    await database.close()
    address = empty_database_url.replace("postgresql://", "postgresql+psycopg://")
    engine = writing_engine(Path(address.removeprefix("sqlite:///"))) if address.startswith("sqlite") else create_engine(address)
    full = _rows(engine)
    with engine.begin() as connection:
        migrate(connection, f"-{len(list(scripts().walk_revisions())) - 1}")
    later = {"silences", "acknowledgements", "replaced_acknowledgements", "accepted_permissions", "uptime_hours", "uptime_days"}
    later |= {"members", "shards", "findings"}
    first = {name: rows for name, rows in full.items() if name not in later}
    # The documents of scopes have other names there: see below.
    assert _rows(engine) | {"scopes": first["scopes"]} == first
    assert all(first[name] for name in ("connections", "connection_states", "checks", "incidents", "notifications", "deliveries"))
    engine.dispose()

    await database.start()
    assert await database.read(lambda reader: silences_since(reader, START)) == []
    assert await database.read(acks_of_open) == []
    await database.close()
    assert {name: _rows(engine)[name] for name in first} == first
    assert differences(engine) == []


def fill(store: Store) -> None:
    """One row at least of everything that the first schema had."""
    new = ConnectionSpec("main", "", "linkedin-page1", "linkedin")
    number = store.ensure_connections([new])[new.key]
    store.save_states({number: (0, a_state(Health.ERROR))})
    store.record_checks([CheckRow(number, START, Reason.CREDENTIAL_REJECTED, 120, 200, "9d", "Session has expired")])
    incident = IncidentRef(Topic.CONNECTION, str(number), 1, START)
    store.apply_transitions([Transition(incident, Scope.CONNECTION, number, "error", START, Severity.CRITICAL, None, "")])
    store.save_scopes({"api:api.example": (0, b"{}")})
    told = a_notification(connection_id=number, incident=incident)
    store.outbox.add_notification(store.outbox.new_webhook_id(), told, "pp-1", b"{}", ["on-call"])
    store.outbox.put_receiver_state("on-call", b"{}")


OLD_STATE = {
    "detail": "told",
    "hints": {"expiry": {"level": "7d", "since": "2026-05-31T10:00:00.000001Z"}},
    "quiet": "acknowledged",
    "notice_owed": True,
    "review_at": "2026-06-01T08:00:00Z",
    "token": {"told": "not one of these"},
    "topics": {
        "connection": {"level": "error", "told": {"level": "error", "doubted": True}},
        "expiry": {"level": "7d"},
        "renewal": {"told": {}},
    },
}
NEW_STATE = {
    "detail": "told",
    "pending_levels": {"expiry": {"level": "7d", "since": "2026-05-31T10:00:00.000001Z"}},
    "suppression": "acknowledged",
    "notice_pending": True,
    "next_evaluation_at": "2026-06-01T08:00:00Z",
    "token": {"told": "not one of these"},
    "topics": {
        "connection": {"level": "error", "notified": {"level": "error", "false_negative_suspected": True}},
        "expiry": {"level": "7d"},
        "renewal": {"notified": {}},
    },
}
OLD_SCOPE = {
    "name": "platform:tumblr",
    "topic": {"number": 1, "told": {"number": 1}},
    "calm": {"good": 2},
    "turned": [[7, "2026-06-01T08:00:00Z"]],
}
NEW_SCOPE = {"topic": {"number": 1, "notified": {"number": 1}}, "recovery": {"good": 2}, "recent_failures": [[7, "2026-06-01T08:00:00Z"]]}
DAMAGED = ["not JSON", '["told"]']
UNTOUCHED = [*DAMAGED, "{}", '{"detail":"Zürich","told":1}', '{"topics":null,"topic":"told"}']


def test_fields_are_renamed(engine: Engine) -> None:
    """The fourth schema renames fields of stored states, of more rows than fit into a batch, and leaves all others as they were."""
    states = [*UNTOUCHED, *[json.dumps(OLD_STATE)] * 1_200]
    with engine.begin() as connection:
        migrate(connection, "0003")
        connection.execute(
            text(
                "INSERT INTO connections (id, account, user_id, platform_id, platform, labels, interval_ms, expect, require_permissions, listed)"
                " VALUES (:id, 'main', '', :name, 'tumblr', '{}', 1000, 'auto', '[]', false)"
            ),
            [{"id": number, "name": str(number)} for number, _ in enumerate(states)],
        )
        connection.execute(
            text("INSERT INTO connection_states (connection_id, version, health, document) VALUES (:id, 3, 'ok', :document)"),
            [{"id": number, "document": document} for number, document in enumerate(states)],
        )
        connection.execute(
            text("INSERT INTO scopes (name, version, document) VALUES (:name, 5, :document)"),
            [
                {"name": name, "document": document}
                for name, document in zip(("api:a", "api:b", OLD_SCOPE["name"]), (*DAMAGED, json.dumps(OLD_SCOPE)), strict=True)
            ],
        )
    for target, state, scope in (("0004", NEW_STATE, NEW_SCOPE), ("-1", OLD_STATE, OLD_SCOPE)):
        with engine.begin() as connection:
            migrate(connection, target)
            saved = connection.execute(text("SELECT document, version FROM connection_states ORDER BY connection_id")).all()
            scopes = connection.execute(text("SELECT document, version FROM scopes ORDER BY name")).all()
        assert [row.document for row in saved[: len(UNTOUCHED)]] == UNTOUCHED
        assert [row.document for row in scopes[:-1]] == DAMAGED
        assert [json.loads(row.document) for row in saved[len(UNTOUCHED) :]] == [state] * 1_200
        assert json.loads(scopes[-1].document) == scope
        assert {row.version for row in saved} == {3}
        assert {row.version for row in scopes} == {5}
    engine.dispose()


# Revision, first statement to be killed after, and how many to go on by: the first schema has many statements, all alike.
_KILLS = [
    ("base", 1, 5),
    *((revision, 1, 1) for revision in ("0001", "0002", "0003", "0004", "0012", "0013", "0014", "0015", "0016", "0017")),
]


def test_every_released_schema_is_killed() -> None:
    """The kills below begin at every schema that there ever was but the present one."""
    assert [revision for revision, _, _ in _KILLS] == ["base", *[one.revision for one in scripts().walk_revisions()][:0:-1]]


@pytest.mark.parametrize(("revision", "first", "step"), [pytest.param(*kill, marks=pytest.mark.slow) for kill in _KILLS])
async def test_killed_at_every_statement(empty_database_url: str, tmp_path: Path, revision: str, first: int, step: int) -> None:
    """
    Killed after any statement of the way from any released schema, a filled database has every row as before, and the next
    start does all of it again from the beginning, with every row as before.
    """
    database = Database(empty_database_url, clock=SystemClock(), owner="test")
    await database.start()
    await database.write(fill)
    await database.write(lambda store: store.save_scopes({"platform:tumblr": (0, b'{"recent_failures":[]}')}))
    await database.close()
    address = empty_database_url.replace("postgresql://", "postgresql+psycopg://")
    engine = writing_engine(Path(address.removeprefix("sqlite:///"))) if address.startswith("sqlite") else create_engine(address)
    with engine.begin() as connection:
        migrate(connection, revision if revision == "base" else f"-{[one.revision for one in scripts().walk_revisions()].index(revision)}")
    engine.dispose()
    template = empty_database_url.removeprefix("sqlite:///")
    if revision == "base" and engine.dialect.name == "postgresql":
        step *= 3
    run = [sys.executable, "-m", "tests.crash.migrations", template, str(tmp_path), str(first), str(step)]
    done = await asyncio.to_thread(subprocess.run, run, cwd=ROOT, capture_output=True, text=True, check=False, timeout=patience())
    assert done.returncode == 0, done.stderr
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert [line for line in lines if line[1] != "ok"] == []
    assert lines[-1][0] == "end"
    assert len(lines) > 2


async def test_newer_schema(empty_database_url: str) -> None:
    """A database of a newer program is refused by whoever opens it, naming both schemas and no upgrade, and left as it is."""
    database = Database(empty_database_url, clock=SystemClock(), owner="test")
    await database.start()
    await database.write(lambda store: store.change(text("UPDATE alembic_version SET version_num = '9999'"), {}))
    await database.close()

    with pytest.raises(SchemaMismatch, match=f"9999.*{REVISION}") as caught:
        await Database(empty_database_url, clock=SystemClock(), owner="test").start()
    assert caught.value.exit_code == 78
    for look in (lambda: reading(empty_database_url), lambda: operator_session(empty_database_url)):
        with pytest.raises(SchemaMismatch, match=f"9999.* newer than .*{REVISION}: install the newer program again"), look():
            pass


def test_revisions_begin_the_names_of_their_files() -> None:
    """The revisions that are known without loading Alembic are those that Alembic finds, and look like ours."""
    config = Config()
    config.set_main_option("script_location", str(migrations()))
    found = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}

    assert known() == found
    assert REVISION in found
    assert all(len(one) == 4 and one.isdecimal() for one in found)


async def test_backup_before_an_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before an existing file is upgraded it is copied, with everything in it; a new one is not."""
    path = tmp_path / "state" / "monitor.db"
    database = Database(f"sqlite:///{path}", clock=SystemClock(), owner="test")
    await database.start()
    await database.write(lambda store: store.save_scopes({"api": (0, b"{}")}))
    await database.close()
    assert not list(path.parent.glob("*before-upgrade*"))

    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    for file in (migrations() / "env.py", *(migrations() / "versions").glob("*.py")):
        (folder / file.relative_to(migrations())).write_text(file.read_text())
    (folder / "versions" / "next.py").write_text(
        f"from alembic import op\nrevision, down_revision = 'next', '{REVISION}'\n"
        "def upgrade():\n    op.execute('CREATE TABLE next (id INTEGER)')\n"
    )
    monkeypatch.setattr("monitor.db.migrations.migrations", lambda: folder)
    monkeypatch.setattr("monitor.db.migrations.REVISION", "next")
    await database.start()
    await database.close()

    (copy,) = path.parent.glob(f"monitor.db.before-upgrade-{REVISION}-*")
    assert copy.stat().st_mode & 0o777 == 0o600
    for file, revision in ((copy, REVISION), (path, "next")):
        connection = sqlite3.connect(file)
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(revision,)]
        assert connection.execute("SELECT name FROM scopes").fetchall() == [("api",)]
        connection.close()
