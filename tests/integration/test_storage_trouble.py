"""The database takes no writes: checks go on, nothing is lost or told twice, and the receivers hear of it past the database."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from monitor.config import ReceiverSettings, Secret
from monitor.config.sections.policy import PolicySettings, ScopeSettings
from monitor.db import list_checks, list_incidents, read_meta
from monitor.domain.scopes.key import STORAGE
from monitor.errors import AnotherInstance
from monitor.notify.sender import Sender
from monitor.workers.storage_alert import StorageAlerter, StorageOutage
from tests import marked
from tests.builders import HOUR, MINUTE, SECOND
from tests.clock import FakeClock
from tests.receiving import ReceiverServer
from tests.virtual import Virtual, monitoring, simple_world
from tests.waiting import eventually, patience

NAMES = ("linkedin-a", "linkedin-b", "threads-c")


class Locked:
    """Another program that holds the database's write lock, such as a backup."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=patience())

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_: object) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


class Bench:
    """A monitor whose agents are stepped by hand, and a receiver."""

    def __init__(self, one: Virtual, receiver: ReceiverServer, path: Path) -> None:
        self.one = one
        self.receiver = receiver
        self.path = path
        self.outage = StorageOutage()
        self.sender = Sender(clock=one.clock, user_agent="postpost-monitor/test")

    @property
    def watch(self) -> StorageAlerter:
        """The storage watch, as after a reload: only the news is kept."""
        one = self.one
        return StorageAlerter(
            registry=one.fleet,
            database=one.database,
            sender=self.sender,
            receivers=one.config.receivers,
            clock=one.clock,
            outage=self.outage,
        )

    def types(self) -> list[str]:
        """What the receiver got."""
        return [message.type for message in self.receiver.received]

    async def check_everybody(self) -> None:
        """A check of each connection, a minute later."""
        checker, asked = self.one.checkers[0], len(self.one.tests())
        await self.one.clock.advance(MINUTE)
        async with checker.running():
            while len(self.one.tests()) < asked + len(NAMES):
                step = asyncio.create_task(checker.step())
                while not step.done():
                    await self.one.clock.advance(SECOND / 100)
                    await asyncio.wait({step}, timeout=0.01)

    async def fail(self) -> None:
        """The watch sees the outage, and sees it again after it has lasted."""
        await eventually(lambda: not self.one.database.storage_up)
        await self.watch.step()
        assert self.types() == []
        await self.one.clock.advance(2 * MINUTE + SECOND)
        await self.watch.step()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = FakeClock()
    receiver = ReceiverServer()
    await receiver.start()
    values: dict[str, Any] = {
        "schedule": {"interval": MINUTE},
        # The checks of this test are started by hand: none looks at the rest of the platform.
        "policy": PolicySettings(scopes=ScopeSettings(sweep=SECOND)),
        "receivers": (ReceiverSettings(name="on-call", url=Secret(f"{receiver.url}/{marked.PATH}"), timeout=15 * SECOND),),
    }
    async with monitoring(tmp_path, simple_world(clock, *NAMES), clock, *NAMES, **values) as one:
        await one.run(5 * MINUTE)
        await one.pause()
        # The writer gives up a tenth of a second after it met a lock, not five: the test waits for it several times.
        await one.database.write(lambda store: store._connection.exec_driver_sql("PRAGMA busy_timeout = 100").close())
        bench = Bench(one, receiver, tmp_path / "monitor.db")
        yield bench
        await bench.sender.close()
    await receiver.close()


async def test_locked(bench: Bench) -> None:
    """
    A lock of minutes: checks go on; one direct message; afterwards every check is there in order, what broke meanwhile
    is owed once, and so is the end of the outage. A second outage within six hours is not told, a reload or not.
    """
    one = bench.one
    before = await one.database.read(lambda reader: len(list_checks(reader, one.connection("linkedin-a").id, 1000)))
    one.world.connection("linkedin-a").fail()
    with Locked(bench.path):
        await bench.check_everybody()
        await bench.check_everybody()
        assert one.database.works >= 6
        await bench.fail()
        assert bench.types() == ["storage.failed"]
        await bench.watch.step()
        assert bench.types() == ["storage.failed"]
        assert await one.told() == []
    await eventually(lambda: one.database.works == 0)
    assert one.database.storage_up
    await bench.watch.step()
    await bench.watch.step()
    assert await one.told() == [("linkedin-a", "connection.failed"), ("storage", "storage.recovered")]
    rows = await one.database.read(lambda reader: list_checks(reader, one.connection("linkedin-a").id, 1000))
    assert len(rows) == before + 2
    assert [row.at for row in rows] == sorted((row.at for row in rows), reverse=True)
    incidents = await one.database.read(lambda reader: [row for row in list_incidents(reader) if row.incident.subject == "storage"])
    assert [(row.level, row.closed_why) for row in incidents] == [("failed", "recovered")]
    assert not one.fleet.scope(STORAGE).open

    await one.clock.advance(HOUR)
    with Locked(bench.path):
        pending = one.database.submit(lambda store: read_meta(store, "x"))
        await eventually(lambda: not one.database.storage_up)
        await bench.watch.step()
        await one.clock.advance(timedelta(minutes=3))
        await bench.watch.step()
        assert bench.types() == ["storage.failed"]
    await pending
    await eventually(lambda: one.database.storage_up)
    await bench.watch.step()
    assert await one.told() == [("linkedin-a", "connection.failed"), ("storage", "storage.recovered")]


async def test_replaced(bench: Bench) -> None:
    """The checks of an instance that another has replaced are not logged one by one: its end says why."""
    writer = bench.one.database._writer
    assert writer is not None
    writer.ended_by = AnotherInstance("replaced")
    with capture_logs() as logs:
        await bench.check_everybody()
    assert [entry for entry in logs if entry["log_level"] == "error"] == []
