"""
Silences: what an operator does not want to hear for a while, and quiet hours.

They hold back the telling, never the checking: evidence, health, incidents and metrics go on as ever. When one ends,
the level is told if and only if it differs from what was told before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from monitor.domain.connections import Connection
from monitor.domain.events import FINE, EventType, IncidentRef, Notification, NotificationReason, Severity, Topic
from monitor.domain.reasons import Scope
from monitor.domain.routing import facts, matches
from monitor.domain.silencing.recurrence import Schedule
from monitor.domain.states import SuppressionReason
from monitor.domain.time_spans import Span

_NEVER = datetime.min.replace(tzinfo=UTC)


class SilenceState(StrEnum):
    """Where a silence stands."""

    PENDING = "pending"
    ACTIVE = "active"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Silence:
    """
    One silence that somebody asked for.

    Attributes:
        match: what a notification must be, all of it, to be held back; written as in a `Route`, and never empty.
        author, reason: who asked for it, and why.
        expired_at: when it was ended by hand, else None.
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
        """When it ends, or ended."""
        return self.ends_at if self.expired_at is None else min(self.expired_at, self.ends_at)

    def state(self, now: datetime) -> SilenceState:
        """Where it stands at *now*."""
        if now >= self.over_at:
            return SilenceState.EXPIRED
        return SilenceState.ACTIVE if now >= self.starts_at else SilenceState.PENDING


@dataclass(frozen=True, slots=True)
class RecurringSilence:
    """
    A silence of the configuration, which comes back.

    Attributes:
        quiet: what it is called when it holds something back: a silence, or quiet hours.
    """

    name: str
    match: Mapping[str, str]
    when: Schedule
    quiet: SuppressionReason = SuppressionReason.SILENCED


@dataclass(frozen=True, slots=True)
class Suppression:
    """A notification that is held back: what for, until when at the earliest, and by what, in words."""

    reason: SuppressionReason
    until: datetime
    by: str


def suppressed_by(
    notification: Notification,
    connection: Connection | None,
    silences: tuple[Silence, ...],
    windows: tuple[RecurringSilence, ...],
    now: datetime,
) -> Suppression | None:
    """What holds *notification* back at *now*, that which does so longest; None when it may go out."""
    if not silences and not windows:
        return None
    known = facts(notification, connection)
    found = [
        Suppression(SuppressionReason.SILENCED, silence.over_at, f"silence {silence.id}")
        for silence in silences
        if silence.state(now) is SilenceState.ACTIVE and matches(silence.match, known)
    ]
    for window in windows:
        end = window.when.ends_at(now)
        if end is not None and matches(window.match, known):
            found.append(Suppression(window.quiet, end, window.name))
    return max(found, key=lambda held: held.until, default=None)


def silenced(
    connection: Connection, silences: Sequence[Silence], windows: Sequence[tuple[RecurringSilence, Sequence[Span]]]
) -> Iterator[Span]:
    """
    When it would not have been told that *connection* broke, because somebody did not want to hear it.

    *windows* come with the stretches of time in which each holds. Quiet hours are none of this: they only let people sleep.
    """
    if not silences and not windows:
        return
    known = facts(_broken(connection), connection)
    for silence in silences:
        if matches(silence.match, known):
            yield Span(silence.starts_at, silence.over_at)
    for window, spans in windows:
        if window.quiet is SuppressionReason.SILENCED and matches(window.match, known):
            yield from spans


def _broken(connection: Connection) -> Notification:
    """The news that *connection* broke, as far as silences look at it."""
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
