"""
Whether someone is told, and why.

A notification is owed if and only if the level of a topic differs from what the receivers were last told.
Cover by a scope incident delays it, never loses it. Every decision names its reason, also the decision to
stay quiet.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from monitor.domain import expiry, levels
from monitor.domain.levels import Cover
from monitor.domain.model import (
    FINE,
    Connection,
    ConnectionState,
    EventType,
    Facts,
    Health,
    IncidentRef,
    Notification,
    Quiet,
    Scope,
    Severity,
    Told,
    Topic,
    TopicState,
    Transition,
    Why,
)
from monitor.domain.policy import Policy
from monitor.errors import Reason

_WEEK = timedelta(days=7)
_CREDENTIAL = frozenset({Reason.CREDENTIAL_REJECTED, Reason.TOKEN_EXPIRED})
_REMINDED = frozenset({Topic.CONNECTION, Topic.SCOPE})

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
class Settled:
    """A connection's state brought in line with its levels, and what came of it, in order."""

    state: ConnectionState
    transitions: tuple[Transition, ...] = ()
    notifications: tuple[Notification, ...] = ()


@dataclass(slots=True)
class _Draft:
    """The state under work while the topics are settled one after the other."""

    connection: Connection
    before: ConnectionState
    state: ConnectionState
    now: datetime
    policy: Policy
    cover: Cover
    transitions: list[Transition] = field(default_factory=list)
    notifications: list[Notification] = field(default_factory=list)
    quiet: Quiet = Quiet.NOTHING_NEW

    def put(self, topic: Topic, value: TopicState) -> None:
        self.state = replace(self.state, topics={**self.state.topics, topic: value})


def settle(
    connection: Connection,
    before: ConnectionState,
    state: ConnectionState,
    now: datetime,
    policy: Policy,
    cover: Cover,
    *,
    evidence: bool,
) -> Settled:
    """
    Bring the topics of *state* in line with what it says at *now*, and decide whether someone is told.

    *before* is the state before the check, *evidence* whether a conclusive check brought us here. Calling it again
    with its own result and the same *now* changes nothing.
    """
    draft = _Draft(connection, before, state, now, policy, cover)
    if cover.frozen_by is None:
        proposed = levels.proposed(connection, state, now, policy, cover)
        draft.state = levels.note(state, proposed, now, policy, evidence=evidence)
        for topic, level in proposed.items():
            _move(draft, topic, level)
    for topic in Topic:
        if topic in draft.state.topics:
            _tell(draft, topic)
    _coverage_lost(draft)
    final = replace(draft.state, quiet=draft.quiet)
    return Settled(
        replace(final, review_at=review_at(connection, final, now, policy, cover)),
        tuple(draft.transitions),
        tuple(draft.notifications),
    )


def remove(connection: Connection, state: ConnectionState, now: datetime, policy: Policy) -> Settled:
    """The end of a connection that left the configuration: its incidents close, and whoever was told of them hears it."""
    draft = _Draft(connection, state, state, now, policy, Cover())
    for topic, value in state.topics.items():
        if value.level != FINE:
            _transit(draft, topic, FINE, closed_why="removed")
        if draft.state.topic(topic).told.level != FINE:
            _notify(draft, topic, closed_why="removed")
    return Settled(
        replace(ConnectionState(), topics=draft.state.topics, seq=draft.state.seq),
        tuple(draft.transitions),
        tuple(draft.notifications),
    )


def _move(draft: _Draft, topic: Topic, level: str) -> None:
    if level == draft.state.topic(topic).level:
        return
    hint = draft.state.hints.get(topic)
    if hint is None or not levels.holds(topic, hint, draft.now, draft.policy, draft.connection.platform):
        return
    draft.state = replace(draft.state, hints={key: value for key, value in draft.state.hints.items() if key is not topic})
    _transit(draft, topic, level, closed_why=_closed_why(draft.state) if level == FINE else None)


def _closed_why(state: ConnectionState) -> str:
    return "unsupported" if state.health is Health.UNSUPPORTED else "recovered"


