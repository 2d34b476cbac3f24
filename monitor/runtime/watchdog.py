"""The watchdog: pings systemd while every loop makes progress, tells of clock jumps, refreshes the view of the outbox."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from monitor.clock import Clock, ClockChanges
from monitor.db import Database, Store, read_outbox
from monitor.domain.views.snapshot import StorageFailure
from monitor.errors import StoreUnavailable
from monitor.logs import get_logger
from monitor.metrics import Metrics
from monitor.runtime.loop import LoopProgress, WatchdogLimits
from monitor.runtime.systemd import ServiceManager
from monitor.state.registry import Registry

_log = get_logger(__name__)
_PROBE_EVERY_SECONDS = 5.0
_STORAGE_FAILED_AFTER = timedelta(seconds=3)


@dataclass(frozen=True, slots=True)
class WatchedLoop:
    """A loop that must make progress, and within how many seconds; one that *writes* may wait for a database that takes no writes."""

    loop: LoopProgress
    limit_seconds: float
    writes: bool = True


class WriterProbe:
    """Probes the database's writer with an empty transaction every few seconds."""

    def __init__(self, database: Database, clock: Clock, *, every_seconds: float) -> None:
        self.name = "writer"
        self.last_step = clock.monotonic()
        self._database = database
        self._clock = clock
        self._every_seconds = every_seconds
        self.submitted_at = float("-inf")
        self._future: asyncio.Future[None] | None = None

    def probe(self) -> None:
        """Take in the last probe's result, and submit the next one when it is time."""
        now = self._clock.monotonic()
        if self._future is not None and self._future.done():
            if self._future.exception() is None:
                self.last_step = now
            self._future = None
        if self._future is None and now - self.submitted_at >= self._every_seconds:
            self.submitted_at = now
            self._future = self._database.submit(_nothing)


class Watchdog:
    """Checks the loops, the clocks, the database and the outbox once per step."""

    def __init__(
        self,
        *,
        registry: Registry,
        database: Database,
        metrics: Metrics,
        clock: Clock,
        manager: ServiceManager,
        loops: Callable[[], Sequence[WatchedLoop]],
        on_clock_jump: Callable[[], None],
        limits: WatchdogLimits,
        outbox_needed: Callable[[], bool] = lambda: True,
    ) -> None:
        self._registry = registry
        self._outbox_needed = outbox_needed
        self._database = database
        self._metrics = metrics
        self._clock = clock
        self._manager = manager
        self._loops = loops
        self._on_clock_jump = on_clock_jump
        self._limits = limits
        self._probe = WriterProbe(database, clock, every_seconds=min(_PROBE_EVERY_SECONDS, limits.writer / 3))
        self._writer = WatchedLoop(self._probe, limits.writer)
        self._storage_failed_at = clock.monotonic()
        self._changes = ClockChanges(clock)
        self._storage_failing = False
        self._outbox_read: tuple[int, float] | None = None
        self._description, self._described_at = "", float("-inf")

    async def step(self) -> bool:
        """Check everything once; returns False: there is never more to do at once."""
        self._watch_clocks()
        self._watch_storage()
        self._probe.probe()
        # Before the database is read: a read may take long, and says nothing of the loops.
        self._report()
        # Where nothing was written that could change it, only as often as the writer is probed: others may have changed it.
        outbox = (self._database.outbox_changes, self._probe.submitted_at)
        if not self._outbox_needed():
            self._registry.set_outbox({})
            self._outbox_read = None
        elif self._database.storage_up and outbox != self._outbox_read:
            try:
                async with asyncio.timeout(self._limits.rest):
                    self._registry.set_outbox(await self._database.read(read_outbox))
                self._outbox_read = outbox
            except (StoreUnavailable, TimeoutError) as error:
                _log.debug("outbox.unavailable", problem=str(error))
        return False

    def stuck(self) -> list[str]:
        """The names of the loops without progress for longer than their limit."""
        now = self._clock.monotonic()
        return [watched.loop.name for watched in self._watched() if now - self._progress_at(watched) > watched.limit_seconds]

    def status(self) -> str:
        """One line for `systemctl status`."""
        connections = len(self._registry.ids())
        pending = sum(view.pending for view in self._registry.outbox.values())
        return f"{connections} connections, {self._registry.open_incidents()} open incidents, {pending} deliveries pending"

    def _watched(self) -> Sequence[WatchedLoop]:
        return [*self._loops(), self._writer]

    def _progress_at(self, watched: WatchedLoop) -> float:
        return max(watched.loop.last_step, self._storage_failed_at) if watched.writes else watched.loop.last_step

    def _report(self) -> None:
        now = self._clock.now()
        monotonic = self._clock.monotonic()
        loops = [watched.loop for watched in self._watched()]
        self._metrics.loops_stepped({loop.name: now - timedelta(seconds=monotonic - loop.last_step) for loop in loops})
        stuck = self.stuck()
        if stuck:
            _log.error("loop.stuck", loops=stuck)
            self._manager.unwell(f"Stuck: {', '.join(stuck)}")
            return
        if self._described_at != self._probe.submitted_at:
            # Not at every ping: it brings the views of all connections in line.
            self._described_at, self._description = self._probe.submitted_at, self.status()
        self._manager.alive(self._description)

    def _watch_clocks(self) -> None:
        jump, suspend_seconds = self._changes.since_last()
        if jump:
            _log.warning("clock.jumped", seconds=round(jump, 1))
            self._metrics.clock_jumped()
        if suspend_seconds:
            _log.warning("clock.suspended", seconds=round(suspend_seconds, 1))
        if jump or suspend_seconds:
            self._registry.notice_clock_jump()
            self._on_clock_jump()

    def _watch_storage(self) -> None:
        failing = not self._database.storage_up
        if failing:
            self._storage_failed_at = self._clock.monotonic()
        self._registry.storage_up = not failing
        since = self._database.failing_since or self._clock.now()
        self._registry.storage_failure = StorageFailure(since, self._database.failure) if failing else None
        # Not for the moment until a node that was replaced learns of it, and ends.
        if failing == self._storage_failing or (failing and self._clock.now() - since < _STORAGE_FAILED_AFTER):
            return
        self._storage_failing = failing
        if failing:
            _log.error("storage.failed", advice="Results are kept in memory; see the database's own log and the free space.")
        else:
            _log.info("storage.recovered")


def _nothing(_store: Store) -> None:
    """Write nothing: that it ran is the result."""
