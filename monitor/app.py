"""
The composition root: builds every part from a configuration, runs it until the stop is asked for, and takes it down again.

    1 database      opened, locked, migrated; everything below may write
    2 fleet         loaded from rows: metrics are right from the first scrape
    3 web           listening; /-/ready says no
    4 crew          agents of this configuration, their loops in the one task group
    5 scheduler     beats; READY=1, /-/ready says yes
    ... SIGTERM: the scheduler stops, the crew drains within its budget, then everything closes in reverse order
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta

import structlog

from monitor import __version__, roster
from monitor.clock import Clock
from monitor.config import Config
from monitor.crew import Crew, Workplace
from monitor.db import Database
from monitor.domain.snapshot import Snapshot
from monitor.errors import MonitorError
from monitor.fleet import Fleet
from monitor.lifecycle import Loop, ServiceManager, Signals
from monitor.metrics import Metrics
from monitor.plan import plan_of
from monitor.scheduler import Beat, Scheduler
from monitor.selfcheck import SelfCheck, Watched
from monitor.web import WebServer

_log = structlog.get_logger(__name__)

_SECOND = timedelta(seconds=1)
_SELFCHECK_BOUND_SECONDS = 60.0


class App:
    """
    One running monitor.

    Args:
        config: what to run.
        clock: the time.
        signals: what the outside asks for.
        reread: reads the configuration again; raises ConfigError with every problem.
        manager: the service manager to keep informed.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        signals: Signals,
        reread: Callable[[], Config],
        manager: ServiceManager | None = None,
    ) -> None:
        self.config = config
        self.url = ""
        self.ready = asyncio.Event()
        self._clock = clock
        self._signals = signals
        self._reread = reread
        self._manager = manager if manager is not None else ServiceManager(None)

    async def run(self) -> None:
        """
        Run until the stop is asked for, then drain.

        Raises:
            StoreError: the database can't be used; says why and what to do.
            ConfigError: the web port can't be opened.
        """
        async with AsyncExitStack() as stack:
            self._database = Database(self.config.database.url.reveal(), clock=self._clock, owner=self.config.source)
            await self._database.start()
            stack.push_async_callback(self._database.close)
            await self._load_fleet()
            self._metrics = Metrics()
            web = WebServer(self.config.web, self._metrics, self.snapshot, self._clock, self._readiness)
            self.url = await web.start()
            stack.push_async_callback(web.close)
            async with asyncio.TaskGroup() as group:
                await self._work(group)

    def snapshot(self) -> Snapshot:
        """The whole picture, now."""
        return self._fleet.snapshot(self._clock.now())

    async def _load_fleet(self) -> None:
        self._fleet = Fleet(plan_of(self.config, self._database.instance_id), self._clock)
        await self._database.read(self._fleet.load)
        await roster.sync(self._database, self._fleet, self.config)

    async def _work(self, group: asyncio.TaskGroup) -> None:
        # Jitter needs no secrecy, only that two monitors do not retry in step.
        self._workplace = Workplace(self._fleet, self._database, self._metrics, self._clock, random.random)  # noqa: TID251
        self._crew = Crew(self.config, self._fleet.plan, self._workplace)
        scheduler = self._scheduler()
        selfcheck = self._selfcheck(scheduler)
        own = Loop("selfcheck", selfcheck.step, rest_seconds=5.0, clock=self._clock, stop=self._signals.stop)
        self._own = [Watched(own, _SELFCHECK_BOUND_SECONDS)]
        try:
            await self._supervise(group, scheduler, selfcheck, own)
        finally:
            scheduler.stop()
            await self._crew.close()

    async def _supervise(self, group: asyncio.TaskGroup, scheduler: Scheduler, selfcheck: SelfCheck, own: Loop) -> None:
        self._prepare_metrics()
        self._crew.start(group)
        watchers = [
            group.create_task(own.run(), name="selfcheck"),
            group.create_task(self._database.ended(), name="database"),
            group.create_task(self._reload_when_asked(group), name="reload"),
        ]
        scheduler.start()
        self._metrics.config_reloaded(successful=True, at=self._clock.now())
        self.ready.set()
        self._manager.ready(selfcheck.status())
        _log.info("monitor.started", version=__version__, url=self.url, connections=len(self._fleet.ids()), config=self.config.source)
        await self._signals.stop.wait()
        self._manager.stopping()
        _log.info("monitor.stopping")
        scheduler.stop()
        self.ready.clear()
        await self._crew.finish(seconds=self.config.shutdown.drain.total_seconds(), abort=self._signals.abort)
        for watcher in watchers:
            watcher.cancel()

    def _prepare_metrics(self) -> None:
        self._metrics.prepare(
            platforms=self._fleet.platforms(),
            receivers=[receiver.name for receiver in self._crew.config.receivers],
            loops=[watched.loop.name for watched in [*self._crew.watched, *self._own]],
        )

    def _scheduler(self) -> Scheduler:
        def waker(kind: str) -> Callable[[], None]:
            return lambda: self._crew.wake(kind)

        return Scheduler(
            (
                Beat("check", _SECOND, waker("check")),
                Beat("deliver", _SECOND, waker("deliver")),
                Beat("review", _SECOND, waker("review")),
                Beat("discover", _SECOND, waker("discover")),
                Beat("tidy", timedelta(hours=1), waker("tidy")),
                Beat("selfcheck", _SECOND, self._wake_selfcheck),
            )
        )

    def _wake_selfcheck(self) -> None:
        for watched in self._own:
            watched.loop.wake.set()

    def _selfcheck(self, scheduler: Scheduler) -> SelfCheck:
        return SelfCheck(
            fleet=self._fleet,
            database=self._database,
            metrics=self._metrics,
            clock=self._clock,
            manager=self._manager,
            loops=lambda: [*self._crew.watched, *self._own],
            clock_jumped=scheduler.restart_beats,
        )

    def _readiness(self) -> tuple[bool, str]:
        if not self.ready.is_set():
            return False, "starting or stopping"
        return (True, "ready") if self._database.storage_up else (False, "the database takes no writes")

    async def _reload_when_asked(self, group: asyncio.TaskGroup) -> None:
        while True:
            await self._signals.reload.wait()
            self._signals.reload.clear()
            self._manager.reloading(self._clock.monotonic())
            try:
                await self._reload(group)
                self._metrics.config_reloaded(successful=True, at=self._clock.now())
                self._manager.ready("Configuration reloaded")
            except MonitorError as error:
                _log.error("config.rejected", problems=str(error).splitlines(), advice="The old configuration keeps running.")
                self._metrics.config_reloaded(successful=False, at=self._clock.now())
                self._manager.ready("Reload failed, the old configuration keeps running; see the log")

    async def _reload(self, group: asyncio.TaskGroup) -> None:
        config = await asyncio.to_thread(self._reread)
        plan = plan_of(config, self._database.instance_id)
        crew = Crew(config, plan, self._workplace)
        for section in ("database", "web"):
            if getattr(config, section) != getattr(self.config, section):
                _log.warning("config.needs_restart", section=section)
        await self._crew.finish(seconds=self.config.shutdown.drain.total_seconds(), abort=self._signals.abort)
        self.config, self._fleet.plan = config, plan
        await roster.sync(self._database, self._fleet, config)
        self._crew = crew
        self._prepare_metrics()
        crew.start(group)
        _log.info("config.reloaded", connections=len(self._fleet.ids()), receivers=len(config.receivers))
