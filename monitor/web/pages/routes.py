"""
What each address shows to people.

    /                                          the status page
    /connections/<account>/<user or ->/<id>    one connection and its past
    /incidents                                 what is in trouble, and what was
    /calendar                                  when tokens end
    /calendar.ics                              the same as a feed
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime

from monitor.clock import Clock
from monitor.domain.status import Filters
from monitor.web.answers import HTML, WebResponse
from monitor.web.db_access import ReadLimiter
from monitor.web.pages import expiry
from monitor.web.pages.connection import ConnectionQuery, profile_of
from monitor.web.pages.expiry import agenda_of, endings_of
from monitor.web.pages.history import Archive
from monitor.web.pages.incidents import incidents_page
from monitor.web.pages.templates import Pages
from monitor.web.status.board import SnapshotCache
from monitor.web.status.connection import past_row_of
from monitor.web.urls import Key, key_in

_CALENDAR = "text/calendar; charset=utf-8"
_MOST_DIGITS = 15


class Site:
    """
    The pages.

    Args:
        pictures: the present.
        records: the past.
        clock: the time.
        instance: names this monitor in incident keys.
    """

    def __init__(self, pictures: SnapshotCache, records: ReadLimiter, clock: Clock, instance: Callable[[], str]) -> None:
        self._pages = Pages()
        self._pictures = pictures
        self._archive = Archive(records, clock)
        self._clock = clock
        self._instance = instance
        self._feeding = asyncio.Lock()

    async def answer(self, raw_path: str, query: Mapping[str, str]) -> WebResponse | None:
        """The page at *raw_path*, a path as the browser sent it; None where there is none."""
        static = self._pages.static.get(raw_path.removeprefix("/static/")) if raw_path.startswith("/static/") else None
        if static is not None:
            return WebResponse(200, static.media_type, (static.body,), {"Cache-Control": "max-age=86400"})
        now = self._clock.now()
        match raw_path:
            case "/":
                return await self._status(Filters.of(query), now)
            case "/incidents":
                return await self._incidents(query, now)
            case "/calendar":
                board = self._pictures.board()
                return _page(self._pages.calendar(board, agenda_of(board, Filters.of(query), now), now))
            case "/calendar.ics":
                return WebResponse(200, _CALENDAR, await self._feed(Filters.of(query), now))
        key = key_in(raw_path)
        return None if key is None else await self._connection(key, ConnectionQuery.of(query), now)

    async def _status(self, filters: Filters, now: datetime) -> WebResponse:
        board = self._pictures.board()
        page = board.page(filters, now)
        drawings = await self._archive.drawings([row.view.connection.id for row in page.rows])
        return _page(self._pages.status(board, page, drawings, now))

    async def _feed(self, filters: Filters, now: datetime) -> tuple[bytes, ...]:
        """The calendar in pieces. Others run between the pieces, and one feed is made at a time."""
        async with self._feeding:
            pieces = []
            for piece in expiry.pieces(endings_of(self._pictures.board(), filters, now), self._instance(), now):
                pieces.append(piece)
                await self._clock.sleep(0)
            return tuple(pieces)

    async def _incidents(self, query: Mapping[str, str], now: datetime) -> WebResponse:
        before = query.get("before", "")
        number = int(before) if before.isascii() and before.isdigit() and len(before) <= _MOST_DIGITS else None
        past = await self._archive.incidents(number)
        board = self._pictures.board()
        shown = incidents_page(board, past, Filters.of(query).page, number, self._instance(), now)
        return _page(self._pages.incidents(board, shown, now))

    async def _connection(self, key: Key, asked: ConnectionQuery, now: datetime) -> WebResponse:
        board = self._pictures.board()
        view = board.find(key)
        gone = await self._archive.gone(key) if view is None else None
        if view is not None:
            row = board.row(view, now)
        elif gone is not None:
            row = past_row_of(gone, now)
        else:
            return _page(self._pages.missing(board, key[2], now), 404)
        past = await self._archive.connection(row.view.connection.id, asked.wanted)
        return _page(self._pages.connection(board, profile_of(row, past, asked, now, watched=view is not None), now))


def _page(body: bytes, status: int = 200) -> WebResponse:
    return WebResponse(status, HTML, (body,))
