"""
History through the engine under another policy, and the difference.

Checks go in, in the order of time, and notifications come out. What lies between two checks is the reviewer's part: it looks
whenever a state says that time alone may have changed something.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.domain import schedule
from monitor.domain.checks import Observation, Reply, Verdict
from monitor.domain.connections import Connection
from monitor.domain.evaluation import Evaluation, EvaluationInput, evaluate_at, evaluate_check
from monitor.domain.events import EventType, Notification, NotificationReason, Severity, Topic
from monitor.domain.notifications import decide, timing
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health, Outcome, outcome_of
from monitor.domain.scopes import key as core
from monitor.domain.scopes import rules
from monitor.domain.scopes.api import served_elsewhere_at
from monitor.domain.scopes.key import ScopeNames
from monitor.domain.scopes.state import ScopeState, persistent
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.controls import NO_CONTROLS, Controls
from monitor.domain.states import ConnectionState, TopicState
from monitor.domain.token_life import parse_token_life
from monitor.domain.verdicts import FalseNegativeRule, judge
from monitor.errors import Reason

BEAT = timedelta(seconds=1)
_LOOK = timedelta(seconds=5)
_LOOK_AT_OPEN = timedelta(minutes=1)

# Answers about one connection that carry no reply.
_BARE = frozenset({Reason.CONNECTION_MISSING, Reason.ID_REFUSED, Reason.ID_UNSUPPORTED})


@dataclass(frozen=True, slots=True)
class ReplayConfig:
    """
    What a life depends on beside its checks.

    Attributes:
        api_host: names the API scope.
        interval: the ordinary pause between checks, for the window of the API scope.
        lies: answers known to be wrong.
        controls: the silences and windows of the whole life; acknowledgements come when they were made.
    """

    policy: Policy
    api_host: str
    interval: timedelta
    lies: tuple[FalseNegativeRule, ...] = ()
    controls: Controls = NO_CONTROLS


class Replay:
    """
    One life. `notifications` collects what is told, in order; whoever reads it may empty it.

    A stop of the monitor is told by `restart`: nobody looked at anything since the last check.
    """

    def __init__(self, terms: ReplayConfig, began_at: datetime) -> None:
        self.notifications: list[Notification] = []
        self._terms = terms
        self._controls = terms.controls
        self._connections: dict[int, Connection] = {}
        self._names: dict[int, ScopeNames] = {}
        self._states: dict[int, ConnectionState] = {}
        self._scopes: dict[str, ScopeState] = {}
        self._troubled: set[str] = set()
        self._members: Counter[str] = Counter()
        self._accounts: set[str] = set()
        self._failing: Counter[str] = Counter()
        self._reviews: list[tuple[datetime, int]] = []
        self._watching_since = began_at
        self._looked_at = began_at
        self._scopes_looked_at = began_at
        self._owed = False

    def watch(self, connection: Connection) -> None:
        """Take up a connection."""
        names = core.scopes_of(connection, self._terms.api_host)
        self._connections[connection.id], self._names[connection.id] = connection, names
        self._members.update(names.all())
        self._accounts.add(connection.account)

    def retire(self, connection_id: int, now: datetime) -> None:
        """A connection is no longer watched: what is open about it is closed."""
        self.advance_to(now)
        connection = self._connections.pop(connection_id, None)
        if connection is None:
            return
        state = self._states.pop(connection_id, ConnectionState())
        self._failing[connection.platform] -= int(state.health is Health.ERROR)
        self._members.subtract(self._names.pop(connection_id).all())
        self.notifications += decide.close_removed(connection, state, now, self._terms.policy).notifications

    def acknowledge(self, ack: Ack) -> None:
        """Somebody acknowledged whatever incident of this topic and subject is open now."""
        value = self._topic(ack)
        seen = replace(ack, number=value.number, level=value.level)
        self._controls = replace(self._controls, acks={**self._controls.acks, ack.key: seen})
        self._owed = True

    def restart(self, now: datetime) -> None:
        """The monitor starts anew at *now*, after nobody looked at anything for a while."""
        self._scopes = {name: persistent(state) for name, state in self._scopes.items()}
        self._watching_since = self._looked_at = self._scopes_looked_at = now
        self._owed = True

    def check(self, observation: Observation) -> None:
        """Conclude one check, after everything that time alone changed before it."""
        connection = self._connections.get(observation.connection_id)
        if connection is None:
            return
        self.advance_to(observation.at)
        # Nobody looks back: the next look comes after this check.
        self._looked_at = max(self._looked_at, observation.at)
        self._take(
            connection,
            evaluate_check(self._situation(connection), self._judged(connection, observation), self._terms.policy),
        )

    def advance_to(self, until: datetime) -> None:
        """Look at whatever time alone changes before *until*."""
        while (moment := self._next_evaluation()) is not None and moment < until:
            self._evaluate(moment)

    def pace(self) -> timedelta:
        """How far apart the regular checks are of the connection that is checked most often."""
        states = ((one, self._states.get(one.id, ConnectionState())) for one in self._connections.values())
        return min((schedule.pace(one, state, self._terms.policy) for one, state in states), default=timedelta(0))

    def _judged(self, connection: Connection, observation: Observation) -> Observation:
        """The observation as this life's table of known lies has it; the table may not be the one that it was judged by."""
        reply, reason = observation.reply, observation.verdict.reason
        if reply is None or not (outcome_of(reason) is Outcome.FAILED or reason is Reason.KNOWN_FALSE_NEGATIVE):
            return observation
        again = judge(reply, connection, self._terms.lies)
        lied = again.reason is Reason.KNOWN_FALSE_NEGATIVE
        return observation if lied is (reason is Reason.KNOWN_FALSE_NEGATIVE) else replace(observation, verdict=again)

    def _topic(self, ack: Ack) -> TopicState:
        if ack.subject.isdigit():
            return self._states.get(int(ack.subject), ConnectionState()).topic(ack.topic)
        return self._scopes.get(ack.subject, ScopeState(ack.subject)).topic

    def _next_evaluation(self) -> datetime | None:
        """When somebody looks next, on whole beats; None while there is nothing to look at."""
        moments = [self._looked_at] if self._owed else []
        while self._reviews and not self._is_due(*self._reviews[0]):
            heapq.heappop(self._reviews)
        moments += [self._reviews[0][0]] if self._reviews else []
        if self._troubled:
            moments.append(self._scopes_looked_at + min(_pause(self._scopes[name]) for name in self._troubled))
        if not moments:
            return None
        first = min(moments)
        return max(first.replace(microsecond=0) + (BEAT if first.microsecond else timedelta(0)), self._looked_at + BEAT)

    def _is_due(self, moment: datetime, connection_id: int) -> bool:
        state = self._states.get(connection_id)
        return state is not None and state.next_evaluation_at == moment

    def _evaluate(self, now: datetime) -> None:
        self._looked_at = now
        if self._troubled and now - self._scopes_looked_at >= min(_pause(self._scopes[name]) for name in self._troubled):
            self._evaluate_scopes(now)
        owed = [one for one, state in self._states.items() if timing.needs_evaluation(state)] if self._owed else []
        self._owed = False
        while self._reviews and self._reviews[0][0] <= now:
            moment, one = heapq.heappop(self._reviews)
            owed += [one] if self._is_due(moment, one) else []
        for one in sorted(set(owed), key=self._place):
            self._take(self._connections[one], evaluate_at(self._situation(self._connections[one]), now, self._terms.policy))

    def _place(self, connection_id: int) -> tuple[str, str, str]:
        """The order in which the reviewer looks at connections."""
        connection = self._connections[connection_id]
        return connection.account_label, connection.platform, connection.platform_id

    def _evaluate_scopes(self, now: datetime) -> None:
        self._scopes_looked_at = now
        for name in sorted(self._troubled):
            before = self._scopes[name]
            ticked = rules.tick(
                before,
                now,
                self._terms.policy.scopes,
                window=self._window(),
                members=self._members[name],
                failing=self._failing[name.partition(":")[2]],
            )
            state, _, told = decide.decide_scope(ticked, before, now, self._terms.policy, self._controls)
            self._put_scope(state)
            self.notifications += told

    def _window(self) -> timedelta:
        return max(self._terms.policy.scopes.window, 2 * self._terms.interval)

    def _situation(self, connection: Connection) -> EvaluationInput:
        names = self._names[connection.id]
        elsewhere_at = served_elsewhere_at(self._scope, self._accounts, connection.account)
        return EvaluationInput(
            connection=connection,
            state=self._states.get(connection.id, ConnectionState()),
            scope_names=names,
            scopes={name: self._scopes[name] for name in names.all() if name in self._scopes},
            member_counts=self._members,
            failing=self._failing[connection.platform],
            watching_since=self._watching_since,
            window=self._window(),
            controls=self._controls,
            elsewhere_at=elsewhere_at,
        )

    def _scope(self, name: str) -> ScopeState:
        return self._scopes.get(name, ScopeState(name))

    def _take(self, connection: Connection, conclusion: Evaluation) -> None:
        before = self._states.get(connection.id, ConnectionState())
        state = conclusion.state
        self._failing[connection.platform] += int(state.health is Health.ERROR) - int(before.health is Health.ERROR)
        self._states[connection.id] = state
        if state.next_evaluation_at is not None and state.next_evaluation_at != before.next_evaluation_at:
            heapq.heappush(self._reviews, (state.next_evaluation_at, connection.id))
        for scope in conclusion.scopes.values():
            self._put_scope(scope)
        self.notifications += conclusion.notifications

    def _put_scope(self, state: ScopeState) -> None:
        before = self._scopes.get(state.name)
        self._scopes[state.name] = state
        self._owed = self._owed or (before is not None and before.open and not state.open)
        if state.open or state.suspect_at is not None or state.topic.level != state.topic.notified.level:
            self._troubled.add(state.name)
        else:
            self._troubled.discard(state.name)


