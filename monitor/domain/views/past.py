"""The views of connections at an earlier moment, made of what rows tell of it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from monitor.domain.connections import Connection
from monitor.domain.copies import replace
from monitor.domain.evaluation import hiding_scope, scope_context
from monitor.domain.events import Topic
from monitor.domain.expiry import estimate
from monitor.domain.expiry.model import TokenBelief
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health, Outcome, Scope, outcome_of
from monitor.domain.replies.checks import Observation
from monitor.domain.replies.token_life import TokenLife
from monitor.domain.scopes.key import API, ScopeKey, scopes_above
from monitor.domain.scopes.state import ScopeState
from monitor.domain.states import ConnectionState, LastNotified, TopicState
from monitor.domain.views.snapshot import ConnectionView, IncidentView

# The interval may have been another one then.
_LEAST_STALE = timedelta(hours=1)
NOTHING_KNOWN: Mapping[int, ConnectionState] = {}
_HEALTH = {Outcome.PASSED: Health.OK, Outcome.UNSUPPORTED: Health.UNSUPPORTED}


def views_at(
    checks: Iterable[tuple[Connection, Observation | None, Observation | None, TokenLife]],
    incidents: Iterable[IncidentView],
    at: datetime,
    policy: Policy,
    present: Mapping[int, ConnectionState] = NOTHING_KNOWN,
) -> tuple[ConnectionView, ...]:
    """
    The view of each connection at the moment *at*, of its last check until then, its last conclusive one and the *incidents* that were open.

    Health is that of the incident, else of the conclusive check, which gave the token's life; a connection that was not checked for longer than `stale_after` is unknown.

    Names, and the end of a token that is the same one, are those of the *present* state, by connection id.
    """
    open_then = list(incidents)
    own: dict[int, list[IncidentView]] = defaultdict(list)
    for one in open_then:
        if one.connection_id is not None and one.scope is Scope.CONNECTION:
            own[one.connection_id].append(one)
    scopes = {scope.key: scope for scope in (_scope(one) for one in open_then if one.scope is not Scope.CONNECTION)}
    views = []
    for connection, last, evidence, life in checks:
        now, state = present.get(connection.id), ConnectionState()
        if last is not None:
            status = now.token.status if now is not None else None
            state = _state(connection, last, evidence, life, own.get(connection.id, ()), at, policy, status)
        views.append(_view(connection, _with_present(at, state, now), scopes, at, policy))
    return tuple(views)


def _with_present(at: datetime, state: ConnectionState, present: ConnectionState | None) -> ConnectionState:
    """*state* at a moment with the names and the last post that are known now, and the end of its token, narrowed since, if that is the same."""
    if present is None:
        return state
    posted = present.last_successful_post_at
    posted = posted if posted is not None and posted <= at else None
    state = replace(state, display_name=present.display_name, username=present.username, last_successful_post_at=posted)
    then, later = estimate.window_from_text(state.token), estimate.window_from_text(present.token)
    if then is None or (later is not None and then.intersect(later) is None):
        return state
    exact_at = None if estimate.disagree(present.token.exact_at, then) else present.token.exact_at
    if later is None and exact_at is None:
        return state
    ends = later or then
    return replace(state, token=replace(state.token, earliest_at=ends.earliest_at, latest_at=ends.latest_at, exact_at=exact_at))


def _scope(incident: IncidentView) -> ScopeState:
    opened_at = incident.incident.opened_at
    topic = TopicState(incident.level, opened_at, opened_at=opened_at)
    return ScopeState(ScopeKey.parse(incident.incident.subject), topic, reason=incident.reason)


def _view(
    connection: Connection, state: ConnectionState, scopes: Mapping[ScopeKey, ScopeState], at: datetime, policy: Policy
) -> ConnectionView:
    api_host = next((key.name for key in scopes if key.kind == API), "")
    above = scopes_above(connection, api_host)
    own = state.topic(Topic.CONNECTION)
    wider = [scopes[key].topic.opened_at for key in (above.platform, above.group) if key in scopes]
    if own.opened_at is not None and all(opened_at is not None and own.opened_at < opened_at for opened_at in wider):
        # Nothing suppressed its notification when it opened.
        state = replace(state, topics={**state.topics, Topic.CONNECTION: replace(own, notified=LastNotified(own.level))})
    context = scope_context(connection, state, above, scopes, at, at, policy, policy.api_window)
    key = hiding_scope(context, scopes)
    return ConnectionView(connection, state, str(key) if key is not None else None)


def _state(
    connection: Connection,
    last: Observation,
    evidence: Observation | None,
    life: TokenLife,
    incidents: Sequence[IncidentView],
    at: datetime,
    policy: Policy,
    token_status: str | None,
) -> ConnectionState:
    said = evidence or last
    outcome, known_at = outcome_of(said.verdict.reason), evidence.at if evidence is not None else None
    passed = outcome is Outcome.PASSED
    # The texts of a token that the API renews by itself say nothing of its end.
    life = TokenLife() if estimate.is_artefact(token_status, connection.platform) else life
    token, _ = estimate.apply(
        TokenBelief(), life, passed=passed, sent_at=said.at, at=said.at, server_at=None, policy=policy.expiry_for(connection.platform)
    )
    stale = at - last.at > max(policy.stale_for(connection.interval), _LEAST_STALE)
    state = ConnectionState(
        # One failed check without an incident is not confirmed.
        health=Health.UNKNOWN if stale or evidence is None else _HEALTH.get(outcome, Health.OK),
        reason=said.verdict.reason,
        detail=said.verdict.detail,
        last_check_at=last.at,
        last_evidence_at=known_at,
        last_passed_at=known_at if passed else None,
        last_reason=last.verdict.reason,
        last_detail=last.verdict.detail,
        failures=1 if outcome is Outcome.FAILED else 0,
        first_failed_at=known_at if outcome is Outcome.FAILED else None,
        token=token,
    )
    topics = {
        one.incident.topic: TopicState(one.level, one.incident.opened_at, one.incident.number, one.incident.opened_at) for one in incidents
    }
    lost = [one.detail for one in incidents if one.incident.topic is Topic.PERMISSIONS and one.detail]
    state = replace(state, topics=topics, permissions_missing=tuple(lost[0].split(", ")) if lost else ())
    incident = next((one for one in incidents if one.incident.topic is Topic.CONNECTION), None)
    if incident is None or incident.level not in {Health.ERROR, Health.MISSING, Health.MISCONFIGURED}:
        return state
    return replace(
        state,
        health=Health(incident.level),
        since=incident.incident.opened_at,
        reason=incident.reason,
        detail=incident.detail,
        failures=1,
    )
