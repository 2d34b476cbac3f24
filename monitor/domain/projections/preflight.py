"""Whether a connection can be relied on for a post: from what is stored when that is fresh, else from a test just made."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from monitor.domain.expiry import estimate, levels
from monitor.domain.expiry.estimate import has_estimate
from monitor.domain.expiry.model import TokenBelief
from monitor.domain.policy import ExpiryPolicy
from monitor.domain.reasons import Health, Outcome, outcome_of
from monitor.domain.replies.checks import Reply, Verdict
from monitor.domain.replies.token_life import TokenLife, TokenSays
from monitor.domain.states import ConnectionState
from monitor.errors import Reason

_CLOCK_SLACK = timedelta(minutes=1)
_NO_TIME = timedelta(0)


class Readiness(StrEnum):
    """What a preflight says: ready, not ready, or unknown."""

    READY = "ready"
    NOT_READY = "not_ready"
    UNKNOWN = "unknown"


class PreflightCause(StrEnum):
    """Why a preflight has its result; `text/reasons` has the texts."""

    NOT_WATCHED = "not_watched"
    STORAGE_FAILED = "storage_failed"
    NO_EVIDENCE = "no_evidence"
    SCOPE_INCIDENT = "scope_incident"
    INCONCLUSIVE = "inconclusive"
    UNCONFIRMED = "unconfirmed"
    TOO_OLD = "too_old"
    CLOCK_CHANGED = "clock_changed"
    HEALTH = "health"
    VERDICT = "verdict"
    TOKEN_LIFE = "token_life"
    TOKEN_UNPARSED = "token_unparsed"


@dataclass(frozen=True, slots=True)
class PreflightResult:
    """
    An answer and its cause, as values; what the cause does not need is None.

    Attributes:
        health: of `HEALTH`: the stored health.
        verdict: of `VERDICT`, `HEALTH` and `INCONCLUSIVE`: the result of the check.
        scope: of `SCOPE_INCIDENT`: the scope that has it.
        duration: of `TOO_OLD` the age of the evidence, of `TOKEN_LIFE` the least life that the token has left.
        limit: what *duration* was compared with.
    """

    answer: Readiness
    cause: PreflightCause
    health: Health | None = None
    verdict: Verdict | None = None
    scope: str | None = None
    duration: timedelta | None = None
    limit: timedelta | None = None
    ends_at: datetime | None = None


def reason_for_doubt(state: ConnectionState, scope: str | None, now: datetime, max_age: timedelta) -> PreflightResult | None:
    """
    The result `unknown` when what is stored does not answer the question by itself; None when it does.

    It does if the last check was conclusive, not longer ago than *max_age* nor in the future, with nothing left to
    confirm and no open incident of a *scope* above: an API that could not be reached since is a reason to test again.
    """
    unknown = partial(PreflightResult, Readiness.UNKNOWN, ends_at=estimate.best_estimate(state.token))
    seen = state.last_evidence_at
    if seen is None or state.health is Health.UNKNOWN:
        return unknown(PreflightCause.NO_EVIDENCE)
    if scope is not None:
        return unknown(PreflightCause.SCOPE_INCIDENT, scope=scope)
    if seen != state.last_check_at:
        return unknown(PreflightCause.INCONCLUSIVE, verdict=Verdict(state.last_reason) if state.last_reason is not None else None)
    if state.pending is not None:
        return unknown(PreflightCause.UNCONFIRMED)
    if now - seen > max_age:
        return unknown(PreflightCause.TOO_OLD, duration=now - seen, limit=max_age)
    return None if now - seen >= -_CLOCK_SLACK else unknown(PreflightCause.CLOCK_CHANGED)


def remembered(
    state: ConnectionState,
    platform: str,
    scope: str | None,
    now: datetime,
    policy: ExpiryPolicy,
    *,
    max_age: timedelta,
    min_ttl: timedelta,
    storage_up: bool = True,
) -> PreflightResult:
    """What is known of a connection without testing it; *scope* is the open one above it, see `reason_for_doubt` and `stored`."""
    doubt = reason_for_doubt(state, scope, now, max_age) if storage_up else storage_failed(state)
    return doubt or stored(state, platform, now, min_ttl, policy)


def storage_failed(state: ConnectionState) -> PreflightResult:
    """The result while the database takes no writes: the last checks may be unknown."""
    return PreflightResult(Readiness.UNKNOWN, PreflightCause.STORAGE_FAILED, ends_at=estimate.best_estimate(state.token))


def overall(answers: Iterable[Readiness]) -> Readiness:
    """Ready when all are, not ready when one is not, else unknown."""
    distinct = set(answers)
    if Readiness.NOT_READY in distinct:
        return Readiness.NOT_READY
    return Readiness.READY if distinct == {Readiness.READY} else Readiness.UNKNOWN


def stored(state: ConnectionState, platform: str, now: datetime, min_ttl: timedelta, policy: ExpiryPolicy) -> PreflightResult:
    """What a fresh *state* says; *min_ttl* is the least life that the token must have left."""
    ends_at = estimate.best_estimate(state.token)
    if state.health is Health.OK:
        return _ready(_least_left(state.token, platform, now, policy), min_ttl, ends_at)
    verdict = Verdict(state.reason, state.detail) if state.reason is not None else None
    answer = Readiness.UNKNOWN if state.health is Health.UNSUPPORTED else Readiness.NOT_READY
    return PreflightResult(answer, PreflightCause.HEALTH, state.health, verdict, ends_at=ends_at)


def judged(verdict: Verdict, reply: Reply | None, now: datetime, min_ttl: timedelta, *, renews: bool) -> PreflightResult:
    """What a test just made says; *renews* says that its token renews itself, so that its end means nothing."""
    outcome = outcome_of(verdict.reason)
    if outcome is not Outcome.PASSED or reply is None:
        answer = Readiness.NOT_READY if outcome is Outcome.FAILED else Readiness.UNKNOWN
        return PreflightResult(answer, PreflightCause.VERDICT, verdict=verdict)
    if reply.token.says is TokenSays.UNPARSED and min_ttl > _NO_TIME and not renews:
        return PreflightResult(Readiness.UNKNOWN, PreflightCause.TOKEN_UNPARSED)
    left = None if renews else _printed_left(reply.token)
    return _ready(left, min_ttl, now + left if left is not None else None)


def _printed_left(life: TokenLife) -> timedelta | None:
    """The least life that a text can mean: what it prints, zero for less than an hour, None without an end."""
    if life.says is TokenSays.EXPIRED:
        return _NO_TIME
    if life.says is not TokenSays.LEFT or life.left is None:
        return None
    return _NO_TIME if life.below else life.left


def renews_itself(state: ConnectionState | None, platform: str, policy: ExpiryPolicy) -> bool:
    """Whether the token's end means nothing, because the platform or the API renews it before every post."""
    token = state.token if state is not None else TokenBelief()
    return not policy.thresholds or not has_estimate(token.status, platform, policy) or levels.auto_renewing(token)


def _least_left(token: TokenBelief, platform: str, now: datetime, policy: ExpiryPolicy) -> timedelta | None:
    """The least life that the token can have left; None when it has no end that counts."""
    if renews_itself(ConnectionState(token=token), platform, policy):
        return None
    ends = estimate.window(token)
    if ends is not None:
        return ends[0] - now
    return _NO_TIME if token.says is TokenSays.EXPIRED else None


def _ready(left: timedelta | None, min_ttl: timedelta, ends_at: datetime | None) -> PreflightResult:
    """The result for a connection that works: ready, unless its token has too little life *left*."""
    if left is not None and left < min_ttl:
        return PreflightResult(Readiness.NOT_READY, PreflightCause.TOKEN_LIFE, duration=left, limit=min_ttl)
    return PreflightResult(Readiness.READY, PreflightCause.VERDICT, verdict=Verdict(Reason.OK), ends_at=ends_at)
