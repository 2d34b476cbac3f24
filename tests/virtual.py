"""
The working parts of the daemon by a virtual clock: real requests to a simulated PostPost, a real database, no waiting.

Time stands still while anything real is under way, and then moves on to the next moment at which somebody wakes.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from monitor.config import AccountSettings, ApiSettings, Config, ConnectionSettings, ReceiverSettings, ScheduleSettings, Secret
from monitor.config.sections.policy import PolicySettings
from monitor.db import Database, Store, list_deliveries
from monitor.domain.connections import Connection
from monitor.domain.states import ConnectionState
from monitor.http.gate import Gate
from monitor.metrics import Metrics
from monitor.postpost.api_transport import ApiTransport
from monitor.postpost.client import ApiClient
from monitor.postpost.rate_limit import RateLimiter, RequestPacing
from monitor.simulator.clock import ShiftedClock
from monitor.simulator.presets import connection_like
from monitor.simulator.server import SimulatorServer
from monitor.simulator.state import SimulatedApi, SimulatedUser
from monitor.state import connection_sync
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from monitor.workers.checker import Checker
from monitor.workers.discoverer import Discoverer
from monitor.workers.evaluator import Evaluator
from tests import marked
from tests.clock import FakeClock
from tests.databases import migrated_sqlite

KEY = marked.API_KEY

T = TypeVar("T")


class CountedDatabase(Database):
    """A database that counts the works that are not done yet."""

    works = 0

    def submit(self, work: Callable[[Store], T], *, within_seconds: float = 0.0) -> "asyncio.Future[T]":
        """Counted, and never waiting for company: the virtual clock stands still meanwhile."""
        future = super().submit(work)
        self.works += 1
        future.add_done_callback(self._done)
        return future

    def _done(self, _: "asyncio.Future[Any]") -> None:
        self.works -= 1


def simple_world(clock: FakeClock, *ids: str, key: str = KEY) -> SimulatedApi:
    """A world with one account, `main`, and these healthy connections."""

    def populate(world: SimulatedApi) -> None:
        owner = world.add_account("main", key, workspaces=True).owner
        for platform_id in ids:
            owner.connect(connection_like(world, platform_id))

    return SimulatedApi(ShiftedClock(clock), populate)


def add_user(world: SimulatedApi, user_id: str, *ids: str, account: str = "main") -> SimulatedUser:
    """A managed user of the account with these connections."""
    user = SimulatedUser(user_id, f"{user_id[:4]}@example.com", f"User {user_id[:4]}", world.clock)
    world.accounts[account].users[user_id] = user
    for platform_id in ids:
        user.connect(connection_like(world, platform_id))
    return user


@dataclass
class Virtual:
    """A running monitor without a web port and without deliveries; `told` is what it decided to tell, in order."""

    clock: FakeClock
    server: SimulatorServer
    database: CountedDatabase
    config: Config
    beat_seconds: float = 1.0
    review_seconds: float = 5.0
    metrics: Metrics = field(default_factory=Metrics)
    gate: Gate = field(default_factory=Gate)
    fleet: Registry = field(init=False)
    checkers: list[Checker] = field(default_factory=list)
    _apis: list[ApiClient] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def world(self) -> SimulatedApi:
        """The simulated PostPost."""
        return self.server.world

    async def start(self) -> None:
        """Load what is stored, and begin to work."""
        self.fleet = Registry(EvaluationConfig.from_config(self.config, "test"), self.clock)
        await self.database.read(self.fleet.load)
        await connection_sync.sync(self.database, self.fleet, self.config)
        await self.reload(self.config)

    async def reload(self, config: Config) -> None:
        """Go on with another configuration, as after SIGHUP."""
        await self.stop()
        self.config = config
        self.fleet.config = EvaluationConfig.from_config(config, "test")
        await connection_sync.sync(self.database, self.fleet, config)
        self.checkers = []
        for account in config.accounts:
            self._add_account(account)
        for checker in self.checkers:
            checker.refresh()
        evaluator = Evaluator(registry=self.fleet, database=self.database, clock=self.clock)
        self._work(evaluator.step, lambda: self.review_seconds)

    def _add_account(self, account: AccountSettings) -> None:
        transport = ApiTransport(self.config.api, clock=self.clock, gate=self.gate)
        api = ApiClient(self.config.api, account.api_key, clock=self.clock, user_agent="postpost-monitor/test", transport=transport)
        self._apis.append(api)
        limiter = RateLimiter(RequestPacing(rate=self.config.api.requests_per_second), self.clock, self.gate.may_send)
        checker = Checker(
            account.name,
            api,
            limiter,
            concurrency=self.config.api.concurrency,
            registry=self.fleet,
            database=self.database,
            metrics=self.metrics,
            clock=self.clock,
            on_notification=lambda: None,
            wake=(wake := asyncio.Event()).set,
        )
        self.checkers.append(checker)
        self._tasks.append(asyncio.create_task(self._check(checker, wake)))
        discoverer = Discoverer(
            account, self.config, api, limiter, registry=self.fleet, database=self.database, clock=self.clock, on_change=self._sync
        )
        self._work(discoverer.step, lambda: self.beat_seconds)

    def _sync(self) -> None:
        for checker in self.checkers:
            checker.refresh()

    async def _check(self, checker: Checker, wake: asyncio.Event) -> None:
        async with checker.running():
            while True:
                wake.clear()
                if not await checker.step():
                    await self.clock.wait(wake, self.beat_seconds)

    def _work(self, step: Callable[[], Awaitable[bool]], idle: Callable[[], float]) -> None:
        async def work() -> None:
            while True:
                if not await step():
                    await self.clock.sleep(idle())

        self._tasks.append(asyncio.create_task(work()))

    async def run(self, span: timedelta) -> None:
        """Let *span* pass."""
        end = self.clock.monotonic() + span.total_seconds()
        while True:
            await self._quiet()
            left = end - self.clock.monotonic()
            if left <= 0:
                return
            wake = self.clock.next_wake
            await self.clock.advance(timedelta(seconds=left if wake is None else min(left, wake)))

    async def until(self, condition: Callable[[], object], *, within: timedelta) -> timedelta:
        """Let time pass until *condition* is true; returns how long that took."""
        begun = self.clock.monotonic()
        while not condition():
            assert self.clock.monotonic() - begun < within.total_seconds(), "it never became true"
            await self.run(timedelta(seconds=1))
        return timedelta(seconds=self.clock.monotonic() - begun)

    async def _quiet(self) -> None:
        """Until nothing goes on before time does: no work waits for the database, and everybody is asleep, or kept waiting by a sleeper."""
        await self.clock.settle()
        while self.database.works or self.clock.sleepers < len(self._tasks) + sum(checker.asking for checker in self.checkers):
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.0005)
            await self.clock.settle(3)

    async def pause(self) -> None:
        """Let nobody work by themselves any more; a test may step them by hand."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def stop(self) -> None:
        """Stop working; what is stored stays."""
        await self.pause()
        for api in self._apis:
            await api.close()
        self._apis = []

    async def told(self) -> list[tuple[str, str]]:
        """What was decided to tell: subject as people know it, and type; oldest first."""
        rows = await self.database.read(lambda reader: list_deliveries(reader, limit=5000))
        return [(self._subject(row.notification.incident.subject), row.notification.type.value) for row in reversed(rows)]

    def _subject(self, subject: str) -> str:
        connection = self.fleet.connection(int(subject)) if subject.isdigit() else None
        return connection.platform_id if connection is not None else subject

    def state(self, platform_id: str, user_id: str = "", account: str = "main") -> ConnectionState:
        """What is known of one connection."""
        return self.fleet.state(self.connection(platform_id, user_id, account).id)

    def connection(self, platform_id: str, user_id: str = "", account: str = "main") -> Connection:
        """The watched connection of this id."""
        found = self.fleet.find((account, user_id, platform_id))
        assert found is not None, platform_id
        return found

    def tests(self, since: float = 0.0, part: str = "") -> list[tuple[float, str]]:
        """When (virtual seconds) which connection's test was asked for, from *since* on, in order."""
        asked = self.server.journal.asked("/test-connection/" + part)
        return [(entry.came, entry.path.rpartition("/")[2]) for entry in asked if entry.came >= since]


