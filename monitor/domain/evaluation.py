"""
One check, concluded: everything that follows from one observation, as values.

This is the whole path from evidence to the decision to tell: scopes first (a wider cause may explain the
observation), then the connection's health and token, then its platform, then what is owed to whom.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.domain import health
from monitor.domain.checks import Observation
from monitor.domain.connections import Connection
from monitor.domain.copies import replace
from monitor.domain.events import Notification, Transition
from monitor.domain.expiry import estimate, model
from monitor.domain.listings import ListedConnection
from monitor.domain.notifications import decide
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health, meaning
from monitor.domain.scopes import platform as platform_scope
from monitor.domain.scopes import rules
from monitor.domain.scopes.api import advance_api, advance_service, explains
from monitor.domain.scopes.key import ScopeNames
from monitor.domain.scopes.state import ScopeState, clamp_future_scope
from monitor.domain.silencing.controls import NO_CONTROLS, Controls
from monitor.domain.states import ConnectionState, clamp_future
from monitor.domain.token_life import TokenLife
from monitor.domain.topics import ScopeContext


@dataclass(frozen=True, slots=True)
class EvaluationInput:
    """
    What must be known to conclude a check.

    Attributes:
        scopes: name to state, for every scope above the connection that has one.
        members: scope name to how many connections are below it.
        failing: how many connections of the platform are in error, this one included.
        watching_since: when this daemon began to watch.
        window: how far back API checks count.
        rounding: how the API prints the time that tokens have left, as far as learned.
        controls: what operators do not want to hear.
        elsewhere_at: when another account was last answered.
    """

    connection: Connection
    state: ConnectionState
    scope_names: ScopeNames
    scopes: Mapping[str, ScopeState]
    member_counts: Mapping[str, int]
    failing: int
    watching_since: datetime
    window: timedelta
    rounding: model.Rounding = model.Rounding.UNKNOWN
    controls: Controls = NO_CONTROLS
    elsewhere_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a check changed: the new state, the scopes that changed, and what is to be recorded and told, in order."""

    state: ConnectionState
    scopes: Mapping[str, ScopeState] = field(default_factory=dict)
    transitions: tuple[Transition, ...] = ()
    notifications: tuple[Notification, ...] = ()


def evaluate_check(situation: EvaluationInput, observation: Observation, policy: Policy) -> Evaluation:
    """Everything that follows from *observation*."""
    now = observation.at
    situation = _without_future(situation, now)
    before = {name: situation.scopes.get(name, ScopeState(name)) for name in situation.scope_names.all()}
    after = update_scopes(
        before,
        observation,
        policy,
        window=situation.window,
        members=situation.member_counts,
        elsewhere_at=situation.elsewhere_at,
    )
    frozen = scope_context(situation.scope_names, after, situation.watching_since, now, policy).frozen_by is not None
    situation = replace(situation, state=_after_thaw(situation, after))
    state = health.advance(situation.connection, situation.state, observation, policy, frozen=frozen)
    state = _learn_token(situation, state, observation, policy)
    after[situation.scope_names.platform] = _platform(situation, state, after, now, policy)
    settled = decide.decide(
        situation.connection,
        situation.state,
        state,
        now,
        policy,
        scope_context(situation.scope_names, after, situation.watching_since, now, policy),
        evidence=meaning(observation.verdict.reason).health is not None,
        controls=situation.controls,
    )
    return _gather(settled, before, after, now, policy, situation.controls)


def update_scopes(
    states: Mapping[str, ScopeState],
    observation: Observation,
    policy: Policy,
    *,
    window: timedelta,
    members: Mapping[str, int],
    elsewhere_at: datetime | None = None,
) -> dict[str, ScopeState]:
    """
    The *states* of scopes, the wider before the narrower, after *observation*; those that it says nothing about are unchanged.

    *elsewhere_at* is when another account was last answered.
    """
    after = dict(states)
    for name, scope in states.items():
        if not rules.applies_to(name, observation):
            continue
        known, below = clamp_future_scope(scope, observation.at), members.get(name, 1)
        if known.kind == "service":
            api = _of_word(after, "api")
            everybody = members.get(api.name, 1)
            after[name] = advance_service(
                known,
                api,
                observation,
                policy.scopes,
                window=window,
                members=below,
                everybody=everybody,
                elsewhere_at=elsewhere_at,
            )
        elif known.kind != "api":
            after[name] = rules.advance(known, observation, policy.scopes, members=below)
        elif not explains(_of_word(states, "service"), observation):
            after[name] = advance_api(known, observation, policy.scopes, window=window, members=below, elsewhere_at=elsewhere_at)
    return after


def _of_word(states: Mapping[str, ScopeState], word: str) -> ScopeState:
    return next((state for state in states.values() if state.kind == word), ScopeState(f"{word}:"))


