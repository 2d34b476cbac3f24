"""
The usual case of a check: a working connection still works, its token lasts as believed, and nothing is pending.

`steady` comes to the very state that the full evaluation (`evaluation.evaluate_check`) comes to, at a fraction of its cost, or
declines; `steady_listing` does the same for a row of a list, `count_passed` for a scope that counts checks. Such a check writes its row
of history only, such a row nothing: no state document and no version. `resumed` brings a stored state up to date with the newest check.

A stored document is a day old at most, and its interval of the token's end is less than twice as wide as the one in memory: the
first check of a day, and one that halves the interval, are not steady.
"""

from datetime import datetime, timedelta

from monitor.domain.connections import Connection
from monitor.domain.copies import replace
from monitor.domain.events import FINE
from monitor.domain.expiry import estimate, levels
from monitor.domain.expiry.interval import DATE_STEP, Interval, end_of, printed_by, with_skew
from monitor.domain.expiry.model import Rounding, TokenBelief
from monitor.domain.health import MAX_CLOCK_LEAD, with_server_clock
from monitor.domain.policy import ExpiryPolicy, Policy, ScopePolicy
from monitor.domain.reasons import Health
from monitor.domain.replies.checks import LastError, Observation, Reply
from monitor.domain.replies.listings import ListedConnection
from monitor.domain.replies.token_life import TokenLife, TokenSays
from monitor.domain.scopes.api import bucket_width
from monitor.domain.scopes.state import Bucket, RecoveryWindow, ScopeState
from monitor.domain.states import TOLERANCE, ConnectionState, SuppressionReason
from monitor.domain.topics import failed_post_at
from monitor.errors import Reason

# The server's clock may have moved against ours by this much since the last print: `Date` has whole seconds.
_CLOCK_JITTER = 2 * DATE_STEP

_NO_LIFE = TokenLife()


def steady(
    connection: Connection, state: ConnectionState, observation: Observation, policy: Policy, *, rounding: Rounding
) -> ConnectionState | None:
    """Return the state after *observation*; None when it takes the full evaluation. Only while every scope above is quiet (`is_quiet`)."""
    reply, at = observation.reply, observation.at
    if reply is None or observation.verdict.reason is not Reason.OK:
        return None
    if with_server_clock(state, at, observation.server_at) is not state or not (
        _is_calm(connection, state, at, policy) and _same_day(state.last_check_at, at) and _says_nothing_new(connection, state, reply, at)
    ):
        return None
    expiry = policy.expiry_for(connection.platform)
    token = _token(connection, state.token, reply, observation, rounding)
    if token is None or not _lasts(token, connection.platform, at, expiry) or _publishing_fails(state, at, policy):
        return None
    detail = observation.verdict.detail
    return replace(
        state,
        detail=detail,
        last_check_at=at,
        last_evidence_at=at,
        last_passed_at=at,
        last_detail=detail,
        token=token,
        token_sightings=state.token_sightings + 1,
        next_evaluation_at=_next_evaluation_at(connection, token, at, policy, expiry, since=at),
    )


def steady_listing(
    connection: Connection,
    state: ConnectionState,
    row: ListedConnection,
    at: datetime,
    policy: Policy,
    *,
    server_at: datetime | None,
    since: datetime,
) -> ConnectionState | None:
    """
    Return the state after *row* of a list, which came *at* our clock with the `Date` *server_at*; None as for `steady`.

    *since*: the later of the last evidence and the moment since when the connection is checked without a gap.
    """
    named = (row.username or state.username, row.display_name or state.display_name) == (state.username, state.display_name)
    posts = _no_other_post(state, row.last_successful_post_at, row.last_error, at)
    calm = _is_calm(connection, state, at, policy) and _same_day(state.last_check_at, at)
    if not (named and posts and calm) or with_server_clock(state, at, server_at) is not state:
        return None
    expiry = policy.expiry_for(connection.platform)
    token, change = estimate.apply_listing(state.token, row, at=at, server_at=server_at, platform=connection.platform, policy=expiry)
    next_at = _next_evaluation_at(connection, token, at, policy, expiry, since=since)
    confirmed = change is None and _is_confirmed(state.token, token) and next_at > at
    if not confirmed or not _lasts(token, connection.platform, at, expiry) or _publishing_fails(state, at, policy):
        return None
    return replace(state, token=token, token_sightings=state.token_sightings + 1, next_evaluation_at=next_at)


