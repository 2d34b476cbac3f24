"""
The one decision: level, last notified, suppression, reminder -> notify, or why not.

A notification is pending while the level of a topic differs from what the receivers were last notified of; at the same level another
cause, an escalation and reminders are. An open scope, a silence and quiet hours delay it, never lose it. Every decision names its
reason, also the decision not to notify.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from monitor.domain import topics
from monitor.domain.connections import Connection
from monitor.domain.copies import replace
from monitor.domain.events import FINE, REPLACED, EventType, Notification, NotificationReason, Severity, Topic, Transition
from monitor.domain.notifications.build import (
    NotificationContext,
    build_notification,
    build_scope_notification,
    first_seen_at,
    incident,
    last_notified,
    looked_at,
    reason_and_detail,
    severity,
    severity_of,
    transition,
)
from monitor.domain.notifications.timing import (
    cause_due_at,
    closing_held_until,
    escalated,
    escalations,
    is_fresh,
    is_outdated,
    next_evaluation_at,
    reminder_at,
    repeated_at,
    scope_outages,
    short_outages,
)
from monitor.domain.policy import Policy
from monitor.domain.reasons import Advice, Health, Scope
from monitor.domain.routes import Route
from monitor.domain.scopes.platform import is_notified, longest_hold
from monitor.domain.scopes.state import ScopeState
from monitor.domain.silencing.acceptance import ACCEPTED
from monitor.domain.silencing.controls import FOLLOWING, NO_CONTROLS, Controls
from monitor.domain.states import ConnectionState, LastNotified, SuppressionReason, TopicState
from monitor.domain.topics import ScopeContext

_State = TypeVar("_State")
_WEEK = timedelta(days=7)

# Reasons that say less than any other.
_WEAK = frozenset({SuppressionReason.ACKNOWLEDGED, SuppressionReason.REMINDER_NOT_DUE})


@dataclass(frozen=True, slots=True)
class Decision(Generic[_State]):
    """The state of a connection or scope in line with its levels, and what came of it, in order."""

    state: _State
    transitions: tuple[Transition, ...] = ()
    notifications: tuple[Notification, ...] = ()


def decide(
    connection: Connection,
    before: ConnectionState,
    state: ConnectionState,
    now: datetime,
    policy: Policy,
    context: ScopeContext,
    *,
    evidence: bool,
    controls: Controls = NO_CONTROLS,
) -> Decision[ConnectionState]:
    """
    Bring the topics of *state* in line with what it says at *now*, and decide whether the receivers are notified.

    *before* is the state before the check, *evidence* whether a conclusive check led here, *controls* the silences and
    acknowledgements. Calling it again with its own result and the same *now* changes nothing.
    """
    explained_at = topics.explained_error_at(connection, state, context)
    if explained_at != state.explained_error_at:
        state = replace(state, explained_error_at=explained_at)
    draft = _ConnectionDraft(now, policy, controls, connection, before, state, context)
    if context.frozen_by is None:
        proposed = topics.proposed(connection, state, now, policy, context)
        draft.state = topics.note_pending(state, proposed, now, policy, evidence=evidence)
        for topic, level in proposed.items():
            _transition(draft, topic, level)
    draft.separate()
    for topic in Topic:
        if topic in draft.state.topics:
            _notify(draft, topic)
    _coverage_lost(draft)
    final = replace(draft.state, suppression=draft.suppression)
    again_at = next_evaluation_at(connection, final, now, policy, context, draft.suppressed_until)
    return Decision(replace(final, next_evaluation_at=again_at), tuple(draft.transitions), tuple(draft.notifications))


def decide_scope(
    state: ScopeState, before: ScopeState, now: datetime, policy: Policy, controls: Controls = NO_CONTROLS
) -> Decision[ScopeState]:
    """Record what changed from *before* to *state*, and decide whether the receivers are notified."""
    draft = _ScopeDraft(now, policy, controls, state)
    if state.topic.level != before.topic.level:
        draft.transitions.append(transition(state, now))
    _notify(draft, Topic.SCOPE)
    return Decision(draft.state, tuple(draft.transitions), tuple(draft.notifications))


def close_removed(connection: Connection, state: ConnectionState, now: datetime, policy: Policy) -> Decision[ConnectionState]:
    """The end of a connection that is no longer monitored: its incidents close and are notified, whatever silences there are."""
    draft = _ConnectionDraft(now, policy, NO_CONTROLS, connection, state, state, ScopeContext())
    for topic, value in state.topics.items():
        if value.level != FINE:
            _record_transition(draft, topic, FINE, closed_why="removed")
        notified = draft.state.topic(topic).notified
        if notified.level != FINE and not notified.merged:
            _emit(draft, topic, NotificationContext(now, "removed"))
    # Of its state only for showing: should it come back, it is watched as if it were new.
    final = replace(
        ConnectionState(),
        topics=draft.state.topics,
        seq=draft.state.seq,
        username=state.username,
        display_name=state.display_name,
        last_known=replace(state, topics={}, last_known=None),
    )
    return Decision(final, tuple(draft.transitions), tuple(draft.notifications))


@dataclass(slots=True)
class _Draft(ABC):
    """A state while its topics are decided one after the other."""

    now: datetime
    policy: Policy
    controls: Controls
    transitions: list[Transition] = field(default_factory=list, init=False)
    notifications: list[Notification] = field(default_factory=list, init=False)
    suppression: SuppressionReason = field(default=SuppressionReason.NOTHING_NEW, init=False)
    suppressed_until: dict[Topic, datetime] = field(default_factory=dict, init=False)

    @property
    @abstractmethod
    def subject(self) -> str:
        """The subject of its incidents."""

    @abstractmethod
    def value(self, topic: Topic) -> TopicState:
        """The topic as decided so far."""

    @abstractmethod
    def put(self, topic: Topic, value: TopicState, seq: int | None = None) -> None:
        """Replace the topic; *seq* is the number of the notification that made it so."""

    @abstractmethod
    def build(self, topic: Topic, context: NotificationContext) -> Notification:
        """What the receivers would be notified of."""

    @abstractmethod
    def closed_why(self, topic: Topic) -> str | None:
        """Why the topic is closed."""

    @abstractmethod
    def held_back(self, topic: Topic, *, reminder: bool) -> SuppressionReason | None:
        """Why the notification waits for a wider incident or for fresh evidence; None when it does not."""

    def merged(self, topic: Topic) -> bool:
        """Whether the notification of another topic says the same."""
        del topic
        return False

    def changed(self, topic: Topic) -> bool:
        """Whether something else than its level has changed that receivers must know."""
        del topic
        return False

    def looked(self, topic: Topic) -> bool:
        """Whether a reminder may go out: the level of *topic* has just been seen again, or there is nothing to look at any more."""
        del topic
        return True

    def contradicted(self, topic: Topic) -> bool:
        """Whether evidence that is not confirmed yet says otherwise than the level of *topic*."""
        del topic
        return False

    def routes(self, topic: Topic, notification: Notification) -> tuple[Route, ...]:
        """The routes that take *notification*, where routes say when receivers are notified."""
        return self.controls.routes(notification, self.notified_connection, self.value(topic).notified.routes, self.policy)

    def included(self, topic: Topic) -> bool:
        """Whether another notification has just said that *topic* is fine."""
        del topic
        return False

    def advice(self, topic: Topic) -> Advice | None:
        """What to do about *topic*, where that may change while its level does not."""
        del topic
        return None

    @property
    def notified_connection(self) -> Connection | None:
        """The connection that notifications are about."""
        return None

    def suppress(self, reason: SuppressionReason, topic: Topic, until: datetime | None = None) -> None:
        """Note why the receivers are not notified of *topic*, and until when."""
        if reason not in _WEAK or self.suppression is SuppressionReason.NOTHING_NEW:
            self.suppression = reason
        if until is not None:
            self.suppressed_until[topic] = until


@dataclass(slots=True)
class _ConnectionDraft(_Draft):
    connection: Connection
    before: ConnectionState
    state: ConnectionState
    context: ScopeContext

    @property
    def subject(self) -> str:
        return str(self.connection.id)

    @property
    def notified_connection(self) -> Connection | None:
        return self.connection

    def value(self, topic: Topic) -> TopicState:
        return self.state.topic(topic)

    def put(self, topic: Topic, value: TopicState, seq: int | None = None) -> None:
        topics_ = {**self.state.topics, topic: value}
        self.state = replace(self.state, topics=topics_, seq=self.state.seq if seq is None else seq)

    def build(self, topic: Topic, context: NotificationContext) -> Notification:
        return build_notification(self.connection, self.state, topic, context, self.policy)

    def closed_why(self, topic: Topic) -> str | None:
        return _closed_why(self.state, topic) if self.value(topic).level == FINE else None

    def held_back(self, topic: Topic, *, reminder: bool) -> SuppressionReason | None:
        by_scope = self._held_by_scope(topic)
        if by_scope is not None:
            return by_scope
        uncertain = topic is Topic.CONNECTION and self.value(topic).level != topics.STALE
        if uncertain and topics.is_uncertain(self.connection, self.state, self.now, self.policy, self.context):
            self.suppressed_until[topic] = self.now + self.policy.recheck
            return SuppressionReason.UNCERTAIN
        if topics.is_unseen(self.connection, self.state, self.now, self.policy, self.context):
            self.suppressed_until[topic] = self.now + self.policy.recheck
            return SuppressionReason.AWAITING_CHECK
        if self._repair_unsettled(topic):
            return SuppressionReason.UNCERTAIN
        return SuppressionReason.UNCERTAIN if reminder and self.contradicted(topic) else None

    def contradicted(self, topic: Topic) -> bool:
        return topics.is_contradicted(self.connection, self.state, topic, self.now, self.policy)

    def _held_by_scope(self, topic: Topic) -> SuppressionReason | None:
        """Why the notification waits because of a wider scope: its incident, a suspicion, or trouble of the platform that may pass."""
        if self.context.suppressed_by is not None:
            return SuppressionReason.COVERED_BY_SCOPE
        held_until = self._held_until(topic)
        if held_until is not None and self.now < held_until:
            self.suppressed_until[topic] = held_until
            return SuppressionReason.COVERED_BY_SCOPE
        opening = topic is Topic.CONNECTION and self.value(topic).level in {"error", topics.FLAPPING} and not is_notified(self.state)
        if opening and topics.is_too_young(self.connection, self.state, self.now, self.policy, self.context):
            until = topics.lasts_at(self.connection, self.state, self.policy, self.context) or self.now
            self.suppressed_until[topic] = until if until > self.now else self.now + self.policy.recheck
            return SuppressionReason.NOT_LASTING
        return None

    def _held_until(self, topic: Topic) -> datetime | None:
        """Until when the notification waits because the platform is suspected: no longer than the looks at one suspicion take."""
        hold, failure = self.context.hold_until, self.state.failure
        causes = failure.cause_since if failure is not None and topic is Topic.CONNECTION else None
        since = max((at for at in (self.value(topic).since, causes) if at is not None), default=None)
        longest = longest_hold(self.state.cause, self.policy.scopes)
        return hold if hold is None or since is None else min(hold, since + longest)

    def _repair_unsettled(self, topic: Topic) -> bool:
        """Whether the token is renewed, but the checks of the connection that failed for it have not confirmed its repair yet."""
        if topic not in {Topic.EXPIRY, Topic.RENEWAL}:
            return False
        failure, ending = self.value(Topic.CONNECTION), self.value(topic)
        if failure.notified.level == FINE or failure.level != "error" or ending.level != FINE or ending.since is None:
            return False
        if self.state.cause not in topics.DUE_TO_TOKEN:
            return False
        until = ending.since + self.policy.stale_for(self.connection.interval)
        if self.now >= until:
            return False
        self.suppressed_until[topic] = until
        return True

    def merged(self, topic: Topic) -> bool:
        """Whether the incident of another topic says what this one would: an expired token and the failure that it causes are one."""
        value = self.value(topic)
        if value.level == FINE:
            return value.notified.merged
        if topic is Topic.CONNECTION:
            return (value.notified.level == FINE or value.notified.merged) and self._said_by_token()
        if topic is Topic.RENEWAL:
            return self._alone(Topic.EXPIRY)
        connection = self.value(Topic.CONNECTION).notified
        credential = connection.level == "error" and not connection.merged and self.state.cause in topics.DUE_TO_TOKEN
        return topic is Topic.EXPIRY and value.level == topics.EXPIRED and credential

    def separate(self) -> None:
        """Make a failure an incident of its own when that of the token, which included it, no longer says it."""
        value = self.value(Topic.CONNECTION)
        included = value.level == "error" and self._alone(Topic.EXPIRY)
        if value.notified.merged and value.level != FINE and not included:
            self.put(Topic.CONNECTION, replace(value, notified=LastNotified(at=value.notified.at)))

    def _said_by_token(self) -> bool:
        """Whether the token's incident, of which the receivers know, says or is about to say why the connection has failed."""
        if not self._alone(Topic.EXPIRY) or self.value(Topic.EXPIRY).level != topics.EXPIRED:
            return False
        if not topics.failed_by_expiry(self.connection, self.state, self.now, self.policy):
            return False
        notification = self.build(Topic.EXPIRY, NotificationContext(self.now))
        routes = self.routes(Topic.EXPIRY, notification)
        return self.controls.suppression(notification, self.connection, self.now, routes) is None

    def _alone(self, topic: Topic) -> bool:
        """Whether the receivers were notified of *topic* by itself."""
        notified = self.value(topic).notified
        return notified.level != FINE and not notified.merged

    def changed(self, topic: Topic) -> bool:
        """Whether the receivers know of a failure, but not of a cause that asks for other work, or of an expired token as harmless."""
        value = self.value(topic)
        notified = value.notified
        if notified.merged or notified.level != value.level:
            return False
        if topic is Topic.EXPIRY:
            return notified.includes_failure and value.level == topics.EXPIRED and self._breaks_unsaid(notified)
        if topic is not Topic.CONNECTION or value.level != "error" or notified.advice in {None, self.advice(topic)}:
            return False
        due = cause_due_at(self.state, notified, self.policy, self.connection.interval)
        if due is not None and self.now < due:
            self.suppress(SuppressionReason.UNCERTAIN, topic, due)
            return False
        return True

    def _breaks_unsaid(self, notified: LastNotified) -> bool:
        """Whether the token's incident was last *notified* as harmless, and the failed checks of the connection say otherwise now."""
        if self.state.pending is not None or self.value(Topic.CONNECTION).level != "error":
            return False
        known = notified.last_severity or notified.severity
        return known is not Severity.CRITICAL and severity_of(self.connection, self.state, Topic.EXPIRY, self.policy) is Severity.CRITICAL

    def included(self, topic: Topic) -> bool:
        """Whether the recovery that has just been notified says that the token was renewed, or that of several connections will."""
        said = self.context.repaired_with is not None or any(
            sent.type is EventType.CONNECTION_RECOVERED and sent.facts.expires_at is not None for sent in self.notifications
        )
        return said and topic in {Topic.EXPIRY, Topic.RENEWAL}

    def looked(self, topic: Topic) -> bool:
        """Whether a reminder may go out: evidence of the level of *topic* has just come, or there was none for too long."""
        due = reminder_at(topic, self.value(topic), self.policy)
        seen_at = looked_at(self.state, topic)
        if due is None or seen_at is None or seen_at == self.now:
            return True
        since = max(due, seen_at, self.context.resumed_at or seen_at)
        return self.now - since >= self.policy.stale_for(self.connection.interval)

    def advice(self, topic: Topic) -> Advice | None:
        """What to do about the failure."""
        return topics.advice_for(self.state) if topic is Topic.CONNECTION and self.value(topic).level == "error" else None


