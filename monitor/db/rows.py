"""Row types and their builders."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from sys import intern
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Row

from monitor.clock import from_milliseconds
from monitor.db.codec import load_labels, load_names, load_notification, maybe_moment
from monitor.domain.connections import Connection, ConnectionSpec
from monitor.domain.copies import quick_init
from monitor.domain.delivery.retries import DeliveryState, is_of_message
from monitor.domain.events import EventType, IncidentRef, Notification, NotificationReason, Severity, Topic
from monitor.domain.reasons import Scope
from monitor.errors import DeliveryReason, Reason, StoreCorrupt

if TYPE_CHECKING:
    from monitor.domain.views.snapshot import IncidentView


@quick_init
@dataclass(frozen=True, slots=True)
class CheckRow:
    """
    One completed check.

    Attributes:
        duration_ms: how long the API took, in milliseconds.
        token: the API's `tokenExpiresIn`, unparsed; None for null.
        detail: the cleaned text; equal texts are stored once.
    """

    connection_id: int
    at: datetime
    reason: Reason
    duration_ms: int
    http_status: int | None = None
    token: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """
    One incident, open or closed; of a closed one *level*, *severity*, *reason* and *detail* are the last before it closed.

    Attributes:
        id: grows with time; page with it.
        changed_at: when it last opened, changed its level or closed.
        closed_at, closed_why: None while it is open.
    """

    id: int
    incident: IncidentRef
    scope: Scope
    connection_id: int | None
    level: str
    severity: Severity
    reason: Reason | None
    detail: str
    changed_at: datetime
    closed_at: datetime | None = None
    closed_why: str | None = None


@dataclass(frozen=True, slots=True)
class NotificationRow:
    """One stored notification; `deliveries` maps each receiver to the state of its delivery."""

    id: int
    webhook_id: str
    incident_key: str
    notification: Notification
    deliveries: Mapping[str, DeliveryState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """
    One notification for one receiver.

    Attributes:
        id: grows with time; the order in which a subject's deliveries go out.
        webhook_id: constant over every attempt and redelivery.
        body: the exact bytes to send and sign.
        queued_at: when it was decided or last redelivered; its age counts from here.
        next_attempt_at: not before this.
        finished_at: when it left `pending`, else None.
        digest_id: the digest that contains this one, or the newer delivery that replaced this reminder; else None.
        last_reason, last_status: of the last attempt; `gone` if it was cancelled because the receiver is disabled.
    """

    id: int
    notification_id: int
    webhook_id: str
    incident_key: str
    receiver: str
    state: DeliveryState
    attempts: int
    queued_at: datetime
    next_attempt_at: datetime
    notification: Notification
    body: bytes
    finished_at: datetime | None = None
    digest_id: int | None = None
    last_reason: DeliveryReason | None = None
    last_status: int | None = None

    @property
    def overtaken(self) -> bool:
        """Whether this is a reminder that a newer notification of its incident replaced."""
        return self.state is DeliveryState.CANCELLED and self.digest_id is not None and self.last_reason is not DeliveryReason.GONE

    @property
    def subject(self) -> str:
        """The subject; deliveries about one subject are sent in order."""
        return self.notification.incident.subject

    @property
    def type(self) -> EventType:
        """The event type of the body."""
        return self.notification.type

    @property
    def severity(self) -> Severity:
        """The severity of the notification."""
        return self.notification.severity

    @property
    def why(self) -> NotificationReason:
        """The reason of the notification."""
        return self.notification.why


@dataclass(frozen=True, slots=True)
class PendingRow:
    """The part of a pending delivery that planning the next one needs; *refused*: the last attempt failed because of this message."""

    id: int
    subject: str
    type: EventType
    connection_id: int | None
    attempts: int
    queued_at: datetime
    next_attempt_at: datetime
    refused: bool


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt: its result, its duration in milliseconds, and a text without the address."""

    at: datetime
    reason: DeliveryReason
    duration_ms: int
    http_status: int | None = None
    detail: str = ""


_Word = TypeVar("_Word", bound=StrEnum)


