"""What a receiver is told again, read from both kinds of database."""

from collections.abc import Sequence
from dataclasses import replace

from monitor.db import AttemptRow, Database, DeliveryState, Store, last_delivered, list_deliveries, open_alerts
from monitor.domain.connections import ConnectionSpec
from monitor.domain.events import FINE, Notification, NotificationReason, Transition, incident_key
from monitor.errors import DeliveryReason
from tests.builders import START, a_notification
from tests.outbox import ending


async def told(database: Database, notification: Notification, receivers: Sequence[str], body: bytes, state: DeliveryState) -> None:
    """Decide to tell *notification* and let each delivery come to *state*."""

    def work(store: Store) -> None:
        closing = notification.why is NotificationReason.CLOSED
        store.apply_transitions(
            [
                Transition(
                    incident=notification.incident,
                    scope=notification.scope,
                    connection_id=notification.connection_id,
                    level=FINE if closing else notification.level_to,
                    at=notification.at,
                    severity=notification.severity,
                    reason=notification.reason,
                    detail="",
                    closed_why="recovered" if closing else None,
                )
            ]
        )
        key = incident_key(notification.incident, "test")
        store.outbox.add_notification(store.outbox.new_webhook_id(), notification, key, body, receivers)
        for receiver in receivers:
            (row, *_) = [one for one in list_deliveries(store, receiver=receiver) if one.body == body]
            store.outbox.record_attempt(row, AttemptRow(START, DeliveryReason.DELIVERED, 1), state)

    await database.write(work)


async def test_standing(database: Database) -> None:
    """Of each open incident the last that was delivered to this very receiver; nothing owed, given up, over or told to others."""
    await database.write(lambda store: store.ensure_connections([ConnectionSpec("main", "", f"x-{n}", "x") for n in range(1, 8)]))
    done, dead, pending = DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.PENDING
    first = a_notification(1)
    await told(database, first, ["alerts", "chat"], b"1 opened", done)
    await told(database, replace(first, why=NotificationReason.CHANGED, level_to="x", seq=2), ["alerts"], b"1 changed", done)
    await told(database, replace(first, why=NotificationReason.CHANGED, level_to="y", seq=3), ["alerts"], b"1 owed", pending)
    await told(database, a_notification(2), ["chat"], b"2 to another", done)
    await told(database, a_notification(3), ["alerts"], b"3 given up", dead)
    await told(database, a_notification(4), ["alerts"], b"4 opened", done)
    await told(database, ending(a_notification(4)), ["alerts"], b"4 over", pending)
    await told(database, a_notification(5), ["alerts"], b"5 opened", done)
    await told(database, a_notification(6), [], b"6 to nobody", done)

    everything = await database.read(lambda reader: open_alerts(reader, "alerts", 0, 10))
    assert [body for _, body in everything] == [b"1 changed", b"5 opened"]
    page = await database.read(lambda reader: open_alerts(reader, "alerts", 0, 1))
    assert page == everything[:1]
    assert await database.read(lambda reader: open_alerts(reader, "alerts", page[0][0], 1)) == everything[1:]
    assert await database.read(lambda reader: open_alerts(reader, "alerts", everything[-1][0], 1)) == []
    assert [body for _, body in await database.read(lambda reader: open_alerts(reader, "chat", 0, 10))] == [b"1 opened", b"2 to another"]

    key = incident_key(first.incident, "test")
    assert await database.read(lambda reader: last_delivered(reader, "alerts", key)) == b"1 changed"
    assert await database.read(lambda reader: last_delivered(reader, "chat", key)) == b"1 opened"
    assert await database.read(lambda reader: last_delivered(reader, "alerts", "unheard of")) is None
