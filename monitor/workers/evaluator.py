"""Re-evaluates by the clock what changes by the passing of time alone, such as staleness and reminders."""

from functools import partial

from monitor.clock import Clock
from monitor.db import Database
from monitor.state.registry import Registry
from monitor.state.unit_of_work import evaluate_due


class Evaluator:
    """Evaluates every scope and connection whose time has come; its steps are the beat of the process."""

    def __init__(self, *, registry: Registry, database: Database, clock: Clock) -> None:
        self._registry = registry
        self._database = database
        self._clock = clock

    async def step(self) -> bool:
        """Evaluate one batch; returns whether there is more to do now."""
        self._registry.beat()
        now = self._clock.now()
        if not self._is_due():
            return False
        await self._database.write(partial(evaluate_due, self._registry, now))
        return self._is_due()

    def _is_due(self) -> bool:
        moment = self._registry.next_evaluation_at()
        return moment is not None and moment <= self._clock.now()
