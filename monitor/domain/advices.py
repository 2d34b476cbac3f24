"""What a person should do about one connection, in plain words."""

from collections.abc import Iterator

from monitor.domain import levels
from monitor.domain.cases import Case
from monitor.domain.model import FINE, Health, Outcome, Topic
from monitor.domain.reasons import meaning, outcome_of

_RECONNECT = "Reconnect the account on the PostPost dashboard."
_PLATFORM = "Wait for the platform first: many of its connections broke together. If this one stays broken alone, go on as below."
INCIDENT_ADVICE = {
    Topic.EXPIRY: "Reconnect the account on the PostPost dashboard before its token ends.",
    Topic.RENEWAL: "Reconnect the account if the renewal does not come.",
    Topic.PUBLISHING: "Read the posting error; correct the post or reconnect the account.",
    Topic.PERMISSIONS: "Reconnect the account and grant the missing permissions.",
}


def advice_lines(case: Case) -> Iterator[str]:
    """What a person should do, the widest cause first; never twice the same."""
    said: set[str] = set()
    for line in _advices(case):
        if line and line not in said:
            said.add(line)
            yield line


def _advices(case: Case) -> Iterator[str]:
    for scope in case.above:
        if scope.open and scope.reason is not None:
            yield _PLATFORM if scope.word == "platform" else meaning(scope.reason).advice
    state = case.state
    if state.health is Health.ERROR and state.suspected_false_negative:
        yield "Look first whether posts still go out: one has succeeded since the first failed test."
    if state.health in {Health.ERROR, Health.MISSING, Health.MISCONFIGURED}:
        failed = state.reason is not None and outcome_of(state.reason) is Outcome.FAILED
        yield meaning(state.reason).advice if state.reason is not None and failed else _RECONNECT
    if state.topic(Topic.CONNECTION).level == levels.STALE and state.last_reason is not None:
        yield meaning(state.last_reason).advice
    for topic, value in state.topics.items():
        if value.level != FINE and not levels.clearing(state, topic):
            yield _RECONNECT if value.level == levels.EXPIRED else INCIDENT_ADVICE.get(topic, "")
    if any(delivery.state == "dead" for telling in case.tellings for delivery in telling.deliveries):
        yield "Send again what was given up: postpost-monitor deliveries retry NUMBER."
    if not case.retired and state.last_check_at is None:
        yield "Start the monitor (postpost-monitor run), or test it now: postpost-monitor check."
