"""When reminders are due, and when a connection is evaluated again."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from monitor.domain import topics
from monitor.domain.connections import Connection
from monitor.domain.events import FINE, NotificationReason, Topic
from monitor.domain.expiry import levels
from monitor.domain.policy import Policy
from monitor.domain.reasons import Advice
from monitor.domain.routes import Route
from monitor.domain.scopes.key import ACCOUNT, API, GROUP, PLATFORM, SERVICE, USER
from monitor.domain.scopes.state import ScopeState
from monitor.domain.states import ConnectionState, LastNotified, TopicState
from monitor.domain.topics import ScopeContext

_REMINDED = frozenset({Topic.CONNECTION, Topic.SCOPE})
_LOOKED_AT = frozenset({PLATFORM, GROUP, API, SERVICE, ACCOUNT, USER})
# An answer may take twice as long as canaries are apart.
_MISSED_CANARIES = 4


def reminder_at(topic: Topic, value: TopicState, policy: Policy) -> datetime | None:
    """Return when the next reminder of an open incident is due; None when there is none."""
    # A merged topic is part of the other topic's reminders.
    if value.notified.level == topics.FLAPPING or value.notified.merged:
        return None
    reminded = topic in _REMINDED or (topic is Topic.EXPIRY and value.notified.level == topics.EXPIRED)
    return reminder_due(value.notified, policy) if reminded else None


def escalation_at(value: TopicState, policy: Policy) -> datetime | None:
    """Return when the next escalation of an open incident is due; None when there is none."""
    return min((at for at, _ in escalations(value, policy)), default=None)


def escalations(value: TopicState, policy: Policy) -> Iterator[tuple[datetime, Route]]:
    """Return the routes that still escalate the incident if it is not acknowledged, each with the time when it does."""
    notified = value.notified
    if FINE in {value.level, notified.level} or notified.merged or notified.routed_at is None:
        return
    for route in policy.routes_named(notified.routes):
        if route.escalation is not None and route.key not in notified.escalated:
            yield notified.routed_at + route.escalation.after, route


def escalated(value: TopicState, policy: Policy) -> Iterator[tuple[datetime, tuple[str, ...]]]:
    """Return when the incident was due for each escalation that was sent, and to whom."""
    for route in policy.routes_named(value.notified.escalated):
        if route.escalation is not None and value.notified.routed_at is not None:
            yield value.notified.routed_at + route.escalation.after, route.escalation.receivers


def reminders_due(state: ConnectionState, policy: Policy) -> Iterator[datetime]:
    """Return when the next reminders and escalations of the connection's open incidents are due."""
    for topic, value in state.topics.items():
        for due in (reminder_at(topic, value, policy), escalation_at(value, policy)):
            if due is not None:
                yield due


def cause_due_at(state: ConnectionState, notified: LastNotified, policy: Policy, interval: timedelta) -> datetime | None:
    """Return when another cause of an open failure is notified: at once, the third and any further one if the last message is old, else later."""
    since = state.failure.cause_since if state.failure is not None else None
    if since is None or notified.at is None or notified.causes < _CAUSES_AT_ONCE:
        return since
    hold = policy.flap.calm_for(interval) * (1 << min(notified.causes - _CAUSES_AT_ONCE, _LONGEST_HOLD))
    return since if since - notified.at >= hold else since + hold


def needs_evaluation(state: ConnectionState) -> bool:
    """Whether a notification or reminder may be due once no silence and no acknowledgement suppresses it."""
    pending = any(value.level != value.notified.level or value.notified.level != FINE for value in state.topics.values())
    return pending or state.notice_pending


def next_evaluation_at(
    connection: Connection,
    state: ConnectionState,
    now: datetime,
    policy: Policy,
    context: ScopeContext,
    suppressed_until: Mapping[Topic, datetime],
) -> datetime | None:
    """Return when the passing of time alone may next change a level or make a notification due; None when it cannot."""
    if context.suppressed_by is not None:
        return None
    moments = [moment for moment in _moments(connection, state, policy, context) if moment > now]
    moments += suppressed_until.values()
    if (
        any(value.level != value.notified.level for topic, value in state.topics.items() if topic not in suppressed_until)
        or state.pending_levels
    ):
        holding = context.hold_until is not None and context.hold_until > now
        moments.append(context.hold_until if holding and context.hold_until is not None else now + policy.recheck)
    return min(moments, default=None)