def to_connection(row: Row[*tuple[Any, ...]]) -> Connection:
    """A connection from a row of `connections`; many rows share the texts that are equal in them."""
    number, account, user_id, platform_id, platform, name, labels, interval_ms, expect, permissions, listed, _, user_name = row
    where = f"connections row {number}"
    spec = ConnectionSpec(
        intern(account),
        intern(user_id),
        platform_id,
        intern(platform),
        name,
        load_labels(labels, where) if labels != "{}" else _NO_LABELS,
        _interval(interval_ms),
        intern(expect),
        load_names(permissions, where) if permissions != "[]" else (),
        listed,
        user_name if user_name is None else intern(user_name),
    )
    return Connection(number, spec)


_NO_LABELS: Mapping[str, str] = {}


@lru_cache(maxsize=128)
def _interval(milliseconds: int) -> timedelta:
    return timedelta(milliseconds=milliseconds)


def to_check(row: Row[Any]) -> CheckRow:
    """A check from a row of `checks` with its message."""
    return CheckRow(
        connection_id=row.connection_id,
        at=from_milliseconds(row.at),
        reason=_word(Reason, row.reason, f"checks row ({row.connection_id}, {row.at})"),
        duration_ms=row.duration_ms,
        http_status=row.http_status,
        token=row.token,
        detail=row.text or "",
    )


def to_incident(row: Row[Any]) -> IncidentRow:
    """An incident from a row of `incidents`."""
    where = f"incidents row {row.id}"
    return IncidentRow(
        id=row.id,
        incident=IncidentRef(_word(Topic, row.topic, where), row.subject, row.number, from_milliseconds(row.opened_at)),
        scope=_word(Scope, row.scope, where),
        connection_id=row.connection_id,
        level=row.level,
        severity=_word(Severity, row.severity, where),
        reason=None if row.reason is None else _word(Reason, row.reason, where),
        detail=row.detail,
        changed_at=from_milliseconds(row.changed_at),
        closed_at=maybe_moment(row.closed_at),
        closed_why=row.closed_why,
    )


def to_view(row: Row[Any]) -> "IncidentView":
    """The snapshot's view of an open incident, from a row of `incidents`."""
    from monitor.domain.views.snapshot import IncidentView  # noqa: PLC0415 - most verbs that read rows do without snapshots

    incident = to_incident(row)
    return IncidentView(
        incident=incident.incident,
        scope=incident.scope,
        connection_id=incident.connection_id,
        level=incident.level,
        severity=incident.severity,
        reason=incident.reason,
        detail=incident.detail,
    )


def to_delivery(row: Row[Any]) -> DeliveryRow:
    """A delivery from a row of `deliveries` joined with its notification."""
    where = f"deliveries row {row.id}"
    return DeliveryRow(
        id=row.id,
        notification_id=row.notification_id,
        webhook_id=row.webhook_id,
        incident_key=row.incident_key,
        receiver=row.receiver,
        state=_word(DeliveryState, row.state, where),
        attempts=row.attempts,
        queued_at=from_milliseconds(row.queued_at),
        next_attempt_at=from_milliseconds(row.next_attempt_at),
        notification=load_notification(row.document, f"notifications row {row.notification_id}"),
        body=bytes(row.body),
        finished_at=maybe_moment(row.finished_at),
        digest_id=row.digest_id,
        last_reason=None if row.last_reason is None else _word(DeliveryReason, row.last_reason, where),
        last_status=row.last_status,
    )


def to_pending(row: Row[Any]) -> PendingRow:
    """A pending delivery from its row."""
    where = f"notifications row of delivery {row.id}"
    return PendingRow(
        id=row.id,
        subject=row.subject,
        type=_word(EventType, row.type, where),
        connection_id=row.connection_id,
        attempts=row.attempts,
        queued_at=from_milliseconds(row.queued_at),
        next_attempt_at=from_milliseconds(row.next_attempt_at),
        refused=row.last_reason is not None and is_of_message(_word(DeliveryReason, row.last_reason, where), row.last_status),
    )


def to_attempt(row: Row[Any]) -> AttemptRow:
    """An attempt from a row of `attempts`."""
    return AttemptRow(
        at=from_milliseconds(row.at),
        reason=_word(DeliveryReason, row.reason, f"attempts row {row.id}"),
        duration_ms=row.duration_ms,
        http_status=row.http_status,
        detail=row.detail,
    )


def _word(kind: Callable[[str], _Word], text: str, where: str) -> _Word:
    try:
        return kind(text)
    except ValueError:
        raise StoreCorrupt(f"{where} can't be read: unknown word {text!r}") from None
