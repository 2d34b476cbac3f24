"""What a notification about a connection says: its type, urgency, incident and facts."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.domain import expiry, levels
from monitor.domain.model import (
    FINE,
    Connection,
    ConnectionState,
    EventType,
    Facts,
    Health,
    IncidentRef,
    Notification,
    Scope,
    Severity,
    Topic,
    TopicState,
    Why,
)
from monitor.domain.policy import Policy
from monitor.errors import Reason

CREDENTIAL = frozenset({Reason.CREDENTIAL_REJECTED, Reason.TOKEN_EXPIRED})

_OPENING: dict[tuple[Topic, str], EventType] = {
    (Topic.CONNECTION, "error"): EventType.CONNECTION_FAILED,
    (Topic.CONNECTION, "missing"): EventType.CONNECTION_MISSING,
    (Topic.CONNECTION, "misconfigured"): EventType.CONNECTION_MISCONFIGURED,
    (Topic.CONNECTION, levels.STALE): EventType.CONNECTION_STALE,
    (Topic.CONNECTION, levels.FLAPPING): EventType.CONNECTION_FLAPPING,
    (Topic.EXPIRY, levels.EXPIRED): EventType.TOKEN_EXPIRED,
    (Topic.RENEWAL, levels.OVERDUE): EventType.TOKEN_RENEWAL_OVERDUE,
    (Topic.PUBLISHING, levels.FAILING): EventType.PUBLISHING_FAILING,
    (Topic.PERMISSIONS, levels.LOST): EventType.PERMISSIONS_LOST,
}
_CLOSING: dict[Topic, EventType] = {
    Topic.CONNECTION: EventType.CONNECTION_RECOVERED,
    Topic.EXPIRY: EventType.TOKEN_RENEWED,
    Topic.RENEWAL: EventType.TOKEN_RENEWED,
    Topic.PUBLISHING: EventType.PUBLISHING_RECOVERED,
    Topic.PERMISSIONS: EventType.PERMISSIONS_RESTORED,
}


@dataclass(frozen=True, slots=True)
class Occasion:
    """
    On what occasion a topic is told.

    Attributes:
        at: when.
        closed_why: why the incident is over (`recovered`, `unsupported`, `removed`); None while it is not.
        reminder: which reminder this is; 0 for none.
        why: the why, where it does not follow from the rest.
    """

    at: datetime
    closed_why: str | None = None
    reminder: int = 0
    why: Why | None = None


def announcement(connection: Connection, state: ConnectionState, topic: Topic, occasion: Occasion, policy: Policy) -> Notification:
    """What the receivers are told of one topic of *connection*, as *state* has it."""
    value = state.topic(topic)
    known = value.told if value.told.level != FINE else value
    opened_at = known.opened_at or occasion.at
    return Notification(
        type=_type(topic, value, state, occasion),
        why=occasion.why or _why(value, occasion.reminder),
        severity=_severity(connection, state, topic, policy),
        at=occasion.at,
        incident=incident(connection, topic, known.number, opened_at),
        scope=Scope.CONNECTION,
        connection_id=connection.id,
        level_from=value.told.level,
        level_to=value.level,
        reason=None if _past(state, topic) else state.reason,
        detail="" if _past(state, topic) else detail(state, topic),
        seq=state.seq + 1,
        facts=_facts(state, topic, occasion, opened_at),
    )


def _past(state: ConnectionState, topic: Topic) -> bool:
    """Whether the last evidence is no reason for what is told of the connection: one check has passed since."""
    broken = state.topic(topic).level not in {FINE, levels.STALE, levels.FLAPPING}
    return topic is Topic.CONNECTION and broken and state.reason is Reason.OK


def incident(connection: Connection, topic: Topic, number: int, opened_at: datetime) -> IncidentRef:
    """Names one incident of *connection*."""
    return IncidentRef(topic, str(connection.id), number, opened_at)


def detail(state: ConnectionState, topic: Topic) -> str:
    """The text that explains a topic to people."""
    if topic is Topic.PUBLISHING and state.last_error is not None:
        return state.last_error.message
    if topic is Topic.PERMISSIONS:
        return ", ".join(state.permissions_missing)
    return state.detail


def _why(value: TopicState, reminder: int) -> Why:
    if reminder:
        return Why.REMINDER
    if value.level == FINE:
        return Why.CLOSED
    return Why.OPENED if value.told.level == FINE else Why.CHANGED


def _type(topic: Topic, value: TopicState, state: ConnectionState, occasion: Occasion) -> EventType:
    if occasion.reminder:
        return EventType.REMINDER
    if value.level == FINE:
        closed = occasion.closed_why == "removed" or (topic is Topic.CONNECTION and state.health is Health.UNSUPPORTED)
        return EventType.CONNECTION_CLOSED if closed else _CLOSING[topic]
    return _OPENING.get((topic, value.level), EventType.TOKEN_EXPIRING)


def _severity(connection: Connection, state: ConnectionState, topic: Topic, policy: Policy) -> Severity:
    value = state.topic(topic)
    shown = value.level if value.level != FINE else value.told.level
    severity = levels.severity_of(topic, shown, policy, connection.platform)
    if topic is Topic.EXPIRY and value.level == levels.EXPIRED and passes_all_the_same(state):
        return Severity.INFO
    doubtful = topic is Topic.CONNECTION and severity is Severity.CRITICAL and state.suspected_false_negative
    return Severity.WARNING if doubtful and value.level != FINE else severity


def passes_all_the_same(state: ConnectionState) -> bool:
    """
    Whether the connection passes its test although its token is said to have ended, and the list does not say so: an anomaly.

    Source: api-contract.md 3.1.
    """
    return state.health is Health.OK and state.failures == 0 and state.token.status != "expired"


def _facts(state: ConnectionState, topic: Topic, occasion: Occasion, opened_at: datetime) -> Facts:
    value = state.topic(topic)
    closing = value.level == FINE
    token = topic in {Topic.EXPIRY, Topic.RENEWAL} or state.reason in CREDENTIAL
    return Facts(
        first_check=not state.passed_before and value.told.level == FINE,
        suspected_false_negative=topic is Topic.CONNECTION and not closing and state.suspected_false_negative,
        merged_expiry=topic is Topic.CONNECTION and value.level == "error" and state.reason is Reason.TOKEN_EXPIRED,
        duration=max(occasion.at - opened_at, timedelta(0)) if closing else None,
        expires_at=expiry.best(state.token) if token else None,
        expires_uncertainty=expiry.uncertainty(state.token) if token else None,
        threshold=expiry.threshold_of(value.level) if topic is Topic.EXPIRY else None,
        permissions_lost=state.permissions_missing if topic is Topic.PERMISSIONS else (),
        last_successful_post_at=state.last_successful_post_at,
        reminder=occasion.reminder,
        username=state.display_name or state.username,
        closed_why=occasion.closed_why,
    )
