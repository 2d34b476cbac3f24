"""
`Registry`: the engine with versions of rows, outbox view and snapshots; a cache of the rows, never ahead of them.

Changes are made by `unit_of_work`, inside a write transaction; the registry, and with it every metric and page, sees them only
after the commit.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from monitor.clock import Clock, Continuity
from monitor.db import Reader, acks_of_open, read_meta, read_scopes, read_states, silences_since
from monitor.db.codec import decode_rounding, decode_scope
from monitor.domain.connections import Connection
from monitor.domain.engine import Engine
from monitor.domain.evaluation import scope_context
from monitor.domain.events import FINE
from monitor.domain.scopes.key import ACCOUNT, ScopeKey
from monitor.domain.scopes.state import ScopeState
from monitor.domain.snapshot import (
    ConnectionView,
    OutboxView,
    Snapshot,
    StorageFailure,
    incidents_of,
    scope_incidents,
    suspected_scope,
)
from monitor.state.evaluation_config import EvaluationConfig


class Registry(Engine):
    """
    Every connection, its state and the scopes above it, with the versions of their rows.

    Only the writer thread commits changes; the event loop reads whole values.

    Attributes:
        versions, scope_versions: version of the row of a connection's state, or of a scope; 0 without a row.
        outbox: what every receiver has pending.
        storage_up: whether the database takes writes.
        storage_failure: why not, and since when; None while it does.
    """

    config: EvaluationConfig

    def __init__(self, config: EvaluationConfig, clock: Clock) -> None:
        super().__init__(config, clock.now())
        self.clock = clock
        self.versions: dict[int, int] = {}
        self.scope_versions: dict[ScopeKey, int] = {}
        self.outbox: Mapping[str, OutboxView] = {}
        self.storage_up = True
        self.storage_failure: StorageFailure | None = None
        self._continuity = Continuity(clock)
        self._next_checks: dict[int, datetime] = {}
        self._views: dict[int, ConnectionView] = {}

    def load(self, reader: Reader) -> None:
        """Fill memory from the rows of a database."""
        states = dict(read_states(reader))
        scopes = {key: (version, decode_scope(key, document)) for key, (version, document) in read_scopes(reader).items()}
        self.versions = {connection_id: version for connection_id, (version, _) in states.items()}
        self.scope_versions = {scope.key: version for version, scope in scopes.values()}
        self.restore({number: state for number, (_, state) in states.items()}, [scope for _, scope in scopes.values()])
        self.rounding_evidence = decode_rounding(read_meta(reader, self.rounding_key()))
        self.set_requests(silences_since(reader, self.clock.now()), acks_of_open(reader))

    def set_connections(self, connections: Iterable[Connection]) -> None:
        """Replace the monitored connections; states of others stay in the database only."""
        super().set_connections(connections)
        self._next_checks = {number: at for number, at in self._next_checks.items() if number in self._connections}

    def set_outbox(self, outbox: Mapping[str, OutboxView]) -> None:
        """Remember what every receiver has pending."""
        self.outbox = outbox

    def set_next_check(self, connection_id: int, at: datetime) -> None:
        """Remember when a connection is checked next, for people."""
        self._next_checks[connection_id] = at

    def notice_clock_jump(self) -> None:
        """Watch afresh from now if the wall clock was set or the machine was suspended."""
        self.watching_since = self._continuity.since()

    def rounding_key(self) -> str:
        """Under which name the database keeps what is known of the API's rounding."""
        return f"rounding:{self.config.api_host}"

    def platforms(self) -> frozenset[str]:
        """The platforms of all monitored connections."""
        return frozenset(connection.platform for connection in self._connections.values())

    def find(self, key: tuple[str, str, str]) -> Connection | None:
        """The monitored connection with this account, managed user and platform id."""
        return next((connection for connection in self._connections.values() if connection.key == key), None)

    def open_incidents(self) -> int:
        """How many incidents are open."""
        topics = (topic for connection_id in self._order for topic in self.state(connection_id).topics.values())
        return sum(topic.level != FINE for topic in topics) + sum(scope.open for scope in self.scopes().values())

    def snapshot(self, now: datetime) -> Snapshot:
        """The whole picture at *now*."""
        scopes = self.scopes()
        views = self._all_views(scopes, now)
        incidents = [incident for view in views if view.state.topics for incident in incidents_of(view, self.config.policy)]
        incidents += [incident for scope in scopes.values() for incident in scope_incidents(scope)]
        incidents.sort(key=lambda item: item.incident.opened_at)
        return Snapshot(
            taken_at=now,
            connections=views,
            incidents=tuple(incidents),
            accounts=self._accounts_up(views),
            api_up=self._api_up(views),
            storage_up=self.storage_up,
            outbox={rule.name: self.outbox.get(rule.name, OutboxView()) for rule in self.config.receivers},
            suspected=tuple(view for scope in scopes.values() if (view := suspected_scope(scope)) is not None),
            controls=self.controls,
            storage_failure=self.storage_failure,
        )

    def _all_views(self, scopes: Mapping[ScopeKey, ScopeState], now: datetime) -> tuple[ConnectionView, ...]:
        """One view per connection; the same object as last time where nothing changed, so that what is made of it can be kept."""
        suppressing: dict[tuple[str, str, str], str | None] = {}
        views: dict[int, ConnectionView] = {}
        for connection in self.connections():
            state = self.state(connection.id)
            group = (connection.account, connection.user_id, connection.platform)
            if group not in suppressing:
                suppressing[group] = self._suppressed_by(connection, scopes, now)
            fresh = (connection, state, suppressing[group], self._next_checks.get(connection.id))
            view = self._views.get(connection.id)
            if view is None or (view.connection, view.state, view.suppressed_by, view.next_check_at) != fresh:
                view = ConnectionView(*fresh)
            views[connection.id] = view
        self._views = views
        return tuple(views.values())

    def _suppressed_by(self, connection: Connection, scopes: Mapping[ScopeKey, ScopeState], now: datetime) -> str | None:
        context = scope_context(self.scopes_above(connection), scopes, self.watching_since, now, self.config.policy)
        key = context.frozen_by or context.suppressed_by
        return str(key) if key is not None else None

    def _accounts_up(self, views: tuple[ConnectionView, ...]) -> dict[str, bool | None]:
        known = {view.connection.account for view in views if view.state.last_evidence_at is not None}
        return {name: self._account_up(name, known=name in known) for name in self.config.accounts}

    def _account_up(self, name: str, *, known: bool) -> bool | None:
        state = self.scope(ScopeKey(ACCOUNT, name))
        if state.open:
            return False
        return True if known and state.suspect_at is None else None

    def _api_up(self, views: tuple[ConnectionView, ...]) -> bool | None:
        if self.scope(self.api_key).open:
            return False
        return True if any(view.state.last_evidence_at is not None for view in views) else None