def settings(server: SimulatorServer, *ids: str, key: str = KEY, **overrides: Any) -> Config:
    """A configuration for *server* that names these connections; *overrides* replace whole sections, `api` and `schedule` single keys."""
    api = {"base_url": server.base_url, "requests_per_second": 1000.0, "concurrency": 1, **overrides.pop("api", {})}
    schedule = ScheduleSettings(**overrides.pop("schedule", {}))
    values: dict[str, Any] = {
        "api": ApiSettings(**api),
        "accounts": (AccountSettings(name="main", api_key=Secret(key), discover="off"),),
        "connections": tuple(ConnectionSettings(id=one, account="main", interval=schedule.interval) for one in ids),
        "schedule": schedule,
        "policy": PolicySettings(),
        "receivers": (ReceiverSettings(name="on-call", url=Secret(f"http://127.0.0.1:9/{marked.PATH}")),),
    }
    return Config(**(values | overrides))


@asynccontextmanager
async def monitoring(tmp_path: Path, world: SimulatedApi, clock: FakeClock, *ids: str, **overrides: Any) -> AsyncIterator[Virtual]:
    """A monitor of *world* that has just started; see `settings`."""
    beat_seconds, review_seconds = overrides.pop("beat_seconds", 1.0), overrides.pop("review_seconds", 5.0)
    gate = overrides.pop("gate", None) or Gate()
    server = SimulatorServer(world, journal_limit=100_000)
    await server.start()
    database = CountedDatabase(migrated_sqlite(tmp_path / "monitor.db"), clock=clock, owner="test")
    await database.start()
    one = Virtual(clock, server, database, settings(server, *ids, **overrides), beat_seconds, review_seconds, gate=gate)
    try:
        await one.start()
        yield one
    finally:
        await one.stop()
        await database.close()
        await server.close()


def with_account(config: Config, **changes: Mapping[str, Any] | str | Secret) -> Config:
    """*config* with its first account changed."""
    return config.model_copy(update={"accounts": (config.accounts[0].model_copy(update=changes), *config.accounts[1:])})
