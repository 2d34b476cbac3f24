"""Makes values of rows: one small function per kind of row."""

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import Row

from monitor.db.codec import load_labels, load_names, load_notification, maybe_moment, moment
from monitor.db.rows import AttemptRow, CheckRow, DeliveryRow, DeliveryState, IncidentRow, WaitingRow
from monitor.domain.model import Connection, EventType, IncidentRef, Scope, Severity, Topic
from monitor.domain.snapshot import IncidentView
from monitor.errors import DeliveryReason, Reason, StoreCorrupt

_Word = TypeVar("_Word", bound=StrEnum)


def to_connection(row: Row[Any]) -> Connection:
    """A connection from a row of `connections`."""
    where = f"connections row {row.id}"
    return Connection(
        id=row.id,
        account=row.account,
        user_id=row.user_id,
        platform_id=row.platform_id,
        platform=row.platform,
        name=row.name,
        labels=load_labels(row.labels, where) if row.labels != "{}" else {},
        interval=timedelta(milliseconds=row.interval_ms),
        expect=row.expect,
        require_permissions=load_names(row.require_permissions, where) if row.require_permissions != "[]" else (),
        listed=row.listed,
    )


def to_check(row: Row[Any]) -> CheckRow:
    """A check from a row of `checks` with its message."""
    return CheckRow(
        connection_id=row.connection_id,
        at=moment(row.at),
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
        incident=IncidentRef(_word(Topic, row.topic, where), row.subject, row.number, moment(row.opened_at)),
        scope=_word(Scope, row.scope, where),
        connection_id=row.connection_id,
        level=row.level,
        severity=_word(Severity, row.severity, where),
        reason=None if row.reason is None else _word(Reason, row.reason, where),
        detail=row.detail,
        changed_at=moment(row.changed_at),
        closed_at=maybe_moment(row.closed_at),
        closed_why=row.closed_why,
    )


def to_view(row: Row[Any]) -> IncidentView:
    """What the snapshot shows of an open incident."""
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
        queued_at=moment(row.queued_at),
        next_attempt_at=moment(row.next_attempt_at),
        notification=load_notification(row.document, f"notifications row {row.notification_id}"),
        body=bytes(row.body),
        finished_at=maybe_moment(row.finished_at),
        digest_id=row.digest_id,
        last_reason=None if row.last_reason is None else _word(DeliveryReason, row.last_reason, where),
        last_status=row.last_status,
    )


def to_waiting(row: Row[Any]) -> WaitingRow:
    """The short form of a pending delivery."""
    return WaitingRow(
        id=row.id,
        subject=row.subject,
        type=_word(EventType, row.type, f"notifications row of delivery {row.id}"),
        connection_id=row.connection_id,
        attempts=row.attempts,
        queued_at=moment(row.queued_at),
        next_attempt_at=moment(row.next_attempt_at),
    )


def to_attempt(row: Row[Any]) -> AttemptRow:
    """An attempt from a row of `attempts`."""
    return AttemptRow(
        at=moment(row.at),
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
