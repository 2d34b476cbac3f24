"""All connections, states, scopes and controls in memory: one engine for the daemon, `replay` and the tests."""

from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.domain import schedule
from monitor.domain.connections import Connection
from monitor.domain.copies import replace
from monitor.domain.evaluation import (
    Evaluation,
    EvaluationInput,
    evaluate_at,
    evaluate_check,
    evaluate_listing,
    evaluate_removal,
    evaluate_scopes,
    update_scopes,
)
from monitor.domain.events import REMOVED
from monitor.domain.expiry import interval
from monitor.domain.expiry.interval import RoundingEvidence
from monitor.domain.notifications.timing import awaits_look, needs_evaluation, reminders_due
from monitor.domain.policy import Policy, ScopePolicy
from monitor.domain.replies.checks import Observation
from monitor.domain.replies.listings import ListedConnection
from monitor.domain.replies.platform_texts import NO_PLATFORM_TEXTS, PlatformTexts
from monitor.domain.replies.verdicts import DEFAULT_FALSE_NEGATIVES, FalseNegativeRule
from monitor.domain.routing.rules import ReceiverRule, UserLabels
from monitor.domain.schedule import EvaluationQueue
from monitor.domain.scopes import platform as platform_scope
from monitor.domain.scopes import rules
from monitor.domain.scopes.api import served_elsewhere_at
from monitor.domain.scopes.key import (
    API,
    API_KINDS,
    GROUP,
    LIMIT,
    PLATFORM,
    RATE,
    USER,
    ScopeKey,
    ScopesAbove,
    account_scopes,
    scopes_above,
)
from monitor.domain.scopes.platform import Sight
from monitor.domain.scopes.state import ScopeState, clamp_future_scope, clear, closed, persistent
from monitor.domain.silencing.acceptance import Acceptance, is_new
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.controls import NO_CONTROLS, Controls
from monitor.domain.silencing.silences import RecurringSilence, Silence
from monitor.domain.states import ConnectionState
from monitor.domain.usual_case import count_passed, is_quiet, last_incident_at, steady, steady_listing, with_next_evaluation
from monitor.errors import Reason

_NOTHING_KNOWN = ConnectionState()

_MANY = 50
"""From one new connection in so many on, all are sorted; fewer are put in their places."""

# How often the passing of time is applied to a scope: suspected or with a pending notification; so, but slow, or a platform's; any other.
_PAUSE_UNSETTLED = timedelta(seconds=1)
_PAUSE_SLOW = timedelta(seconds=5)
_PAUSE_OPEN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """
    What the configuration means for evaluating. A reload replaces it as a whole.

    Attributes:
        api_host: names the API scope.
        recurring_silences: those of the configuration, quiet hours among them.
        receivers: those that a notification may go to; without routes, all of them.
        fast_path: whether the usual case of a check is evaluated the short way (`usual_case`).
    """

    policy: Policy
    api_host: str
    accounts: tuple[str, ...] = ()
    false_negatives: tuple[FalseNegativeRule, ...] = DEFAULT_FALSE_NEGATIVES
    platform_texts: PlatformTexts = NO_PLATFORM_TEXTS
    recurring_silences: tuple[RecurringSilence, ...] = ()
    receivers: tuple[ReceiverRule, ...] = ()
    user_labels: UserLabels = field(default_factory=dict)
    fast_path: bool = True


@dataclass(slots=True)
class _Indexes:
    """Connection counts per scope; ids per platform: all, and those whose last evidence or health is a failure."""

    members: Counter[ScopeKey] = field(default_factory=Counter)
    by_platform: dict[str, set[int]] = field(default_factory=dict)
    failing: dict[str, set[int]] = field(default_factory=dict)

    @staticmethod
    def put(index: dict[str, set[int]], platform: str, ids: set[int], sign: int) -> None:
        """Add *ids* to an index by platform; with the *sign* -1 remove them."""
        known = index.setdefault(platform, set())
        (known.update if sign > 0 else known.difference_update)(ids)
        if not known:
            del index[platform]


