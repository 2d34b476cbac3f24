"""What is notified if nobody does anything: the engine on a virtual clock. Tokens end, what is broken stays so, and so does an open scope."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.domain import schedule
from monitor.domain.connections import Connection
from monitor.domain.copies import replace
from monitor.domain.delivery.digests import PendingDelivery, plan
from monitor.domain.engine import Engine, EngineConfig
from monitor.domain.evaluation import Evaluation
from monitor.domain.events import IncidentRef, Notification
from monitor.domain.expiry import estimate, levels
from monitor.domain.notifications.timing import reminders_due
from monitor.domain.policy import DigestPolicy, Policy
from monitor.domain.projections.preflight import renews_itself
from monitor.domain.reasons import Health, Scope
from monitor.domain.replies.checks import Observation, Reply, Verdict
from monitor.domain.replies.token_life import TokenLife, TokenSays
from monitor.domain.routing.rules import receivers_for
from monitor.domain.scopes.key import ScopeKey, scopes_above
from monitor.domain.scopes.platform import reach
from monitor.domain.scopes.state import ScopeState
from monitor.domain.silencing.controls import Controls
from monitor.domain.states import ConnectionState
from monitor.errors import Reason

AHEAD = timedelta(days=14)
MOST_CONNECTIONS = 500
"""Connections of which something is expected beyond this number end the forecast at the moment of the first of them."""
_NEVER = timedelta(days=3650)
_MOST_STEPS = 60
_PIECE = 400
# Between two moments many checks agree about the token.
_SIGHTINGS = 10
# How often the scopes are looked at while one is suspected, and while one is open: then only its reminders are ahead.
_WHILE_SUSPECTED, _WHILE_OPEN = timedelta(seconds=5), timedelta(hours=1)
_MOST_LOOKS = 800
_ENDED = TokenLife(TokenSays.EXPIRED)

Known = tuple[Connection, ConnectionState]


@dataclass(frozen=True, slots=True)
class ForecastEvent:
    """One notification that is expected, the connections that it is about, and the receivers that get it; none: no route takes it."""

    connections: tuple[Connection, ...]
    notification: Notification
    receivers: tuple[str, ...]

    @property
    def at(self) -> datetime:
        """When it is expected."""
        return self.notification.at

    @property
    def connection(self) -> Connection | None:
        """The one connection that it is about; None for that of a scope."""
        return self.connections[0] if self.notification.scope is Scope.CONNECTION else None


@dataclass(frozen=True, slots=True)
class Forecast:
    """
    What is expected up to a moment, in order of time: messages, each with the notifications that it tells.

    Attributes:
        frozen: the ids of the connections of which no check tells anything until the incident of the scope above them ends.
    """

    until: datetime
    messages: tuple[tuple[ForecastEvent, ...], ...] = ()
    frozen: frozenset[int] = frozenset()

    def about(self, keeps: Callable[[Connection], bool]) -> tuple[tuple[ForecastEvent, ...], ...]:
        """The messages about connections that *keeps* keeps, each with those of its notifications, and those about an open scope."""
        kept = (tuple(event for event in events if not event.connections or any(map(keeps, event.connections))) for events in self.messages)
        return tuple(filter(None, kept))


def forecast(
    known: Sequence[Known], config: EngineConfig, controls: Controls, now: datetime, scopes: Iterable[ScopeState] = ()
) -> Iterator[Forecast]:
    """
    The forecast of all *known* connections, made in steps of a few milliseconds: the last one has everything, those before it nothing.

    The incidents of *scopes* that are open stay open.
    """
    until, first = now + AHEAD, []
    standing = tuple(scope for scope in scopes if scope.open)
    frozen = frozenset(one.id for one, _ in known if standing and _is_frozen(one, standing, config))
    nothing = Forecast(until)
    for number, (connection, state) in enumerate(known):
        at = begins_at(connection, state, config.policy, now, until)
        if at is not None:
            first.append((at, number))
        if not number % _PIECE:
            yield nothing
    first.sort()
    if len(first) > MOST_CONNECTIONS:
        until = first[MOST_CONNECTIONS][0]
    events: list[ForecastEvent] = []
    expected = [known[number] for _, number in first[:MOST_CONNECTIONS]]
    for scope in standing:
        ahead = {connection.id for connection, _ in expected}.union(scope.members) if scope.key.platform else frozenset()
        below = [one for one in known if scope.key in scopes_above(one[0], config.api_host).all]
        followed = [one for one in below if one[0].id in ahead]
        expected = [one for one in expected if one[0].id not in ahead or one not in followed]
        for found in forecast_of(followed or below[:1], config, controls, now, until, standing, scope.key):
            events += [event for event in found if followed or event.connection is None]
            yield nothing
    for together in _together(expected, known, config, now):
        for found in forecast_of(together, config, controls, now, until, standing):
            events += found
            yield nothing
    events.sort(key=lambda event: (event.at, *((one.platform, one.platform_id) for one in event.connections[:1])))
    yield Forecast(until, messages_of(events, config.policy.digest), frozen)


def _is_frozen(connection: Connection, standing: Iterable[ScopeState], config: EngineConfig) -> bool:
    """Whether an open scope keeps checks of *connection* from being evidence."""
    above = scopes_above(connection, config.api_host)
    return any(scope.key in above.all and not scope.key.platform and scope.key != above.rate for scope in standing)


def forecast_of(
    known: Sequence[Known],
    config: EngineConfig,
    controls: Controls,
    now: datetime,
    until: datetime,
    standing: Sequence[ScopeState] = (),
    about: ScopeKey | None = None,
) -> Iterator[list[ForecastEvent]]:
    """
    What is notified of *known* connections, together, after *now* and up to *until*; an item for each evaluation.

    The *standing* scopes are open, and stay so; *about* is the one of them that is told of.
    """
    notified: dict[IncidentRef, tuple[str, ...]] = {}
    course = _Course(known, config, controls, now, standing, about)
    others = {str(scope.key) for scope in standing if scope.key != about}
    for evaluation in course.run(until):
        events = []
        for notification in evaluation.notifications if evaluation is not None else ():
            if notification.incident.subject in others:
                continue
            connection = course.connections.get(notification.connection_id or 0)
            members = [course.connections[number] for number in notification.facts.members if number in course.connections]
            before = notified.get(notification.incident, ())
            names = receivers_for(
                notification,
                connection,
                config.policy.routes,
                config.receivers,
                notified=before,
                members=members,
                user_labels=config.user_labels,
            )
            notified[notification.incident] = (*before, *names)
            events.append(ForecastEvent((connection,) if connection is not None else tuple(members), notification, names))
        yield events


def begins_at(connection: Connection, state: ConnectionState, policy: Policy, now: datetime, until: datetime) -> datetime | None:
    """The first moment up to *until* at which time alone may change anything of a connection; None when there is none."""
    moments = list(reminders_due(state, policy))
    if state.pending_levels or state.notice_pending or any(value.level != value.notified.level for value in state.topics.values()):
        moments.append(now)
    expiry = policy.expiry_for(connection.platform)
    if expiry.thresholds and estimate.has_estimate(state.token.status, connection.platform, expiry):
        moments += [moment for moment in levels.crossings(state.token, expiry) if moment > now]
        ended = _fails_at(connection, state, policy, now)
        moments += [ended] if ended is not None and ended > now else []
    first = min(moments, default=None)
    return max(first, now) if first is not None and first <= until else None


def messages_of(events: Iterable[ForecastEvent], policy: DigestPolicy) -> tuple[tuple[ForecastEvent, ...], ...]:
    """*events*, which are in order of time, by the messages that tell them: the first of a burst alone, the rest in digests."""
    bursts: dict[tuple[str, ...], list[list[ForecastEvent]]] = defaultdict(list)
    for event in events:
        known = bursts[event.receivers]
        if not known or event.at - known[-1][0].at > policy.wait:
            known.append([])
        known[-1].append(event)
    messages = [message for known in bursts.values() for burst in known for message in _messages(burst, policy)]
    return tuple(sorted(messages, key=lambda message: message[0].at))


def _messages(burst: Sequence[ForecastEvent], policy: DigestPolicy) -> Iterator[tuple[ForecastEvent, ...]]:
    at = burst[0].at
    pending = [
        PendingDelivery(number, event.notification.incident.subject, at, mergeable=event.connection is not None)
        for number, event in enumerate(burst)
    ]
    first = plan(pending, 0, at, policy, room=len(pending))
    later = plan(
        [one for one in pending if one not in first.now], policy.after, at + policy.wait, policy, collecting=True, room=len(pending)
    )
    groups = [[one.id for one in group] for group in later.groups] if burst[0].receivers else []
    merged = {number for group in groups for number in group}
    yield from ((event,) for number, event in enumerate(burst) if number not in merged)
    yield from (tuple(burst[number] for number in group) for group in groups)


def _together(expected: Sequence[Known], known: Sequence[Known], config: EngineConfig, now: datetime) -> Iterator[list[Known]]:
    """*expected* connections by what is evaluated together; those that may fail together with others of their platform that work."""
    policy = config.policy
    within = reach(policy.scopes, max(policy.scopes.window, 2 * policy.interval))
    ends: dict[str, list[tuple[datetime, int]]] = defaultdict(list)
    for number, (connection, state) in enumerate(expected):
        at = _fails_at(connection, state, policy, now)
        if at is None or at <= now:
            yield [expected[number]]
        else:
            ends[connection.platform].append((at, number))
    for platform, moments in ends.items():
        chain: list[int] = []
        last = None
        for at, number in sorted(moments):
            if last is not None and at - last > within:
                yield _with_others([expected[one] for one in chain], platform, known, policy)
                chain = []
            chain.append(number)
            last = at
        yield _with_others([expected[one] for one in chain], platform, known, policy)


def _with_others(failing: list[Known], platform: str, known: Sequence[Known], policy: Policy) -> list[Known]:
    if len(failing) < policy.scopes.platform_count:
        return failing
    ids = {connection.id for connection, _ in failing}
    others: dict[str, list[Known]] = defaultdict(list)
    for connection, state in known:
        if connection.platform == platform and state.health is Health.OK and connection.id not in ids:
            others[connection.account].append((connection, state))
    return failing + [one for looked_at in others.values() for one in looked_at[: policy.scopes.sweep_size]]


@dataclass
class _Course:
    """How *known* connections go on from *now*, by an engine of their own; *standing* scopes are open, *about* is the followed one."""

    known: Sequence[Known]
    config: EngineConfig
    controls: Controls
    now: datetime
    standing: Sequence[ScopeState] = ()
    about: ScopeKey | None = None
    connections: Mapping[int, Connection] = field(init=False)

    def __post_init__(self) -> None:
        # Nothing becomes stale: the checks go on, and tell nothing new.
        self.policy = replace(self.config.policy, stale_after=_NEVER)
        self.connections = {connection.id: connection for connection, _ in self.known}
        self.engine = Engine(replace(self.config, policy=self.policy), self.now)
        self.engine.set_connections(self.connections.values())
        self.engine.restore({connection.id: state for connection, state in self.known}, self.standing)
        self.engine.set_requests(self.controls.silences, self.controls.acks.values())
        self.frozen = {connection.id for connection, _ in self.known if _is_frozen(connection, self.standing, self.config)}
        ends = (
            (connection.id, _fails_at(connection, state, self.policy, self.now))
            for connection, state in self.known
            if connection.id not in self.frozen
        )
        self.ended_at = {number: at for number, at in ends if at is not None and at > self.now}

    def run(self, until: datetime) -> Iterator[Evaluation | None]:
        """What follows from each moment before *until* at which something may change, one after the other."""
        failures = iter(sorted((at, number) for number, ended in self.ended_at.items() for at in self._failed_checks(ended)))
        failure, at = next(failures, None), self.now
        looks = len(self.known) > 1 or self.about is not None
        for _ in range(_MOST_STEPS * len(self.known) + (_MOST_LOOKS if looks else 0)):
            moments = [self._next(at), failure[0] if failure is not None else None]
            at = max(at, min((moment for moment in moments if moment is not None), default=until))
            if at >= until:
                return
            if failure is not None and at == failure[0]:
                yield self._check(failure[1], at)
                failure = next(failures, None)
            else:
                yield from self._look(at)
                yield from self._scopes(at)
                yield from self._due(at)

    def _next(self, at: datetime) -> datetime | None:
        """When time alone may change something next, after *at* was evaluated."""
        ignored = {scope.key for scope in self.standing if scope.key != self.about}
        scopes = [scope for key, scope in self.engine.scopes().items() if key not in ignored]
        if any(scope.suspect_at is not None or scope.topic.level != scope.topic.notified.level for scope in scopes):
            return at + _WHILE_SUSPECTED
        due = self.engine.next_evaluation_at()
        followed = any(scope.open for scope in scopes)
        if not (followed or ignored) or (due is not None and due <= at and not ignored):
            return due
        moments = [self.engine.state(number).next_evaluation_at for number in self.connections]
        later = [moment for moment in moments if moment is not None and moment > at]
        return min([*later, at + _WHILE_OPEN] if followed else later, default=None)

    def _failed_checks(self, ended: datetime) -> Iterator[datetime]:
        """The checks that confirm that the token has ended."""
        for number in range(max(self.policy.confirm.failures, self.policy.confirm.expiry) + 1):
            yield ended + number * max(self.policy.recheck, self.policy.spacing)

    def _check(self, number: int, at: datetime) -> Evaluation | None:
        connection = self.connections[number]
        reply = Reply(False, connection.platform, connection.platform_id, None, "", token=_ENDED)
        return self.engine.check(Observation(number, at, at, Verdict(Reason.TOKEN_EXPIRED), reply))

    def _look(self, at: datetime) -> Iterator[Evaluation | None]:
        """The checks of what is looked at because a scope is suspected."""
        suspected = [key for key, scope in self.engine.scopes().items() if key.platform and scope.suspect_at is not None]
        looks = {number for key in suspected for account in self.engine.accounts() for number in self.engine.to_look_at(key, account)}
        for number in sorted(looks):
            if self.ended_at.get(number, at) < at:
                yield self._check(number, at)
            else:
                changes = self.engine.begin()
                changes.states[number] = _still(self.engine.state(number), at)
                self.engine.commit(changes)

    def _scopes(self, at: datetime) -> Iterator[Evaluation]:
        changes = self.engine.begin()
        for key in self.engine.due_scopes(at):
            if key == self.about:
                # Checks go on to show what they showed.
                changes.scopes[key] = replace(self.engine.scope(key), last_bad_at=at, swept_at=at - self.policy.scopes.sweep)
            evaluation = changes.evaluate_scope(key, at)
            changes.apply(evaluation)
            changes.scopes_evaluated_at = at
            yield evaluation
        self.engine.commit(changes)

    def _due(self, at: datetime) -> Iterator[Evaluation]:
        for connection in self.engine.due_connections(at):
            changes = self.engine.begin()
            if connection.id not in self.frozen:
                changes.states[connection.id] = _still(self.engine.state(connection.id), at)
            evaluation = changes.evaluate(connection, at)
            if evaluation is not None:
                changes.apply(evaluation)
                yield evaluation
            self.engine.commit(changes)


def _still(state: ConnectionState, at: datetime) -> ConnectionState:
    """*state* after one more check at *at* that says the same."""
    passed = at if state.health is Health.OK and not state.failures else state.last_passed_at
    token = state.token if state.token.observed_at is None else replace(state.token, observed_at=at)
    pending = {topic: replace(level, sightings=level.sightings + 1) for topic, level in state.pending_levels.items()}
    return replace(
        state,
        last_check_at=at,
        last_evidence_at=at,
        last_passed_at=passed,
        token=token,
        token_sightings=state.token_sightings + _SIGHTINGS,
        pending_levels=pending,
    )


def _fails_at(connection: Connection, state: ConnectionState, policy: Policy, now: datetime) -> datetime | None:
    """When the checks begin to fail because the token has ended; None when it has no end that counts, or fails already."""
    ends = estimate.window(state.token)
    if state.health is not Health.OK or ends is None or renews_itself(state, connection.platform, policy.expiry_for(connection.platform)):
        return None
    if state.last_passed_at is not None and state.last_passed_at >= ends[1]:
        # It passed after that end, which the engine takes as passed a little later.
        return ends[1] + estimate.GRACE
    return schedule.regular_at(connection, state, max(ends[1], now + schedule.SHORTEST), policy)
