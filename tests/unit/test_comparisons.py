"""What two lives told, held against each other."""

from datetime import timedelta

import pytest

from monitor.domain.events import EventType, IncidentRef, NotificationReason, Severity, Topic
from monitor.domain.projections.replay import PAIRING_WINDOW, Change, ReplayEvent, compare, counts, from_checks, notifications_of
from tests.builders import DAY, HOUR, MINUTE, START, a_notification, at


def news(after: timedelta, **overrides: object) -> ReplayEvent:
    """That the first connection broke so long after the start."""
    values: dict[str, object] = {
        "at": at(after),
        "type": EventType.CONNECTION_FAILED,
        "why": NotificationReason.OPENED,
        "severity": Severity.CRITICAL,
        "topic": Topic.CONNECTION,
        "subject": "1",
        "level": "error",
        "reason": None,
    }
    return ReplayEvent(**(values | overrides))  # type: ignore[arg-type]


def changes(before: list[ReplayEvent], after: list[ReplayEvent]) -> list[tuple[Change, timedelta]]:
    return [(one.change, one.shown.at - START) for one in compare(before, after)]


def test_equal() -> None:
    """Equal lives have no differences, however often the same thing was told."""
    life = [news(HOUR), news(2 * HOUR), news(3 * HOUR, subject="2")]
    assert compare(life, list(life)) == []


def test_one_sided() -> None:
    """What only the first told is dropped, what only the second told is added; the order is that of time."""
    before, after = [news(HOUR), news(3 * DAY)], [news(2 * HOUR, subject="2"), news(3 * DAY)]
    assert changes(before, after) == [(Change.DROPPED, HOUR), (Change.ADDED, 2 * HOUR)]


@pytest.mark.parametrize("apart", [timedelta(seconds=1), PAIRING_WINDOW, -PAIRING_WINDOW])
def test_moved(apart: timedelta) -> None:
    """The same news a little earlier or later is one that moved."""
    assert changes([news(DAY)], [news(DAY + apart)]) == [(Change.MOVED, DAY + apart)]


def test_too_far_apart() -> None:
    """News further apart are two."""
    late = DAY + PAIRING_WINDOW + timedelta(seconds=1)
    assert changes([news(DAY)], [news(late)]) == [(Change.DROPPED, DAY), (Change.ADDED, late)]


def test_urgency() -> None:
    """The same news at another urgency is a difference."""
    [found] = compare([news(DAY)], [news(DAY, severity=Severity.WARNING)])
    assert found.change is Change.MOVED
    assert found.shown.severity is Severity.WARNING


@pytest.mark.parametrize("other", [{"subject": "2"}, {"level": "missing"}, {"type": EventType.REMINDER}, {"topic": Topic.EXPIRY}])
def test_other_news(other: dict[str, object]) -> None:
    """Another subject, level, type or topic is other news."""
    assert [one.change for one in compare([news(DAY)], [news(DAY, **other)])].count(Change.MOVED) == 0


def test_nearest() -> None:
    """Of several the nearest are taken for the same, from either side."""
    assert changes([news(DAY)], [news(DAY - HOUR), news(DAY + MINUTE)]) == [(Change.ADDED, DAY - HOUR), (Change.MOVED, DAY + MINUTE)]
    assert changes([news(DAY - HOUR), news(DAY)], [news(DAY + MINUTE)]) == [(Change.DROPPED, DAY - HOUR), (Change.MOVED, DAY + MINUTE)]


def test_counts() -> None:
    """Types and severities are counted side by side."""
    life = [news(HOUR), news(DAY), news(DAY, type=EventType.REMINDER, severity=Severity.WARNING)]
    assert counts(life) == {"connection.failed": 2, "critical": 2, "reminder": 1, "warning": 1}


@pytest.mark.parametrize(
    ("topic", "subject", "kind", "known"),
    [
        (Topic.CONNECTION, "1", EventType.CONNECTION_FAILED, True),
        (Topic.EXPIRY, "1", EventType.TOKEN_EXPIRED, True),
        (Topic.SCOPE, "api:api.example", EventType.API_FAILED, True),
        (Topic.SCOPE, "user:main/66f0", EventType.ACCOUNT_FAILED, True),
        (Topic.SCOPE, "storage", EventType.STORAGE_FAILED, False),
        (Topic.SCOPE, "receiver:desk", EventType.RECEIVER_FAILING, False),
        (Topic.SCOPE, "list:main", EventType.INVENTORY_CHANGED, False),
        (Topic.PERMISSIONS, "1", EventType.PERMISSIONS_LOST, False),
        (Topic.PUBLISHING, "1", EventType.PUBLISHING_FAILING, False),
        (Topic.SCOPE, "test", EventType.TEST, False),
    ],
)
def test_from_checks(topic: Topic, subject: str, kind: EventType, known: bool) -> None:
    """What the rows of checks do not tell of is left out of both sides."""
    assert from_checks(a_notification(type=kind, incident=IncidentRef(topic, subject, 1, START))) is known


def test_told() -> None:
    """A notification keeps its moment, its subject and its level."""
    one = notifications_of(a_notification(3))
    assert (one.at, one.subject, one.level, one.type) == (START, "3", "error", EventType.CONNECTION_FAILED)
