"""
How evidence moves health.

    unknown --ok--> ok <--2 x ok-- error | missing | misconfigured
       |            |                        ^
       |            +--n x failed------------+      n by reason; spaced, and not older than three intervals
       +--n x failed------------------------>+
    any --unsupported--> unsupported --ok--> ok, --n x failed--> error | missing | misconfigured

The numbers are those of `policy.confirm`. Inconclusive checks never change health. `topics` turns health into levels, and
`notifications.decide` levels into incidents and notifications.
"""

from datetime import datetime, timedelta

from monitor.domain.checks import LastError, Observation, Reply
from monitor.domain.connections import Connection
from monitor.domain.copies import replace
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health, Outcome, meaning
from monitor.domain.states import ConnectionState, PendingHealth
from monitor.errors import Reason

# The API's clock may be ahead of ours by this much; a later time in its answer is wrong.
MAX_CLOCK_LEAD = timedelta(minutes=5)


def record_posts(state: ConnectionState, posted_at: datetime | None, error: LastError | None, now: datetime) -> ConnectionState:
    """
    Return *state* with the last successful post and the last posting error of an answer that arrived at *now*.

    A time in the future is dropped: it would mark every later failure as a suspected false negative. An answer without posts
    clears nothing, because tests and listings do not report the same ones.
    """
    latest = now + MAX_CLOCK_LEAD
    if posted_at is not None and posted_at > latest:
        posted_at = None
    if error is not None and error.occurred_at is not None and error.occurred_at > latest:
        error = replace(error, occurred_at=None)
    previous = state.last_successful_post_at
    if posted_at is not None and previous is not None:
        posted_at = max(posted_at, previous)
    return replace(state, last_successful_post_at=posted_at or previous, last_error=error or state.last_error)


def advance(connection: Connection, state: ConnectionState, observation: Observation, policy: Policy, *, frozen: bool) -> ConnectionState:
    """
    Return the state after *observation*.

    *frozen*: the incident of an account, user, API or storage scope is open; evidence is recorded but confirms nothing.
    """
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
        return replace(with_evidence, pending=None)
    return _confirm(connection, with_evidence, effect.health, observation, policy)


def _record_evidence(
    connection: Connection, state: ConnectionState, observation: Observation, *, passed: bool, failed: bool
) -> ConnectionState:
    at = observation.at
    state = replace(
        state,
        reason=observation.verdict.reason,
        detail=observation.verdict.detail,
        last_evidence_at=at,
        last_passed_at=at if passed else state.last_passed_at,
        failures=state.failures + 1 if failed else 0,
        first_failed_at=(state.first_failed_at or at) if failed else None,
        passed_before=state.passed_before or passed,
    )
    if observation.reply is None:
        return state
    reply = observation.reply
    state = record_posts(state, reply.last_successful_post_at, reply.last_error, at)
    return _record_reply(connection, state, reply, passed=passed)


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
    )


def _confirm(connection: Connection, state: ConnectionState, target: Health, observation: Observation, policy: Policy) -> ConnectionState:
    at = observation.at
    if target is state.health:
        return replace(state, pending=None)
    pending = _count_pending(state.pending, target, at, policy, connection.interval)
    min_duration = policy.confirm.missing_over if target is Health.MISSING else timedelta(0)
    if pending.count < confirmations(state.health, target, observation.verdict.reason, policy) or at - pending.first_at < min_duration:
        return replace(state, pending=pending)
    # Only changes that are notified count for flapping; between `ok` and `unsupported` no incident opens or closes.
    changed = state.health is not Health.UNKNOWN and (state.health.broken or target.broken)
    horizon = at - policy.flap.window
    changes = tuple(change for change in state.changes if change > horizon)
    return replace(
        state,
        health=target,
        since=pending.first_at,
        pending=None,
        changes=(*changes, at) if changed else changes,
    )


def _count_pending(pending: PendingHealth | None, target: Health, at: datetime, policy: Policy, interval: timedelta) -> PendingHealth:
    # Evidence comes one round apart; with intervals shorter than the re-check pause, a round is such a pause.
    max_gap = policy.pending_rounds * max(interval, policy.recheck, policy.spacing)
    if pending is None or pending.health is not target or at - pending.last_at > max_gap:
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
    return confirm.upstream if reason is Reason.PLATFORM_TROUBLE else confirm.failures
