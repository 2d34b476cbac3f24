import asyncio
import threading
from datetime import datetime
from pathlib import Path

import pytest

from monitor.cli.lookup import named
from monitor.clock import SystemClock
from monitor.db import (
    AttemptRow,
    CheckRow,
    Database,
    DeliveryRow,
    DeliveryState,
    Store,
    attempts_of,
    deliveries_by_id,
    last_checks_at,
    list_checks,
    list_deliveries,
    list_incidents,
    list_notifications,
    pending_deliveries,
    read_connections,
    read_open_incidents,
    read_outbox,
    read_receiver_states,
    read_scopes,
    read_states,
    reading,
)
from monitor.db.sqlite import writing_engine
from monitor.domain.connections import ConnectionSpec
from monitor.domain.events import FINE, EventType, IncidentRef, Notification, NotificationReason, Severity, Topic, Transition
from monitor.domain.reasons import Health, Scope
from monitor.domain.states import TopicState
from monitor.errors import DeliveryReason, Reason, SchemaMismatch, StaleStateError, StoreCorrupt, StoreError, StoreUnavailable
from tests import marked
from tests.builders import HOUR, MINUTE, START, a_state, at
from tests.sampling import sampled

PAGE = ConnectionSpec(
    "main", "", "linkedin-page1", "linkedin", name="Page", labels={"team": "social"}, require_permissions=("w_member_social",)
)
OTHER = ConnectionSpec("main", "user1", "linkedin-page1", "linkedin", listed=True)


def an_incident(number: int = 1, subject: str = "connection:1", topic: Topic = Topic.CONNECTION) -> IncidentRef:
    return IncidentRef(topic, subject, number, START)


def a_transition(incident: IncidentRef, level: str = "error", moment: datetime = START, closed_why: str | None = None) -> Transition:
    return Transition(incident, Scope.CONNECTION, None, level, moment, Severity.CRITICAL, Reason.TOKEN_EXPIRED, "expired", closed_why)


def a_notification(
    seq: int = 1, subject: str = "connection:1", connection_id: int | None = None, kind: EventType | None = None
) -> Notification:
    return Notification(
        type=kind or EventType.CONNECTION_FAILED,
        why=NotificationReason.OPENED,
        severity=Severity.CRITICAL,
        at=START,
        incident=an_incident(subject=subject),
        scope=Scope.CONNECTION,
        connection_id=connection_id,
        level_from=FINE,
        level_to="error",
        reason=Reason.TOKEN_EXPIRED,
        detail="expired",
        seq=seq,
    )


async def tell(database: Database, webhook_id: str, notification: Notification, *receivers: str) -> None:
    await database.write(
        lambda store: store.outbox.add_notification(
            webhook_id, notification, f"key-{notification.incident.subject}", webhook_id.encode(), receivers
        )
    )


async def due(database: Database, receiver: str = "on-call", moment: datetime = START) -> list[DeliveryRow]:
    """What is pending for *receiver*, and due, as the deliverer reads it."""
    ids = [row.id for row in await database.read(lambda reader: pending_deliveries(reader, receiver)) if row.next_attempt_at <= moment]
    return await database.read(lambda reader: deliveries_by_id(reader, ids))


async def attempt(database: Database, delivery: DeliveryRow, state: str, again: datetime | None = None, moment: datetime = START) -> None:
    row = AttemptRow(moment, DeliveryReason.DELIVERED if state == "delivered" else DeliveryReason.TIMEOUT, 12, 200, "text")
    await database.write(lambda store: store.outbox.record_attempt(delivery, row, state, again))


# connections


async def test_connections(database: Database) -> None:
    """A connection keeps its number however often it is configured, retired and wanted again."""
    first = await database.write(lambda store: store.ensure_connections([PAGE, OTHER]))
    again = await database.write(lambda store: store.ensure_connections([OTHER]))
    assert again == {OTHER.key: first[OTHER.key]}

    found = await database.read(read_connections)
    assert [(one.key, one.labels, one.require_permissions, one.listed) for one in found] == [
        (PAGE.key, {"team": "social"}, ("w_member_social",), False),
        (OTHER.key, {}, (), True),
    ]

    assert await database.write(lambda store: store.retire([first[PAGE.key]], START)) == 1
    assert [one.key for one in await database.read(read_connections)] == [OTHER.key]
    assert [one.key for one in await database.read(lambda reader: read_connections(reader, retired=True))] == [PAGE.key]
    assert (await database.write(lambda store: store.ensure_connections([PAGE])))[PAGE.key] == first[PAGE.key]
    assert len(await database.read(read_connections)) == 2

    assert [one.user_id for one in await database.read(lambda reader: read_connections(reader, "linkedin-page1"))] == ["", "user1"]
    assert await database.read(lambda reader: read_connections(reader, "linkedin-else")) == []


