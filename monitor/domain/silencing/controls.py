"""`Controls`: silences, recurring silences, quiet hours, acknowledgements and accepted losses as one value."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from monitor.domain.connections import Connection
from monitor.domain.events import Notification, NotificationReason, Topic
from monitor.domain.policy import Policy
from monitor.domain.routes import Route
from monitor.domain.routing.rules import UserLabels, quiet_until, routes_of
from monitor.domain.silencing.acceptance import Acceptance
from monitor.domain.silencing.acks import Ack, Acks, acknowledged
from monitor.domain.silencing.silences import RecurringSilence, Silence, Suppression, failure_of, suppressed_by
from monitor.domain.states import SuppressionReason, TopicState

FOLLOWING = frozenset({NotificationReason.CLOSED, NotificationReason.REMINDER, NotificationReason.ESCALATED})
"""Reasons of notifications that follow another one about the same incident."""


@dataclass(frozen=True, slots=True)
class Controls:
    """
    Everything that suppresses notifications, and the losses of permissions that operators accepted.

    Attributes:
        silences: the operators' silences that are not over.
        recurring: the silences of the configuration, quiet hours among them.
        member: finds a monitored connection by its id.
        accepted: the last accepted loss of permissions by connection id.
    """

    silences: tuple[Silence, ...] = ()
    recurring: tuple[RecurringSilence, ...] = ()
    acks: Acks = field(default_factory=dict)
    member: Callable[[int], Connection | None] = field(default=lambda _: None, compare=False)
    user_labels: UserLabels = field(default_factory=dict)
    accepted: Mapping[int, Acceptance] = field(default_factory=dict)

    def suppression(
        self, notification: Notification, connection: Connection | None, now: datetime, routes: Sequence[Route] = ()
    ) -> Suppression | None:
        """Return what suppresses *notification*, which *routes* take, at *now*; None when it may be sent."""
        suppression = suppressed_by(notification, connection, self.silences, self.recurring, now, self.user_labels)
        quiet = quiet_until(routes, notification.severity, now) if suppression is None else None
        if quiet is None:
            return suppression
        return Suppression(SuppressionReason.QUIET_HOURS, quiet[1], f"route {quiet[0].key}")

    def routes(
        self, notification: Notification, connection: Connection | None, notified: Sequence[str], policy: Policy
    ) -> tuple[Route, ...]:
        """Return the routes that take *notification*, where routes say when receivers are notified."""
        if not policy.routes_are_timed:
            return ()
        known = policy.routes_named(notified) if notification.why in FOLLOWING else ()
        members = [member for number in notification.facts.members if (member := self.member(number)) is not None]
        return known or routes_of(notification, members or (connection,), policy.routes, self.user_labels)

    def silences_failure(self, connection: Connection, now: datetime) -> bool:
        """Whether a silence suppresses the failure of *connection* at *now*; quiet hours only delay it."""
        suppression = self.suppression(failure_of(connection), connection, now)
        return suppression is not None and suppression.reason is SuppressionReason.SILENCED

    def acknowledged(self, topic: Topic, subject: str, value: TopicState) -> Ack | None:
        """Return the acknowledgement that stops the reminders of this incident; None when there is none."""
        return acknowledged(self.acks, topic, subject, value)

    def with_requests(self, silences: Iterable[Silence], acks: Iterable[Ack], accepted: Iterable[Acceptance] = ()) -> "Controls":
        """Return a copy with the operators' silences, acknowledgements and accepted losses replaced."""
        by_key: Mapping[tuple[Topic, str], Ack] = {ack.key: ack for ack in acks}
        by_connection = {acceptance.connection_id: acceptance for acceptance in accepted}
        return replace(self, silences=tuple(silences), acks=by_key, accepted=by_connection)


NO_CONTROLS = Controls()
