"""
The outbox: notifications, deliveries and attempts.

A delivery stays `pending` until an attempt is recorded; nothing marks it as being sent, so a crash can't leave it stuck.
A reminder that a newer notification of its incident replaced ends `cancelled`, bound to the newer delivery (`digest_id`).
What a digest contains stays pending, bound to the digest in the same way: it is not sent by itself, later deliveries
about the same subject wait for it, and it ends together with the digest.
"""

import uuid
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import bindparam, insert, select, text, update

from monitor.clock import to_milliseconds
from monitor.db.codec import dump_notification, maybe_millis
from monitor.db.queries.deliveries import PENDING, notified_key
from monitor.db.rows import AttemptRow, DeliveryRow
from monitor.db.tables import attempts, deliveries, notifications, receiver_states
from monitor.db.transaction import Transaction, upsert
from monitor.domain.delivery.retries import DeliveryState
from monitor.domain.events import EventType, IncidentRef, Notification
from monitor.errors import DeliveryReason, StaleStateError

_FOREVER = 2**62
_NOTIFIED = (
    select(deliveries.c.receiver)
    .distinct()
    .join(notifications, notifications.c.id == deliveries.c.notification_id)
    .where(notifications.c.incident_key == bindparam("incident_key"))
)
_ADD_NOTIFICATION = insert(notifications).returning(notifications.c.id)
_ADD_DELIVERIES = insert(deliveries)
_ADD_ATTEMPT = insert(attempts)
_RECORD = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("b_id"), PENDING, deliveries.c.digest_id.is_(None))
    .values(
        attempts=deliveries.c.attempts + 1,
        state=bindparam("b_state"),
        next_attempt_at=bindparam("b_next"),
        finished_at=bindparam("b_finished"),
        last_reason=bindparam("b_reason"),
        last_status=bindparam("b_status"),
    )
)
_FINISH_MERGED = (
    update(deliveries)
    .where(deliveries.c.digest_id == bindparam("b_id"), PENDING)
    .values(state=bindparam("b_state"), finished_at=bindparam("b_finished"))
)
_BIND = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("b_id"), PENDING, deliveries.c.digest_id.is_(None))
    .values(digest_id=bindparam("b_digest"))
)
_FIND_DELIVERY = (
    select(deliveries.c.id)
    .join(notifications, notifications.c.id == deliveries.c.notification_id)
    .where(notifications.c.webhook_id == bindparam("webhook_id"))
)
_CANCEL_ALL = (
    update(deliveries)
    .where(deliveries.c.receiver == bindparam("b_receiver"), PENDING, deliveries.c.queued_at <= bindparam("b_before"))
    .values(state=DeliveryState.CANCELLED, finished_at=bindparam("b_at"), last_reason=bindparam("b_reason"))
)
_newer = deliveries.alias("newer")
_newest = notifications.alias("newest")
_NEWER = (
    select(_newer.c.id)
    .join(_newest, _newest.c.id == _newer.c.notification_id)
    .where(_newest.c.webhook_id == bindparam("b_webhook_id"), _newer.c.receiver == deliveries.c.receiver)
    .correlate(deliveries)
    .scalar_subquery()
)
_REMINDERS = (
    select(notifications.c.id)
    .join(_newest, _newest.c.incident_key == notifications.c.incident_key)
    .where(_newest.c.webhook_id == bindparam("b_webhook_id"), notifications.c.id < _newest.c.id, notifications.c.type == EventType.REMINDER)
)
_OVERTAKE = (
    update(deliveries)
    .where(deliveries.c.notification_id.in_(_REMINDERS), PENDING, deliveries.c.digest_id.is_(None), _NEWER.is_not(None))
    .values(state=DeliveryState.CANCELLED, finished_at=bindparam("b_at"), digest_id=_NEWER)
)
_REDELIVER = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("b_id"), text("deliveries.state <> 'pending'"))
    .values(
        state=DeliveryState.PENDING,
        attempts=0,
        queued_at=bindparam("b_at"),
        next_attempt_at=bindparam("b_at"),
        finished_at=None,
        digest_id=None,
    )
)
_PUT_RECEIVER = upsert(receiver_states, ["name"], ["document", "disabled", "failing_since"])


