"""What operators want to hear, and what they do not: silences, recurring ones, quiet hours, acknowledgements, as one value."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from monitor.domain.connections import Connection
from monitor.domain.events import Notification, Topic
from monitor.domain.silencing.acks import Ack, Acks, acknowledged
from monitor.domain.silencing.silences import RecurringSilence, Silence, Suppression, suppressed_by
from monitor.domain.states import TopicState


@dataclass(frozen=True, slots=True)
class Controls:
    """
    Everything that holds notifications back.

    Attributes:
        silences: those that somebody asked for and that are not over.
        windows: those of the configuration, quiet hours among them.
        acks: of open incidents.
    """

    silences: tuple[Silence, ...] = ()
    recurring: tuple[RecurringSilence, ...] = ()
    acks: Acks = field(default_factory=dict)

    def suppression(self, notification: Notification, connection: Connection | None, now: datetime) -> Suppression | None:
        """What holds *notification* back at *now*; None when it may go out."""
        return suppressed_by(notification, connection, self.silences, self.recurring, now)

    def acknowledged(self, topic: Topic, subject: str, value: TopicState) -> Ack | None:
        """The acknowledgement that stops the reminders of this incident; None when there is none."""
        return acknowledged(self.acks, topic, subject, value)

    def with_requests(self, silences: Iterable[Silence], acks: Iterable[Ack]) -> "Controls":
        """The same with what somebody asked for replaced."""
        by_key: Mapping[tuple[Topic, str], Ack] = {ack.key: ack for ack in acks}
        return replace(self, silences=tuple(silences), acks=by_key)


NO_CONTROLS = Controls()
