"""
The composition root: builds every part from a configuration, runs it until the stop is requested, and closes it again.

    1 database      opened, locked, migrated; everything below may write
    2 registry      loaded from rows: metrics are right from the first scrape
    3 web           listening; /-/ready answers 503
    4 workers       of this configuration, their loops in the one task group
    5 scheduler     wakes the loops; READY=1, /-/ready answers 200
    ... SIGTERM: the scheduler stops, the workers drain within their budget, then everything closes in reverse order
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from monitor import __version__
from monitor.clock import Clock
from monitor.cluster.job_queue import JobQueue
from monitor.cluster.node import Node, member_of
from monitor.cluster.shown import ShownRows
from monitor.cluster.turns import NodeWorkers
from monitor.config import Config, watched_files
from monitor.db import Database, read_server
from monitor.db.cluster.members import conninfo, member_backend
from monitor.domain.connections import Connection
from monitor.domain.views.snapshot import Snapshot
from monitor.errors import AnotherInstance, MonitorError, StoreCorrupt, StoreDenied, StoreError, StoreUnavailable, UsageError
from monitor.http.gate import Gate
from monitor.logs import get_logger
from monitor.metrics import Metrics
from monitor.runtime import reload_outcome
from monitor.runtime.config_file import ConfigFileWatch
from monitor.runtime.lease import keep_to_lease
from monitor.runtime.loop import Loop, Step, WatchdogLimits
from monitor.runtime.reload_outcome import ReloadOutcome
from monitor.runtime.scheduler import Scheduler, WakeJob
from monitor.runtime.signals import Signals
from monitor.runtime.systemd import ServiceManager
from monitor.runtime.watchdog import Watchdog, WatchedLoop
from monitor.state import account_sync, connection_sync, receiver_sync
from monitor.state.cluster import AccountRegistry, node_config
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from monitor.web.actions import Actions
from monitor.web.auth import Authenticator
from monitor.web.server import WebServer
from monitor.workers.group import USER_AGENT, Dependencies, WorkerGroup
from monitor.workers.storage_alert import alert_corruption

_log = get_logger(__name__)

_SECOND = timedelta(seconds=1)
_WATCHDOG_LIMIT_SECONDS = 60.0
_PINGS_PER_WATCHDOG_PERIOD = 4
_WEB_REST_SECONDS = 10.0
_FILE_REST_SECONDS = 5.0
_ROWS_REST_SECONDS = 2.0
_FIRST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 30.0
_START_ATTEMPT_SECONDS = 300.0
_STANDBY_PAUSE_SECONDS = 0.5
_STANDBY_VIEW_SECONDS = 10.0
_DENIED_ADVICE = "Make the role the owner of the database and its tables, or GRANT it CREATE on the database and on its schema."
_CLOCK_DIFFERENCE = timedelta(seconds=5)


class App:
    """
    One running monitor.

    Args:
        reread: reads the configuration again; raises ConfigError with every problem.
        manager: the service manager to notify.
        limits: how long each part may stand still before the service manager is no longer pinged.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        signals: Signals,
        reread: Callable[[], Config],
        manager: ServiceManager | None = None,
        limits: WatchdogLimits | None = None,
    ) -> None:
        self.config = config
        self.url = ""
        self.ready = asyncio.Event()
        self._clock = clock
        self._signals = signals
        self._reread = reread
        self._manager = manager if manager is not None else ServiceManager(None)
        self._limits = limits if limits is not None else WatchdogLimits()
        self._metrics = Metrics()
        self._replacing_workers = False
        self._waiting_for_reload: list[asyncio.Future[int]] = []
        self._active = ""
        self._view_due = float("-inf")
        self._node: Node | None = None
        self._node_workers: NodeWorkers | None = None
        self._registry = Registry(EvaluationConfig.from_config(config, ""), clock)
        self._database = self._make_database()
        self._gate = Gate(self._database.may_send)
        self._rows = ShownRows(self._database, lambda: self.config, clock)
        self._web = self._web_server()

    async def run(self) -> None:
        """
        Run until the stop is requested, then drain; waits for a database that is unavailable at the start.

        Raises:
            StoreError: the database can't be used.
            ConfigError: the web port can't be opened.
        """
        try:
            await self._run()
        except BaseException as error:
            if _is_damage(error):
                await alert_corruption(self.config, self._evaluation_config(self.config), self._clock, USER_AGENT)
            raise

    def _make_database(self) -> Database:
        url, owner, cluster = self.config.database.url.reveal(), self.config.source, self.config.cluster
        if cluster is None or cluster.mode != "shared":
            return Database(url, clock=self._clock, owner=owner, standby_lease=cluster.lease if cluster is not None else None)
        backend = member_backend(url, owner=owner, member=member_of(self.config), lease=cluster.lease, clock=self._clock)
        self._node = Node(backend)
        self._jobs = JobQueue(conninfo(url), self._clock)
        return Database(url, clock=self._clock, owner=owner, backend=backend)

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._database.close)
            if self._node is not None:
                stack.push_async_callback(self._node.close)
            stack.push_async_callback(self._close_web)
            if not await self._open_database():
                return
            await self._open_web()
            jitter = random.random  # noqa: TID251 - needs no secrecy, only that two monitors do not retry in step
            parts = self._registry, self._database, self._metrics, self._clock, jitter, self._limits
            self._dependencies = Dependencies(*parts, gate=self._gate)
            self._use(self._make_workers(self.config))
            self._scheduler = Scheduler(self._wake_jobs(), self._clock)
            self._watchdog = Watchdog(
                registry=self._registry,
                database=self._database,
                metrics=self._metrics,
                clock=self._clock,
                manager=self._manager,
                loops=self._watched_loops,
                on_clock_jump=self._scheduler.reschedule,
                limits=self._limits,
                outbox_needed=lambda: self._node_workers is None or self._node_workers.tends_receivers(),
            )
            self._watchdog_loop = self._loop("watchdog", self._watchdog.step, self._watchdog_rest_seconds())
            self._web_loop = self._loop("web", self._web.renew, _WEB_REST_SECONDS)
            self._file_watch = ConfigFileWatch(lambda: watched_files(self.config), self._config_file_changed)
            self._file_loop = self._loop("config-file", self._file_watch.step, _FILE_REST_SECONDS)
            self._rows_loop = self._loop("rows", self._rows.step, _ROWS_REST_SECONDS)
            async with asyncio.TaskGroup() as group:
                await self._run_workers(group)

    async def _open_database(self) -> bool:
        """
        Open the database, load the registry and reconcile the rows; waits while the database is unavailable or held by another instance.

        Returns:
            False when the stop is requested first.
        """
        cluster = self.config.cluster
        longest = _FIRST_RETRY_SECONDS if cluster is not None else _LONGEST_RETRY_SECONDS
        pause, begun = _FIRST_RETRY_SECONDS, self._clock.monotonic()
        while True:
            try:
                await self._load_registry()
                await self._sync(self.config)
            except AnotherInstance as error:
                # In a cluster that shares, an earlier process of this node keeps its name until its lease has run out.
                if cluster is None or (self._node is not None and self._clock.monotonic() - begun > 2 * cluster.lease.total_seconds()):
                    raise
                await self._stand_by(str(error))
                pause = _STANDBY_PAUSE_SECONDS
            except (StoreUnavailable, StoreDenied) as error:
                await self._database.close()
                denied = {"advice": _DENIED_ADVICE} if isinstance(error, StoreDenied) else {}
                _log.warning("database.start_postponed", error=str(error), retry_seconds=pause, **denied)
                self._postpone(f"Waiting for the database: {error}", pause)
            else:
                return True
            if await self._clock.wait(self._signals.stop, pause):
                self._manager.stopping()
                return False
            pause = min(2 * pause, longest)

    def _postpone(self, status: str, pause: float) -> None:
        if self._active:
            self._manager.alive(status)
        else:
            self._manager.starting(status, extend_seconds=pause + _START_ATTEMPT_SECONDS)

    async def _stand_by(self, active: str) -> None:
        """One step of a standby: show what the active instance has stored, ping the watchdog, reload on request."""
        self._database.open_for_reading()
        await self._load_to_show()
        if not self._active:
            self._active = active
            await self._open_web()
            self._manager.ready(f"Standby: {active}")
            _log.info("standby.started", active=active, url=self.url)
        self._active = active
        if self._signals.reload.is_set():
            self._signals.reload.clear()
            self._manager.reloading(self._clock.monotonic())
            await self._reload_standby()
            self._manager.ready(f"Standby: {active}")
        self._manager.alive(f"Standby: {active}")

    async def _load_to_show(self) -> None:
        """Load what the active instance has stored, every few seconds; what can't be read is shown as it was."""
        if self._clock.monotonic() < self._view_due:
            return
        self._view_due = self._clock.monotonic() + _STANDBY_VIEW_SECONDS
        try:
            self._registry = await self._database.read(partial(Registry.of_rows, config=self.config, clock=self._clock))
        except StoreError as error:
            _log.warning("snapshot.read_failed", error=str(error))

    async def _reload_standby(self) -> None:
        try:
            config, authenticator = await self._reread_config()
        except MonitorError as error:
            self._reject(error)
        else:
            restart = self._adopt(config, authenticator)
            self.config = config
            self._view_due = float("-inf")
            reload_outcome.record(ReloadOutcome(restart=restart))
            _log.info("config.reloaded", connections=len(self._registry.ids()), receivers=len(config.receivers))

    async def _open_web(self) -> None:
        if not self.url:
            self.url = await self._web.start()

    async def _close_web(self) -> None:
        if self.url:
            await self._web.close()

    async def _load_registry(self) -> None:
        await self._database.start()
        config = self._evaluation_config(self.config)
        registry = Registry(config, self._clock) if self._node is None else AccountRegistry(config, self._clock, self._node.holder)
        registry.on_unrouted = self._metrics.notification_unrouted
        await self._database.read(registry.load)
        if self.config.cluster is not None:
            await self._examine_server()
        if self._active and self._node is None:
            _log.warning("standby.activated", was_active=self._active)
        if self._node is not None:
            await self._rows.step()
        self._registry, self._active = registry, ""

    async def _examine_server(self) -> None:
        """Log what would disturb a takeover."""
        now, replicated = await self._database.read(read_server)
        if abs(now - self._clock.now()) > _CLOCK_DIFFERENCE:
            difference = round((self._clock.now() - now).total_seconds(), 1)
            _log.warning("clock.differed", seconds=difference, advice="Set the clock: due times and ages are wrong by as much.")
        if not replicated:
            advice = (
                "Not promised: that a failover of the PostgreSQL server keeps its newest rows, and that no incident is notified twice then."
                " Set synchronous_standby_names there."
            )
            _log.warning("database.not_replicated", advice=advice)

    def _evaluation_config(self, config: Config) -> EvaluationConfig:
        made = EvaluationConfig.from_config(config, self._database.instance_id)
        return made if self._node is None or config.cluster is None else node_config(made, config.cluster.lease)

    def _make_workers(self, config: Config, *, reloaded: bool = False) -> WorkerGroup | NodeWorkers:
        """The workers of *config*; built without any I/O."""
        evaluation_config = self._evaluation_config(config)
        if self._node is None:
            return WorkerGroup(config, evaluation_config, self._dependencies, reloaded=reloaded)
        wide_config = EvaluationConfig.from_config(config, self._database.instance_id)
        return NodeWorkers(config, evaluation_config, self._dependencies, self._node, self._jobs, wide_config)

    def _use(self, workers: WorkerGroup | NodeWorkers) -> None:
        self._workers, self._node_workers = workers, workers if isinstance(workers, NodeWorkers) else None

    async def _sync(self, config: Config) -> None:
        """Bring the rows in line with *config*; in a cluster that shares, each shard does that when it is taken."""
        if self._node is not None:
            await self._node.change(config)
            return
        await account_sync.sync(self._database, self._registry, config)
        await receiver_sync.sync(self._database, config, self._registry.config, self._clock.now())
        await connection_sync.sync(self._database, self._registry, config)

    def _loop(self, name: str, step: Step, rest_seconds: float) -> Loop:
        return Loop(name, step, rest_seconds=rest_seconds, clock=self._clock, stop=self._signals.stop)

    def _web_server(self) -> WebServer:
        return WebServer(
            self.config.web,
            self._metrics,
            self.snapshot,
            self._clock,
            self._readiness,
            file=self.config.web_file,
            policy=lambda: self._registry.config.policy,
            read=self._database.read,
            instance=lambda: self._registry.config.identity.instance,
            engine=self._shown,
            actions=Actions(self._database.write, self._check_now, self._clock, lambda: self.config.monitor.dashboard_url),
            reload=self._reload_and_wait,
            exported=self._exported if self._node is not None else None,
        )

    def _config_file_changed(self, files: Sequence[Path]) -> None:
        if self.config.monitor.reload_on_change:
            _log.info("config.file_changed", files=[str(file) for file in files])
            self._signals.reload.set()

    async def _reload_and_wait(self) -> int:
        """Reload the configuration; returns how many problems refused it."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting_for_reload.append(done)
        self._signals.reload.set()
        return await done

    def _check_now(self, connection: Connection) -> bool:
        return self.ready.is_set() and self._workers.check_now(connection)

    def snapshot(self) -> Snapshot:
        """Everything that is known, now."""
        snapshot = self._shown().snapshot(self._clock.now())
        if self._node is not None:
            snapshot = replace(snapshot, storage_up=self._registry.storage_up, untended=self._untended())
        return replace(snapshot, active=self._active) if self._active else snapshot

    def _untended(self) -> tuple[str, ...]:
        view = self._node.view if self._node is not None else None
        return view.untended() if view is not None else ()

    def _shown(self) -> Registry:
        """What the pages show: in a cluster that shares, the rows of all nodes."""
        rows = self._rows.registry() if self._node is not None and not self._active else None
        return rows if rows is not None else self._registry

    def _counted(self) -> dict[str, int]:
        """How many connections are monitored, for the log; not on a node, which takes its share later."""
        return {"connections": len(self._registry.ids())} if self._node is None else {}

    def _exported(self) -> Snapshot:
        """What the metrics of a node are made of."""
        if self._node_workers is None or self._active:
            return Snapshot(self._clock.now(), active=self._active or "starting")
        return self._node_workers.exported()

    async def _run_workers(self, group: asyncio.TaskGroup) -> None:
        try:
            await self._serve(group)
        finally:
            self._scheduler.stop()
            await self._workers.close()

    async def _serve(self, group: asyncio.TaskGroup) -> None:
        self._prepare_metrics()
        self._workers.start(group)
        own_tasks = [
            group.create_task(self._watchdog_loop.run(), name="watchdog"),
            group.create_task(self._web_loop.run(), name="web"),
            group.create_task(self._file_loop.run(), name="config-file"),
            *([group.create_task(self._rows_loop.run(), name="rows")] if self._node is not None else []),
            group.create_task(self._database.ended(), name="database"),
            group.create_task(keep_to_lease(self._database, self._gate, self._clock), name="lease"),
            group.create_task(self._reload_on_request(group), name="reload"),
        ]
        self._scheduler.start()
        self._metrics.config_reloaded(successful=True, at=self._clock.now())
        self.ready.set()
        self._manager.ready(self._watchdog.status())
        _log.info("monitor.started", version=__version__, url=self.url, config=self.config.source, **self._counted())
        await self._signals.stop.wait()
        self._manager.stopping()
        _log.info("monitor.stop_requested")
        self._scheduler.stop()
        self.ready.clear()
        await self._workers.drain(seconds=self.config.shutdown.drain.total_seconds(), abort=self._signals.abort)
        for task in own_tasks:
            task.cancel()

    def _prepare_metrics(self) -> None:
        self._metrics.prepare(
            monitor=self._registry.config.identity.instance,
            accounts=[account.name for account in self._workers.config.accounts],
            receivers=[receiver.name for receiver in self._workers.config.receivers],
            loops=[*(watched.loop.name for watched in [*self._workers.watched, *self._own_loops()]), "writer"],
        )

    def _wake_jobs(self) -> tuple[WakeJob, ...]:
        return (
            # One job for all of this rate: each run of a job costs more than what it does.
            WakeJob("every-second", _SECOND, self._wake_every_second),
            WakeJob("uptime-rollup", timedelta(minutes=10), lambda: self._workers.wake_if_due("uptime-rollup")),
            WakeJob("retention", timedelta(hours=1), lambda: self._workers.wake_if_due("retention")),
        )

    def _wake_every_second(self) -> None:
        # Made after the scheduler, which is told of clock jumps by the watchdog.
        self._watchdog_loop.wake.set()
        for kind in ("check", "deliver", "evaluate", "discover"):
            self._workers.wake_if_due(kind)

    def _watchdog_rest_seconds(self) -> float:
        """How long the watchdog's loop rests when no job wakes it: several such rests fit into `WatchdogSec=`."""
        watchdog_seconds = self._manager.watchdog_seconds
        return self._limits.rest if watchdog_seconds is None else min(self._limits.rest, watchdog_seconds / _PINGS_PER_WATCHDOG_PERIOD)

    def _own_loops(self) -> list[WatchedLoop]:
        """The loops that a reload does not replace."""
        return [
            WatchedLoop(self._watchdog_loop, _WATCHDOG_LIMIT_SECONDS),
            WatchedLoop(self._scheduler, self._limits.scheduler, writes=False),
            WatchedLoop(self._web_loop, 4 * _WEB_REST_SECONDS, writes=False),
            WatchedLoop(self._file_loop, 12 * _FILE_REST_SECONDS, writes=False),
            *([WatchedLoop(self._rows_loop, 12 * _ROWS_REST_SECONDS, writes=False)] if self._node is not None else []),
        ]

    def _watched_loops(self) -> list[WatchedLoop]:
        """The loops that must make progress; not those of the workers while they are replaced, because these end one by one."""
        return self._own_loops() if self._replacing_workers else [*self._workers.watched, *self._own_loops()]

    def _readiness(self) -> tuple[bool, str]:
        if self._active:
            return True, "standby"
        if not self.ready.is_set():
            return False, "starting or stopping"
        if not self._database.may_send():
            return False, "the lease of this instance has run out"
        if not self._database.storage_up:
            return False, "the database takes no writes"
        untended = self._untended()
        # It serves pages all the same, as every other node does.
        return True, f"ready, but no node tends {', '.join(untended)}" if untended else "ready"

    async def _reload_on_request(self, group: asyncio.TaskGroup) -> None:
        while True:
            await self._signals.reload.wait()
            self._signals.reload.clear()
            if self._signals.stop.is_set():
                return
            self._manager.reloading(self._clock.monotonic())
            waiting, self._waiting_for_reload = self._waiting_for_reload, []
            problems = await self._reload(group)
            for done in waiting:
                if not done.done():
                    done.set_result(problems)
            if self._signals.stop.is_set():
                return
            self._manager.ready(self._watchdog.status())

    async def _reload(self, group: asyncio.TaskGroup) -> int:
        """Reload the configuration; returns how many problems refused it."""
        try:
            config, workers, authenticator = await self._prepare()
        except MonitorError as error:
            self._reject(error)
            return len(str(error).splitlines())
        restart = self._adopt(config, authenticator)
        await self._replace_workers(config, workers, group)
        reload_outcome.record(ReloadOutcome(restart=restart))
        return 0

    def _reject(self, error: MonitorError) -> None:
        _log.error("config.rejected", problems=str(error).splitlines(), advice="The old configuration keeps running.")
        self._metrics.config_reloaded(successful=False, at=self._clock.now())
        self._manager.trouble = "the last reload failed and changed nothing, see the log"
        reload_outcome.record(ReloadOutcome(str(error).splitlines()))

    async def _prepare(self) -> tuple[Config, WorkerGroup | NodeWorkers, Authenticator]:
        """Read the configuration again and build the workers and the authenticator of the web port; changes nothing yet."""
        config, authenticator = await self._reread_config()
        return config, self._make_workers(config, reloaded=True), authenticator

    async def _reread_config(self) -> tuple[Config, Authenticator]:
        config = await asyncio.to_thread(self._reread)
        if self._node is not None and (config.cluster is None or config.cluster.mode != "shared"):
            raise UsageError("cluster.mode is no longer shared: stop this node, and start it with the new configuration")
        return config, await self._web.prepare(config.web, config.web_file)

    def _adopt(self, config: Config, authenticator: Authenticator) -> list[str]:
        """Replace the authenticator of the web port; log, and return, the changed sections that need a restart."""
        self._web.adopt(config.web, authenticator)
        self._metrics.config_reloaded(successful=True, at=self._clock.now())
        self._manager.trouble = ""
        changed = {
            "database": config.database != self.config.database,
            "cluster": _fixed(config) != _fixed(self.config),
            "web.listen": config.web.listen != self.config.web.listen,
        }
        restart = [key for key, differs in changed.items() if differs]
        for key in restart:
            _log.warning("config.restart_required", section=key)
        return restart

    async def _replace_workers(self, config: Config, workers: WorkerGroup | NodeWorkers, group: asyncio.TaskGroup) -> None:
        """Drain the running workers and start *workers*. A failure here ends the process: the old workers are closed already."""
        self._replacing_workers = True
        try:
            await self._workers.drain(seconds=self.config.shutdown.drain.total_seconds(), abort=self._signals.abort)
            self.config = config
            self._registry.use_config(workers.evaluation_config)
            await self._sync(config)
            if self._signals.stop.is_set():
                await workers.close()
                return
            self._use(workers)
            self._prepare_metrics()
            workers.start(group)
        finally:
            self._replacing_workers = False
        _log.info("config.reloaded", receivers=len(config.receivers), **self._counted())


def _fixed(config: Config) -> tuple[object, ...] | None:
    """What of the section `cluster` a reload does not change."""
    cluster = config.cluster
    return (cluster.mode, cluster.lease, cluster.node) if cluster is not None else None


def _is_damage(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_is_damage(nested) for nested in error.exceptions)
    return isinstance(error, StoreCorrupt)