class Outbox:
    """The part of a write transaction that adds notifications and records what became of their deliveries."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add_notification(
        self, webhook_id: str, notification: Notification, incident_key: str, body: bytes, receivers: Sequence[str]
    ) -> None:
        """Store *notification* with its *body* and one delivery, due now, for each of *receivers* (none is fine)."""
        number = self._insert_notification(webhook_id, notification, incident_key, body)
        at, subject = to_milliseconds(notification.at), notification.incident.subject
        rows = [
            {
                "notification_id": number,
                "receiver": receiver,
                "subject": subject,
                "state": DeliveryState.PENDING,
                "attempts": 0,
                "queued_at": at,
                "next_attempt_at": at,
            }
            for receiver in receivers
        ]
        if rows:
            self._transaction.change(_ADD_DELIVERIES, rows)

    def new_webhook_id(self) -> str:
        """A new id for one notification: sorts by time, contains no dot, and is unique, also after a restore."""
        return f"msg_{uuid.uuid4().hex}"

    def key_of(self, incident: IncidentRef) -> str | None:
        """The key under which *incident* was notified before, None without a notification: it stays when the instance gets another name."""
        return notified_key(self._transaction, incident)

    def receivers_notified(self, incident_key: str) -> tuple[str, ...]:
        """The names of the receivers that ever had a delivery about this incident."""
        return tuple(sorted(row.receiver for row in self._transaction.rows(_NOTIFIED, {"incident_key": incident_key})))

    def replace_by_digest(
        self,
        webhook_id: str,
        notification: Notification,
        incident_key: str,
        body: bytes,
        receiver: str,
        merged: Collection[int],
    ) -> None:
        """Add one digest for *receiver* in place of the pending *merged*, ended with it. Raises StaleStateError if one is not pending."""
        self.add_notification(webhook_id, notification, incident_key, body, [receiver])
        number = self._transaction.rows(_FIND_DELIVERY, {"webhook_id": webhook_id})[0].id
        bound = self._transaction.change(_BIND, [{"b_id": delivery_id, "b_digest": number} for delivery_id in merged])
        if bound != len(merged):
            raise StaleStateError(f"{len(merged) - bound} of {len(merged)} deliveries of a digest for {receiver} are no longer pending")

    def record_attempt(
        self,
        delivery: DeliveryRow,
        attempt: AttemptRow,
        state: DeliveryState | str,
        next_attempt_at: datetime | None = None,
    ) -> None:
        """
        Store *attempt* and the state of *delivery* after it; what a digest contains ends with it.

        *state* is `pending`, tried again at *next_attempt_at*, or final.

        Raises:
            StaleStateError: the delivery is not pending any more.
        """
        end = DeliveryState(state)
        finished = None if end is DeliveryState.PENDING else to_milliseconds(attempt.at)
        changes = {
            "b_id": delivery.id,
            "b_state": end,
            "b_next": to_milliseconds(next_attempt_at or attempt.at),
            "b_finished": finished,
            "b_reason": attempt.reason,
            "b_status": attempt.http_status,
        }
        if self._transaction.change(_RECORD, changes) != 1:
            raise StaleStateError(f"delivery {delivery.id} is no longer pending")
        self._transaction.change(
            _ADD_ATTEMPT,
            {
                "delivery_id": delivery.id,
                "at": to_milliseconds(attempt.at),
                "reason": attempt.reason,
                "duration_ms": attempt.duration_ms,
                "http_status": attempt.http_status,
                "detail": attempt.detail,
            },
        )
        if finished is not None:
            self._transaction.change(_FINISH_MERGED, {"b_id": delivery.id, "b_state": end, "b_finished": finished})

    def overtake_reminders(self, webhook_id: str, at: datetime) -> int:
        """Cancel the pending older reminders of the incident of *webhook_id* for its receivers, but those in a digest; returns how many."""
        return self._transaction.change(_OVERTAKE, {"b_webhook_id": webhook_id, "b_at": to_milliseconds(at)})

    def cancel_deliveries(
        self, receiver: str, at: datetime, *, queued_before: datetime | None = None, reason: DeliveryReason | None = DeliveryReason.GONE
    ) -> int:
        """Cancel the pending deliveries of *receiver*, all or those queued until *queued_before*; returns how many."""
        before = _FOREVER if queued_before is None else to_milliseconds(queued_before)
        return self._transaction.change(
            _CANCEL_ALL, {"b_receiver": receiver, "b_at": to_milliseconds(at), "b_before": before, "b_reason": reason}
        )

    def redeliver(self, ids: Iterable[int], at: datetime) -> int:
        """Put finished deliveries back, due at once and under their old webhook id; returns how many were put back."""
        rows = [{"b_id": delivery_id, "b_at": to_milliseconds(at)} for delivery_id in ids]
        return self._transaction.change(_REDELIVER, rows) if rows else 0

    def put_receiver_state(self, name: str, document: bytes, *, disabled: bool = False, failing_since: datetime | None = None) -> None:
        """Keep the state of a receiver; *disabled* and *failing_since* are what `read_outbox` shows."""
        values = {"name": name, "document": document.decode(), "disabled": disabled, "failing_since": maybe_millis(failing_since)}
        self._transaction.change(_PUT_RECEIVER, values)

    def _insert_notification(self, webhook_id: str, notification: Notification, incident_key: str, body: bytes) -> int:
        incident = notification.incident
        values = {
            "webhook_id": webhook_id,
            "incident_key": incident_key,
            "type": notification.type,
            "topic": incident.topic,
            "subject": incident.subject,
            "number": incident.number,
            "connection_id": notification.connection_id,
            "seq": notification.seq,
            "at": to_milliseconds(notification.at),
            "document": dump_notification(notification),
            "body": body,
        }
        return int(self._transaction.rows(_ADD_NOTIFICATION, values)[0].id)
