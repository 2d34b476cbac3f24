"""Past of connections and incidents, read from the database."""

import asyncio
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from monitor.clock import Clock
from monitor.db import (
    AttemptRow,
    CheckRow,
    DeliveryRow,
    IncidentRow,
    LatencyRow,
    NotificationRow,
    Reader,
    accepted_losses,
    acks_of_open,
    acks_since,
    attempts_of,
    closed_incidents,
    connections_by_id,
    deliveries_of_notifications,
    latencies,
    list_checks,
    list_incidents,
    list_notifications,
    notified_keys,
    read_connections,
    read_last_known,
    response_times,
    silences_since,
)
from monitor.db import uptime as uptime_queries
from monitor.domain.connections import Connection
from monitor.domain.events import IncidentRef, Topic
from monitor.domain.policy import Policy
from monitor.domain.routing.rules import UserLabels
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.scopes.state import ScopeState
from monitor.domain.silencing.acceptance import Acceptance
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.silences import Silence
from monitor.domain.uptime import DayUptime, OpenOutage, Uptime
from monitor.domain.views.snapshot import ConnectionView, Snapshot
from monitor.errors import StoreError
from monitor.logs import get_logger
from monitor.schemas.explanation import scope_deliveries
from monitor.web.db_access import ReadLimiter
from monitor.web.pages.charts import Bar, Spark, bar_of, spark_of
from monitor.web.pages.past import history_begins_at, snapshot_at
from monitor.web.pages.response import MOST_CHECKS, ResponseWindow
from monitor.web.urls import Key

_log = get_logger(__name__)

T = TypeVar("T")

CHECKS_SHOWN = 25
DAY_CHECKS_SHOWN = 200
INCIDENTS_SHOWN = 20
NOTIFICATIONS_SHOWN = 30
# Not in any platform id, and a database may refuse to search for them.
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
    """The last checks and the last days of a connection, oldest first, and up to when the days have been added up."""

    latencies: tuple[LatencyRow, ...] = ()
    days: tuple[DayUptime, ...] = ()
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class SparklineRow:
    """The charts of a connection's row."""

    bar: Bar | None
    spark: Spark | None


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """
    The part of a connection's past to show.

    Attributes:
        checks_before: only checks that ended before it.
        incidents_before: only incidents with a smaller id.
        response: the window of the response times, other than the last checks.
    """

    checks_before: datetime | None = None
    checks_since: datetime | None = None
    incidents_before: int | None = None
    response: ResponseWindow | None = None


@dataclass(frozen=True, slots=True)
class ConnectionHistory:
    """
    The past of one connection, all newest first but `trend`.

    Attributes:
        uptimes: of each window of `domain.uptime.WINDOWS` that ends now.
        acks, silences: of the last 90 days; silences of any connection.
        accepted: the last accepted loss of permissions.
        response: the checks of the window of response times, oldest first.
    """

    trend: CheckTrend
    uptimes: Mapping[str, Uptime]
    checks: tuple[CheckRow, ...]
    more_checks: bool
    incidents: tuple[IncidentRow, ...]
    more_incidents: bool
    notifications: tuple[NotificationRow, ...]
    deliveries: tuple[DeliveryRow, ...]
    attempts: Mapping[int, Sequence[AttemptRow]]
    acks: tuple[Ack, ...] = ()
    silences: tuple[Silence, ...] = ()
    accepted: tuple[Acceptance, ...] = ()
    response: tuple[LatencyRow, ...] = ()


@dataclass(frozen=True, slots=True)
class SuppressedBy:
    """What suppresses notifications: acknowledgements of open incidents, and silences that have not ended. Users give labels to match."""

    acks: Mapping[tuple[Topic, str, int], Ack]
    silences: Sequence[Silence]
    user_labels: UserLabels = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredIncidents:
    """
    Closed incidents, newest first, their *connections* by number, retired ones too, and what suppresses notifications of open ones.

    Attributes:
        keys: under which the open ones that are shown were notified.
    """

    closed: tuple[IncidentRow, ...]
    more: bool
    suppressed_by: SuppressedBy
    connections: Mapping[int, Connection]
    keys: Mapping[IncidentRef, str] = field(default_factory=dict)