class Engine:
    """
    Every connection, its state, the scopes above it, and the controls of operators.

    Values are immutable and replaced as a whole, so they may be read while another thread commits. `take_due` and commits belong
    to one thread.

    Attributes:
        watching_since: since when connections are checked without a gap.
        rounding_evidence: how the API prints the time that tokens have left, as far as its lists have shown.
        scope_closures: counts the scope incidents that closed.
        scope_sweeps: counts the times that the connections below a scope began to be looked at anew.
        controls_version: counts the changes of silences, acknowledgements and accepted losses.
    """

    def __init__(self, config: EngineConfig, watching_since: datetime) -> None:
        self.config = config
        self.watching_since = watching_since
        self.rounding_evidence = RoundingEvidence()
        self.scope_closures = 0
        self.scope_sweeps = 0
        self.controls_version = 0
        self._requested = NO_CONTROLS
        self._connections: dict[int, Connection] = {}
        self._by_account: dict[str, tuple[int, ...]] = {}
        self._order: tuple[int, ...] = ()
        self._states: dict[int, ConnectionState] = {}
        self._scopes: dict[ScopeKey, ScopeState] = {}
        self._indexes = _Indexes()
        self._closed_scopes: dict[ScopeKey, int] = {}
        self._swept_scopes: dict[ScopeKey, int] = {}
        self._agenda = EvaluationQueue()
        self._scopes_evaluated_at = watching_since
        self._unsettled: set[ScopeKey] = set()
        self._unquiet: set[ScopeKey] = set()
        self._last_incident_at: datetime | None = None
        self._recovered: set[ScopeKey] = set()
        self._evaluated_version = -1

    # ---- what is known

    @property
    def controls(self) -> Controls:
        """Everything that suppresses notifications: the operators' controls and those of the configuration."""
        requested, config = self._requested, self.config
        return Controls(
            requested.silences, config.recurring_silences, requested.acks, self.connection, config.user_labels, requested.accepted
        )

    def ids(self) -> tuple[int, ...]:
        """The ids of all monitored connections, ordered by account, platform and platform id."""
        return self._order

    def connection(self, connection_id: int) -> Connection | None:
        """One monitored connection; None when it is not monitored (any more)."""
        return self._connections.get(connection_id)

    def connections(self) -> list[Connection]:
        """The monitored connections, in the order of `ids`."""
        known = self._connections
        return [known[connection_id] for connection_id in self._order if connection_id in known]

    def accounts(self) -> Iterable[str]:
        """The accounts: those of the configuration, or, without one, those that have connections."""
        return self.config.accounts or tuple(self._by_account)

    def connections_of(self, account: str) -> list[Connection]:
        """The monitored connections of one account."""
        known = self._connections
        return [known[connection_id] for connection_id in self._by_account.get(account, ()) if connection_id in known]

    def state(self, connection_id: int) -> ConnectionState:
        """What is known of one connection."""
        return self._states.get(connection_id, _NOTHING_KNOWN)

    def scope(self, key: ScopeKey) -> ScopeState:
        """What is known of one scope."""
        return self._scopes.get(key) or clear(key)

    def known_scope(self, key: ScopeKey) -> ScopeState | None:
        """What is known of one scope; None when nothing is."""
        return self._scopes.get(key)

    def scopes(self) -> Mapping[ScopeKey, ScopeState]:
        """Every scope that ever failed or counts checks."""
        return self._scopes.copy()

    def scopes_above(self, connection: Connection) -> ScopesAbove:
        """The scopes above *connection*."""
        return scopes_above(connection, self.config.api_host)

    @property
    def api_key(self) -> ScopeKey:
        """The scope of the API."""
        return ScopeKey(API, self.config.api_host)

    def member_count(self, key: ScopeKey) -> int:
        """How many monitored connections are below a scope."""
        return self._indexes.members[key]

    def failing_ids(self, platform: str) -> Collection[int]:
        """The monitored connections of *platform* whose last evidence or health is a failure."""
        return self._indexes.failing.get(platform, ())

    def ids_of(self, platform: str) -> Collection[int]:
        """The monitored connections of *platform*."""
        return self._indexes.by_platform.get(platform, ())

    def decides(self, _key: ScopeKey) -> bool:
        """Whether the scope is decided here, and not only followed: another node of a cluster decides it then."""
        return True

    def followed(self, _above: ScopesAbove) -> frozenset[ScopeKey]:
        """The scopes above a connection that are not decided here."""
        return frozenset()

    def served_elsewhere_at(self, account: str, scope: Callable[[ScopeKey], ScopeState]) -> datetime | None:
        """When an account other than this one was last answered; *scope* gives the state of a scope."""
        return served_elsewhere_at(scope, self.accounts(), account)

    def watching_since_of(self, _account: str) -> datetime:
        """Since when the connections of an account are checked without a gap."""
        return self.watching_since

    def canary_interval(self, connection: Connection) -> tuple[ScopeKey, timedelta] | None:
        """The scope that lets only canaries through to *connection*, and how far apart; None when checks go on as usual."""
        return self._pause_above(self.scopes_above(connection).all, rules.canary_interval)

    def probe_interval(self, connection: Connection) -> tuple[ScopeKey, timedelta] | None:
        """The suspected scope above *connection*, and how soon it is probed again; None when nothing is suspected."""
        return self._pause_above(self.scopes_above(connection).all, rules.probe_interval)

    def scopes_explaining(self, connection: Connection, state: ConnectionState) -> list[ScopeState]:
        """The known scopes above *connection* in *state*, without open incidents of its platform that are not about it."""
        within = platform_scope.reach(self.config.policy.scopes, self.config.policy.api_window)
        member = platform_scope.member(connection, state)
        known = (scope for key in self.scopes_above(connection).all if (scope := self.known_scope(key)) is not None)
        return [
            scope
            for scope in known
            if not scope.key.platform or not scope.open or (member is not None and platform_scope.covers(scope, member, within))
        ]

    def list_pause(self, account: str) -> timedelta | None:
        """How long the lists of *account* wait while it or the API is suspected or fails; None when they are read as usual."""
        pause = self._pause_above(account_scopes(account, "", self.config.api_host), rules.probe_interval)
        return pause[1] if pause is not None else None

    def _pause_above(
        self, keys: Iterable[ScopeKey], pause_of: Callable[[ScopeState, ScopePolicy], timedelta | None]
    ) -> tuple[ScopeKey, timedelta] | None:
        if not self._unquiet:
            return None
        return _first_pause(keys, self.known_scope, pause_of, self.config.policy.scopes)

    @property
    def all_quiet(self) -> bool:
        """Whether every scope is quiet: clear, receivers know, and no failures are counted."""
        return not self._unquiet

    def unquiet(self) -> set[ScopeKey]:
        """The scopes that are not quiet: suspected, open, or with counted failures."""
        return self._unquiet.copy()

    def quiet_at(self, now: datetime) -> bool:
        """Whether no scope remembers a failure or an incident from after *now*: the wall clock was not set back."""
        return self._last_incident_at is None or self._last_incident_at <= now

    def api_suspect_since(self) -> datetime | None:
        """Since when failures make the API suspected; None when none do, or when there is only one account to suspect it."""
        if not self._unquiet or len(tuple(self.accounts())) <= 1:
            return None
        api = self.scope(self.api_key)
        return api.suspect_at if api.reason is not None else None

    def is_orphaned(self, key: ScopeKey) -> bool:
        """Whether nothing is checked below a scope any more, because its account or its API left the configuration."""
        if key.kind in API_KINDS:
            return key.name != self.config.api_host
        return bool(key.account and self.config.accounts) and key.account not in self.config.accounts

    def closed_scopes_since(self, closures: int) -> frozenset[ScopeKey]:
        """The scopes whose incidents closed since there were so many *closures*."""
        return frozenset(key for key, number in self._closed_scopes.copy().items() if number > closures)

    def swept_scopes_since(self, sweeps: int) -> list[ScopeKey]:
        """The scopes whose connections began to be looked at anew since there were so many *sweeps*."""
        return [key for key, number in self._swept_scopes.copy().items() if number > sweeps]

    def to_look_at(self, key: ScopeKey, account: str) -> list[int]:
        """The connections of *account* below a platform or group that are to be looked at anew now; of a refused user, one of each other."""
        if key.kind == USER:
            of_users = self.connections_of(account) if account == key.name else ()
            return list({one.user_id: one.id for one in of_users if one.user_id not in ("", key.user)}.values())
        connections = (self._connections.get(connection_id) for connection_id in tuple(self.ids_of(key.platform)))
        own = (one for one in connections if one is not None and one.account == account and key in self.scopes_above(one).all)
        members = (platform_scope.member(connection, self.state(connection.id)) for connection in own)
        known = (member for member in members if member is not None)
        return platform_scope.to_look_at(self.scope(key), known, self.config.policy.scopes.sweep_size)

    # ---- what is set

    def set_config(self, config: EngineConfig) -> None:
        """Replace the configuration; what it changes is evaluated at once."""
        self.config = config
        self._evaluated_version = -1

    def set_connections(self, connections: Iterable[Connection], *, account: str | None = None) -> None:
        """Replace the monitored connections; with *account* those of that account only, to which all of *connections* belong."""
        known = self._connections
        desired = {connection.id: connection for connection in connections}
        replaced = known.keys() if account is None else self._by_account.get(account, ())
        removed = [connection_id for connection_id in replaced if connection_id not in desired]
        added = [connection for connection_id, connection in desired.items() if connection_id not in known]
        # An object that stays keeps what is made of it: views, lines of metrics.
        changed = {
            connection_id: connection for connection_id, connection in desired.items() if known.get(connection_id, connection) != connection
        }
        kept = known.copy()
        gone = [kept.pop(connection_id) for connection_id in removed]
        self._connections = kept | changed | {connection.id: connection for connection in added}
        if account is None:
            # The name of the API's scope may be another one, after a reload.
            self._indexes = _Indexes()
            self._count(self._connections.values(), 1)
        else:
            self._count(gone, -1)
            self._count(added, 1)
        self._order = self._with_changes(removed, [*added, *changed.values()])
        moved = [known[connection_id] for connection_id in changed if connection_id in known]
        self._index({connection.account for connection in [*gone, *added, *moved, *changed.values()]})
        # Those that stay keep their place: they may be due for something else than their own moment.
        for connection in added:
            self._schedule_evaluation(connection)
        for connection_id in removed:
            self._agenda.put(connection_id, None)

    def _schedule_evaluation(self, connection: Connection) -> None:
        state = self._states.get(connection.id)
        if state is not None:
            since = self.watching_since_of(connection.account)
            state = self._states[connection.id] = with_next_evaluation(connection, state, self.config.policy, since)
            self._agenda.put(connection.id, state.next_evaluation_at)

    def _with_changes(self, removed: Collection[int], placed: Sequence[Connection]) -> tuple[int, ...]:
        """The ids in order, without *removed* and with *placed*, each where it belongs."""
        connections, moved = self._connections, {*removed, *(connection.id for connection in placed)}
        order = [connection_id for connection_id in self._order if connection_id not in moved]
        if len(placed) * _MANY > len(order):
            return tuple(sorted((*order, *(connection.id for connection in placed)), key=lambda number: _order(connections[number])))
        for connection in placed:
            insort(order, connection.id, key=lambda number: _order(connections[number]))
        return tuple(order)

    def _index(self, accounts: Collection[str]) -> None:
        """Bring the ids of *accounts* in line with the order."""
        ids: dict[str, list[int]] = {account: [] for account in accounts}
        connections = self._connections
        for connection_id in self._order if ids else ():
            account = connections[connection_id].spec.account
            if account in ids:
                ids[account].append(connection_id)
        by_account = self._by_account | {account: tuple(numbers) for account, numbers in ids.items()}
        self._by_account = {account: numbers for account, numbers in by_account.items() if numbers}

    def _count(self, connections: Iterable[Connection], sign: int) -> None:
        """Count *connections* below their scopes; with the *sign* -1 no longer."""
        indexes, groups = self._indexes, defaultdict[tuple[str, str, str], list[Connection]](list)
        for connection in connections:
            spec = connection.spec
            groups[spec.account, spec.user_id, spec.platform].append(connection)
        for (_, _, platform), members in groups.items():
            for key in self.scopes_above(members[0]).all:
                indexes.members[key] += sign * len(members)
                if not indexes.members[key]:
                    del indexes.members[key]
            indexes.put(indexes.by_platform, platform, {connection.id for connection in members}, sign)
            failing = {connection.id for connection in members if _fails(self.state(connection.id))}
            indexes.put(indexes.failing, platform, failing, sign)

    def set_requests(self, silences: Iterable[Silence], acks: Iterable[Ack], accepted: Iterable[Acceptance] = ()) -> None:
        """Replace the silences, acknowledgements and accepted losses of operators."""
        requested = NO_CONTROLS.with_requests(silences, acks, accepted)
        if requested != self._requested:
            self._requested = requested
            self.controls_version += 1

    def restore(self, states: Mapping[int, ConnectionState], scopes: Iterable[ScopeState]) -> None:
        """Take over what an earlier process knew; the first evaluation looks at everything that may be pending."""
        self._states = dict(states)
        self._scopes = {scope.key: scope for scope in scopes}
        self._unsettled = {key for key, scope in self._scopes.items() if not scope.settled}
        self._unquiet = {key for key, scope in self._scopes.items() if not is_quiet(scope)}
        self._last_incident_at = _latest(map(last_incident_at, self._scopes.values()))
        for key, scope in self._scopes.items():
            if scope.suspect_at is not None and key.kind == PLATFORM:
                self._note_sweep(key)
        self._agenda = EvaluationQueue()
        self._evaluated_version = -1
        self._indexes = _Indexes()
        connections, self._connections = self._connections, {}
        self.set_connections(connections.values())

    def restart(self, now: datetime) -> None:
        """As a new process finds it at *now*: nothing was checked for a while, and the counts of single checks are lost."""
        self.watching_since = self._scopes_evaluated_at = now
        self.restore(self._states, [persistent(scope) for scope in self._scopes.values()])

    # ---- the passing of time

    def next_evaluation_at(self) -> datetime | None:
        """When the passing of time may next change something; None when nothing can. It lies in the past when it is overdue."""
        moments = [self._agenda.first()]
        if self._recovered or self._evaluated_version != self.controls_version:
            moments.append(self._scopes_evaluated_at)
        moments.append(self._scopes_due_at())
        return min((moment for moment in moments if moment is not None), default=None)

    def due_scopes(self, now: datetime) -> list[ScopeKey]:
        """The scopes that the passing of time may have changed."""
        due_at = self._scopes_due_at()
        due = due_at is not None and (now >= due_at or self._evaluated_version != self.controls_version)
        return sorted(filter(self._evaluates, self._unsettled)) if due else []

    def _scopes_due_at(self) -> datetime | None:
        """When time is applied to the scopes next; None when it changes none of them."""
        pause = min((_pause(self.scope(key)) for key in self._unsettled.copy() if self._evaluates(key)), default=None)
        return self._scopes_evaluated_at + pause if pause is not None else None

    def _evaluates(self, key: ScopeKey) -> bool:
        """Whether the passing of time is applied to a scope here; to a rate scope also where it may open the limit of all."""
        return self.decides(key) or (key.kind == RATE and self.decides(ScopeKey(LIMIT, self.config.api_host)))

    def due_connections(self, now: datetime, limit: int | None = None) -> list[Connection]:
        """The connections that the passing of time may have changed, in the order of `ids`; the longest overdue up to *limit* of them."""
        self._add_waiting(now)
        due = (self._connections.get(connection_id) for connection_id in self._agenda.due(now, limit))
        return sorted((connection for connection in due if connection is not None), key=_order)

    def _add_waiting(self, now: datetime) -> None:
        """Make due what waits for something else than a moment: the close of a scope incident, a start, a change of controls."""
        version, recovered, accepted = self.controls_version, self._recovered, self._requested.accepted
        if not recovered and version == self._evaluated_version:
            return
        everywhere = version != self._evaluated_version
        self._evaluated_version, self._recovered = version, set()
        for connection in self._waiting_below(None if everywhere else recovered):
            state = self._states.get(connection.id)
            if state is None:
                continue
            if needs_evaluation(state) or state.next_evaluation_at is None or is_new(accepted.get(connection.id), state):
                self._agenda.put(connection.id, now)

    def _waiting_below(self, recovered: Collection[ScopeKey] | None) -> Iterable[Connection]:
        """The connections below the scopes *recovered*; of platforms, those that fail. None: all connections."""
        if recovered is None:
            yield from self._connections.values()
            return
        platforms = {key.platform for key in recovered if key.platform}
        failing = [connection_id for platform in platforms for connection_id in self.failing_ids(platform)]
        yield from (self._connections[connection_id] for connection_id in failing if connection_id in self._connections)
        wider = {key for key in recovered if not key.platform}
        if wider:
            yield from (one for one in self._connections.values() if not wider.isdisjoint(self.scopes_above(one).all))

    # ---- changes

    def begin(self) -> "ChangeSet":
        """A new set of changes over what is known."""
        return ChangeSet(self)

    def commit(self, changes: "ChangeSet") -> None:
        """Make the values of *changes* visible."""
        for connection_id, state in changes.states.items():
            connection = self._connections.get(connection_id)
            if connection is not None:
                self._indexes.put(self._indexes.failing, connection.platform, {connection_id}, 1 if _fails(state) else -1)
                self._agenda.put(connection_id, state.next_evaluation_at)
            self._states[connection_id] = state
        self._commit_scopes(changes.scopes)
        self.rounding_evidence = changes.rounding
        if changes.scopes_evaluated_at is not None:
            self._scopes_evaluated_at = changes.scopes_evaluated_at
        if changes.retired:
            self.drop(changes.retired)

    def _commit_scopes(self, scopes: Mapping[ScopeKey, ScopeState]) -> None:
        recovered = [key for key, state in scopes.items() if self.scope(key).open and not state.open]
        decided = [key for key, state in scopes.items() if key.platform and self.scope(key).suspect_at is not None and not state.suspect_at]
        for key, state in scopes.items():
            if state.swept_at is not None and state.swept_at != self.scope(key).swept_at:
                self._note_sweep(key)
        self._recovered.update(decided)
        self._scopes.update(scopes)
        for key, state in scopes.items():
            (self._unsettled.discard if state.settled else self._unsettled.add)(key)
            (self._unquiet.discard if is_quiet(state) else self._unquiet.add)(key)
            self._last_incident_at = _latest((self._last_incident_at, last_incident_at(state)))
        if recovered:
            self._closed_scopes |= dict.fromkeys(recovered, self.scope_closures + 1)
            self.scope_closures += 1
            self._recovered.update(recovered)

    def _note_sweep(self, key: ScopeKey) -> None:
        self.scope_sweeps += 1
        self._swept_scopes[key] = self.scope_sweeps

    def drop(self, connection_ids: Collection[int]) -> None:
        """Stop monitoring these at once; checks of them that are still under way change nothing."""
        removed = set(connection_ids)
        for account in {known.account for connection_id in removed if (known := self._connections.get(connection_id)) is not None}:
            self.set_connections((other for other in self.connections_of(account) if other.id not in removed), account=account)

    # ---- evaluate and commit at once

    def check(self, observation: Observation) -> Evaluation | None:
        """Evaluate one check; None when its connection is no longer monitored."""
        changes = self.begin()
        return self._accept(changes, changes.check(observation))

    def apply_listing(
        self, connection: Connection, row: ListedConnection, now: datetime, server_at: datetime | None = None
    ) -> Evaluation | None:
        """Evaluate what the API's list, which came at *now*, says of one connection."""
        changes = self.begin()
        changes.learn_rounding(row, now, server_at)
        return self._accept(changes, changes.apply_listing(connection, row, now, server_at))

    def retire(self, connection: Connection, now: datetime) -> Evaluation:
        """Close what is open about a connection that is no longer monitored."""
        changes = self.begin()
        evaluation = changes.retire(connection, now)
        self._accept(changes, evaluation)
        return evaluation

    def evaluate(self, now: datetime) -> list[Evaluation]:
        """Apply the passing of time up to *now*."""
        changes, evaluations = self.begin(), []
        for key in self.due_scopes(now):
            evaluations.append(changes.evaluate_scope(key, now))
            changes.apply(evaluations[-1])
            changes.scopes_evaluated_at = now
        self.commit(changes)
        for connection in self.due_connections(now):
            changes = self.begin()
            evaluation = changes.evaluate(connection, now)
            if evaluation is not None:
                self._accept(changes, evaluation)
                evaluations.append(evaluation)
        return evaluations

    def _accept(self, changes: "ChangeSet", evaluation: Evaluation | None) -> Evaluation | None:
        if evaluation is not None:
            changes.apply(evaluation)
        self.commit(changes)
        return evaluation


