"""What is in memory besides the snapshot: scopes for explanations, and the forecast, made once a minute for all who ask."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from monitor.clock import Clock
from monitor.domain.engine import Engine
from monitor.domain.projections.forecast import AHEAD, Forecast, forecast
from monitor.domain.views.snapshot import ConnectionView, Snapshot
from monitor.text.report import ConnectionReport
from monitor.web.status.snapshot_cache import SnapshotCache
from monitor.web.time_slice import TimeSlice

_KEPT_SECONDS = 60.0


class Present:
    """
    What the engine knows.

    Args:
        engine: gives the engine; None without one, as in a stand-by: then no scope explains anything and nothing is forecast.
    """

    def __init__(
        self,
        snapshots: SnapshotCache,
        engine: Callable[[], Engine | None],
        instance: Callable[[], str],
        clock: Clock,
        dashboard: Callable[[], str],
    ) -> None:
        self._snapshots = snapshots
        self._engine = engine
        self._instance = instance
        self._clock = clock
        self._dashboard = dashboard
        self._forecasting = asyncio.Lock()
        self._forecast: tuple[float, Forecast] | None = None

    def report(self, view: ConnectionView, snapshot: Snapshot, *, retired: bool) -> ConnectionReport:
        """What an explanation of a connection is made of, without its notifications, which are rows."""
        engine = self._engine()
        above = engine.scopes_explaining(view.connection, view.state) if engine is not None and not retired else ()
        return ConnectionReport(
            view.connection,
            view.state,
            above,
            controls=snapshot.controls,
            instance=self._instance(),
            storage=snapshot.storage_problem if not retired else None,
            outdated=view.outdated,
            retired=retired,
            dashboard_url=self._dashboard(),
        )

    async def forecast(self) -> Forecast:
        """What is notified within the next 14 days if nobody does anything; other tasks run while it is made."""
        async with self._forecasting:
            kept, now = self._forecast, self._clock.monotonic()
            if kept is None or now - kept[0] >= _KEPT_SECONDS:
                self._forecast = kept = (now, await self._make(self._clock.now()))
            return kept[1]

    async def _make(self, now: datetime) -> Forecast:
        engine, snapshot, made = self._engine(), self._snapshots.snapshot(), Forecast(now + AHEAD)
        if engine is not None:
            known, time_slice = [(view.connection, view.state) for view in snapshot.connections], TimeSlice(self._clock)
            for step in forecast(known, engine.config, snapshot.controls, now, engine.scopes().values()):
                made = step
                await time_slice.rest()
        return made