async def test_states(database: Database) -> None:
    """A state comes back as it was saved, and its version says when somebody else saved it meanwhile."""
    ids = await database.write(lambda store: store.ensure_connections([PAGE, OTHER]))
    first, second = ids.values()
    state = a_state(Health.ERROR, topics={Topic.EXPIRY: TopicState(level="7d", since=START, number=2)}, permissions=("a", "b"))

    await database.write(lambda store: store.save_states({first: (0, state)}))
    states = await database.read(read_states)
    assert states[first] == (1, state)
    assert states[second][0] == 0

    with pytest.raises(StaleStateError, match=str(first)):
        await database.write(lambda store: store.save_states({second: (0, state), first: (0, state)}))
    assert (await database.read(read_states))[second][0] == 0, "all or nothing"


async def test_states_twice_in_a_transaction(database: Database) -> None:
    """Within a transaction later works see what earlier ones saved, although it is written in batches."""
    (number,) = (await database.write(lambda store: store.ensure_connections([PAGE]))).values()

    def work(store: Store) -> int:
        version, _ = read_states(store)[number]
        store.save_states({number: (version, a_state(failures=version))})
        version, state = read_states(store)[number]
        store.save_states({number: (version, a_state(failures=version))})
        return state.failures

    assert await database.write(work) == 0
    assert (await database.read(read_states))[number] == (2, a_state(failures=1))


async def test_unreadable_state(database: Database) -> None:
    """A document that can't be read is named, not guessed about; fields that a newer program added are ignored."""
    from sqlalchemy import text

    (number,) = (await database.write(lambda store: store.ensure_connections([PAGE]))).values()

    def put(document: str) -> None:
        def work(store: Store) -> None:
            store._connection.execute(text("UPDATE connection_states SET document = :document"), {"document": document})

        asyncio.run_coroutine_threadsafe(database.write(work), loop).result(5)

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(put, '{"health": "ok", "from_the_future": 1}')
    assert (await database.read(read_states))[number][1].health is Health.OK
    await asyncio.to_thread(put, '{"failures": "3"}')
    with pytest.raises(StoreCorrupt, match=rf"connection_states row {number} can't be read: failures"):
        await database.read(read_states)


async def test_scopes(database: Database) -> None:
    """A scope is inserted at version 0 and then saved by version."""
    await database.write(lambda store: store.save_scopes({"api": (0, b'{"a":1}')}))
    await database.write(lambda store: store.save_scopes({"api": (1, b'{"a":2}')}))
    assert await database.read(read_scopes) == {"api": (2, b'{"a":2}')}
    for stale in (0, 1):
        with pytest.raises(StaleStateError, match="api"):
            await database.write(lambda store, stale=stale: store.save_scopes({"api": (stale, b"{}")}))  # type: ignore[misc]


async def test_history(database: Database) -> None:
    """Checks come back newest first and as they were; a text is stored once."""
    (number,) = (await database.write(lambda store: store.ensure_connections([PAGE]))).values()
    rows = [
        CheckRow(
            number, at(n * MINUTE), Reason.OK if n % 2 else Reason.TOKEN_EXPIRED, 100 + n, 200, "59d 3h" if n else None, "same" if n else ""
        )
        for n in range(5)
    ]
    await database.write(lambda store: store.record_checks(rows))
    await database.write(lambda store: store.record_checks([rows[2]]))

    assert await database.read(lambda reader: list_checks(reader, number)) == rows[::-1]
    assert await database.read(lambda reader: list_checks(reader, number, limit=2, before_at=rows[3].at)) == [rows[2], rows[1]]

    await database.write(lambda store: store.record_checks([CheckRow(number, at(5 * MINUTE), Reason.API_TIMEOUT, 100, None)]))
    assert (await database.read(lambda reader: last_checks_at(reader, at(HOUR))))[number].reason is Reason.API_TIMEOUT
    assert await database.read(lambda reader: last_checks_at(reader, at(HOUR), conclusive=True)) == {number: rows[4]}


