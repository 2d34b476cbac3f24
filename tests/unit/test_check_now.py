"""Test now: an operator's connection is checked next, and often for two minutes."""

import pytest

from monitor.domain.check_queue import CHECKED_OFTEN_SECONDS, OFTEN_PAUSE_SECONDS, CheckQueue
from monitor.errors import Reason
from tests.builders import HOUR, START, a_connection
from tests.story import Story


@pytest.fixture
def story() -> Story:
    """Two connections that work."""
    return Story(connections={1: a_connection(1), 2: a_connection(2)})


def test_checked_next_and_often(story: Story) -> None:
    """It is due at once, then every few seconds, and after two minutes as usual again; the other one is not touched."""
    queue = CheckQueue("main", story.engine)
    queue.refresh(START, 0.0)
    now, checked = 1000.0, []
    while queue.take(now) is not None:
        pass
    for number in (1, 2):
        queue.checked(story.connections[number], now)
        queue.finished(story.connections[number])
    queue.check_now(1, now)
    while (taken := queue.take(now)) is not None:
        connection, _ = taken
        assert connection is not None
        checked.append((connection.id, now))
        queue.checked(connection, now)
        queue.finished(connection)
        queue.recorded(connection, story.check(Reason.OK, connection.id), now)
        now = queue.next_due() or now
        if now > 1000 + 2 * CHECKED_OFTEN_SECONDS:
            break
    assert {number for number, _ in checked} == {1}
    assert len(checked) == CHECKED_OFTEN_SECONDS / OFTEN_PAUSE_SECONDS + 1
    assert (queue.next_due() or 0.0) > 1000 + CHECKED_OFTEN_SECONDS + OFTEN_PAUSE_SECONDS


def test_missed_while_away(story: Story) -> None:
    """After an absence the longest unchecked connection is checked first, at once."""
    for hours, number in ((3, 1), (5, 2)):
        story.now = START - hours * HOUR
        story.check(Reason.OK, number)
    queue = CheckQueue("main", story.engine)
    queue.refresh(START, 0.0)
    taken = [queue.take(0.0), queue.take(0.0)]
    assert [connection.id for connection, _ in filter(None, taken) if connection is not None] == [2, 1]
