"""Builds the notifications of connections and scopes."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.domain import topics
from monitor.domain.connections import Connection
from monitor.domain.copies import replace
from monitor.domain.events import (
    FINE,
    REMOVED,
    REPLACED,
    EventType,
    IncidentRef,
    Notification,
    NotificationFacts,
    NotificationReason,
    Severity,
    Topic,
    Transition,
)
from monitor.domain.expiry import estimate, levels
from monitor.domain.notifications.timing import recent_failures
from monitor.domain.policy import Policy
from monitor.domain.reasons import CREDENTIAL, UPSTREAM, Advice, Health, Scope
from monitor.domain.scopes.key import LIMIT, RATE, USER
from monitor.domain.scopes.state import ScopeState
from monitor.domain.states import ConnectionState, FailurePeriod, LastNotified, TopicState
from monitor.errors import Reason

# A failure that is first seen this many intervals after the last success may have begun long before.
_USUAL_ROUNDS = 2

_OPENING: dict[tuple[Topic, str], EventType] = {
    (Topic.CONNECTION, "error"): EventType.CONNECTION_FAILED,
    (Topic.CONNECTION, "missing"): EventType.CONNECTION_MISSING,
    (Topic.CONNECTION, "misconfigured"): EventType.CONNECTION_MISCONFIGURED,
    (Topic.CONNECTION, topics.STALE): EventType.CONNECTION_STALE,
    (Topic.CONNECTION, topics.FLAPPING): EventType.CONNECTION_FLAPPING,
    (Topic.EXPIRY, topics.EXPIRED): EventType.TOKEN_EXPIRED,
    (Topic.RENEWAL, topics.OVERDUE): EventType.TOKEN_RENEWAL_OVERDUE,
    (Topic.PUBLISHING, topics.FAILING): EventType.PUBLISHING_FAILING,
    (Topic.PERMISSIONS, topics.LOST): EventType.PERMISSIONS_LOST,
}
_CLOSING: dict[Topic, EventType] = {
    Topic.CONNECTION: EventType.CONNECTION_RECOVERED,
    Topic.EXPIRY: EventType.TOKEN_RENEWED,
    Topic.RENEWAL: EventType.TOKEN_RENEWED,
    Topic.PUBLISHING: EventType.PUBLISHING_RECOVERED,
    Topic.PERMISSIONS: EventType.PERMISSIONS_RESTORED,
}


@dataclass(frozen=True, slots=True)
class NotificationContext:
    """
    What a notification is built for.

    Attributes:
        closed_why: why the incident closed (`recovered`, `unsupported`, `removed`, `accepted`); None while it is open.
        why: the reason, where it does not follow from the levels.
        included: another notification says the same; this one only closes the incident.
    """

    at: datetime
    closed_why: str | None = None
    reminder: int = 0
    why: NotificationReason | None = None
    escalated_to: tuple[str, ...] = ()
    included: bool = False


def build_notification(
    connection: Connection, state: ConnectionState, topic: Topic, context: NotificationContext, policy: Policy
) -> Notification:
    """Return the notification about one topic of *connection* in *state*."""
    value = state.topic(topic)
    incident_state = value.notified if value.notified.level != FINE else value
    opened_at = incident_state.opened_at or context.at
    reason, text = reason_and_detail(state, topic)
    return Notification(
        type=_type(topic, value, state, context),
        why=context.why or _why(value, context.reminder),
        severity=severity_of(connection, state, topic, policy),
        at=context.at,
        incident=incident(connection, topic, incident_state.number, opened_at),
        scope=Scope.CONNECTION,
        connection_id=connection.id,
        level_from=value.notified.level,
        level_to=value.level,
        reason=reason,
        detail=text,
        seq=state.seq + 1,
        facts=_facts(connection, state, topic, context, policy, opened_at),
    )


def reason_and_detail(state: ConnectionState, topic: Topic) -> tuple[Reason | None, str]:
    """Return what explains the level of a topic: of a failure its confirmed cause; nothing when only a passed check is known."""
    broken = topic is Topic.CONNECTION and state.topic(topic).level not in {FINE, topics.STALE, topics.FLAPPING}
    failure = state.failure
    if broken and failure is not None and failure.ended_at is None and failure.cause is not None:
        return failure.cause, failure.detail
    if broken and state.reason is Reason.OK:
        return None, ""
    return state.reason, detail(state, topic)


def current_reason(state: ConnectionState, incident: IncidentRef, reason: Reason | None, text: str) -> tuple[Reason | None, str]:
    """What explains an open incident now, if *state* has it; *reason* and *text* did when it opened."""
    value = state.topic(incident.topic)
    if value.level == FINE or value.number != incident.number:
        return reason, text
    now = reason_and_detail(state, incident.topic)
    return (reason, text) if incident.topic is Topic.CONNECTION and now[0] in (None, Reason.OK) else now


def last_notified(value: TopicState, now: datetime) -> LastNotified:
    """What the receivers know once they are notified of *value* as it is."""
    if value.level == FINE:
        return LastNotified(at=now)
    if value.notified.level == FINE:
        return LastNotified(value.level, value.number, value.opened_at, now)
    return replace(value.notified, level=value.level, at=now, reminders=0, merged=False)


def first_seen_at(state: ConnectionState, topic: Topic, level: str, pending_since: datetime) -> datetime:
    """Return when what opens an incident was first seen: of a failure by its first failed check, else by the first sight of the level."""
    failing = topic is Topic.CONNECTION and state.failure is not None and level not in {topics.STALE, topics.FLAPPING}
    return state.failure.failed_at if failing and state.failure is not None else pending_since


def incident(connection: Connection, topic: Topic, number: int, opened_at: datetime) -> IncidentRef:
    """Return the reference of one incident of *connection*."""
    return IncidentRef(topic, str(connection.id), number, opened_at)


def detail(state: ConnectionState, topic: Topic) -> str:
    """Return the text that explains the level of a topic."""
    if topic is Topic.PUBLISHING and state.last_error is not None:
        return state.last_error.message
    if topic is Topic.PERMISSIONS:
        return ", ".join(state.permissions_missing)
    return state.detail


def _why(value: TopicState, reminder: int) -> NotificationReason:
    if reminder:
        return NotificationReason.REMINDER
    if value.level == FINE:
        return NotificationReason.CLOSED
    return NotificationReason.OPENED if value.notified.level == FINE else NotificationReason.CHANGED


def _type(topic: Topic, value: TopicState, state: ConnectionState, context: NotificationContext) -> EventType:
    if context.reminder:
        return EventType.REMINDER
    if value.level == FINE:
        untested = state.health is Health.UNSUPPORTED and (
            topic is Topic.CONNECTION or (topic is Topic.EXPIRY and state.token.status is None)
        )
        closed = context.closed_why == REMOVED or untested
        if not closed and value.notified.includes_failure and state.health is Health.OK:
            return EventType.CONNECTION_RECOVERED
        return EventType.CONNECTION_CLOSED if closed else _CLOSING[topic]
    return _OPENING.get((topic, value.level), EventType.TOKEN_EXPIRING)


def severity_of(connection: Connection, state: ConnectionState, topic: Topic, policy: Policy) -> Severity:
    """Return the severity of a notification about *topic*."""
    value = state.topic(topic)
    if value.level == FINE and value.notified.severity is not None:
        return value.notified.severity
    shown = value.level if value.level != FINE else value.notified.level
    severity = topics.severity_of(topic, shown, policy, connection.platform, state.cause)
    if topic is Topic.EXPIRY and value.level == topics.EXPIRED and passes_despite_expiry(state):
        return Severity.INFO
    doubtful = state.suspected_false_negative or state.cause in UPSTREAM
    broken = topic is Topic.CONNECTION and severity is Severity.CRITICAL and value.level != FINE
    return Severity.WARNING if broken and doubtful else severity


def passes_despite_expiry(state: ConnectionState) -> bool:
    """
    Whether the connection passes its test although its token is reported as expired, but not in the list.

    Source: api-contract.md 3.1.
    """
    return state.health is Health.OK and state.failures == 0 and state.token.status != "expired"


def _facts(
    connection: Connection, state: ConnectionState, topic: Topic, context: NotificationContext, policy: Policy, opened_at: datetime
) -> NotificationFacts:
    value, failure = state.topic(topic), state.failure
    closing, failed = value.level == FINE, topic is Topic.CONNECTION and value.level == "error"
    ended = closing and failure is not None and (topic is Topic.CONNECTION or value.notified.includes_failure)
    token = topic in {Topic.EXPIRY, Topic.RENEWAL} or (state.cause in CREDENTIAL and failed)
    renewed = ended and failure is not None and failure.cause in CREDENTIAL and state.topic(Topic.EXPIRY).level != topics.EXPIRED
    token = token or renewed
    opening = value.notified.level == FINE and not closing and not context.reminder
    broken = topic is Topic.CONNECTION and state.health.broken and not closing
    broken_by_expiry = value.notified.includes_failure and value.level == topics.EXPIRED and state.health is Health.ERROR
    news = value.notified.level in {FINE, topics.STALE} and not context.reminder
    began = failure if failed and news else None
    changed = context.why is NotificationReason.CHANGED and failed and _has_other_cause(state, value.notified)
    broken_since = failure.failed_at if ended and failure is not None and topic is Topic.EXPIRY and state.health is Health.OK else opened_at
    return NotificationFacts(
        first_check=opening and opened_at == state.first_evidence_at,
        suspected_false_negative=topic is Topic.CONNECTION and not closing and state.suspected_false_negative,
        merged_expiry=failed and topics.failed_by_expiry(connection, state, context.at, policy),
        duration=max(context.at - broken_since, timedelta(0)) if closing else None,
        expires_at=estimate.best_estimate(state.token) if token else None,
        expires_uncertainty=estimate.uncertainty(state.token) if token else None,
        threshold=levels.threshold_of(value.level) if topic is Topic.EXPIRY else None,
        permissions_lost=state.permissions_missing if topic is Topic.PERMISSIONS else (),
        last_successful_post_at=state.last_successful_post_at,
        reminder=context.reminder,
        username=state.display_name or state.username,
        closed_why=context.closed_why,
        cause_since=failure.cause_since if changed and failure is not None else None,
        failed_at=_failed_at(state, failure, other_cause_known=changed or value.notified.causes > 0)
        if (broken or broken_by_expiry) and failure is not None
        else None,
        last_worked_at=began.worked_at if began is not None and _began_unseen(began, connection, policy) else None,
        last_evidence_at=_outdated_evidence(state, topic, context) if context.reminder else None,
        failed_posts=failure.failed_posts if ended and failure is not None else 0,
        last_failed_post_at=failure.last_failed_post_at if ended and failure is not None else None,
        outages=_failures(connection, state, policy) if closing and topic is Topic.CONNECTION else 0,
        untested=state.health is Health.UNSUPPORTED,
        listed=connection.listed,
        escalated_to=context.escalated_to,
        included=context.included,
    )


def _failures(connection: Connection, state: ConnectionState, policy: Policy) -> int:
    """How often the connection failed lately; 0 for a single failure."""
    failures = recent_failures(state.changes, policy, connection.interval)
    return failures if failures > 1 else 0


def _has_other_cause(state: ConnectionState, notified: LastNotified) -> bool:
    """Whether the cause is another one than was *notified*: not where only a suspicion of the test, about the same cause, came or went."""
    since = state.failure.cause_since if state.failure is not None else None
    if state.suspected_false_negative or since is None:
        return False
    return notified.advice is not Advice.CHECK_POSTS or notified.at is None or since > notified.at


def _failed_at(state: ConnectionState, failure: FailurePeriod, *, other_cause_known: bool) -> datetime:
    """Since when the connection fails: with its present cause, unless receivers know of another one before it."""
    causes, since = failure.cause_since, state.since
    later = causes is not None and since is not None and causes > since
    return causes if later and not other_cause_known and causes is not None else failure.failed_at


def _began_unseen(failure: FailurePeriod, connection: Connection, policy: Policy) -> bool:
    """Whether the checks paused for longer than usual before the first failed one: the failure may be older than it."""
    return failure.worked_at is not None and failure.failed_at - failure.worked_at > _USUAL_ROUNDS * max(
        connection.interval, policy.recheck
    )


def _outdated_evidence(state: ConnectionState, topic: Topic, context: NotificationContext) -> datetime | None:
    """When the last look was that a reminder rests on, if that is not the present one."""
    seen_at = looked_at(state, topic)
    return seen_at if seen_at is not None and seen_at < context.at else None


def looked_at(state: ConnectionState, topic: Topic) -> datetime | None:
    """When evidence of the level of a topic last came: for staleness the last check, for the token its last print or list."""
    if topic is Topic.EXPIRY:
        return state.token.observed_at
    return state.last_check_at if state.topic(topic).level == topics.STALE else state.last_evidence_at


_TYPES: dict[Scope, tuple[EventType, EventType]] = {
    Scope.API: (EventType.API_FAILED, EventType.API_RECOVERED),
    Scope.ACCOUNT: (EventType.ACCOUNT_FAILED, EventType.ACCOUNT_RECOVERED),
    Scope.USER: (EventType.ACCOUNT_FAILED, EventType.ACCOUNT_RECOVERED),
    Scope.GROUP: (EventType.GROUP_FAILED, EventType.GROUP_RECOVERED),
    Scope.PLATFORM: (EventType.PLATFORM_FAILED, EventType.PLATFORM_RECOVERED),
    Scope.STORAGE: (EventType.STORAGE_FAILED, EventType.STORAGE_RECOVERED),
}
# Scopes whose incidents can close as removed.
_REMOVED_TYPES: dict[Scope, EventType] = {
    Scope.API: EventType.API_CLOSED,
    Scope.ACCOUNT: EventType.ACCOUNT_CLOSED,
    Scope.USER: EventType.ACCOUNT_CLOSED,
    Scope.GROUP: EventType.GROUP_CLOSED,
}

_WARNING_KINDS = frozenset({USER, RATE, LIMIT})


def severity(state: ScopeState) -> Severity:
    """Return the severity of the incident of this scope: trouble of a platform, and throttling, end without anybody's work."""
    return Severity.WARNING if state.kind in _WARNING_KINDS or state.reason in UPSTREAM else Severity.CRITICAL


