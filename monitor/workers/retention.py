"""Deletes rows past their retention, in small batches; never pending deliveries or rows of an open incident."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from monitor.clock import Clock
from monitor.config import RetentionSettings
from monitor.db import Database, DeliveryState, Reader, Store, database_size, partitions, uptime, with_old_checks
from monitor.domain.partitions import Partition, deletable_until, division, droppable, whole_days
from monitor.errors import StoreError, StoreUnavailable
from monitor.logs import get_logger

_BATCH = 1_000
_CONNECTIONS = 100
_DAY = timedelta(days=1)
_EVER = datetime.fromtimestamp(0, UTC)
# What the uptime rollup may still read.
_ROLLUP_REACH = 3 * _DAY
# After so long without a check, or a clock jump as large, nothing is deleted for a day: the clock may be wrong.
_CLOCK_JUMP = 7 * _DAY

log = get_logger(__name__)


class RetentionWorker:
    """One step deletes at most about a thousand rows, so that a check waits milliseconds for the write lock."""

    def __init__(self, database: Database, clock: Clock, settings: RetentionSettings) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings
        self._deleted = 0
        self._implausible_since: float | None = None
        self._too_large_before: datetime | None = None
        self._refused: StoreError | None = None
        self._examined_at = clock.monotonic() if database.examined else float("-inf")

    async def step(self) -> bool:
        """
        Delete one batch of the first kind that has any; returns whether there is more to do.

        1. checks, of PostgreSQL whole days; 2. texts that none of them has; 3. sums of hours and days; 4. incidents; 5. deliveries
        with their attempts; 6. notifications; 7. silences and acknowledgements; 8. then free pages are returned to the file system and
        the write-ahead log is emptied; 9. if the database is still too large, the oldest checks. Once a day all of it is verified.

        Raises:
            StoreCorrupt: it is damaged.
        """
        if not self._database.storage_up:
            return False
        try:
            await self._examine()
            if not await self._clock_is_plausible():
                return False
            busy = await self._delete() or await self._shrink()
            if not busy:
                self._refused = None
        except StoreUnavailable as error:
            log.debug("retention.postponed", error=str(error))
            return False
        return busy

    async def _examine(self) -> None:
        now = self._clock.monotonic()
        if now - self._examined_at >= _DAY.total_seconds():
            self._examined_at = now
            await self._database.examine()

    async def _clock_is_plausible(self) -> bool:
        """Whether the time fits the last checks, or has not fitted them for a day."""
        now = self._clock.now()
        before = await self._database.read(lambda reader: uptime.last_day_before(reader, now))
        if before is None or now - before <= _CLOCK_JUMP + _DAY:
            self._implausible_since = None
            return True
        if self._implausible_since is None:
            self._implausible_since = self._clock.monotonic()
            log.warning("retention.paused", now=now.isoformat(), last_checks=before.isoformat(), advice="Is the clock right?")
        return self._clock.monotonic() - self._implausible_since >= _DAY.total_seconds()

    async def _delete(self) -> bool:
        now = self._clock.now()
        added_up = await self._database.read(uptime.uptime_until)
        before = now - self._settings.checks
        if self._too_large_before is not None:
            before = max(before, self._too_large_before)
        # Nothing that is not added up.
        before = _EVER if added_up is None else min(before, added_up - _ROLLUP_REACH)
        parts = await self._replace_days(now, before)
        deleted = 0
        # Days that can't be dropped yet, because a backup reads them for instance, are dropped the next time.
        if not isinstance(self._refused, StoreUnavailable):
            deleted = await self._delete_checks(deletable_until(parts, before))
        for deletion in _deletions(now, added_up or now, self._settings) if not deleted else ():
            deleted = await self._database.write(deletion)
            if deleted:
                break
        self._deleted += deleted
        return deleted > 0

    async def _replace_days(self, now: datetime, before: datetime) -> Sequence[Partition]:
        """The partitions, once days to come have one and days before *before* have none. What was refused is tried again the next time."""
        parts = await self._database.read(partitions.partitions)
        if not parts or self._refused is not None:
            return parts
        old = droppable(parts, before)
        if division(parts, now) is not None:
            self._refused = await self._database.write(lambda store: partitions.divide(store, now))
        if old and self._refused is None:
            self._refused = await self._database.write(lambda store: partitions.drop(store, before))
        if self._refused is not None:
            log.warning("partitions.refused", error=str(self._refused))
        elif old:
            log.info("partitions.dropped", tables=[one.table for one in old])
        return await self._database.read(partitions.partitions)

    async def _delete_checks(self, before: datetime) -> int:
        # Selected by a reader: only the deletion holds the write lock.
        ids = await self._database.read(lambda reader: with_old_checks(reader, before, _CONNECTIONS))
        if not ids:
            return 0
        return await self._database.write(lambda store: store.retention.delete_checks(ids, before, _BATCH // len(ids)))

    async def _shrink(self) -> bool:
        if await self._database.tidy():
            return True
        if await self._is_too_large():
            return True
        if self._deleted:
            log.info("retention.completed", rows=self._deleted)
            self._deleted = 0
        return False

    async def _is_too_large(self) -> bool:
        """Whether more checks must be deleted because of the database's size; chooses the moment before which they are."""
        limit, self._too_large_before = self._settings.max_size, None
        if limit is None or isinstance(self._refused, StoreUnavailable):
            return False
        size, oldest, added_up, parts = await self._database.read(_extent)
        if size <= limit or oldest is None or added_up is None:
            return False
        # Assumes that all rows are checks, evenly spread: rather deletes too few, and then measures again.
        share = (size - limit) / size
        latest = added_up - _ROLLUP_REACH
        before = whole_days(parts, min(oldest + max(share * (added_up - oldest), timedelta(hours=1)), latest), latest)
        if before <= oldest:
            log.warning("database.size_exceeded", size=size, max_size=limit, advice="All old checks are gone: raise retention.max_size.")
            return False
        self._too_large_before = before
        return True


def _extent(reader: Reader) -> tuple[int, datetime | None, datetime | None, Sequence[Partition]]:
    return database_size(reader), uptime.first_check(reader), uptime.uptime_until(reader), partitions.partitions(reader)


def _deletions(now: datetime, added_up: datetime, settings: RetentionSettings) -> list[Callable[[Store], int]]:
    delivered, dead = now - settings.deliveries, now - settings.dead_deliveries
    return [
        lambda store: store.retention.delete_messages(now - settings.checks, _BATCH),
        lambda store: store.retention.delete_hours(min(now - settings.hourly, added_up - _ROLLUP_REACH), _BATCH),
        lambda store: store.retention.delete_days(now - settings.daily, _BATCH),
        lambda store: store.retention.delete_incidents(now - settings.incidents, _BATCH),
        lambda store: store.retention.delete_deliveries(DeliveryState.DELIVERED, delivered, _BATCH),
        lambda store: store.retention.delete_deliveries(DeliveryState.DEAD, dead, _BATCH),
        lambda store: store.retention.delete_deliveries(DeliveryState.CANCELLED, dead, _BATCH),
        lambda store: store.retention.delete_notifications(delivered, _BATCH),
        lambda store: store.retention.delete_controls(now - settings.incidents),
    ]