def _is_confirmed(belief: TokenBelief, token: TokenBelief) -> bool:
    """Whether *token* says no more than *belief* did, but for a slightly narrower interval."""
    before, after = estimate.window_from_text(belief), estimate.window_from_text(token)
    jitter = abs(token.server_ahead - belief.server_ahead)
    if (before and _order(before.width)) != (after and _order(after.width)) or jitter > _CLOCK_JITTER:
        return False
    kept = replace(belief, observed_at=token.observed_at, server_ahead=token.server_ahead)
    return token == replace(kept, earliest_at=token.earliest_at, latest_at=token.latest_at)


def _is_calm(connection: Connection, state: ConnectionState, at: datetime, policy: Policy) -> bool:
    """Whether the connection works, and neither its state nor the passing of time has anything pending."""
    if state.health is not Health.OK or state.last_reason is not Reason.OK or state.reason is not Reason.OK:
        return False
    if state.pending is not None or state.pending_levels or state.notice_pending or state.permissions_missing or state.failures:
        return False
    if state.suppression is not SuppressionReason.NOTHING_NEW or state.first_failed_at is not None or not state.passed_before:
        return False
    if state.changes and at - state.changes[-1] < policy.flap.calm_for(connection.interval):
        return False
    return _all_fine(state, at) and _none_ahead(state, at)


def _all_fine(state: ConnectionState, at: datetime) -> bool:
    """Whether no incident is open, and the receivers know."""
    latest = at + TOLERANCE
    for value in state.topics.values():
        notified = value.notified
        if value.level != FINE or notified.level != FINE:
            return False
        if (value.since is not None and value.since > latest) or (notified.at is not None and notified.at > latest):
            return False
    return True


def _none_ahead(state: ConnectionState, at: datetime) -> bool:
    """Whether the wall clock was not set back."""
    latest = at + TOLERANCE
    moments = (state.since, state.last_check_at, state.last_evidence_at, state.token.observed_at)
    return state.since is not None and all(moment is None or moment <= latest for moment in moments)


def _same_day(before: datetime | None, at: datetime) -> bool:
    return before is not None and before.day == at.day and before <= at < before + timedelta(days=1)


def _says_nothing_new(connection: Connection, state: ConnectionState, reply: Reply, at: datetime) -> bool:
    """Whether *reply* leaves names, permissions and posts as they are."""
    if reply.username and reply.username != state.username:
        return False
    granted = reply.permissions
    if granted and (granted != state.permissions or not set(connection.require_permissions) <= set(granted)):
        return False
    return _no_other_post(state, reply.last_successful_post_at, reply.last_error, at)


def _no_other_post(state: ConnectionState, posted: datetime | None, error: LastError | None, at: datetime) -> bool:
    """Whether the last successful post and the last posting error of an answer are those that are known."""
    latest, previous = at + state.server_ahead + MAX_CLOCK_LEAD, state.last_successful_post_at
    if posted is not None and posted <= latest and (previous is None or posted > previous):
        return False
    return error is None or (error == state.last_error and (error.occurred_at is None or error.occurred_at <= latest))


def _token(connection: Connection, belief: TokenBelief, reply: Reply, observation: Observation, rounding: Rounding) -> TokenBelief | None:
    """Return the belief after a reply that confirms it; None for any other."""
    life = _NO_LIFE if estimate.is_artefact(belief.status, connection.platform) else reply.token
    if life.says is not belief.says:
        return None
    if life.says is TokenSays.LEFT:
        return _narrowed(belief, life, observation, rounding)
    if life.says is not TokenSays.NOTHING or belief.nulls != estimate.NULLS_THAT_CLEAR or belief.disagrees or belief.unit is not None:
        return None
    if not (belief.expired_at is belief.earliest_at is belief.latest_at is None):
        return None
    return replace(belief, observed_at=observation.at)


def _narrowed(belief: TokenBelief, life: TokenLife, observation: Observation, rounding: Rounding) -> TokenBelief | None:
    """Return *belief* narrowed by one print; None when the print contradicts it, or says much more than was known."""
    at, server_at, exact_at = observation.at, observation.server_at, belief.exact_at
    if belief.earliest_at is None or belief.latest_at is None or belief.expired_at is not None or belief.nulls:
        return None
    if life.unit != belief.unit or (Rounding.FLOOR if life.below else rounding) is not belief.rounding or with_skew(at, server_at):
        return None
    ahead = timedelta(0) if server_at is None else server_at + DATE_STEP / 2 - at
    if abs(ahead - belief.server_ahead) > _CLOCK_JITTER or (exact_at is not None and exact_at + estimate.GRACE < at):
        return None
    before = Interval(belief.earliest_at, belief.latest_at)
    ends = before.intersect(end_of(life, printed_by(observation.sent_at, at, server_at), rounding))
    if ends is None or _order(ends.width) != _order(before.width) or estimate.disagree(exact_at, ends) is not belief.disagrees:
        return None
    return replace(belief, earliest_at=ends.earliest_at, latest_at=ends.latest_at, observed_at=at, server_ahead=ahead)


