"""`ScopeState`: the stored state of one scope; its phases and their transitions, which only functions of this module make."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from monitor.domain.copies import replace
from monitor.domain.events import FINE
from monitor.domain.reasons import UPSTREAM, Scope
from monitor.domain.replies.checks import Observation
from monitor.domain.scopes.key import LIMIT, RATE, SERVICE, ScopeKey
from monitor.domain.states import TOLERANCE, TopicState, clamp_moment, clamp_topic
from monitor.errors import Reason

FAILED = "failed"

CHANGES_KEPT = 20

GOOD_ANSWERS = 3
"""So many good answers end an outage of the API; more are not counted over a restart."""

MEMBERS_KEPT = 50

"""`closed_why`: the scope left the configuration."""

_SCOPES = {RATE: Scope.ACCOUNT, SERVICE: Scope.ACCOUNT, LIMIT: Scope.API}


class Phase(StrEnum):
    """The phase of a scope; while it is `recovering`, its incident is open."""

    CLEAR = "clear"
    SUSPECTED = "suspected"
    OPEN = "open"
    RECOVERING = "recovering"


TRANSITIONS: Mapping[Phase, frozenset[Phase]] = {
    Phase.CLEAR: frozenset({Phase.SUSPECTED, Phase.OPEN}),
    Phase.SUSPECTED: frozenset({Phase.CLEAR, Phase.OPEN}),
    Phase.OPEN: frozenset({Phase.RECOVERING, Phase.CLEAR}),
    Phase.RECOVERING: frozenset({Phase.OPEN, Phase.CLEAR}),
}
"""Phase -> the phases that may follow one evaluation."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """
    The checks of one slice of time, counted.

    Attributes:
        bad: those that failed because of the API.
        crashed: those that failed for one connection, in a way that means a failing API when many connections do.
        first_id, last_id: the first and the last connection whose check was bad or crashed.
    """

    at: datetime
    attempts: int = 0
    bad: int = 0
    crashed: int = 0
    first_id: int | None = None
    last_id: int | None = None


@dataclass(frozen=True, slots=True)
class FailureStreak:
    """Bad checks in a row: since when, how many, the first connection, whether there were several, and when the first was sent."""

    since: datetime
    count: int
    first_id: int
    several: bool = False
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RecoveryWindow:
    """
    The checks since an open scope began to work again.

    Attributes:
        since: the first good check.
        good, bad: the numbers of good and of bad checks.
        first_id, several: the first connection with a good check, and whether there were several.
        answered: whether one of the checks was answered properly, not only with a crashed test.
    """

    since: datetime
    good: int = 0
    bad: int = 0
    first_id: int = 0
    several: bool = False
    answered: bool = False


@dataclass(frozen=True, slots=True)
class ScopeState:
    """
    The state of one scope.

    Attributes:
        suspect_at: since when the opening condition holds.
        reason, detail: of the last failure.
        buckets: recent checks, oldest first (API only).
        streak: the current run of bad checks (API only).
        recovery: the checks that may close its incident (API only).
        swept_at: since when the connections below it are looked at anew (platform and group only).
        members: connections that its incident began with, at most `MEMBERS_KEPT` (platform and group only).
        changed_at: when more connections joined its open incident, or another cause did; None when none has (platform and group only).
        cause_since: since when its present cause is seen, where its open incident began with another (platform and group only).
        earlier_reasons: the reasons that its open incident had before `reason` (platform and group only).
        relapses: how often its open incident seemed to be over, and was not (platform and group only).
        left: those that still fail, where others of them work again, or, once it is closed, fail all the same (platform and group only).
        notify_at: before this time the incident is not notified.
        last_good_at: the last check that did not fail because of the API (service only).
        closed_at: when the last incident closed; connections below it count as watched since then.
        closed_why: why the last incident closed (`REMOVED`, `REPLACED`); empty when the scope recovered.
        changes: when its incident recently opened or closed, oldest first.
        seq: the number of the last notification about this scope.
        unknown: what a newer release wrote into the row, kept for it.
    """

    key: ScopeKey
    topic: TopicState = field(default_factory=TopicState)
    suspect_at: datetime | None = None
    last_bad_at: datetime | None = None
    reason: Reason | None = None
    detail: str = ""
    buckets: tuple[Bucket, ...] = ()
    streak: FailureStreak | None = None
    recovery: RecoveryWindow | None = None
    swept_at: datetime | None = None
    members: tuple[int, ...] = ()
    changed_at: datetime | None = None
    cause_since: datetime | None = None
    earlier_reasons: tuple[Reason, ...] = ()
    relapses: int = 0
    left: tuple[int, ...] = ()
    notify_at: datetime | None = None
    covered: bool = False
    last_good_at: datetime | None = None
    closed_at: datetime | None = None
    closed_why: str = ""
    changes: tuple[datetime, ...] = ()
    affected: int = 0
    seq: int = 0
    unknown: str = ""

    @property
    def name(self) -> str:
        """The key as rows, JSON and texts spell it."""
        return str(self.key)

    @property
    def kind(self) -> str:
        """The kind of scope."""
        return self.key.kind

    @property
    def scope(self) -> Scope:
        """The scope in rows and JSON; that of a rate and a service scope is the account, that of a limit the API."""
        return _SCOPES.get(self.key.kind) or Scope(self.key.kind)

    @property
    def open(self) -> bool:
        """Whether an incident of this scope is open."""
        return self.topic.level != FINE

    @property
    def hides_state(self) -> bool:
        """Whether the state of the connections below it is unknown while its incident is open; not where they share a cause."""
        return not self.key.platform or self.reason in UPSTREAM

    @property
    def phase(self) -> Phase:
        """The current phase."""
        if self.topic.level != FINE:
            return Phase.OPEN if self.recovery is None else Phase.RECOVERING
        return Phase.CLEAR if self.suspect_at is None else Phase.SUSPECTED

    @property
    def settled(self) -> bool:
        """Whether the passing of time changes nothing about it: it is clear, and receivers know."""
        return self.suspect_at is None and self.topic.level == FINE and self.topic.notified.level == FINE


@lru_cache(maxsize=4096)
def clear(key: ScopeKey) -> ScopeState:
    """The state of a scope of which nothing is known."""
    return ScopeState(key)


def with_failure(state: ScopeState, observation: Observation) -> ScopeState:
    """Return *state* with *observation* as the last failure."""
    verdict = observation.verdict
    return replace(state, reason=verdict.reason, detail=verdict.detail, last_bad_at=observation.at)


def opened(state: ScopeState, now: datetime, affected: int) -> ScopeState:
    """Return *state* with its incident open, since the scope was first suspected."""
    if state.open:
        return state
    topic = replace(state.topic, level=FAILED, since=now, number=state.topic.number + 1, opened_at=state.suspect_at or now)
    opening = replace(state, topic=topic, recovery=None, affected=affected, closed_why="", changes=_changed(state, now))
    return replace(opening, left=(), notify_at=None, covered=False, changed_at=None, cause_since=None, earlier_reasons=(), relapses=0)


def closed(state: ScopeState, now: datetime, why: str = "") -> ScopeState:
    """Return *state* with its incident closed and without suspicion; *why*: empty for a recovery."""
    if state.suspect_at is not None:
        state = replace(state, suspect_at=None)
    if not state.open:
        return state
    topic = replace(state.topic, level=FINE, since=now)
    state = replace(state, changes=_changed(state, now))
    return replace(state, topic=topic, recovery=None, streak=None, buckets=(), closed_at=now, closed_why=why)


def _changed(state: ScopeState, now: datetime) -> tuple[datetime, ...]:
    return (*state.changes, now)[-CHANGES_KEPT:]


def without_checks(state: ScopeState) -> ScopeState:
    """Return *state* without suspicion and counted checks; the same object when there are none."""
    if state.suspect_at is None and state.streak is None and not state.buckets:
        return state
    return replace(state, suspect_at=None, streak=None, buckets=(), recovery=None)


def fail(state: ScopeState, reason: Reason, detail: str, now: datetime, *, affected: int = 0) -> ScopeState:
    """Return *state* with its incident open at once, for a failure that needs no confirmation."""
    return opened(replace(state, reason=reason, detail=detail, last_bad_at=now), now, affected)


def persistent(state: ScopeState) -> ScopeState:
    """Return the part of *state* that is kept over a restart: without the counts of single checks, but for those that close an outage."""
    failing = state.open or state.suspect_at is not None
    last_bad_at = state.last_bad_at if failing else None
    recovery = state.recovery
    if recovery is not None:
        recovery = None if state.key.platform else replace(recovery, good=min(recovery.good, GOOD_ANSWERS), bad=0)
    return replace(state, buckets=(), recovery=recovery, streak=None, last_bad_at=last_bad_at, last_good_at=None)


def clamp_future_scope(state: ScopeState, now: datetime) -> ScopeState:
    """Return *state* with future timestamps set to *now*; the same object when there are none."""
    topic = state.topic
    moments = (state.suspect_at, state.last_bad_at, state.last_good_at, state.closed_at, state.swept_at, topic.since, topic.notified.at)
    timestamps = [moment for moment in moments if moment is not None] + [bucket.at for bucket in state.buckets]
    timestamps += state.changes[-1:]
    timestamps += [state.recovery.since] if state.recovery is not None else []
    latest = now + TOLERANCE
    if not any(moment > latest for moment in timestamps):
        return state
    return replace(
        state,
        topic=clamp_topic(topic, now),
        suspect_at=clamp_moment(state.suspect_at, now),
        last_bad_at=clamp_moment(state.last_bad_at, now),
        last_good_at=clamp_moment(state.last_good_at, now),
        buckets=(),
        streak=None,
        recovery=None,
        swept_at=clamp_moment(state.swept_at, now),
        changed_at=clamp_moment(state.changed_at, now),
        notify_at=clamp_moment(state.notify_at, now),
        closed_at=clamp_moment(state.closed_at, now),
        changes=tuple(min(change, now) for change in state.changes),
    )
