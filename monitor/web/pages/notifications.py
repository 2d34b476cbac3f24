"""Who was notified, with receivers' responses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from monitor.db import AttemptRow, DeliveryRow, DeliveryState, NotificationRow
from monitor.domain.connections import Connection
from monitor.domain.events import NotificationReason
from monitor.domain.views.status import TONES, Tone
from monitor.errors import DeliveryReason
from monitor.notify.payload import summary
from monitor.text.format import ago, count, milliseconds, one_line
from monitor.text.reasons import RESPONSE_TEXTS

_REASONS = {
    NotificationReason.OPENED: "opened",
    NotificationReason.CHANGED: "changed",
    NotificationReason.ESCALATED: "escalated",
    NotificationReason.CLOSED: "closed",
    NotificationReason.REMINDER: "reminder",
    NotificationReason.NOTICE: "for information",
    NotificationReason.DIGEST: "digest",
}
_STATE_TONES = {
    DeliveryState.DELIVERED: Tone.GOOD,
    DeliveryState.PENDING: Tone.WARN,
    DeliveryState.DEAD: Tone.BAD,
    DeliveryState.CANCELLED: Tone.IDLE,
}
_QUOTED = 200


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One attempt and its result."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class ReceiverResponse:
    """The delivery of one notification to one receiver."""

    receiver: str
    tone: Tone
    text: str
    attempts: tuple[AttemptView, ...]


@dataclass(frozen=True, slots=True)
class NotificationView:
    """One notification: when, why, how urgent, its text, and the response of each receiver."""

    at: datetime
    tone: Tone
    type: str
    why: str
    text: str
    responses: tuple[ReceiverResponse, ...]


def notification_views(
    rows: Sequence[NotificationRow],
    deliveries: Sequence[DeliveryRow],
    attempts: Mapping[int, Sequence[AttemptRow]],
    connection: Connection | None,
    now: datetime,
) -> tuple[NotificationView, ...]:
    """These notifications with their deliveries and attempts, in the order of *rows*."""
    responses: dict[int, list[ReceiverResponse]] = {row.id: [] for row in rows}
    for delivery in deliveries:
        responses[delivery.notification_id].append(_response(delivery, attempts.get(delivery.id, ()), now))
    return tuple(
        NotificationView(
            at=row.notification.at,
            tone=Tone.GOOD if row.notification.why is NotificationReason.CLOSED else TONES[row.notification.severity],
            type=row.notification.type.value,
            why=_REASONS[row.notification.why],
            text=summary(row.notification, connection),
            responses=tuple(responses[row.id]),
        )
        for row in rows
    )


def _response(row: DeliveryRow, attempts: Sequence[AttemptRow], now: datetime) -> ReceiverResponse:
    return ReceiverResponse(
        row.receiver, _STATE_TONES[row.state], _outcome(row, now), tuple(AttemptView(attempt.at, _attempt(attempt)) for attempt in attempts)
    )


def _outcome(row: DeliveryRow, now: datetime) -> str:
    tries = count(row.attempts, "attempt")
    last = _reason(row.last_reason, row.last_status) if row.last_reason is not None else ""
    match row.state:
        case DeliveryState.DELIVERED:
            within = " within a digest" if row.digest_id is not None else ""
            return f"accepted{within} {ago(row.finished_at, now)}" + (
                f", at the {_ordinal(row.attempts)} attempt" if row.attempts > 1 else ""
            )
        case DeliveryState.PENDING if row.digest_id is not None:
            return "pending within a digest"
        case DeliveryState.PENDING if not row.attempts:
            return "pending"
        case DeliveryState.PENDING:
            return f"{last}; next attempt {ago(max(row.next_attempt_at, now), now)}, after {tries}"
        case DeliveryState.DEAD:
            return f"abandoned after {tries}: {last}" if last else f"abandoned after {tries}"
        case DeliveryState.CANCELLED:
            return "not sent: replaced by a newer notification" if row.overtaken else f"not sent: {_why_cancelled(row)}"


def _why_cancelled(row: DeliveryRow) -> str:
    if row.last_reason is DeliveryReason.NOT_SENT:
        return "this receiver takes no such messages"
    return "the receiver was disabled" if row.last_reason is DeliveryReason.GONE else "the receiver left the configuration"


def _attempt(row: AttemptRow) -> str:
    detail = f": {one_line(row.detail, _QUOTED)}" if row.detail and row.reason is not DeliveryReason.DELIVERED else ""
    return f"{_reason(row.reason, row.http_status)} in {milliseconds(row.duration_ms)}{detail}"


def _reason(reason: DeliveryReason, status: int | None) -> str:
    return f"{RESPONSE_TEXTS[reason]} ({status})" if status is not None else RESPONSE_TEXTS[reason]


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")
