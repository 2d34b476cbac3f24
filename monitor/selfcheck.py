"""
The self-check: does this process still do its work, and does the clock still tell the time?

It feeds systemd's watchdog, but only while every loop makes progress; it notices when the wall clock jumps or the
machine slept; and it keeps the picture of what receivers are still owed fresh.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from monitor.clock import Clock
from monitor.db import Database, Reader
from monitor.domain.snapshot import OutboxView
from monitor.fleet import Fleet
from monitor.lifecycle import Loop, ServiceManager
from monitor.metrics import Metrics

_log = structlog.get_logger(__name__)
_JUMP = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Watched:
    """One loop and how long a single step of it may take, in seconds, before it counts as stuck."""

    loop: Loop
    bound_seconds: float


class SelfCheck:
    """Looks at the loops, the clocks, the database and the outbox once per step."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        database: Database,
        metrics: Metrics,
        clock: Clock,
        manager: ServiceManager,
        loops: Callable[[], Sequence[Watched]],
        clock_jumped: Callable[[], None],
    ) -> None:
        self._fleet = fleet
        self._database = database
        self._metrics = metrics
        self._clock = clock
        self._manager = manager
        self._loops = loops
        self._clock_jumped = clock_jumped
        self._offset = self._wall_minus_monotonic()
        self._slept = self._boot_minus_monotonic()
        self._storage_failing = False

    async def step(self) -> bool:
        """Look at everything once; never more to do."""
        self._watch_clocks()
        self._watch_storage()
        if self._database.storage_up:
            self._fleet.put_outbox(await self._database.read(_outbox))
        self._report()
        return False

    def stuck(self) -> list[str]:
        """The names of the loops that took longer over a step than they may."""
        now = self._clock.monotonic()
        return [watched.loop.name for watched in self._loops() if now - watched.loop.last_step > watched.bound_seconds]

    def status(self) -> str:
        """One line for `systemctl status`."""
        connections = len(self._fleet.ids())
        pending = sum(view.pending for view in self._fleet.outbox.values())
        return f"{connections} connections, {self._fleet.open_incidents()} open incidents, {pending} deliveries pending"

    def _report(self) -> None:
        now = self._clock.now()
        monotonic = self._clock.monotonic()
        for watched in self._loops():
            stepped = now - timedelta(seconds=monotonic - watched.loop.last_step)
            self._metrics.loop_stepped(watched.loop.name, stepped)
        stuck = self.stuck()
        if stuck:
            _log.error("loop.stuck", loops=stuck)
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
            _log.warning("machine.slept", seconds=round(asleep, 1))
        if max(abs(jump), asleep) > _JUMP.total_seconds():
            self._clock_jumped()

    def _watch_storage(self) -> None:
        failing = not self._database.storage_up
        self._fleet.storage_up = not failing
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


def _outbox(reader: Reader) -> dict[str, OutboxView]:
    return reader.outbox()
