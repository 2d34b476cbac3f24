"""
The composition root: builds every part from a configuration, runs it until the stop is asked for, and takes it down again.

    1 database      opened, locked, migrated; everything below may write
    2 registry         loaded from rows: metrics are right from the first scrape
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

from monitor import __version__
from monitor.clock import Clock
from monitor.config import Config
from monitor.db import Database
from monitor.domain.policy import Policy
from monitor.domain.snapshot import Snapshot
from monitor.errors import MonitorError, StoreCorrupt
from monitor.metrics import Metrics
from monitor.runtime.loop import Loop, WatchdogLimits
from monitor.runtime.scheduler import Scheduler, WakeJob
from monitor.runtime.signals import Signals
from monitor.runtime.systemd import ServiceManager
from monitor.runtime.watchdog import Watchdog, WatchedLoop
from monitor.state import connection_sync
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from monitor.web.auth import Authenticator
from monitor.web.server import WebServer
from monitor.workers.group import USER_AGENT, Dependencies, WorkerGroup
from monitor.workers.storage_alert import alert_corruption

_log = structlog.get_logger(__name__)

_SECOND = timedelta(seconds=1)
_SELFCHECK_BOUND_SECONDS = 60.0
_FEEDS_PER_WATCHDOG = 4
_RENEWAL_REST_SECONDS = 10.0


class App:
    """
    One running monitor.

    Args:
        config: what to run.
        clock: the time.
        signals: what the outside asks for.
        reread: reads the configuration again; raises ConfigError with every problem.
        manager: the service manager to keep informed.
        bounds: for how long anything may stand still while the service manager is told that all is well.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        signals: Signals,
        reread: Callable[[], Config],
        manager: ServiceManager | None = None,
        bounds: WatchdogLimits | None = None,
    ) -> None:
        self.config = config
        self.url = ""
        self.ready = asyncio.Event()
        self._clock = clock
        self._signals = signals
        self._reread = reread
        self._manager = manager if manager is not None else ServiceManager(None)
        self._bounds = bounds if bounds is not None else WatchdogLimits()
        self._swapping = False

    async def run(self) -> None:
        """
        Run until the stop is asked for, then drain.

        Raises:
            StoreError: the database can't be used; says why and what to do.
            ConfigError: the web port can't be opened.
        """
        self._database = Database(self.config.database.url.reveal(), clock=self._clock, owner=self.config.source)
        try:
            await self._run()
        except BaseException as error:
            if _is_damage(error):
                plan = EvaluationConfig.from_config(self.config, self._database.instance_id)
                await alert_corruption(self.config, plan, self._clock, USER_AGENT)
            raise

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            await self._database.start()
            stack.push_async_callback(self._database.close)
            await self._load_fleet()
            self._metrics = Metrics()
            self._web = self._web_server()
            self.url = await self._web.start()
            stack.push_async_callback(self._web.close)
            async with asyncio.TaskGroup() as group:
                await self._work(group)

    def _web_server(self) -> WebServer:
        return WebServer(
            self.config.web,
            self._metrics,
            self.snapshot,
            self._clock,
            self._readiness,
            file=self.config.web_file,
            policy=self._policy,
            read=self._database.read,
            instance=lambda: self._registry.config.identity.instance,
        )

    def _policy(self) -> Policy:
        return self._registry.config.policy

    def snapshot(self) -> Snapshot:
        """The whole picture, now."""
        return self._registry.snapshot(self._clock.now())

    async def _load_fleet(self) -> None:
        self._registry = Registry(EvaluationConfig.from_config(self.config, self._database.instance_id), self._clock)
        await self._database.read(self._registry.load)
        await connection_sync.sync(self._database, self._registry, self.config)

    async def _work(self, group: asyncio.TaskGroup) -> None:
        # Jitter needs no secrecy, only that two monitors do not retry in step.
        dice = random.random  # noqa: TID251
        self._workplace = Dependencies(self._registry, self._database, self._metrics, self._clock, dice, self._bounds)
        self._crew = WorkerGroup(self.config, self._registry.config, self._workplace)
        scheduler = self._scheduler()
        selfcheck = self._selfcheck(scheduler)
        rest = self._pulse_seconds()
        self._pulse = Loop("selfcheck", selfcheck.step, rest_seconds=rest, clock=self._clock, stop=self._signals.stop)
        self._renewal = Loop("web", self._web.renew, rest_seconds=_RENEWAL_REST_SECONDS, clock=self._clock, stop=self._signals.stop)
        self._own = [
            WatchedLoop(self._pulse, _SELFCHECK_BOUND_SECONDS),
            WatchedLoop(scheduler, self._bounds.scheduler, writes=False),
            WatchedLoop(self._renewal, 4 * _RENEWAL_REST_SECONDS, writes=False),
        ]
        try:
            await self._supervise(group, scheduler, selfcheck)
        finally:
            scheduler.stop()
            await self._crew.close()

    async def _supervise(self, group: asyncio.TaskGroup, scheduler: Scheduler, selfcheck: Watchdog) -> None:
        self._prepare_metrics()
        self._crew.start(group)
        watchers = [
            group.create_task(self._pulse.run(), name="selfcheck"),
            group.create_task(self._renewal.run(), name="web"),
            group.create_task(self._database.ended(), name="database"),
            group.create_task(self._reload_when_asked(group, selfcheck), name="reload"),
        ]
        scheduler.start()
        self._metrics.config_reloaded(successful=True, at=self._clock.now())
        self.ready.set()
        self._manager.ready(selfcheck.status())
        _log.info("monitor.started", version=__version__, url=self.url, connections=len(self._registry.ids()), config=self.config.source)
        await self._signals.stop.wait()
        self._manager.stopping()
        _log.info("monitor.stopping")
        scheduler.stop()
        self.ready.clear()
        await self._crew.drain(seconds=self.config.shutdown.drain.total_seconds(), abort=self._signals.abort)
        for watcher in watchers:
            watcher.cancel()

    def _prepare_metrics(self) -> None:
        self._metrics.prepare(
            platforms=self._registry.platforms(),
            receivers=[receiver.name for receiver in self._crew.config.receivers],
            loops=[*(watched.loop.name for watched in [*self._crew.watched, *self._own]), "writer"],
        )

    def _scheduler(self) -> Scheduler:
        def waker(kind: str) -> Callable[[], None]:
            return lambda: self._crew.wake(kind)

        return Scheduler(
            (
                WakeJob("check", _SECOND, waker("check")),
                WakeJob("deliver", _SECOND, waker("deliver")),
                WakeJob("review", _SECOND, waker("review")),
                WakeJob("discover", _SECOND, waker("discover")),
                WakeJob("bookkeep", timedelta(minutes=10), waker("bookkeep")),
                WakeJob("tidy", timedelta(hours=1), waker("tidy")),
                WakeJob("selfcheck", _SECOND, self._wake_selfcheck),
            ),
            self._clock,
        )

    def _wake_selfcheck(self) -> None:
        self._pulse.wake.set()

    def _pulse_seconds(self) -> float:
        """How long the self-check rests when no beat wakes it: the service manager's patience bears several such rests."""
        patience = self._manager.watchdog_seconds
        return self._bounds.rest if patience is None else min(self._bounds.rest, patience / _FEEDS_PER_WATCHDOG)

    def _loops(self) -> list[WatchedLoop]:
        """What must go on; while crews are swapped not the crew, whose loops end one by one."""
        return list(self._own) if self._swapping else [*self._crew.watched, *self._own]

    def _selfcheck(self, scheduler: Scheduler) -> Watchdog:
        return Watchdog(
            registry=self._registry,
            database=self._database,
            metrics=self._metrics,
            clock=self._clock,
            manager=self._manager,
            loops=self._loops,
            clock_jumped=scheduler.restart_beats,
            bounds=self._bounds,
        )

    def _readiness(self) -> tuple[bool, str]:
        if not self.ready.is_set():
            return False, "starting or stopping"
        return (True, "ready") if self._database.storage_up else (False, "the database takes no writes")

    async def _reload_when_asked(self, group: asyncio.TaskGroup, selfcheck: Watchdog) -> None:
        while True:
            await self._signals.reload.wait()
            self._signals.reload.clear()
            if self._signals.stop.is_set():
                return
            self._manager.reloading(self._clock.monotonic())
            await self._reload(group)
            if self._signals.stop.is_set():
                return
            self._manager.ready(selfcheck.status())

    async def _reload(self, group: asyncio.TaskGroup) -> None:
        try:
            config, crew, admission = await self._prepare()
        except MonitorError as error:
            _log.error("config.rejected", problems=str(error).splitlines(), advice="The old configuration keeps running.")
            self._metrics.config_reloaded(successful=False, at=self._clock.now())
            self._manager.trouble = "the last reload failed and changed nothing, see the log"
        else:
            self._adopt(config, admission)
            await self._swap(config, crew, group)
            self._metrics.config_reloaded(successful=True, at=self._clock.now())
            self._manager.trouble = ""

    async def _prepare(self) -> tuple[Config, WorkerGroup, Authenticator]:
        """The configuration read anew and all that it asks for, built; nothing is changed yet."""
        config = await asyncio.to_thread(self._reread)
        admission = await self._web.prepare(config.web, config.web_file)
        return config, WorkerGroup(config, EvaluationConfig.from_config(config, self._database.instance_id), self._workplace), admission

    def _adopt(self, config: Config, admission: Authenticator) -> None:
        """Take up who may ask the web port; what can't be changed while it runs is said."""
        self._web.adopt(config.web, admission)
        changed = {"database": config.database != self.config.database, "web.listen": config.web.listen != self.config.web.listen}
        for key in (key for key, differs in changed.items() if differs):
            _log.warning("config.needs_restart", section=key)

    async def _swap(self, config: Config, crew: WorkerGroup, group: asyncio.TaskGroup) -> None:
        """
        Put *crew* in the place of the one at work. What fails here ends the process: there is no crew to go back to.

        Once a stop is asked for no crew begins any more: nobody would end it.
        """
        self._swapping = True
        try:
            await self._crew.drain(seconds=self.config.shutdown.drain.total_seconds(), abort=self._signals.abort)
            self.config = config
            self._registry.set_config(crew.plan)
            await connection_sync.sync(self._database, self._registry, config)
            if self._signals.stop.is_set():
                await crew.close()
                return
            self._crew = crew
            self._prepare_metrics()
            crew.start(group)
        finally:
            self._swapping = False
        _log.info("config.reloaded", connections=len(self._registry.ids()), receivers=len(config.receivers))


def _is_damage(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_is_damage(one) for one in error.exceptions)
    return isinstance(error, StoreCorrupt)
