"""
`ConnectionState`: the stored state of one connection; its correction after a clock jump.

A *check* tests one *connection* at the API and ends in a *reply* or an error; `verdicts.judge` turns it into a *verdict*
(outcome and reason). Verdicts move the connection's *health*, the debounced state (`health`). Health, token and posts give each
*topic* a *level* (`topics`); while a level is not `fine`, an *incident* of the topic is open. While a level differs from the one
that receivers were last notified of, a *notification* is pending (`notifications.decide`).

States are stored as JSON by the names of their fields. Timestamps are aware UTC datetimes; most names end in `_at`, or in `since`.
`evaluation` puts the rules that change a state in their order.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from monitor.domain.copies import replace
from monitor.domain.events import FINE, Severity, Topic
from monitor.domain.expiry.model import TokenBelief
from monitor.domain.reasons import Advice, Health
from monitor.domain.replies.checks import LastError
from monitor.errors import Reason


class SuppressionReason(StrEnum):
    """Why receivers were not notified; `explain` prints it."""

    NOTHING_NEW = "nothing_new"
    COVERED_BY_SCOPE = "covered_by_scope"
    REMINDER_NOT_DUE = "reminder_not_due"
    AWAITING_CHECK = "awaiting_check"
    SILENCED = "silenced"
    QUIET_HOURS = "quiet_hours"
    ACKNOWLEDGED = "acknowledged"
    UNCERTAIN = "uncertain"
    NOT_LASTING = "not_lasting"


@dataclass(frozen=True, slots=True)
class PendingHealth:
    """Evidence for another health that is not confirmed yet: how often it was counted, first and last when."""

    health: Health
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class PendingCause:
    """Evidence that a failure has another cause, which asks for other work, not confirmed yet: how often it was counted, first and last when."""

    advice: Advice
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class FailurePeriod:
    """
    The current or the last confirmed failure of a connection.

    Attributes:
        worked_at: the last passed check before it; None when none had passed.
        cause, detail: the confirmed reason, in the words of the last check that showed it.
        cause_since: when a check first showed a cause that asks for the same work.
        failed_posts, last_failed_post_at: posting errors seen that are dated within it, and the last of them.
    """

    failed_at: datetime
    worked_at: datetime | None = None
    ended_at: datetime | None = None
    cause: Reason | None = None
    detail: str = ""
    cause_since: datetime | None = None
    failed_posts: int = 0
    last_failed_post_at: datetime | None = None

    def covers(self, moment: datetime) -> bool:
        """Whether *moment* is after the last success before the failure, and not after its end."""
        return (self.worked_at is None or moment > self.worked_at) and (self.ended_at is None or moment <= self.ended_at)


@dataclass(frozen=True, slots=True)
class PendingLevel:
    """A level of a topic that was seen but is not confirmed yet: since when, and by how many checks."""

    level: str
    since: datetime
    sightings: int = 1


@dataclass(frozen=True, slots=True)
class LastNotified:
    """
    What receivers were last notified of, for one topic.

    Attributes:
        number, opened_at: the incident's.
        reminders: how many reminders of it followed.
        merged: the notification of another topic included it: an expired token within the failure that it caused, or the failure within
            the incident of the token.
        includes_failure: it included that the connection is broken, because its token has expired.
        severity, last_severity: the highest that was notified, and that of the last notification.
        advice: what to do about a failure, as last notified.
        causes: how many notifications said that the level or the cause has changed.
        routes: the keys of the routes that took it, where the routes say when receivers are notified.
        routed_at: when they took it first.
        escalated: those of them whose escalation was sent.
    """

    level: str = FINE
    number: int = 0
    opened_at: datetime | None = None
    at: datetime | None = None
    reminders: int = 0
    merged: bool = False
    includes_failure: bool = False
    severity: Severity | None = None
    last_severity: Severity | None = None
    advice: Advice | None = None
    causes: int = 0
    routes: tuple[str, ...] = ()
    routed_at: datetime | None = None
    escalated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TopicState:
    """
    The state of one topic of a connection or scope.

    Attributes:
        number: of the open or the last incident; they are counted per topic.
        opened_at: when that incident opened.
        notified: what receivers were last notified of. A notification is pending while `notified.level` differs from `level`.
    """

    level: str = FINE
    since: datetime | None = None
    number: int = 0
    opened_at: datetime | None = None
    notified: LastNotified = LastNotified()


_NEVER_TOLD = TopicState()


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """
    The state of one connection between checks: one row, one version number.

    Attributes:
        health, since: the confirmed health, and when it began.
        reason, detail: of the last conclusive check.
        pending_cause: evidence for another cause of the failure, not confirmed yet.
        last_check_at, last_reason, last_detail: of the last check, conclusive or not.
        first_evidence_at, last_evidence_at: the first and the last conclusive check.
        failures, first_failed_at: failed checks in a row, and the first of them.
        passed_before: whether any check ever passed.
        permissions: every permission that a passed check ever reported, without those whose loss was accepted since.
        permissions_missing: granted earlier or required, and absent from the last report.
        permissions_accepted_at: when the loss was accepted that was taken over last (`acceptance`).
        loss_accepted: the last loss of permissions ended because it was accepted, not because they came back.
        last_successful_post_at, last_error: the last post that succeeded, and the last posting error, by the API's clock.
        contradicted_at: of the failed checks in a row: the last post that succeeded before one of them, by the API's clock.
        server_ahead: by how much the API's clock is ahead of ours, as its last answers showed; zero when the clocks agree.
        explained_error_at: when the last posting error occurred that a failure or a scope incident explains.
        token_sightings: checks and listings in a row that agree about the token.
        changes: recent changes of confirmed health, oldest first, for flap damping.
        pending_levels: levels that were seen but are not confirmed yet.
        topics: the topics that ever had another level than `fine`.
        suppression: why receivers were not notified at the last evaluation.
        notice_pending: the notice that the connection can no longer be tested was suppressed by a silence.
        next_evaluation_at: when the passing of time alone may next change something; None when it cannot.
        seq: the number of the last notification about this connection; receivers order by it.
        last_known: the state when it was no longer watched, for showing; None while it is, and since it is again.
        unknown: what a newer release wrote into the row, kept for it.
    """

    health: Health = Health.UNKNOWN
    since: datetime | None = None
    reason: Reason | None = None
    detail: str = ""
    pending: PendingHealth | None = None
    failure: FailurePeriod | None = None
    pending_cause: PendingCause | None = None
    last_check_at: datetime | None = None
    first_evidence_at: datetime | None = None
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
    permissions_accepted_at: datetime | None = None
    loss_accepted: bool = False
    last_successful_post_at: datetime | None = None
    last_error: LastError | None = None
    contradicted_at: datetime | None = None
    server_ahead: timedelta = timedelta(0)
    explained_error_at: datetime | None = None
    token: TokenBelief = TokenBelief()
    token_sightings: int = 0
    changes: tuple[datetime, ...] = ()
    pending_levels: Mapping[Topic, PendingLevel] = field(default_factory=dict)
    topics: Mapping[Topic, TopicState] = field(default_factory=dict)
    suppression: SuppressionReason = SuppressionReason.NOTHING_NEW
    notice_pending: bool = False
    next_evaluation_at: datetime | None = None
    seq: int = 0
    last_known: Self | None = None
    unknown: str = ""

    @property
    def cause(self) -> Reason | None:
        """The confirmed reason of a failure, else that of the last conclusive check."""
        if self.health is Health.ERROR and self.failure is not None and self.failure.cause is not None:
            return self.failure.cause
        return self.reason

    @property
    def suspected_false_negative(self) -> bool:
        """Whether the test may be wrong: a post succeeded between two failed checks with the present cause, and none failed since."""
        posted, failed_at, evidence_at = self.last_successful_post_at, self.first_failed_at, self.last_evidence_at
        if posted is not None and evidence_at is not None and self.by_our_clock(posted) > evidence_at:
            # A newer post may follow a repair; what an earlier one has shown stays.
            posted = self.contradicted_at
        if posted is None or failed_at is None:
            return False
        if self.failure is not None and self.failure.cause_since is not None:
            failed_at = max(failed_at, self.failure.cause_since)
        failed_post_at = self.last_error.occurred_at if self.last_error is not None else None
        return self.by_our_clock(posted) > failed_at and (failed_post_at is None or failed_post_at <= posted)

    def by_our_clock(self, moment: datetime) -> datetime:
        """Return when a *moment* by the API's clock was by ours."""
        return moment - self.server_ahead if self.server_ahead else moment

    def topic(self, topic: Topic) -> TopicState:
        """Return the state of one topic; `fine` for one that never had an incident."""
        return self.topics.get(topic, _NEVER_TOLD)


