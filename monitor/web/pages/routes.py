"""
Page handlers.

    /                                          the status page
    /connections/<account>/<user or ->/<id>    one connection and its history
    /incidents                                 open and past incidents
    /calendar                                  token expiry
    /calendar.ics                              the same as a feed
    /preflight                                 can I post?
    /forecast                                  what is notified if nobody does anything
    /wall                                      all connections as one drawing
    /api/v1/reference                          the OpenAPI document, for people
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from aiohttp import web

from monitor import extras
from monitor.clock import Clock
from monitor.domain.policy import Policy
from monitor.domain.views.snapshot import OutboxView
from monitor.domain.views.status import Filters
from monitor.schemas.explanation import records_of
from monitor.text.explain import explain
from monitor.text.format import stamp
from monitor.web.actions import Actions
from monitor.web.api.parameters import Query
from monitor.web.api.problems import ApiProblem
from monitor.web.db_access import ReadLimiter
from monitor.web.pages.actions import ActionPages
from monitor.web.pages.connection import ConnectionQuery, number_in, profile_of
from monitor.web.pages.expiry import agenda_of, endings_of
from monitor.web.pages.forecast import forecast_page
from monitor.web.pages.history import Archive
from monitor.web.pages.incidents import incidents_page, shown_open, unacknowledged
from monitor.web.pages.parameters import (
    ConnectionPageQuery,
    FilterQuery,
    IncidentsPageQuery,
    ListQuery,
    PreflightPageQuery,
    WallQuery,
    check,
    check_known,
)
from monitor.web.pages.preflight import FieldProblem, moment_of, preflight_page
from monitor.web.pages.templates import DEEP, Pages
from monitor.web.pages.wall import wall_of
from monitor.web.status.board import StatusBoard
from monitor.web.status.connection import past_row_of
from monitor.web.status.present import Present
from monitor.web.status.sidebar import cards_above
from monitor.web.status.snapshot_cache import SnapshotCache
from monitor.web.time_slice import TimeSlice
from monitor.web.urls import CONNECTION_PATH, FEED_PATH, Handler, connection_key, route

_CALENDAR = "text/calendar; charset=utf-8"
_HTML = "text/html; charset=utf-8"
_DEEPEST = 10
_EXPLAINED = 5


class Site:
    """The pages."""

    def __init__(
        self,
        snapshots: SnapshotCache,
        reads: ReadLimiter,
        clock: Clock,
        policy: Callable[[], Policy],
        present: Present,
        instance: Callable[[], str],
        actions: Callable[[], Actions | None] = lambda: None,
        *,
        dashboard: Callable[[], str] = lambda: "",
        description: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._pages = Pages(lambda: actions() is not None, dashboard)
        self._description = description
        self._acting = actions
        self.actions = ActionPages(self._pages, snapshots, actions, clock, instance)
        self._snapshots = snapshots
        self._archive = Archive(reads, clock)
        self._clock = clock
        self._policy = policy
        self._present = present
        self._instance = instance
        self._feeding = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        """Every page and the files that they need."""
        return [
            route("/", self._checked(ListQuery, self._status)),
            route("/incidents", self._checked(IncidentsPageQuery, self._incidents)),
            route("/calendar", self._checked(FilterQuery, self._calendar)),
            route(FEED_PATH, self._checked(FilterQuery, self._feed)),
            route("/preflight", self._checked(PreflightPageQuery, self._preflight)),
            route("/forecast", self._checked(FilterQuery, self._forecast)),
            route("/wall", self._checked(WallQuery, self._wall)),
            route(CONNECTION_PATH, self._checked(ConnectionPageQuery, self._connection, DEEP)),
            route("/api/v1/reference", self._checked(Query, self._reference, "../../")),
            route("/static/{name:[^/]+}", self._static),
        ]

    def _checked(self, model: type[Query], handler: Handler, root: str = "") -> Handler:
        """*handler*, asked only with parameters of *model*; others are refused with a page, by the feed with a problem document."""

        async def respond(request: web.Request) -> web.StreamResponse:
            try:
                check(model, request.query.items())
                return await handler(request)
            except ApiProblem as refused:
                if request.path == FEED_PATH:
                    return refused.response()
                return self._refused(f"Invalid parameter {refused.field}", str(refused), root=root)

        return respond

    def _refused(self, title: str, text: str, status: int = 400, root: str = "") -> web.Response:
        """A page that says why there is no answer."""
        return _page(self._pages.nothing(self._snapshots.board(), root, self._clock.now(), title, text), status)

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
        if request.query.get("at", "").strip():
            return await self._status_at(request, board, now)
        page = board.page(_filters(board, request), now)
        sparklines = await self._archive.sparklines({row.view.connection.id: partial(board.outage_of, row.view) for row in page.rows})
        return _page(self._pages.status(board, page, sparklines, now))

    async def _status_at(self, request: web.Request, board: StatusBoard, now: datetime) -> web.Response:
        try:
            at = moment_of("at", request.query["at"], latest=now)
        except FieldProblem as problem:
            return self._refused("Invalid parameter at", str(problem))
        found = await self._archive.snapshot(at, self._policy(), board.snapshot)
        if found is None:
            return self._refused("History unavailable", "The history cannot be read from the database now.", 503)
        snapshot, begins_at = found
        if not snapshot.connections:
            begins = f"The history begins at {stamp(begins_at)}." if begins_at is not None else "There is no history yet."
            return self._refused("No history", begins, 404)
        past = StatusBoard(replace(snapshot, outbox=dict.fromkeys(board.snapshot.outbox, OutboxView())))
        return _page(self._pages.status(past, past.page(_filters(past, request), at), {}, at, past=at))

    async def _calendar(self, request: web.Request) -> web.Response:
        board, now = self._snapshots.board(), self._clock.now()
        agenda = agenda_of(board, _filters(board, request), now)
        await self._clock.sleep(0)
        return _page(
            self._pages.render("calendar.html", board, now, agenda=agenda, filters=agenda.filters, has_feed=not extras.missing("icalendar"))
        )

    async def _preflight(self, request: web.Request) -> web.Response:
        board, now = self._snapshots.board(), self._clock.now()
        form = preflight_page(board, request.query, self._policy(), now)
        return _page(self._pages.render("preflight.html", board, now, form=form), 400 if form.problem else 200)

    async def _forecast(self, request: web.Request) -> web.Response:
        forecast, board = await self._present.forecast(), self._snapshots.board()
        page = forecast_page(board, forecast, _filters(board, request))
        return _page(self._pages.render("forecast.html", board, self._clock.now(), forecast=page))

    async def _wall(self, request: web.Request) -> web.Response:
        board = self._snapshots.board()
        wall = wall_of(board, _filters(board, request))
        return _page(await self._joined(self._pages.pieces("wall.html", board, self._clock.now(), wall=wall)))

    async def _feed(self, request: web.Request) -> web.Response:
        """The calendar, made in pieces: other tasks run between them, and one feed is made at a time."""
        if advice := extras.missing("icalendar"):
            return web.Response(status=501, text=f"There is no feed, because the library icalendar is not installed: {advice}\n")
        from monitor.web.pages.feed import pieces_of  # noqa: PLC0415 - its library may be missing, and takes time to load

        now, root = self._clock.now(), f"{request.scheme}://{request.host}/"
        async with self._feeding:
            board = self._snapshots.board()
            endings = endings_of(board, _filters(board, request), now)
            body = await self._joined(pieces_of(endings, self._instance(), now, root))
        return web.Response(body=body, headers={"Content-Type": _CALENDAR})

    async def _joined(self, pieces: Iterator[bytes]) -> bytes:
        """What is made in *pieces*; other tasks run between them."""
        made, time_slice = [], TimeSlice(self._clock)
        for piece in pieces:
            made.append(piece)
            await time_slice.rest()
        return b"".join(made)

    async def _incidents(self, request: web.Request) -> web.Response:
        now, number = self._clock.now(), number_in(request.query.get("before", ""))
        board, page = self._snapshots.board(), Filters.of(request.query).page
        past = await self._archive.incidents(number, [view.incident for view in shown_open(board, page)])
        shown = incidents_page(board, past, page, number, self._instance(), now)
        return _page(self._pages.render("incidents.html", board, now, shown=shown))

    async def _connection(self, request: web.Request) -> web.Response:
        board, now, key = self._snapshots.board(), self._clock.now(), connection_key(request)
        view = board.find(key)
        retired = await self._archive.retired(key) if view is None else None
        if view is not None:
            row = board.row(view, now)
        elif retired is not None:
            row = past_row_of(retired, now)
        else:
            return _page(self._pages.render("missing.html", board, now, DEEP, platform_id=key[2]), 404)
        query = ConnectionQuery.of(request.query)
        past = await self._archive.connection(row.view.connection.id, query.history)
        if view is None:
            profile = profile_of(row, past, query, now, watched=False)
        else:
            cards = cards_above(board.snapshot, view.connection, now)
            acting = self._acting()
            performed = acting.performed(view.connection) if acting is not None else ()
            outage_of = partial(board.outage_of, view)
            profile = profile_of(row, past, query, now, outage_of=outage_of, cards=cards, performed=performed)
            profile = replace(profile, unacknowledged=unacknowledged(board, view, self._instance(), now))
        report = self._present.report(row.view, board.snapshot, retired=view is None)
        if past is not None:
            records = records_of(past.notifications[:_EXPLAINED], past.deliveries, past.attempts)
            sent = await self._archive.scope_deliveries(report.above)
            report = replace(report, notifications=records, scope_deliveries=sent)
        profile = replace(profile, explanation=explain(report, now, self._policy()))
        return _page(self._pages.connection(board, profile, now))


def _filters(board: StatusBoard, request: web.Request) -> Filters:
    """The filters of an address. Raises `ApiProblem` when they name what no connection of *board* has."""
    filters = Filters.of(request.query)
    check_known(board, filters)
    return filters


def _page(body: bytes, status: int = 200) -> web.Response:
    return web.Response(status=status, body=body, headers={"Content-Type": _HTML})