def _transit(draft: _Draft, topic: Topic, level: str, *, closed_why: str | None) -> None:
    old = draft.state.topic(topic)
    opened = old.level == FINE
    new = replace(
        old,
        level=level,
        since=draft.now,
        number=old.number + 1 if opened else old.number,
        opened_at=draft.now if opened else old.opened_at,
    )
    draft.put(topic, new)
    shown = level if level != FINE else old.level
    draft.transitions.append(
        Transition(
            incident=_incident(draft.connection, topic, new.number, new.opened_at or draft.now),
            scope=Scope.CONNECTION,
            connection_id=draft.connection.id,
            level=level,
            at=draft.now,
            severity=levels.severity_of(topic, shown, draft.policy, draft.connection.platform),
            reason=draft.state.reason,
            detail=_detail(draft.state, topic),
            closed_why=closed_why,
        )
    )


def _tell(draft: _Draft, topic: Topic) -> None:
    value = draft.state.topic(topic)
    if value.level == value.told.level:
        _remind(draft, topic, value)
        return
    if draft.cover.frozen_by or draft.cover.suppressed_by:
        draft.quiet = Quiet.COVERED_BY_SCOPE
        return
    if topic is Topic.EXPIRY and _merged(draft.state, value):
        # What was told under an incident of its own must be closed under it; only what nobody heard of needs no end.
        unheard = value.told.level == FINE or value.told.merged
        told = _told(value, draft.now)
        draft.put(topic, replace(value, told=replace(told, merged=unheard and told.level != FINE)))
        return
    _notify(draft, topic, closed_why=_closed_why(draft.state) if value.level == FINE else None)


def _merged(state: ConnectionState, value: TopicState) -> bool:
    """Whether the connection's own incident already says what the expiry topic would say."""
    connection = state.topic(Topic.CONNECTION)
    if value.level == levels.EXPIRED:
        return connection.told.level == "error" and state.reason in _CREDENTIAL
    return value.told.merged and value.level == FINE


def _coverage_lost(draft: _Draft) -> None:
    """Say once that a connection which used to be tested no longer can be: nobody would hear of its end any more."""
    lost = draft.before.health is Health.OK and draft.state.health is Health.UNSUPPORTED and draft.state.passed_before
    covered = draft.cover.frozen_by or draft.cover.suppressed_by
    if not lost or covered or draft.state.topic(Topic.CONNECTION).told.level != FINE:
        return
    value = draft.state.topic(Topic.CONNECTION)
    draft.put(Topic.CONNECTION, replace(value, number=value.number + 1))
    _notify(draft, Topic.CONNECTION, closed_why="unsupported", why=Why.NOTICE)


def _remind(draft: _Draft, topic: Topic, value: TopicState) -> None:
    due = reminder_at(topic, value, draft.policy)
    if due is None:
        return
    if draft.now < due:
        if draft.quiet is Quiet.NOTHING_NEW:
            draft.quiet = Quiet.REMINDER_NOT_DUE
        return
    if draft.cover.frozen_by or draft.cover.suppressed_by:
        draft.quiet = Quiet.COVERED_BY_SCOPE
        return
    _notify(draft, topic, closed_why=None, reminder=value.told.reminders + 1)


def reminder_at(topic: Topic, value: TopicState, policy: Policy) -> datetime | None:
    """When the receivers are reminded of an incident that is still open; None when they are not."""
    told = value.told
    reminded = topic in _REMINDED or (topic is Topic.EXPIRY and told.level == levels.EXPIRED)
    if not reminded or told.level in {FINE, levels.FLAPPING} or told.at is None or policy.reminders <= timedelta(0):
        return None
    if topic is Topic.EXPIRY and told.level != levels.EXPIRED:
        return None
    old = told.opened_at is not None and told.at - told.opened_at >= _WEEK
    return told.at + (max(_WEEK, policy.reminders) if old else policy.reminders)


def _notify(draft: _Draft, topic: Topic, *, closed_why: str | None, reminder: int = 0, why: Why | None = None) -> None:
    value = draft.state.topic(topic)
    number = value.told.number if value.told.level != FINE else value.number
    opened_at = (value.told.opened_at if value.told.level != FINE else value.opened_at) or draft.now
    notification = Notification(
        type=_type(topic, value, draft.state, closed_why, reminder),
        why=why or _why(value, reminder),
        severity=_severity(draft, topic, value),
        at=draft.now,
        incident=_incident(draft.connection, topic, number, opened_at),
        scope=Scope.CONNECTION,
        connection_id=draft.connection.id,
        level_from=value.told.level,
        level_to=value.level,
        reason=draft.state.reason,
        detail=_detail(draft.state, topic),
        seq=draft.state.seq + 1,
        facts=_facts(draft, topic, value, closed_why, opened_at, reminder),
    )
    told = replace(value.told, at=draft.now, reminders=reminder) if reminder else _told(value, draft.now)
    draft.put(topic, replace(value, told=told))
    draft.state = replace(draft.state, seq=notification.seq)
    draft.notifications.append(notification)


