"""
The one decision: level, last notified, suppression, reminder -> notify or why not.

A notification is owed if and only if the level of a topic differs from what the receivers were last told.
Cover by a scope incident, a silence and quiet hours delay it, never lose it. Every decision names its reason, also the
decision to stay quiet.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.domain import topics
from monitor.domain.connections import Connection
from monitor.domain.copies import replace
from monitor.domain.events import FINE, Notification, NotificationReason, Topic, Transition
from monitor.domain.notifications.build import (
    CREDENTIAL,
    NotificationContext,
    build_notification,
    build_scope_notification,
    detail,
    incident,
    transition,
)
from monitor.domain.notifications.timing import end_held_until, next_evaluation_at, reminder_at, reminder_due
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health, Scope
from monitor.domain.scopes.state import ScopeState
from monitor.domain.silencing.controls import NO_CONTROLS, Controls
from monitor.domain.states import ConnectionState, LastNotified, SuppressionReason, TopicState
from monitor.domain.topics import ScopeContext

_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Settled:
    """A connection's state brought in line with its levels, and what came of it, in order."""

    state: ConnectionState
    transitions: tuple[Transition, ...] = ()
    notifications: tuple[Notification, ...] = ()


@dataclass(slots=True)
class _Decision:
    """The state under work while the topics are settled one after the other."""

    connection: Connection
    before: ConnectionState
    state: ConnectionState
    now: datetime
    policy: Policy
    scope_context: ScopeContext
    controls: Controls = NO_CONTROLS
    suppressed_until: dict[Topic, datetime] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=list)
    notifications: list[Notification] = field(default_factory=list)
    suppression: SuppressionReason = SuppressionReason.NOTHING_NEW

    def put(self, topic: Topic, value: TopicState) -> None:
        self.state = replace(self.state, topics={**self.state.topics, topic: value})


def decide(
    connection: Connection,
    before: ConnectionState,
    state: ConnectionState,
    now: datetime,
    policy: Policy,
    cover: ScopeContext,
    *,
    evidence: bool,
    controls: Controls = NO_CONTROLS,
) -> Settled:
    """
    Bring the topics of *state* in line with what it says at *now*, and decide whether someone is told.

    *before* is the state before the check, *evidence* whether a conclusive check brought us here, *controls* what
    operators do not want to hear. Calling it again with its own result and the same *now* changes nothing.
    """
    draft = _Decision(connection, before, state, now, policy, cover, controls)
    if cover.frozen_by is None:
        proposed = topics.proposed(connection, state, now, policy, cover)
        draft.state = topics.note_pending(state, proposed, now, policy, evidence=evidence)
        for topic, level in proposed.items():
            _transition(draft, topic, level)
    for topic in Topic:
        if topic in draft.state.topics:
            _notify(draft, topic)
    _coverage_lost(draft)
    final = replace(draft.state, suppression=draft.suppression)
    return Settled(
        replace(final, next_evaluation_at=next_evaluation_at(connection, final, now, policy, cover, draft.suppressed_until)),
        tuple(draft.transitions),
        tuple(draft.notifications),
    )


def close_removed(connection: Connection, state: ConnectionState, now: datetime, policy: Policy) -> Settled:
    """
    The end of a connection that left the configuration: its incidents close, and whoever was told of them hears it.

    No silence holds that back: there would be nobody left to tell it later.
    """
    draft = _Decision(connection, state, state, now, policy, ScopeContext())
    for topic, value in state.topics.items():
        if value.level != FINE:
            _record_transition(draft, topic, FINE, closed_why="removed")
        if draft.state.topic(topic).notified.level != FINE:
            _emit(draft, topic, NotificationContext(now, "removed"))
    return Settled(
        replace(ConnectionState(), topics=draft.state.topics, seq=draft.state.seq),
        tuple(draft.transitions),
        tuple(draft.notifications),
    )


def _transition(draft: _Decision, topic: Topic, level: str) -> None:
    if level == draft.state.topic(topic).level:
        return
    hint = draft.state.pending_levels.get(topic)
    if hint is None or not topics.holds(topic, hint, draft.now, draft.policy, draft.connection.platform):
        return
    draft.state = replace(draft.state, pending_levels={key: value for key, value in draft.state.pending_levels.items() if key is not topic})
    _record_transition(draft, topic, level, closed_why=_closed_why(draft.state) if level == FINE else None)