async def test_names_on_the_command_line(database: Database) -> None:
    """A connection without a configured name has that of the API in tables."""
    (number,) = (await database.write(lambda store: store.ensure_connections([OTHER]))).values()
    await database.write(lambda store: store.save_states({number: (0, a_state(display_name="Acme", username="acme"))}))
    (connection,) = await database.read(read_connections)
    assert (await database.read(lambda reader: named(reader, connection))).name == "Acme"


# incidents


async def test_incidents(database: Database) -> None:
    """An incident opens, changes its level and closes in one row, and keeps what it was about."""
    incident = an_incident()
    await database.write(lambda store: store.apply_transitions([a_transition(incident)]))
    await database.write(lambda store: store.apply_transitions([a_transition(incident, "missing", at(MINUTE))]))
    (view,) = await database.read(read_open_incidents)
    assert (view.incident, view.level, view.reason) == (incident, "missing", Reason.TOKEN_EXPIRED)

    await database.write(lambda store: store.apply_transitions([a_transition(incident, FINE, at(HOUR), "recovered")]))
    assert await database.read(read_open_incidents) == []
    (row,) = await database.read(lambda reader: list_incidents(reader, subject="connection:1"))
    assert (row.level, row.closed_at, row.closed_why) == ("missing", at(HOUR), "recovered")

    await database.write(
        lambda store: store.apply_transitions([a_transition(an_incident(2)), a_transition(an_incident(1, "api", Topic.SCOPE))])
    )
    assert [one.incident.number for one in await database.read(lambda reader: list_incidents(reader, topic=Topic.CONNECTION))] == [2, 1]
    assert len(await database.read(lambda reader: list_incidents(reader, open_only=True))) == 2


async def test_one_open_incident(database: Database) -> None:
    """The database itself refuses a second open incident of one topic and subject."""
    await database.write(lambda store: store.apply_transitions([a_transition(an_incident(1))]))
    with pytest.raises(StoreError) as caught:
        await database.write(lambda store: store.apply_transitions([a_transition(an_incident(2))]))
    assert type(caught.value) is StoreError
    assert "connection:1" not in str(caught.value)


# notifications and deliveries


async def test_pending_deliveries(database: Database) -> None:
    """What is pending comes in the order it was decided, for each receiver by itself, until an attempt ends it."""
    await tell(database, "msg_1", a_notification(1), "on-call", "mail")
    await tell(database, "msg_2", a_notification(2), "on-call")
    await tell(database, "msg_3", a_notification(1, "connection:2"), "on-call")

    first, second, other = await due(database)
    assert [first.webhook_id, second.webhook_id, other.webhook_id] == ["msg_1", "msg_2", "msg_3"]
    assert (first.body, first.notification, first.incident_key) == (b"msg_1", a_notification(1), "key-connection:1")

    await attempt(database, first, "pending", at(HOUR))
    assert [row.webhook_id for row in await due(database)] == ["msg_2", "msg_3"]
    assert [row.attempts for row in await due(database, moment=at(HOUR))] == [1, 0, 0]

    await attempt(database, first, "delivered")
    assert [row.webhook_id for row in await due(database)] == ["msg_2", "msg_3"]
    with pytest.raises(StaleStateError, match="no longer pending"):
        await attempt(database, first, "delivered")
    assert [row.reason for row in await database.read(lambda reader: attempts_of(reader, [first.id])[first.id])] == [
        DeliveryReason.TIMEOUT,
        DeliveryReason.DELIVERED,
    ]
    assert [row.webhook_id for row in await due(database, "mail")] == ["msg_1"], "receivers do not wait for each other"