@dataclass(slots=True)
class _ScopeDraft(_Draft):
    state: ScopeState

    @property
    def subject(self) -> str:
        return str(self.state.key)

    def value(self, topic: Topic) -> TopicState:
        del topic
        return self.state.topic

    def put(self, topic: Topic, value: TopicState, seq: int | None = None) -> None:
        del topic
        self.state = replace(self.state, topic=value, seq=self.state.seq if seq is None else seq)

    def build(self, topic: Topic, context: NotificationContext) -> Notification:
        del topic
        sent = build_scope_notification(self.state, context, outages=scope_outages(self.state, self.policy))
        # One of several outages that may be too short to be noticed by checks is no page.
        return replace(sent, severity=min(sent.severity, Severity.WARNING, key=lambda each: each.rank)) if self._is_held() else sent

    def _is_held(self) -> bool:
        """Whether the open incident has not lasted for so long that it would be notified if the scope did not flap."""
        return self.state.open and self.state.notify_at is not None and self.now < self.state.notify_at

    def changed(self, topic: Topic) -> bool:
        """Whether the open incident has changed since, or lasts, and receivers know of an earlier one, or of a warning, only."""
        notified, changed_at = self.value(topic).notified, self.state.changed_at
        if not self.state.open or notified.merged or self._is_held():
            return False
        repeated = repeated_at(self.state, self.policy)
        if repeated is not None:
            return self.now >= repeated
        grown = changed_at is not None and notified.at is not None and notified.at < changed_at
        return grown or (notified.last_severity is Severity.WARNING and severity(self.state) is Severity.CRITICAL)

    def closed_why(self, topic: Topic) -> str | None:
        del topic
        return self.state.closed_why or None

    def included(self, topic: Topic) -> bool:
        """Whether the incident of the platform, which has just been notified, goes on with this one."""
        del topic
        return self.state.closed_why == REPLACED

    def held_back(self, topic: Topic, *, reminder: bool) -> SuppressionReason | None:
        state = self.state
        if reminder:
            return None if is_fresh(state, self.now, self.policy) else SuppressionReason.UNCERTAIN
        closing = self.value(topic).level == FINE
        if not closing and (state.recovery is not None or is_outdated(state, self.now, self.policy)):
            return SuppressionReason.UNCERTAIN
        until = closing_held_until(state, self.policy) if closing else state.notify_at
        if not closing and short_outages(state, self.policy):
            return None
        return SuppressionReason.UNCERTAIN if until is not None and self.now < until else None

    def merged(self, topic: Topic) -> bool:
        """Whether the incident of a wider scope is, or was, notified instead."""
        value = self.value(topic)
        return self.state.covered if value.level != FINE else value.notified.merged