def evaluate_listing(
    situation: EvaluationInput, row: ListedConnection, now: datetime, policy: Policy, *, server_at: datetime | None = None
) -> Evaluation:
    """Everything that follows from one *row* of the API's list, which came at *now*; *server_at* is the list's `Date`."""
    known, own = situation.state, policy.expiry_for(situation.connection.platform)
    belief, change = estimate.apply_listing(
        known.token, row, at=now, server_at=server_at, platform=situation.connection.platform, policy=own
    )
    agrees = change is None and belief.status == known.token.status and belief.exact_at == known.token.exact_at
    state = replace(
        known,
        token=belief,
        token_sightings=known.token_sightings + 1 if agrees else 1,
        username=row.username or known.username,
        display_name=row.display_name or known.display_name,
    )
    state = health.posted(state, row.last_successful_post_at, row.last_error, now)
    return evaluate_at(replace(situation, state=state), now, policy)


def evaluate_at(situation: EvaluationInput, now: datetime, policy: Policy) -> Evaluation:
    """Everything that follows for the connection from the passing of time alone."""
    situation = _without_future(situation, now)
    above = scope_context(situation.scope_names, situation.scopes, situation.watching_since, now, policy)
    settled = decide.decide(
        situation.connection, situation.state, situation.state, now, policy, above, evidence=False, controls=situation.controls
    )
    return Evaluation(settled.state, {}, settled.transitions, settled.notifications)


def scope_context(
    names: ScopeNames, states: Mapping[str, ScopeState], watching_since: datetime, now: datetime, policy: Policy
) -> ScopeContext:
    """What lies above a connection: the first open scope in the order of `Names.all`, and since when it is watched."""
    frozen_by = suppressed_by = None
    gathering_until = thawed_at = None
    for name in names.all():
        state = states.get(name)
        if state is None:
            continue
        if name == names.platform:
            suppressed_by = name if state.open else None
            gathering_until = platform_scope.hold_until(state, policy.scopes)
            continue
        if state.closed_at is not None:
            watching_since = max(watching_since, state.closed_at)
            thawed_at = max(thawed_at or state.closed_at, state.closed_at) if name != names.rate else thawed_at
        # Silence that a wider cause may explain makes nothing stale, not even before that is certain.
        if state.open or state.suspect_at is not None:
            watching_since = now
        if state.open and name != names.rate:
            frozen_by = frozen_by or name
    return ScopeContext(frozen_by, suppressed_by or frozen_by, watching_since, gathering_until, thawed_at)


def _without_future(situation: EvaluationInput, now: datetime) -> EvaluationInput:
    """*situation* after the wall clock was set back; unchanged when it was not."""
    state = clamp_future(situation.state, now)
    states = {name: clamp_future_scope(scope, now) for name, scope in situation.scopes.items() if name in situation.scope_names.all()}
    since = min(situation.watching_since, now)
    if state is situation.state and since == situation.watching_since and all(states[name] is situation.scopes[name] for name in states):
        return situation
    return replace(situation, state=state, scopes={**situation.scopes, **states}, watching_since=since)


def _after_thaw(situation: EvaluationInput, states: Mapping[str, ScopeState]) -> ConnectionState:
    """The connection's state without suspicions from before a scope incident that is over: two fresh looks are needed."""
    state, pending = situation.state, situation.state.pending
    if pending is None:
        return state
    closed = (states[name].closed_at for name in situation.scope_names.all() if name != situation.scope_names.platform and name in states)
    thawed = any(at is not None and pending.first_at < at for at in closed)
    return replace(state, pending=None) if thawed else state


def _learn_token(situation: EvaluationInput, state: ConnectionState, observation: Observation, policy: Policy) -> ConnectionState:
    reply = observation.reply
    if reply is None:
        return state
    artefact = estimate.is_artefact(state.token.status, situation.connection.platform)
    belief, change = estimate.apply(
        state.token,
        TokenLife() if artefact else reply.token,
        passed=reply.passed,
        sent_at=observation.sent_at,
        at=observation.at,
        server_at=observation.server_at,
        policy=policy.expiry_for(situation.connection.platform),
        rounding=situation.rounding,
    )
    agrees = change is None and belief.says is state.token.says
    return replace(state, token=belief, token_sightings=state.token_sightings + 1 if agrees else 1)


def _platform(
    situation: EvaluationInput, state: ConnectionState, states: Mapping[str, ScopeState], now: datetime, policy: Policy
) -> ScopeState:
    was, is_now = situation.state.health is Health.ERROR, state.health is Health.ERROR
    name = situation.scope_names.platform
    return platform_scope.advance_platform(
        states[name],
        situation.connection.id if is_now and not was else None,
        now,
        policy.scopes,
        window=situation.window,
        total=situation.member_counts.get(name, 1),
        failing=situation.failing + int(is_now) - int(was),
    )


def _gather(
    settled: decide.Settled,
    before: Mapping[str, ScopeState],
    after: Mapping[str, ScopeState],
    now: datetime,
    policy: Policy,
    controls: Controls,
) -> Evaluation:
    changed: dict[str, ScopeState] = {}
    transitions: list[Transition] = []
    notifications: list[Notification] = []
    for name, state in after.items():
        if state is before[name]:
            continue
        changed[name], moved, told = decide.decide_scope(state, before[name], now, policy, controls)
        transitions += moved
        notifications += told
    return Evaluation(
        settled.state,
        changed,
        (*transitions, *settled.transitions),
        (*notifications, *settled.notifications),
    )
