"""Reminders, and when to evaluate again."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from monitor.domain import topics
from monitor.domain.connections import Connection
from monitor.domain.events import FINE, NotificationReason, Topic
from monitor.domain.expiry import levels
from monitor.domain.policy import Policy
from monitor.domain.scopes.state import ScopeState
from monitor.domain.states import ConnectionState, LastNotified, TopicState
from monitor.domain.topics import ScopeContext

_REMINDED = frozenset({Topic.CONNECTION, Topic.SCOPE})


def reminder_at(topic: Topic, value: TopicState, policy: Policy) -> datetime | None:
    """When the receivers are reminded of an incident that is still open; None when they are not."""
    # What another topic's notification told along is in the reminders of that.
    if value.notified.level == topics.FLAPPING or value.notified.merged:
        return None
    reminded = topic in _REMINDED or (topic is Topic.EXPIRY and value.notified.level == topics.EXPIRED)
    return reminder_due(value.notified, policy) if reminded else None


def needs_evaluation(state: ConnectionState) -> bool:
    """Whether somebody may have to be told something as soon as no silence and no acknowledgement is in the way."""
    news = any(value.level != value.notified.level or value.notified.level != FINE for value in state.topics.values())
    return news or state.notice_pending


def next_evaluation_at(
    connection: Connection, state: ConnectionState, now: datetime, policy: Policy, cover: ScopeContext, held: Mapping[Topic, datetime]
) -> datetime | None:
    """
    When the passing of time alone may next change a level or owe a notification; None when nothing can.

    What an open scope covers is looked at when that closes, not before; what is *held* back, when that ends.
    """
    if cover.frozen_by is not None or cover.suppressed_by is not None:
        return None
    later = [moment for moment in _moments(connection, state, policy, cover) if moment > now]
    later += held.values()
    if any(value.level != value.notified.level for topic, value in state.topics.items() if topic not in held) or state.pending_levels:
        waits = cover.hold_until is not None and cover.hold_until > now
        later.append(cover.hold_until if waits and cover.hold_until is not None else now + policy.recheck)
    return min(later, default=None)


def _moments(connection: Connection, state: ConnectionState, policy: Policy, cover: ScopeContext) -> Iterator[datetime]:
    stale = topics.stale_at(connection, state, policy, cover)
    if stale is not None:
        yield stale
    if state.changes:
        yield state.changes[-1] + policy.flap.calm
    own = policy.expiry_for(connection.platform)
    yield from levels.crossings(state.token, own)
    for topic, value in state.topics.items():
        due = reminder_at(topic, value, policy)
        if due is not None:
            yield due
    for topic, hint in state.pending_levels.items():
        if topic is Topic.EXPIRY:
            yield hint.since + own.settle


_WEEK = timedelta(days=7)
_OVERTAKING = frozenset({NotificationReason.REMINDER, NotificationReason.CHANGED, NotificationReason.CLOSED})


def reminder_due(told: LastNotified, policy: Policy) -> datetime | None:
    """When what was *told* is told again; None when it is over or reminders are turned off."""
    if told.level == FINE or told.at is None or policy.reminders <= timedelta(0):
        return None
    old = told.opened_at is not None and told.at - told.opened_at >= _WEEK
    return told.at + (max(_WEEK, policy.reminders) if old else policy.reminders)


def overtakes_reminders(why: NotificationReason) -> bool:
    """
    Whether a reminder of the same incident that a receiver has not taken yet says nothing more once this is told.

    A receiver that comes back after days hears what broke and how it is now, not how it was on every day between.
    """
    return why in _OVERTAKING


def end_held_until(state: ScopeState, policy: Policy) -> datetime | None:
    """
    Until when the end of trouble that comes and goes is kept back; None when it is not.

    That is one trouble more often than a connection may change: with the usual policy the third within an hour. That it is over is
    told when it has stayed so; meanwhile the connections are watched as ever.
    """
    value, flap = state.topic, policy.flap
    if value.level != FINE or value.notified.level == FINE or state.closed_why or not state.changes:
        return None
    last = state.changes[-1]
    lately = sum(1 for change in state.changes if change > last - flap.window)
    return last + flap.calm if lately > flap.changes else None