def _notify(draft: _Draft, topic: Topic) -> None:
    """Notify the receivers of *topic*, or note why not."""
    _find_routes(draft, topic)
    value = draft.value(topic)
    if value.level == value.notified.level:
        context = _repeated(draft, topic)
    else:
        context = NotificationContext(draft.now, draft.closed_why(topic), included=value.level == FINE and draft.included(topic))
    if context is None:
        return
    reason = draft.held_back(topic, reminder=context.reminder > 0)
    if reason is None and context.why is NotificationReason.ESCALATED and draft.contradicted(topic):
        reason = SuppressionReason.UNCERTAIN
    if reason is not None:
        draft.suppress(reason, topic)
    elif value.level != value.notified.level and draft.merged(topic):
        # An incident that was notified by itself must be closed by itself; only one that was not needs no end.
        separate = value.notified.level != FINE and not value.notified.merged
        notified = last_notified(value, draft.now)
        draft.put(topic, replace(value, notified=replace(notified, merged=not separate and notified.level != FINE)))
        if topic is Topic.CONNECTION and value.level != FINE:
            expiry = draft.value(Topic.EXPIRY)
            draft.put(Topic.EXPIRY, replace(expiry, notified=replace(expiry.notified, includes_failure=True)))
    elif not _is_suppressed(draft, topic, context):
        _emit(draft, topic, context)