def _closed_why(state: ConnectionState) -> str:
    return "unsupported" if state.health is Health.UNSUPPORTED else "recovered"


def _record_transition(draft: _Decision, topic: Topic, level: str, *, closed_why: str | None) -> None:
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
            incident=incident(draft.connection, topic, new.number, new.opened_at or draft.now),
            scope=Scope.CONNECTION,
            connection_id=draft.connection.id,
            level=level,
            at=draft.now,
            severity=topics.severity_of(topic, shown, draft.policy, draft.connection.platform),
            reason=draft.state.reason,
            detail=detail(draft.state, topic),
            closed_why=closed_why,
        )
    )


def _notify(draft: _Decision, topic: Topic) -> None:
    value = draft.state.topic(topic)
    if value.level == value.notified.level:
        _remind(draft, topic, value)
        return
    if _is_held_back(draft, topic, value):
        return
    if topic is Topic.EXPIRY and _merged(draft.state, value):
        # What was told under an incident of its own must be closed under it; only what nobody heard of needs no end.
        unheard = value.notified.level == FINE or value.notified.merged
        told = last_notified(value, draft.now)
        draft.put(topic, replace(value, notified=replace(told, merged=unheard and told.level != FINE)))
        return
    occasion = NotificationContext(draft.now, _closed_why(draft.state) if value.level == FINE else None)
    if not _is_suppressed(draft, topic, occasion):
        _emit(draft, topic, occasion)


def _is_held_back(draft: _Decision, topic: Topic, value: TopicState) -> bool:
    """Whether news wait: for the end of wider trouble, or for a fresh look at what may be so no more."""
    if draft.scope_context.suppresses(draft.now):
        draft.suppression = SuppressionReason.COVERED_BY_SCOPE
        if draft.scope_context.hold_until is not None:
            draft.suppressed_until[topic] = max(draft.scope_context.hold_until, draft.now)
        return True
    uncertain = topic is Topic.CONNECTION and value.level != topics.STALE
    if uncertain and topics.is_uncertain(draft.connection, draft.state, draft.now, draft.policy, draft.scope_context):
        draft.suppression = SuppressionReason.UNCERTAIN
        draft.suppressed_until[topic] = draft.now + draft.policy.recheck
        return True
    return False


def _is_suppressed(draft: _Decision, topic: Topic, occasion: NotificationContext) -> bool:
    """
    Whether a silence or quiet hours hold back what would be told on *occasion*; if so, their end is remembered.

    A reminder is held back by what matches it, and by what matches the news that it repeats.
    """
    if not draft.controls.silences and not draft.controls.recurring:
        return False
    for one in (occasion, replace(occasion, reminder=0)):
        notification = build_notification(draft.connection, draft.state, topic, one, draft.policy)
        held = draft.controls.suppression(notification, draft.connection, draft.now)
        if held is not None:
            draft.suppression = held.reason
            draft.suppressed_until[topic] = held.until
            return True
    return False


def _merged(state: ConnectionState, value: TopicState) -> bool:
    """Whether the connection's own incident already says what the expiry topic would say."""
    connection = state.topic(Topic.CONNECTION)
    if value.level == topics.EXPIRED:
        return connection.notified.level == "error" and state.reason in CREDENTIAL
    return value.notified.merged and value.level == FINE


def _coverage_lost(draft: _Decision) -> None:
    """
    Say that a connection which used to be tested no longer can be: nobody would hear of its end any more.

    Said once a week at most: a validator that works every other day is no news. A platform's incident does not hide it,
    and a silence only delays it.
    """
    lost = draft.before.health is Health.OK or draft.state.notice_pending
    draft.state = replace(draft.state, notice_pending=False)
    if not lost or draft.state.health is not Health.UNSUPPORTED:
        return
    value = draft.state.topic(Topic.CONNECTION)
    lately = value.notified.at is not None and draft.now - value.notified.at < _WEEK
    if value.level != FINE or value.notified.level != FINE or lately:
        return
    occasion = NotificationContext(draft.now, "unsupported", why=NotificationReason.NOTICE)
    if _is_suppressed(draft, Topic.CONNECTION, occasion):
        draft.state = replace(draft.state, notice_pending=True)
        return
    draft.put(Topic.CONNECTION, replace(value, number=value.number + 1))
    _emit(draft, Topic.CONNECTION, occasion)