class ChangeSet:
    """What one transaction changes: the engine's values, overlaid by what was evaluated since. `Engine.commit` makes it visible."""

    def __init__(self, engine: Engine) -> None:
        self.states: dict[int, ConnectionState] = {}
        self.scopes: dict[ScopeKey, ScopeState] = {}
        self.retired: set[int] = set()
        self.rounding = engine.rounding_evidence
        self.scopes_evaluated_at: datetime | None = None
        self._engine = engine
        self._unquiet = engine.unquiet()

    def state(self, connection_id: int) -> ConnectionState:
        """What is known of one connection, as changed so far."""
        return self.states.get(connection_id) or self._engine.state(connection_id)

    def scope(self, key: ScopeKey) -> ScopeState:
        """What is known of one scope, as changed so far."""
        return self.scopes.get(key) or self._engine.scope(key)

    def check(self, observation: Observation) -> Evaluation | None:
        """Everything that follows from one check; None when its connection was removed while the check was under way."""
        connection = self._monitored(observation.connection_id)
        if connection is None:
            return None
        policy, reason = self._engine.config.policy, observation.verdict.reason
        usual = self._usual_case(connection, observation)
        if usual is not None:
            return usual
        elsewhere_at = self._elsewhere_at(connection.account, observation)
        evaluation = evaluate_check(self.evaluation_input(connection), observation, policy, elsewhere_at)
        state = evaluation.state or self.state(connection.id)
        return replace(
            evaluation,
            next_check=schedule.next_check_in(
                connection, state, observation.at, policy, verdict_reason=reason, reminders=reminders_due(state, policy)
            ),
            canary=self._pause_above(connection, evaluation, rules.canary_interval),
            probe=self._pause_above(connection, evaluation, rules.probe_interval),
        )

    def _usual_case(self, connection: Connection, observation: Observation) -> Evaluation | None:
        """The same as the full evaluation for a check that tells nothing new while every scope is quiet; None for any other."""
        engine, config = self._engine, self._engine.config
        if not config.fast_path or self._unquiet or not engine.quiet_at(observation.at):
            return None
        state = steady(connection, self.state(connection.id), observation, config.policy, rounding=self.rounding.mode)
        scopes = self._count_passed(connection, observation) if state is not None else None
        if state is None or scopes is None:
            return None
        next_check = schedule.next_check_in(connection, state, observation.at, config.policy, verdict_reason=observation.verdict.reason)
        return Evaluation(connection, state, scopes, next_check=next_check, usual=True)

    def _count_passed(self, connection: Connection, observation: Observation) -> dict[ScopeKey, ScopeState] | None:
        """The scopes that count a passed check while every scope is quiet; None when that changes more than their counts."""
        engine, policy, window = self._engine, self._engine.config.policy.scopes, self._engine.config.policy.api_window
        above = engine.scopes_above(connection)
        service, scopes = self.scope(above.service), dict[ScopeKey, ScopeState]()
        if engine.decides(above.api):
            api = count_passed(self.scope(above.api), observation, policy, window=window)
            if api is None:
                return None
            scopes[above.api] = api
        if engine.member_count(above.api) <= engine.member_count(above.service):
            return None if service.buckets else scopes
        counted = count_passed(service, observation, policy, window=window)
        return scopes | {above.service: replace(counted, last_good_at=observation.at)} if counted is not None else None

    def apply_listing(
        self, connection: Connection, row: ListedConnection, now: datetime, server_at: datetime | None = None
    ) -> Evaluation | None:
        """Everything that follows from what a list says of one connection; None when that is not monitored any more."""
        if self._monitored(connection.id) is None:
            return None
        usual = self._usual_listing(connection, row, now, server_at)
        return usual or evaluate_listing(self.evaluation_input(connection), row, now, self._engine.config.policy, server_at=server_at)

    def _usual_listing(self, connection: Connection, row: ListedConnection, now: datetime, server_at: datetime | None) -> Evaluation | None:
        """The same as the full evaluation for a row that tells nothing new while every scope is quiet; None for any other."""
        engine, config, state = self._engine, self._engine.config, self.state(connection.id)
        if not config.fast_path or self._unquiet or state.last_evidence_at is None or not engine.quiet_at(state.last_evidence_at):
            return None
        since = max(state.last_evidence_at, min(engine.watching_since_of(connection.account), now))
        after = steady_listing(connection, state, row, now, config.policy, server_at=server_at, since=since)
        return Evaluation(connection, after, usual=True) if after is not None else None

    def learn_rounding(self, row: ListedConnection, now: datetime, server_at: datetime | None) -> bool:
        """Take in what a row of a list shows of the API's rounding; returns whether that was new."""
        before = self.rounding
        self.rounding = interval.learn_rounding(before, row, at=now, server_at=server_at)
        return self.rounding != before

    def evaluate(self, connection: Connection, now: datetime) -> Evaluation | None:
        """Everything that follows from the passing of time for one connection; None when it is no longer monitored."""
        if self._monitored(connection.id) is None:
            return None
        return evaluate_at(self.evaluation_input(connection), now, self._engine.config.policy)

    def evaluate_scope(self, key: ScopeKey, now: datetime) -> Evaluation:
        """Everything that follows from the passing of time for one scope, and for those that its change opens."""
        before = {key: self.scope(key)}
        after = {key: before[key], **self._after(before[key], now)}
        before |= {other: self.scope(other) for other in after if other != key}
        return self._of_scopes(before, {other: state for other, state in after.items() if self._engine.decides(other)}, now)

    def account_result(self, account: str, user_id: str, observation: Observation) -> Evaluation:
        """Everything that follows from a request of an account that was about no single connection, such as a list."""
        engine = self._engine
        before = {key: self.scope(key) for key in account_scopes(account, user_id, engine.config.api_host)}
        after = update_scopes(
            before,
            observation,
            engine.config.policy,
            window=engine.config.policy.api_window,
            member_counts={key: engine.member_count(key) for key in before},
            elsewhere_at=self._elsewhere_at(account, observation),
            followed={key for key in before if not engine.decides(key)},
        )
        return self._of_scopes(before, {key: state for key, state in after.items() if state is not before[key]}, observation.at)

    def change_scope(self, key: ScopeKey, change: Callable[[ScopeState], ScopeState], now: datetime) -> Evaluation:
        """Everything that follows from *change* of one scope."""
        before = self.scope(key)
        return self._of_scopes({key: before}, {key: change(before)}, now)

    def close_outage(self, outage: ScopeState, now: datetime) -> Evaluation:
        """The end of an incident that could not be recorded while it was open."""
        return self._of_scopes({outage.key: outage}, {outage.key: closed(outage, now)}, now)

    def retire(self, connection: Connection, now: datetime) -> Evaluation:
        """The end of a connection that is no longer monitored: its incidents close."""
        self.retired.add(connection.id)
        return evaluate_removal(connection, self.state(connection.id), now, self._engine.config.policy)

    def apply(self, evaluation: Evaluation) -> None:
        """Take over what was evaluated."""
        connection, state = evaluation.connection, evaluation.state
        if connection is not None and state is not None:
            self.states[connection.id] = state
        self.scopes.update(evaluation.scopes)
        if not evaluation.usual:
            for key, scope in evaluation.scopes.items():
                (self._unquiet.discard if is_quiet(scope) else self._unquiet.add)(key)

    def _monitored(self, connection_id: int) -> Connection | None:
        return None if connection_id in self.retired else self._engine.connection(connection_id)

    def _of_scopes(self, before: Mapping[ScopeKey, ScopeState], after: Mapping[ScopeKey, ScopeState], now: datetime) -> Evaluation:
        return evaluate_scopes(before, after, now, self._engine.config.policy, self._engine.controls)

    def evaluation_input(self, connection: Connection) -> EvaluationInput:
        """All that must be known to evaluate *connection*."""
        engine = self._engine
        above = engine.scopes_above(connection)
        return EvaluationInput(
            connection=connection,
            state=self.state(connection.id),
            above=above,
            scopes={key: state for key in above.all if (state := self._scope_if_known(key)) is not None},
            member_counts={key: engine.member_count(key) for key in above.all},
            watching_since=engine.watching_since_of(connection.account),
            window=engine.config.policy.api_window,
            followed=engine.followed(above),
            rounding=self.rounding.mode,
            controls=engine.controls,
        )

    def _elsewhere_at(self, account: str, observation: Observation) -> datetime | None:
        """When an account other than this one was last answered; only failures are judged by it."""
        return self._engine.served_elsewhere_at(account, self.scope) if observation.verdict.reason is not Reason.OK else None

    def _after(self, state: ScopeState, now: datetime) -> Mapping[ScopeKey, ScopeState]:
        engine = self._engine
        key, policy = state.key, engine.config.policy.scopes
        if engine.is_orphaned(key):
            return {key: closed(state, now, REMOVED)}
        state = clamp_future_scope(state, now)
        paused = state.suspect_at is not None and state.swept_at is not None and state.swept_at < engine.watching_since
        if key.platform and (paused or awaits_look(state, now, engine.config.policy)):
            state = replace(state, swept_at=now)
        if key.kind == PLATFORM:
            return platform_scope.advance_platform(state, self.scope, self._sight(state, now))
        if key.kind == GROUP:
            return {key: platform_scope.advance_open(state, self._sight(state, now))}
        if key.kind in (RATE, LIMIT):
            limit = self.scope(ScopeKey(LIMIT, engine.config.api_host))
            return rules.advance_limit(limit, self._rates(), now) if engine.decides(limit.key) else rules.covered(limit, [state])
        if key.kind == USER:
            users = {ScopeKey(USER, key.name, one.user_id) for one in engine.connections_of(key.name) if one.user_id}
            return rules.advance_limit(self.scope(ScopeKey(USER, key.name)), [self.scope(user) for user in sorted(users)], now)
        return {key: rules.tick(state, now, policy, window=engine.config.policy.api_window, members=engine.member_count(key))}

    def _sight(self, scope: ScopeState, now: datetime) -> Sight:
        """What the rule of platforms and groups looks at."""
        engine, platform = self._engine, scope.key.platform
        whole = scope.suspect_at is not None or scope.recovery is not None
        ids = engine.ids_of(platform) if whole else {*engine.failing_ids(platform), *self.states}
        connections = (self._monitored(connection_id) for connection_id in ids)
        members = (
            platform_scope.member(connection, self.state(connection.id))
            for connection in connections
            if connection is not None and connection.platform == platform
        )
        return Sight(
            tuple(member for member in members if member is not None),
            now,
            engine.config.policy.scopes,
            engine.config.policy.api_window,
            engine.watching_since,
            self.scope(ScopeKey(PLATFORM, platform)).suspect_at is not None,
            lambda connection: engine.controls.silences_failure(connection, now),
        )

    def _rates(self) -> list[ScopeState]:
        """The rate scopes of all accounts that have connections."""
        keys = (ScopeKey(RATE, account) for account in self._engine.accounts())
        return [self.scope(key) for key in keys if self._engine.member_count(key)]

    def _pause_above(
        self, connection: Connection, evaluation: Evaluation, pause_of: Callable[[ScopeState, ScopePolicy], timedelta | None]
    ) -> tuple[ScopeKey, timedelta] | None:
        def scope(key: ScopeKey) -> ScopeState | None:
            return evaluation.scopes.get(key) or self._scope_if_known(key)

        engine = self._engine
        if not self._unquiet and all(map(is_quiet, evaluation.scopes.values())):
            return None
        return _first_pause(engine.scopes_above(connection).all, scope, pause_of, engine.config.policy.scopes)

    def _scope_if_known(self, key: ScopeKey) -> ScopeState | None:
        return self.scopes.get(key) or self._engine.known_scope(key)