def transition(state: ScopeState, now: datetime) -> Transition:
    """Return the transition of the incident of *state* to its current level."""
    topic = state.topic
    return Transition(
        incident=IncidentRef(Topic.SCOPE, str(state.key), topic.number, topic.opened_at or now),
        scope=state.scope,
        connection_id=None,
        level=topic.level,
        at=now,
        severity=severity(state),
        reason=state.reason,
        detail=state.detail,
        closed_why=(state.closed_why or "recovered") if topic.level == FINE else None,
    )


def build_scope_notification(state: ScopeState, context: NotificationContext, *, outages: int = 0) -> Notification:
    """Return the notification about the incident of *state*: it opened, closed, or is still open; *outages* of a scope that flaps."""
    value, now = state.topic, context.at
    closing = value.level == FINE
    incident_state = value.notified if value.notified.level != FINE else value
    # Those of a flapping scope are one incident to receivers; what is said is said of the last of them.
    opened_at = value.opened_at or now
    opens, closes = _TYPES[state.scope]
    if state.closed_why in {REMOVED, REPLACED}:
        closes = _REMOVED_TYPES.get(state.scope, closes)
    ordinary = NotificationReason.CLOSED if closing else NotificationReason.OPENED
    left = state.left if context.reminder else ()
    return Notification(
        type=EventType.REMINDER if context.reminder else closes if closing else opens,
        why=context.why or (NotificationReason.REMINDER if context.reminder else ordinary),
        severity=severity(state),
        at=now,
        incident=IncidentRef(Topic.SCOPE, str(state.key), incident_state.number, opened_at),
        scope=state.scope,
        connection_id=None,
        level_from=value.notified.level,
        level_to=value.level,
        reason=state.reason,
        detail=state.detail,
        seq=state.seq + 1,
        facts=NotificationFacts(
            affected=len(left) if left else max(state.affected, len(state.members)),
            members=left or state.members,
            still_failing=len(state.left) if closing else 0,
            outages=0 if context.reminder else outages,
            duration=max((value.since or now) - opened_at, timedelta(0)) if closing else None,
            reminder=context.reminder,
            cause_since=None if closing else state.cause_since,
            closed_why=(state.closed_why or None) if closing else None,
            escalated_to=context.escalated_to,
            included=context.included,
        ),
    )
