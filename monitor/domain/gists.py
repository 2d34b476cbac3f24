"""Why a connection is as it is, in one clause."""

from collections.abc import Sequence

from monitor.domain import levels
from monitor.domain.model import FINE, ConnectionState, Health, Outcome, Topic
from monitor.domain.reasons import meaning, outcome_of
from monitor.domain.sentences import one_line
from monitor.errors import Reason

_QUOTED = 300


def gist(state: ConnectionState, trouble: Sequence[Topic], covered_by: str | None, *, level: str = FINE) -> str:
    """
    Why a connection is as it is, in one clause; empty when all is well.

    Args:
        state: what is known of it.
        trouble: the topics that have an open incident.
        covered_by: the open scope incident above it, or None.
        level: of the topic `connection`.
    """
    if covered_by is not None:
        return f"wider trouble: {covered_by}"
    if state.health not in {Health.OK, Health.UNKNOWN} and state.reason is not None and outcome_of(state.reason) is not Outcome.PASSED:
        return told_by(state.reason, state.detail, limit=160)
    if level in (levels.STALE, levels.FLAPPING):
        return "nothing was learned for too long" if level == levels.STALE else "it keeps changing between working and broken"
    if state.last_check_at is None:
        return "never checked"
    words = [_trouble_words(state, topic) for topic in trouble if topic in _TROUBLE_WORDS]
    if state.pending is not None and state.last_reason is not None:
        words.append(f"being confirmed: {meaning(state.last_reason).words}")
    elif state.last_reason is not None and outcome_of(state.last_reason) is Outcome.INCONCLUSIVE:
        words.append(f"last check told nothing: {meaning(state.last_reason).words}")
    return "; ".join(words)


_TROUBLE_WORDS = {
    Topic.EXPIRY: "the token ends soon",
    Topic.RENEWAL: "the token's usual renewal is overdue",
    Topic.PUBLISHING: "it passes its test, but posts fail",
    Topic.PERMISSIONS: "permissions are missing",
}
# While one more check has to confirm that it is over.
_CLEARING_WORDS = {
    Topic.EXPIRY: "the token seems to be renewed",
    Topic.PERMISSIONS: "the permissions seem to be back",
}


def _trouble_words(state: ConnectionState, topic: Topic) -> str:
    if topic in _CLEARING_WORDS and levels.clearing(state, topic):
        return _CLEARING_WORDS[topic]
    if topic is Topic.EXPIRY and state.topic(topic).level == levels.EXPIRED:
        return "the token has expired"
    return _TROUBLE_WORDS[topic]


def told_by(reason: Reason, detail: str, limit: int = _QUOTED) -> str:
    """What a reason says, and the platform's own words."""
    words = meaning(reason).words
    return f"{words} (“{one_line(detail, limit)}”)" if detail.strip() and detail != words else words