# Results wait in queues before they are evaluated, so timestamps may be slightly out of order while no clock is wrong.
TOLERANCE = timedelta(minutes=1)


def clamp_future(state: ConnectionState, now: datetime) -> ConnectionState:
    """Return *state* with future timestamps set to *now*; the same object when there are none. Follows a clock that was set back."""
    latest = now + TOLERANCE
    if not any(moment > latest for moment in _moments(state)):
        return state
    pending, cause, failure = state.pending, state.pending_cause, state.failure
    token = state.token
    return replace(
        state,
        since=clamp_moment(state.since, now),
        pending=replace(pending, first_at=min(pending.first_at, now), last_at=min(pending.last_at, now)) if pending else None,
        pending_cause=replace(cause, first_at=min(cause.first_at, now), last_at=min(cause.last_at, now)) if cause else None,
        failure=_clamp_failure(failure, now) if failure else None,
        last_check_at=clamp_moment(state.last_check_at, now),
        first_evidence_at=clamp_moment(state.first_evidence_at, now),
        last_evidence_at=clamp_moment(state.last_evidence_at, now),
        last_passed_at=clamp_moment(state.last_passed_at, now),
        first_failed_at=clamp_moment(state.first_failed_at, now),
        changes=tuple(min(change, now) for change in state.changes),
        pending_levels={topic: replace(level, since=min(level.since, now)) for topic, level in state.pending_levels.items()},
        topics={topic: clamp_topic(value, now) for topic, value in state.topics.items()},
        token=replace(token, observed_at=clamp_moment(token.observed_at, now), expired_at=clamp_moment(token.expired_at, now)),
        next_evaluation_at=now,
    )


