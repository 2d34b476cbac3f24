"""Past read from the database."""

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from monitor.clock import Clock
from monitor.db import (
    AttemptRow,
    CheckRow,
    DeliveryRow,
    IncidentRow,
    LatencyRow,
    NotificationRow,
    Reader,
    acks_of_open,
    attempts_of,
    closed_incidents,
    connections_by_id,
    deliveries_of_notifications,
    latencies,
    list_checks,
    list_incidents,
    list_notifications,
    read_connections,
    read_state,
    silences_since,
)
from monitor.db import uptime as uptime_queries
from monitor.domain.connections import Connection
from monitor.domain.events import Topic
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.silences import Silence
from monitor.domain.snapshot import ConnectionView
from monitor.domain.uptime import DayUptime, Uptime
from monitor.errors import StoreError
from monitor.web.db_access import ReadLimiter
from monitor.web.pages.charts import Bar, Spark, bar_of, spark_of
from monitor.web.urls import Key

_log = structlog.get_logger(__name__)

CHECKS_SHOWN = 25
DAY_CHECKS_SHOWN = 200
INCIDENTS_SHOWN = 20
TELLINGS_SHOWN = 30
# What no platform id has, and what a database may refuse to look for.
_UNUSABLE = re.compile(r"[\x00\ud800-\udfff]")
_DAYS = timedelta(days=90)
_ROW_CHECKS = 40
_PAGE_CHECKS = 200
_FRESH_SECONDS = 30.0
_REMEMBERED = 2000
_ROWS_PATIENCE_SECONDS = 1.0
_PAUSE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class CheckTrend:
    """What a connection's row shows of the past: its last checks and its last days, oldest first."""

    latencies: tuple[LatencyRow, ...] = ()
    days: tuple[DayUptime, ...] = ()


@dataclass(frozen=True, slots=True)
class SparklineRow:
    """The same, ready to be shown."""

    bar: Bar | None
    spark: Spark | None


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """
    Which part of a connection's past is asked for.

    Attributes:
        checks_before: only checks that ended before it.
        checks_since: only checks that ended at it or later.
        incidents_before: only incidents with a smaller number than this one.
    """

    checks_before: datetime | None = None
    checks_since: datetime | None = None
    incidents_before: int | None = None


@dataclass(frozen=True, slots=True)
class ConnectionHistory:
    """
    The past of one connection, everything newest first but `trail`.

    Attributes:
        uptimes: of each window of `domain.uptime.WINDOWS` that ends now.
    """

    trail: CheckTrend
    uptimes: Mapping[str, Uptime]
    checks: tuple[CheckRow, ...]
    more_checks: bool
    incidents: tuple[IncidentRow, ...]
    more_incidents: bool
    notifications: tuple[NotificationRow, ...]
    deliveries: tuple[DeliveryRow, ...]
    attempts: Mapping[int, Sequence[AttemptRow]]


@dataclass(frozen=True, slots=True)
class SuppressedBy:
    """What keeps news back, as the database has it: acknowledgements of open incidents, and silences that are not over."""

    acks: Mapping[tuple[Topic, str, int], Ack]
    silences: Sequence[Silence]


@dataclass(frozen=True, slots=True)
class StoredIncidents:
    """
    Incidents that are over, newest first, and what holds back the news of those that are not.

    Attributes:
        about: number to connection of those that are over, also the connections that are no longer watched.
    """

    closed: tuple[IncidentRow, ...]
    more: bool
    held: SuppressedBy
    about: Mapping[int, Connection]


