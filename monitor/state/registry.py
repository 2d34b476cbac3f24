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
from monitor.db import Reader, acks_of_open, silences_since
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
        self.plan = plan
        self.clock = clock
        self.rounding_evidence = RoundingEvidence()
        self.thaws = 0
        self.wishes = 0
        self._asked = NO_CONTROLS
        self.storage_up = True
        self._connections: dict[int, Connection] = {}
        self._order: tuple[int, ...] = ()
        self._states: dict[int, State] = {}
        self._scopes: dict[str, ScopeRow] = {}
        self.outbox: Mapping[str, OutboxView] = {}
        self._continuity = Continuity(clock)
        self._thawed: dict[str, int] = {}
        self._census = _ScopeCounts()
        self._next_checks: dict[int, datetime] = {}
        self._views: dict[int, ConnectionView] = {}

    def load(self, reader: Reader) -> None:
        """Fill memory from the rows of a database."""
        self._states = dict(reader.states())
        self._scopes = {name: (version, decode_scope(document)) for name, (version, document) in reader.scopes().items()}
        self.rounding_evidence = decode_rounding(reader.meta(self.rounding_key()))
        self.put_controls(silences_since(reader, self.clock.now()), acks_of_open(reader))

    def put_connections(self, connections: Iterable[Connection]) -> None:
        """Replace the set of connections that are watched; states of others stay in the database only."""
        self._connections = {connection.id: connection for connection in connections}
        ordered = sorted(self._connections.values(), key=lambda one: (one.account_label, one.platform, one.platform_id))
        self._order = tuple(connection.id for connection in ordered)
        self._next_checks = {one: at for one, at in self._next_checks.items() if one in self._connections}
        self._census = self._count()

    def put_outbox(self, outbox: Mapping[str, OutboxView]) -> None:
        """Remember what every receiver is still owed."""
        self.outbox = outbox

    def put_controls(self, silences: Iterable[Silence], acks: Iterable[Ack]) -> None:
        """Remember what operators ask for; `wishes` counts the changes."""
        asked = NO_CONTROLS.asked(silences, acks)
        if asked != self._asked:
            self._asked = asked
            self.wishes += 1

    @property
    def controls(self) -> Controls:
        """Everything that holds notifications back: what operators ask for, and what the configuration says."""
        return Controls(self._asked.silences, self.plan.windows, self._asked.acks)

    def put_next_check(self, connection_id: int, at: datetime) -> None:
        """Remember when a connection is checked next, for people."""
        self._next_checks[connection_id] = at

    def _count(self) -> _ScopeCounts:
        census = _ScopeCounts()
        for connection in self._connections.values():
            census.members.update(self.names(connection).all())
            if self.state(connection.id)[1].health is Health.ERROR:
                census.failing[connection.platform] += 1
        return census

    def drop(self, connection_ids: Iterable[int]) -> None:
        """Stop watching these at once; checks of them that are still under way conclude nothing."""
        self.put_connections(one for one in self._connections.copy().values() if one.id not in set(connection_ids))

    def watching_since(self) -> datetime:
        """Since when the connections could be watched without a gap: the start, or the clock's last jump."""
        return self._continuity.since()

    @property
    def rounding(self) -> model.Rounding:
        """How the API makes whole hours of the time that tokens have left, as far as its lists taught."""
        return self.rounding_evidence.mode

    def rounding_key(self) -> str:
        """Under which name the database keeps what is known of the API's rounding."""
        return f"rounding:{self.plan.api_host}"

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

    def names(self, connection: Connection) -> ScopeNames:
        """The names of the scopes above *connection*."""
        return core.scopes_of(connection, self.plan.api_host)

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

    def members(self, name: str) -> int:
        """How many watched connections are below the scope *name*."""
        return self._census.members[name]

    def window(self) -> timedelta:
        """How far back checks count for the API scope: two rounds at least."""
        return max(self.plan.policy.scopes.window, 2 * self.plan.interval)

    def hold(self, connection: Connection) -> tuple[str, timedelta] | None:
        """The scope that lets only canaries through to *connection*, and how far apart; None when checks go on as usual."""
        return self._pause_above(self.names(connection).all(), rules.canary_interval)

    def probe(self, connection: Connection) -> tuple[str, timedelta] | None:
        """The scope in doubt above *connection*, and how soon somebody below it is asked again; None when nothing is in doubt."""
        return self._pause_above(self.names(connection).all(), rules.probe_interval)

    def api_doubted_at(self) -> datetime | None:
        """Since when the API is suspected; None when it is not, or when there is only one account to suspect it."""
        return self.scope(f"api:{self.plan.api_host}")[1].suspect_at if len(self.plan.accounts) > 1 else None

    def list_pause(self, account: str) -> timedelta | None:
        """How long the lists of *account* wait while it or the API is in trouble; None when they are read as usual."""
        names = (f"account:{account}", f"api:{self.plan.api_host}", f"service:{account}")
        found = self._pause_above(names, rules.probe_interval)
        return found[1] if found is not None else None

    def _pause_above(
        self, names: Iterable[str], pause_of: Callable[[ScopeState, ScopePolicy], timedelta | None]
    ) -> tuple[str, timedelta] | None:
        for name in names:
            pause = pause_of(self.scope(name)[1], self.plan.policy.scopes)
            if pause is not None:
                return name, pause
        return None

    def is_abandoned(self, scope: ScopeState) -> bool:
        """Whether nobody asks about *scope* any more, because its account or its API left the configuration."""
        if scope.word == "api":
            return scope.name != f"api:{self.plan.api_host}"
        return bool(scope.account) and bool(self.plan.accounts) and scope.account not in self.plan.accounts

    def due_for_review(self, now: datetime) -> list[int]:
        """The connections for which the passing of time may have changed something."""
        moments = ((one, self._states.get(one, _NO_STATE)[1].review_at) for one in self._order)
        return [one for one, review_at in moments if review_at is not None and review_at <= now]

    def owed(self) -> list[int]:
        """The connections about which somebody is still to be told something."""
        states = ((one, self.state(one)[1]) for one in self._order)
        return [one for one, state in states if any(topic.level != topic.told.level for topic in state.topics.values())]

    def unsettled(self) -> list[int]:
        """The connections about which somebody may have to be told something once other things are asked for."""
        return [one for one in self._order if needs_evaluation(self.state(one)[1])]

    def accept(self, states: Mapping[int, State], scope_rows: Mapping[str, ScopeRow]) -> None:
        """Make committed values visible. Called after the commit, on the writer thread."""
        for connection_id, (version, state) in states.items():
            connection = self._connections.get(connection_id)
            if connection is not None:
                was = self.state(connection_id)[1].health is Health.ERROR
                self._census.failing[connection.platform] += int(state.health is Health.ERROR) - int(was)
            self._states[connection_id] = (version, state)
        thawed = [name for name, row in scope_rows.items() if self.scope(name)[1].open and not row[1].open]
        self._scopes.update(scope_rows)
        if thawed:
            self._thawed |= dict.fromkeys(thawed, self.thaws + 1)
            self.thaws += 1

    def thawed_since(self, thaws: int) -> frozenset[str]:
        """The names of the scopes whose incidents closed since there were so many *thaws*."""
        return frozenset(name for name, number in self._thawed.copy().items() if number > thaws)

    def failing(self, platform: str) -> int:
        """How many watched connections of *platform* are in error."""
        return self._census.failing[platform]

    def snapshot(self, now: datetime) -> Snapshot:
        """The whole picture at *now*."""
        scope_states = {name: row[1] for name, row in self._scopes.copy().items()}
        views = self._all_views(scope_states, now)
        incidents = [incident for view in views if view.state.topics for incident in incidents_of(view, self.plan.policy)]
        incidents += [incident for state in scope_states.values() for incident in scope_incidents(state)]
        incidents.sort(key=lambda item: item.incident.opened_at)
        return Snapshot(
            taken_at=now,
            connections=views,
            incidents=tuple(incidents),
            accounts={name: self._account_up(name, views) for name in self.plan.accounts},
            api_up=self._api_up(views),
            storage_up=self.storage_up,
            outbox={rule.name: self.outbox.get(rule.name, OutboxView()) for rule in self.plan.receivers},
        )

    def _all_views(self, states: Mapping[str, ScopeState], now: datetime) -> tuple[ConnectionView, ...]:
        """One view per connection; the same object as last time where nothing changed, so that what is made of it can be kept."""
        covers: dict[tuple[str, str, str], str | None] = {}
        views: dict[int, ConnectionView] = {}
        for one in self._order:
            connection, state = self._connections[one], self.state(one)[1]
            above = (connection.account, connection.user_id, connection.platform)
            if above not in covers:
                covers[above] = self._covered_by(connection, states, now)
            fresh = (connection, state, covers[above], self._next_checks.get(one))
            known = self._views.get(one)
            unchanged = known is not None and (known.connection, known.state, known.covered_by, known.next_check_at) == fresh
            views[one] = known if known is not None and unchanged else ConnectionView(*fresh)
        self._views = views
        return tuple(views.values())

    def _covered_by(self, connection: Connection, states: Mapping[str, ScopeState], now: datetime) -> str | None:
        above = scope_context(self.names(connection), states, self.watching_since(), now, self.plan.policy)
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
        if self.scope(f"api:{self.plan.api_host}")[1].open:
            return False
        return True if any(view.state.last_evidence_at is not None for view in views) else None
