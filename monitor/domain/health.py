"""
How evidence moves health.

    unknown --ok--> ok <--2 x ok-- error | missing | misconfigured
       |            |                        ^
       |            +--n x contrary----------+      n by kind, spaced, not older than three intervals
       +--n x bad---------------------------->
    any --unsupported--> unsupported --ok--> ok

Inconclusive checks never change health: they only let it grow old. `levels` and `notices` turn health
into incidents and notifications.
"""

from datetime import datetime, timedelta

from monitor.domain.checks import LastError, Observation, Reply
from monitor.domain.connections import Connection
from monitor.domain.copies import replace
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health, Outcome, meaning
from monitor.domain.states import ConnectionState, PendingHealth
from monitor.errors import Reason

# Times that the API tells may be ahead of our clock by so much; what it says of later ones cannot be true.
_AHEAD = timedelta(minutes=5)


def posted(state: ConnectionState, posted_at: datetime | None, error: LastError | None, now: datetime) -> ConnectionState:
    """
    *state* with what an answer of *now* tells of posts: the last good one, and the last error.

    A time that is yet to come is not believed: it would make every failure a doubtful one, for ever. Both are told by tests and by
    lists; that one answer knows of none takes nothing back.
    """
    latest = now + _AHEAD
    if posted_at is not None and posted_at > latest:
        posted_at = None
    if error is not None and error.occurred_at is not None and error.occurred_at > latest:
        error = replace(error, occurred_at=None)
    known = state.last_successful_post_at
    if posted_at is not None and known is not None:
        posted_at = max(posted_at, known)
    return replace(state, last_successful_post_at=posted_at or known, last_error=error or state.last_error)


def advance(connection: Connection, state: ConnectionState, observation: Observation, policy: Policy, *, frozen: bool) -> ConnectionState:
    """
    The state after *observation*.

    *frozen* says that a wider cause (account, user, API, storage) is open: evidence is remembered but confirms nothing.
    """
    at = observation.at
    told = meaning(observation.verdict.reason)
    seen = replace(
        state,
        since=state.since or at,
        last_check_at=at,
        last_reason=observation.verdict.reason,
        last_detail=observation.verdict.detail,
    )
    if told.health is None:
        return seen
    remembered = _remember(connection, seen, observation, passed=told.outcome is Outcome.PASSED, failed=told.outcome is Outcome.FAILED)
    if frozen:
        return replace(remembered, pending=None)
    return _confirm(connection, remembered, told.health, observation, policy)


def _remember(connection: Connection, state: ConnectionState, observation: Observation, *, passed: bool, failed: bool) -> ConnectionState:
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
    state = posted(state, reply.last_successful_post_at, reply.last_error, at)
    return _remember_reply(connection, state, reply, passed=passed)


def _remember_reply(connection: Connection, state: ConnectionState, reply: Reply, *, passed: bool) -> ConnectionState:
    known, missing = state.permissions, state.permissions_missing
    if passed and reply.permissions:
        granted = set(reply.permissions)
        missing = tuple(sorted((set(known) | set(connection.require_permissions)) - granted))
        known = tuple(sorted(granted | set(known)))
    return replace(
        state,
        username=reply.username or state.username,
        permissions=known,
        permissions_missing=missing,
    )


def _confirm(connection: Connection, state: ConnectionState, target: Health, observation: Observation, policy: Policy) -> ConnectionState:
    at = observation.at
    if target is state.health:
        return replace(state, pending=None)
    pending = _count(state.pending, target, at, policy, connection.interval)
    over = policy.confirm.missing_over if target is Health.MISSING else timedelta(0)
    if pending.count < confirmations(state.health, target, observation.verdict.reason, policy) or at - pending.first_at < over:
        return replace(state, pending=pending)
    # What a receiver would hear of counts for flapping; between `ok` and `unsupported` nothing is told.
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


def _count(pending: PendingHealth | None, target: Health, at: datetime, policy: Policy, interval: timedelta) -> PendingHealth:
    # With intervals shorter than the pause before a re-check, rounds are counted in these pauses.
    fresh = policy.pending_rounds * max(interval, policy.recheck, policy.spacing)
    if pending is None or pending.health is not target or at - pending.last_at > fresh:
        return PendingHealth(target, 1, at, at)
    if at - pending.last_at < policy.spacing:
        return pending
    return replace(pending, count=pending.count + 1, last_at=at)


def confirmations(health: Health, target: Health, reason: Reason, policy: Policy) -> int:
    """How many spaced observations of *target* are needed to leave *health*."""
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