def _pause(state: ScopeState) -> timedelta:
    """How often a scope is looked at: one that is open and told of changes by reminders only, unless it is a platform's."""
    settled = state.open and state.suspect_at is None and state.topic.level == state.topic.notified.level
    return _LOOK_AT_OPEN if settled and state.kind != "platform" else _LOOK


def observation_of(
    connection: Connection,
    at: datetime,
    reason: Reason,
    *,
    took: timedelta,
    http_status: int | None = None,
    token: str | None = None,
    detail: str = "",
) -> Observation:
    """
    A check as far as its row tells of it.

    Rows keep the token's text and the message, but neither permissions, posts and user names nor the server's clock.
    """
    reply = None
    if outcome_of(reason) is not Outcome.INCONCLUSIVE and reason not in _BARE and http_status in (None, 200):
        reply = Reply(
            passed=reason is Reason.OK,
            platform=connection.platform,
            platform_id=connection.platform_id,
            username=None,
            message=detail,
            token=parse_token_life(token),
        )
    return Observation(connection.id, at - took, at, Verdict(reason, detail), reply, http_status=http_status)


TOGETHER = timedelta(hours=6)
"""Two notifications of the same kind about the same subject are taken for one when they are no further apart."""

_BEYOND_CHECKS = frozenset({Topic.PERMISSIONS, Topic.PUBLISHING})
_BEYOND_SUBJECTS = frozenset({"list", "receiver", "storage"})


