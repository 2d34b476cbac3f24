"""What to do about it, by reason or topic."""

from collections.abc import Iterator

from monitor.domain import topics
from monitor.domain.events import FINE, EventType, Notification, Topic
from monitor.domain.reasons import Health, Outcome, meaning, outcome_of
from monitor.text.report import ConnectionReport

_RECONNECT = "Reconnect the account on the PostPost dashboard."
_PLATFORM = "Wait for the platform first: many of its connections broke together. If this one stays broken alone, go on as below."
INCIDENT_ADVICE = {
    Topic.EXPIRY: "Reconnect the account on the PostPost dashboard before its token ends.",
    Topic.RENEWAL: "Reconnect the account if the renewal does not come.",
    Topic.PUBLISHING: "Read the posting error; correct the post or reconnect the account.",
    Topic.PERMISSIONS: "Reconnect the account and grant the missing permissions.",
}


def advice_lines(case: ConnectionReport) -> Iterator[str]:
    """What a person should do, the widest cause first; never twice the same."""
    said: set[str] = set()
    for line in _advices(case):
        if line and line not in said:
            said.add(line)
            yield line


def _advices(case: ConnectionReport) -> Iterator[str]:
    for scope in case.above:
        if scope.open and scope.reason is not None:
            yield _PLATFORM if scope.kind == "platform" else meaning(scope.reason).advice
    state = case.state
    if state.health is Health.ERROR and state.suspected_false_negative:
        yield "Look first whether posts still go out: one has succeeded since the first failed test."
    if state.health in {Health.ERROR, Health.MISSING, Health.MISCONFIGURED}:
        failed = state.reason is not None and outcome_of(state.reason) is Outcome.FAILED
        yield meaning(state.reason).advice if state.reason is not None and failed else _RECONNECT
    if state.topic(Topic.CONNECTION).level == topics.STALE and state.last_reason is not None:
        yield meaning(state.last_reason).advice
    for topic, value in state.topics.items():
        if value.level != FINE and not topics.clearing(state, topic):
            yield _RECONNECT if value.level == topics.EXPIRED else INCIDENT_ADVICE.get(topic, "")
    if any(delivery.state == "dead" for telling in case.tellings for delivery in telling.deliveries):
        yield "Send again what was given up: postpost-monitor deliveries retry NUMBER."
    if not case.retired and state.last_check_at is None:
        yield "Start the monitor (postpost-monitor run), or test it now: postpost-monitor check."


_OPENINGS: dict[tuple[Topic, str], EventType] = {
    (Topic.CONNECTION, "missing"): EventType.CONNECTION_MISSING,
    (Topic.CONNECTION, "misconfigured"): EventType.CONNECTION_MISCONFIGURED,
    (Topic.CONNECTION, "stale"): EventType.CONNECTION_STALE,
    (Topic.CONNECTION, "flapping"): EventType.CONNECTION_FLAPPING,
    (Topic.EXPIRY, "expired"): EventType.TOKEN_EXPIRED,
}
_OPENING_OF: dict[Topic, EventType] = {
    Topic.CONNECTION: EventType.CONNECTION_FAILED,
    Topic.EXPIRY: EventType.TOKEN_EXPIRING,
    Topic.RENEWAL: EventType.TOKEN_RENEWAL_OVERDUE,
    Topic.PUBLISHING: EventType.PUBLISHING_FAILING,
    Topic.PERMISSIONS: EventType.PERMISSIONS_LOST,
}
_SCOPE_OPENINGS = {
    "account": EventType.ACCOUNT_FAILED,
    "user": EventType.ACCOUNT_FAILED,
    "rate": EventType.ACCOUNT_FAILED,
    "service": EventType.ACCOUNT_FAILED,
    "platform": EventType.PLATFORM_FAILED,
    "storage": EventType.STORAGE_FAILED,
    "receiver": EventType.RECEIVER_FAILING,
}

_ADVICE: dict[EventType, str] = {
    EventType.CONNECTION_STALE: "Look at the last errors of this connection; checks go on.",
    EventType.CONNECTION_FLAPPING: "Reconnect the account if it does not settle.",
    EventType.TOKEN_EXPIRING: "Reconnect the account on the PostPost dashboard before that.",
    EventType.TOKEN_EXPIRED: _RECONNECT,
    EventType.TOKEN_RENEWAL_OVERDUE: "Reconnect the account if the renewal does not come.",
    EventType.PUBLISHING_FAILING: "Read the error; correct the post or reconnect the account.",
    EventType.PERMISSIONS_LOST: "Reconnect the account and grant these permissions.",
    EventType.RECEIVER_FAILING: "Check the receiver and its address; what it is owed is kept for it.",
}


def advice(notification: Notification) -> str:
    """What a person should do; empty when nothing is needed."""
    kind = _kind(notification)
    if notification.level_to == FINE:
        return ""
    if kind in _ADVICE:
        return _ADVICE[kind]
    return meaning(notification.reason).advice if notification.reason else ""


def _kind(notification: Notification) -> EventType:
    """The type whose words fit: a reminder is told in the words of what it reminds of."""
    if notification.type is not EventType.REMINDER:
        return notification.type
    topic = notification.incident.topic
    if topic is Topic.SCOPE:
        return _SCOPE_OPENINGS.get(notification.incident.subject.partition(":")[0], EventType.API_FAILED)
    return _OPENINGS.get((topic, notification.level_to), _OPENING_OF[topic])
