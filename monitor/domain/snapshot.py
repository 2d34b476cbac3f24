"""The immutable picture of everything that metrics, pages and the command line render from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from monitor.domain.model import Connection, ConnectionState, IncidentRef, Scope, Severity
from monitor.errors import Reason


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """One connection and what is known of it; `covered_by` names the open scope incident above it, if any."""

    connection: Connection
    state: ConnectionState
    covered_by: str | None = None
    next_check_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class IncidentView:
    """One open incident."""

    incident: IncidentRef
    scope: Scope
    connection_id: int | None
    level: str
    severity: Severity
    reason: Reason | None
    detail: str


@dataclass(frozen=True, slots=True)
class OutboxView:
    """What one receiver is still owed: how many deliveries, and when the oldest of them was decided."""

    pending: int = 0
    oldest_at: datetime | None = None
    disabled: bool = False
    failing_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    The whole picture at one moment.

    Attributes:
        connections: ordered by account label, platform and id.
        incidents: the open ones, ordered by when they opened.
        accounts: account name to whether the API accepts its key; None while not known.
        api_up: whether the API answers; None while not known.
        storage_up: whether the database takes writes.
        outbox: receiver name to what it is owed.
    """

    taken_at: datetime
    connections: tuple[ConnectionView, ...] = ()
    incidents: tuple[IncidentView, ...] = ()
    accounts: Mapping[str, bool | None] = field(default_factory=dict)
    api_up: bool | None = None
    storage_up: bool = True
    outbox: Mapping[str, OutboxView] = field(default_factory=dict)
