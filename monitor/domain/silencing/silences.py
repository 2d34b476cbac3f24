"""Silences and quiet hours: they suppress notifications, not checks; what then still differs is notified when one ends."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from monitor.domain.connections import Connection
from monitor.domain.events import FINE, EventType, IncidentRef, Notification, NotificationReason, Severity, Topic
from monitor.domain.reasons import Scope
from monitor.domain.recurrence import Schedule
from monitor.domain.routing.rules import NO_LABELS, UserLabels, facts, matches
from monitor.domain.states import SuppressionReason
from monitor.domain.time_spans import Span

_NEVER = datetime.min.replace(tzinfo=UTC)


class SilenceState(StrEnum):
    """State of a silence."""

    PENDING = "pending"
    ACTIVE = "active"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Silence:
    """
    A silence of an operator.

    Attributes:
        match: the matchers, all of which a notification must match; written as in a `Route`, never empty.
        expired_at: when it was ended early, else None.
    """

    id: int
    match: Mapping[str, str]
    starts_at: datetime
    ends_at: datetime
    author: str
    reason: str
    created_at: datetime
    expired_at: datetime | None = None

    @property
    def over_at(self) -> datetime:
        """When it ends or ended."""
        return self.ends_at if self.expired_at is None else min(self.expired_at, self.ends_at)

    def state(self, now: datetime) -> SilenceState:
        """Return the state at *now*."""
        if now >= self.over_at:
            return SilenceState.EXPIRED
        return SilenceState.ACTIVE if now >= self.starts_at else SilenceState.PENDING


@dataclass(frozen=True, slots=True)
class RecurringSilence:
    """A recurring silence of the configuration. *suppression*: the reason of what it suppresses: `SILENCED`, or `QUIET_HOURS`."""

    name: str
    match: Mapping[str, str]
    when: Schedule
    suppression: SuppressionReason = SuppressionReason.SILENCED


@dataclass(frozen=True, slots=True)
class Suppression:
    """Why a notification is suppressed, until when at least, and by which silence."""

    reason: SuppressionReason
    until: datetime
    by: str


def suppressed_by(
    notification: Notification,
    connection: Connection | None,
    silences: tuple[Silence, ...],
    recurring: tuple[RecurringSilence, ...],
    now: datetime,
    user_labels: UserLabels = NO_LABELS,
) -> Suppression | None:
    """Return what suppresses *notification* at *now* for the longest time; None when it may be sent."""
    if not silences and not recurring:
        return None
    values = facts(notification, connection, user_labels)
    suppressions = [
        Suppression(SuppressionReason.SILENCED, silence.over_at, f"silence {silence.id}")
        for silence in silences
        if silence.state(now) is SilenceState.ACTIVE and matches(silence.match, values)
    ]
    for silence in recurring:
        end = silence.when.ends_at(now)
        if end is not None and matches(silence.match, values):
            suppressions.append(Suppression(silence.suppression, end, silence.name))
    return max(suppressions, key=lambda suppression: suppression.until, default=None)


def silenced_spans(
    connection: Connection, silences: Sequence[Silence], recurring: Sequence[tuple[RecurringSilence, Sequence[Span]]]
) -> Iterator[Span]:
    """The times at which a failure of *connection* is silenced, without quiet hours; each of *recurring* comes with its active times."""
    if not silences and not recurring:
        return
    values = facts(failure_of(connection), connection)
    for silence in silences:
        if matches(silence.match, values):
            yield Span(silence.starts_at, silence.over_at)
    for window, spans in recurring:
        if window.suppression is SuppressionReason.SILENCED and matches(window.match, values):
            yield from spans


def failure_of(connection: Connection) -> Notification:
    """Return a notification that *connection* failed, with the facts that silences match on."""
    return Notification(
        type=EventType.CONNECTION_FAILED,
        why=NotificationReason.OPENED,
        severity=Severity.CRITICAL,
        at=_NEVER,
        incident=IncidentRef(Topic.CONNECTION, str(connection.id), 0, _NEVER),
        scope=Scope.CONNECTION,
        connection_id=connection.id,
        level_from=FINE,
        level_to="error",
        reason=None,
        detail="",
        seq=0,
    )
