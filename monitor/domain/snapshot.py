"""The immutable snapshot for metrics, pages and command line."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from monitor.domain import topics
from monitor.domain.connections import Connection
from monitor.domain.events import FINE, IncidentRef, Severity, Topic
from monitor.domain.notifications import build
from monitor.domain.policy import Policy
from monitor.domain.reasons import Scope
from monitor.domain.scopes.key import PLATFORM
from monitor.domain.scopes.state import ScopeState
from monitor.domain.silencing.controls import NO_CONTROLS, Controls
from monitor.domain.states import ConnectionState
from monitor.errors import Reason


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """One connection with its state; *suppressed_by* is the scope with an open incident above it, or None."""

    connection: Connection
    state: ConnectionState
    suppressed_by: str | None = None
    next_check_at: datetime | None = None

    @property
    def frozen(self) -> bool:
        """Whether its state is not known now, because the scope above it cannot be used; below a failing platform it is."""
        return self.suppressed_by is not None and not self.suppressed_by.startswith(f"{PLATFORM}:")

    def shows(self, other: "ConnectionView") -> bool:
        """Whether *other* is a view of the same values; states are compared as objects."""
        return (
            self.state is other.state
            and self.connection is other.connection
            and self.suppressed_by == other.suppressed_by
            and self.next_check_at == other.next_check_at
        )


@dataclass(frozen=True, slots=True)
class IncidentView:
    """One open incident; *connection* is the connection's that it is about, as far as it is in memory."""

    incident: IncidentRef
    scope: Scope
    connection_id: int | None
    level: str
    severity: Severity
    reason: Reason | None
    detail: str
    connection: Connection | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class OutboxView:
    """The pending deliveries of one receiver: their number, and when the oldest one was decided."""

    pending: int = 0
    oldest_at: datetime | None = None
    disabled: bool = False
    failing_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    Everything at one moment.

    Attributes:
        connections: ordered by account label, platform and id.
        incidents: the open ones, ordered by when they opened.
        accounts: account name to whether the API accepts its key; None while unknown.
        api_up: whether the API answers; None while unknown.
        storage_up: whether the database accepts writes.
        outbox: receiver name to its pending deliveries.
        controls: silences and acknowledgements.
    """

    taken_at: datetime
    connections: tuple[ConnectionView, ...] = ()
    incidents: tuple[IncidentView, ...] = ()
    accounts: Mapping[str, bool | None] = field(default_factory=dict)
    api_up: bool | None = None
    storage_up: bool = True
    outbox: Mapping[str, OutboxView] = field(default_factory=dict)
    controls: Controls = NO_CONTROLS

    def shows(self, other: "Snapshot") -> bool:
        """Whether *other* shows the same, but for the time; connections are compared as objects."""
        return self.connections is other.connections and replace(self, taken_at=other.taken_at, connections=()) == replace(
            other, connections=()
        )


def incidents_of(view: ConnectionView, policy: Policy) -> list[IncidentView]:
    """Return the open incidents of one connection."""
    state, connection = view.state, view.connection
    return [
        IncidentView(
            IncidentRef(topic, str(connection.id), value.number, value.opened_at),
            Scope.CONNECTION,
            connection.id,
            value.level,
            topics.severity_of(topic, value.level, policy, connection.platform),
            state.reason,
            state.detail,
            connection,
        )
        for topic, value in state.topics.items()
        if value.level != FINE and value.opened_at is not None
    ]


def scope_incidents(state: ScopeState) -> list[IncidentView]:
    """Return the open incident of one scope, if any."""
    topic = state.topic
    if not state.open or topic.opened_at is None:
        return []
    incident = IncidentRef(Topic.SCOPE, str(state.key), topic.number, topic.opened_at)
    return [IncidentView(incident, state.scope, None, topic.level, build.severity(state.scope), state.reason, state.detail)]
