"""One evaluation, as values: a check, a listing or the passing of time moves scopes first, then health, token, platform, notifications."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.domain import health
from monitor.domain.connections import Connection
from monitor.domain.copies import quick_init, replace
from monitor.domain.events import FINE, Notification, Transition
from monitor.domain.expiry import estimate, model
from monitor.domain.notifications import decide
from monitor.domain.policy import Policy
from monitor.domain.reasons import CREDENTIAL, UPSTREAM, Health, meaning
from monitor.domain.replies.checks import Observation
from monitor.domain.replies.listings import ListedConnection
from monitor.domain.replies.token_life import TokenLife
from monitor.domain.scopes import platform as platform_scope
from monitor.domain.scopes import rules
from monitor.domain.scopes.api import advance_api, advance_service, explains
from monitor.domain.scopes.key import API, SERVICE, ScopeKey, ScopesAbove
from monitor.domain.scopes.state import ScopeState, clamp_future_scope, clear
from monitor.domain.silencing.acceptance import accept
from monitor.domain.silencing.controls import NO_CONTROLS, Controls
from monitor.domain.states import ConnectionState, clamp_future
from monitor.domain.topics import ScopeContext


@quick_init
@dataclass(frozen=True, slots=True)
class EvaluationInput:
    """
    What must be known to evaluate a connection.

    Attributes:
        scopes: state of every scope above the connection that has one.
        watching_since: since when this process checks without a gap.
        window: how far back API checks count.
        rounding: how the API prints the time that tokens have left, as far as learned.
        followed: the scopes above the connection that another node of a cluster decides.
    """

    connection: Connection
    state: ConnectionState
    above: ScopesAbove
    scopes: Mapping[ScopeKey, ScopeState]
    member_counts: Mapping[ScopeKey, int]
    watching_since: datetime
    window: timedelta
    rounding: model.Rounding = model.Rounding.UNKNOWN
    controls: Controls = NO_CONTROLS
    followed: Collection[ScopeKey] = frozenset()


@quick_init
@dataclass(frozen=True, slots=True)
class Evaluation:
    """
    What an evaluation changed, and what is to be recorded and notified, in order.

    Attributes:
        connection, state: the connection and its new state; None when only scopes were evaluated.
        next_check: from the check to the connection's next one; None when no check was evaluated.
        canary, probe: the scope above that lets only canaries through, or that is suspected, and how far apart its checks are.
        usual: it was the usual case (`usual_case`): the row of history, if it was a check, says all that is kept over a restart.
    """

    connection: Connection | None
    state: ConnectionState | None
    scopes: Mapping[ScopeKey, ScopeState] = field(default_factory=dict)
    transitions: tuple[Transition, ...] = ()
    notifications: tuple[Notification, ...] = ()
    next_check: timedelta | None = None
    canary: tuple[ScopeKey, timedelta] | None = None
    probe: tuple[ScopeKey, timedelta] | None = None
    usual: bool = False


def evaluate_check(known: EvaluationInput, observation: Observation, policy: Policy, elsewhere_at: datetime | None = None) -> Evaluation:
    """Everything that follows from *observation*; *elsewhere_at* is when another account was last answered."""
    now = observation.at
    known = _with_acceptance(_without_future(known, now), now, policy)
    before = {key: known.scopes.get(key) or clear(key) for key in known.above.all}
    after = update_scopes(
        before,
        observation,
        policy,
        window=known.window,
        member_counts=known.member_counts,
        elsewhere_at=elsewhere_at,
        last_check=rules.LastCheck(known.state.last_reason, known.state.last_check_at),
        followed=known.followed,
    )
    frozen = _context(known, after, known.state, now, policy).frozen_by is not None
    known = replace(known, state=_after_scope_recovery(known, after))
    state = health.advance(known.connection, known.state, observation, policy, frozen=frozen)
    state = _with_named_cause(known, state, after[known.above.platform])
    state = _apply_token(known, state, observation, policy)
    state = _without_explained_changes(known, state, after)
    platform = known.above.platform
    several = known.member_counts.get(platform, 1) >= policy.scopes.platform_count
    if several and not frozen and platform_scope.is_sign(known.state, state):
        after[platform] = platform_scope.suspected(after[platform], observation.verdict, now, policy.scopes, known.window)
    after[platform] = platform_scope.explained(after[platform], state, observation.verdict, now)
    decision = decide.decide(
        known.connection,
        known.state,
        state,
        now,
        policy,
        _context(known, after, state, now, policy),
        evidence=meaning(observation.verdict.reason).health is not None,
        controls=known.controls,
    )
    return _gather(known, decision, before, after, now, policy)


def update_scopes(
    states: Mapping[ScopeKey, ScopeState],
    observation: Observation,
    policy: Policy,
    *,
    window: timedelta,
    member_counts: Mapping[ScopeKey, int],
    elsewhere_at: datetime | None = None,
    last_check: rules.LastCheck = rules.NO_CHECK,
    followed: Collection[ScopeKey] = frozenset(),
) -> dict[ScopeKey, ScopeState]:
    """
    The *states* of scopes, the wider before the narrower, after *observation*; those that it says nothing about are unchanged.

    *elsewhere_at* is when another account was last answered, *last_check* the previous check of the same connection; *followed*
    scopes are decided elsewhere.
    """
    after = dict(states)
    for key, scope in states.items():
        if key in followed or not rules.applies_to(key, observation):
            continue
        state, members = clamp_future_scope(scope, observation.at), member_counts.get(key, 1)
        if key.kind == SERVICE:
            api = _of_kind(after, API)
            after[key] = advance_service(
                state,
                api,
                observation,
                policy.scopes,
                window=window,
                members=members,
                total=member_counts.get(api.key, 1),
                elsewhere_at=elsewhere_at,
            )
        elif key.kind != API:
            after[key] = rules.advance(state, observation, policy.scopes, members=members, before=last_check)
        elif not explains(_of_kind(states, SERVICE), observation):
            after[key] = advance_api(state, observation, policy.scopes, window=window, members=members, elsewhere_at=elsewhere_at)
    return after


def _of_kind(states: Mapping[ScopeKey, ScopeState], kind: str) -> ScopeState:
    return next((state for state in states.values() if state.key.kind == kind), None) or clear(ScopeKey(kind))


def evaluate_listing(
    known: EvaluationInput, row: ListedConnection, now: datetime, policy: Policy, *, server_at: datetime | None = None
) -> Evaluation:
    """Everything that follows from one *row* of the API's list, which came at *now*; *server_at* is the list's `Date`."""
    state, platform = known.state, known.connection.platform
    belief, change = estimate.apply_listing(
        state.token, row, at=now, server_at=server_at, platform=platform, policy=policy.expiry_for(platform)
    )
    agrees = change is None and belief.status == state.token.status and belief.exact_at == state.token.exact_at
    state = replace(
        state,
        token=belief,
        token_sightings=state.token_sightings + 1 if agrees else 1,
        username=row.username or state.username,
        display_name=row.display_name or state.display_name,
    )
    state = health.with_server_clock(state, now, server_at)
    state = health.record_posts(state, row.last_successful_post_at, row.last_error, now)
    return evaluate_at(replace(known, state=state), now, policy)


def evaluate_at(known: EvaluationInput, now: datetime, policy: Policy) -> Evaluation:
    """Everything that follows for the connection from the passing of time alone."""
    known = _with_acceptance(_without_future(known, now), now, policy)
    context = _context(known, known.scopes, known.state, now, policy)
    decision = decide.decide(known.connection, known.state, known.state, now, policy, context, evidence=False, controls=known.controls)
    return Evaluation(known.connection, decision.state, {}, decision.transitions, decision.notifications)


def evaluate_scopes(
    before: Mapping[ScopeKey, ScopeState], after: Mapping[ScopeKey, ScopeState], now: datetime, policy: Policy, controls: Controls
) -> Evaluation:
    """What follows from the change of scopes from *before* to *after*."""
    changed: dict[ScopeKey, ScopeState] = {}
    transitions: list[Transition] = []
    notifications: list[Notification] = []
    for key, state in after.items():
        decision = decide.decide_scope(state, before[key], now, policy, controls)
        if decision.state is not before[key]:
            changed[key] = decision.state
        transitions += decision.transitions
        notifications += decision.notifications
    return Evaluation(None, None, changed, tuple(transitions), tuple(notifications))


def evaluate_removal(connection: Connection, state: ConnectionState, now: datetime, policy: Policy) -> Evaluation:
    """What follows when *connection* is no longer monitored: its incidents close."""
    decision = decide.close_removed(connection, state, now, policy)
    return Evaluation(connection, decision.state, {}, decision.transitions, decision.notifications)


def scope_context(
    connection: Connection,
    state: ConnectionState,
    above: ScopesAbove,
    scopes: Mapping[ScopeKey, ScopeState],
    watching_since: datetime,
    now: datetime,
    policy: Policy,
    window: timedelta,
) -> ScopeContext:
    """The open scopes above *connection* in *state*, and since when it is checked; *window*: how far back API checks count."""
    frozen_by = recovered_at = None
    resumed_at = watching_since
    outages: list[tuple[datetime | None, datetime | None]] = []
    for key in above.all:
        scope = scopes.get(key)
        if scope is None or key is above.platform or key is above.group:
            continue
        if key is not above.rate:
            outages.append(_span(scope))
        if scope.closed_at is not None:
            watching_since = max(watching_since, scope.closed_at)
            recovered_at = max(recovered_at or scope.closed_at, scope.closed_at) if key is not above.rate else recovered_at
        # Missing evidence that a wider cause may explain makes nothing stale, not even before that is certain.
        if scope.open or scope.suspect_at is not None:
            watching_since = now
        if scope.open and key is not above.rate:
            frozen_by = frozen_by or key
    covered_by, hold_until, recovered = _platform_context(connection, state, above, scopes, policy, window)
    outages += [_span(scope) for key in (above.platform, above.group) if (scope := scopes.get(key)) is not None and scope.hides_state]
    recovered_at = max((at for at in (recovered_at, recovered) if at is not None), default=None)
    spans = tuple((opened_at, closed_at) for opened_at, closed_at in outages if opened_at is not None)
    repaired_with = next((key for key in (above.platform, above.group) if _tells_repair(scopes.get(key), connection)), None)
    suspected = scopes.get(above.platform)
    alike_at = suspected.last_bad_at if suspected is not None and suspected.reason in UPSTREAM else None
    return ScopeContext(
        frozen_by, covered_by or frozen_by, watching_since, hold_until, recovered_at, spans, resumed_at, repaired_with, alike_at
    )


def _tells_repair(scope: ScopeState | None, connection: Connection) -> bool:
    """Whether receivers know of an open incident that asks to reconnect *connection*, with others."""
    if scope is None or not scope.open or scope.reason not in CREDENTIAL:
        return False
    return connection.id in scope.members and scope.topic.notified.level != FINE


def hiding_scope(context: ScopeContext, scopes: Mapping[ScopeKey, ScopeState]) -> ScopeKey | None:
    """The scope whose open incident hides what the state of a connection is; one that only shares its cause hides nothing."""
    key = context.frozen_by or context.suppressed_by
    return key if key is not None and scopes[key].hides_state else None


def _span(scope: ScopeState) -> tuple[datetime | None, datetime | None]:
    """When the last incident of *scope* opened and closed; None for one that never did."""
    return scope.topic.opened_at, None if scope.open else scope.closed_at


def _platform_context(
    connection: Connection,
    state: ConnectionState,
    above: ScopesAbove,
    scopes: Mapping[ScopeKey, ScopeState],
    policy: Policy,
    window: timedelta,
) -> tuple[ScopeKey | None, datetime | None, datetime | None]:
    """Which of platform and group covers the connection, until when they may hold it, and since when they work again."""
    covered_by = hold_until = recovered_at = None
    for key in (above.platform, above.group):
        scope = scopes.get(key)
        if scope is None:
            continue
        hold_until = platform_scope.hold_until(scope, policy.scopes) or hold_until
        covered_by = covered_by or (key if _is_covered(connection, state, scope, policy, window) else None)
        closed_at = scope.closed_at
        if closed_at is not None and state.health is Health.ERROR and state.since is not None and state.since < closed_at:
            recovered_at = max(recovered_at or closed_at, closed_at)
    return covered_by, hold_until, recovered_at


def _is_covered(connection: Connection, state: ConnectionState, scope: ScopeState, policy: Policy, window: timedelta) -> bool:
    if not scope.open:
        return False
    member = platform_scope.member(connection, state)
    return member is not None and platform_scope.covers(scope, member, platform_scope.reach(policy.scopes, window))


def _context(
    known: EvaluationInput, scopes: Mapping[ScopeKey, ScopeState], state: ConnectionState, now: datetime, policy: Policy
) -> ScopeContext:
    return scope_context(known.connection, state, known.above, scopes, known.watching_since, now, policy, known.window)


def _without_future(known: EvaluationInput, now: datetime) -> EvaluationInput:
    """*known* after the wall clock was set back; unchanged when it was not."""
    state = clamp_future(known.state, now)
    scopes = {key: clamp_future_scope(scope, now) for key in known.above.all if (scope := known.scopes.get(key)) is not None}
    since = min(known.watching_since, now)
    if state is known.state and since == known.watching_since and all(scopes[key] is known.scopes[key] for key in scopes):
        return known
    return replace(known, state=state, scopes={**known.scopes, **scopes}, watching_since=since)


def _with_acceptance(known: EvaluationInput, now: datetime, policy: Policy) -> EvaluationInput:
    """*known* after a loss of permissions that was accepted meanwhile: before any check that tells of a later one."""
    acceptance = known.controls.accepted.get(known.connection.id)
    state = accept(known.connection, known.state, acceptance, now, policy)
    return known if state is known.state else replace(known, state=state)


def _after_scope_recovery(known: EvaluationInput, states: Mapping[ScopeKey, ScopeState]) -> ConnectionState:
    """The connection's state without evidence from before a scope incident that is over: two fresh checks are needed."""
    state, pending = known.state, known.state.pending
    if pending is None and state.pending_cause is None:
        return state
    above, pending_cause = known.above, state.pending_cause
    closed = [states[key].closed_at for key in above.all if key is not above.platform and key is not above.group and key in states]
    if pending is not None and any(at is not None and pending.first_at < at for at in closed):
        pending = None
    if pending_cause is not None and any(at is not None and pending_cause.first_at < at for at in closed):
        pending_cause = None
    if pending is state.pending and pending_cause is state.pending_cause:
        return state
    return replace(state, pending=pending, pending_cause=pending_cause)


