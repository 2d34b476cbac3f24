"""The case of one connection: everything that an explanation is made of, as values."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.domain.connections import Connection
from monitor.domain.events import Notification
from monitor.domain.scopes.state import ScopeState
from monitor.domain.silencing.controls import NO_CONTROLS, Controls
from monitor.domain.states import ConnectionState
from monitor.errors import DeliveryReason


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt to tell a receiver."""

    at: datetime
    reason: DeliveryReason
    took: timedelta = timedelta(0)
    http_status: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """
    One notification for one receiver.

    Attributes:
        number: names it for `deliveries retry`.
        state: `pending`, `delivered`, `dead` or `cancelled`.
        tries: the attempts, oldest first.
        in_digest: a digest tells it, or told it.
        overtaken: it is a reminder, and newer word took its place.
    """

    number: int
    receiver: str
    state: str
    next_attempt_at: datetime
    finished_at: datetime | None = None
    in_digest: bool = False
    overtaken: bool = False
    tries: tuple[AttemptRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class NotificationRecord:
    """One decision to tell, and what came of it."""

    webhook_id: str
    incident_key: str
    notification: Notification
    deliveries: tuple[DeliveryRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """
    What is known of one connection.

    Attributes:
        above: every scope above it that has a state, the widest cause first.
        tellings: what receivers were told about it lately, newest first.
        controls: what operators do not want to hear.
        instance: names this monitor in incident keys.
        retired: it is no longer watched.
    """

    connection: Connection
    state: ConnectionState
    above: Sequence[ScopeState] = ()
    tellings: Sequence[NotificationRecord] = ()
    controls: Controls = NO_CONTROLS
    instance: str = ""
    retired: bool = False