def _clamp_failure(failure: FailurePeriod, now: datetime) -> FailurePeriod:
    return replace(
        failure,
        failed_at=min(failure.failed_at, now),
        worked_at=clamp_moment(failure.worked_at, now),
        ended_at=clamp_moment(failure.ended_at, now),
        cause_since=clamp_moment(failure.cause_since, now),
    )


def _moments(state: ConnectionState) -> Iterator[datetime]:
    """The latest timestamps of *state*; every other one is older than one of these."""
    for moment in (state.since, state.last_check_at, state.last_evidence_at, state.token.observed_at):
        if moment is not None:
            yield moment
    for value in state.topics.values():
        for moment in (value.since, value.notified.at):
            if moment is not None:
                yield moment
    for level in state.pending_levels.values():
        yield level.since


def clamp_topic(value: TopicState, now: datetime) -> TopicState:
    """Return *value* with future timestamps set to *now*."""
    notified = value.notified
    return replace(
        value,
        since=clamp_moment(value.since, now),
        opened_at=clamp_moment(value.opened_at, now),
        notified=replace(
            notified,
            at=clamp_moment(notified.at, now),
            opened_at=clamp_moment(notified.opened_at, now),
            routed_at=clamp_moment(notified.routed_at, now),
        ),
    )


def clamp_moment(moment: datetime | None, now: datetime) -> datetime | None:
    """Return *moment*, or *now* when it is later."""
    return None if moment is None else min(moment, now)