def _with_named_cause(known: EvaluationInput, state: ConnectionState, platform: ScopeState) -> ConnectionState:
    """The failing connection's state with the cause that it had, where it shows a text that nobody knows while its platform has trouble."""
    before, failure = known.state.failure, state.failure
    if before is None or failure is None or before.cause is None or known.state.health is not Health.ERROR:
        return state
    if not platform_scope.hides_cause(platform, before.cause, state):
        return state
    same = replace(failure, cause=before.cause, detail=before.detail, cause_since=before.cause_since)
    return replace(state, pending_cause=None, failure=same)


def _without_explained_changes(known: EvaluationInput, state: ConnectionState, scopes: Mapping[ScopeKey, ScopeState]) -> ConnectionState:
    """The connection's state without changes of health within an incident of its platform or group, and just after it: it does not flap."""
    if not state.changes:
        return state
    connection, above, notified = known.connection, known.above, platform_scope.is_notified(state)
    wider = [scopes[key] for key in (above.platform, above.group) if key in scopes]
    spans = [_span(scope) for scope in wider if scope.hides_state or (connection.id in scope.members and not notified)]
    margin = connection.interval

    def explained(change: datetime) -> bool:
        return any(began is not None and began <= change and (ended is None or change <= ended + margin) for began, ended in spans)

    if not any(map(explained, state.changes)):
        return state
    return replace(state, changes=tuple(change for change in state.changes if not explained(change)))


