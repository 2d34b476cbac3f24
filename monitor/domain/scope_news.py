"""Who is told of a scope's incident, and when again."""

from datetime import datetime, timedelta

from monitor.domain.controls import NO_CONTROLS, Controls
from monitor.domain.copies import replace
from monitor.domain.model import (
    FINE,
    EventType,
    Facts,
    IncidentRef,
    Notification,
    Scope,
    Severity,
    Told,
    Topic,
    TopicState,
    Transition,
    Why,
)
from monitor.domain.policy import Policy
from monitor.domain.reminders import reminder_due
from monitor.domain.scope_state import ScopeState

_TYPES: dict[Scope, tuple[EventType, EventType]] = {
    Scope.API: (EventType.API_FAILED, EventType.API_RECOVERED),
    Scope.ACCOUNT: (EventType.ACCOUNT_FAILED, EventType.ACCOUNT_RECOVERED),
    Scope.USER: (EventType.ACCOUNT_FAILED, EventType.ACCOUNT_RECOVERED),
    Scope.PLATFORM: (EventType.PLATFORM_FAILED, EventType.PLATFORM_RECOVERED),
    Scope.STORAGE: (EventType.STORAGE_FAILED, EventType.STORAGE_RECOVERED),
}


def settle(
    state: ScopeState, before: ScopeState, now: datetime, policy: Policy, controls: Controls = NO_CONTROLS
) -> tuple[ScopeState, tuple[Transition, ...], tuple[Notification, ...]]:
    """Say what changed from *before* to *state*, and decide whether someone is told; *controls* may hold it back."""
    transitions = (transition(state, now),) if state.topic.level != before.topic.level else ()
    value = state.topic
    due = reminder_due(value.told, policy)
    reminder = value.level == value.told.level and due is not None and now >= due
    if value.level == value.told.level and not reminder:
        return state, transitions, ()
    held_until = end_held_until(state, policy)
    if held_until is not None and now < held_until:
        return state, transitions, ()
    if reminder and controls.acknowledged(Topic.SCOPE, state.name, value) is not None:
        return state, transitions, ()
    notification = announcement(state, now, reminder=value.told.reminders + 1 if reminder else 0)
    # A reminder is held back by what matches it, and by what matches the news that it repeats.
    if any(controls.held(one, None, now) is not None for one in (notification, announcement(state, now))):
        return state, transitions, ()
    told = replace(value.told, at=now, reminders=value.told.reminders + 1) if reminder else told_now(value, now)
    return replace(state, topic=replace(value, told=told), seq=notification.seq), transitions, (notification,)


def end_held_until(state: ScopeState, policy: Policy) -> datetime | None:
    """
    Until when the end of trouble that comes and goes is kept back; None when it is not.

    That is one trouble more often than a connection may change: with the usual policy the third within an hour. That it is over is
    told when it has stayed so; meanwhile the connections are watched as ever.
    """
    value, flap = state.topic, policy.flap
    if value.level != FINE or value.told.level == FINE or state.closed_why or not state.changes:
        return None
    last = state.changes[-1]
    lately = sum(1 for change in state.changes if change > last - flap.window)
    return last + flap.calm if lately > flap.changes else None


def told_now(value: TopicState, now: datetime) -> Told:
    """What the receivers know once they are told of *value* as it is."""
    if value.level == FINE:
        return Told(at=now)
    if value.told.level == FINE:
        return Told(value.level, value.number, value.opened_at, now)
    return Told(value.level, value.told.number, value.told.opened_at, now)


def severity(kind: Scope) -> Severity:
    """How urgent an incident of this scope is."""
    return Severity.WARNING if kind is Scope.USER else Severity.CRITICAL


def transition(state: ScopeState, now: datetime) -> Transition:
    """The row of history that the incident of *state* leaves as it is."""
    topic = state.topic
    return Transition(
        incident=IncidentRef(Topic.SCOPE, state.name, topic.number, topic.opened_at or now),
        scope=state.kind,
        connection_id=None,
        level=topic.level,
        at=now,
        severity=severity(state.kind),
        reason=state.reason,
        detail=state.detail,
        closed_why=(state.closed_why or "recovered") if topic.level == FINE else None,
    )


def announcement(state: ScopeState, now: datetime, *, reminder: int = 0) -> Notification:
    """What the receivers are told of *state*: that its incident opened, closed, or (the *reminder*-th time) is still open."""
    value = state.topic
    closing = value.level == FINE
    known = value.told if value.told.level != FINE else value
    opened_at = known.opened_at or now
    opens, closes = _TYPES[state.kind]
    return Notification(
        type=EventType.REMINDER if reminder else closes if closing else opens,
        why=Why.REMINDER if reminder else Why.CLOSED if closing else Why.OPENED,
        severity=severity(state.kind),
        at=now,
        incident=IncidentRef(Topic.SCOPE, state.name, known.number, opened_at),
        scope=state.kind,
        connection_id=None,
        level_from=value.told.level,
        level_to=value.level,
        reason=state.reason,
        detail=state.detail,
        seq=state.seq + 1,
        facts=Facts(
            affected=state.affected,
            duration=max(now - opened_at, timedelta(0)) if closing else None,
            reminder=reminder,
            closed_why=(state.closed_why or None) if closing else None,
        ),
    )