def _moments(connection: Connection, state: ConnectionState, policy: Policy, context: ScopeContext) -> Iterator[datetime]:
    stale = topics.stale_at(connection, state, policy, context)
    if stale is not None:
        yield stale
    if state.changes:
        yield state.changes[-1] + policy.flap.calm_for(connection.interval)
    expiry = policy.expiry_for(connection.platform)
    yield from levels.crossings(state.token, expiry)
    for due in reminders_due(state, policy):
        yield due
        yield due + policy.stale_for(connection.interval)
    for topic, pending in state.pending_levels.items():
        if topic is Topic.EXPIRY:
            yield topics.settled_at(connection, state, pending, policy)


_WEEK = timedelta(days=7)
_CAUSES_AT_ONCE = 2
_LONGEST_HOLD = 5
_OVERTAKING = frozenset({NotificationReason.REMINDER, NotificationReason.CHANGED, NotificationReason.CLOSED})


def reminder_due(notified: LastNotified, policy: Policy) -> datetime | None:
    """Return when the reminder after *notified* is due; None when the incident closed or reminders are turned off."""
    if notified.level == FINE or notified.at is None:
        return None
    asked = policy.reminders_by(notified.routes)
    if asked is not None:
        return notified.at + asked if asked > timedelta(0) else None
    if policy.reminders <= timedelta(0):
        return None
    if notified.advice is Advice.CHECK_POSTS:
        return notified.at + max(policy.reminders, policy.reminders_suspected)
    old = notified.opened_at is not None and notified.at - notified.opened_at >= _WEEK
    return notified.at + (max(_WEEK, policy.reminders) if old else policy.reminders)


def is_fresh(state: ScopeState, now: datetime, policy: Policy) -> bool:
    """Whether the scope was looked at since its reminder is due: a failure since then, or looks at what is below a platform."""
    due = reminder_due(state.topic.notified, policy)
    if due is None or state.kind not in _LOOKED_AT:
        return True
    if state.key.platform:
        return state.swept_at is not None and state.swept_at >= due and now >= state.swept_at + policy.scopes.sweep
    return state.last_bad_at is not None and state.last_bad_at >= due


def is_outdated(state: ScopeState, now: datetime, policy: Policy) -> bool:
    """Whether the last failure of the API is older than its canaries are apart: the process stood still meanwhile."""
    if state.kind != API or state.last_bad_at is None:
        return False
    return now - state.last_bad_at > max(_MISSED_CANARIES * policy.scopes.canary, policy.scopes.sweep)


def awaits_look(state: ScopeState, now: datetime, policy: Policy) -> bool:
    """Whether the connections below an open platform or group are to be looked at anew, because its reminder is due."""
    due = reminder_due(state.topic.notified, policy)
    return state.open and due is not None and now >= due and (state.swept_at is None or state.swept_at < due)


def overtakes_reminders(why: NotificationReason) -> bool:
    """Whether a notification replaces the pending reminders of the same incident."""
    return why in _OVERTAKING


def closing_held_until(state: ScopeState, policy: Policy) -> datetime | None:
    """Return until when the close notification of a flapping scope is held: until it is stable. None when the scope is not flapping."""
    value, flap = state.topic, policy.flap
    if value.level != FINE or value.notified.level == FINE or state.closed_why or not state.changes:
        return None
    return state.changes[-1] + flap.calm_for(policy.interval) if scope_outages(state, policy) else None


def short_outages(state: ScopeState, policy: Policy) -> bool:
    """Whether the open incident of a flapping scope is notified at once: those before it were too short to be notified at all."""
    outages, notified_at = scope_outages(state, policy), state.topic.notified.at
    return outages > 0 and (notified_at is None or notified_at < state.changes[1 - 2 * min(outages, policy.flap.changes)])


def repeated_at(state: ScopeState, policy: Policy) -> datetime | None:
    """
    Return when the open incident of a flapping scope is notified, whose last end is held; None when receivers know of it.

    It must last as long as an outage of the API that is notified, each further one twice as long, at most until a scope counts as stable.
    """
    value, notified = state.topic, state.topic.notified
    if FINE in {value.level, notified.level} or value.since is None or (notified.at is not None and notified.at >= value.since):
        return None
    hold = policy.scopes.api_notify_for(policy.api_window) * (1 << min(notified.causes, _LONGEST_HOLD))
    return (value.opened_at or value.since) + min(hold, policy.flap.calm_for(policy.interval))


def scope_outages(state: ScopeState, policy: Policy) -> int:
    """How often a flapping scope failed lately, its last incident included; 0 when it does not flap: `flap.changes` incidents make it."""
    outages = recent_failures(state.changes, policy, policy.interval)
    return outages if outages >= policy.flap.changes else 0


def recent_failures(changes: Sequence[datetime], policy: Policy, interval: timedelta) -> int:
    """How many of the *changes* between working and failing within the window before the last one were failures; the two alternate."""
    recent = sum(1 for change in changes if change > changes[-1] - policy.flap.window_for(interval))
    return (recent + 1) // 2