def _find_routes(draft: _Draft, topic: Topic) -> None:
    """Find the routes of an open incident anew whose routes are not known: they were configured after its notification."""
    notified, policy = draft.value(topic).notified, draft.policy
    if not policy.routes_are_timed or FINE in {draft.value(topic).level, notified.level} or notified.merged:
        return
    if not notified.routes or len(policy.routes_named(notified.routes)) < len(notified.routes):
        _put_routes(draft, topic, draft.build(topic, NotificationContext(draft.now, why=NotificationReason.OPENED)), notified.at)


def _put_routes(draft: _Draft, topic: Topic, notification: Notification, at: datetime | None) -> None:
    """Note which routes took *notification*, and that since *at*, unless they have it already."""
    value = draft.value(topic)
    keys = tuple(route.key for route in draft.routes(topic, notification))
    if keys != value.notified.routes:
        draft.put(topic, replace(value, notified=replace(value.notified, routes=keys, routed_at=at, escalated=())))


def _repeated(draft: _Draft, topic: Topic) -> NotificationContext | None:
    """The context of a notification that repeats, or adds to, the last one; None when there is nothing to say now."""
    if draft.changed(topic):
        return NotificationContext(draft.now, why=NotificationReason.CHANGED)
    value = draft.value(topic)
    due = reminder_at(topic, value, draft.policy)
    escalating = list(escalations(value, draft.policy))
    if due is None and not escalating:
        return None
    if draft.controls.acknowledged(topic, draft.subject, value) is not None:
        draft.suppress(SuppressionReason.ACKNOWLEDGED, topic)
        return None
    names = dict.fromkeys(name for at, route in escalating if at <= draft.now and route.escalation for name in route.escalation.receivers)
    if names:
        return NotificationContext(draft.now, why=NotificationReason.ESCALATED, escalated_to=tuple(names))
    return _reminder(draft, topic, due) if due is not None else None


