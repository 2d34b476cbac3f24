"""When the watchdog reports a loop as stuck, on a fake clock."""

import asyncio
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from monitor.db import Database
from monitor.errors import StoreUnavailable
from monitor.metrics import Metrics
from monitor.runtime.loop import WatchdogLimits
from monitor.runtime.systemd import ServiceManager
from monitor.runtime.watchdog import Watchdog, WatchedLoop
from monitor.state.registry import Registry
from tests.clock import FakeClock


class _Fleet:
    """Nothing to watch."""

    def __init__(self) -> None:
        self.outbox: dict[str, Any] = {}
        self.storage_up = True

    def ids(self) -> tuple[int, ...]:
        return ()

    def open_incidents(self) -> int:
        return 0

    def set_outbox(self, outbox: dict[str, Any]) -> None:
        self.outbox = outbox


class _Database:
    """A database that answers, or does not."""

    def __init__(self) -> None:
        self.storage_up = True
        self.outbox_changes = 0
        self.reads = 0
        self.failing_since: datetime | None = None
        self.failure = ""
        self.answers = True
        self.readable = True

    def submit(self, _work: object) -> asyncio.Future[None]:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.answers:
            answer.set_result(None)
        return answer

    async def read(self, _work: object) -> dict[str, Any]:
        if not self.readable:
            raise StoreUnavailable("out of reach")
        self.reads += 1
        return {}


class _Loop:
    """A loop that goes on when told to."""

    def __init__(self, name: str, clock: FakeClock) -> None:
        self.name = name
        self.last_step = clock.monotonic()


class _Bench:
    """A watchdog and everything around it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.database = _Database()
        self.writing, self.beating = _Loop("checker", self.clock), _Loop("scheduler", self.clock)
        watched = [WatchedLoop(self.writing, 60.0), WatchedLoop(self.beating, 30.0, writes=False)]
        self.watchdog = Watchdog(
            registry=cast("Registry", _Fleet()),
            database=cast("Database", self.database),
            metrics=Metrics(),
            clock=self.clock,
            manager=ServiceManager(None),
            loops=lambda: watched,
            on_clock_jump=lambda: None,
            limits=WatchdogLimits(),
        )

    async def run(self, seconds: int, *, going: tuple[_Loop, ...]) -> list[str]:
        """Let time pass, with these loops at work; what is stuck at the end."""
        for _ in range(seconds):
            await self.clock.advance(timedelta(seconds=1))
            for loop in going:
                loop.last_step = self.clock.monotonic()
            await self.watchdog.step()
        return self.watchdog.stuck()


@pytest.fixture
def bench() -> _Bench:
    """A healthy one."""
    return _Bench()


async def test_all_well(bench: _Bench) -> None:
    """As long as everything goes on nothing is stuck."""
    assert await bench.run(300, going=(bench.writing, bench.beating)) == []


async def test_outbox(bench: _Bench) -> None:
    """The outbox is read every five seconds, and at the next step after something was written that could change it."""
    await bench.run(50, going=(bench.writing, bench.beating))
    assert bench.database.reads == 10

    for _ in range(10):
        bench.database.outbox_changes += 1
        await bench.run(1, going=(bench.writing, bench.beating))
    assert bench.database.reads == 20


async def test_standstill(bench: _Bench) -> None:
    """What takes longer than it may is named."""
    assert await bench.run(55, going=(bench.beating,)) == []
    assert await bench.run(10, going=(bench.beating,)) == ["checker"]


async def test_deaf_writer(bench: _Bench) -> None:
    """A writer that does not answer within its bound is stuck, although the database counts as fine."""
    bench.database.answers = False

    assert await bench.run(40, going=(bench.writing, bench.beating)) == ["writer"]


async def test_database_out_of_order(bench: _Bench) -> None:
    """While the database is out of order what waits for it is no standstill, and has its full time again afterwards; beats must go on."""
    bench.database.answers = bench.database.storage_up = False
    assert await bench.run(600, going=(bench.beating,)) == []
    assert await bench.run(40, going=()) == ["scheduler"]

    bench.database.storage_up = True
    assert await bench.run(20, going=(bench.beating,)) == []


async def test_unreadable_outbox(bench: _Bench) -> None:
    """A read that fails ends nothing: the database may be on its way back."""
    bench.database.readable = False

    assert await bench.run(60, going=(bench.writing, bench.beating)) == []
