"""
Pages and documents, kept for seconds while they show the same, compressed, and confirmed by their ETag.

Source: RFC 9110, 8.8.3 (ETag), 12.5.3 (Accept-Encoding), 13.1.2 (If-None-Match).
"""

import asyncio
import hashlib
import re
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from monitor.clock import Clock
from monitor.domain.views.snapshot import Snapshot
from monitor.web.status.snapshot_cache import SnapshotCache
from monitor.web.urls import Handler

_GZIP = 31
_LEAST_BYTES = 1024
_MOST_KEPT = 64
_MOST_BYTES = 4 * 1024 * 1024
_FEED = "text/calendar"
_PAGE_FRESHNESSES = 10
_FEED_FRESHNESSES = 60
_MADE_AT = re.compile(rb'\A\{"version":"[^"]*","at":"[^"]*",(?:"takenAt":"[^"]*",)?')
"""How a document of the API begins: two that differ only here say the same."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer: when and of which edition of the snapshot it was made, and its body as it is and compressed."""

    at: float
    edition: int
    tag: str
    headers: Mapping[str, str]
    body: bytes
    packed: bytes


class ResponseCache:
    """The pages and documents that were answered last."""

    def __init__(self, snapshots: SnapshotCache, clock: Clock, fresh_seconds: float) -> None:
        self._snapshots = snapshots
        self._clock = clock
        self._fresh_seconds = fresh_seconds
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._making: dict[str, asyncio.Lock] = {}
        self._edition = 0
        self._shown: Snapshot | None = None

    async def respond(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer with the kept page, or have *handler* make it; 304 when the client has it."""
        # The feed has whole addresses, of the host that was asked.
        key = f"{request.scheme}://{request.host}{request.path_qs}"
        lock = self._making.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                kept = self._fresh(key)
                if kept is None:
                    response = await handler(request)
                    if not isinstance(response, web.Response) or response.status != 200 or not isinstance(response.body, bytes):
                        return response
                    kept = self._keep(key, response)
        finally:
            if not lock.locked():
                self._making.pop(key, None)
        headers = {"ETag": kept.tag, "Vary": "Accept-Encoding", "Cache-Control": "private, no-cache"}
        if kept.tag in (tag.strip() for tag in request.headers.get("If-None-Match", "").split(",")):
            return web.Response(status=304, headers=headers)
        headers |= kept.headers
        if kept.packed and accepts_gzip(request):
            return web.Response(body=kept.packed, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=kept.body, headers=headers)

    def clear(self) -> None:
        """Forget all of them: a reload may change what pages offer."""
        self._kept.clear()

    def _fresh(self, key: str) -> _Kept | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        age, feed = self._clock.monotonic() - kept.at, kept.headers["Content-Type"].startswith(_FEED)
        if age >= self._fresh_seconds * (_FEED_FRESHNESSES if feed else _PAGE_FRESHNESSES):
            return None
        return kept if feed or kept.edition == self._current_edition() else None

    def _current_edition(self) -> int:
        """A number that changes when the snapshot shows something else."""
        snapshot, shown = self._snapshots.snapshot(), self._shown
        if snapshot is not shown:
            if shown is None or not snapshot.shows(shown):
                self._edition += 1
            self._shown = snapshot
        return self._edition

    def _keep(self, key: str, response: web.Response) -> _Kept:
        body = bytes(response.body) if isinstance(response.body, (bytes, bytearray)) else b""
        packed = pack(body) if len(body) >= _LEAST_BYTES else b""
        tag = f'W/"{hashlib.sha256(_MADE_AT.sub(b"", body)).hexdigest()[:24]}"'
        edition = self._current_edition()
        kept = _Kept(self._clock.monotonic(), edition, tag, {"Content-Type": response.headers["Content-Type"]}, body, packed)
        if len(body) <= _MOST_BYTES and self._fresh_seconds > 0:
            self._kept[key] = kept
            self._kept.move_to_end(key)
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return kept


def compress(request: web.Request, response: web.StreamResponse) -> None:
    """Compress the body of *response* when it is worth it and the client accepts it."""
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes) or len(response.body) < _LEAST_BYTES:
        return
    if "Content-Encoding" in response.headers:
        return
    response.headers["Vary"] = "Accept-Encoding"
    if accepts_gzip(request):
        response.body = pack(response.body)
        response.headers["Content-Encoding"] = "gzip"


def accepts_gzip(request: web.Request) -> bool:
    """Whether the client takes gzip."""
    for offer in request.headers.get("Accept-Encoding", "").split(","):
        coding, _, weight = offer.strip().lower().partition(";")
        if coding.strip() == "gzip":
            return weight.strip().replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def pack(body: bytes) -> bytes:
    """*body* as a gzip stream."""
    compressor = zlib.compressobj(1, wbits=_GZIP)
    return compressor.compress(body) + compressor.flush()
