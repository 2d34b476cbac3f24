"""History through the engine under another policy, and the difference: checks go in by time, notifications come out."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.domain import schedule
from monitor.domain.connections import Connection
from monitor.domain.engine import Engine, EngineConfig
from monitor.domain.evaluation import Evaluation
from monitor.domain.events import EventType, Notification, NotificationReason, Severity, Topic
from monitor.domain.reasons import Outcome, outcome_of
from monitor.domain.replies.checks import Observation, Reply, Verdict
from monitor.domain.replies.token_life import parse_token_life
from monitor.domain.replies.verdicts import judge
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.silences import Silence
from monitor.domain.states import TopicState
from monitor.errors import Reason

BEAT = timedelta(seconds=1)

# Answers about one connection that carry no reply.
_BARE = frozenset({Reason.CONNECTION_MISSING, Reason.ID_REFUSED, Reason.ID_UNSUPPORTED})


class Replay:
    """One history. `notifications` collects the notifications in order; the reader may empty it. *silences*: all of the history's."""

    def __init__(self, config: EngineConfig, began_at: datetime, silences: Iterable[Silence] = ()) -> None:
        self.notifications: list[Notification] = []
        self._engine = Engine(config, began_at)
        self._silences = tuple(silences)
        self._acks: dict[tuple[Topic, str], Ack] = {}
        self._evaluated_at = began_at
        self._engine.set_requests(self._silences, ())

    def watch(self, connection: Connection) -> None:
        """Take up a connection."""
        self._engine.set_connections([*self._engine.connections(), connection])

    def retire(self, connection_id: int, now: datetime) -> None:
        """A connection is no longer monitored: what is open about it is closed."""
        self.advance_to(now)
        connection = self._engine.connection(connection_id)
        if connection is not None:
            self._take(self._engine.retire(connection, now))

    def acknowledge(self, ack: Ack) -> None:
        """Acknowledge whatever incident of this topic and subject is open now."""
        value = self._topic(ack)
        self._acks[ack.key] = replace(ack, number=value.number, level=value.level)
        self._engine.set_requests(self._silences, self._acks.values())

    def restart(self, now: datetime) -> None:
        """The monitor restarts at *now*: nothing was evaluated since the last check."""
        self._engine.restart(now)
        self._evaluated_at = now

    def check(self, observation: Observation) -> None:
        """Evaluate one check, after everything that time alone changed before it."""
        connection = self._engine.connection(observation.connection_id)
        if connection is None:
            return
        self.advance_to(observation.at)
        # Time is not evaluated backwards: the next evaluation comes after this check.
        self._evaluated_at = max(self._evaluated_at, observation.at)
        self._take(self._engine.check(self._judged(connection, observation)))

    def advance_to(self, until: datetime) -> None:
        """Evaluate whatever time alone changes before *until*."""
        while (moment := self._next_evaluation()) is not None and moment < until:
            self._evaluated_at = moment
            for evaluation in self._engine.evaluate(moment):
                self._take(evaluation)

    def pace(self) -> timedelta:
        """How far apart the regular checks are of the connection that is checked most often."""
        paces = (
            schedule.pace(connection, self._engine.state(connection.id), self._engine.config.policy)
            for connection in self._engine.connections()
        )
        return min(paces, default=timedelta(0))

    def _judged(self, connection: Connection, observation: Observation) -> Observation:
        """The observation by this history's table of known false negatives, which may not be the one that it was judged by."""
        reply, reason = observation.reply, observation.verdict.reason
        if reply is None or not (outcome_of(reason) is Outcome.FAILED or reason is Reason.KNOWN_FALSE_NEGATIVE):
            return observation
        config = self._engine.config
        again = judge(reply, connection, config.false_negatives, config.platform_texts)
        known = again.reason is Reason.KNOWN_FALSE_NEGATIVE
        return observation if known is (reason is Reason.KNOWN_FALSE_NEGATIVE) else replace(observation, verdict=again)

    def _topic(self, ack: Ack) -> TopicState:
        if ack.subject.isdigit():
            return self._engine.state(int(ack.subject)).topic(ack.topic)
        return self._engine.scope(ScopeKey.parse(ack.subject)).topic

    def _next_evaluation(self) -> datetime | None:
        """When time is evaluated next, on whole beats; None while it can change nothing."""
        first = self._engine.next_evaluation_at()
        if first is None:
            return None
        return max(first.replace(microsecond=0) + (BEAT if first.microsecond else timedelta(0)), self._evaluated_at + BEAT)

    def _take(self, evaluation: Evaluation | None) -> None:
        if evaluation is not None:
            self.notifications += evaluation.notifications


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
    """Return a check as far as its row records it: without permissions, posts, user names and the server's clock."""
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


