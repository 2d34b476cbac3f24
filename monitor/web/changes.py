"""
Server-sent events: `change` when the pages have changed, and for the ages; `beat` in between. A page without a stream polls.

Source: HTML Living Standard, 9.2 (server-sent events).
"""

import asyncio
from contextlib import suppress

from aiohttp import web

from monitor.clock import Clock
from monitor.domain.views.snapshot import Snapshot
from monitor.web.api.parameters import Query, parse
from monitor.web.api.problems import ApiProblem
from monitor.web.connection_limits import LimitedHandler
from monitor.web.status.snapshot_cache import SnapshotCache

MOST_STREAMS = 16
"""A quarter of the connections: scrapes and pages always find one."""
_LOOK_SECONDS = 1.0
_BEAT_SECONDS = 2.0
_AGES_SECONDS = 10.0
_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
_BEAT, _CHANGE = b"event: beat\ndata:\n\n", b"event: change\ndata:\n\n"


class ChangeStreams:
    """The open streams."""

    def __init__(self, snapshots: SnapshotCache, clock: Clock) -> None:
        self._snapshots = snapshots
        self._clock = clock
        self._open = 0
        self._ended = asyncio.Event()

    def end(self) -> None:
        """End every open stream within a moment: access is decided anew, or the port closes. Pages connect again."""
        self._ended.set()
        self._ended = asyncio.Event()

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """One stream, until the client leaves; 400 for a parameter, 503 when there are too many."""
        try:
            parse(Query, {}, request.query.items())
        except ApiProblem as refused:
            return refused.response()
        if self._open >= MOST_STREAMS:
            return web.Response(status=503, text="Too many streams; poll instead.\n", headers={"Retry-After": "60"})
        response = web.StreamResponse(headers=_HEADERS)
        response.force_close()
        ended, self._open = self._ended, self._open + 1
        try:
            await response.prepare(request)
            if request.method == "GET":
                with suppress(ConnectionError):
                    await self._send(request, response, ended)
        finally:
            self._open -= 1
        return response

    async def _send(self, request: web.Request, response: web.StreamResponse, ended: asyncio.Event) -> None:
        shown, now = self._snapshots.snapshot(), self._clock.monotonic()
        sent_at = beat_at = now
        await response.write(b"retry: 5000\n\n" + _BEAT)
        while not await self._ends(ended):
            snapshot, now = self._snapshots.snapshot(), self._clock.monotonic()
            if _differs(snapshot, shown) or now - sent_at >= _AGES_SECONDS:
                shown, sent_at, beat_at = snapshot, now, now
                await response.write(_CHANGE)
            elif now - beat_at >= _BEAT_SECONDS:
                beat_at = now
                await response.write(_BEAT)
            # A client that does not read blocks the write, and is cut off like any other slow one.
            if isinstance(request.protocol, LimitedHandler):
                request.protocol.begin()

    async def _ends(self, ended: asyncio.Event) -> bool:
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                return await ended.wait()
        except TimeoutError:
            return False


def _differs(snapshot: Snapshot, shown: Snapshot) -> bool:
    """Whether more than the times of checks has changed."""
    if snapshot is shown:
        return False
    return _notable(snapshot) != _notable(shown)


def _notable(snapshot: Snapshot) -> tuple[object, ...]:
    failing = {name: (outbox.in_trouble, outbox.disabled) for name, outbox in snapshot.outbox.items()}
    scopes = (snapshot.accounts, snapshot.api_up, snapshot.storage_up, snapshot.suspected)
    return (snapshot.incidents, len(snapshot.connections), snapshot.controls, failing, scopes, snapshot.active)
