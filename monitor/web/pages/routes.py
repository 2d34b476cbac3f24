"""
Page handlers.

    /                                          the status page
    /connections/<account>/<user or ->/<id>    one connection and its history
    /incidents                                 open and past incidents
    /calendar                                  token expiry
    /calendar.ics                              the same as a feed
    /api/v1/reference                          the OpenAPI document, for people
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from aiohttp import web

from monitor import extras
from monitor.clock import Clock
from monitor.domain.status import Filters
from monitor.web.actions import Actions
from monitor.web.db_access import ReadLimiter
from monitor.web.pages.actions import ActionPages
from monitor.web.pages.connection import ConnectionQuery, profile_of
from monitor.web.pages.expiry import agenda_of, endings_of
from monitor.web.pages.history import Archive
from monitor.web.pages.incidents import incidents_page
from monitor.web.pages.templates import Pages
from monitor.web.status.connection import past_row_of
from monitor.web.status.snapshot_cache import SnapshotCache
from monitor.web.urls import CONNECTION_PATH, FEED_PATH, connection_key, route

_CALENDAR = "text/calendar; charset=utf-8"
_HTML = "text/html; charset=utf-8"
_MOST_DIGITS = 15
_DEEPEST = 10


class Site:
    """
    The pages.

    Args:
        snapshots: the present.
        reads: the past.
        clock: the time.
        instance: names this monitor in incident keys.
        actions: does what operators ask for; gives None while they may not.
        dashboard: gives the address where connections are reconnected; empty without one.
        description: gives the OpenAPI document.

    Attributes:
        actions: the forms of operators.
    """

    def __init__(
        self,
        snapshots: SnapshotCache,
        reads: ReadLimiter,
        clock: Clock,
        instance: Callable[[], str],
        actions: Callable[[], Actions | None] = lambda: None,
        dashboard: Callable[[], str] = lambda: "",
        description: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._pages = Pages(lambda: actions() is not None, dashboard)
        self._description = description
        self.actions = ActionPages(self._pages, snapshots, actions, clock, instance)
        self._snapshots = snapshots
        self._archive = Archive(reads, clock)
        self._clock = clock
        self._instance = instance
        self._feeding = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        """Every page and the files that they need."""
        return [
            route("/", self._status),
            route("/incidents", self._incidents),
            route("/calendar", self._calendar),
            route(FEED_PATH, self._feed),
            route(CONNECTION_PATH, self._connection),
            route("/api/v1/reference", self._reference),
            route("/static/{name:[^/]+}", self._static),
        ]

    async def nothing(self, request: web.Request) -> web.StreamResponse:
        """The page of an address that leads to nothing."""
        depth = request.path.count("/") - 1
        if depth > _DEEPEST or "text/html" not in request.headers.get("Accept", ""):
            raise web.HTTPNotFound
        return _page(self._pages.nothing(self._snapshots.board(), "../" * depth, self._clock.now()), 404)

    async def _reference(self, _: web.Request) -> web.Response:
        return _page(self._pages.reference(self._snapshots.board(), self._description(), self._clock.now()))

    async def _static(self, request: web.Request) -> web.Response:
        file = self._pages.static.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        return web.Response(body=file.body, headers={"Content-Type": file.media_type, "Cache-Control": "max-age=86400"})

    async def _status(self, request: web.Request) -> web.Response:
        board, now = self._snapshots.board(), self._clock.now()
        page = board.page(Filters.of(request.query), now)
        sparklines = await self._archive.sparklines({row.view.connection.id: partial(board.outage_of, row.view) for row in page.rows})
        return _page(self._pages.status(board, page, sparklines, now))

    async def _calendar(self, request: web.Request) -> web.Response:
        board, now = self._snapshots.board(), self._clock.now()
        return _page(self._pages.calendar(board, agenda_of(board, Filters.of(request.query), now), now))

    async def _feed(self, request: web.Request) -> web.Response:
        """The calendar, made in pieces: other tasks run between them, and one feed is made at a time."""
        if advice := extras.missing("icalendar"):
            return web.Response(status=501, text=f"There is no feed, because the library icalendar is not installed: {advice}\n")
        from monitor.web.pages.feed import pieces_of  # noqa: PLC0415 - its library may be missing, and takes time to load

        now, root = self._clock.now(), f"{request.scheme}://{request.host}/"
        async with self._feeding:
            pieces = []
            for piece in pieces_of(endings_of(self._snapshots.board(), Filters.of(request.query), now), self._instance(), now, root):
                pieces.append(piece)
                await self._clock.sleep(0)
        return web.Response(body=b"".join(pieces), headers={"Content-Type": _CALENDAR})

    async def _incidents(self, request: web.Request) -> web.Response:
        now, before = self._clock.now(), request.query.get("before", "")
        number = int(before) if before.isascii() and before.isdigit() and len(before) <= _MOST_DIGITS else None
        past = await self._archive.incidents(number)
        board = self._snapshots.board()
        shown = incidents_page(board, past, Filters.of(request.query).page, number, self._instance(), now)
        return _page(self._pages.incidents(board, shown, now))

    async def _connection(self, request: web.Request) -> web.Response:
        board, now, key = self._snapshots.board(), self._clock.now(), connection_key(request)
        view = board.find(key)
        retired = await self._archive.retired(key) if view is None else None
        if view is not None:
            row = board.row(view, now)
        elif retired is not None:
            row = past_row_of(retired, now)
        else:
            return _page(self._pages.missing(board, key[2], now), 404)
        query = ConnectionQuery.of(request.query)
        past = await self._archive.connection(row.view.connection.id, query.history)
        if view is None:
            return _page(self._pages.connection(board, profile_of(row, past, query, now, watched=False), now))
        cards = board.cards_above(view, now)
        profile = profile_of(row, past, query, now, outage_of=partial(board.outage_of, view), cards=cards)
        return _page(self._pages.connection(board, profile, now))


def _page(body: bytes, status: int = 200) -> web.Response:
    return web.Response(status=status, body=body, headers={"Content-Type": _HTML})
