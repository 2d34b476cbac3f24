"""Rules: account, user and rate limit; which rule applies to a check, and how often a failing scope is checked."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from monitor.domain.copies import replace
from monitor.domain.events import REMOVED
from monitor.domain.policy import ScopePolicy
from monitor.domain.reasons import Outcome, meaning
from monitor.domain.replies.checks import Observation
from monitor.domain.scopes.api import decay, next_streak
from monitor.domain.scopes.key import ACCOUNT, API, GROUP, PLATFORM, RATE, SERVICE, STORAGE, USER, ScopeKey
from monitor.domain.scopes.state import ScopeState, closed, opened, with_failure
from monitor.errors import Reason

_USER = frozenset({Reason.WORKSPACE_FORBIDDEN, Reason.USER_NOT_MANAGED, Reason.USER_ID_INVALID})
_ANSWERING = frozenset({API, SERVICE})
_WITHOUT_OBSERVATIONS = frozenset({PLATFORM, GROUP, STORAGE.kind})
_REFUSING = frozenset({ACCOUNT, USER})
_KEY = frozenset({Reason.API_UNAUTHORIZED, Reason.API_FORBIDDEN})

# So many refusals in a row mean the account or user, as probes ask about another connection each; fewer, if it has fewer connections.
_REFUSALS = 3
# A refusal that does not name the user means the account only when more are refused: a few of many may be, one after the other.
_REFUSALS_OF_KEY = 7


class LastCheck(NamedTuple):
    """The reason of a connection's last check, and when it was."""

    reason: Reason | None = None
    at: datetime | None = None


NO_CHECK = LastCheck()


def applies_to(key: ScopeKey, observation: Observation) -> bool:
    """Whether *observation* is evidence about the scope *key*."""
    reason = observation.verdict.reason
    kind = key.kind
    if reason is Reason.MONITOR_INTERNAL or kind in _WITHOUT_OBSERVATIONS:
        return False
    if kind in _ANSWERING:
        return True
    effect = meaning(reason)
    answered = effect.outcome is not Outcome.INCONCLUSIVE or reason is Reason.API_VALIDATOR_FAILED
    if kind == USER:
        return answered or reason in _USER
    if kind == RATE:
        return answered or reason is Reason.API_THROTTLED
    return answered or reason in _KEY or reason in _USER


def advance(state: ScopeState, observation: Observation, policy: ScopePolicy, *, members: int, before: LastCheck = NO_CHECK) -> ScopeState:
    """Return an account, user or rate scope with *members* connections after *observation*; *before*: the connection's previous check."""
    if state.kind == RATE:
        return _advance_rate(state, observation, policy, members=members)
    refusals = _USER if state.kind == USER else _KEY
    at = observation.at
    if observation.verdict.reason not in refusals:
        return closed(replace(state, streak=None) if state.streak is not None else state, at)
    if members > 1 and _is_refused_alone(state, before, refusals):
        return state
    suspect_at = state.suspect_at or at
    state = replace(with_failure(state, observation), suspect_at=suspect_at, streak=next_streak(state.streak, observation))
    confirmed = state.streak is not None and state.streak.count >= min(members, _refusals(state))
    if not confirmed or state.open or at - suspect_at < policy.account_confirm:
        return state
    state = opened(state, at, members)
    # First one connection of each other user is looked at: the API may refuse all of them, which is one incident.
    return replace(state, swept_at=at, notify_at=at + policy.open_after / 2) if state.kind == USER else state


def _refusals(state: ScopeState) -> int:
    """How many refusals in a row confirm the failure of a suspected account or user."""
    return _REFUSALS_OF_KEY if state.reason in _KEY else _REFUSALS


def _is_refused_alone(state: ScopeState, before: LastCheck, refusals: frozenset[Reason]) -> bool:
    """Whether the connection was refused before, and others were answered since: then the refusal is about it alone."""
    if state.open or before.at is None or before.reason not in refusals:
        return False
    return state.suspect_at is None or before.at < state.suspect_at


def _advance_rate(state: ScopeState, observation: Observation, policy: ScopePolicy, *, members: int) -> ScopeState:
    """Throttling ends with an answer that comes long enough after the last 429, never by the passing of time alone."""
    at = observation.at
    if observation.verdict.reason is not Reason.API_THROTTLED:
        over = state.last_bad_at is not None and at - state.last_bad_at >= policy.throttled_after / 3
        return closed(state, at) if over else state
    suspect_at = state.suspect_at or at
    state = replace(with_failure(state, observation), suspect_at=suspect_at)
    if state.open or at - suspect_at < policy.throttled_after:
        return state
    # Until the passing of time was applied: it finds whether all accounts are throttled, which is one incident.
    return replace(opened(state, at, members), notify_at=at + policy.open_after / 2)


def advance_limit(limit: ScopeState, rates: Sequence[ScopeState], now: datetime) -> dict[ScopeKey, ScopeState]:
    """Return the states of the API's throttling of all accounts, or refusal of all users, and of each (*rates*), after the passing of time."""
    throttled = [rate for rate in rates if rate.open or rate.suspect_at is not None]
    if not limit.open and len(rates) > 1 and len(throttled) == len(rates) and any(rate.open for rate in rates):
        first = min(throttled, key=lambda rate: rate.suspect_at or now)
        affected = sum(rate.affected for rate in rates)
        limit = replace(limit, suspect_at=first.suspect_at, reason=first.reason, detail=first.detail, last_bad_at=first.last_bad_at)
        limit = replace(opened(limit, now, affected), suspect_at=None)
    elif limit.open and not throttled:
        limit = closed(limit, now, "" if rates else REMOVED)
    elif limit.open and limit.kind == USER:
        limit = replace(limit, last_bad_at=max(rate.last_bad_at or now for rate in throttled))
    return {limit.key: limit} | covered(limit, rates)


def covered(limit: ScopeState, rates: Sequence[ScopeState]) -> dict[ScopeKey, ScopeState]:
    """Return those of *rates* whose incident the open one of *limit* is notified instead of, newly."""
    return {rate.key: replace(rate, covered=True) for rate in rates if limit.open and rate.open and not rate.covered}


def tick(state: ScopeState, now: datetime, policy: ScopePolicy, *, window: timedelta, members: int) -> ScopeState:
    """Return the state of a scope whose rule needs no more after the passing of time."""
    if state.kind in _ANSWERING:
        return decay(state, now, policy, window=window, members=members)
    return state


def canary_interval(state: ScopeState, policy: ScopePolicy) -> timedelta | None:
    """Return the interval of the canary below the scope, the only connection checked; None when all are checked as usual."""
    if state.kind in _ANSWERING and not state.open:
        return None
    return probe_interval(state, policy)


def probe_interval(state: ScopeState, policy: ScopePolicy) -> timedelta | None:
    """Return the interval at which a connection below a suspected or open scope is checked; None when no failure makes it suspected."""
    if state.kind in _ANSWERING:
        suspected = state.suspect_at is not None and state.reason is not None
        return policy.canary if state.open or state.streak is not None or suspected else None
    if state.kind in _REFUSING:
        if state.open:
            return policy.account_canary
        # So that the refusals that confirm it have come when `account_confirm` is over.
        return policy.account_confirm / (_refusals(state) - 1) if state.suspect_at is not None else None
    return None
