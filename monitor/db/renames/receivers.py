"""Receivers that are renamed, removed or new: their rows, what stands, and what they have not been told."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import BindParameter, bindparam, delete, func, insert, select, text, update

from monitor.clock import to_milliseconds
from monitor.db.codec import load_notification
from monitor.db.queries.deliveries import read_receiver_states
from monitor.db.tables import deliveries, incidents, notifications, receiver_states
from monitor.db.transaction import Reader, Transaction
from monitor.domain.delivery.retries import CircuitBreaker, DeliveryState, read_breaker
from monitor.domain.events import Notification, Topic

if TYPE_CHECKING:
    from monitor.db.outbox import Outbox

_OF_INCIDENT = (
    (notifications.c.subject == incidents.c.subject)
    & (notifications.c.topic == incidents.c.topic)
    & (notifications.c.number == incidents.c.number)
)
_ids: BindParameter[Sequence[int]] = bindparam("ids", expanding=True)
_names: BindParameter[Sequence[str]] = bindparam("names", expanding=True)
_other = deliveries.alias("other")
_RENAME = (
    update(deliveries)
    .where(
        deliveries.c.receiver == bindparam("b_old"),
        ~select(_other.c.id)
        .where(_other.c.notification_id == deliveries.c.notification_id, _other.c.receiver == bindparam("b_new"))
        .correlate(deliveries)
        .exists(),
    )
    .values(receiver=bindparam("b_new"))
)
_RENAME_STATE = update(receiver_states).where(receiver_states.c.name == bindparam("b_old")).values(name=bindparam("b_new"))
_DELETE_STATE = delete(receiver_states).where(receiver_states.c.name == bindparam("b_name"))
_LATEST = (
    select(func.max(notifications.c.id).label("id"))
    .select_from(incidents)
    .join(notifications, _OF_INCIDENT)
    # Without the copies that `add_copy` made of others.
    .where(incidents.c.closed_at.is_(None), notifications.c.seq > 0)
    .group_by(incidents.c.id)
)
# Incidents that have ended, of which a receiver has some notification.
_LATEST_OF_CLOSED = (
    select(func.max(notifications.c.id).label("id"))
    .select_from(incidents)
    .join(notifications, _OF_INCIDENT)
    .where(
        incidents.c.closed_at.is_not(None),
        incidents.c.id.in_(
            select(incidents.c.id)
            .join(notifications, _OF_INCIDENT)
            .join(deliveries, deliveries.c.notification_id == notifications.c.id)
            .where(deliveries.c.receiver.in_(_names), text("deliveries.state = 'delivered'"))
        ),
    )
    .group_by(incidents.c.id)
)
_NOTIFICATIONS = (
    select(notifications.c.id, notifications.c.incident_key, notifications.c.document)
    .where(notifications.c.id.in_(_ids))
    .order_by(notifications.c.id)
)
_NEWEST_BODY = (
    select(notifications.c.body)
    .join(deliveries, deliveries.c.notification_id == notifications.c.id)
    .where(
        notifications.c.incident_key == bindparam("incident_key"),
        deliveries.c.receiver == bindparam("receiver"),
        text("deliveries.state IN ('pending', 'delivered')"),
    )
    .order_by(notifications.c.id.desc())
    .limit(1)
)
_latest = notifications.alias("latest")
_DELIVERIES = (
    select(_latest.c.id.label("latest_id"), deliveries.c.id, deliveries.c.notification_id, deliveries.c.receiver, deliveries.c.state)
    .select_from(_latest)
    .join(
        notifications,
        (notifications.c.subject == _latest.c.subject)
        & (notifications.c.topic == _latest.c.topic)
        & (notifications.c.number == _latest.c.number),
    )
    .join(deliveries, deliveries.c.notification_id == notifications.c.id)
    .where(_latest.c.id.in_(_ids))
)
_ADD = insert(deliveries)
_LAST_NUMBER = select(func.max(incidents.c.number).label("number")).where(
    incidents.c.topic == Topic.SCOPE, incidents.c.subject == bindparam("subject")
)


@dataclass(slots=True)
class LatestNotification:
    """
    The latest notification of one incident, and who has what.

    Attributes:
        holders: the receivers that have, or are about to get, some notification of the incident.
        chosen: those that some notification of it was ever routed to.
        own: receiver to the id and state of its delivery of this very notification.
    """

    id: int
    key: str
    notification: Notification
    holders: set[str] = field(default_factory=set)
    chosen: set[str] = field(default_factory=set)
    own: dict[str, tuple[int, DeliveryState]] = field(default_factory=dict)


def latest_of_open(reader: Reader) -> list[LatestNotification]:
    """The latest notification of every open incident, the oldest first."""
    return _with_deliveries(reader, [row.id for row in reader.rows(_LATEST)])


def latest_of_closed(reader: Reader, names: Collection[str]) -> list[LatestNotification]:
    """The latest notification of every closed incident of which one of the receivers *names* has had a notification."""
    return _with_deliveries(reader, [row.id for row in reader.rows(_LATEST_OF_CLOSED, {"names": list(names)})] if names else [])


def _with_deliveries(reader: Reader, ids: Sequence[int]) -> list[LatestNotification]:
    found = {
        row.id: LatestNotification(row.id, row.incident_key, load_notification(row.document, f"notifications row {row.id}"))
        for row in reader.rows(_NOTIFICATIONS, {"ids": list(ids)})
    }
    for row in reader.rows(_DELIVERIES, {"ids": list(ids)}):
        latest, state = found[row.latest_id], DeliveryState(row.state)
        latest.chosen.add(row.receiver)
        if state in {DeliveryState.PENDING, DeliveryState.DELIVERED}:
            latest.holders.add(row.receiver)
        if row.notification_id == latest.id:
            latest.own[row.receiver] = (row.id, state)
    return list(found.values())


def known_breaker(reader: Reader, name: str) -> CircuitBreaker:
    """The stored circuit breaker of a receiver; of one without, a healthy one that goes on with the numbers of its earlier incidents."""
    document = read_receiver_states(reader).get(name)
    if document is not None:
        return read_breaker(document)
    return CircuitBreaker(number=last_number(reader, name))


def last_number(reader: Reader, name: str) -> int:
    """The highest number of an incident of a receiver; 0 without one."""
    number: int | None = reader.rows(_LAST_NUMBER, {"subject": f"receiver:{name}"})[0].number
    return number or 0


def rename_receiver(transaction: Transaction, old: str, new: str) -> None:
    """Give the deliveries and the state of *old* to *new*, which may have had deliveries under that name before."""
    transaction.change(_DELETE_STATE, {"b_name": new})
    transaction.change(_RENAME_STATE, {"b_old": old, "b_new": new})
    transaction.change(_RENAME, {"b_old": old, "b_new": new})


def forget_state(transaction: Transaction, name: str) -> None:
    """Delete the state of a receiver: what comes back under its name begins anew."""
    transaction.change(_DELETE_STATE, {"b_name": name})


def newest_body(reader: Reader, latest: LatestNotification, receiver: str) -> bytes | None:
    """The body about the incident that *receiver* has got last, or is about to get; None when there is none."""
    rows = reader.rows(_NEWEST_BODY, {"incident_key": latest.key, "receiver": receiver})
    return bytes(rows[0].body) if rows else None


def _outbox(transaction: Transaction) -> "Outbox":
    from monitor.db.outbox import Outbox  # noqa: PLC0415 - `status` reads with this module, and writes nothing

    return Outbox(transaction)


def add_copy(
    transaction: Transaction, latest: LatestNotification, webhook_id: str, body: bytes, names: Sequence[str], at: datetime
) -> None:
    """Make *latest*, as it is rendered now, pending for the receivers *names*; its number stays that of the original."""
    _outbox(transaction).add_notification(webhook_id, replace(latest.notification, seq=0, at=at), latest.key, body, names)


def deliver_again(transaction: Transaction, latest: Sequence[LatestNotification], receiver: str, at: datetime) -> int:
    """Make *latest* pending for *receiver*, under their old ids; returns how many."""
    moment, pending = to_milliseconds(at), DeliveryState.PENDING
    missing = [one for one in latest if receiver not in one.own]
    finished = [one.own[receiver][0] for one in latest if receiver in one.own and one.own[receiver][1] is not pending]
    rows = [
        {
            "notification_id": one.id,
            "receiver": receiver,
            "subject": one.notification.incident.subject,
            "state": pending,
            "attempts": 0,
            "queued_at": moment,
            "next_attempt_at": moment,
        }
        for one in missing
    ]
    if rows:
        transaction.change(_ADD, rows)
    return len(rows) + _outbox(transaction).redeliver(finished, at)
