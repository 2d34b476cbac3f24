"""
The self-check: does this process still do its work, and does the clock still tell the time?

It feeds systemd's watchdog, but only while every loop makes progress; it notices when the wall clock jumps or the
machine slept; and it keeps the picture of what receivers are still owed fresh.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from monitor.clock import Clock
from monitor.db import Database, Reader, Store, read_outbox
from monitor.domain.snapshot import OutboxView
from monitor.errors import StoreUnavailable
from monitor.metrics import Metrics
from monitor.runtime.loop import LoopProgress, WatchdogLimits
from monitor.runtime.systemd import ServiceManager
from monitor.state.registry import Registry

_log = structlog.get_logger(__name__)
_JUMP = timedelta(seconds=5)
_PING_EVERY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class WatchedLoop:
    """
    Something that must go on, and for how many seconds it may stand still before it counts as stuck.

    While the database is out of order, what writes may wait for it: that is no reason to be ended by the watchdog.
    """

    loop: LoopProgress
    bound_seconds: float
    writes: bool = True


class WriterProbe:
    """Asks the database's writer for a sign of life every few seconds: a transaction with nothing in it."""

    def __init__(self, database: Database, clock: Clock, *, every_seconds: float) -> None:
        self.name = "writer"
        self.last_step = clock.monotonic()
        self._database = database
        self._clock = clock
        self._every_seconds = every_seconds
        self._asked_at = float("-inf")
        self._answer: asyncio.Future[None] | None = None

    def look(self) -> None:
        """Note the answer, if there is one, and ask again when it is time."""
        now = self._clock.monotonic()
        if self._answer is not None and self._answer.done():
            if self._answer.exception() is None:
                self.last_step = now
            self._answer = None
        if self._answer is None and now - self._asked_at >= self._every_seconds:
            self._asked_at = now
            self._answer = self._database.submit(_nothing)


class Watchdog:
    """Looks at the loops, the clocks, the database and the outbox once per step."""

    def __init__(
        self,
        *,
        registry: Registry,
        database: Database,
        metrics: Metrics,
        clock: Clock,
        manager: ServiceManager,
        loops: Callable[[], Sequence[WatchedLoop]],
        clock_jumped: Callable[[], None],
        bounds: WatchdogLimits,
    ) -> None:
        self._registry = registry
        self._database = database
        self._metrics = metrics
        self._clock = clock
        self._manager = manager
        self._loops = loops
        self._clock_jumped = clock_jumped
        self._bounds = bounds
        self._pulse = WriterProbe(database, clock, every_seconds=min(_PING_EVERY_SECONDS, bounds.writer / 3))
        self._writer = WatchedLoop(self._pulse, bounds.writer)
        self._excused_at = clock.monotonic()
        self._offset = self._wall_minus_monotonic()
        self._slept = self._boot_minus_monotonic()
        self._storage_failing = False

    async def step(self) -> bool:
        """Look at everything once; never more to do."""
        self._watch_clocks()
        self._watch_storage()
        self._pulse.look()
        # Told before the database is read: a read may take long, and says nothing of the loops.
        self._report()
        if self._database.storage_up:
            try:
                async with asyncio.timeout(self._bounds.rest):
                    self._registry.set_outbox(await self._database.read(_outbox))
            except (StoreUnavailable, TimeoutError) as error:
                _log.debug("outbox.unavailable", problem=str(error))
        return False

    def stuck(self) -> list[str]:
        """The names of what stands still for longer than it may."""
        now = self._clock.monotonic()
        return [watched.loop.name for watched in self._watched() if now - self._going_at(watched) > watched.bound_seconds]

    def status(self) -> str:
        """One line for `systemctl status`."""
        connections = len(self._registry.ids())
        pending = sum(view.pending for view in self._registry.outbox.values())
        return f"{connections} connections, {self._registry.open_incidents()} open incidents, {pending} deliveries pending"

    def _watched(self) -> Sequence[WatchedLoop]:
        return [*self._loops(), self._writer]

    def _going_at(self, watched: WatchedLoop) -> float:
        return max(watched.loop.last_step, self._excused_at) if watched.writes else watched.loop.last_step

    def _report(self) -> None:
        now = self._clock.now()
        monotonic = self._clock.monotonic()
        for watched in self._watched():
            stepped = now - timedelta(seconds=monotonic - watched.loop.last_step)
            self._metrics.loop_stepped(watched.loop.name, stepped)
        stuck = self.stuck()
        if stuck:
            _log.error("loop.stuck", loops=stuck)
            self._manager.unwell(f"Stuck: {', '.join(stuck)}")
            return
        self._manager.alive(self.status())

    def _watch_clocks(self) -> None:
        offset, slept = self._wall_minus_monotonic(), self._boot_minus_monotonic()
        asleep = slept - self._slept
        jump = offset - self._offset - asleep
        self._offset, self._slept = offset, slept
        if abs(jump) > _JUMP.total_seconds():
            _log.warning("clock.jumped", seconds=round(jump, 1))
            self._metrics.clock_jumped()
        if asleep > _JUMP.total_seconds():
            _log.warning("clock.suspended", seconds=round(asleep, 1))
        if max(abs(jump), asleep) > _JUMP.total_seconds():
            self._clock_jumped()

    def _watch_storage(self) -> None:
        failing = not self._database.storage_up
        if failing:
            self._excused_at = self._clock.monotonic()
        self._registry.storage_up = not failing
        if failing == self._storage_failing:
            return
        self._storage_failing = failing
        if failing:
            _log.error("storage.failed", advice="Checks go on and are kept in memory; see the database's own log and the free space.")
        else:
            _log.info("storage.recovered")

    def _wall_minus_monotonic(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()

    def _boot_minus_monotonic(self) -> float:
        return self._clock.boottime() - self._clock.monotonic()


def _nothing(_store: Store) -> None:
    """Writes nothing: that it was run is the answer."""


def _outbox(reader: Reader) -> dict[str, OutboxView]:
    return read_outbox(reader)
