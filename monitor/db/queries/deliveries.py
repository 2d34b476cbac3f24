"""Notifications, deliveries, attempts, and what a receiver was last sent."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, Row, bindparam, func, select, text

from monitor.clock import from_milliseconds
from monitor.db.codec import load_notification, maybe_moment
from monitor.db.rows import AttemptRow, DeliveryRow, NotificationRow, PendingRow, to_attempt, to_delivery, to_pending
from monitor.db.tables import attempts, deliveries, incidents, notifications, receiver_states
from monitor.db.transaction import Reader
from monitor.domain.delivery.retries import CircuitBreaker, DeliveryState, read_breaker
from monitor.domain.events import EventType, IncidentRef, Notification
from monitor.domain.views.snapshot import OutboxView

# The state is spelled out in the SQL: with a parameter the partial indexes could not be used.
PENDING = text("deliveries.state = 'pending'")
_DELIVERED = text("deliveries.state = 'delivered'")

_IDS: BindParameter[int] = bindparam("ids", expanding=True)
_NOTIFICATIONS = select(notifications).order_by(notifications.c.id.desc()).limit(bindparam("limit"))
_LAST = select(notifications.c.id, notifications.c.type, notifications.c.document).order_by(notifications.c.id.desc()).limit(200).subquery()
_LAST_OF_TYPE = select(_LAST).where(_LAST.c.type == bindparam("type")).order_by(_LAST.c.id)
_DELIVERY_STATES = select(deliveries.c.notification_id, deliveries.c.receiver, deliveries.c.state).where(
    deliveries.c.notification_id.in_(_IDS)
)
_ALL_DELIVERIES = select(
    deliveries,
    notifications.c.webhook_id,
    notifications.c.incident_key,
    notifications.c.document,
    notifications.c.body,
).join(notifications, notifications.c.id == deliveries.c.notification_id)
_DELIVERIES = _ALL_DELIVERIES.order_by(deliveries.c.id.desc()).limit(bindparam("limit"))
_DELIVERIES_BY_ID = _ALL_DELIVERIES.where(deliveries.c.id.in_(_IDS)).order_by(deliveries.c.id)
_DELIVERIES_OF_NOTIFICATIONS = _ALL_DELIVERIES.where(deliveries.c.notification_id.in_(_IDS)).order_by(deliveries.c.id)
_WAITING = (
    select(
        deliveries.c.id,
        deliveries.c.subject,
        deliveries.c.attempts,
        deliveries.c.queued_at,
        deliveries.c.next_attempt_at,
        deliveries.c.last_reason,
        deliveries.c.last_status,
        notifications.c.type,
        notifications.c.connection_id,
    )
    .join(notifications, notifications.c.id == deliveries.c.notification_id)
    .where(deliveries.c.receiver == bindparam("receiver"), PENDING, deliveries.c.digest_id.is_(None))
    .order_by(deliveries.c.id)
    .limit(bindparam("limit"))
)
_OUTBOX = (
    select(deliveries.c.receiver, func.count().label("pending"), func.min(deliveries.c.queued_at).label("oldest"))
    .where(PENDING, deliveries.c.digest_id.is_(None))
    .group_by(deliveries.c.receiver)
)
_RECEIVER_STATES = select(receiver_states)
_ATTEMPTS = select(attempts).where(attempts.c.delivery_id.in_(_IDS)).order_by(attempts.c.id)

_LAST_DELIVERED = (
    select(notifications.c.body)
    .join(deliveries, deliveries.c.notification_id == notifications.c.id)
    .where(notifications.c.incident_key == bindparam("incident_key"), deliveries.c.receiver == bindparam("receiver"), _DELIVERED)
    .order_by(notifications.c.id.desc())
    .limit(1)
)
_KEY = (
    select(notifications.c.incident_key)
    .where(
        notifications.c.subject == bindparam("subject"),
        notifications.c.topic == bindparam("topic"),
        notifications.c.number == bindparam("number"),
    )
    .order_by(notifications.c.id)
    .limit(1)
)
_INCIDENT = (
    select(notifications.c.topic, notifications.c.subject, notifications.c.number)
    .where(notifications.c.incident_key == bindparam("incident_key"))
    .limit(1)
)
# By subject, not by number: when an incident closed and another opened without a delivery in between, the receiver knows the new
# one as the old one.
_OPEN_ALERTS = (
    select(incidents.c.id, func.max(notifications.c.id).label("notification_id"))
    .join(notifications, (notifications.c.subject == incidents.c.subject) & (notifications.c.topic == incidents.c.topic))
    .join(deliveries, deliveries.c.notification_id == notifications.c.id)
    .where(
        incidents.c.closed_at.is_(None),
        incidents.c.id > bindparam("after"),
        deliveries.c.receiver == bindparam("receiver"),
        _DELIVERED,
    )
    .group_by(incidents.c.id)
    .order_by(incidents.c.id)
    .limit(bindparam("limit"))
    .subquery()
)
_OPEN_ALERT_BODIES = (
    select(_OPEN_ALERTS.c.id, notifications.c.body)
    .join(notifications, notifications.c.id == _OPEN_ALERTS.c.notification_id)
    .order_by(_OPEN_ALERTS.c.id)
)


def last_notifications(reader: Reader, wanted: EventType) -> list[Notification]:
    """Those of one type among the last 200 notifications, oldest first."""
    rows = reader.rows(_LAST_OF_TYPE, {"type": wanted})
    return [load_notification(row.document, f"notifications row {row.id}") for row in rows]


def list_notifications(
    reader: Reader, *, subject: str | None = None, connection_id: int | None = None, limit: int = 100, before_id: int | None = None
) -> list[NotificationRow]:
    """Notifications with the states of their deliveries, newest first; page with *before_id*."""
    query = _NOTIFICATIONS
    if subject is not None:
        query = query.where(notifications.c.subject == subject)
    if connection_id is not None:
        query = query.where(notifications.c.connection_id == connection_id)
    if before_id is not None:
        query = query.where(notifications.c.id < before_id)
    rows = reader.rows(query, {"limit": limit})
    states: dict[int, dict[str, DeliveryState]] = defaultdict(dict)
    for row in reader.rows(_DELIVERY_STATES, {"ids": [row.id for row in rows]}):
        states[row.notification_id][row.receiver] = DeliveryState(row.state)
    return [
        NotificationRow(
            id=row.id,
            webhook_id=row.webhook_id,
            incident_key=row.incident_key,
            notification=load_notification(row.document, f"notifications row {row.id}"),
            deliveries=states[row.id],
        )
        for row in rows
    ]


def notifications_since(
    reading: Callable[[], AbstractContextManager[Reader]], since: datetime, page: int = 500
) -> Iterator[NotificationRow]:
    """Every notification from *since* on, the newest first."""
    before: int | None = None
    while True:
        with reading() as reader:
            rows = list_notifications(reader, limit=page, before_id=before)
        yield from (row for row in rows if row.notification.at >= since)
        if len(rows) < page or rows[-1].notification.at < since - timedelta(days=1):
            return
        before = rows[-1].id


def list_deliveries(
    reader: Reader,
    *,
    receiver: str | None = None,
    state: DeliveryState | None = None,
    subject: str | None = None,
    limit: int = 100,
    before_id: int | None = None,
) -> list[DeliveryRow]:
    """Deliveries, newest first, those about one *subject* (of a connection: its id); page with *before_id*."""
    query = _DELIVERIES
    if receiver is not None:
        query = query.where(deliveries.c.receiver == receiver)
    if state is not None:
        query = query.where(deliveries.c.state == state)
    if subject is not None:
        # By the notifications, which have an index for it; without it every delivery would be read.
        query = query.where(deliveries.c.notification_id.in_(select(notifications.c.id).where(notifications.c.subject == subject)))
    if before_id is not None:
        query = query.where(deliveries.c.id < before_id)
    return [to_delivery(row) for row in reader.rows(query, {"limit": limit})]


def deliveries_by_id(reader: Reader, ids: Collection[int]) -> list[DeliveryRow]:
    """The deliveries with these ids that still exist, oldest first."""
    return [to_delivery(row) for row in reader.rows(_DELIVERIES_BY_ID, {"ids": list(ids)})]


def deliveries_of_notifications(reader: Reader, ids: Collection[int]) -> list[DeliveryRow]:
    """Every delivery of the notifications with these ids, oldest first."""
    return [to_delivery(row) for row in reader.rows(_DELIVERIES_OF_NOTIFICATIONS, {"ids": list(ids)})]


def pending_deliveries(reader: Reader, receiver: str, limit: int = 10_000) -> list[PendingRow]:
    """What is pending for *receiver*, oldest first; without what a pending digest contains."""
    return [to_pending(row) for row in reader.rows(_WAITING, {"receiver": receiver, "limit": limit})]


def attempts_of(reader: Reader, delivery_ids: Collection[int]) -> dict[int, list[AttemptRow]]:
    """Delivery id to its attempts, oldest first."""
    attempts_by_delivery: dict[int, list[AttemptRow]] = defaultdict(list)
    for row in reader.rows(_ATTEMPTS, {"ids": list(delivery_ids)}):
        attempts_by_delivery[row.delivery_id].append(to_attempt(row))
    return attempts_by_delivery


def read_outbox(reader: Reader) -> dict[str, OutboxView]:
    """Receiver name to what is pending for it; a receiver without pending deliveries appears once it has a state."""
    pending = {row.receiver: row for row in reader.rows(_OUTBOX)}
    states = {row.name: row for row in reader.rows(_RECEIVER_STATES)}
    return {name: _outbox_view(pending.get(name), states.get(name)) for name in sorted(pending.keys() | states.keys())}


def _outbox_view(pending: Row[Any] | None, state: Row[Any] | None) -> OutboxView:
    breaker = read_breaker(state.document.encode()) if state is not None else CircuitBreaker()
    return OutboxView(
        pending=pending.pending if pending is not None else 0,
        oldest_at=from_milliseconds(pending.oldest) if pending is not None else None,
        disabled=state is not None and state.disabled,
        failing_since=maybe_moment(state.failing_since) if state is not None else None,
        refusing=breaker.refusing,
        in_trouble=breaker.in_trouble,
    )


def read_receiver_states(reader: Reader) -> dict[str, bytes]:
    """Receiver name to the JSON document last put for it."""
    return {row.name: row.document.encode() for row in reader.rows(reader.locking(_RECEIVER_STATES))}


def last_delivered(reader: Reader, receiver: str, incident_key: str) -> bytes | None:
    """The body last delivered to *receiver* about an incident, None when there is none."""
    rows = reader.rows(_LAST_DELIVERED, {"receiver": receiver, "incident_key": incident_key})
    return bytes(rows[0].body) if rows else None


def notified_key(reader: Reader, incident: IncidentRef) -> str | None:
    """The key under which *incident* was notified, which stays when the instance gets another name; None without a notification."""
    rows = reader.rows(_KEY, {"subject": incident.subject, "topic": incident.topic, "number": incident.number})
    return rows[0].incident_key if rows else None


def notified_keys(reader: Reader, found: Iterable[IncidentRef]) -> dict[IncidentRef, str]:
    """The keys under which the *found* incidents were notified, as far as they were."""
    keys = {incident: notified_key(reader, incident) for incident in found}
    return {incident: key for incident, key in keys.items() if key is not None}


def notified_as(reader: Reader, key: str) -> tuple[str, str, int] | None:
    """Topic, subject and number of the incident that was notified with this *key*, by the names of now; None without one."""
    rows = reader.rows(_INCIDENT, {"incident_key": key})
    return (rows[0].topic, rows[0].subject, rows[0].number) if rows else None


def open_alerts(reader: Reader, receiver: str, after: int, limit: int) -> list[tuple[int, bytes]]:
    """
    The open incidents whose subject *receiver* was ever notified of, each with the body last delivered about that subject.

    When that body reports a recovery, the receiver does not know the incident that is open now. They come in the order of
    their ids, at most *limit*, from the one behind *after* (0: from the first).
    """
    rows = reader.rows(_OPEN_ALERT_BODIES, {"receiver": receiver, "after": after, "limit": limit})
    return [(row.id, bytes(row.body)) for row in rows]
