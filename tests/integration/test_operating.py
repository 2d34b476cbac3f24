import asyncio
import subprocess
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from monitor.clock import SystemClock
from monitor.db import (
    ControlsWriter,
    Database,
    DeliveryState,
    Store,
    accepted_losses,
    acks_of_open,
    acks_since,
    list_deliveries,
    operator_session,
    pending_deliveries,
    read_connections,
    read_meta,
    read_receiver_states,
    read_scopes,
    reading,
    silences_since,
)
from monitor.db.renames import accounts
from monitor.domain.connections import ConnectionSpec
from monitor.domain.events import FINE, IncidentRef, Severity, Topic, Transition
from monitor.domain.reasons import Scope
from monitor.domain.silencing.acceptance import Acceptance
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.silences import Silence
from monitor.errors import SchemaMismatch, StoreError, StoreUnavailable
from tests.builders import HOUR, START, a_notification, at

ROOT = Path(__file__).parents[2]
MATCH = {"platform": "linkedin", "team": "social | ümlaut"}


def add(operations: ControlsWriter, **overrides: object) -> Silence:
    values = {"starts_at": START, "ends_at": at(2 * HOUR), "author": "anna", "reason": "move", "now": START}
    return operations.add_silence(MATCH, **(values | overrides))  # type: ignore[arg-type]


def an_ack(number: int = 1, at_offset: timedelta = HOUR, reason: str = "seen") -> Ack:
    return Ack(Topic.CONNECTION, "1", number, "error", at(at_offset), "anna", reason)


def open_incident(store: Store, number: int = 1, level: str = "error") -> None:
    key = ConnectionSpec("main", "", "linkedin-page1", "linkedin")
    connection_id = store.ensure_connections([key])[key.key]
    incident = IncidentRef(Topic.CONNECTION, "1", number, START)
    closed = "recovered" if level == FINE else None
    store.apply_transitions(
        [Transition(incident, Scope.CONNECTION, connection_id, level, at(HOUR), Severity.CRITICAL, None, "", closed_why=closed)]
    )


def _fail(_added: Silence) -> None:
    raise ZeroDivisionError


def size(path: Path) -> int:
    return path.stat().st_size


async def test_silences_come_and_go_beside_the_daemon(database: Database, database_url: str) -> None:
    """While the daemon has the database open, another process adds and ends silences, and the daemon reads them as they were written."""
    with operator_session(database_url) as operations:
        first, second = add(operations), add(operations, ends_at=at(4 * HOUR), reason="second")
    assert [first.id, second.id] == [1, 2]
    assert await database.read(lambda reader: silences_since(reader, at(HOUR))) == [first, second]
    assert await database.read(lambda reader: silences_since(reader, at(2 * HOUR))) == [second]

    with operator_session(database_url) as operations:
        assert operations.expire_silence(1, at(HOUR))
        assert not operations.expire_silence(1, at(HOUR)), "it is over already"
        assert not operations.expire_silence(2, at(5 * HOUR)), "it ended by itself"
        assert not operations.expire_silence(7, at(HOUR)), "there is none"
    found = await database.read(lambda reader: silences_since(reader, START))
    assert [one.expired_at for one in found] == [at(HOUR), None]


async def test_numbers_are_not_used_again(database: Database, database_url: str) -> None:
    """The number of a silence that was deleted by retention is not given to the next one."""
    with operator_session(database_url) as operations:
        add(operations)
    assert await database.write(lambda store: store.retention.delete_controls(at(3 * HOUR))) == 1
    with operator_session(database_url) as operations:
        assert add(operations).id == 2


async def test_acknowledgements(database: Database, database_url: str) -> None:
    """The last one of an incident counts, and is read as long as that is open; every one is kept for the audit trail."""
    await database.write(open_incident)
    again = an_ack(reason="again", at_offset=2 * HOUR)
    with operator_session(database_url) as operations:
        operations.acknowledge(an_ack())
        operations.acknowledge(again)
        operations.acknowledge(an_ack(number=2, at_offset=3 * HOUR))
    assert await database.read(acks_of_open) == [again]
    assert await database.read(lambda reader: acks_since(reader, START)) == [an_ack(), again, an_ack(number=2, at_offset=3 * HOUR)]
    await database.write(lambda store: open_incident(store, level=FINE))
    assert await database.read(acks_of_open) == []