async def test_digest(database: Database) -> None:
    """A digest replaces deliveries: they are pending with it, and end as it ends."""
    await tell(database, "msg_1", a_notification(1), "on-call")
    await tell(database, "msg_2", a_notification(1, "connection:2"), "on-call")
    told = [row.id for row in await due(database)]
    digest = a_notification(0, "digest", kind=EventType.DIGEST)
    await database.write(lambda store: store.outbox.replace_by_digest("msg_d", digest, "key", b"digest", "on-call", told))
    await tell(database, "msg_3", a_notification(2), "on-call")

    row = (await due(database))[0]
    assert row.webhook_id == "msg_d"
    assert [one.subject for one in await database.read(lambda reader: pending_deliveries(reader, "on-call"))] == ["digest", "connection:1"]
    assert (await database.read(read_outbox))["on-call"].pending == 2

    with pytest.raises(StaleStateError, match="2 of 2"):
        await database.write(lambda store: store.outbox.replace_by_digest("msg_e", digest, "key", b"", "on-call", told))

    await attempt(database, row, "delivered")
    assert [one.webhook_id for one in await due(database)] == ["msg_3"]
    ended = await database.read(lambda reader: deliveries_by_id(reader, told))
    assert {(one.state, one.digest_id) for one in ended} == {(DeliveryState.DELIVERED, row.id)}


async def test_redeliver(database: Database) -> None:
    """What was given up can be put back: same id, same body, age and attempts from the start."""
    await tell(database, "msg_1", a_notification(1), "on-call")
    (row,) = await due(database)
    await attempt(database, row, "dead")
    assert await due(database) == []

    assert await database.write(lambda store: store.outbox.redeliver([row.id], at(HOUR))) == 1
    assert await database.write(lambda store: store.outbox.redeliver([row.id], at(HOUR))) == 0, "pending already"
    (again,) = await due(database, moment=at(HOUR))
    assert (again.webhook_id, again.body, again.attempts, again.queued_at) == ("msg_1", b"msg_1", 0, at(HOUR))


async def test_cancel_and_states_of_receivers(database: Database) -> None:
    """A receiver that is gone is owed nothing; what is known of it stays."""
    await tell(database, "msg_1", a_notification(1), "on-call", "mail")
    assert await database.write(lambda store: store.outbox.cancel_deliveries("on-call", START)) == 1
    await database.write(lambda store: store.outbox.put_receiver_state("on-call", b"{}"))
    await database.write(lambda store: store.outbox.put_receiver_state("on-call", b"{}", disabled=True, failing_since=START))

    outbox = await database.read(read_outbox)
    assert (outbox["on-call"].pending, outbox["on-call"].disabled, outbox["on-call"].failing_since) == (0, True, START)
    assert (outbox["mail"].pending, outbox["mail"].oldest_at, outbox["mail"].disabled) == (1, START, False)
    assert await database.read(read_receiver_states) == {"on-call": b"{}"}
    (row,) = await database.read(lambda reader: list_notifications(reader, subject="connection:1"))
    assert row.deliveries == {"on-call": DeliveryState.CANCELLED, "mail": DeliveryState.PENDING}


async def test_reminders_are_overtaken(database: Database) -> None:
    """
    Newer word of an incident cancels the reminders of it that wait for the same receiver: not what broke, not what a digest tells,
    nothing of another incident, nothing for who is not owed the newer word.
    """
    ids = iter(range(1, 100))

    async def owe(kind: EventType, *receivers: str, subject: str = "connection:1") -> str:
        number = next(ids)
        await tell(database, f"msg_{number}", a_notification(number, subject, kind=kind), *receivers)
        return f"msg_{number}"

    opened = await owe(EventType.CONNECTION_FAILED, "on-call", "mail")
    old = await owe(EventType.REMINDER, "on-call", "mail")
    other = await owe(EventType.REMINDER, "on-call", subject="connection:2")
    in_digest = await owe(EventType.REMINDER, "on-call")
    (bound,) = [row for row in await database.read(list_deliveries) if row.webhook_id == in_digest]
    digest = a_notification(50, "digest", kind=EventType.DIGEST)
    await database.write(lambda store: store.outbox.replace_by_digest("msg_digest", digest, "key-digest", b"", "on-call", [bound.id]))
    newer = await owe(EventType.REMINDER, "on-call")
    assert await database.write(lambda store: store.outbox.overtake_reminders(newer, at(HOUR))) == 1

    rows = await database.read(lambda reader: list_deliveries(reader, limit=100))
    left = {(row.webhook_id, row.receiver) for row in rows if row.state is DeliveryState.PENDING}
    waiting = {(one, "on-call") for one in (opened, other, in_digest, "msg_digest", newer)}
    assert left == waiting | {(opened, "mail"), (old, "mail")}
    (cancelled,) = [row for row in rows if row.state is DeliveryState.CANCELLED]
    (winner,) = [row for row in rows if row.webhook_id == newer]
    assert (cancelled.overtaken, cancelled.digest_id, cancelled.finished_at) == (True, winner.id, at(HOUR))
    assert not winner.overtaken

    await database.write(lambda store: store.outbox.cancel_deliveries("on-call", START))
    rows = await database.read(lambda reader: list_deliveries(reader, limit=100))
    assert [row.webhook_id for row in rows if row.overtaken] == [old]


