"""
A story with a schedule: connections are checked when they are due, by the check queue that the checkers use.

The API of a patrol is a function: asked about a connection, it tells the reason that the check ends with. Answers take no time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.domain.check_queue import CheckQueue
from monitor.domain.connections import Connection
from monitor.errors import Reason
from tests.builders import START, a_connection
from tests.story import Story

Answer = Callable[[int], Reason]


def fleet(count: int, *platforms: str, **overrides: object) -> dict[int, Connection]:
    """Connections 1 to *count* of *platforms* in turn."""
    names = platforms or ("linkedin",)
    ids = {number: f"{names[number % len(names)]}-page{number}" for number in range(1, count + 1)}
    return {number: a_connection(number, platform_id=platform_id, **overrides) for number, platform_id in ids.items()}


@dataclass
class Patrol:
    """A story whose connections are checked by their schedule; `asked` collects (when, connection) of every request."""

    story: Story
    spacing: timedelta = timedelta(milliseconds=200)
    asked: list[tuple[datetime, int]] = field(default_factory=list)
    _queues: dict[str, CheckQueue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """As at the start of the daemon: nothing but the stored documents is known."""
        story = self.story
        story.restart()
        self._queues = {}
        self._refresh()

    def _refresh(self) -> None:
        """A queue for every account that has connections now."""
        story = self.story
        story.take_up_changes()
        for account in dict.fromkeys(connection.account for connection in story.connections.values()):
            queue = self._queues.setdefault(account, CheckQueue(account, story.engine))
            queue.refresh(story.now, self._seconds(story.now))

    def run(self, span: timedelta, answer: Answer) -> None:
        """Let *span* pass with an API that answers so."""
        story = self.story
        if {connection.account for connection in story.connections.values()} != self._queues.keys():
            self._refresh()
        end = story.now + span
        beat = story.now + story.beat
        while True:
            due_times = [queue.next_due() for queue in self._queues.values()]
            due = min((seconds for seconds in due_times if seconds is not None), default=None)
            moment = max(story.now, min(self._moment(due) if due is not None else end, beat))
            if moment > end:
                break
            story.now = moment
            if moment >= beat:
                story.review()
                beat = story.now + story.beat
            for queue in self._queues.values():
                self._step(queue, answer)
        story.now = max(story.now, end)

    def requests(self, since: datetime, span: timedelta) -> int:
        """How many requests there were from *since* on for *span*."""
        return sum(1 for moment, _ in self.asked if since <= moment < since + span)

    def _step(self, queue: CheckQueue, answer: Answer) -> None:
        story = self.story
        taken = queue.take(self._seconds(story.now))
        if taken is None or taken[0] is None:
            return
        connection = taken[0]
        self.asked.append((story.now, connection.id))
        queue.checked(connection, self._seconds(story.now))
        queue.finished(connection)
        queue.recorded(connection, story.check(answer(connection.id), connection.id), self._seconds(story.now))
        story.now += self.spacing

    @staticmethod
    def _moment(seconds: float) -> datetime:
        """The first microsecond that is not before *seconds*."""
        moment = START + timedelta(seconds=seconds)
        return moment if (moment - START).total_seconds() >= seconds else moment + timedelta(microseconds=1)

    @staticmethod
    def _seconds(moment: datetime) -> float:
        return (moment - START).total_seconds()
