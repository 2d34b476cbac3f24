"""
One cause, one notification: trouble that is wider than a connection.

A scope is named `api:<base>`, `account:<name>`, `user:<account>/<id>`, `rate:<account>`, `service:<account>`,
`platform:<name>` or `storage`. `service` is the API's service to one account: it can fail while others are answered. Each has hysteresis of its own: a suspicion must hold before its incident opens, and calm must
hold before it closes. While one is open the connections below it are frozen (or, for a platform, told as
one), and only a canary is sent now and then.
"""

from datetime import datetime, timedelta

from monitor.domain.checks import Observation
from monitor.domain.copies import replace
from monitor.domain.policy import ScopePolicy
from monitor.domain.reasons import Outcome, meaning
from monitor.domain.scopes.api import decay
from monitor.domain.scopes.platform import advance_platform
from monitor.domain.scopes.state import ScopeState, clamp_future_scope, closed, opened, with_failure
from monitor.errors import Reason

_USER = frozenset({Reason.WORKSPACE_FORBIDDEN, Reason.USER_NOT_MANAGED, Reason.USER_ID_INVALID})
_ANSWERING = frozenset({"api", "service"})
_KEY = frozenset({Reason.API_UNAUTHORIZED, Reason.API_FORBIDDEN})


def applies_to(name: str, observation: Observation) -> bool:
    """Whether *observation* says anything about a scope of this name."""
    reason = observation.verdict.reason
    word = name.partition(":")[0]
    if reason is Reason.MONITOR_INTERNAL or word in {"platform", "storage"}:
        return False
    if word in _ANSWERING:
        return True
    own = meaning(reason)
    answered = own.outcome is not Outcome.INCONCLUSIVE or reason is Reason.API_VALIDATOR_FAILED
    if word == "user":
        return answered or reason in _USER
    if word == "rate":
        return answered or reason is Reason.API_THROTTLED
    return answered or reason in _KEY or reason in _USER


def advance(state: ScopeState, observation: Observation, policy: ScopePolicy, *, members: int) -> ScopeState:
    """The state of an account, user or rate scope with *members* connections after *observation* (which it `hears`)."""
    if state.kind == "rate":
        return _advance_rate(state, observation, policy, members=members)
    bad = observation.verdict.reason in (_USER if state.kind == "user" else _KEY)
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
    if state.kind == "platform":
        return advance_platform(state, None, now, policy, window=window, total=members, failing=failing)
    return state


def canary_interval(state: ScopeState, policy: ScopePolicy) -> timedelta | None:
    """
    How far apart the only checks are that get through to anything below the scope; None when checks go on as usual.

    After the first refusal the account is asked once more before anybody is told, and not more often than that.
    """
    if state.kind in _ANSWERING and not state.open:
        return None
    return probe_interval(state, policy)


def probe_interval(state: ScopeState, policy: ScopePolicy) -> timedelta | None:
    """
    How soon somebody below the scope is asked again at the latest, to learn whether it is in trouble; None when nothing is suspected.

    Few connections with long intervals would otherwise tell of an outage, and of its end, after hours.
    """
    if state.kind in _ANSWERING:
        return policy.canary if state.open or state.streak is not None or state.suspect_at is not None else None
    if state.kind in {"account", "user"}:
        if state.open:
            return policy.account_canary
        return policy.account_confirm if state.suspect_at is not None else None
    return None
