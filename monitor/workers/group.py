"""
The crew: every agent that a configuration asks for, and the loops they run in.

A reload builds a whole new crew before the old one is touched, so a configuration that can't be built changes nothing.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from monitor import __version__
from monitor.clock import Clock
from monitor.config import AccountSettings, Config
from monitor.db import Database
from monitor.metrics import Metrics
from monitor.notify.sender import Sender
from monitor.postpost.client import ApiClient
from monitor.postpost.rate_limit import RateLimiter, RequestPacing
from monitor.runtime.loop import Loop, Step, WatchdogLimits, drain
from monitor.runtime.watchdog import WatchedLoop
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from monitor.workers.checker import Checker
from monitor.workers.controls_sync import ControlsSync
from monitor.workers.deliverer import Deliverer
from monitor.workers.discoverer import Discoverer, Parts
from monitor.workers.evaluator import Evaluator
from monitor.workers.heartbeat import Heartbeat
from monitor.workers.retention import RetentionWorker
from monitor.workers.storage_alert import StorageAlerter, StorageOutage
from monitor.workers.uptime_rollup import UptimeRollup

USER_AGENT = f"postpost-monitor/{__version__}"

_JANITOR_REST_SECONDS = 3600.0
_BOOKKEEPER_REST_SECONDS = 600.0
_REVIEW_BOUND_SECONDS = 60.0
_JANITOR_BOUND_SECONDS = 2 * _JANITOR_REST_SECONDS
_BOOKKEEPER_BOUND_SECONDS = 2 * _BOOKKEEPER_REST_SECONDS


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What every crew finds when it starts, and leaves to the next one."""

    registry: Registry
    database: Database
    metrics: Metrics
    clock: Clock
    random: Callable[[], float]
    bounds: WatchdogLimits
    storage_news: StorageOutage = field(default_factory=StorageOutage)


@dataclass(slots=True)
class _Hands:
    """What a crew holds and must let go of."""

    apis: list[ApiClient] = field(default_factory=list)
    checkers: list[Checker] = field(default_factory=list)
    sender: Sender | None = None


