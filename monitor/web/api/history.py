"""What was: checks, incidents, deliveries. Pages of rows by an index, however many there are."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from monitor.clock import from_milliseconds, to_milliseconds
from monitor.db import (
    AttemptRow,
    CheckRow,
    DeliveryRow,
    DeliveryState,
    IncidentRow,
    Reader,
    attempts_of,
    deliveries_by_id,
    list_checks,
    list_deliveries,
    list_incidents,
)
from monitor.db import uptime as uptime_queries
from monitor.domain.connections import Connection
from monitor.domain.events import Topic
from monitor.domain.uptime import NOTHING, DayUptime, Uptime
from monitor.schemas import api, facts
from monitor.web.answers import WebResponse
from monitor.web.api import parameters
from monitor.web.api.context import ApiContext, json_answer, named, page_of
from monitor.web.api.parameters import Given
from monitor.web.api.problems import ApiProblem

_DAY = timedelta(days=1)
_LAST = to_milliseconds(datetime(9999, 12, 31, tzinfo=UTC))

Names = dict[int | None, Connection]


async def history(desk: ApiContext, given: Given) -> WebResponse:
    """The checks of one connection."""
    known, limit, cursor = await desk.known(given["platformId"], given["account"]), given["limit"], given["cursor"]
    before = from_milliseconds(min(cursor[0], _LAST)) if cursor is not None else None
    rows = await desk.ask(lambda reader: list_checks(reader, known.id, limit + 1, before))
    since = _since(desk, given)
    page, following = page_of([row for row in rows if since is None or row.at >= since], limit, _check_cursor)
    document: api.History = {
        **desk.head(),
        "connection": facts.identity(known),
        "checks": [facts.check(row) for row in page],
        "nextCursor": following,
    }
    return json_answer(document)


def _check_cursor(row: CheckRow) -> str:
    return parameters.encode("history", [to_milliseconds(row.at)])


async def uptime(desk: ApiContext, given: Given) -> WebResponse:
    """How much of the time one connection worked."""
    known = await desk.known(given["platformId"], given["account"])
    days = await days_of(desk, known, given["days"])
    document: api.UptimeHistory = {
        **desk.head(),
        "connection": facts.identity(known),
        "total": facts.uptime(total(days)),
        "days": [{"day": one.day.isoformat(), **facts.uptime(one.uptime)} for one in days],
    }
    return json_answer(document)


async def days_of(desk: ApiContext, connection: Connection, number: int) -> Sequence[DayUptime]:
    """The last *number* days of a connection, today included, the oldest first."""
    since = desk.now() - (number - 1) * _DAY
    return (await desk.ask(lambda reader: uptime_queries.daily_uptime(reader, [connection.id], since)))[connection.id]


def total(days: Iterable[DayUptime]) -> Uptime:
    """All these days together."""
    return sum((one.uptime for one in days), NOTHING)


async def incidents(desk: ApiContext, given: Given) -> WebResponse:
    """Incidents, open and closed."""
    limit, topic = given["limit"], given["topic"]
    about, since = await _about(desk, given), _since(desk, given)

    def look(reader: Reader) -> tuple[Sequence[IncidentRow], str | None, Names]:
        found = list_incidents(
            reader,
            connection_id=about.id if about is not None else None,
            topic=Topic(topic) if topic is not None else None,
            open_only=given["open"],
            since=since,
            limit=limit + 1,
            before_id=given["cursor"][0] if given["cursor"] is not None else None,
        )
        page, following = page_of(found, limit, lambda row: parameters.encode("incidents", [row.id]))
        return page, following, named(reader, (row.connection_id for row in page))

    page, following, names = await desk.ask(look)
    document: api.Incidents = {
        **desk.head(),
        "incidents": [facts.incident(row, names.get(row.connection_id)) for row in page],
        "nextCursor": following,
    }
    return json_answer(document)


async def deliveries(desk: ApiContext, given: Given) -> WebResponse:
    """What receivers were sent, or are owed."""
    limit, state = given["limit"], given["state"]
    about = await _about(desk, given)

    def look(reader: Reader) -> tuple[Sequence[DeliveryRow], str | None, Names]:
        found = list_deliveries(
            reader,
            receiver=given["receiver"],
            state=DeliveryState(state) if state is not None else None,
            subject=str(about.id) if about is not None else None,
            limit=limit + 1,
            before_id=given["cursor"][0] if given["cursor"] is not None else None,
        )
        page, following = page_of(found, limit, lambda row: parameters.encode("deliveries", [row.id]))
        return page, following, named(reader, (row.notification.connection_id for row in page))

    page, following, names = await desk.ask(look)
    document: api.Deliveries = {
        **desk.head(),
        "deliveries": [facts.delivery(row, names.get(row.notification.connection_id)) for row in page],
        "nextCursor": following,
    }
    return json_answer(document)


async def delivery(desk: ApiContext, given: Given) -> WebResponse:
    """One delivery with its attempts."""
    number = given["number"]

    def look(reader: Reader) -> tuple[list[DeliveryRow], list[AttemptRow], Names]:
        found = deliveries_by_id(reader, [number])
        return found, attempts_of(reader, [number])[number], named(reader, (row.notification.connection_id for row in found))

    found, attempts, names = await desk.ask(look)
    if not found:
        raise ApiProblem(404, f"there is no delivery {number}; /api/v1/deliveries lists what there is")
    document: api.OneDelivery = {
        **desk.head(),
        "delivery": facts.delivery(found[0], names.get(found[0].notification.connection_id)),
        "attempts": [facts.attempt(one.at, one.reason, one.duration_ms / 1000, one.http_status, one.detail) for one in attempts],
    }
    return json_answer(document)


async def _about(desk: ApiContext, given: Given) -> Connection | None:
    """The connection that the rows shall be about; None: any."""
    if given["platform_id"] is not None:
        return await desk.known(given["platform_id"], given["account"])
    if given["account"] is not None:
        raise ApiProblem(400, "account needs platform_id: it says whose connection is meant")
    return None


def _since(desk: ApiContext, given: Given) -> datetime | None:
    return desk.now() - given["since"] if given["since"] is not None else None