async def test_told_once(database: Database) -> None:
    """The database itself refuses a webhook id, or a connection's notification of the same number, a second time."""
    (number,) = (await database.write(lambda store: store.ensure_connections([PAGE]))).values()
    await tell(database, "msg_1", a_notification(1, connection_id=number), "on-call")
    with pytest.raises(StoreError):
        await tell(database, "msg_1", a_notification(2, connection_id=number), "on-call")
    with pytest.raises(StoreError):
        await tell(database, "msg_2", a_notification(1, connection_id=number), "on-call")
    assert len(await database.read(lambda reader: list_notifications(reader, connection_id=number))) == 1
    assert await database.write(lambda store: store.outbox.receivers_notified("key-connection:1")) == ("on-call",)


# the database as a whole


async def test_readers_write_nothing(database: Database) -> None:
    """A reader's connection refuses to write."""
    from sqlalchemy import text

    with pytest.raises(StoreError):
        await database.read(lambda reader: reader.rows(text("DELETE FROM meta RETURNING key")))


async def test_instance_id(database_url: str) -> None:
    """The database's own id survives a restart, and everything else with it."""
    seen = set()
    for _ in range(2):
        database = Database(database_url, clock=SystemClock(), owner="test")
        await database.start()
        seen.add(database.instance_id)
        await database.write(lambda store: store.ensure_connections([PAGE]))
        await database.close()
        await database.close()
    assert len(seen) == 1

    with reading(database_url) as reader:
        assert [one.key for one in read_connections(reader)] == [PAGE.key]


def test_reading_what_is_not_there(tmp_path: Path, empty_postgres_url: str) -> None:
    """A reader makes neither files nor tables."""
    with pytest.raises(StoreUnavailable, match="no database"), reading(f"sqlite:///{tmp_path}/none.db"):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SchemaMismatch, match="none"), reading(empty_postgres_url):
        pass


async def test_values_stay_hidden(database: Database) -> None:
    """A failing statement does not print the values it carried, nor does the address print its password."""
    await tell(database, "msg_secret", a_notification(1), "on-call")
    with pytest.raises(StoreError) as caught:
        await tell(database, "msg_secret", a_notification(1), "on-call")
    assert "msg_secret" not in f"{caught.value!r} {caught.value.__context__ if not caught.value.__suppress_context__ else ''}"
    assert marked.PASSWORD not in repr(vars(database))


@pytest.mark.parametrize("kind", sampled(["postgres", "sqlite"]))
async def test_no_update_is_lost(kind: str, request: pytest.FixtureRequest, sqlite_url: str) -> None:
    """Four threads that read, add one and write back, 200 times each, count to 800."""
    from sqlalchemy import create_engine

    url = sqlite_url if kind == "sqlite" else request.getfixturevalue("postgres_url")
    database = Database(url, clock=SystemClock(), owner="test")
    await database.start()
    await database.write(lambda store: store.save_scopes({"count": (0, b"0")}))
    await database.close()
    engine = writing_engine(Path(url.removeprefix("sqlite:///"))) if kind == "sqlite" else create_engine(url.replace("://", "+psycopg://"))

    def count() -> None:
        for _ in range(200):
            with engine.begin() as connection:
                store = Store(connection)
                version, document = read_scopes(store)["count"]
                store.save_scopes({"count": (version, str(int(document) + 1).encode())})

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    engine.dispose()
    with reading(url) as reader:
        assert read_scopes(reader)["count"] == (801, b"800")
