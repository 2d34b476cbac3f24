"""Every route of the API, once: what it is asked with, what answers, and what the answer holds."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from monitor.db import DeliveryState
from monitor.domain.events import Topic
from monitor.domain.reasons import Health
from monitor.domain.status import TROUBLE, DisplayStatus
from monitor.schemas import api
from monitor.web.answers import WebResponse
from monitor.web.api import badges, history, live
from monitor.web.api.badges import MOST_LETTERS
from monitor.web.api.context import ApiContext
from monitor.web.api.parameters import Given, Parameter, cursor, flag, number, repeated, span, text, word

MOST_ROWS = 1000
MOST_CONNECTIONS = 500
MOST_DELIVERIES = 200
MOST_DAYS = 730
ROWS = 100

_AN_ID = "linkedin-Tz9W5i6ZYG"


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """
    One route.

    Attributes:
        path: `{name}` stands for a parameter.
        name: its operation's name for programs that are made of the description.
        shape: what the answer holds; None: a badge.
        refusals: the statuses that it answers with besides those that all do.
    """

    path: str
    name: str
    words: str
    answer: Callable[[ApiContext, Given], Awaitable[WebResponse]]
    parameters: tuple[Parameter, ...] = ()
    shape: type | None = None
    refusals: tuple[int, ...] = ()

    @property
    def segments(self) -> tuple[str, ...]:
        """The path in its parts."""
        return tuple(self.path.split("/"))

    def match(self, segments: tuple[str, ...]) -> dict[str, str] | None:
        """The parameters in the path whose parts are *segments*; None when it is another route's."""
        own = self.segments
        if len(own) != len(segments) or not all(segments[1:]):
            return None
        found = {}
        for mine, given in zip(own, segments, strict=True):
            if mine.startswith("{"):
                found[mine[1:-1]] = given
            elif mine != given:
                return None
        return found


_id_in_path = replace(text("platformId", "the connection, as the API lists it", example=_AN_ID), in_path=True, required=True)
_platform_id = text("platform_id", "only about this connection", example=_AN_ID)
_account = text("account", "the account, or account/user, when several have that id")
_limit = number("limit", "at most so many", least=1, most=MOST_ROWS, default=ROWS)
_since = span("since", "only of the last so long, such as 24h or 7d")
_badge_label = text("label", "what is written on the left", most=MOST_LETTERS)

ROUTES: tuple[ApiRoute, ...] = (
    ApiRoute("/api/v1/summary", "getSummary", "How it all stands", live.summary, shape=api.Summary),
    ApiRoute(
        "/api/v1/connections",
        "listConnections",
        "The connections that are watched",
        live.connections,
        (
            repeated(word("health", "only with this health", Health)),
            repeated(
                word(
                    "display_status", "only with this display status; `trouble`: everything that needs attention", [*DisplayStatus, TROUBLE]
                )
            ),
            repeated(text("platform", "only of this platform")),
            repeated(text("account", "only of this account, or account/user")),
            repeated(text("label", "only with this label, all of several; a name alone: any value", example="team=social")),
            text("q", "only where this occurs in an id or a name"),
            word("sort", "by account, platform and id, or the worst first", ("id", "worst"), default="id"),
            number("limit", "at most so many", least=1, most=MOST_CONNECTIONS, default=ROWS),
            cursor("connections", int, str, str, str),
        ),
        api.Connections,
    ),
    ApiRoute(
        "/api/v1/connections/{platformId}",
        "getConnection",
        "One connection, also one that is no longer watched",
        live.connection,
        (_id_in_path, _account),
        api.OneConnection,
        (404, 409),
    ),
    ApiRoute(
        "/api/v1/connections/{platformId}/history",
        "getHistory",
        "The checks of one connection, the newest first",
        history.history,
        (_id_in_path, _account, _since, _limit, cursor("history", int)),
        api.History,
        (404, 409),
    ),
    ApiRoute(
        "/api/v1/connections/{platformId}/uptime",
        "getUptime",
        "How much of the time a connection worked, day by day",
        history.uptime,
        (_id_in_path, _account, number("days", "of so many days, today included", least=1, most=MOST_DAYS, default=90)),
        api.UptimeHistory,
        (404, 409),
    ),
    ApiRoute(
        "/api/v1/incidents",
        "listIncidents",
        "What was, or is, in trouble, the newest first",
        history.incidents,
        (
            flag("open", "only those that are open"),
            span("since", "only those that were open within the last so long, such as 7d"),
            word("topic", "only this kind of trouble", Topic),
            _platform_id,
            _account,
            _limit,
            cursor("incidents", int),
        ),
        api.Incidents,
        (404, 409),
    ),
    ApiRoute(
        "/api/v1/deliveries",
        "listDeliveries",
        "What receivers were sent, or are owed, the newest first",
        history.deliveries,
        (
            word("state", "only in this state", DeliveryState),
            text("receiver", "only of this receiver"),
            _platform_id,
            _account,
            number("limit", "at most so many", least=1, most=MOST_DELIVERIES, default=ROWS),
            cursor("deliveries", int),
        ),
        api.Deliveries,
        (404, 409),
    ),
    ApiRoute(
        "/api/v1/deliveries/{number}",
        "getDelivery",
        "One delivery with its attempts",
        history.delivery,
        (replace(number("number", "as the list has it", least=1, most=2**53 - 1, in_path=True), required=True),),
        api.OneDelivery,
        (404,),
    ),
    ApiRoute(
        "/api/v1/preflight",
        "preflight",
        "Whether connections can be relied on for a post, by what is known; nothing is tested",
        live.preflight,
        (
            replace(
                repeated(text("ids", "the connection; several also with commas between them", most=4000, example=_AN_ID)), required=True
            ),
            _account,
            span("max_age", "believe what is not older", timedelta(minutes=30)),
            span("min_ttl", "life that a token must have left", timedelta(0)),
        ),
        api.Preflights,
        (409,),
    ),
    ApiRoute("/badges/overall.svg", "overallBadge", "A badge: how it all stands", badges.overall, (_badge_label,)),
    ApiRoute(
        "/badges/connections/{platformId}/health.svg",
        "healthBadge",
        "A badge: how a connection is",
        badges.health,
        (_id_in_path, _account, _badge_label),
        refusals=(404, 409),
    ),
    ApiRoute(
        "/badges/connections/{platformId}/token.svg",
        "tokenBadge",
        "A badge: how long a connection's token lives",
        badges.token,
        (_id_in_path, _account, _badge_label),
        refusals=(404, 409),
    ),
)
