"""What two lives told: which notifications only one of them has, and which both have, but at another time or urgency."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.domain.model import EventType, Notification, Severity, Topic, Why
from monitor.errors import Reason

TOGETHER = timedelta(hours=6)
"""Two notifications of the same kind about the same subject are taken for one when they are no further apart."""

_BEYOND_CHECKS = frozenset({Topic.PERMISSIONS, Topic.PUBLISHING})
_BEYOND_SUBJECTS = frozenset({"list", "receiver", "storage"})


class Change(StrEnum):
    """How a notification of one life differs in the other."""

    DROPPED = "dropped"
    ADDED = "added"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class Told:
    """As much of a notification as is compared and shown."""

    at: datetime
    type: EventType
    why: Why
    severity: Severity
    topic: Topic
    subject: str
    level: str
    reason: Reason | None

    @property
    def kind(self) -> tuple[str, ...]:
        """What makes two of them the same news."""
        return (self.type, self.topic, self.subject, self.level)


@dataclass(frozen=True, slots=True)
class Difference:
    """
    One of them.

    Attributes:
        shown: the notification as the second life has it, else as the first had it.
        before: what the first life told; None when it told nothing.
        after: what the second told in its place; None when it told nothing.
    """

    change: Change
    shown: Told
    before: Told | None = None
    after: Told | None = None

    @property
    def at(self) -> datetime:
        """When it shows first."""
        return min(one.at for one in (self.before, self.after) if one is not None)


def told(notification: Notification) -> Told:
    """What is kept of *notification*."""
    return Told(
        notification.at,
        notification.type,
        notification.why,
        notification.severity,
        notification.incident.topic,
        notification.incident.subject,
        notification.level_to,
        notification.reason,
    )


def from_checks(notification: Notification) -> bool:
    """Whether stored checks can tell it at all: posts, permissions, lists, receivers and the storage leave no trace in them."""
    incident = notification.incident
    if notification.type in (EventType.TEST, EventType.DIGEST) or incident.topic in _BEYOND_CHECKS:
        return False
    return incident.topic is not Topic.SCOPE or incident.subject.partition(":")[0] not in _BEYOND_SUBJECTS


def compare(before: Iterable[Told], after: Iterable[Told]) -> list[Difference]:
    """What differs from one life to the other, in the order of time; equal notifications are left out."""
    one, other = _by_kind(before), _by_kind(after)
    found = [difference for kind in one.keys() | other.keys() for difference in _pair(one.get(kind, ()), other.get(kind, ()))]
    return sorted(found, key=lambda difference: (difference.at, difference.shown.kind, difference.change))


def counts(notifications: Iterable[Told]) -> Mapping[str, int]:
    """How many there are of each type, and of each severity."""
    found: Counter[str] = Counter()
    for one in notifications:
        found[one.type] += 1
        found[one.severity] += 1
    return found


def _by_kind(notifications: Iterable[Told]) -> Mapping[tuple[str, ...], Sequence[Told]]:
    found: dict[tuple[str, ...], list[Told]] = defaultdict(list)
    for one in notifications:
        found[one.kind].append(one)
    return found


def _pair(before: Sequence[Told], after: Sequence[Told]) -> Iterable[Difference]:
    """Pairs the nearest of two rows of equal news, both in the order of time."""
    first, second = 0, 0
    while first < len(before) and second < len(after):
        old, new = before[first], after[second]
        apart = abs(new.at - old.at)
        if second + 1 < len(after) and abs(after[second + 1].at - old.at) < apart:
            yield Difference(Change.ADDED, new, after=new)
            second += 1
        elif first + 1 < len(before) and abs(before[first + 1].at - new.at) < apart:
            yield Difference(Change.DROPPED, old, before=old)
            first += 1
        elif apart <= TOGETHER:
            if apart or old.severity is not new.severity:
                yield Difference(Change.MOVED, new, old, new)
            first, second = first + 1, second + 1
        elif old.at < new.at:
            yield Difference(Change.DROPPED, old, before=old)
            first += 1
        else:
            yield Difference(Change.ADDED, new, after=new)
            second += 1
    yield from (Difference(Change.DROPPED, one, before=one) for one in before[first:])
    yield from (Difference(Change.ADDED, one, after=one) for one in after[second:])