def _order(connection: Connection) -> tuple[str, str, str]:
    return connection.account_label, connection.platform, connection.platform_id


def _latest(moments: Iterable[datetime | None]) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)


def _first_pause(
    keys: Iterable[ScopeKey],
    scope: Callable[[ScopeKey], ScopeState | None],
    pause_of: Callable[[ScopeState, ScopePolicy], timedelta | None],
    policy: ScopePolicy,
) -> tuple[ScopeKey, timedelta] | None:
    """The first of the scopes *keys* that asks for a pause, and the pause."""
    for key in keys:
        state = scope(key)
        pause = pause_of(state, policy) if state is not None else None
        if pause is not None:
            return key, pause
    return None


def _fails(state: ConnectionState) -> bool:
    return state.failures > 0 or state.health.broken


def _pause(state: ScopeState) -> timedelta:
    """How often the passing of time is applied to a scope."""
    pending = state.topic.level != state.topic.notified.level
    if pending or state.suspect_at is not None:
        # Throttling is suspected for half an hour, and an API that fails may do so for hours.
        slow = state.key.kind in (RATE, LIMIT) or (state.open and not pending)
        return _PAUSE_SLOW if slow else _PAUSE_UNSETTLED
    return _PAUSE_SLOW if state.key.platform else _PAUSE_OPEN
