"""
How evidence moves health.

    unknown --ok--> ok <--2 x ok-- error | missing | misconfigured
       |            |                        ^
       |            +--n x failed------------+      n by reason; spaced, and not older than three intervals
       +--n x failed------------------------>+
    any --unsupported--> unsupported --ok--> ok, --n x failed--> error | missing | misconfigured

The numbers are those of `policy.confirm`. Inconclusive checks never change health. `evaluation` calls `advance` for each check;
`topics` turns health into levels, and `notifications.decide` levels into incidents and notifications. `usual_case.steady` is a short
way for passed checks: it must come to the same state.
"""

from datetime import datetime, timedelta

from monitor.domain.connections import Connection
from monitor.domain.copies import replace
from monitor.domain.events import Topic
from monitor.domain.policy import Policy
from monitor.domain.reasons import UPSTREAM, Health, Outcome, advice_of, meaning
from monitor.domain.replies.checks import LastError, Observation, Reply
from monitor.domain.states import TOLERANCE, ConnectionState, FailurePeriod, PendingCause, PendingHealth
from monitor.errors import Reason

# The API's clock may be ahead of ours by this much; a later time in its answer is wrong.
MAX_CLOCK_LEAD = timedelta(minutes=5)


def record_posts(state: ConnectionState, posted_at: datetime | None, error: LastError | None, now: datetime) -> ConnectionState:
    """
    Return *state* with the last successful post and the last posting error of an answer that arrived at *now*.

    A time in the future is dropped: it would mark every later failure as a suspected false negative. An answer without posts
    clears nothing, because tests and listings do not report the same ones.
    """
    latest = now + state.server_ahead + MAX_CLOCK_LEAD
    if posted_at is not None and posted_at > latest:
        posted_at = None
    if error is not None and error.occurred_at is not None and error.occurred_at > latest:
        error = replace(error, occurred_at=None)
    previous = state.last_successful_post_at
    if posted_at is not None and previous is not None:
        posted_at = max(posted_at, previous)
    state = replace(state, last_successful_post_at=posted_at or previous, last_error=error or state.last_error)
    failure = _with_failed_post(state.failure, error, state)
    return state if failure is state.failure else replace(state, failure=failure)


def with_server_clock(state: ConnectionState, at: datetime, server_at: datetime | None) -> ConnectionState:
    """Return *state* after an answer *at* our clock with the `Date` *server_at*; the same object while the clocks differ as before."""
    if server_at is None or abs(server_at - at - state.server_ahead) <= TOLERANCE:
        return state
    ahead = server_at - at
    return replace(state, server_ahead=ahead if abs(ahead) > TOLERANCE else timedelta(0))


def _with_failed_post(failure: FailurePeriod | None, error: LastError | None, state: ConnectionState) -> FailurePeriod | None:
    """Count a posting error that is dated within the failure and newer than those counted before."""
    occurred_at = error.occurred_at if error is not None else None
    if failure is None or occurred_at is None or not failure.covers(state.by_our_clock(occurred_at)):
        return failure
    last = failure.last_failed_post_at
    if last is not None and occurred_at <= last:
        return failure
    return replace(failure, failed_posts=failure.failed_posts + 1, last_failed_post_at=occurred_at)


def advance(connection: Connection, state: ConnectionState, observation: Observation, policy: Policy, *, frozen: bool) -> ConnectionState:
    """Return the state after *observation*; *frozen*: a scope incident is open, so evidence is recorded and confirms nothing."""
    at = observation.at
    effect = meaning(observation.verdict.reason)
    checked = replace(
        state,
        since=state.since or at,
        last_check_at=at,
        last_reason=observation.verdict.reason,
        last_detail=observation.verdict.detail,
    )
    if effect.health is None:
        return checked
    with_evidence = _record_evidence(
        connection, checked, observation, passed=effect.outcome is Outcome.PASSED, failed=effect.outcome is Outcome.FAILED
    )
    if frozen:
        return replace(with_evidence, pending=None, pending_cause=None)
    confirmed = _confirm(connection, with_evidence, effect.health, observation, policy)
    return _with_failure(connection, state, confirmed, effect.health, observation, policy)


def _record_evidence(
    connection: Connection, state: ConnectionState, observation: Observation, *, passed: bool, failed: bool
) -> ConnectionState:
    at = observation.at
    state = replace(
        state,
        reason=observation.verdict.reason,
        detail=observation.verdict.detail,
        first_evidence_at=state.first_evidence_at or (None if state.last_evidence_at is not None else at),
        last_evidence_at=at,
        last_passed_at=at if passed else state.last_passed_at,
        failures=state.failures + 1 if failed else 0,
        first_failed_at=(state.first_failed_at or at) if failed else None,
        passed_before=state.passed_before or passed,
    )
    if observation.reply is not None:
        reply = observation.reply
        state = with_server_clock(state, at, observation.server_at)
        state = record_posts(state, reply.last_successful_post_at, reply.last_error, at)
        state = _record_reply(connection, state, reply, passed=passed)
    posted = state.last_successful_post_at
    if failed and posted is not None and state.by_our_clock(posted) > at:
        posted = state.contradicted_at
    contradicted_at = posted if failed else None
    return state if contradicted_at == state.contradicted_at else replace(state, contradicted_at=contradicted_at)


