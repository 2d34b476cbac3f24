"""
The composition root: builds every part from a configuration, runs it until the stop request, and closes it again.

    1 database      opened, locked, migrated
    2 registry      loaded from the rows, so that metrics are right from the first scrape
    3 web           listening; /-/ready answers 503
    4 workers       the loops of this configuration, in the one task group
    5 scheduler     wakes the loops; READY=1, /-/ready answers 200

After SIGTERM the scheduler stops, the workers drain within their time limit, and everything closes in reverse order.
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
_WATCHDOG_BOUND_SECONDS = 60.0
_PINGS_PER_TIMEOUT = 4
_WEB_REST_SECONDS = 10.0


class App:
    """
    One running monitor.

    Args:
        config: the configuration to start with.
        clock: the clock.
        signals: requests to stop, abort and reload.
        reread: reads the configuration again; raises ConfigError with every problem.
        manager: the service manager to notify.
        bounds: how long a loop may make no progress before the watchdog reports it.
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
        self._replacing = False

    async def run(self) -> None:
        """
        Run until the stop request, then drain.

        Raises:
            StoreError: the database can't be used; has the cause and the advice.
            ConfigError: the web port can't be opened.
        """
        self._database = Database(self.config.database.url.reveal(), clock=self._clock, owner=self.config.source)
        try:
            await self._run()
        except BaseException as error:
            if _is_corruption(error):
                evaluation_config = EvaluationConfig.from_config(self.config, self._database.instance_id)
                await alert_corruption(self.config, evaluation_config, self._clock, USER_AGENT)
            raise

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            await self._database.start()
            stack.push_async_callback(self._database.close)
            await self._load_registry()
            self._metrics = Metrics()
            self._web = self._new_web_server()
            self.url = await self._web.start()
            stack.push_async_callback(self._web.close)
            async with asyncio.TaskGroup() as group:
                await self._run_workers(group)

    def _new_web_server(self) -> WebServer:
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
        """Return the current snapshot."""
        return self._registry.snapshot(self._clock.now())

    async def _load_registry(self) -> None:
        self._registry = Registry(EvaluationConfig.from_config(self.config, self._database.instance_id), self._clock)
        await self._database.read(self._registry.load)
        await connection_sync.sync(self._database, self._registry, self.config)

    async def _run_workers(self, group: asyncio.TaskGroup) -> None:
        # Jitter needs no secrecy, only that two monitors do not retry in step.
        dice = random.random  # noqa: TID251
        self._dependencies = Dependencies(self._registry, self._database, self._metrics, self._clock, dice, self._bounds)
        self._workers = WorkerGroup(self.config, self._registry.config, self._dependencies)
        scheduler = self._new_scheduler()
        watchdog = self._new_watchdog(scheduler)
        rest = self._watchdog_seconds()
        self._watchdog_loop = Loop("selfcheck", watchdog.step, rest_seconds=rest, clock=self._clock, stop=self._signals.stop)
        self._web_loop = Loop("web", self._web.renew, rest_seconds=_WEB_REST_SECONDS, clock=self._clock, stop=self._signals.stop)
        self._own_loops = [
            WatchedLoop(self._watchdog_loop, _WATCHDOG_BOUND_SECONDS),
            WatchedLoop(scheduler, self._bounds.scheduler, writes=False),
            WatchedLoop(self._web_loop, 4 * _WEB_REST_SECONDS, writes=False),
        ]
        try:
            await self._serve(group, scheduler, watchdog)
        finally:
            scheduler.stop()
            await self._workers.close()

    async def _serve(self, group: asyncio.TaskGroup, scheduler: Scheduler, watchdog: Watchdog) -> None:
        self._prepare_metrics()
        self._workers.start(group)
        watchers = [
            group.create_task(self._watchdog_loop.run(), name="selfcheck"),
            group.create_task(self._web_loop.run(), name="web"),
            group.create_task(self._database.ended(), name="database"),
            group.create_task(self._reload_on_request(group, watchdog), name="reload"),
        ]
        scheduler.start()
        self._metrics.config_reloaded(successful=True, at=self._clock.now())
        self.ready.set()
        self._manager.ready(watchdog.status())
        _log.info("monitor.started", version=__version__, url=self.url, connections=len(self._registry.ids()), config=self.config.source)
        await self._signals.stop.wait()
        self._manager.stopping()
        _log.info("monitor.stop_requested")
        scheduler.stop()
        self.ready.clear()
        await self._workers.drain(seconds=self.config.shutdown.drain.total_seconds(), abort=self._signals.abort)
        for watcher in watchers:
            watcher.cancel()

    def _prepare_metrics(self) -> None:
        self._metrics.prepare(
            platforms=self._registry.platforms(),
            receivers=[receiver.name for receiver in self._workers.config.receivers],
            loops=[*(watched.loop.name for watched in [*self._workers.watched, *self._own_loops]), "writer"],
        )

    def _new_scheduler(self) -> Scheduler:
        def waker(kind: str) -> Callable[[], None]:
            return lambda: self._workers.wake(kind)

        return Scheduler(
            (
                WakeJob("check", _SECOND, waker("check")),
                WakeJob("deliver", _SECOND, waker("deliver")),
                WakeJob("review", _SECOND, waker("review")),
                WakeJob("discover", _SECOND, waker("discover")),
                WakeJob("bookkeep", timedelta(minutes=10), waker("bookkeep")),
                WakeJob("tidy", timedelta(hours=1), waker("tidy")),
                WakeJob("selfcheck", _SECOND, self._wake_watchdog),
            ),
            self._clock,
        )

    def _wake_watchdog(self) -> None:
        self._watchdog_loop.wake.set()

    def _watchdog_seconds(self) -> float:
        """Return the pause of the watchdog's loop if the scheduler does not wake it: a fraction of the service manager's timeout."""
        timeout = self._manager.watchdog_seconds
        return self._bounds.rest if timeout is None else min(self._bounds.rest, timeout / _PINGS_PER_TIMEOUT)

    def _loops(self) -> list[WatchedLoop]:
        """Return the loops that the watchdog checks; without those of the workers while they are replaced, because they end one by one."""
        return list(self._own_loops) if self._replacing else [*self._workers.watched, *self._own_loops]

    def _new_watchdog(self, scheduler: Scheduler) -> Watchdog:
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

    async def _reload_on_request(self, group: asyncio.TaskGroup, watchdog: Watchdog) -> None:
        while True:
            await self._signals.reload.wait()
            self._signals.reload.clear()
            if self._signals.stop.is_set():
                return
            self._manager.reloading(self._clock.monotonic())
            await self._reload(group)
            if self._signals.stop.is_set():
                return
            self._manager.ready(watchdog.status())

    async def _reload(self, group: asyncio.TaskGroup) -> None:
        try:
            config, workers, authenticator = await self._build()
        except MonitorError as error:
            _log.error("config.rejected", problems=str(error).splitlines(), advice="The old configuration keeps running.")
            self._metrics.config_reloaded(successful=False, at=self._clock.now())
            self._manager.trouble = "the last reload failed and changed nothing, see the log"
        else:
            self._apply_web_config(config, authenticator)
            await self._replace_workers(config, workers, group)
            self._metrics.config_reloaded(successful=True, at=self._clock.now())
            self._manager.trouble = ""

    async def _build(self) -> tuple[Config, WorkerGroup, Authenticator]:
        """Read the configuration again and build its workers and authenticator; changes nothing yet."""
        config = await asyncio.to_thread(self._reread)
        authenticator = await self._web.prepare(config.web, config.web_file)
        evaluation_config = EvaluationConfig.from_config(config, self._database.instance_id)
        return config, WorkerGroup(config, evaluation_config, self._dependencies), authenticator

    def _apply_web_config(self, config: Config, authenticator: Authenticator) -> None:
        """Replace the web access rules; log the sections that need a restart."""
        self._web.adopt(config.web, authenticator)
        changed = {"database": config.database != self.config.database, "web.listen": config.web.listen != self.config.web.listen}
        for key in (key for key, differs in changed.items() if differs):
            _log.warning("config.restart_required", section=key)

    async def _replace_workers(self, config: Config, workers: WorkerGroup, group: asyncio.TaskGroup) -> None:
        """
        Drain the current workers and start the new ones. A failure here ends the process, because the old workers are gone.

        After a stop request the new workers are not started, because nothing would stop them.
        """
        self._replacing = True
        try:
            await self._workers.drain(seconds=self.config.shutdown.drain.total_seconds(), abort=self._signals.abort)
            self.config = config
            self._registry.set_config(workers.plan)
            await connection_sync.sync(self._database, self._registry, config)
            if self._signals.stop.is_set():
                await workers.close()
                return
            self._workers = workers
            self._prepare_metrics()
            workers.start(group)
        finally:
            self._replacing = False
        _log.info("config.reloaded", connections=len(self._registry.ids()), receivers=len(config.receivers))


def _is_corruption(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_is_corruption(inner) for inner in error.exceptions)
    return isinstance(error, StoreCorrupt)
