"""Rule: the API, or its service to one account, fails while checks keep failing for long enough; time alone changes nothing."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from monitor.domain.copies import replace
from monitor.domain.policy import ScopePolicy
from monitor.domain.reasons import Outcome, Scope, meaning
from monitor.domain.replies.checks import Observation
from monitor.domain.scopes.key import SERVICE, ScopeKey
from monitor.domain.scopes.state import (
    GOOD_ANSWERS,
    Bucket,
    FailureStreak,
    RecoveryWindow,
    ScopeState,
    closed,
    opened,
    with_failure,
    without_checks,
)
from monitor.errors import Reason

_BUCKETS = 10
_MAX_BUCKETS = 60

# "Another account works" means: within this many canary intervals.
_ELSEWHERE_INTERVALS = 4


def advance_api(
    state: ScopeState,
    observation: Observation,
    policy: ScopePolicy,
    *,
    window: timedelta,
    members: int,
    elsewhere_at: datetime | None = None,
) -> ScopeState:
    """
    Return the state of an API scope with *members* connections after *observation*; checks count for *window* at most.

    *elsewhere_at* is when a check of another account last succeeded: an API that serves another account is not down.
    """
    bad = is_bad(observation.verdict.reason)
    if bad and state.open and elsewhere_at is not None and observation.at - elsewhere_at < _ELSEWHERE_INTERVALS * policy.canary:
        return state
    crashed = _is_crash(observation.verdict.reason, policy, members)
    state = replace(
        state,
        buckets=_count_check(state.buckets, observation, policy, bad=bad, crashed=crashed, window=window),
        streak=next_streak(state.streak, observation) if bad else None,
        recovery=_recovery(state.recovery, observation, policy, bad=bad, crashed=crashed),
    )
    if bad and state.open:
        return with_failure(state, observation)
    if bad or crashed:
        return _suspect(state, observation, policy, members, elsewhere_at, policy.api_notify_for(window))
    return _clear_or_close(state, observation.at, policy, members)


def is_bad(reason: Reason) -> bool:
    """Whether *reason* means a failure of the API, for any connection."""
    effect = meaning(reason)
    return effect.outcome is Outcome.INCONCLUSIVE and effect.scope is Scope.API


def _is_crash(reason: Reason, policy: ScopePolicy, members: int) -> bool:
    """Whether *reason* is a failure of one connection that means a failing API when many connections have it."""
    return reason is Reason.API_VALIDATOR_FAILED or (reason is Reason.CONNECTION_MISSING and members >= policy.attempts)


def decay(state: ScopeState, now: datetime, policy: ScopePolicy, *, window: timedelta, members: int) -> ScopeState:
    """Return the state of an API scope after the passing of time: old checks are dropped, and with them a suspicion."""
    if state.open or state.suspect_at is None:
        return state
    kept = tuple(bucket for bucket in state.buckets if bucket.at > now - window)
    if len(kept) < len(state.buckets):
        state = replace(state, buckets=kept, streak=state.streak if kept else None)
    return _clear_or_close(state, now, policy, members)


def _suspect(
    state: ScopeState,
    observation: Observation,
    policy: ScopePolicy,
    members: int,
    elsewhere_at: datetime | None,
    notify_after: timedelta,
) -> ScopeState:
    since = _down_since(state, observation.at, policy, members)
    if since is None or state.open:
        return _clear_or_close(state, observation.at, policy, members)
    suspect_at = state.suspect_at or since
    state = replace(with_failure(state, observation), suspect_at=suspect_at)
    serves_others = elsewhere_at is not None and elsewhere_at >= suspect_at
    long_enough = observation.at - suspect_at >= policy.open_after
    if not long_enough or serves_others:
        return state
    return replace(opened(state, observation.at, members), notify_at=suspect_at + notify_after)


def _clear_or_close(state: ScopeState, now: datetime, policy: ScopePolicy, members: int) -> ScopeState:
    if not state.open:
        dismissed = state.suspect_at is not None and _down_since(state, now, policy, members) is None
        return replace(state, suspect_at=None) if dismissed else state
    recovery = state.recovery
    if recovery is None or recovery.good < GOOD_ANSWERS or not recovery.answered:
        return state
    long_enough = now - recovery.since >= policy.close_after
    return closed(state, now) if long_enough and (recovery.several or members <= 1) else state


def _down_since(state: ScopeState, now: datetime, policy: ScopePolicy, members: int) -> datetime | None:
    """Return since when the API seems to be down; None when it does not."""
    streak = state.streak
    if streak is not None and streak.count >= policy.attempts and (streak.several or members <= 1):
        return streak.since
    recent = tuple(bucket for bucket in state.buckets if bucket.at > now - policy.window)
    few = sum(bucket.attempts for bucket in recent) < policy.attempts
    return now if _mostly_bad(state.buckets if few else recent, policy, members) else None


def _mostly_bad(buckets: tuple[Bucket, ...], policy: ScopePolicy, members: int) -> bool:
    attempts = sum(bucket.attempts for bucket in buckets)
    bad = sum(bucket.bad for bucket in buckets)
    crashed = sum(bucket.crashed for bucket in buckets)
    several = len({connection_id for bucket in buckets for connection_id in (bucket.first_id, bucket.last_id)} - {None}) > 1
    if attempts < policy.attempts:
        return False
    # A crashed test concerns its connection alone, unless every test of several connections fails.
    if crashed and several and bad + crashed == attempts:
        return True
    return bad >= policy.ratio * attempts and (several or members <= 1)


def bucket_width(policy: ScopePolicy, window: timedelta) -> timedelta:
    """Return how long one bucket counts checks."""
    return max(policy.window / _BUCKETS, window / _MAX_BUCKETS)


def _count_check(
    buckets: tuple[Bucket, ...], observation: Observation, policy: ScopePolicy, *, bad: bool, crashed: bool, window: timedelta
) -> tuple[Bucket, ...]:
    at = observation.at
    connection_id = observation.connection_id if bad or crashed else None
    kept = tuple(bucket for bucket in buckets if bucket.at > at - window)
    last = kept[-1] if kept and at - kept[-1].at < bucket_width(policy, window) else None
    if last is None:
        return (*kept, Bucket(at, 1, int(bad), int(crashed), connection_id, connection_id))
    grown = replace(
        last,
        attempts=last.attempts + 1,
        bad=last.bad + int(bad),
        crashed=last.crashed + int(crashed),
        first_id=connection_id if last.first_id is None else last.first_id,
        last_id=last.last_id if connection_id is None else connection_id,
    )
    return (*kept[:-1], grown)


def next_streak(streak: FailureStreak | None, observation: Observation) -> FailureStreak:
    """The run of bad checks with *observation*."""
    at, connection_id = observation.at, observation.connection_id
    if streak is None:
        return FailureStreak(at, 1, connection_id, sent_at=min(observation.sent_at, at))
    return replace(streak, count=streak.count + 1, several=streak.several or connection_id != streak.first_id)


def _recovery(
    recovery: RecoveryWindow | None, observation: Observation, policy: ScopePolicy, *, bad: bool, crashed: bool
) -> RecoveryWindow | None:
    at, connection_id = observation.at, observation.connection_id
    if recovery is None:
        return None if bad else RecoveryWindow(at, 1, 0, connection_id, answered=not crashed)
    grown = replace(
        recovery,
        good=recovery.good + int(not bad),
        bad=recovery.bad + int(bad),
        several=recovery.several or (not bad and connection_id != recovery.first_id),
        answered=recovery.answered or not (bad or crashed),
    )
    return None if bad and grown.bad >= policy.close_ratio * (grown.good + grown.bad) else grown


def advance_service(
    state: ScopeState,
    api: ScopeState,
    observation: Observation,
    policy: ScopePolicy,
    *,
    window: timedelta,
    members: int,
    total: int,
    elsewhere_at: datetime | None,
) -> ScopeState:
    """
    Return the state of an account's service scope after *observation*.

    Args:
        api: the state of the API scope, after the same observation.
        window: how far back checks count.
        members, total: number of connections of the account, and of all accounts.
        elsewhere_at: when a check of another account last succeeded.
    """
    if total <= members and not state.open:
        return without_checks(state)
    bad = is_bad(observation.verdict.reason) or observation.verdict.reason is Reason.API_VALIDATOR_FAILED
    if not bad:
        state = replace(state, last_good_at=observation.at)
    if not state.open:
        if api.open:
            return without_checks(state)
        serves_others = api.suspect_at is None or (elsewhere_at is not None and elsewhere_at >= api.suspect_at)
        if bad and not serves_others:
            return state
    # A single connection may be slow by itself: it takes two.
    return advance_api(state, observation, policy, window=window, members=max(members, 2))


def served_elsewhere_at(scope: Callable[[ScopeKey], ScopeState], accounts: Iterable[str], account: str) -> datetime | None:
    """Return when a check of another one of *accounts* last succeeded; *scope* gives the state of a scope."""
    others = (scope(ScopeKey(SERVICE, other)).last_good_at for other in accounts if other != account)
    return max((at for at in others if at is not None), default=None)


def explains(service: ScopeState, observation: Observation) -> bool:
    """Whether the open incident of the account's *service* explains *observation*, so that it is no evidence about the API."""
    return service.open and is_bad(observation.verdict.reason)
