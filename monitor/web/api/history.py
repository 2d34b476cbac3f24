"""Checks, uptime, incidents, deliveries, from rows: pages by an index, however many there are."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from monitor.clock import from_milliseconds, to_milliseconds
from monitor.db import (
    AttemptRow,
    DeliveryRow,
    IncidentRow,
    Reader,
    attempts_of,
    deliveries_by_id,
    list_checks,
    list_deliveries,
    list_incidents,
    notified_keys,
)
from monitor.db import uptime as uptime_queries
from monitor.domain.connections import Connection
from monitor.domain.events import IncidentRef, incident_key
from monitor.domain.uptime import NOTHING, DayUptime, Uptime
from monitor.schemas import api, facts
from monitor.schemas.shapes import HandledIncident
from monitor.web.api import parameters
from monitor.web.api.context import ApiContext, connections_of, page_of
from monitor.web.api.parameters import ChecksQuery, DeliveriesQuery, DeliveryQuery, IncidentsQuery, Place, UptimeQuery
from monitor.web.api.problems import ApiProblem

_DAY = timedelta(days=1)
_LAST = to_milliseconds(datetime(9999, 12, 31, tzinfo=UTC))

Names = dict[int | None, Connection]


async def history(context: ApiContext, query: ChecksQuery) -> api.History:
    """The checks of one connection."""
    connection = await context.known(query.platform_id, query.account)
    before = from_milliseconds(min(int(query.cursor[0]), _LAST)) if query.cursor is not None else None
    rows = await context.query(lambda reader: list_checks(reader, connection.id, query.limit + 1, before))
    since = _since(context, query.since)
    page, following = page_of(
        [row for row in rows if since is None or row.at >= since],
        query.limit,
        lambda row: parameters.encode("history", [to_milliseconds(row.at)]),
    )
    return {
        **context.head(),
        "connection": facts.identity(connection),
        "checks": [facts.check(row) for row in page],
        "nextCursor": following,
    }


async def uptime(context: ApiContext, query: UptimeQuery) -> api.UptimeHistory:
    """The uptime of one connection."""
    connection = await context.known(query.platform_id, query.account)
    days = await days_of(context, connection, query.days)
    return {
        **context.head(),
        "connection": facts.identity(connection),
        "total": facts.uptime(total(days)),
        "days": [{"day": day.day.isoformat(), **facts.uptime(day.uptime)} for day in days],
    }


async def days_of(context: ApiContext, connection: Connection, number: int) -> Sequence[DayUptime]:
    """The last *number* days of a connection, today included, the oldest first."""
    since = context.now() - (number - 1) * _DAY
    return (await context.query(lambda reader: uptime_queries.daily_uptime(reader, [connection.id], since)))[connection.id]


def total(days: Iterable[DayUptime]) -> Uptime:
    """All these days together."""
    return sum((day.uptime for day in days), NOTHING)


async def incidents(context: ApiContext, query: IncidentsQuery) -> api.Incidents:
    """Open and past incidents."""
    about, since = await _about(context, query), _since(context, query.since)

    def read(reader: Reader) -> tuple[Sequence[IncidentRow], str | None, Names, Mapping[IncidentRef, str]]:
        rows = list_incidents(
            reader,
            connection_id=about.id if about is not None else None,
            topic=query.topic,
            open_only=query.open,
            since=since,
            limit=query.limit + 1,
            before_id=_row_id(query.cursor),
        )
        page, following = page_of(rows, query.limit, lambda row: parameters.encode("incidents", [row.id]))
        keys = notified_keys(reader, (row.incident for row in page))
        return page, following, connections_of(reader, (row.connection_id for row in page)), keys

    page, following, names, keys = await context.query(read)
    return {
        **context.head(),
        "incidents": [_incident(context, row, names.get(row.connection_id), keys.get(row.incident)) for row in page],
        "nextCursor": following,
    }


def _incident(context: ApiContext, row: IncidentRow, about: Connection | None, notified_key: str | None) -> HandledIncident:
    snapshot, key = context.board().snapshot, incident_key(row.incident, "")
    escalates_at = next((view.escalates_at for view in snapshot.incidents if incident_key(view.incident, "") == key), None)
    handling = facts.handling(row, about, snapshot.controls, context.now(), escalates_at)
    return facts.handled_incident(row, about, notified_key or incident_key(row.incident, context.instance()), handling)


async def deliveries(context: ApiContext, query: DeliveriesQuery) -> api.Deliveries:
    """Deliveries, pending ones included."""
    about = await _about(context, query)

    def read(reader: Reader) -> tuple[Sequence[DeliveryRow], str | None, Names]:
        rows = list_deliveries(
            reader,
            receiver=query.receiver,
            state=query.state,
            subject=str(about.id) if about is not None else None,
            limit=query.limit + 1,
            before_id=_row_id(query.cursor),
        )
        page, following = page_of(rows, query.limit, lambda row: parameters.encode("deliveries", [row.id]))
        return page, following, connections_of(reader, (row.notification.connection_id for row in page))

    page, following, names = await context.query(read)
    return {
        **context.head(),
        "deliveries": [facts.delivery(row, names.get(row.notification.connection_id)) for row in page],
        "nextCursor": following,
    }


async def delivery(context: ApiContext, query: DeliveryQuery) -> api.OneDelivery:
    """One delivery with its attempts."""
    number = query.number

    def read(reader: Reader) -> tuple[list[DeliveryRow], list[AttemptRow], Names]:
        rows = deliveries_by_id(reader, [number])
        return rows, attempts_of(reader, [number])[number], connections_of(reader, (row.notification.connection_id for row in rows))

    rows, attempts, names = await context.query(read)
    if not rows:
        raise ApiProblem(404, f"there is no delivery {number}; /api/v1/deliveries lists what there is")
    return {
        **context.head(),
        "delivery": facts.delivery(rows[0], names.get(rows[0].notification.connection_id)),
        "attempts": [facts.attempt(row.at, row.reason, row.duration_ms / 1000, row.http_status, row.detail) for row in attempts],
    }


async def _about(context: ApiContext, query: IncidentsQuery | DeliveriesQuery) -> Connection | None:
    """The connection that the rows shall be about; None: any."""
    if query.platform_id is not None:
        return await context.known(query.platform_id, query.account)
    if query.account is not None:
        raise ApiProblem(400, "account needs platformId: it says whose connection is meant", field="account")
    return None


def _since(context: ApiContext, period: timedelta | None) -> datetime | None:
    return context.now() - period if period is not None else None


def _row_id(cursor: Place | None) -> int | None:
    return int(cursor[0]) if cursor is not None else None
