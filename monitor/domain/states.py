"""
`ConnectionState`: all that is remembered of one connection; clamping it after a clock jump.

A *check* asks the API about one *connection* and ends in a *reply* or an error; `verdicts.judge` reads a
*verdict* from it (an outcome and a reason). Verdicts move the connection's *health*, our debounced belief.
While one kind of trouble (a *topic*) holds for one *scope*, an *incident* is open. When the level of a topic
differs from what the receivers were last told, a *notification* is owed.

Timestamps are aware UTC datetimes and end in `_at`; durations are timedeltas.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.domain.checks import LastError
from monitor.domain.copies import replace
from monitor.domain.events import FINE, Topic
from monitor.domain.expiry.model import TokenBelief
from monitor.domain.reasons import Health
from monitor.errors import Reason


class SuppressionReason(StrEnum):
    """Why nobody was told; `explain` prints it."""

    NOTHING_NEW = "nothing_new"
    COVERED_BY_SCOPE = "covered_by_scope"
    REMINDER_NOT_DUE = "reminder_not_due"
    SILENCED = "silenced"
    QUIET_HOURS = "quiet_hours"
    ACKNOWLEDGED = "acknowledged"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class PendingHealth:
    """Contrary evidence that is not yet confirmed: which health it points to, how often and when it was counted."""

    health: Health
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class PendingLevel:
    """A level of a topic that was seen but does not yet hold: since when, and how often evidence told it."""

    level: str
    since: datetime
    sightings: int = 1


@dataclass(frozen=True, slots=True)
class LastNotified:
    """
    What the receivers were last told of one topic, and under which incident number.

    *merged* says that the notification of another topic told it: an expired token within the failure that it caused.
    *doubted* says that they also heard that the failure may be the test's own.
    """

    level: str = FINE
    number: int = 0
    opened_at: datetime | None = None
    at: datetime | None = None
    reminders: int = 0
    merged: bool = False
    false_negative_suspected: bool = False


@dataclass(frozen=True, slots=True)
class TopicState:
    """
    One kind of trouble of one subject.

    Attributes:
        level: what we believe now; `fine` means no incident is open.
        since: when that level began.
        number: counts the incidents of this topic; the open or the last one.
        opened_at: when that incident opened.
        told: what the receivers know. A notification is owed while `told.level` differs from `level`.
    """

    level: str = FINE
    since: datetime | None = None
    number: int = 0
    opened_at: datetime | None = None
    notified: LastNotified = LastNotified()


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """
    All the monitor remembers of one connection between checks: one row, one version number.

    Attributes:
        health, since: the belief and when it began.
        reason, detail: of the last conclusive check.
        pending: contrary evidence not yet confirmed.
        last_check_at: the last check, whatever it told.
        last_evidence_at: the last conclusive check.
        last_passed_at: the last passed one.
        failures: failed checks in a row.
        first_failed_at: the first of them.
        last_reason, last_detail: of the very last check, conclusive or not.
        passed_before: whether any check ever passed.
        changes: when confirmed health changed lately, for flap damping, oldest first.
        permissions: what the last passed check that reported any reported, plus what was lost since.
        permissions_missing: granted earlier or required, and absent from the last report.
        token_sightings: checks in a row that agree about the token's end.
        hints: levels of topics that evidence told but that are not yet confirmed.
        quiet: why nobody was told at the last look.
        notice_owed: a notice that no level tells of was held back by a silence: that the connection can no longer be tested.
        review_at: when the passing of time alone may next change something.
        seq: numbers the notifications about this connection; receivers order by it.
    """

    health: Health = Health.UNKNOWN
    since: datetime | None = None
    reason: Reason | None = None
    detail: str = ""
    pending: PendingHealth | None = None
    last_check_at: datetime | None = None
    last_evidence_at: datetime | None = None
    last_passed_at: datetime | None = None
    last_reason: Reason | None = None
    last_detail: str = ""
    failures: int = 0
    first_failed_at: datetime | None = None
    passed_before: bool = False
    username: str | None = None
    display_name: str | None = None
    permissions: tuple[str, ...] = ()
    permissions_missing: tuple[str, ...] = ()
    last_successful_post_at: datetime | None = None
    last_error: LastError | None = None
    token: TokenBelief = TokenBelief()
    token_sightings: int = 0
    changes: tuple[datetime, ...] = ()
    pending_levels: Mapping[Topic, PendingLevel] = field(default_factory=dict)
    topics: Mapping[Topic, TopicState] = field(default_factory=dict)
    suppression: SuppressionReason = SuppressionReason.NOTHING_NEW
    notice_pending: bool = False
    next_evaluation_at: datetime | None = None
    seq: int = 0

    @property
    def suspected_false_negative(self) -> bool:
        """Whether a post succeeded after the first failed check: the validator may be wrong."""
        posted = self.last_successful_post_at
        return posted is not None and self.first_failed_at is not None and posted > self.first_failed_at

    def topic(self, topic: Topic) -> TopicState:
        """The state of one topic; a topic that never was in trouble is fine."""
        return self.topics.get(topic, TopicState())


# Works queue before they are concluded, so moments may come a little out of order without any clock being wrong.
TOLERANCE = timedelta(minutes=1)


def clamp_future(state: ConnectionState, now: datetime) -> ConnectionState:
    """*state* without memories of the future; the same object when there are none."""
    latest = now + TOLERANCE
    if not any(moment > latest for moment in _moments(state)):
        return state
    pending = state.pending
    token = state.token
    return replace(
        state,
        since=_past(state.since, now),
        pending=replace(pending, first_at=min(pending.first_at, now), last_at=min(pending.last_at, now)) if pending else None,
        last_check_at=_past(state.last_check_at, now),
        last_evidence_at=_past(state.last_evidence_at, now),
        last_passed_at=_past(state.last_passed_at, now),
        first_failed_at=_past(state.first_failed_at, now),
        changes=tuple(min(change, now) for change in state.changes),
        pending_levels={topic: replace(hint, since=min(hint.since, now)) for topic, hint in state.pending_levels.items()},
        topics={topic: _topic(value, now) for topic, value in state.topics.items()},
        token=replace(token, observed_at=_past(token.observed_at, now), expired_at=_past(token.expired_at, now)),
        next_evaluation_at=now,
    )


def _moments(state: ConnectionState) -> Iterator[datetime]:
    """The latest memories; all others are older than one of these."""
    for moment in (state.since, state.last_check_at, state.last_evidence_at, state.token.observed_at):
        if moment is not None:
            yield moment
    for value in state.topics.values():
        for moment in (value.since, value.notified.at):
            if moment is not None:
                yield moment
    for hint in state.pending_levels.values():
        yield hint.since


def _topic(value: TopicState, now: datetime) -> TopicState:
    told = value.notified
    return replace(
        value,
        since=_past(value.since, now),
        opened_at=_past(value.opened_at, now),
        notified=replace(told, at=_past(told.at, now), opened_at=_past(told.opened_at, now)),
    )


def _past(moment: datetime | None, now: datetime) -> datetime | None:
    return None if moment is None else min(moment, now)
