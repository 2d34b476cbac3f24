"""The workers of one configuration and their loops; a reload builds all new ones before the old ones are touched."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain

from monitor import __version__
from monitor.clock import Clock
from monitor.config import AccountSettings, Config, ReceiverSettings
from monitor.db import Database
from monitor.domain.connections import Connection
from monitor.http.gate import Gate
from monitor.metrics import Metrics
from monitor.notify.sender import Sender
from monitor.postpost.api_transport import ApiTransport
from monitor.postpost.client import ApiClient
from monitor.postpost.rate_limit import LEAST_BURST, RateLimiter, RequestPacing
from monitor.runtime.loop import Loop, LoopProgress, Step, WatchdogLimits, drain
from monitor.runtime.watchdog import WatchedLoop
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from monitor.workers.checker import Checker
from monitor.workers.controls_sync import ControlsSync
from monitor.workers.deliverer import Deliverer
from monitor.workers.discoverer import Discoverer
from monitor.workers.evaluator import Evaluator
from monitor.workers.heartbeat import Heartbeat
from monitor.workers.rerouter import Rerouter
from monitor.workers.retention import RetentionWorker
from monitor.workers.storage_alert import StorageAlerter, StorageOutage
from monitor.workers.uptime_rollup import UptimeRollup

USER_AGENT = f"postpost-monitor/{__version__}"

# The requests of so many seconds may begin at once, so that one wake-up starts several checks.
_BURST_SECONDS = 0.25

_RETENTION_REST_SECONDS = 3600.0
_UPTIME_ROLLUP_REST_SECONDS = 600.0
# With thousands of connections the first pass takes as much as all the rest of the start, and nothing waits for it.
_UPTIME_ROLLUP_DELAY_SECONDS = 30.0
_UPTIME_ROLLUP_DELAYED_FROM = 1_000
_EVALUATOR_LIMIT_SECONDS = 60.0
# A workspace may have hundreds of users, each with a list of its own, read at the account's request rate.
_DISCOVERER_LIMIT_SECONDS = 7200.0


@dataclass(frozen=True, slots=True)
class Dependencies:
    """
    Dependencies shared by all workers; survives reloads.

    Attributes:
        gate: lets requests and messages out.
        notifies_outage: of several nodes, whether this one notifies that the database takes no writes; None for a single process.
    """

    registry: Registry
    database: Database
    metrics: Metrics
    clock: Clock
    random: Callable[[], float]
    limits: WatchdogLimits
    storage_outage: StorageOutage = field(default_factory=StorageOutage)
    gate: Gate = field(default_factory=Gate)
    notifies_outage: Callable[[float], Awaitable[bool]] | None = None


class WorkerGroup:
    """
    The workers of one configuration.

    Built without any I/O; *reloaded*: after a reload, which has disabled receivers tried again. `start` runs the loops in a task group, `drain` ends them and closes the HTTP clients.

    With *parts* the workers of these alone: `account:NAME`, `receiver:NAME`, `evaluation`, `controls`, `storage-alert`, `maintenance`.
    """

    def __init__(
        self,
        config: Config,
        evaluation_config: EvaluationConfig,
        dependencies: Dependencies,
        *,
        reloaded: bool = False,
        parts: Collection[str] | None = None,
    ) -> None:
        self.config = config
        self.evaluation_config = evaluation_config
        self.watched: list[WatchedLoop] = []
        self.rate_limiters: dict[str, RateLimiter] = {}
        self._dependencies = dependencies
        self._reloaded = reloaded
        self._parts = parts
        self._stop = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._loops: dict[str, list[Loop]] = {}
        self._api_transport: ApiTransport | None = None
        self._checkers: dict[str, Checker] = {}
        self._sender = Sender(clock=dependencies.clock, user_agent=USER_AGENT, gate=dependencies.gate)
        # That the database is away is notified without a lease too.
        self._outage_sender = Sender(clock=dependencies.clock, user_agent=USER_AGENT)
        for account in config.accounts:
            if self._has(f"account:{account.name}"):
                self._add_account(account)
        for receiver in config.receivers:
            if self._has(f"receiver:{receiver.name}"):
                self._add_deliverer(receiver)
        if self._has("maintenance"):
            self._add_heartbeat()
        if self._has("evaluation"):
            self._add_evaluation()
        if self._has("controls"):
            self._add_controls()
        if self._has("storage-alert"):
            self._add_storage_alert()
        if self._has("maintenance"):
            self._add_maintenance()

    def start(self, group: asyncio.TaskGroup) -> None:
        """Take over the registry's connections and run every loop as a task of *group*."""
        self.refresh()
        for loop in self._all_loops():
            loop.last_step = self._dependencies.clock.monotonic()
            self._tasks[loop.name] = group.create_task(self._run(loop), name=loop.name)

    def refresh(self, account: str | None = None) -> None:
        """Make the checkers, or that of one *account*, add new connections and drop removed ones."""
        for checker in self._checkers.values():
            if account in (None, checker.account):
                checker.refresh()
        self.wake("check")

    def check_now(self, connection: Connection) -> bool:
        """Have *connection* checked next, and often for two minutes; False when its account is not checked."""
        checkers = [checker for checker in self._checkers.values() if checker.account == connection.account]
        for checker in checkers:
            checker.check_now(connection)
        self.wake("check")
        return bool(checkers)

    def wake(self, kind: str) -> None:
        """Wake the loops of one kind: `check`, `deliver`, `discover`, `evaluate`, `uptime-rollup` or `retention`."""
        for loop in self._loops.get(kind, ()):
            loop.wake.set()

    def wake_if_due(self, kind: str) -> None:
        """The same for those that have something to do, as far as they know that."""
        for loop in self._loops.get(kind, ()):
            loop.wake_if_due()

    async def drain(self, *, seconds: float, abort: asyncio.Event) -> list[str]:
        """Let the loops finish their current step, at most *seconds*; returns the names of those that were cancelled."""
        self._stop.set()
        for loop in self._all_loops():
            loop.wake.set()
        cancelled = await drain(self._tasks, seconds=seconds, abort=abort)
        await self.close()
        return cancelled

    async def close(self) -> None:
        """Close the HTTP clients; idempotent."""
        if self._api_transport is not None:
            await self._api_transport.close()
        await self._sender.close()
        await self._outage_sender.close()

    async def _run(self, loop: Loop) -> None:
        checker = self._checkers.get(loop.name)
        async with checker.running() if checker is not None else nullcontext():
            await loop.run()

    def _has(self, part: str) -> bool:
        return self._parts is None or part in self._parts

    def _all_loops(self) -> Iterator[Loop]:
        return chain.from_iterable(self._loops.values())

    def _add_account(self, account: AccountSettings) -> None:
        shared, settings = self._dependencies, self.config.api
        if self._api_transport is None:
            self._api_transport = ApiTransport(settings, clock=shared.clock, rebuilt=shared.metrics.client_rebuilt, gate=shared.gate)
        api = ApiClient(settings, account.api_key, clock=shared.clock, user_agent=USER_AGENT, transport=self._api_transport)
        rate = settings.requests_per_second
        pacing = RequestPacing(rate=rate, burst=max(LEAST_BURST, int(rate * _BURST_SECONDS)))
        if self._parts is not None:
            # The node that tended the account before may have used all of the budget until now.
            pacing = replace(pacing, free_at=shared.clock.monotonic() + pacing.burst / pacing.rate)
        rate_limiter = self.rate_limiters[account.name] = RateLimiter(pacing, shared.clock, shared.database.may_send)
        checker = Checker(
            account.name,
            api,
            rate_limiter,
            concurrency=settings.concurrency,
            registry=shared.registry,
            database=shared.database,
            metrics=shared.metrics,
            clock=shared.clock,
            on_notification=lambda: self.wake("deliver"),
            wake=lambda: self.wake("check"),
        )
        self._checkers[checker.name] = checker
        limit = settings.timeout.total_seconds() + shared.limits.step
        self.add("check", checker.name, checker.step, limit=limit, idle=checker.idle_seconds, progress=checker)
        discoverer = Discoverer(
            account,
            self.config,
            api,
            rate_limiter,
            registry=shared.registry,
            database=shared.database,
            clock=shared.clock,
            on_change=lambda: self.refresh(account.name),
        )
        self.add("discover", f"discoverer-{account.name}", discoverer.step, limit=_DISCOVERER_LIMIT_SECONDS, idle=discoverer.idle_seconds)

    def _add_deliverer(self, receiver: ReceiverSettings) -> None:
        shared = self._dependencies
        deliverer = Deliverer(
            shared.database,
            self._sender,
            receiver,
            others=[other.name for other in self.config.receivers],
            policy=self.evaluation_config.policy,
            identity=self.evaluation_config.identity,
            clock=shared.clock,
            random=shared.random,
            on_attempt=shared.metrics.delivery_attempted,
            on_disabled=shared.metrics.receiver_disabled,
            trial=self._reloaded,
            may_send=shared.database.may_send,
        )
        limit = receiver.timeout.total_seconds() + shared.limits.step
        self.add("deliver", f"deliverer-{receiver.name}", deliverer.step, limit=limit)

    def _add_heartbeat(self) -> None:
        shared, settings = self._dependencies, self.config.heartbeat
        if settings.url is None:
            return
        heartbeat = Heartbeat(
            settings,
            settings.url,
            registry=shared.registry,
            database=shared.database,
            sender=self._sender,
            clock=shared.clock,
            on_result=shared.metrics.heart_beat,
        )
        limit = settings.timeout.total_seconds() + shared.limits.step
        self.add("heartbeat", "heartbeat", heartbeat.step, limit=limit, rest=settings.every.total_seconds())

    def _add_evaluation(self) -> None:
        shared = self._dependencies
        evaluator = Evaluator(registry=shared.registry, database=shared.database, clock=shared.clock)
        self.add("evaluate", "evaluator", evaluator.step, limit=_EVALUATOR_LIMIT_SECONDS)

    def _add_controls(self) -> None:
        shared = self._dependencies
        controls_sync = ControlsSync(registry=shared.registry, database=shared.database, clock=shared.clock)
        self.add("evaluate", "controls-sync", controls_sync.step, limit=_EVALUATOR_LIMIT_SECONDS)

    def _add_storage_alert(self) -> None:
        shared = self._dependencies
        storage_alerter = StorageAlerter(
            registry=shared.registry,
            database=shared.database,
            sender=self._outage_sender,
            receivers=self.config.receivers,
            clock=shared.clock,
            outage=shared.storage_outage,
            notifies=shared.notifies_outage,
        )
        limit = sum(receiver.timeout.total_seconds() for receiver in self.config.receivers) + shared.limits.step
        self.add("evaluate", "storage-alert", storage_alerter.step, limit=limit)

    def _add_maintenance(self) -> None:
        shared, settings = self._dependencies, self.config.retention
        rerouter = Rerouter(registry=shared.registry, database=shared.database, clock=shared.clock)
        self.add("evaluate", "rerouter", rerouter.step, limit=_EVALUATOR_LIMIT_SECONDS)
        rollup = UptimeRollup(registry=shared.registry, database=shared.database, clock=shared.clock, longest=settings.daily)
        rest = _UPTIME_ROLLUP_REST_SECONDS
        delay = _UPTIME_ROLLUP_DELAY_SECONDS if len(shared.registry.ids()) >= _UPTIME_ROLLUP_DELAYED_FROM else 0.0
        self.add("uptime-rollup", "uptime-rollup", rollup.step, limit=2 * rest, rest=rest, idle=rollup.idle, delay=delay)
        retention = RetentionWorker(shared.database, shared.clock, settings)
        rest = _RETENTION_REST_SECONDS
        self.add("retention", "retention", retention.step, limit=2 * rest, rest=rest)

    def add(
        self,
        kind: str,
        name: str,
        step: Step,
        *,
        limit: float,
        rest: float | None = None,
        idle: Callable[[], float] | None = None,
        progress: LoopProgress | None = None,
        delay: float = 0.0,
    ) -> None:
        """Run *step* in a loop of this name and kind; *limit*: after so many seconds without progress, and its rest, it is stuck."""
        # The scheduler's jobs wake the loops; their own rests only matter when a job is missed.
        rest = self._dependencies.limits.rest if rest is None else rest
        loop = Loop(name, step, rest_seconds=rest, clock=self._dependencies.clock, stop=self._stop, idle=idle, delay_seconds=delay)
        self._loops.setdefault(kind, []).append(loop)
        self.watched.append(WatchedLoop(progress or loop, limit + rest))
