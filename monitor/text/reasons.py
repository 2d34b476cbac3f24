"""A reason, a state or a preflight result as one clause."""

from collections.abc import Sequence
from datetime import timedelta

from monitor.domain import topics
from monitor.domain.events import FINE, Topic
from monitor.domain.reasons import Health, Outcome, meaning, outcome_of
from monitor.domain.states import ConnectionState
from monitor.domain.token_life import TokenLife, TokenSays
from monitor.errors import Reason
from monitor.text.format import one_line

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
    if level in (topics.STALE, topics.FLAPPING):
        return "nothing was learned for too long" if level == topics.STALE else "it keeps changing between working and broken"
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
    if topic in _CLEARING_WORDS and topics.clearing(state, topic):
        return _CLEARING_WORDS[topic]
    if topic is Topic.EXPIRY and state.topic(topic).level == topics.EXPIRED:
        return "the token has expired"
    return _TROUBLE_WORDS[topic]


def told_by(reason: Reason, detail: str, limit: int = _QUOTED) -> str:
    """What a reason says, and the platform's own words."""
    words = meaning(reason).words
    return f"{words} (“{one_line(detail, limit)}”)" if detail.strip() and detail != words else words


_NOTHING = timedelta(0)


def _words(state: ConnectionState) -> str:
    if state.reason is None or outcome_of(state.reason) is Outcome.PASSED:
        return f"its health is {state.health}"
    words = meaning(state.reason).words
    return f"{words}: {state.detail}" if state.detail else words


def _printed_left(life: TokenLife) -> timedelta | None:
    """The least life that a text can mean: what it prints, nothing for less than an hour, None without an end."""
    if life.says is TokenSays.EXPIRED:
        return _NOTHING
    if life.says is not TokenSays.LEFT or life.left is None:
        return None
    return _NOTHING if life.below else life.left