def _told(value: TopicState, now: datetime) -> Told:
    if value.level == FINE:
        return Told(at=now)
    if value.told.level == FINE:
        return Told(value.level, value.number, value.opened_at, now)
    return Told(value.level, value.told.number, value.told.opened_at, now)


def _why(value: TopicState, reminder: int) -> Why:
    if reminder:
        return Why.REMINDER
    if value.level == FINE:
        return Why.CLOSED
    return Why.OPENED if value.told.level == FINE else Why.CHANGED


def _type(topic: Topic, value: TopicState, state: ConnectionState, closed_why: str | None, reminder: int) -> EventType:
    if reminder:
        return EventType.REMINDER
    if value.level == FINE:
        closed = closed_why == "removed" or (topic is Topic.CONNECTION and state.health is Health.UNSUPPORTED)
        return EventType.CONNECTION_CLOSED if closed else _CLOSING[topic]
    return _OPENING.get((topic, value.level), EventType.TOKEN_EXPIRING)


def _severity(draft: _Draft, topic: Topic, value: TopicState) -> Severity:
    shown = value.level if value.level != FINE else value.told.level
    severity = levels.severity_of(topic, shown, draft.policy, draft.connection.platform)
    doubtful = topic is Topic.CONNECTION and severity is Severity.CRITICAL and draft.state.suspected_false_negative
    return Severity.WARNING if doubtful and value.told.level == FINE else severity


def _detail(state: ConnectionState, topic: Topic) -> str:
    if topic is Topic.PUBLISHING and state.last_error is not None:
        return state.last_error.message
    if topic is Topic.PERMISSIONS:
        return ", ".join(state.permissions_missing)
    return state.detail


def _incident(connection: Connection, topic: Topic, number: int, opened_at: datetime) -> IncidentRef:
    return IncidentRef(topic, str(connection.id), number, opened_at)


def _facts(draft: _Draft, topic: Topic, value: TopicState, closed_why: str | None, opened_at: datetime, reminder: int) -> Facts:
    state, now = draft.state, draft.now
    token = topic in {Topic.EXPIRY, Topic.RENEWAL} or state.reason in _CREDENTIAL
    return Facts(
        first_check=not state.passed_before and value.told.level == FINE,
        suspected_false_negative=topic is Topic.CONNECTION and value.level != FINE and state.suspected_false_negative,
        merged_expiry=topic is Topic.CONNECTION and value.level == "error" and state.reason is Reason.TOKEN_EXPIRED,
        duration=now - opened_at if value.level == FINE else None,
        expires_at=expiry.best(state.token) if token else None,
        expires_uncertainty=expiry.uncertainty(state.token) if token else None,
        threshold=expiry.threshold_of(value.level) if topic is Topic.EXPIRY else None,
        permissions_lost=state.permissions_missing if topic is Topic.PERMISSIONS else (),
        last_successful_post_at=state.last_successful_post_at,
        reminder=reminder,
        username=state.display_name or state.username,
        closed_why=closed_why,
    )


def review_at(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, cover: Cover) -> datetime | None:
    """When the passing of time alone may next change a level or owe a notification; None when nothing can."""
    later = [moment for moment in _moments(connection, state, policy, cover) if moment > now]
    owed = any(value.level != value.told.level for value in state.topics.values())
    if owed or state.hints:
        later.append(now + policy.recheck)
    return min(later, default=None)


def _moments(connection: Connection, state: ConnectionState, policy: Policy, cover: Cover) -> Iterator[datetime]:
    stale = levels.stale_at(connection, state, policy, cover)
    if stale is not None:
        yield stale
    if state.changes:
        yield state.changes[-1] + policy.flap.calm
    own = policy.expiry_for(connection.platform)
    yield from expiry.crossings(state.token, own)
    for topic, value in state.topics.items():
        due = reminder_at(topic, value, policy)
        if due is not None:
            yield due
    for topic, hint in state.hints.items():
        if topic is Topic.EXPIRY:
            yield hint.since + own.settle