class WorkerGroup:
    """
    The agents of one configuration.

    Built without any I/O; `start` runs the loops in a task group, `finish` drains them and closes what they hold.
    """

    def __init__(self, config: Config, plan: EvaluationConfig, workplace: Dependencies) -> None:
        self.config = config
        self.plan = plan
        self.watched: list[WatchedLoop] = []
        self._workplace = workplace
        self._stop = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._loops: dict[str, list[Loop]] = {}
        self._hands = _Hands()
        for account in config.accounts:
            self._add_account(account)
        self._add_deliverers()
        self._add_housekeeping()

    def start(self, group: asyncio.TaskGroup) -> None:
        """Take up the registry's connections and run every loop as a task of *group*."""
        self.refresh()
        for loop in (one for kind in self._loops.values() for one in kind):
            loop.last_step = self._workplace.clock.monotonic()
            self._tasks[loop.name] = group.create_task(loop.run(), name=loop.name)

    def refresh(self) -> None:
        """Let the checkers take up connections that came and drop those that went."""
        for checker in self._hands.checkers:
            checker.refresh()
        self.wake("check")

    def wake(self, kind: str) -> None:
        """Wake the loops of one kind: `check`, `deliver`, `discover`, `review`, `bookkeep` or `tidy`."""
        for loop in self._loops.get(kind, ()):
            loop.wake.set()

    async def drain(self, *, seconds: float, abort: asyncio.Event) -> list[str]:
        """Let the loops finish the step in hand, at most *seconds*; returns the names of those that had to be cut off."""
        self._stop.set()
        for loops in self._loops.values():
            for loop in loops:
                loop.wake.set()
        cut_off = await drain(self._tasks, seconds=seconds, abort=abort)
        await self.close()
        return cut_off

    async def close(self) -> None:
        """Close the HTTP clients; idempotent."""
        hands, self._hands = self._hands, _Hands()
        for api in hands.apis:
            await api.close()
        if hands.sender is not None:
            await hands.sender.close()

    def _add_account(self, account: AccountSettings) -> None:
        place, settings = self._workplace, self.config.api
        api = ApiClient(settings, account.api_key, clock=place.clock, user_agent=USER_AGENT, rebuilt=place.metrics.client_rebuilt)
        self._hands.apis.append(api)
        gate = RateLimiter(RequestPacing(rate=settings.requests_per_second), place.clock)
        checker = Checker(
            account.name,
            api,
            gate,
            registry=place.registry,
            database=place.database,
            metrics=place.metrics,
            clock=place.clock,
            on_notification=lambda: self.wake("deliver"),
        )
        self._hands.checkers.append(checker)
        turns = 2 * settings.concurrency / settings.requests_per_second
        bound = settings.timeout.total_seconds() + turns + place.bounds.step
        for number in range(settings.concurrency):
            self._add("check", f"checker-{account.name}-{number + 1}", checker.step, bound=bound, idle=checker.idle_seconds)
        parts = Parts(place.registry, place.database, place.clock, self.refresh)
        discoverer = Discoverer(account, self.config, api, gate, parts)
        # A workspace may have hundreds of users, each with a list of its own, at the account's pace.
        self._add("discover", f"discoverer-{account.name}", discoverer.step, bound=_JANITOR_BOUND_SECONDS)

    def _add_deliverers(self) -> None:
        place = self._workplace
        sender = self._hands.sender = Sender(clock=place.clock, user_agent=USER_AGENT)
        names = [receiver.name for receiver in self.config.receivers]
        for receiver in self.config.receivers:
            deliverer = Deliverer(
                place.database,
                sender,
                receiver,
                others=names,
                policy=self.plan.policy,
                identity=self.plan.identity,
                clock=place.clock,
                random=place.random,
                observe=place.metrics.delivery_attempted,
                gone=place.metrics.receiver_disabled,
            )
            bound = receiver.timeout.total_seconds() + place.bounds.step
            self._add("deliver", f"deliverer-{receiver.name}", deliverer.step, bound=bound)
        self._add_heartbeat(sender)

    def _add_housekeeping(self) -> None:
        place = self._workplace
        reviewer = Evaluator(registry=place.registry, database=place.database, clock=place.clock)
        self._add("review", "reviewer", reviewer.step, bound=_REVIEW_BOUND_SECONDS)
        operators = ControlsSync(registry=place.registry, database=place.database, clock=place.clock)
        self._add("review", "operators", operators.step, bound=_REVIEW_BOUND_SECONDS)
        sender = self._hands.sender = self._hands.sender or Sender(clock=place.clock, user_agent=USER_AGENT)
        watch = StorageAlerter(
            registry=place.registry,
            database=place.database,
            sender=sender,
            receivers=self.config.receivers,
            clock=place.clock,
            news=place.storage_news,
        )
        bound = sum(receiver.timeout.total_seconds() for receiver in self.config.receivers) + place.bounds.step
        self._add("review", "storagewatch", watch.step, bound=bound)
        bookkeeper = UptimeRollup(registry=place.registry, database=place.database, clock=place.clock, longest=self.config.retention.daily)
        bound, rest = _BOOKKEEPER_BOUND_SECONDS, _BOOKKEEPER_REST_SECONDS
        self._add("bookkeep", "bookkeeper", bookkeeper.step, bound=bound, rest=rest, idle=bookkeeper.idle)
        janitor = RetentionWorker(place.database, place.clock, self.config.retention)
        self._add("tidy", "janitor", janitor.step, bound=_JANITOR_BOUND_SECONDS, rest=_JANITOR_REST_SECONDS)

    def _add_heartbeat(self, sender: Sender) -> None:
        place, settings = self._workplace, self.config.heartbeat
        if settings.url is None:
            return
        heartbeat = Heartbeat(
            settings,
            settings.url,
            registry=place.registry,
            database=place.database,
            sender=sender,
            clock=place.clock,
            observe=place.metrics.heart_beat,
        )
        bound = settings.timeout.total_seconds() + place.bounds.step
        self._add("heartbeat", "heartbeat", heartbeat.step, bound=bound, rest=settings.every.total_seconds())

    def _add(
        self, kind: str, name: str, step: Step, *, bound: float, rest: float | None = None, idle: Callable[[], float] | None = None
    ) -> None:
        # The scheduler's beats wake the loops; their own rests only matter when a beat is missed.
        rest = self._workplace.bounds.rest if rest is None else rest
        loop = Loop(name, step, rest_seconds=rest, clock=self._workplace.clock, stop=self._stop, idle=idle)
        self._loops.setdefault(kind, []).append(loop)
        self.watched.append(WatchedLoop(loop, bound + rest))
