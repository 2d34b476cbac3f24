"""Deletes what is too old, a little at a time: what is still owed, and what belongs to an open incident, never."""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from monitor.clock import Clock
from monitor.config import RetentionSettings
from monitor.db import Database, DeliveryState, Store, forget, with_old_checks
from monitor.errors import StoreUnavailable

_BATCH = 1_000
_CONNECTIONS = 100
# What the bookkeeper may still look at.
_NEEDED = timedelta(days=3)

log = structlog.get_logger(__name__)


class Janitor:
    """One step deletes at most about a thousand rows, so that a check waits milliseconds for the write lock."""

    def __init__(self, database: Database, clock: Clock, settings: RetentionSettings) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings
        self._deleted = 0

    async def step(self) -> bool:
        """
        Delete one batch of the first kind that has any; returns whether there is more to do.

        1. checks; 2. texts that none of them has; 3. sums of hours and days; 4. incidents; 5. deliveries with their attempts;
        6. notifications; 7. silences and acknowledgements; 8. once all that is done, free pages go back to the file system and the
        write-ahead log is emptied.
        """
        if not self._database.storage_up:
            return False
        try:
            deleted = await self._delete()
            if deleted:
                self._deleted += deleted
                return True
            return await self._shrink()
        except StoreUnavailable as error:
            log.debug("retention.postponed", error=str(error))
            return False

    async def _delete(self) -> int:
        now = self._clock.now()
        added_up = await self._database.read(lambda reader: reader.uptime_until())
        if added_up is not None and (deleted := await self._delete_checks(min(now - self._settings.checks, added_up - _NEEDED))):
            return deleted
        for work in _works(now, added_up or now, self._settings):
            if deleted := await self._database.write(work):
                return deleted
        return 0

    async def _delete_checks(self, before: datetime) -> int:
        # Found by a reader: only the deleting itself holds the write lock.
        ids = await self._database.read(lambda reader: with_old_checks(reader, before, _CONNECTIONS))
        if not ids:
            return 0
        return await self._database.write(lambda store: store.delete_checks(ids, before, _BATCH // len(ids)))

    async def _shrink(self) -> bool:
        if await self._database.tidy():
            return True
        if self._deleted:
            log.info("retention.done", rows=self._deleted)
            self._deleted = 0
        return False


def _works(now: datetime, added_up: datetime, settings: RetentionSettings) -> list[Callable[[Store], int]]:
    delivered, dead = now - settings.deliveries, now - settings.dead_deliveries
    return [
        lambda store: store.delete_messages(now - settings.checks, _BATCH),
        lambda store: store.delete_hours(min(now - settings.hourly, added_up - _NEEDED), _BATCH),
        lambda store: store.delete_days(now - settings.daily, _BATCH),
        lambda store: store.delete_incidents(now - settings.incidents, _BATCH),
        lambda store: store.delete_deliveries(DeliveryState.DELIVERED, delivered, _BATCH),
        lambda store: store.delete_deliveries(DeliveryState.DEAD, dead, _BATCH),
        lambda store: store.delete_deliveries(DeliveryState.CANCELLED, dead, _BATCH),
        lambda store: store.delete_notifications(delivered, _BATCH),
        lambda store: forget(store, now - settings.incidents),
    ]
