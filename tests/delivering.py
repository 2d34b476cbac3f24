"""Deliverers of two receivers with a real database and real receivers."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from monitor.config import ReceiverSettings, Secret
from monitor.db import Database, DeliveryRow, DeliveryState, Store, list_deliveries
from monitor.db.backend import Backend
from monitor.domain.connections import ConnectionSpec
from monitor.domain.events import FINE, EventType, IncidentRef, Notification, NotificationReason, Topic, incident_key
from monitor.domain.policy import DigestPolicy, Policy
from monitor.errors import DeliveryReason
from monitor.notify.identity import MonitorIdentity
from monitor.notify.payload import render
from monitor.notify.sender import Sender
from monitor.workers.deliverer import Deliverer
from tests import marked
from tests.builders import SECOND, a_connection, a_notification
from tests.clock import FakeClock
from tests.databases import migrated_sqlite
from tests.receiving import ReceiverServer

SECRET = marked.signing()
IDENTITY = MonitorIdentity("test", "1")
# The tests of single messages do not want any of them merged.
SINGLES = Policy(digest=DigestPolicy(after=10_000))


class CountingBackend:
    """A backend that counts its commits."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.commits = 0

    def commit(self) -> None:
        """Commit, and count it."""
        self._backend.commit()
        self.commits += 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


@dataclass
class World:
    """A database, a clock that tests move, two receivers, and what the deliverers reported."""

    database: Database
    clock: FakeClock
    sender: Sender
    on_call: ReceiverServer
    chat: ReceiverServer
    url: str
    policy: Policy = SINGLES
    seen: list[tuple[str, DeliveryReason]] = field(default_factory=list)
    gone: dict[str, bool] = field(default_factory=dict)
    numbers: Counter[str] = field(default_factory=Counter)
    counted: "CountingBackend" = field(init=False)

    def __post_init__(self) -> None:
        assert self.database._writer is not None
        self.counted = CountingBackend(self.database._writer._backend)
        self.database._writer._backend = self.counted

    def settings(self, name: str = "on-call", **overrides: Any) -> ReceiverSettings:
        """The configuration of a receiver."""
        server = self.on_call if name == "on-call" else self.chat
        values: dict[str, Any] = {
            "name": name,
            "url": Secret(f"{server.url}/{marked.PATH}"),
            "secrets": (Secret(SECRET),),
            "timeout": timedelta(seconds=10),
        }
        return ReceiverSettings(**(values | overrides))

    def deliverer(
        self, name: str = "on-call", *, on_attempt: Callable[[], object] = lambda: None, trial: bool = False, **overrides: Any
    ) -> Deliverer:
        """A deliverer as after a start of the daemon, or, with *trial*, after a reload."""

        def observe(receiver: str, reason: DeliveryReason, seconds: float) -> None:
            assert seconds >= 0
            self.seen.append((receiver, reason))
            on_attempt()

        return Deliverer(
            self.database,
            self.sender,
            self.settings(name, **overrides),
            others=("on-call", "chat"),
            policy=self.policy,
            identity=IDENTITY,
            clock=self.clock,
            random=lambda: 0.5,
            on_attempt=observe,
            on_disabled=self.gone.__setitem__,
            trial=trial,
        )

    @property
    def commits(self) -> int:
        """How many transactions the database has committed so far."""
        return self.counted.commits

    async def connect(self, count: int) -> None:
        """Make connections 1 to *count* exist."""
        wanted = [ConnectionSpec("main", "", f"linkedin-page{number}", "linkedin") for number in range(1, count + 1)]
        await self.database.write(lambda store: store.ensure_connections(wanted))

    async def owe(self, *numbers: int, receivers: Sequence[str] = ("on-call",)) -> None:
        """Decide to tell that each of these connections broke or, the next time, recovered."""
        told = [self._next(number) for number in numbers]

        def work(store: Store) -> None:
            for notification in told:
                webhook_id = store.outbox.new_webhook_id()
                connection = a_connection(notification.connection_id or 0)
                body = render(webhook_id, notification, connection, IDENTITY)
                store.outbox.add_notification(webhook_id, notification, incident_key(notification.incident, "test"), body, receivers)

        await self.database.write(work)

    def _next(self, number: int) -> Notification:
        self.numbers[str(number)] += 1
        seq = self.numbers[str(number)]
        incident = IncidentRef(Topic.CONNECTION, str(number), (seq + 1) // 2, self.clock.now())
        opened = a_notification(number, at=self.clock.now(), incident=incident, seq=seq)
        if seq % 2:
            return opened
        return replace(opened, type=EventType.CONNECTION_RECOVERED, why=NotificationReason.CLOSED, level_from="error", level_to=FINE)

    async def rows(self, state: DeliveryState | None = None, receiver: str = "on-call") -> list[DeliveryRow]:
        """The deliveries of a receiver, oldest first."""
        return (await self.database.read(lambda reader: list_deliveries(reader, receiver=receiver, state=state, limit=20_000)))[::-1]

    async def run(self, *deliverers: Deliverer, span: timedelta = timedelta(0), tick: timedelta = SECOND) -> None:
        """Let *deliverers* work for *span* of the clock, as the daemon does: to the end now, and again every *tick*."""
        end = self.clock.now() + span
        while True:
            for deliverer in deliverers:
                while await deliverer.step():
                    pass
            if self.clock.now() >= end:
                return
            await self.clock.advance(tick)


@asynccontextmanager
async def a_world(folder: Path) -> AsyncIterator[World]:
    """A world with a new database below *folder*, where connections 1 to 10 exist."""
    clock = FakeClock()
    url = migrated_sqlite(folder / "state" / "monitor.db")
    database = Database(url, clock=clock, owner="test")
    await database.start()
    on_call, chat = ReceiverServer(SECRET), ReceiverServer(SECRET)
    await on_call.start()
    await chat.start()
    sender = Sender(clock=clock, user_agent="postpost-monitor/test")
    world = World(database, clock, sender, on_call, chat, url)
    await world.connect(10)
    yield world
    await sender.close()
    await on_call.close()
    await chat.close()
    await database.close()


def told_in_order(server: ReceiverServer) -> dict[str, list[int]]:
    """Subject to the numbers of what the receiver took about it, in order; a digest tells all that it merged."""
    told: dict[str, list[int]] = {}
    for got in server.accepted():
        if got.type == "digest":
            for item in got.data["items"]:
                subject = item["connection"]["id"].removeprefix("linkedin-page")
                told.setdefault(subject, []).extend(range(item["seq"] - item["merged"] + 1, item["seq"] + 1))
        else:
            told.setdefault(got.data["incident"]["subject"], []).append(got.data["seq"])
    return told