def _reminder(draft: _Draft, topic: Topic, due: datetime) -> NotificationContext | None:
    """The context of the reminder that is *due* then; None when it does not go out now."""
    if draft.now < due:
        draft.suppress(SuppressionReason.REMINDER_NOT_DUE, topic)
        return None
    if not draft.looked(topic):
        draft.suppress(SuppressionReason.AWAITING_CHECK, topic)
        return None
    value = draft.value(topic)
    since = draft.now - (due - (value.notified.at or due)) / 2
    # Those that an escalation has only just reached need no reminder yet.
    lately = (name for at, names in escalated(value, draft.policy) if at > since for name in names)
    return NotificationContext(draft.now, reminder=value.notified.reminders + 1, escalated_to=tuple(dict.fromkeys(lately)))


def _is_suppressed(draft: _Draft, topic: Topic, context: NotificationContext) -> bool:
    """Whether a silence or quiet hours suppress the notification, or the one that a reminder repeats; if so, their end is remembered."""
    if not draft.controls.silences and not draft.controls.recurring and not draft.policy.routes_are_timed:
        return False
    for candidate in (context, replace(context, reminder=0)):
        notification = draft.build(topic, candidate)
        routes = draft.routes(topic, notification)
        suppression = draft.controls.suppression(notification, draft.notified_connection, draft.now, routes)
        if suppression is not None:
            draft.suppress(suppression.reason, topic, suppression.until)
            return True
    return False


