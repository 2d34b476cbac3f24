"""Incidents, transitions and notifications as values; `Topic`, `Severity`, `EventType`, `incident_key`."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.domain.reasons import Scope
from monitor.errors import Reason

FINE = "fine"
STALE = "stale"
REMOVED = "removed"
REPLACED = "replaced"


class Severity(StrEnum):
    """Severity of an incident or notification."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """The higher, the more urgent."""
        return list(Severity).index(self)


class Topic(StrEnum):
    """The aspect that an incident is about; at most one incident per topic and subject is open."""

    CONNECTION = "connection"
    EXPIRY = "expiry"
    RENEWAL = "renewal"
    PUBLISHING = "publishing"
    PERMISSIONS = "permissions"
    SCOPE = "scope"


class EventType(StrEnum):
    """The `type` of a webhook body. Public: receivers match on it."""

    CONNECTION_FAILED = "connection.failed"
    CONNECTION_RECOVERED = "connection.recovered"
    CONNECTION_MISSING = "connection.missing"
    CONNECTION_MISCONFIGURED = "connection.misconfigured"
    CONNECTION_STALE = "connection.stale"
    CONNECTION_FLAPPING = "connection.flapping"
    CONNECTION_CLOSED = "connection.closed"
    TOKEN_EXPIRING = "token.expiring"
    TOKEN_EXPIRED = "token.expired"
    TOKEN_RENEWED = "token.renewed"
    TOKEN_RENEWAL_OVERDUE = "token.renewal_overdue"
    PUBLISHING_FAILING = "publishing.failing"
    PUBLISHING_RECOVERED = "publishing.recovered"
    PERMISSIONS_LOST = "permissions.lost"
    PERMISSIONS_RESTORED = "permissions.restored"
    ACCOUNT_FAILED = "account.failed"
    ACCOUNT_RECOVERED = "account.recovered"
    ACCOUNT_CLOSED = "account.closed"
    API_FAILED = "api.failed"
    API_RECOVERED = "api.recovered"
    API_CLOSED = "api.closed"
    GROUP_FAILED = "group.failed"
    GROUP_RECOVERED = "group.recovered"
    GROUP_CLOSED = "group.closed"
    PLATFORM_FAILED = "platform.failed"
    PLATFORM_RECOVERED = "platform.recovered"
    STORAGE_FAILED = "storage.failed"
    STORAGE_RECOVERED = "storage.recovered"
    RECEIVER_FAILING = "receiver.failing"
    RECEIVER_RECOVERED = "receiver.recovered"
    RECEIVER_CLOSED = "receiver.closed"
    INVENTORY_CHANGED = "inventory.changed"
    REMINDER = "reminder"
    DIGEST = "digest"
    TEST = "test"


class NotificationReason(StrEnum):
    """Why receivers were notified."""

    OPENED = "opened"
    CHANGED = "changed"
    ESCALATED = "escalated"
    CLOSED = "closed"
    REMINDER = "reminder"
    NOTICE = "notice"
    DIGEST = "digest"


@dataclass(frozen=True, slots=True)
class IncidentRef:
    """Identifies one incident; *subject* is a connection's id or a scope key. See `incident_key`."""

    topic: Topic
    subject: str
    number: int
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class Transition:
    """An incident opens, changes its level, or closes: one row of history."""

    incident: IncidentRef
    scope: Scope
    connection_id: int | None
    level: str
    at: datetime
    severity: Severity
    reason: Reason | None
    detail: str
    closed_why: str | None = None


@dataclass(frozen=True, slots=True)
class NotificationFacts:
    """
    Optional facts of a notification; None or empty where they do not apply.

    Attributes:
        expires_uncertainty: by how much *expires_at* may be off to either side.
        cause_since: since when the present cause is seen, where the cause of an open incident has changed.
        failed_at: the first failed check of a failure; its incident may have opened before, as another one.
        last_worked_at: the last passed check, where the failure began between it and the first failed one, unseen for long.
        last_evidence_at: the last conclusive check, where a reminder is not preceded by one.
        failed_posts, last_failed_post_at: posting errors seen during the failure that is over, and the last of them.
        untested: the API cannot test the connection.
        affected: number of connections that the incident of the scope affects.
        members: ids of the first of them, where the incident is theirs together.
        still_failing: how many of them fail all the same, for whatever cause, now that it is over.
        outages: how often a flapping scope, or a connection that works again, failed lately; 0 when only once.
        included: another notification, of the same moment or about several connections, says the same; only receivers that keep incidents get both, to close theirs.
    """

    first_check: bool = False
    suspected_false_negative: bool = False
    merged_expiry: bool = False
    duration: timedelta | None = None
    expires_at: datetime | None = None
    expires_uncertainty: timedelta | None = None
    threshold: timedelta | None = None
    permissions_lost: tuple[str, ...] = ()
    last_successful_post_at: datetime | None = None
    affected: int | None = None
    members: tuple[int, ...] = ()
    still_failing: int = 0
    outages: int = 0
    reminder: int = 0
    username: str | None = None
    closed_why: str | None = None
    cause_since: datetime | None = None
    failed_at: datetime | None = None
    last_worked_at: datetime | None = None
    last_evidence_at: datetime | None = None
    failed_posts: int = 0
    last_failed_post_at: datetime | None = None
    untested: bool = False
    listed: bool = False
    escalated_to: tuple[str, ...] = ()
    included: bool = False


@dataclass(frozen=True, slots=True)
class Notification:
    """The decision to notify, with its reason; stored as one body and one delivery per receiver."""

    type: EventType
    why: NotificationReason
    severity: Severity
    at: datetime
    incident: IncidentRef
    scope: Scope
    connection_id: int | None
    level_from: str
    level_to: str
    reason: Reason | None
    detail: str
    seq: int
    facts: NotificationFacts = NotificationFacts()


_MAX_SUBJECT = 120

_ODD = re.compile(r"[^A-Za-z0-9_.:@~/-]")


def incident_key(incident: IncidentRef, instance: str) -> str:
    """Return the deduplication key of one incident, at most 255 characters, the same in all notifications; *instance* makes it unique."""
    subject = incident.subject
    if len(subject) > _MAX_SUBJECT or _ODD.search(subject):
        subject = hashlib.sha256(subject.encode("utf-8", "replace")).hexdigest()[:32]
    return f"pp-{instance[:64]}-{subject}-{incident.topic}-{incident.number}"