def _apply_token(known: EvaluationInput, state: ConnectionState, observation: Observation, policy: Policy) -> ConnectionState:
    reply = observation.reply
    if reply is None:
        return state
    artefact = estimate.is_artefact(state.token.status, known.connection.platform)
    belief, change = estimate.apply(
        state.token,
        TokenLife() if artefact else reply.token,
        passed=reply.passed,
        sent_at=observation.sent_at,
        at=observation.at,
        server_at=observation.server_at,
        policy=policy.expiry_for(known.connection.platform),
        rounding=known.rounding,
    )
    agrees = change is None and belief.says is state.token.says
    if known.state.health is Health.ERROR and state.health is Health.OK and belief.status == "expired":
        # The list is older than the repair that the checks have just shown.
        belief = replace(belief, status=None)
    return replace(state, token=belief, token_sightings=state.token_sightings + 1 if agrees else 1)


def _gather(
    known: EvaluationInput,
    decision: decide.Decision[ConnectionState],
    before: Mapping[ScopeKey, ScopeState],
    after: Mapping[ScopeKey, ScopeState],
    now: datetime,
    policy: Policy,
) -> Evaluation:
    changed = {key: state for key, state in after.items() if state is not before[key]}
    followed = {key: changed.pop(key) for key in known.followed if key in changed}
    wider = evaluate_scopes(before, changed, now, policy, known.controls)
    return Evaluation(
        known.connection,
        decision.state,
        {**wider.scopes, **followed},
        (*wider.transitions, *decision.transitions),
        (*wider.notifications, *decision.notifications),
    )
