"""Acknowledgements: an operator has seen an incident, so its reminders stop until it closes or becomes worse."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.domain import topics
from monitor.domain.events import FINE, Topic
from monitor.domain.expiry import levels
from monitor.domain.states import TopicState

_CONNECTION = (FINE, topics.STALE, topics.FLAPPING, "misconfigured", "missing", "error")
_NO_TIME = timedelta(0)
_LONGEST = timedelta.max


@dataclass(frozen=True, slots=True)
class Ack:
    """One acknowledgement."""

    topic: Topic
    subject: str
    number: int
    level: str
    at: datetime
    author: str
    reason: str

    @property
    def key(self) -> tuple[Topic, str]:
        """Topic and subject: at most one incident of them is open."""
        return (self.topic, self.subject)


Acks = Mapping[tuple[Topic, str], Ack]


def acknowledged(acks: Acks, topic: Topic, subject: str, value: TopicState) -> Ack | None:
    """Return the acknowledgement that holds for the open incident of this *topic* and *subject*; None when there is none."""
    ack = acks.get((topic, subject))
    if ack is None or value.level == FINE or ack.number != value.number:
        return None
    same = value.since is not None and value.since <= ack.at
    return ack if same or badness(topic, value.level) < badness(topic, ack.level) else None


def badness(topic: Topic, level: str) -> tuple[int, timedelta]:
    """Return a sort key that grows as *level* gets worse; comparable within one topic."""
    if topic is Topic.CONNECTION:
        return (_CONNECTION.index(level) if level in _CONNECTION else len(_CONNECTION), _NO_TIME)
    if level == FINE:
        return (0, _NO_TIME)
    if level == topics.EXPIRED:
        return (2, _NO_TIME)
    left = levels.threshold_of(level) if topic is Topic.EXPIRY else None
    return (1, _LONGEST - left if left is not None else _NO_TIME)
