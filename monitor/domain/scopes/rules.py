"""
The rules of account, user and rate limit; which rule applies, and how often a scope in trouble is tested.

Each kind has its own hysteresis: a suspicion must last before its incident opens, and recovery before it closes. While an
incident is open the connections below it are frozen (below a platform: notified as one), and only canaries are tested.
"""

from datetime import datetime, timedelta

from monitor.domain.checks import Observation
from monitor.domain.copies import replace
from monitor.domain.policy import ScopePolicy
from monitor.domain.reasons import Outcome, meaning
from monitor.domain.scopes.api import decay
from monitor.domain.scopes.key import ACCOUNT, API, PLATFORM, RATE, SERVICE, STORAGE, USER, ScopeKey
from monitor.domain.scopes.platform import advance_platform
from monitor.domain.scopes.state import ScopeState, clamp_future_scope, closed, opened, with_failure
from monitor.errors import Reason

_USER = frozenset({Reason.WORKSPACE_FORBIDDEN, Reason.USER_NOT_MANAGED, Reason.USER_ID_INVALID})
_ANSWERING = frozenset({API, SERVICE})
_WITHOUT_OBSERVATIONS = frozenset({PLATFORM, STORAGE.kind})
_REFUSING = frozenset({ACCOUNT, USER})
_KEY = frozenset({Reason.API_UNAUTHORIZED, Reason.API_FORBIDDEN})


def applies_to(key: ScopeKey, observation: Observation) -> bool:
    """Whether *observation* says anything about the scope *key*."""
    reason = observation.verdict.reason
    kind = key.kind
    if reason is Reason.MONITOR_INTERNAL or kind in _WITHOUT_OBSERVATIONS:
        return False
    if kind in _ANSWERING:
        return True
    own = meaning(reason)
    answered = own.outcome is not Outcome.INCONCLUSIVE or reason is Reason.API_VALIDATOR_FAILED
    if kind == USER:
        return answered or reason in _USER
    if kind == RATE:
        return answered or reason is Reason.API_THROTTLED
    return answered or reason in _KEY or reason in _USER


def advance(state: ScopeState, observation: Observation, policy: ScopePolicy, *, members: int) -> ScopeState:
    """The state of an account, user or rate scope with *members* connections after *observation* (which `applies_to` it)."""
    if state.kind == RATE:
        return _advance_rate(state, observation, policy, members=members)
    bad = observation.verdict.reason in (_USER if state.kind == USER else _KEY)
    return _advance_refusal(state, observation, policy, bad=bad, members=members)


def _advance_refusal(state: ScopeState, observation: Observation, policy: ScopePolicy, *, bad: bool, members: int) -> ScopeState:
    """A refusal is certain when a second one comes a while after the first; one answer is the proof of the contrary."""
    at = observation.at
    if not bad:
        return closed(state, at)
    suspect_at = state.suspect_at or at
    state = replace(with_failure(state, observation), suspect_at=suspect_at)
    return opened(state, at, members) if at - suspect_at >= policy.account_confirm else state


def _advance_rate(state: ScopeState, observation: Observation, policy: ScopePolicy, *, members: int) -> ScopeState:
    """
    Throttling lasts until an answer comes a good while after the last 429.

    Silence ends nothing: while the API makes us pause for an hour, no answer of any kind comes.
    """
    at = observation.at
    if observation.verdict.reason is not Reason.API_THROTTLED:
        over = state.last_bad_at is not None and at - state.last_bad_at >= policy.throttled_after / 3
        return closed(state, at) if over else state
    suspect_at = state.suspect_at or at
    state = replace(with_failure(state, observation), suspect_at=suspect_at)
    return opened(state, at, members) if at - suspect_at >= policy.throttled_after else state


def tick(state: ScopeState, now: datetime, policy: ScopePolicy, *, window: timedelta, members: int, failing: int) -> ScopeState:
    """The state of any scope when only time has passed; *failing* counts the connections of a platform that are in error."""
    state = clamp_future_scope(state, now)
    if state.kind in _ANSWERING:
        return decay(state, now, policy, window=window, members=members)
    if state.kind == PLATFORM:
        return advance_platform(state, None, now, policy, window=window, total=members, failing=failing)
    return state


def canary_interval(state: ScopeState, policy: ScopePolicy) -> timedelta | None:
    """
    How far apart the only checks are that get through to anything below the scope; None when checks go on as usual.

    After the first refusal the account is tested once more before its incident opens, and not more often than that.
    """
    if state.kind in _ANSWERING and not state.open:
        return None
    return probe_interval(state, policy)


def probe_interval(state: ScopeState, policy: ScopePolicy) -> timedelta | None:
    """
    How soon some connection below the scope is tested at the latest, to learn whether it is in trouble; None when nothing is suspected.

    Few connections with long intervals would otherwise show an outage, and its end, after hours.
    """
    if state.kind in _ANSWERING:
        return policy.canary if state.open or state.streak is not None or state.suspect_at is not None else None
    if state.kind in _REFUSING:
        if state.open:
            return policy.account_canary
        return policy.account_confirm if state.suspect_at is not None else None
    return None
