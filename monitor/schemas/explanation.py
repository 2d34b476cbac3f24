"""The explanation of a connection: its notifications from rows, and the document of the verb, the API and the page."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from monitor.db import (
    AttemptRow,
    DeliveryRow,
    NotificationRow,
    Reader,
    attempts_of,
    deliveries_of_notifications,
    list_notifications,
)
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.scopes.state import ScopeState
from monitor.schemas import facts
from monitor.text.explain import ExplainSection
from monitor.text.report import AttemptRecord, ConnectionReport, DeliveryRecord, NotificationRecord

_OF_SCOPE = 50


def notification_records(reader: Reader, connection_id: int, limit: int) -> list[NotificationRecord]:
    """The last notifications about one connection, newest first, with their deliveries and attempts."""
    notifications = list_notifications(reader, connection_id=connection_id, limit=limit)
    deliveries = deliveries_of_notifications(reader, [row.id for row in notifications])
    return records_of(notifications, deliveries, attempts_of(reader, [delivery.id for delivery in deliveries]))


def scope_deliveries(reader: Reader, above: Iterable[ScopeState]) -> dict[ScopeKey, str]:
    """See `ConnectionReport`; without the scopes of whose incident no notification is known."""
    found: dict[ScopeKey, str] = {}
    for scope in above:
        rows = list_notifications(reader, subject=str(scope.key), limit=_OF_SCOPE) if scope.open else []
        number = scope.topic.notified.number
        known = [row.deliveries.values() for row in rows if row.notification.incident.number == number]
        states = {state.value for values in known for state in values}
        if known:
            found[scope.key] = next((state for state in ("delivered", "pending") if state in states), "none")
    return found


def records_of(
    notifications: Iterable[NotificationRow], deliveries: Sequence[DeliveryRow], attempts: Mapping[int, Sequence[AttemptRow]]
) -> list[NotificationRecord]:
    """The same from rows that were read already."""
    return [
        NotificationRecord(
            row.webhook_id,
            row.incident_key,
            row.notification,
            tuple(
                _delivery_record(delivery, attempts.get(delivery.id, ())) for delivery in deliveries if delivery.notification_id == row.id
            ),
        )
        for row in notifications
    ]


def _delivery_record(row: DeliveryRow, attempts: Sequence[AttemptRow]) -> DeliveryRecord:
    return DeliveryRecord(
        number=row.id,
        receiver=row.receiver,
        state=row.state.value,
        next_attempt_at=row.next_attempt_at,
        finished_at=row.finished_at,
        in_digest=row.digest_id is not None,
        superseded=row.overtaken,
        attempts=tuple(_attempt_record(attempt) for attempt in attempts),
    )


def _attempt_record(row: AttemptRow) -> AttemptRecord:
    return AttemptRecord(row.at, row.reason, timedelta(milliseconds=row.duration_ms), row.http_status, row.detail)


def as_document(report: ConnectionReport, sections: Sequence[ExplainSection], now: datetime) -> dict[str, object]:
    """The explanation as JSON: the facts, and the same sentences."""
    state = report.state
    return {
        "at": facts.iso(now),
        "connection": facts.connection(report.connection, state, suppressed_by=report.suppressed_by),
        "retired": report.retired,
        **facts.details(state),
        "notifications": [_notification(record) for record in report.notifications],
        "explanation": [{"title": section.title, "lines": list(section.lines)} for section in sections],
    }


def _notification(record: NotificationRecord) -> dict[str, object]:
    notification = record.notification
    return {
        "id": record.webhook_id,
        "incidentKey": record.incident_key,
        "at": facts.iso(notification.at),
        "type": notification.type,
        "why": notification.why,
        "severity": notification.severity,
        "deliveries": [_delivery(delivery) for delivery in record.deliveries],
    }


def _delivery(record: DeliveryRecord) -> dict[str, object]:
    attempts = [facts.attempt(each.at, each.reason, each.took.total_seconds(), each.http_status, each.detail) for each in record.attempts]
    return {"number": record.number, "receiver": record.receiver, "state": record.state, "attempts": attempts}
