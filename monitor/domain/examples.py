"""One example of everything that receivers are ever sent: templates are tried on them before any trouble comes."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from monitor.domain.model import FINE, Connection, EventType, Facts, IncidentRef, Notification, Scope, Severity, Topic, Why
from monitor.domain.payloads import MonitorIdentity, render, render_digest, render_test
from monitor.errors import Reason

_AT = datetime(2030, 1, 1, tzinfo=UTC)
_ID = "msg_01997e0c6b2d7cc1a2f0c5d2e8b3a4f6"
_IDENTITY = MonitorIdentity("a1b2c3d4", "1.0.0", "https://app.postpost.dev/connections")
_CONNECTION = Connection(1, "main", "", "linkedin-page1", "linkedin", "Page 1", {"team": "social"})
_FACTS = Facts(
    duration=timedelta(hours=2),
    expires_at=_AT + timedelta(days=7),
    expires_uncertainty=timedelta(hours=1),
    threshold=timedelta(days=7),
    permissions_lost=("w_member_social",),
    last_successful_post_at=_AT - timedelta(days=1),
    username="@page1",
)

# Each type with its topic and the level it tells of; what closes an incident tells of its end.
_CONNECTIONS: Mapping[EventType, tuple[Topic, str]] = {
    EventType.CONNECTION_FAILED: (Topic.CONNECTION, "error"),
    EventType.CONNECTION_RECOVERED: (Topic.CONNECTION, FINE),
    EventType.CONNECTION_MISSING: (Topic.CONNECTION, "missing"),
    EventType.CONNECTION_MISCONFIGURED: (Topic.CONNECTION, "misconfigured"),
    EventType.CONNECTION_STALE: (Topic.CONNECTION, "stale"),
    EventType.CONNECTION_FLAPPING: (Topic.CONNECTION, "flapping"),
    EventType.CONNECTION_CLOSED: (Topic.CONNECTION, FINE),
    EventType.TOKEN_EXPIRING: (Topic.EXPIRY, "7d"),
    EventType.TOKEN_EXPIRED: (Topic.EXPIRY, "expired"),
    EventType.TOKEN_RENEWED: (Topic.EXPIRY, FINE),
    EventType.TOKEN_RENEWAL_OVERDUE: (Topic.RENEWAL, "overdue"),
    EventType.PUBLISHING_FAILING: (Topic.PUBLISHING, "failing"),
    EventType.PUBLISHING_RECOVERED: (Topic.PUBLISHING, FINE),
    EventType.PERMISSIONS_LOST: (Topic.PERMISSIONS, "lost"),
    EventType.PERMISSIONS_RESTORED: (Topic.PERMISSIONS, FINE),
    EventType.REMINDER: (Topic.CONNECTION, "error"),
}
_SCOPES: Mapping[EventType, tuple[Scope, str, str]] = {
    EventType.ACCOUNT_FAILED: (Scope.ACCOUNT, "account:main", "failed"),
    EventType.ACCOUNT_RECOVERED: (Scope.ACCOUNT, "account:main", FINE),
    EventType.API_FAILED: (Scope.API, "api:postpost", "failed"),
    EventType.API_RECOVERED: (Scope.API, "api:postpost", FINE),
    EventType.PLATFORM_FAILED: (Scope.PLATFORM, "platform:linkedin", "failed"),
    EventType.PLATFORM_RECOVERED: (Scope.PLATFORM, "platform:linkedin", FINE),
    EventType.STORAGE_FAILED: (Scope.STORAGE, "storage", "failed"),
    EventType.STORAGE_RECOVERED: (Scope.STORAGE, "storage", FINE),
    EventType.RECEIVER_FAILING: (Scope.RECEIVER, "receiver:chat", "failing"),
    EventType.RECEIVER_RECOVERED: (Scope.RECEIVER, "receiver:chat", FINE),
    EventType.INVENTORY_CHANGED: (Scope.ACCOUNT, "account:main", "changed"),
}


def examples() -> dict[EventType, bytes]:
    """One stored body of every type, each complete and all about the same made-up connection."""
    bodies = {kind: _told(_of_connection(kind, topic, level)) for kind, (topic, level) in _CONNECTIONS.items()}
    bodies |= {kind: _told(_of_scope(kind, *place)) for kind, place in _SCOPES.items()}
    several = [bodies[EventType.CONNECTION_FAILED], bodies[EventType.TOKEN_EXPIRING]]
    bodies[EventType.DIGEST] = render_digest(_ID, _AT, several, _IDENTITY)
    bodies[EventType.TEST] = render_test(_ID, _AT, "on-call", _IDENTITY)
    return bodies


def _told(notification: Notification) -> bytes:
    return render(_ID, notification, _CONNECTION if notification.connection_id else None, _IDENTITY)


def _of_connection(kind: EventType, topic: Topic, level: str) -> Notification:
    return _notification(kind, IncidentRef(topic, "1", 1, _AT), Scope.CONNECTION, 1, level)


def _of_scope(kind: EventType, scope: Scope, subject: str, level: str) -> Notification:
    notification = _notification(kind, IncidentRef(Topic.SCOPE, subject, 1, _AT), scope, None, level)
    return replace(notification, facts=Facts(affected=12, duration=_FACTS.duration))


def _notification(kind: EventType, incident: IncidentRef, scope: Scope, connection_id: int | None, level: str) -> Notification:
    why = Why.CLOSED if level == FINE else Why.OPENED
    if kind in {EventType.REMINDER, EventType.INVENTORY_CHANGED}:
        why = Why.REMINDER if kind is EventType.REMINDER else Why.NOTICE
    return Notification(
        type=kind,
        why=why,
        severity=Severity.CRITICAL,
        at=_AT + timedelta(hours=2),
        incident=incident,
        scope=scope,
        connection_id=connection_id,
        level_from="error" if level == FINE else FINE,
        level_to=level,
        reason=Reason.CREDENTIAL_REJECTED,
        detail="Session has expired",
        seq=1,
        facts=_FACTS,
    )
