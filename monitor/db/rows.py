"""What goes into the database and comes out of it, as values. Times are aware UTC and kept to the millisecond."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.domain.model import EventType, IncidentRef, Notification, Scope, Severity, Why
from monitor.errors import DeliveryReason, Reason


class DeliveryState(StrEnum):
    """Where a delivery stands. Only `pending` ones are still owed."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class NewConnection:
    """A connection that shall be monitored: a `Connection` that may not have a number yet."""

    account: str
    user_id: str
    platform_id: str
    platform: str
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    interval: timedelta = timedelta(minutes=15)
    expect: str = "auto"
    require_permissions: tuple[str, ...] = ()
    listed: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies a connection outside this database: account, managed user, platform id."""
        return (self.account, self.user_id, self.platform_id)


@dataclass(frozen=True, slots=True)
class CheckRow:
    """
    One completed check.

    Attributes:
        at: when it ended.
        duration_ms: how long the API took, in milliseconds.
        token: the API's `tokenExpiresIn` as it came, None for null.
        detail: the cleaned text for people; equal texts are stored once.
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
    """One decision to tell, as stored; `deliveries` maps each receiver to where its delivery stands."""

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
        attempts: how many were made since *queued_at*.
        queued_at: when it was decided or last put back by hand; its age counts from here.
        next_attempt_at: not before this.
        finished_at: when it left `pending`, else None.
        digest_id: the delivery that tells this one too and will share its end, or that overtook this reminder; else None.
        last_reason, last_status: of the last attempt; `gone` where the receiver's being gone cancelled it.
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
        """Whether this is a reminder that was not sent, since newer word of its incident took its place."""
        return self.state is DeliveryState.CANCELLED and self.digest_id is not None and self.last_reason is not DeliveryReason.GONE

    @property
    def subject(self) -> str:
        """What it is about; deliveries of one subject go out in order."""
        return self.notification.incident.subject

    @property
    def type(self) -> EventType:
        """The public type of the body."""
        return self.notification.type

    @property
    def severity(self) -> Severity:
        """How urgent it is."""
        return self.notification.severity

    @property
    def why(self) -> Why:
        """Why someone is told."""
        return self.notification.why


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """What a plan for the next deliveries needs to know of a pending one; a fraction of a `DeliveryRow`."""

    id: int
    subject: str
    type: EventType
    connection_id: int | None
    attempts: int
    queued_at: datetime
    next_attempt_at: datetime


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One try to tell a receiver: how it ended, how long it took (milliseconds) and a text without the address."""

    at: datetime
    reason: DeliveryReason
    duration_ms: int
    http_status: int | None = None
    detail: str = ""