class Change(StrEnum):
    """How a notification of one life differs in the other."""

    DROPPED = "dropped"
    ADDED = "added"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class ReplayEvent:
    """As much of a notification as is compared and shown."""

    at: datetime
    type: EventType
    why: NotificationReason
    severity: Severity
    topic: Topic
    subject: str
    level: str
    reason: Reason | None

    @property
    def kind(self) -> tuple[str, ...]:
        """What makes two of them the same news."""
        return (self.type, self.topic, self.subject, self.level)


@dataclass(frozen=True, slots=True)
class Difference:
    """
    One of them.

    Attributes:
        shown: the notification as the second life has it, else as the first had it.
        before: what the first life told; None when it told nothing.
        after: what the second told in its place; None when it told nothing.
    """

    change: Change
    shown: ReplayEvent
    before: ReplayEvent | None = None
    after: ReplayEvent | None = None

    @property
    def at(self) -> datetime:
        """When it shows first."""
        return min(one.at for one in (self.before, self.after) if one is not None)


def notifications_of(notification: Notification) -> ReplayEvent:
    """What is kept of *notification*."""
    return ReplayEvent(
        notification.at,
        notification.type,
        notification.why,
        notification.severity,
        notification.incident.topic,
        notification.incident.subject,
        notification.level_to,
        notification.reason,
    )


def from_checks(notification: Notification) -> bool:
    """Whether stored checks can tell it at all: posts, permissions, lists, receivers and the storage leave no trace in them."""
    incident = notification.incident
    if notification.type in (EventType.TEST, EventType.DIGEST) or incident.topic in _BEYOND_CHECKS:
        return False
    return incident.topic is not Topic.SCOPE or incident.subject.partition(":")[0] not in _BEYOND_SUBJECTS


def compare(before: Iterable[ReplayEvent], after: Iterable[ReplayEvent]) -> list[Difference]:
    """What differs from one life to the other, in the order of time; equal notifications are left out."""
    one, other = _by_kind(before), _by_kind(after)
    found = [difference for kind in one.keys() | other.keys() for difference in _pair(one.get(kind, ()), other.get(kind, ()))]
    return sorted(found, key=lambda difference: (difference.at, difference.shown.kind, difference.change))


def counts(notifications: Iterable[ReplayEvent]) -> Mapping[str, int]:
    """How many there are of each type, and of each severity."""
    found: Counter[str] = Counter()
    for one in notifications:
        found[one.type] += 1
        found[one.severity] += 1
    return found


def _by_kind(notifications: Iterable[ReplayEvent]) -> Mapping[tuple[str, ...], Sequence[ReplayEvent]]:
    found: dict[tuple[str, ...], list[ReplayEvent]] = defaultdict(list)
    for one in notifications:
        found[one.kind].append(one)
    return found


def _pair(before: Sequence[ReplayEvent], after: Sequence[ReplayEvent]) -> Iterable[Difference]:
    """Pairs the nearest of two rows of equal news, both in the order of time."""
    first, second = 0, 0
    while first < len(before) and second < len(after):
        old, new = before[first], after[second]
        apart = abs(new.at - old.at)
        if second + 1 < len(after) and abs(after[second + 1].at - old.at) < apart:
            yield Difference(Change.ADDED, new, after=new)
            second += 1
        elif first + 1 < len(before) and abs(before[first + 1].at - new.at) < apart:
            yield Difference(Change.DROPPED, old, before=old)
            first += 1
        elif apart <= TOGETHER:
            if apart or old.severity is not new.severity:
                yield Difference(Change.MOVED, new, old, new)
            first, second = first + 1, second + 1
        elif old.at < new.at:
            yield Difference(Change.DROPPED, old, before=old)
            first += 1
        else:
            yield Difference(Change.ADDED, new, after=new)
            second += 1
    yield from (Difference(Change.DROPPED, one, before=one) for one in before[first:])
    yield from (Difference(Change.ADDED, one, after=one) for one in after[second:])
