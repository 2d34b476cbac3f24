"""
A story with a schedule: connections are checked when they are due, as the checker does, by a virtual clock.

The API of a patrol is a function: asked about a connection, it tells the reason that the check ends with. Answers take
no time; all else (phases, re-checks, canaries, the hurry after an outage) is as in the program.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.domain import schedule
from monitor.domain.connections import Connection
from monitor.domain.schedule import DueQueue
from monitor.domain.scopes import key as core
from monitor.domain.scopes import rules
from monitor.errors import Reason
from tests.builders import START, a_connection
from tests.story import API_HOST, Story

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
    _queue: DueQueue = field(default_factory=DueQueue)
    _canaries: dict[tuple[str, str], datetime] = field(default_factory=dict)
    _open: set[str] = field(default_factory=set)
    _joined: datetime | None = None

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """As at the start of the daemon: nothing but the stored documents is known."""
        story = self.story
        story.restart()
        self._queue, self._canaries = DueQueue(), {}
        for one in story.connections.values():
            self._put(one.id, schedule.first_due(one, story.state(one.id), story.now, story.policy))
        for one in story.connections.values():
            self._ask_somebody(one, timedelta(0))

    def run(self, span: timedelta, answer: Answer) -> None:
        """Let *span* pass with an API that answers so."""
        story = self.story
        end = story.now + span
        beat = story.now + story.beat
        while True:
            due = self._queue.next_due()
            moment = max(story.now, min(START + timedelta(seconds=due) if due is not None else end, beat))
            if moment > end:
                break
            story.now = moment
            if moment >= beat:
                story.review()
                beat = story.now + story.beat
            else:
                self._step(answer)
            self._hurry()
        story.now = max(story.now, end)

    def requests(self, since: datetime, span: timedelta) -> int:
        """How many requests there were from *since* on for *span*."""
        return sum(1 for moment, _ in self.asked if since <= moment < since + span)

    def _step(self, answer: Answer) -> None:
        story = self.story
        self._join_the_doubt()
        taken = self._queue.take(self._seconds(story.now))
        if taken is None:
            return
        connection = self._admitted(story.connections[taken[0]])
        if connection is None:
            return
        self.asked.append((story.now, connection.id))
        reason = answer(connection.id)
        conclusion = story.check(reason, connection.id)
        self._put(connection.id, schedule.next_due(connection, conclusion.state, story.now, story.policy, verdict_reason=reason))
        held = self._pause(connection, rules.canary_interval)
        if held is not None:
            self._canaries[connection.account, held[0]] = story.now
        probe = self._pause(connection, rules.probe_interval)
        if probe is not None:
            self._ask_somebody(connection, probe[1])
        story.now += self.spacing

    def _admitted(self, connection: Connection) -> Connection | None:
        held = self._pause(connection, rules.canary_interval)
        if held is None:
            return connection
        name, pause = held
        last = self._canaries.get((connection.account, name))
        if last is not None and self.story.now < last + pause:
            self._queue.put(connection.id, self._seconds(last + pause))
            return None
        self._canaries[connection.account, name] = self.story.now
        self._put(connection.id, pause)
        canary = self._longest_unasked(name, connection) or connection
        self._queue.discard(canary.id)
        return canary

    def _longest_unasked(self, name: str, connection: Connection) -> Connection | None:
        """As the checker of an account, which knows no others."""
        below = (one for one in self._below(name) if one.id in self._queue and one.account == connection.account)
        waiting = (one for one in below if (self._pause(one, rules.canary_interval) or (name,))[0] == name)
        return min(waiting, key=lambda one: self.story.state(one.id).last_check_at or START, default=None)

    def _pause(self, connection: Connection, pause_of: Callable[..., timedelta | None]) -> tuple[str, timedelta] | None:
        for name in core.scopes_of(connection, API_HOST).all():
            state = self.story.scopes.get(name)
            pause = pause_of(state, self.story.policy.scopes) if state is not None else None
            if pause is not None:
                return name, pause
        return None

    def _ask_somebody(self, connection: Connection, wait: timedelta, name: str | None = None) -> None:
        probe = self._pause(connection, rules.probe_interval)
        if probe is None:
            return
        other = self._longest_unasked(name or probe[0], connection)
        due = self._seconds(self.story.now + wait)
        if other is not None and (self._queue.due_of(other.id) or due) > due:
            self._queue.put(other.id, due)

    def _join_the_doubt(self) -> None:
        api = self.story.scopes.get(f"api:{API_HOST}")
        doubted_at = api.suspect_at if api is not None else None
        if doubted_at == self._joined:
            return
        self._joined = doubted_at
        accounts = {one.account: one for one in self.story.connections.values()}
        for connection in accounts.values():
            if doubted_at is not None and len(accounts) > 1:
                name = (self._pause(connection, rules.canary_interval) or (f"api:{API_HOST}",))[0]
                self._canaries.pop((connection.account, name), None)
                self._ask_somebody(connection, timedelta(0), name)

    def _hurry(self) -> None:
        now_open = {name for name, state in self.story.scopes.items() if state.open}
        for name in self._open - now_open:
            if name.startswith("platform"):
                continue
            self._canaries = {key: at for key, at in self._canaries.items() if key[1] != name}
            oldest = sorted(self._below(name), key=lambda one: self.story.state(one.id).last_evidence_at or START)
            self._queue.hasten((one.id for one in oldest), self._seconds(self.story.now))
        self._open = now_open

    def _below(self, name: str) -> Iterable[Connection]:
        return [one for one in self.story.connections.values() if name in core.scopes_of(one, API_HOST).all()]

    def _put(self, number: int, wait: timedelta) -> None:
        self._queue.put(number, self._seconds(self.story.now + wait))

    @staticmethod
    def _seconds(moment: datetime) -> float:
        return (moment - START).total_seconds()
