"""
The outbox: what receivers are owed, and how telling them went.

A delivery stays `pending` until an attempt is recorded; nothing marks it as being sent, so nothing can be stranded by
a crash. A reminder that newer word of its incident overtook ends `cancelled`, bound to what overtook it. What a digest tells stays pending too, bound to the digest (`digest_id`): it can't be sent by itself, later
deliveries about the same subject still wait for it, and it ends together with the digest.
"""

import uuid
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import bindparam, exists, insert, select, text, update

from monitor.db.codec import dump_notification, maybe_millis, millis
from monitor.db.queries.state import DELIVERIES
from monitor.db.rows import AttemptRow, DeliveryRow, to_delivery
from monitor.db.tables import attempts, deliveries, notifications, receiver_states
from monitor.db.transaction import Transaction, for_each_dialect
from monitor.domain.delivery.retries import DeliveryState
from monitor.domain.events import EventType, Notification
from monitor.errors import DeliveryReason, StaleStateError

# The state is spelled out in the SQL: with a parameter the partial indexes could not be used.
_PENDING = text("deliveries.state = 'pending'")

_older = deliveries.alias("older")
_DUE = (
    DELIVERIES.where(
        deliveries.c.receiver == bindparam("receiver"),
        _PENDING,
        deliveries.c.digest_id.is_(None),
        deliveries.c.next_attempt_at <= bindparam("now"),
        ~exists(
            select(1)
            .select_from(_older)
            .where(
                _older.c.receiver == deliveries.c.receiver,
                _older.c.subject == deliveries.c.subject,
                text("older.state = 'pending'"),
                _older.c.id < deliveries.c.id,
            )
        ),
    )
    .order_by(deliveries.c.id)
    .limit(bindparam("limit"))
)
_TOLD = (
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
    .where(deliveries.c.id == bindparam("b_id"), _PENDING, deliveries.c.digest_id.is_(None))
    .values(
        attempts=deliveries.c.attempts + 1,
        state=bindparam("b_state"),
        next_attempt_at=bindparam("b_next"),
        finished_at=bindparam("b_finished"),
        last_reason=bindparam("b_reason"),
        last_status=bindparam("b_status"),
    )
)
_FINISH_TOLD = (
    update(deliveries)
    .where(deliveries.c.digest_id == bindparam("b_id"), _PENDING)
    .values(state=bindparam("b_state"), finished_at=bindparam("b_finished"))
)
_BIND = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("b_id"), _PENDING, deliveries.c.digest_id.is_(None))
    .values(digest_id=bindparam("b_digest"))
)
_FIND_DELIVERY = (
    select(deliveries.c.id)
    .join(notifications, notifications.c.id == deliveries.c.notification_id)
    .where(notifications.c.webhook_id == bindparam("webhook_id"))
)
_CANCEL_ALL = (
    update(deliveries)
    .where(deliveries.c.receiver == bindparam("b_receiver"), _PENDING)
    .values(state=DeliveryState.CANCELLED, finished_at=bindparam("b_at"), last_reason=DeliveryReason.GONE)
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
    .where(deliveries.c.notification_id.in_(_REMINDERS), _PENDING, deliveries.c.digest_id.is_(None), _NEWER.is_not(None))
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
_PUT_RECEIVER = for_each_dialect(
    lambda insert_into: (put := insert_into(receiver_states)).on_conflict_do_update(
        index_elements=["name"],
        set_={name: put.excluded[name] for name in ("document", "disabled", "failing_since")},
    )
)


class Outbox(Transaction):
    """The part of a write transaction that owes, tells and settles."""

    def add_notification(
        self, webhook_id: str, notification: Notification, incident_key: str, body: bytes, receivers: Sequence[str]
    ) -> None:
        """Store *notification* with its *body* and one delivery, due now, for each of *receivers* (none is fine)."""
        number = self._insert_notification(webhook_id, notification, incident_key, body)
        at, subject = millis(notification.at), notification.incident.subject
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
            self._change(_ADD_DELIVERIES, rows)

    def new_webhook_id(self) -> str:
        """Return a new id for one notification; it holds no dot and is random, so that none comes twice after a restore."""
        return f"msg_{uuid.uuid4().hex}"

    def receivers_told(self, incident_key: str) -> tuple[str, ...]:
        """The names of the receivers that were ever owed a word about this incident."""
        return tuple(sorted(row.receiver for row in self._rows(_TOLD, {"incident_key": incident_key})))

    def replace_by_digest(
        self,
        webhook_id: str,
        notification: Notification,
        incident_key: str,
        body: bytes,
        receiver: str,
        told: Collection[int],
    ) -> None:
        """
        Owe *receiver* one digest in place of the pending deliveries *told*, which end when the digest does.

        Raises:
            StaleState: one of *told* is not pending any more, or another digest tells it.
        """
        self.add_notification(webhook_id, notification, incident_key, body, [receiver])
        number = self._rows(_FIND_DELIVERY, {"webhook_id": webhook_id})[0].id
        bound = self._change(_BIND, [{"b_id": delivery_id, "b_digest": number} for delivery_id in told])
        if bound != len(told):
            raise StaleStateError(f"{len(told) - bound} of {len(told)} deliveries of a digest for {receiver} are no longer pending")

    def due_deliveries(self, receiver: str, now: datetime, limit: int = 10) -> list[DeliveryRow]:
        """
        What may be sent to *receiver* now, oldest first, at most *limit*.

        Only those without an older pending delivery about the same subject, whether that one is due or not.
        """
        query = self._locking(_DUE)
        return [to_delivery(row) for row in self._rows(query, {"receiver": receiver, "now": millis(now), "limit": limit})]

    def record_attempt(
        self,
        delivery: DeliveryRow,
        attempt: AttemptRow,
        state: DeliveryState | str,
        next_attempt_at: datetime | None = None,
    ) -> None:
        """
        Store *attempt* and where *delivery* stands after it; a digest takes along what it tells.

        *state* is `pending`, tried again at *next_attempt_at*, or an end.

        Raises:
            StaleState: the delivery is not pending any more.
        """
        end = DeliveryState(state)
        finished = None if end is DeliveryState.PENDING else millis(attempt.at)
        changes = {
            "b_id": delivery.id,
            "b_state": end,
            "b_next": millis(next_attempt_at or attempt.at),
            "b_finished": finished,
            "b_reason": attempt.reason,
            "b_status": attempt.http_status,
        }
        if self._change(_RECORD, changes) != 1:
            raise StaleStateError(f"delivery {delivery.id} is no longer pending")
        self._change(
            _ADD_ATTEMPT,
            {
                "delivery_id": delivery.id,
                "at": millis(attempt.at),
                "reason": attempt.reason,
                "duration_ms": attempt.duration_ms,
                "http_status": attempt.http_status,
                "detail": attempt.detail,
            },
        )
        if finished is not None:
            self._change(_FINISH_TOLD, {"b_id": delivery.id, "b_state": end, "b_finished": finished})

    def overtake_reminders(self, webhook_id: str, at: datetime) -> int:
        """
        Cancel the older reminders of the same incident for those who are owed the notification *webhook_id*; returns how many.

        What a digest tells stays: its body is written.
        """
        return self._change(_OVERTAKE, {"b_webhook_id": webhook_id, "b_at": millis(at)})

    def cancel_deliveries(self, receiver: str, at: datetime) -> int:
        """Cancel everything *receiver* is owed; returns how many."""
        return self._change(_CANCEL_ALL, {"b_receiver": receiver, "b_at": millis(at)})

    def redeliver(self, ids: Iterable[int], at: datetime) -> int:
        """Put finished deliveries back, due at once and under their old webhook id; returns how many were put back."""
        rows = [{"b_id": delivery_id, "b_at": millis(at)} for delivery_id in ids]
        return self._change(_REDELIVER, rows) if rows else 0

    def put_receiver_state(self, name: str, document: bytes, *, disabled: bool = False, failing_since: datetime | None = None) -> None:
        """Keep what is known of a receiver; *disabled* and *failing_since* are what `outbox()` shows."""
        values = {"name": name, "document": document.decode(), "disabled": disabled, "failing_since": maybe_millis(failing_since)}
        self._change(_PUT_RECEIVER[self._dialect], values)

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
            "at": millis(notification.at),
            "document": dump_notification(notification),
            "body": body,
        }
        return int(self._rows(_ADD_NOTIFICATION, values)[0].id)