def _emit(draft: _Draft, topic: Topic, context: NotificationContext) -> None:
    notification = draft.build(topic, context)
    value = draft.value(topic)
    if context.why is NotificationReason.ESCALATED:
        due = (route.key for at, route in escalations(value, draft.policy) if at <= draft.now)
        notified = replace(value.notified, escalated=(*value.notified.escalated, *due))
    elif context.reminder or context.why is NotificationReason.CHANGED:
        notified = replace(value.notified, at=draft.now, reminders=max(value.notified.reminders, context.reminder))
    else:
        notified = last_notified(value, draft.now)
    if notified.level != FINE:
        highest = max(filter(None, (notified.severity, notification.severity)), key=lambda severity: severity.rank)
        causes = notified.causes + int(notification.why is NotificationReason.CHANGED)
        notified = replace(notified, severity=highest, last_severity=notification.severity, advice=draft.advice(topic), causes=causes)
    draft.put(topic, replace(value, notified=notified), notification.seq)
    if notified.level != FINE and notification.why not in FOLLOWING:
        _put_routes(draft, topic, notification, draft.now)
    draft.notifications.append(notification)


def _transition(draft: _ConnectionDraft, topic: Topic, level: str) -> None:
    if level == draft.state.topic(topic).level:
        return
    pending = draft.state.pending_levels.get(topic)
    if pending is None or not topics.is_confirmed(draft.connection, draft.state, topic, pending, draft.now, draft.policy):
        return
    draft.state = replace(draft.state, pending_levels={key: value for key, value in draft.state.pending_levels.items() if key is not topic})
    seen_at = first_seen_at(draft.state, topic, level, pending.since)
    _record_transition(draft, topic, level, closed_why=_closed_why(draft.state, topic) if level == FINE else None, seen_at=seen_at)


