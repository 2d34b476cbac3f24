"""
The reviewer: what changes by the passing of time alone.

Staleness, reminders, a token that slips below a threshold, the end of flapping, an API that was quiet long enough:
none of these needs a check, all of them need someone to look at the clock.
"""

from datetime import datetime
from functools import partial

import structlog

from monitor.clock import Clock
from monitor.db import Database, Store
from monitor.domain.scopes import rules
from monitor.domain.scopes.state import REMOVED, ScopeState, closed
from monitor.state.registry import Registry
from monitor.state.unit_of_work import unit_of_work

_log = structlog.get_logger(__name__)
_BATCH = 200


class Evaluator:
    """
    Looks at every connection whose state says that now is the time, and at every scope.

    Effects of one step: one transaction per batch of connections.
    """

    def __init__(self, *, fleet: Registry, database: Database, clock: Clock) -> None:
        self._fleet = fleet
        self._database = database
        self._clock = clock
        # At the start somebody may be owed a word since before the last stop.
        self._thaws: int | None = None
        self._wishes: int | None = None
        self._left: list[int] = []

    async def step(self) -> bool:
        """Review one batch; returns whether there is more to do now."""
        now = self._clock.now()
        if not self._left:
            await self._review_scopes(now)
            self._left = self._to_review(now)
        batch, self._left = self._left[:_BATCH], self._left[_BATCH:]
        if batch:
            await self._database.write(partial(self._review, batch, now))
        return bool(self._left)

    def _to_review(self, now: datetime) -> list[int]:
        thawed, self._thaws = self._thaws != self._fleet.scope_closures, self._fleet.scope_closures
        asked, self._wishes = self._wishes != self._fleet.controls_version, self._fleet.controls_version
        if asked:
            return self._fleet.needs_evaluation()
        return self._fleet.with_pending_notifications() if thawed else self._fleet.due_for_evaluation(now)

    def _review(self, batch: list[int], now: datetime, store: Store) -> None:
        staging = unit_of_work(self._fleet, store)
        for connection_id in batch:
            connection = self._fleet.connection(connection_id)
            if connection is not None:
                staging.reevaluate(connection, now)

    async def _review_scopes(self, now: datetime) -> None:
        names = [name for name in self._fleet.scope_names() if self._may_change(self._fleet.scope(name)[1])]
        if names:
            await self._database.write(partial(self._tick, names, now))

    @staticmethod
    def _may_change(state: ScopeState) -> bool:
        return state.open or state.suspect_at is not None or state.topic.level != state.topic.notified.level

    def _tick(self, names: list[str], now: datetime, store: Store) -> None:
        staging = unit_of_work(self._fleet, store)
        for name in names:
            staging.change_scope(name, partial(self._look, now), now)

    def _look(self, now: datetime, state: ScopeState) -> ScopeState:
        if self._fleet.is_orphaned(state):
            return closed(state, now, REMOVED)
        return rules.tick(
            state,
            now,
            self._fleet.config.policy.scopes,
            window=self._fleet.api_window(),
            members=self._fleet.member_count(state.name),
            failing=self._fleet.failing(state.name.partition(":")[2]),
        )
