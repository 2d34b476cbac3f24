"""
All connections and what is known of them, in memory: a cache of the rows, never ahead of them.

Changes are made by `staging`, inside a write transaction; the fleet, and with it every metric and page, sees them
only after the commit.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.clock import Clock, Continuity
from monitor.db import Reader, acks_of_open, read_meta, read_scopes, read_states, silences_since
from monitor.db.codec import decode_rounding, decode_scope
from monitor.domain.connections import Connection
from monitor.domain.evaluation import scope_context
from monitor.domain.events import FINE
from monitor.domain.expiry import model
from monitor.domain.expiry.interval import RoundingEvidence
from monitor.domain.notifications.timing import needs_evaluation
from monitor.domain.policy import ScopePolicy
from monitor.domain.reasons import Health
from monitor.domain.scopes import key as core
from monitor.domain.scopes import rules
from monitor.domain.scopes.key import ScopeNames
from monitor.domain.scopes.state import ScopeState
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.controls import NO_CONTROLS, Controls
from monitor.domain.silencing.silences import Silence
from monitor.domain.snapshot import ConnectionView, OutboxView, Snapshot, incidents_of, scope_incidents
from monitor.domain.states import ConnectionState
from monitor.state.evaluation_config import EvaluationConfig

State = tuple[int, ConnectionState]
ScopeRow = tuple[int, ScopeState]

_NO_STATE = (0, ConnectionState())


@dataclass(slots=True)
class _ScopeCounts:
    """How many connections are below each scope, and how many of each platform are in error."""

    members: Counter[str] = field(default_factory=Counter)
    failing: Counter[str] = field(default_factory=Counter)


class Registry:
    """
    Every connection, its state and the scopes above it.

    Only the writer thread changes states and scopes (`accept`); the event loop reads whole values.
    """

    def __init__(self, plan: EvaluationConfig, clock: Clock) -> None:
        self.config = plan
        self.clock = clock
        self.rounding_evidence = RoundingEvidence()
        self.scope_closures = 0
        self.controls_version = 0
        self._requested = NO_CONTROLS
        self.storage_up = True
        self._connections: dict[int, Connection] = {}
        self._order: tuple[int, ...] = ()
        self._states: dict[int, State] = {}
        self._scopes: dict[str, ScopeRow] = {}
        self.outbox: Mapping[str, OutboxView] = {}
        self._continuity = Continuity(clock)
        self._closed_scopes: dict[str, int] = {}
        self._scope_counts = _ScopeCounts()
        self._next_checks: dict[int, datetime] = {}
        self._views: dict[int, ConnectionView] = {}

    def load(self, reader: Reader) -> None:
        """Fill memory from the rows of a database."""
        self._states = dict(read_states(reader))
        self._scopes = {name: (version, decode_scope(document)) for name, (version, document) in read_scopes(reader).items()}
        self.rounding_evidence = decode_rounding(read_meta(reader, self.rounding_key()))
        self.set_controls(silences_since(reader, self.clock.now()), acks_of_open(reader))

    def set_connections(self, connections: Iterable[Connection]) -> None:
        """Replace the set of connections that are watched; states of others stay in the database only."""
        self._connections = {connection.id: connection for connection in connections}
        ordered = sorted(self._connections.values(), key=lambda one: (one.account_label, one.platform, one.platform_id))
        self._order = tuple(connection.id for connection in ordered)
        self._next_checks = {one: at for one, at in self._next_checks.items() if one in self._connections}
        self._scope_counts = self._count()

    def set_outbox(self, outbox: Mapping[str, OutboxView]) -> None:
        """Remember what every receiver is still owed."""
        self.outbox = outbox

    def set_controls(self, silences: Iterable[Silence], acks: Iterable[Ack]) -> None:
        """Remember what operators ask for; `wishes` counts the changes."""
        asked = NO_CONTROLS.with_requests(silences, acks)
        if asked != self._requested:
            self._requested = asked
            self.controls_version += 1

    @property
    def controls(self) -> Controls:
        """Everything that holds notifications back: what operators ask for, and what the configuration says."""
        return Controls(self._requested.silences, self.config.recurring_silences, self._requested.acks)

    def set_next_check(self, connection_id: int, at: datetime) -> None:
        """Remember when a connection is checked next, for people."""
        self._next_checks[connection_id] = at

    def _count(self) -> _ScopeCounts:
        census = _ScopeCounts()
        for connection in self._connections.values():
            census.members.update(self.scopes_of(connection).all())
            if self.state(connection.id)[1].health is Health.ERROR:
                census.failing[connection.platform] += 1
        return census

    def drop(self, connection_ids: Iterable[int]) -> None:
        """Stop watching these at once; checks of them that are still under way conclude nothing."""
        self.set_connections(one for one in self._connections.copy().values() if one.id not in set(connection_ids))

    def watching_since(self) -> datetime:
        """Since when the connections could be watched without a gap: the start, or the clock's last jump."""
        return self._continuity.since()

    @property
    def rounding(self) -> model.Rounding:
        """How the API makes whole hours of the time that tokens have left, as far as its lists taught."""
        return self.rounding_evidence.mode

    def rounding_key(self) -> str:
        """Under which name the database keeps what is known of the API's rounding."""
        return f"rounding:{self.config.api_host}"

    def ids(self) -> tuple[int, ...]:
        """The ids of all watched connections, ordered by account, platform and platform id."""
        return self._order

    def platforms(self) -> frozenset[str]:
        """The platforms of all watched connections."""
        return frozenset(connection.platform for connection in self._connections.values())

    def connection(self, connection_id: int) -> Connection | None:
        """One watched connection, or None when it is not watched (any more)."""
        return self._connections.get(connection_id)

    def find(self, key: tuple[str, str, str]) -> Connection | None:
        """The watched connection with this account, managed user and platform id."""
        return next((one for one in self._connections.values() if one.key == key), None)

    def scopes_of(self, connection: Connection) -> ScopeNames:
        """The names of the scopes above *connection*."""
        return core.scopes_of(connection, self.config.api_host)

    def state(self, connection_id: int) -> State:
        """Version and state of one connection; version 0 means that it has no row yet."""
        return self._states.get(connection_id, _NO_STATE)

    def scope(self, name: str) -> ScopeRow:
        """Version and state of one scope; version 0 means that it has no row yet."""
        return self._scopes.get(name) or (0, ScopeState(name))

    def scope_names(self) -> tuple[str, ...]:
        """The names of all scopes that ever had trouble or are being watched for it."""
        return tuple(self._scopes)

    def open_incidents(self) -> int:
        """How many incidents are open."""
        own = sum(1 for one in self._order for topic in self.state(one)[1].topics.values() if topic.level != FINE)
        return own + sum(1 for _, scope in self._scopes.copy().values() if scope.open)

    def member_count(self, name: str) -> int:
        """How many watched connections are below the scope *name*."""
        return self._scope_counts.members[name]

    def api_window(self) -> timedelta:
        """How far back checks count for the API scope: two rounds at least."""
        return max(self.config.policy.scopes.window, 2 * self.config.interval)

    def canary_interval(self, connection: Connection) -> tuple[str, timedelta] | None:
        """The scope that lets only canaries through to *connection*, and how far apart; None when checks go on as usual."""
        return self._pause_above(self.scopes_of(connection).all(), rules.canary_interval)

    def probe_interval(self, connection: Connection) -> tuple[str, timedelta] | None:
        """The scope in doubt above *connection*, and how soon somebody below it is asked again; None when nothing is in doubt."""
        return self._pause_above(self.scopes_of(connection).all(), rules.probe_interval)

    def api_suspect_since(self) -> datetime | None:
        """Since when the API is suspected; None when it is not, or when there is only one account to suspect it."""
        return self.scope(f"api:{self.config.api_host}")[1].suspect_at if len(self.config.accounts) > 1 else None

    def list_pause(self, account: str) -> timedelta | None:
        """How long the lists of *account* wait while it or the API is in trouble; None when they are read as usual."""
        names = (f"account:{account}", f"api:{self.config.api_host}", f"service:{account}")
        found = self._pause_above(names, rules.probe_interval)
        return found[1] if found is not None else None

    def _pause_above(
        self, names: Iterable[str], pause_of: Callable[[ScopeState, ScopePolicy], timedelta | None]
    ) -> tuple[str, timedelta] | None:
        for name in names:
            pause = pause_of(self.scope(name)[1], self.config.policy.scopes)
            if pause is not None:
                return name, pause
        return None

    def is_orphaned(self, scope: ScopeState) -> bool:
        """Whether nobody asks about *scope* any more, because its account or its API left the configuration."""
        if scope.kind == "api":
            return scope.name != f"api:{self.config.api_host}"
        return bool(scope.account) and bool(self.config.accounts) and scope.account not in self.config.accounts

    def due_for_evaluation(self, now: datetime) -> list[int]:
        """The connections for which the passing of time may have changed something."""
        moments = ((one, self._states.get(one, _NO_STATE)[1].next_evaluation_at) for one in self._order)
        return [one for one, review_at in moments if review_at is not None and review_at <= now]

    def with_pending_notifications(self) -> list[int]:
        """The connections about which somebody is still to be told something."""
        states = ((one, self.state(one)[1]) for one in self._order)
        return [one for one, state in states if any(topic.level != topic.notified.level for topic in state.topics.values())]

    def needs_evaluation(self) -> list[int]:
        """The connections about which somebody may have to be told something once other things are asked for."""
        return [one for one in self._order if needs_evaluation(self.state(one)[1])]

    def apply_committed(self, states: Mapping[int, State], scope_rows: Mapping[str, ScopeRow]) -> None:
        """Make committed values visible. Called after the commit, on the writer thread."""
        for connection_id, (version, state) in states.items():
            connection = self._connections.get(connection_id)
            if connection is not None:
                was = self.state(connection_id)[1].health is Health.ERROR
                self._scope_counts.failing[connection.platform] += int(state.health is Health.ERROR) - int(was)
            self._states[connection_id] = (version, state)
        thawed = [name for name, row in scope_rows.items() if self.scope(name)[1].open and not row[1].open]
        self._scopes.update(scope_rows)
        if thawed:
            self._closed_scopes |= dict.fromkeys(thawed, self.scope_closures + 1)
            self.scope_closures += 1

    def closed_scopes_since(self, thaws: int) -> frozenset[str]:
        """The names of the scopes whose incidents closed since there were so many *thaws*."""
        return frozenset(name for name, number in self._closed_scopes.copy().items() if number > thaws)

    def failing(self, platform: str) -> int:
        """How many watched connections of *platform* are in error."""
        return self._scope_counts.failing[platform]

    def snapshot(self, now: datetime) -> Snapshot:
        """The whole picture at *now*."""
        scope_states = {name: row[1] for name, row in self._scopes.copy().items()}
        views = self._all_views(scope_states, now)
        incidents = [incident for view in views if view.state.topics for incident in incidents_of(view, self.config.policy)]
        incidents += [incident for state in scope_states.values() for incident in scope_incidents(state)]
        incidents.sort(key=lambda item: item.incident.opened_at)
        return Snapshot(
            taken_at=now,
            connections=views,
            incidents=tuple(incidents),
            accounts={name: self._account_up(name, views) for name in self.config.accounts},
            api_up=self._api_up(views),
            storage_up=self.storage_up,
            outbox={rule.name: self.outbox.get(rule.name, OutboxView()) for rule in self.config.receivers},
        )

    def _all_views(self, states: Mapping[str, ScopeState], now: datetime) -> tuple[ConnectionView, ...]:
        """One view per connection; the same object as last time where nothing changed, so that what is made of it can be kept."""
        covers: dict[tuple[str, str, str], str | None] = {}
        views: dict[int, ConnectionView] = {}
        for one in self._order:
            connection, state = self._connections[one], self.state(one)[1]
            above = (connection.account, connection.user_id, connection.platform)
            if above not in covers:
                covers[above] = self._suppressed_by(connection, states, now)
            fresh = (connection, state, covers[above], self._next_checks.get(one))
            known = self._views.get(one)
            unchanged = known is not None and (known.connection, known.state, known.suppressed_by, known.next_check_at) == fresh
            views[one] = known if known is not None and unchanged else ConnectionView(*fresh)
        self._views = views
        return tuple(views.values())

    def _suppressed_by(self, connection: Connection, states: Mapping[str, ScopeState], now: datetime) -> str | None:
        above = scope_context(self.scopes_of(connection), states, self.watching_since(), now, self.config.policy)
        return above.frozen_by or above.suppressed_by

    def _account_up(self, name: str, views: tuple[ConnectionView, ...]) -> bool | None:
        state = self.scope(f"account:{name}")[1]
        if state.open:
            return False
        if state.suspect_at is not None:
            return None
        known = any(view.state.last_evidence_at is not None for view in views if view.connection.account == name)
        return True if known else None

    def _api_up(self, views: tuple[ConnectionView, ...]) -> bool | None:
        if self.scope(f"api:{self.config.api_host}")[1].open:
            return False
        return True if any(view.state.last_evidence_at is not None for view in views) else None
