"""`ConnectionReport`: the values an explanation is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.domain.connections import Connection
from monitor.domain.events import Notification
from monitor.domain.routing.connection_entries import ConnectionEntry
from monitor.domain.scopes.key import RATE, STORAGE, ScopeKey
from monitor.domain.scopes.state import ScopeState
from monitor.domain.silencing.controls import NO_CONTROLS, Controls
from monitor.domain.states import ConnectionState
from monitor.domain.views.snapshot import StorageFailure
from monitor.errors import DeliveryReason
from monitor.text.format import scope_text


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt of a delivery."""

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
        in_digest: it is part of a digest.
        superseded: it is a reminder, and a newer notification replaced it.
    """

    number: int
    receiver: str
    state: str
    next_attempt_at: datetime
    finished_at: datetime | None = None
    in_digest: bool = False
    superseded: bool = False
    attempts: tuple[AttemptRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class NotificationRecord:
    """One notification and its deliveries."""

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
        scope_deliveries: of the notification of each open scope: `delivered` if some receiver has it, `pending` if one gets it, else `none`.
        notifications: the latest about it, newest first.
        storage: why the database takes no writes; None while it does.
        outdated: there is no fresh evidence that it works.
        dashboard_url: where to reconnect it; empty without one.
        entries: those of the configuration that apply to it, the one that takes precedence last.
    """

    connection: Connection
    state: ConnectionState
    above: Sequence[ScopeState] = ()
    notifications: Sequence[NotificationRecord] = ()
    controls: Controls = NO_CONTROLS
    instance: str = ""
    storage: StorageFailure | None = None
    outdated: bool = False
    retired: bool = False
    dashboard_url: str = ""
    entries: Sequence[ConnectionEntry] = ()
    scope_deliveries: Mapping[ScopeKey, str] = field(default_factory=dict)

    def scope_text(self, scope: ScopeState) -> str:
        """One of the scopes above it as the subject of a sentence."""
        user, name = self.connection.user_id, self.connection.spec.user_name
        return scope_text(scope.key, {user: name} if name else {})

    @property
    def suppressed_by(self) -> str | None:
        """The scope whose open incident hides what its state is; the database while it takes no writes."""
        if self.storage is not None:
            return str(STORAGE)
        return next((scope.name for scope in self.above if scope.open and scope.kind != RATE and scope.hides_state), None)