async def test_renamed_account(database: Database) -> None:
    """An account's rows follow its name: connections, scopes, incidents, notifications; a name with rows of its own is not taken."""
    subject = "group:main/linkedin"
    notification = a_notification(incident=IncidentRef(Topic.SCOPE, subject, 1, START), connection_id=None)

    def fill(store: Store) -> None:
        open_incident(store)
        store.save_scopes({subject: (0, b"{}"), "account:maintenance": (0, b"{}")})
        store.apply_transitions([Transition(notification.incident, Scope.GROUP, None, "open", START, Severity.CRITICAL, None, "")])
        store.outbox.add_notification("msg_1", notification, "pp-here-key", b"{}", ["desk"])

    await database.write(fill)
    assert await database.write(lambda store: accounts.rename_account(store, "main", "prod", START)) == 1
    assert set(await database.read(read_scopes)) == {"group:prod/linkedin", "account:maintenance"}
    (row,) = await database.read(list_deliveries)
    assert (row.subject, row.notification.incident.subject) == ("group:prod/linkedin", "group:prod/linkedin")
    assert await database.write(lambda store: store.outbox.key_of(row.notification.incident)) == "pp-here-key"
    assert [connection.account for connection in await database.read(read_connections)] == ["prod"]
    known = [await database.read(partial(accounts.is_known, account=name)) for name in ("main", "prod", "maintenance")]
    assert known == [False, True, True]


async def test_accepted_losses(database: Database, database_url: str) -> None:
    """One for each connection, the last one counts; long ago taken over, it is forgotten."""
    first, second = (Acceptance(1, names, at(HOUR), "anna", "") for names in (("a",), ("a", "ü")))
    with operator_session(database_url) as operations:
        operations.accept_loss(first)
        operations.accept_loss(second)
    assert await database.read(accepted_losses) == [second]
    assert await database.write(lambda store: store.retention.delete_controls(at(2 * HOUR))) == 1
    assert await database.read(accepted_losses) == []


async def test_retention(database: Database, database_url: str) -> None:
    """What ended long ago is forgotten; a silence that still holds, and the acknowledgement of a kept incident, are not."""
    await database.write(open_incident)
    with operator_session(database_url) as operations:
        add(operations)
        add(operations, ends_at=at(9 * HOUR))
        operations.acknowledge(an_ack())
        operations.acknowledge(an_ack(number=2))
        operations.acknowledge(an_ack(number=3, at_offset=9 * HOUR))
    assert await database.write(lambda store: store.retention.delete_controls(at(5 * HOUR))) == 2
    assert [one.id for one in await database.read(lambda reader: silences_since(reader, START))] == [2]
    assert await database.read(acks_of_open) == [an_ack()]


async def test_a_mistake_changes_nothing(database: Database, database_url: str) -> None:
    """When the command fails in the middle, nothing of it stays, and the daemon writes on."""
    with pytest.raises(ZeroDivisionError), operator_session(database_url) as operations:
        _fail(add(operations))
    with pytest.raises(StoreError), operator_session(database_url) as operations:
        add(operations, ends_at=START - HOUR)
    assert await database.read(lambda reader: silences_since(reader, START - 9 * HOUR)) == []
    await database.write(lambda store: store.put_meta("x", "y"))


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_reading_holds_up_no_write(database: Database, database_url: str) -> None:
    """What a command only reads, the daemon may write meanwhile; SQLite has one writer at a time."""
    await database.write(lambda store: store.outbox.put_receiver_state("on-call", b"{}"))
    with operator_session(database_url) as operations:
        assert read_receiver_states(operations.reader) == {"on-call": b"{}"}
        await database.write(lambda store: store.outbox.put_receiver_state("on-call", b'{"after": 1}'))


