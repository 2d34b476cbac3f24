"""Whether a connection can be relied on for a post: from what is stored when that is fresh, else from a test just made."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.domain.checks import Reply, Verdict
from monitor.domain.expiry import estimate, levels
from monitor.domain.expiry.estimate import has_estimate
from monitor.domain.expiry.model import TokenBelief
from monitor.domain.policy import ExpiryPolicy
from monitor.domain.reasons import Health, Outcome, meaning, outcome_of
from monitor.domain.states import ConnectionState
from monitor.domain.token_life import TokenSays
from monitor.text.durations import span
from monitor.text.reasons import _NOTHING, _printed_left, _words

_CLOCK_SLACK = timedelta(minutes=1)


class Readiness(StrEnum):
    """What a preflight says: go, do not go, or nobody knows."""

    READY = "ready"
    NOT_READY = "not_ready"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PreflightResult:
    """An answer and why; *ends_at* is when the token ends, as far as known."""

    answer: Readiness
    reason: str
    ends_at: datetime | None = None


def is_fresh(state: ConnectionState, covered_by: str | None, now: datetime, max_age: timedelta) -> bool:
    """Whether what is stored answers the question by itself."""
    return reason_for_doubt(state, covered_by, now, max_age) is None


def reason_for_doubt(state: ConnectionState, covered_by: str | None, now: datetime, max_age: timedelta) -> str | None:
    """
    Why what is stored does not answer the question by itself, in plain words; None when it does.

    Only a last check that told something, not longer ago than *max_age* nor in the future, with nothing left to confirm
    and no wider trouble above: an API that could not be reached since is a reason to ask again, never an answer.
    """
    seen = state.last_evidence_at
    if seen is None or state.health is Health.UNKNOWN:
        return "nothing is known of it yet"
    if covered_by is not None:
        return f"wider trouble keeps it from being known: {covered_by}"
    if seen != state.last_check_at:
        words = f": {meaning(state.last_reason).words}" if state.last_reason is not None else ""
        return f"its last check told nothing{words}"
    if state.pending is not None:
        return "its last check contradicts those before and is being confirmed"
    if now - seen > max_age:
        return f"it was last known {span(now - seen)} ago, longer than {span(max_age)}"
    return None if now - seen >= -_CLOCK_SLACK else "its last check lies in the future, so the clock is or was wrong"


def from_state(
    state: ConnectionState, platform: str, doubts: str | None, now: datetime, min_ttl: timedelta, policy: ExpiryPolicy
) -> PreflightResult:
    """What *state* says without a test; *doubts* (see `doubt`) make it unknown, whatever it was before."""
    if doubts is not None:
        return PreflightResult(Readiness.UNKNOWN, doubts, estimate.best_estimate(state.token))
    return stored(state, platform, now, min_ttl, policy)


def overall(answers: Iterable[Readiness]) -> Readiness:
    """Ready when all are; not when one is not; else nobody knows."""
    found = set(answers)
    if Readiness.NOT_READY in found:
        return Readiness.NOT_READY
    return Readiness.READY if found == {Readiness.READY} else Readiness.UNKNOWN


def stored(state: ConnectionState, platform: str, now: datetime, min_ttl: timedelta, policy: ExpiryPolicy) -> PreflightResult:
    """What a fresh *state* says; *min_ttl* is the least life that the token must have left."""
    ends_at = estimate.best_estimate(state.token)
    if state.health is Health.UNSUPPORTED:
        return PreflightResult(Readiness.UNKNOWN, _words(state), ends_at)
    if state.health is not Health.OK:
        return PreflightResult(Readiness.NOT_READY, _words(state), ends_at)
    return _enough(_least_left(state.token, platform, now, policy), min_ttl) or PreflightResult(
        Readiness.READY, "the connection works", ends_at
    )


def judged(verdict: Verdict, reply: Reply | None, now: datetime, min_ttl: timedelta, *, renews: bool) -> PreflightResult:
    """What a test just made says; *renews* says that its token renews itself, so that its end means nothing."""
    words = meaning(verdict.reason).words
    why = f"{words}: {verdict.detail}" if verdict.detail else words
    match outcome_of(verdict.reason):
        case Outcome.FAILED:
            return PreflightResult(Readiness.NOT_READY, why)
        case Outcome.PASSED if reply is not None:
            left = None if renews else _printed_left(reply.token)
            if reply.token.says is TokenSays.UNPARSED and min_ttl > _NOTHING and not renews:
                return PreflightResult(Readiness.UNKNOWN, "it works, but how long its token lives is not understood")
            ends_at = now + left if left is not None else None
            return _enough(left, min_ttl) or PreflightResult(Readiness.READY, words, ends_at)
        case _:
            return PreflightResult(Readiness.UNKNOWN, why)


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
    return _NOTHING if token.says is TokenSays.EXPIRED else None


def _enough(left: timedelta | None, min_ttl: timedelta) -> PreflightResult | None:
    """None when the token lives long enough."""
    if left is None or left >= min_ttl:
        return None
    words = f"its token has only {span(left)} left" if left > _NOTHING else "its token may end at any moment"
    return PreflightResult(Readiness.NOT_READY, f"{words}, less than {span(min_ttl)}")