class Archive:
    """The past. Every method returns None, or nothing, while the database can't be read."""

    def __init__(self, reads: ReadLimiter, clock: Clock) -> None:
        self._reads = reads
        self._clock = clock
        self._rows: dict[int, tuple[float, bool, SparklineRow]] = {}
        self._retry_at = 0.0

    async def sparklines(self, outages: Mapping[int, Callable[[datetime | None], OpenOutage | None]]) -> Mapping[int, SparklineRow]:
        """Connection number to the charts of its row, half a minute old at most; *outages*: number to what gives its open outage."""
        now, today = self._clock.monotonic(), self._clock.now()
        down = {number: outage_of(None) is not None for number, outage_of in outages.items()}
        stale = [number for number in outages if not self._is_fresh(number, now, down=down[number])]
        if stale and now >= self._retry_at:
            try:
                async with asyncio.timeout(_ROWS_PATIENCE_SECONDS):
                    trends = await self._reads.run(lambda reader: _trends(reader, stale, _ROW_CHECKS, today - _DAYS))
            except (StoreError, TimeoutError) as error:
                _log.debug("web.read_failed", error=str(error))
                self._retry_at = now + _PAUSE_SECONDS
            else:
                if len(self._rows) + len(trends) > _REMEMBERED:
                    self._rows.clear()
                self._rows.update(
                    {
                        number: (now, down[number], sparkline_row(trend, today, outages[number](trend.until)))
                        for number, trend in trends.items()
                    }
                )
        return {number: self._rows[number][2] for number in outages if number in self._rows}

    def _is_fresh(self, number: int, now: float, *, down: bool) -> bool:
        row = self._rows.get(number)
        return row is not None and now - row[0] <= _FRESH_SECONDS and row[1] is down

    async def retired(self, key: Key) -> ConnectionView | None:
        """The retired connection of this account, managed user and platform id, as it was last known."""
        if _UNUSABLE.search("".join(key)):
            return None
        return await self._read(lambda reader: _retired(reader, key))

    async def scope_deliveries(self, above: Sequence[ScopeState]) -> Mapping[ScopeKey, str]:
        """What became of the notifications of open scopes."""
        return await self._read(lambda reader: scope_deliveries(reader, above)) or {}

    async def snapshot(self, at: datetime, policy: Policy, present: Snapshot) -> tuple[Snapshot, datetime | None] | None:
        """What was known at a moment, with the names of the *present*, and since when there is history."""
        return await self._read(lambda reader: (snapshot_at(reader, at, policy, present), history_begins_at(reader)))

    async def connection(self, connection_id: int, query: HistoryQuery) -> ConnectionHistory | None:
        """The past of one connection."""
        now = self._clock.now()
        return await self._read(lambda reader: _past(reader, connection_id, query, now))

    async def incidents(self, before_id: int | None, shown: Sequence[IncidentRef]) -> StoredIncidents | None:
        """Closed incidents with ids below *before_id*, what is suppressed now, and the keys of the open ones that are *shown*."""
        now = self._clock.now()
        return await self._read(lambda reader: _incidents(reader, before_id, shown, now))

    async def _read(self, work: Callable[[Reader], T]) -> T | None:
        try:
            return await self._reads.run(work)
        except StoreError as error:
            _log.debug("web.read_failed", error=str(error))
            return None


def sparkline_row(trend: CheckTrend, now: datetime, outage: OpenOutage | None = None) -> SparklineRow:
    """The charts of *trend*, an open *outage* counted."""
    return SparklineRow(bar_of(trend.days, now, outage), spark_of(trend.latencies))


def _trends(reader: Reader, connection_ids: Collection[int], checks: int, days_since: datetime) -> dict[int, CheckTrend]:
    took = latencies(reader, connection_ids, checks)
    days = uptime_queries.daily_uptime(reader, connection_ids, days_since)
    until = uptime_queries.uptime_until(reader)
    return {number: CheckTrend(took[number], tuple(days[number]), until) for number in connection_ids}


def _past(reader: Reader, connection_id: int, query: HistoryQuery, now: datetime) -> ConnectionHistory:
    since, window = query.checks_since, query.response
    limit = CHECKS_SHOWN if since is None else DAY_CHECKS_SHOWN
    checks = [row for row in list_checks(reader, connection_id, limit + 1, query.checks_before) if since is None or row.at >= since]
    incidents = list_incidents(reader, connection_id=connection_id, limit=INCIDENTS_SHOWN + 1, before_id=query.incidents_before)
    notifications = list_notifications(reader, connection_id=connection_id, limit=NOTIFICATIONS_SHOWN)
    deliveries = deliveries_of_notifications(reader, [row.id for row in notifications])
    return ConnectionHistory(
        trend=_trends(reader, [connection_id], _PAGE_CHECKS, now - _DAYS)[connection_id],
        uptimes=uptime_queries.uptimes(reader, now, connection_id)[connection_id],
        checks=tuple(checks[:limit]),
        more_checks=len(checks) > limit,
        incidents=tuple(incidents[:INCIDENTS_SHOWN]),
        more_incidents=len(incidents) > INCIDENTS_SHOWN,
        notifications=tuple(notifications),
        deliveries=tuple(deliveries),
        attempts=attempts_of(reader, [row.id for row in deliveries]),
        acks=tuple(ack for ack in acks_since(reader, now - _DAYS) if ack.subject == str(connection_id)),
        silences=tuple(silences_since(reader, now - _DAYS)),
        accepted=tuple(each for each in accepted_losses(reader) if each.connection_id == connection_id),
        response=response_times(reader, connection_id, now - window.length, MOST_CHECKS) if window is not None else (),
    )


def _retired(reader: Reader, key: Key) -> ConnectionView | None:
    for connection in read_connections(reader, key[2], retired=True):
        if connection.key == key:
            return ConnectionView(connection, read_last_known(reader, connection.id))
    return None


def _incidents(reader: Reader, before_id: int | None, opened: Sequence[IncidentRef], now: datetime) -> StoredIncidents:
    rows = closed_incidents(reader, INCIDENTS_SHOWN + 1, before_id)
    suppressed_by = SuppressedBy({(ack.topic, ack.subject, ack.number): ack for ack in acks_of_open(reader)}, silences_since(reader, now))
    shown = tuple(rows[:INCIDENTS_SHOWN])
    connections = connections_by_id(reader, {row.connection_id for row in shown if row.connection_id is not None})
    by_number = {connection.id: connection for connection in connections}
    return StoredIncidents(shown, len(rows) > INCIDENTS_SHOWN, suppressed_by, by_number, notified_keys(reader, opened))