async def test_redelivering_beside_the_daemon(database: Database, database_url: str) -> None:
    """A dead delivery is put back by another process and is due at once."""

    def owe(store: Store) -> None:
        key = ConnectionSpec("main", "", "linkedin-page1", "linkedin")
        number = store.ensure_connections([key])[key.key]
        store.outbox.add_notification("msg_1", a_notification(connection_id=number), "pp-1", b"{}", ["on-call"])
        store.outbox.cancel_deliveries("on-call", at(HOUR))

    await database.write(owe)
    with operator_session(database_url) as operations:
        assert [one.state for one in list_deliveries(operations.reader)] == [DeliveryState.CANCELLED]
        assert operations.redeliver([1, 99], at(2 * HOUR)) == 1
    due = await database.read(lambda reader: pending_deliveries(reader, "on-call"))
    assert [row.next_attempt_at for row in due] == [at(2 * HOUR)]


def test_no_database(tmp_path: Path) -> None:
    """Where there is no database none is made."""
    with pytest.raises(StoreUnavailable, match="there is no database"), operator_session(f"sqlite:///{tmp_path}/monitor.db"):
        pass
    assert list(tmp_path.iterdir()) == []


async def test_another_schema(database: Database, database_url: str) -> None:
    """A database of another version of the program is left alone."""
    await database.write(lambda store: store.change(text("UPDATE alembic_version SET version_num = '0001'"), {}))
    with pytest.raises(SchemaMismatch, match="db upgrade"), operator_session(database_url) as operations:
        add(operations)
    await database.write(lambda store: store.change(text("UPDATE alembic_version SET version_num = '0002'"), {}))
    assert await database.read(lambda reader: silences_since(reader, START)) == []


async def test_without_the_daemon(database_url: str) -> None:
    """Nobody needs to be running; the daemon finds at its start what was asked for meanwhile."""
    database = Database(database_url, clock=SystemClock(), owner="test")
    await database.start()
    await database.close()
    with operator_session(database_url) as operations:
        added = add(operations)
    with reading(database_url) as reader:
        assert silences_since(reader, START) == [added]
    await database.start()
    assert await database.read(lambda reader: silences_since(reader, START)) == [added]
    await database.close()


_ADDS = """
import sys
from datetime import UTC, datetime, timedelta
from monitor.db import operator_session

start = datetime(2030, 1, 1, tzinfo=UTC)
for number in range(int(sys.argv[2])):
    with operator_session(sys.argv[1]) as operations:
        operations.add_silence({"platform": "x"}, starts_at=start, ends_at=start + timedelta(hours=1), author="a", reason="r", now=start)
"""


@pytest.mark.slow
async def test_many_at_once(database: Database, database_url: str) -> None:
    """Two processes that write without pause and a daemon that does too wait for each other, and lose nothing."""
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", _ADDS, database_url, "15", cwd=ROOT, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    ended = asyncio.gather(*(process.communicate() for process in processes))
    written = 0
    while not ended.done():
        await database.write(lambda store, count=written: store.put_meta("count", str(count)))  # type: ignore[misc]
        written += 1
    assert [process.returncode for process in processes] == [0, 0], await ended
    assert len(await database.read(lambda reader: silences_since(reader, START))) == 30
    assert database.storage_up
    assert await database.read(lambda reader: read_meta(reader, "count")) == str(written - 1)


async def test_the_log_is_not_checkpointed(sqlite_url: str) -> None:
    """Beside the daemon the operators' connection never checkpoints: what it writes goes to the log, the file itself stays as it is."""
    database = Database(sqlite_url, clock=SystemClock(), owner="test")
    await database.start()
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    before = size(path)
    with operator_session(sqlite_url) as operations:
        add(operations, reason="r" * 8_000_000)
    assert size(path.with_name("monitor.db-wal")) > 8_000_000
    assert size(path) == before
    await database.close()
    assert size(path) > before