class Archive:
    """The past, a little at a time. Every method gives None, or nothing, while the database can't be read."""

    def __init__(self, records: ReadLimiter, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._drawings: dict[int, tuple[float, SparklineRow]] = {}
        self._asks_again_at = 0.0

    async def drawings(self, connection_ids: Collection[int]) -> Mapping[int, SparklineRow]:
        """
        Connection number to what its row shows of the past: half a minute old at most, or as old as what can be had.

        The list is too important to wait long for its ornaments, or to ask for them again and again in vain.
        """
        now, today = self._clock.monotonic(), self._clock.now()
        asked = [one for one in connection_ids if one not in self._drawings or now - self._drawings[one][0] > _FRESH_SECONDS]
        if asked and now >= self._asks_again_at:
            try:
                async with asyncio.timeout(_ROWS_PATIENCE_SECONDS):
                    found = await self._records.ask(lambda reader: _trails(reader, asked, _ROW_CHECKS, today - _DAYS))
            except (StoreError, TimeoutError) as error:
                _log.debug("web.read_failed", error=str(error))
                self._asks_again_at = now + _PAUSE_SECONDS
            else:
                if len(self._drawings) + len(found) > _REMEMBERED:
                    self._drawings.clear()
                self._drawings.update({one: (now, draw(trail, today)) for one, trail in found.items()})
        return {one: self._drawings[one][1] for one in connection_ids if one in self._drawings}

    async def gone(self, key: Key) -> ConnectionView | None:
        """The connection of this account, managed user and platform id that is no longer watched, as it was last known."""
        if _UNUSABLE.search("".join(key)):
            return None
        try:
            return await self._records.ask(lambda reader: _gone(reader, key))
        except StoreError as error:
            _log.debug("web.read_failed", error=str(error))
            return None

    async def connection(self, connection_id: int, wanted: HistoryQuery) -> ConnectionHistory | None:
        """The past of one connection."""
        now = self._clock.now()
        try:
            return await self._records.ask(lambda reader: _past(reader, connection_id, wanted, now))
        except StoreError as error:
            _log.debug("web.read_failed", error=str(error))
            return None

    async def incidents(self, before_id: int | None) -> StoredIncidents | None:
        """Incidents that are over, with numbers below *before_id*, and what is held back now."""
        now = self._clock.now()
        try:
            return await self._records.ask(lambda reader: _incidents(reader, before_id, now))
        except StoreError as error:
            _log.debug("web.read_failed", error=str(error))
            return None


def draw(trail: CheckTrend, now: datetime) -> SparklineRow:
    """What is shown of *trail* in a row."""
    return SparklineRow(bar_of(trail.days, now), spark_of(trail.latencies))


def _trails(reader: Reader, connection_ids: Collection[int], checks: int, days_since: datetime) -> dict[int, CheckTrend]:
    took = latencies(reader, connection_ids, checks)
    days = uptime_queries.daily_uptime(reader, connection_ids, days_since)
    return {one: CheckTrend(took[one], tuple(days[one])) for one in connection_ids}


def _past(reader: Reader, connection_id: int, wanted: HistoryQuery, now: datetime) -> ConnectionHistory:
    since = wanted.checks_since
    limit = CHECKS_SHOWN if since is None else DAY_CHECKS_SHOWN
    checks = [row for row in list_checks(reader, connection_id, limit + 1, wanted.checks_before) if since is None or row.at >= since]
    incidents = list_incidents(reader, connection_id=connection_id, limit=INCIDENTS_SHOWN + 1, before_id=wanted.incidents_before)
    notifications = list_notifications(reader, connection_id=connection_id, limit=TELLINGS_SHOWN)
    deliveries = deliveries_of_notifications(reader, [row.id for row in notifications])
    return ConnectionHistory(
        trail=_trails(reader, [connection_id], _PAGE_CHECKS, now - _DAYS)[connection_id],
        uptimes=uptime_queries.uptimes(reader, now, connection_id)[connection_id],
        checks=tuple(checks[:limit]),
        more_checks=len(checks) > limit,
        incidents=tuple(incidents[:INCIDENTS_SHOWN]),
        more_incidents=len(incidents) > INCIDENTS_SHOWN,
        notifications=tuple(notifications),
        deliveries=tuple(deliveries),
        attempts=attempts_of(reader, [row.id for row in deliveries]),
    )


def _gone(reader: Reader, key: Key) -> ConnectionView | None:
    for connection in read_connections(reader, key[2], retired=True):
        stored = read_state(reader, connection.id) if connection.key == key else None
        if stored is not None:
            return ConnectionView(connection, stored[1])
    return None


def _incidents(reader: Reader, before_id: int | None, now: datetime) -> StoredIncidents:
    rows = closed_incidents(reader, INCIDENTS_SHOWN + 1, before_id)
    held = SuppressedBy({(ack.topic, ack.subject, ack.number): ack for ack in acks_of_open(reader)}, silences_since(reader, now))
    shown = tuple(rows[:INCIDENTS_SHOWN])
    about = connections_by_id(reader, {row.connection_id for row in shown if row.connection_id is not None})
    return StoredIncidents(shown, len(rows) > INCIDENTS_SHOWN, held, {connection.id: connection for connection in about})
