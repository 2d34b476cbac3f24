"""Every route of the API, once: its parameters, its handler and the shape of its answer."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from monitor.schemas import api
from monitor.web.api import badges, history, live, parameters
from monitor.web.api.context import ApiContext
from monitor.web.api.parameters import Query

Answer = Mapping[str, object] | web.Response
"""A document, or the response itself."""


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """
    One route.

    Attributes:
        path: `{name}` stands for a parameter.
        operation: its name for clients that are generated from the description.
        query: its parameters, those in the path included.
        shape: what the answer holds; None: a badge.
        refusals: the statuses that it answers with besides those that all do.
    """

    path: str
    operation: str
    summary: str
    answer: Callable[[ApiContext, Any], Awaitable[Answer]]
    query: type[Query] = Query
    shape: type | None = None
    refusals: tuple[int, ...] = ()


_ONE = (404, 409)

ROUTES: tuple[ApiRoute, ...] = (
    ApiRoute("/api/v1/summary", "getSummary", "The overall state", live.summary, shape=api.Summary),
    ApiRoute(
        "/api/v1/connections",
        "listConnections",
        "The watched connections",
        live.connections,
        parameters.ConnectionsQuery,
        api.Connections,
    ),
    ApiRoute(
        "/api/v1/connections/{platformId}",
        "getConnection",
        "One connection, also one that is no longer watched",
        live.connection,
        parameters.OneQuery,
        api.OneConnection,
        _ONE,
    ),
    ApiRoute(
        "/api/v1/connections/{platformId}/explanation",
        "getExplanation",
        "Why the monitor believes what it believes of a connection, and what was notified",
        live.explanation,
        parameters.OneQuery,
        api.Explanation,
        _ONE,
    ),
    ApiRoute(
        "/api/v1/connections/{platformId}/history",
        "getHistory",
        "The checks of one connection, newest first",
        history.history,
        parameters.ChecksQuery,
        api.History,
        _ONE,
    ),
    ApiRoute(
        "/api/v1/connections/{platformId}/uptime",
        "getUptime",
        "The uptime of one connection, day by day",
        history.uptime,
        parameters.UptimeQuery,
        api.UptimeHistory,
        _ONE,
    ),
    ApiRoute(
        "/api/v1/incidents",
        "listIncidents",
        "Open and past incidents, newest first",
        history.incidents,
        parameters.IncidentsQuery,
        api.Incidents,
        _ONE,
    ),
    ApiRoute(
        "/api/v1/expiries",
        "listExpiries",
        "The tokens that end, the first to end first",
        live.expiries,
        parameters.ExpiriesQuery,
        api.Expiries,
    ),
    ApiRoute(
        "/api/v1/deliveries",
        "listDeliveries",
        "Deliveries, pending ones included, newest first",
        history.deliveries,
        parameters.DeliveriesQuery,
        api.Deliveries,
        _ONE,
    ),
    ApiRoute(
        "/api/v1/deliveries/{number}",
        "getDelivery",
        "One delivery with its attempts",
        history.delivery,
        parameters.DeliveryQuery,
        api.OneDelivery,
        (404,),
    ),
    ApiRoute(
        "/api/v1/preflight",
        "preflight",
        "Whether connections can be relied on for a post, by stored results; nothing is tested",
        live.preflight,
        parameters.PreflightQuery,
        api.Preflights,
        _ONE,
    ),
    ApiRoute(
        "/api/v1/forecast",
        "getForecast",
        "What is notified within the next 14 days if nobody does anything",
        live.forecast,
        parameters.ForecastQuery,
        api.ForecastAnswer,
    ),
    ApiRoute("/badges/overall.svg", "overallBadge", "A badge: the overall state", badges.overall, parameters.BadgeQuery),
    ApiRoute(
        "/badges/connections/{platformId}/health.svg",
        "healthBadge",
        "A badge: the state of a connection",
        badges.health,
        parameters.OneBadgeQuery,
        refusals=_ONE,
    ),
    ApiRoute(
        "/badges/connections/{platformId}/token.svg",
        "tokenBadge",
        "A badge: the remaining life of a connection's token",
        badges.token,
        parameters.OneBadgeQuery,
        refusals=_ONE,
    ),
)
