"""
`ScopeState`: all that is remembered of one scope; its phases, and how it opens and closes.

Each rule (`api`, `platform`, `rules`) only asks for a change of phase here, so `TRANSITIONS` is the whole life of a scope.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from monitor.domain.checks import Observation
from monitor.domain.copies import replace
from monitor.domain.events import FINE
from monitor.domain.reasons import Scope
from monitor.domain.scopes.key import RATE, SERVICE, ScopeKey
from monitor.domain.states import TOLERANCE, TopicState, _past, _topic
from monitor.errors import Reason

FAILED = "failed"

CHANGES_KEPT = 20

REMOVED = "removed"
"""Why the incident of a scope closed that left the configuration."""


class Phase(StrEnum):
    """
    Where a scope stands.

    `suspected`: its opening condition holds, not yet for long enough. `recovering`: its incident is open, but good answers come.
    """

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
"""
Phase -> the phases that may follow one evaluation.

`clear` to `open`: trouble that is certain at once, such as a database that takes no writes.
"""


@dataclass(frozen=True, slots=True)
class Bucket:
    """
    Checks of one slice of time.

    Attributes:
        attempts: how many; `bad` of them told of an API in trouble, `crashed` blamed a connection for what, from everybody, is the API's.
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
    """Bad answers without any other in between: since when, how many, from whom first, and whether from several."""

    since: datetime
    count: int
    first_id: int
    several: bool = False


@dataclass(frozen=True, slots=True)
class RecoveryWindow:
    """
    Good answers since the trouble seemed over.

    Attributes:
        since: when it began.
        good, bad: how many answers were good, and how many were not.
        first_id, several: who answered first, and whether somebody else did too.
        answered: whether one of them was a real answer, not only a test that crashed.
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
    All the monitor remembers of one scope.

    Attributes:
        suspect_at: since when the opening condition holds.
        last_bad_at: the last sign of trouble.
        reason, detail: of the last sign of trouble.
        buckets: recent checks, oldest first (API only).
        streak: the bad answers since the last other one (API only).
        recovery: the good answers that may close it (API only).
        recent_failures: connections that lately turned to error, with when (platform only).
        last_good_at: the last answer that told of no trouble of the API (service only).
        closed_at: when the last incident closed; connections are watched afresh from then on.
        closed_why: why the last incident closed, where not because the trouble is over; else empty.
        changes: when its incident lately opened or closed, oldest first.
        affected: connections that were below it when it opened.
        seq: numbers the notifications about this scope.
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
    recent_failures: tuple[tuple[int, datetime], ...] = ()
    last_good_at: datetime | None = None
    closed_at: datetime | None = None
    closed_why: str = ""
    changes: tuple[datetime, ...] = ()
    affected: int = 0
    seq: int = 0

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
        """What it covers; a rate and a service scope cover an account."""
        return Scope.ACCOUNT if self.key.kind in {RATE, SERVICE} else Scope(self.key.kind)

    @property
    def open(self) -> bool:
        """Whether an incident of this scope is open."""
        return self.topic.level != FINE

    @property
    def phase(self) -> Phase:
        """Where it stands."""
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
    """*state* with *observation* as the last sign of trouble."""
    verdict = observation.verdict
    return replace(state, reason=verdict.reason, detail=verdict.detail, last_bad_at=observation.at)


def opened(state: ScopeState, now: datetime, affected: int) -> ScopeState:
    """*state* with its incident open; the trouble began when it was first suspected."""
    if state.open:
        return state
    topic = replace(state.topic, level=FAILED, since=now, number=state.topic.number + 1, opened_at=state.suspect_at or now)
    return replace(state, topic=topic, recovery=None, affected=affected, closed_why="", changes=_changed(state, now))


def closed(state: ScopeState, now: datetime, why: str = "") -> ScopeState:
    """*state* with its incident closed and nothing suspected; *why*, where the trouble is not over (`SPLIT`, `REMOVED`)."""
    if state.suspect_at is not None:
        state = replace(state, suspect_at=None)
    if not state.open:
        return state
    topic = replace(state.topic, level=FINE, since=now)
    state = replace(state, changes=_changed(state, now))
    return replace(state, topic=topic, recovery=None, streak=None, buckets=(), recent_failures=(), closed_at=now, closed_why=why)


def _changed(state: ScopeState, now: datetime) -> tuple[datetime, ...]:
    return (*state.changes, now)[-CHANGES_KEPT:]


def forgotten(state: ScopeState) -> ScopeState:
    """*state* without suspicion and without any memory of checks; the same object when there is none."""
    if state.suspect_at is None and state.streak is None and not state.buckets:
        return state
    return replace(state, suspect_at=None, streak=None, buckets=(), recovery=None)


def fail(state: ScopeState, reason: Reason, detail: str, now: datetime, *, affected: int = 0) -> ScopeState:
    """Open the incident of *state* at once, for trouble that is certain."""
    return opened(replace(state, reason=reason, detail=detail, last_bad_at=now), now, affected)


def persistent(state: ScopeState) -> ScopeState:
    """What is kept over a restart: all that decides, but not the counting of single checks."""
    troubled = state.open or state.suspect_at is not None
    last_bad_at = state.last_bad_at if troubled else None
    return replace(state, buckets=(), recovery=None, streak=None, last_bad_at=last_bad_at, last_good_at=None)


def clamp_future_scope(state: ScopeState, now: datetime) -> ScopeState:
    """*state* without memories of the future; the same object when there are none."""
    topic = state.topic
    moments = (state.suspect_at, state.last_bad_at, state.last_good_at, state.closed_at, topic.since, topic.notified.at)
    late = (
        [moment for moment in moments if moment is not None]
        + [at for _, at in state.recent_failures]
        + [bucket.at for bucket in state.buckets]
    )
    late += state.changes[-1:]
    late += [state.recovery.since] if state.recovery is not None else []
    latest = now + TOLERANCE
    if not any(moment > latest for moment in late):
        return state
    return replace(
        state,
        topic=_topic(topic, now),
        suspect_at=_past(state.suspect_at, now),
        last_bad_at=_past(state.last_bad_at, now),
        last_good_at=_past(state.last_good_at, now),
        buckets=(),
        streak=None,
        recovery=None,
        recent_failures=tuple((connection_id, min(at, now)) for connection_id, at in state.recent_failures),
        closed_at=_past(state.closed_at, now),
        changes=tuple(min(change, now) for change in state.changes),
    )