def _order(width: timedelta) -> int:
    """The power of two just above *width* in seconds, as its exponent."""
    return int(width.total_seconds()).bit_length()


def _lasts(token: TokenBelief, platform: str, at: datetime, policy: ExpiryPolicy) -> bool:
    """Whether the token is far from every threshold, and no renewal of it is overdue."""
    if token.status in ("expired", "expiring_soon") or levels.renewal_overdue(token, at, policy):
        return False
    ends = estimate.window(token)
    if ends is None or not policy.thresholds or not estimate.has_estimate(token.status, platform, policy):
        return True
    if ends[1] + estimate.GRACE <= at:
        return False
    return ends[1] - at > max(policy.thresholds) or levels.auto_renewing(token)


def _publishing_fails(state: ConnectionState, at: datetime, policy: Policy) -> bool:
    """Whether the last post failed not long ago."""
    failed_at = failed_post_at(state)
    return failed_at is not None and at - state.by_our_clock(failed_at) <= policy.publishing_fresh


def _next_evaluation_at(
    connection: Connection, token: TokenBelief, at: datetime, policy: Policy, expiry: ExpiryPolicy, *, since: datetime
) -> datetime:
    """Return when, after *at*, a connection without evidence *since* then becomes stale, or its token comes near a threshold."""
    first = since + policy.stale_for(connection.interval)
    for moment in levels.crossings(token, expiry):
        if at < moment < first:
            first = moment
    return first


def is_quiet(scope: ScopeState) -> bool:
    """Whether a scope is clear, receivers know, and nothing that makes it suspected is counted."""
    return scope.settled and scope.streak is None


def last_incident_at(scope: ScopeState) -> datetime | None:
    """Return the latest moment that a scope remembers, counted checks apart; None when there is none."""
    moments = (scope.last_bad_at, scope.swept_at, scope.closed_at, scope.topic.since, scope.topic.notified.at, *scope.changes[-1:])
    return max((moment for moment in moments if moment is not None), default=None)


def count_passed(scope: ScopeState, observation: Observation, policy: ScopePolicy, *, window: timedelta) -> ScopeState | None:
    """Return a quiet scope that counts checks after a passed one, as `scopes.api.advance_api` does; *window*: how far back they count."""
    at, buckets, recovery = observation.at, scope.buckets, scope.recovery
    latest = at + TOLERANCE
    counted = (buckets[-1].at if buckets else None, recovery.since if recovery is not None else None, scope.last_good_at)
    if any(moment is not None and moment > latest for moment in counted):
        return None
    horizon = at - window
    if buckets and buckets[0].at <= horizon:
        buckets = tuple(bucket for bucket in buckets if bucket.at > horizon)
    last = buckets[-1] if buckets else None
    if last is not None and at - last.at < bucket_width(policy, window):
        buckets = (*buckets[:-1], replace(last, attempts=last.attempts + 1))
    else:
        buckets = (*buckets, Bucket(at, 1))
    number = observation.connection_id
    if recovery is None:
        recovery = RecoveryWindow(at, 1, 0, number, answered=True)
    else:
        several = recovery.several or number != recovery.first_id
        recovery = replace(recovery, good=recovery.good + 1, several=several, answered=True)
    return replace(scope, buckets=buckets, recovery=recovery)


def resumed(state: ConnectionState, at: datetime, detail: str) -> ConnectionState:
    """
    Return a stored *state* as of the newest check, which passed *at* a later moment with the text *detail*.

    Unchanged unless that check can have been steady: after a clock that was set back, a row may be newer than what followed it.
    """
    if state.last_check_at is None or at <= state.last_check_at or state.health is not Health.OK or state.last_reason is not Reason.OK:
        return state
    if state.pending is not None or state.pending_levels:
        return state
    return replace(
        state,
        detail=detail,
        last_check_at=at,
        last_evidence_at=at,
        last_passed_at=at,
        last_detail=detail,
        token=replace(state.token, observed_at=at),
        token_sightings=state.token_sightings + 1,
    )


def with_next_evaluation(connection: Connection, state: ConnectionState, policy: Policy, watching_since: datetime) -> ConnectionState:
    """Return a `resumed` *state* with the moment of its next evaluation, which its document does not know."""
    at = state.last_check_at
    if at is None or state.next_evaluation_at is None or not _is_calm(connection, state, at, policy):
        return state
    expiry = policy.expiry_for(connection.platform)
    next_at = _next_evaluation_at(connection, state.token, at, policy, expiry, since=max(at, watching_since))
    return state if next_at == state.next_evaluation_at else replace(state, next_evaluation_at=next_at)