def _closed_why(state: ConnectionState, topic: Topic) -> str:
    if topic is Topic.PERMISSIONS and state.loss_accepted:
        return ACCEPTED
    return "unsupported" if state.health is Health.UNSUPPORTED else "recovered"


def _record_transition(
    draft: _ConnectionDraft, topic: Topic, level: str, *, closed_why: str | None, seen_at: datetime | None = None
) -> None:
    old = draft.state.topic(topic)
    opened = old.level == FINE
    new = replace(
        old,
        level=level,
        since=draft.now,
        number=old.number + 1 if opened else old.number,
        opened_at=(seen_at or draft.now) if opened else old.opened_at,
    )
    draft.put(topic, new)
    shown = level if level != FINE else old.level
    reason, text = reason_and_detail(draft.state, topic)
    draft.transitions.append(
        Transition(
            incident=incident(draft.connection, topic, new.number, new.opened_at or draft.now),
            scope=Scope.CONNECTION,
            connection_id=draft.connection.id,
            level=level,
            at=draft.now,
            severity=topics.severity_of(topic, shown, draft.policy, draft.connection.platform, draft.state.cause),
            reason=reason,
            detail=text,
            closed_why=closed_why,
        )
    )


def _coverage_lost(draft: _ConnectionDraft) -> None:
    """Notify, at most once a week, that a connection which used to be tested no longer can be; a silence only delays that."""
    lost = draft.before.health is Health.OK or draft.state.notice_pending
    draft.state = replace(draft.state, notice_pending=False)
    if not lost or draft.state.health is not Health.UNSUPPORTED:
        return
    value = draft.state.topic(Topic.CONNECTION)
    lately = value.notified.at is not None and draft.now - value.notified.at < _WEEK
    if value.level != FINE or value.notified.level != FINE or lately:
        return
    context = NotificationContext(draft.now, "unsupported", why=NotificationReason.NOTICE)
    if _is_suppressed(draft, Topic.CONNECTION, context):
        draft.state = replace(draft.state, notice_pending=True)
        return
    draft.put(Topic.CONNECTION, replace(value, number=value.number + 1))
    _emit(draft, Topic.CONNECTION, context)