def _record_reply(connection: Connection, state: ConnectionState, reply: Reply, *, passed: bool) -> ConnectionState:
    permissions, missing = state.permissions, state.permissions_missing
    if passed and reply.permissions:
        granted = set(reply.permissions)
        missing = tuple(sorted((set(permissions) | set(connection.require_permissions)) - granted))
        permissions = tuple(sorted(granted | set(permissions)))
    return replace(
        state,
        username=reply.username or state.username,
        permissions=permissions,
        permissions_missing=missing,
        loss_accepted=state.loss_accepted and not missing,
    )


def _confirm(connection: Connection, state: ConnectionState, target: Health, observation: Observation, policy: Policy) -> ConnectionState:
    at = observation.at
    if target is state.health:
        return replace(state, pending=None)
    pending = _count_pending(state.pending, target, at, policy, connection.interval)
    min_duration = policy.confirm.missing_over if target is Health.MISSING else timedelta(0)
    if pending.count < confirmations(state.health, target, observation.verdict.reason, policy) or at - pending.first_at < min_duration:
        return replace(state, pending=pending)
    # Changes between working and broken count for flapping; from one kind of broken to another, only the second and later ones.
    alternates = state.health.broken and target.broken and state.topic(Topic.CONNECTION).notified.causes > 0
    changed = state.health is not Health.UNKNOWN and (state.health.broken is not target.broken or alternates)
    horizon = at - policy.flap.window_for(connection.interval)
    changes = tuple(change for change in state.changes if change > horizon)
    return replace(
        state,
        health=target,
        since=pending.first_at,
        pending=None,
        changes=(*changes, at) if changed else changes,
    )


def _with_failure(
    connection: Connection, before: ConnectionState, state: ConnectionState, target: Health, observation: Observation, policy: Policy
) -> ConnectionState:
    """The confirmed *state* with its failure: what began, ended or has another cause. *before* is the state before the check."""
    at, failure = observation.at, state.failure
    if state.health.broken and (not before.health.broken or failure is None):
        failed_at = state.first_failed_at or state.since or at
        failure = FailurePeriod(failed_at, before.last_passed_at)
        failure = _with_failed_post(failure, state.last_error, state) or failure
    if failure is None:
        return state
    if not state.health.broken:
        ended = replace(failure, ended_at=state.since) if failure.ended_at is None else failure
        return state if ended is failure else replace(state, failure=ended, pending_cause=None)
    if target is not state.health:
        return state
    if state.health is not before.health:
        failure = replace(failure, cause=None)
    return _with_cause(connection, state, failure, observation, policy)


def _with_cause(
    connection: Connection, state: ConnectionState, failure: FailurePeriod, observation: Observation, policy: Policy
) -> ConnectionState:
    """
    The failing *state* with the cause of its failure as far as it is confirmed.

    Reasons that ask for the same work replace each other at once; other work is confirmed by as many checks as the failure was, which
    need not agree with each other: none of them shows the work that is known.
    Trouble that clears by itself replaces no cause that a person must repair: no check has shown the repair.
    """
    at, reason, detail = observation.at, observation.verdict.reason, observation.verdict.detail
    advice = advice_of(reason)
    known = advice_of(failure.cause) if failure.cause is not None else None
    if known is not None and known.needs_action and not advice.needs_action:
        return replace(state, failure=failure)
    if known is advice or known is None:
        since = failure.cause_since if known is advice else state.since
        return replace(state, pending_cause=None, failure=replace(failure, cause=reason, detail=detail, cause_since=since))
    pending = state.pending_cause
    if pending is None or at - pending.last_at > _max_gap(policy, connection.interval):
        pending = PendingCause(advice, 1, at, at)
    elif at - pending.last_at >= policy.spacing:
        first_at = pending.first_at if pending.advice is advice else at
        pending = PendingCause(advice, pending.count + 1, first_at, at)
    if pending.count < confirmations(Health.OK, state.health, reason, policy):
        return replace(state, failure=failure, pending_cause=pending)
    return replace(state, pending_cause=None, failure=replace(failure, cause=reason, detail=detail, cause_since=pending.first_at))


def _max_gap(policy: Policy, interval: timedelta) -> timedelta:
    """How far apart evidence for a change may be: it comes one round apart, which is a re-check pause where intervals are shorter."""
    return policy.pending_rounds * max(interval, policy.recheck, policy.spacing)


def _count_pending(pending: PendingHealth | None, target: Health, at: datetime, policy: Policy, interval: timedelta) -> PendingHealth:
    if pending is None or pending.health is not target or at - pending.last_at > _max_gap(policy, interval):
        return PendingHealth(target, 1, at, at)
    if at - pending.last_at < policy.spacing:
        return pending
    return replace(pending, count=pending.count + 1, last_at=at)


def confirmations(health: Health, target: Health, reason: Reason, policy: Policy) -> int:
    """Return how many spaced observations of *target* are needed to leave *health*."""
    confirm = policy.confirm
    if target is Health.UNSUPPORTED:
        return 1
    if target is Health.OK:
        return 1 if health in {Health.UNKNOWN, Health.UNSUPPORTED} else confirm.successes
    if target is Health.MISSING:
        return confirm.missing
    if target is Health.MISCONFIGURED:
        return confirm.misconfigured
    return confirm.upstream if reason in UPSTREAM else confirm.failures
