"""`Controls`: silences, recurring silences, quiet hours and acknowledgements as one value."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from monitor.domain.connections import Connection
from monitor.domain.events import Notification, Topic
from monitor.domain.routing import UserLabels
from monitor.domain.silencing.acks import Ack, Acks, acknowledged
from monitor.domain.silencing.silences import RecurringSilence, Silence, Suppression, failure_of, suppressed_by
from monitor.domain.states import SuppressionReason, TopicState


@dataclass(frozen=True, slots=True)
class Controls:
    """
    Everything that suppresses notifications.

    Attributes:
        silences: the operators' silences that are not over.
        recurring: the silences of the configuration, quiet hours among them.
        acks: the acknowledgements of open incidents.
        user_labels: the labels of managed users, which their incidents have.
    """

    silences: tuple[Silence, ...] = ()
    recurring: tuple[RecurringSilence, ...] = ()
    acks: Acks = field(default_factory=dict)
    user_labels: UserLabels = field(default_factory=dict)

    def suppression(self, notification: Notification, connection: Connection | None, now: datetime) -> Suppression | None:
        """Return what suppresses *notification* at *now*; None when it may be sent."""
        return suppressed_by(notification, connection, self.silences, self.recurring, now, self.user_labels)

    def silences_failure(self, connection: Connection, now: datetime) -> bool:
        """Whether a silence suppresses the failure of *connection* at *now*; quiet hours only delay it."""
        suppression = self.suppression(failure_of(connection), connection, now)
        return suppression is not None and suppression.reason is SuppressionReason.SILENCED

    def acknowledged(self, topic: Topic, subject: str, value: TopicState) -> Ack | None:
        """Return the acknowledgement that stops the reminders of this incident; None when there is none."""
        return acknowledged(self.acks, topic, subject, value)

    def with_requests(self, silences: Iterable[Silence], acks: Iterable[Ack]) -> "Controls":
        """Return a copy with the operators' silences and acknowledgements replaced."""
        by_key: Mapping[tuple[Topic, str], Ack] = {ack.key: ack for ack in acks}
        return replace(self, silences=tuple(silences), acks=by_key)


NO_CONTROLS = Controls()
