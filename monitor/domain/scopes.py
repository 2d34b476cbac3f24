"""
One cause, one notification: trouble that is wider than a connection.

A scope is named `api:<base>`, `account:<name>`, `user:<account>/<id>`, `rate:<account>`, `platform:<name>`
or `storage`. Each has hysteresis of its own: a suspicion must hold before its incident opens, and calm must
hold before it closes. While one is open the connections below it are frozen (or, for a platform, told as
one), and only a canary is sent now and then.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from monitor.domain.model import (
    FINE,
    EventType,
    Facts,
    IncidentRef,
    Notification,
    Observation,
    Outcome,
    Scope,
    Severity,
    Told,
    Topic,
    TopicState,
    Transition,
    Why,
)
from monitor.domain.policy import Policy, ScopePolicy
from monitor.domain.reasons import meaning
from monitor.errors import Reason

FAILED = "failed"
_BUCKETS = 10
_USER = frozenset({Reason.WORKSPACE_FORBIDDEN, Reason.USER_NOT_MANAGED, Reason.USER_ID_INVALID})
_KEY = frozenset({Reason.API_UNAUTHORIZED, Reason.API_FORBIDDEN})

_TYPES: dict[Scope, tuple[EventType, EventType]] = {
    Scope.API: (EventType.API_FAILED, EventType.API_RECOVERED),
    Scope.ACCOUNT: (EventType.ACCOUNT_FAILED, EventType.ACCOUNT_RECOVERED),
    Scope.USER: (EventType.ACCOUNT_FAILED, EventType.ACCOUNT_RECOVERED),
    Scope.PLATFORM: (EventType.PLATFORM_FAILED, EventType.PLATFORM_RECOVERED),
    Scope.STORAGE: (EventType.STORAGE_FAILED, EventType.STORAGE_RECOVERED),
}


@dataclass(frozen=True, slots=True)
class Bucket:
    """Checks of one slice of time: how many, how many told nothing, and the first and last connection seen."""

    at: datetime
    attempts: int = 0
    inconclusive: int = 0
    first_id: int = 0
    last_id: int = 0


@dataclass(frozen=True, slots=True)
class Calm:
    """Good answers since the trouble seemed over: when it began, how many were good and bad, and from whom."""

    since: datetime
    good: int = 0
    bad: int = 0
    first_id: int = 0
    several: bool = False


@dataclass(frozen=True, slots=True)
class ScopeState:
    """
    All the monitor remembers of one scope.

    Attributes:
        suspect_at: since when the opening condition holds.
        last_bad_at: the last sign of trouble.
        reason, detail: of the last sign of trouble.
        buckets: recent checks, oldest first (API only).
        calm: the good answers that may close it (API only).
        turned: connections that lately turned to error, with when (platform only).
        closed_at: when the last incident closed; connections are watched afresh from then on.
        affected: connections that were below it when it opened.
        seq: numbers the notifications about this scope.
    """

    name: str
    topic: TopicState = field(default_factory=TopicState)
    suspect_at: datetime | None = None
    last_bad_at: datetime | None = None
    reason: Reason | None = None
    detail: str = ""
    buckets: tuple[Bucket, ...] = ()
    calm: Calm | None = None
    turned: tuple[tuple[int, datetime], ...] = ()
    closed_at: datetime | None = None
    affected: int = 0
    seq: int = 0

    @property
    def kind(self) -> Scope:
        """What it covers; a rate scope covers an account."""
        word = self.name.partition(":")[0]
        return Scope.ACCOUNT if word == "rate" else Scope(word)

    @property
    def open(self) -> bool:
        """Whether an incident of this scope is open."""
        return self.topic.level != FINE


def hears(name: str, observation: Observation) -> bool:
    """Whether *observation* says anything about a scope of this name."""
    reason = observation.verdict.reason
    word = name.partition(":")[0]
    if reason is Reason.MONITOR_INTERNAL or word in {"platform", "storage"}:
        return False
    if word == "api":
        return True
    own = meaning(reason)
    answered = own.outcome is not Outcome.INCONCLUSIVE or reason is Reason.API_VALIDATOR_FAILED
    if word == "user":
        return answered or reason in _USER
    if word == "rate":
        return answered or reason is Reason.API_THROTTLED
    return answered or reason in _KEY or reason in _USER


def advance(state: ScopeState, observation: Observation, policy: ScopePolicy, *, window: timedelta, members: int) -> ScopeState:
    """
    The state of an API, account, user or rate scope after *observation* (which it `hears`).

    *window* is how far back API checks count; *members* how many connections are below the scope.
    """
    word = state.name.partition(":")[0]
    if word == "api":
        return _advance_api(state, observation, policy, window=window, members=members)
    if word == "rate":
        return _advance_rate(state, observation, policy, members=members)
    bad = observation.verdict.reason in (_USER if word == "user" else _KEY)
    return _advance_refusal(state, observation, policy, bad=bad, members=members)


def _advance_refusal(state: ScopeState, observation: Observation, policy: ScopePolicy, *, bad: bool, members: int) -> ScopeState:
    at = observation.at
    if not bad:
        return _close(replace(state, suspect_at=None), at)
    suspect_at = state.suspect_at or at
    state = _blame(replace(state, suspect_at=suspect_at), observation)
    return _open(state, at, members) if at - suspect_at >= policy.account_confirm else state


def _advance_rate(state: ScopeState, observation: Observation, policy: ScopePolicy, *, members: int) -> ScopeState:
    at = observation.at
    calm_after = policy.throttled_after / 3
    if observation.verdict.reason is not Reason.API_THROTTLED:
        if state.last_bad_at is not None and at - state.last_bad_at >= calm_after:
            return _close(replace(state, suspect_at=None), at)
        return state
    suspect_at = state.suspect_at or at
    state = _blame(replace(state, suspect_at=suspect_at), observation)
    return _open(state, at, members) if at - suspect_at >= policy.throttled_after else state


def _advance_api(state: ScopeState, observation: Observation, policy: ScopePolicy, *, window: timedelta, members: int) -> ScopeState:
    at, own = observation.at, meaning(observation.verdict.reason)
    bad = own.outcome is Outcome.INCONCLUSIVE and own.scope is Scope.API
    buckets = _fill(state.buckets, observation, bad=bad, window=window)
    state = replace(state, buckets=buckets, calm=_calm(state.calm, observation, policy, bad=bad))
    if bad:
        state = _blame(state, observation)
    return tick_api(state, at, policy, members=members)


def tick(state: ScopeState, now: datetime, policy: ScopePolicy, *, members: int, failing: int) -> ScopeState:
    """The state of any scope when only time has passed."""
    word = state.name.partition(":")[0]
    if word == "api":
        return tick_api(state, now, policy, members=members)
    if word == "platform":
        return advance_platform(state, None, now, policy, total=members, failing=failing)
    calm = word == "rate" and state.last_bad_at is not None and now - state.last_bad_at >= policy.throttled_after / 3
    return heal(state, now) if calm else state


def tick_api(state: ScopeState, now: datetime, policy: ScopePolicy, *, members: int) -> ScopeState:
    """The state of the API scope when only time has passed since its last check."""
    if state.open:
        calm = state.calm
        ready = calm is not None and calm.good >= 3 and (calm.several or members <= 1) and now - calm.since >= policy.close_after
        return _close(replace(state, suspect_at=None, buckets=()), now) if ready else state
    if not _looks_down(state.buckets, policy, members):
        return state if state.suspect_at is None else replace(state, suspect_at=None)
    suspect_at = state.suspect_at or now
    state = replace(state, suspect_at=suspect_at)
    return _open(state, now, members) if now - suspect_at >= policy.open_after else state


def _looks_down(buckets: tuple[Bucket, ...], policy: ScopePolicy, members: int) -> bool:
    attempts = sum(bucket.attempts for bucket in buckets)
    inconclusive = sum(bucket.inconclusive for bucket in buckets)
    several = members <= 1 or len({name for bucket in buckets for name in (bucket.first_id, bucket.last_id)}) > 1
    return attempts >= policy.attempts and several and inconclusive >= policy.ratio * attempts


def _fill(buckets: tuple[Bucket, ...], observation: Observation, *, bad: bool, window: timedelta) -> tuple[Bucket, ...]:
    at, who = observation.at, observation.connection_id
    kept = tuple(bucket for bucket in buckets if bucket.at > at - window)
    last = kept[-1] if kept and at - kept[-1].at < window / _BUCKETS else None
    if last is None:
        return (*kept, Bucket(at, 1, int(bad), who, who))
    grown = replace(last, attempts=last.attempts + 1, inconclusive=last.inconclusive + int(bad), last_id=who)
    return (*kept[:-1], grown)


def _calm(calm: Calm | None, observation: Observation, policy: ScopePolicy, *, bad: bool) -> Calm | None:
    at, who = observation.at, observation.connection_id
    if calm is None:
        return None if bad else Calm(at, 1, 0, who)
    grown = replace(calm, good=calm.good + int(not bad), bad=calm.bad + int(bad), several=calm.several or who != calm.first_id)
    return None if grown.bad >= policy.close_ratio * (grown.good + grown.bad) and bad else grown


def advance_platform(
    state: ScopeState, turned_id: int | None, now: datetime, policy: ScopePolicy, *, total: int, failing: int
) -> ScopeState:
    """
    The state of a platform scope, now that *failing* of its *total* connections are in error.

    *turned_id* is the connection that just turned to error, if one did.
    """
    turned = tuple(item for item in state.turned if item[1] > now - policy.platform_window and item[0] != turned_id)
    if turned_id is not None:
        turned = (*turned, (turned_id, now))
    state = state if turned == state.turned else replace(state, turned=turned)
    if state.open:
        held = state.topic.opened_at is not None and now - state.topic.opened_at >= policy.platform_hold
        return _close(replace(state, turned=()), now) if held or failing < policy.close_ratio * total else state
    many = len(turned) >= policy.platform_count and len(turned) >= policy.platform_ratio * total
    if not many:
        return state
    reason = Reason.PLATFORM_TROUBLE
    blamed = replace(state, reason=reason, detail=f"{failing} of {total} connections fail", last_bad_at=now)
    return _open(blamed, now, failing)


def _blame(state: ScopeState, observation: Observation) -> ScopeState:
    verdict = observation.verdict
    return replace(state, reason=verdict.reason, detail=verdict.detail, last_bad_at=observation.at)


def _open(state: ScopeState, now: datetime, affected: int) -> ScopeState:
    if state.open:
        return state
    topic = replace(state.topic, level=FAILED, since=now, number=state.topic.number + 1, opened_at=state.suspect_at or now)
    return replace(state, topic=topic, calm=None, affected=affected)


def _close(state: ScopeState, now: datetime) -> ScopeState:
    if not state.open:
        return state
    return replace(state, topic=replace(state.topic, level=FINE, since=now), calm=None, closed_at=now)


def fail(state: ScopeState, reason: Reason, detail: str, now: datetime, *, affected: int = 0) -> ScopeState:
    """Open the incident of *state* at once, for trouble that is certain."""
    return _open(replace(state, reason=reason, detail=detail, last_bad_at=now), now, affected)


def heal(state: ScopeState, now: datetime) -> ScopeState:
    """Close the incident of *state* at once."""
    return _close(replace(state, suspect_at=None), now)


def hold(state: ScopeState, policy: ScopePolicy) -> timedelta | None:
    """
    How far apart canaries are while the scope is open or suspected of a refused key; None when checks go on as usual.

    After the first refusal the account is asked once more before anybody is told, and not more often than that.
    """
    word = state.name.partition(":")[0]
    if word == "api":
        return policy.canary if state.open else None
    if word in {"account", "user"}:
        if state.open:
            return policy.account_canary
        return policy.account_confirm if state.suspect_at is not None else None
    return None


def settle(
    state: ScopeState, before: ScopeState, now: datetime, policy: Policy
) -> tuple[ScopeState, tuple[Transition, ...], tuple[Notification, ...]]:
    """Say what changed from *before* to *state*, and decide whether someone is told."""
    transitions: tuple[Transition, ...] = ()
    if state.topic.level != before.topic.level:
        transitions = (_transition(state, now),)
    value = state.topic
    reminder = _reminder_due(value, now, policy)
    if value.level == value.told.level and not reminder:
        return state, transitions, ()
    told_before = value.told
    number = told_before.number if told_before.level != FINE else value.number
    opened_at = (told_before.opened_at if told_before.level != FINE else value.opened_at) or now
    notification = _notification(state, now, number, opened_at, told_before.reminders + 1 if reminder else 0)
    if reminder:
        told = replace(told_before, at=now, reminders=told_before.reminders + 1)
    else:
        told = Told(value.level, number, opened_at, now) if value.level != FINE else Told(at=now)
    return replace(state, topic=replace(value, told=told), seq=notification.seq), transitions, (notification,)


def _reminder_due(value: TopicState, now: datetime, policy: Policy) -> bool:
    told = value.told
    if told.level == FINE or told.level != value.level or told.at is None or policy.reminders <= timedelta(0):
        return False
    return now >= told.at + policy.reminders


def severity(kind: Scope) -> Severity:
    """How urgent an incident of this scope is."""
    return Severity.WARNING if kind is Scope.USER else Severity.CRITICAL


def _transition(state: ScopeState, now: datetime) -> Transition:
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
        closed_why="recovered" if topic.level == FINE else None,
    )


def _notification(state: ScopeState, now: datetime, number: int, opened_at: datetime, reminder: int) -> Notification:
    closing = state.topic.level == FINE
    opened, closed = _TYPES[state.kind]
    why = Why.REMINDER if reminder else Why.CLOSED if closing else Why.OPENED
    return Notification(
        type=EventType.REMINDER if reminder else closed if closing else opened,
        why=why,
        severity=severity(state.kind),
        at=now,
        incident=IncidentRef(Topic.SCOPE, state.name, number, opened_at),
        scope=state.kind,
        connection_id=None,
        level_from=state.topic.told.level,
        level_to=state.topic.level,
        reason=state.reason,
        detail=state.detail,
        seq=state.seq + 1,
        facts=Facts(affected=state.affected, duration=now - opened_at if closing else None, reminder=reminder),
    )