def _remind(draft: _Decision, topic: Topic, value: TopicState) -> None:
    if _false_negative_is_news(draft.state, topic, value):
        _notify_false_negative(draft, topic)
        return
    due = reminder_at(topic, value, draft.policy)
    if due is None:
        return
    if draft.controls.acknowledged(topic, str(draft.connection.id), value) is not None:
        if draft.suppression is SuppressionReason.NOTHING_NEW:
            draft.suppression = SuppressionReason.ACKNOWLEDGED
        return
    if draft.now < due:
        if draft.suppression is SuppressionReason.NOTHING_NEW:
            draft.suppression = SuppressionReason.REMINDER_NOT_DUE
        return
    if _is_held_back(draft, topic, value):
        return
    if topics.is_contradicted(draft.connection, draft.state, topic, draft.now, draft.policy):
        draft.suppression = SuppressionReason.UNCERTAIN
        return
    occasion = NotificationContext(draft.now, reminder=value.notified.reminders + 1)
    if not _is_suppressed(draft, topic, occasion):
        _emit(draft, topic, occasion)


def _false_negative_is_news(state: ConnectionState, topic: Topic, value: TopicState) -> bool:
    """Whether the receivers know of a failure, but not that a post has succeeded since it began."""
    told = value.notified
    return topic is Topic.CONNECTION and told.level == "error" and state.suspected_false_negative and not told.false_negative_suspected


def _notify_false_negative(draft: _Decision, topic: Topic) -> None:
    if _is_held_back(draft, topic, draft.state.topic(topic)):
        return
    occasion = NotificationContext(draft.now, why=NotificationReason.CHANGED)
    if not _is_suppressed(draft, topic, occasion):
        _emit(draft, topic, occasion)


def _emit(draft: _Decision, topic: Topic, occasion: NotificationContext) -> None:
    notification = build_notification(draft.connection, draft.state, topic, occasion, draft.policy)
    value = draft.state.topic(topic)
    again = replace(value.notified, at=draft.now, reminders=max(value.notified.reminders, occasion.reminder))
    told = again if occasion.reminder or occasion.why is NotificationReason.CHANGED else last_notified(value, draft.now)
    draft.put(topic, replace(value, notified=replace(told, false_negative_suspected=notification.facts.suspected_false_negative)))
    draft.state = replace(draft.state, seq=notification.seq)
    draft.notifications.append(notification)


def decide_scope(
    state: ScopeState, before: ScopeState, now: datetime, policy: Policy, controls: Controls = NO_CONTROLS
) -> tuple[ScopeState, tuple[Transition, ...], tuple[Notification, ...]]:
    """Say what changed from *before* to *state*, and decide whether someone is told; *controls* may hold it back."""
    transitions = (transition(state, now),) if state.topic.level != before.topic.level else ()
    value = state.topic
    due = reminder_due(value.notified, policy)
    reminder = value.level == value.notified.level and due is not None and now >= due
    if value.level == value.notified.level and not reminder:
        return state, transitions, ()
    held_until = end_held_until(state, policy)
    if held_until is not None and now < held_until:
        return state, transitions, ()
    if reminder and controls.acknowledged(Topic.SCOPE, state.name, value) is not None:
        return state, transitions, ()
    notification = build_scope_notification(state, now, reminder=value.notified.reminders + 1 if reminder else 0)
    # A reminder is held back by what matches it, and by what matches the news that it repeats.
    if any(controls.suppression(one, None, now) is not None for one in (notification, build_scope_notification(state, now))):
        return state, transitions, ()
    told = replace(value.notified, at=now, reminders=value.notified.reminders + 1) if reminder else last_notified(value, now)
    return replace(state, topic=replace(value, notified=told), seq=notification.seq), transitions, (notification,)


def last_notified(value: TopicState, now: datetime) -> LastNotified:
    """What the receivers know once they are told of *value* as it is."""
    if value.level == FINE:
        return LastNotified(at=now)
    if value.notified.level == FINE:
        return LastNotified(value.level, value.number, value.opened_at, now)
    return LastNotified(value.level, value.notified.number, value.notified.opened_at, now)