PAIRING_WINDOW = timedelta(hours=6)
"""Notifications of the same kind are the same event in both runs when they are no further apart."""

_UNRECORDED_TOPICS = frozenset({Topic.PERMISSIONS, Topic.PUBLISHING})
_UNRECORDED_KINDS = frozenset({"list", "receiver", "storage"})


class Change(StrEnum):
    """How a notification differs between the two runs."""

    DROPPED = "dropped"
    ADDED = "added"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class ReplayEvent:
    """The part of a notification that is compared and shown."""

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
        """Equal for notifications that can be the same event."""
        return (self.type, self.topic, self.subject, self.level)


@dataclass(frozen=True, slots=True)
class Difference:
    """
    One difference between the two runs.

    Attributes:
        shown: the notification of the second run, else of the first.
        before: the notification of the first run; None when there is none.
        after: the notification of the second run; None when there is none.
    """

    change: Change
    shown: ReplayEvent
    before: ReplayEvent | None = None
    after: ReplayEvent | None = None

    @property
    def at(self) -> datetime:
        """The earlier time of the two."""
        return min(event.at for event in (self.before, self.after) if event is not None)


def notifications_of(notification: Notification) -> ReplayEvent:
    """Return the part of *notification* that is compared."""
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
    """Whether stored checks can reproduce *notification*: they do not record posts, permissions, lists, receivers and the storage."""
    incident = notification.incident
    if notification.type in (EventType.TEST, EventType.DIGEST) or incident.topic in _UNRECORDED_TOPICS:
        return False
    return incident.topic is not Topic.SCOPE or ScopeKey.parse(incident.subject).kind not in _UNRECORDED_KINDS


def compare(before: Iterable[ReplayEvent], after: Iterable[ReplayEvent]) -> list[Difference]:
    """Return the differences between two runs in the order of time; equal notifications are left out."""
    first, second = _by_kind(before), _by_kind(after)
    differences = [difference for kind in first.keys() | second.keys() for difference in _pair(first.get(kind, ()), second.get(kind, ()))]
    return sorted(differences, key=lambda difference: (difference.at, difference.shown.kind, difference.change))


def counts(notifications: Iterable[ReplayEvent]) -> Mapping[str, int]:
    """Return the number of notifications by type and by severity."""
    totals: Counter[str] = Counter()
    for notification in notifications:
        totals[notification.type] += 1
        totals[notification.severity] += 1
    return totals


def _by_kind(notifications: Iterable[ReplayEvent]) -> Mapping[tuple[str, ...], Sequence[ReplayEvent]]:
    by_kind: dict[tuple[str, ...], list[ReplayEvent]] = defaultdict(list)
    for notification in notifications:
        by_kind[notification.kind].append(notification)
    return by_kind


def _pair(before: Sequence[ReplayEvent], after: Sequence[ReplayEvent]) -> Iterable[Difference]:
    """Pair each notification with the nearest one of the other run; both are in the order of time and of one kind."""
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
        elif apart <= PAIRING_WINDOW:
            if apart or old.severity is not new.severity:
                yield Difference(Change.MOVED, new, old, new)
            first, second = first + 1, second + 1
        elif old.at < new.at:
            yield Difference(Change.DROPPED, old, before=old)
            first += 1
        else:
            yield Difference(Change.ADDED, new, after=new)
            second += 1
    yield from (Difference(Change.DROPPED, event, before=event) for event in before[first:])
    yield from (Difference(Change.ADDED, event, after=event) for event in after[second:])
