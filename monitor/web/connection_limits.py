"""
At most 64 connections, and a complete request head within 5 s.

aiohttp limits neither. One request at a time: what is not a complete head within the limits never reaches its parser. A connection is
kept for the next request only if nothing but that head came in before the answer was out; pipelined requests and all bodies but that of
a form are discarded, and every body ends it. A TLS handshake counts towards both limits.

Source: reliability.md F49.
"""

import asyncio
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from aiohttp import web

from monitor.logs import get_logger

_log = get_logger(__name__)

_END_OF_HEAD = b"\r\n\r\n"
_REQUEST_LINE = re.compile(rb"[A-Z]{1,20} [\x21-\xff]+ HTTP/1\.[01]\r\n")
_CONTENT_LENGTH = re.compile(rb"\r\nContent-Length: *([0-9]{1,9})\r\n", re.IGNORECASE)
_TLS_SHUTDOWN_SECONDS = 1.0

LARGEST_BODY = 16_384
"""The most bytes of a form."""


@dataclass(frozen=True, slots=True)
class Limits:
    """
    Limits of the connections.

    Attributes:
        head_bytes: most bytes of request line and headers together.
        head_seconds: the longest wait for them, the TLS handshake included.
        answer_seconds: the longest time from the head to the end of the answer.
        idle_seconds: how long a connection is kept for the next request; longer than the usual interval of scrapes.
    """

    connections: int = 64
    head_bytes: int = 8192
    head_seconds: float = 5.0
    answer_seconds: float = 30.0
    idle_seconds: float = 75.0


class ConnectionLimiter:
    """Limits open connections; closes the one idle longest when full. *generation* counts how often access was decided anew."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._idle: dict[LimitedHandler, None] = {}
        self._serving: set[LimitedHandler] = set()
        self.generation = 0

    def __len__(self) -> int:
        return len(self._idle) + len(self._serving)

    @property
    def serving(self) -> int:
        """The number of connections whose request is being answered."""
        return len(self._serving)

    def admit(self, connection: "LimitedHandler") -> bool:
        """Count *connection*, closing an idle one if need be; return False when all others are being served."""
        if len(self) >= self.limits.connections:
            oldest = next(iter(self._idle), None)
            if oldest is None:
                return False
            del self._idle[oldest]
            oldest.abort()
        self._idle[connection] = None
        return True

    def serve(self, connection: "LimitedHandler") -> None:
        """Protect *connection* from being closed for another one: its request is being answered."""
        if connection in self._idle:
            del self._idle[connection]
            self._serving.add(connection)

    def rest(self, connection: "LimitedHandler") -> None:
        """Count *connection* as idle again: its answer is out."""
        self._serving.discard(connection)
        self._idle[connection] = None

    def end_generation(self) -> None:
        """Close the connections that wait for another request, and those being served after their answer."""
        self.generation += 1
        for connection in [idle for idle in self._idle if idle.kept]:
            connection.abort()

    def remove(self, connection: "LimitedHandler") -> None:
        """Count *connection* no longer; idempotent."""
        self._idle.pop(connection, None)
        self._serving.discard(connection)

    def close_idle(self) -> None:
        """Close every connection that has not sent a request yet."""
        for connection in list(self._idle):
            connection.abort()


class LimitedHandler(web.RequestHandler):
    """
    One connection: admitted, encrypted if need be, then requests one by one, each with a deadline for its head and one for its answer.

    Args:
        tls: encrypts the connection; None: plain HTTP.
        error_response: makes the answer with a status where there is no request to handle.
    """

    __slots__ = (
        "_body_left",
        "_complete",
        "_error_response",
        "_generation",
        "_handshake",
        "_head",
        "_limiter",
        "_socket",
        "_surplus",
        "_timer",
        "_tls",
        "kept",
    )

    def __init__(
        self,
        server: web.Server,
        limiter: ConnectionLimiter,
        tls: ssl.SSLContext | None,
        error_response: Callable[[int], web.Response],
        *,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        limits = limiter.limits
        super().__init__(server, loop=loop, keepalive_timeout=limits.idle_seconds, lingering_time=0, max_line_size=limits.head_bytes)
        self._limiter = limiter
        self._tls = tls
        self._error_response = error_response
        self._head = bytearray()
        self._complete = False
        self._surplus = False
        self._generation = limiter.generation
        self.kept = False
        self._body_left = 0
        self._socket: asyncio.Transport | None = None
        self._handshake: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close the connection if there are too many, else start the timer and the handshake."""
        self._socket = cast("asyncio.Transport", transport)
        if not self._limiter.admit(self):
            self.abort()
            return
        self._set_timer(self._limiter.limits.head_seconds)
        if self._tls is None:
            super().connection_made(transport)
        else:
            self._handshake = self._loop.create_task(self._encrypt(self._socket, self._tls), name="web-handshake")

    async def _encrypt(self, plain: asyncio.Transport, tls: ssl.SSLContext) -> None:
        seconds, encrypted = self._limiter.limits.head_seconds, None
        try:
            if not plain.is_closing():
                encrypted = await self._loop.start_tls(
                    plain, self, tls, server_side=True, ssl_handshake_timeout=seconds, ssl_shutdown_timeout=_TLS_SHUTDOWN_SECONDS
                )
        except OSError as error:
            # A port scan, a client that speaks plain HTTP or does not trust the certificate: their log says more.
            _log.debug("web.handshake_failed", problem=str(error))
        if encrypted is None or self._socket is None:
            self.connection_lost(None)
            return
        self._socket = encrypted
        super().connection_made(encrypted)
        self._read_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop counting the connection; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        self._limiter.remove(self)
        self._socket = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Collect the head and discard what follows it, but for the body of a POST as long as its head says."""
        if not self._complete:
            if self.kept and not self._head:
                self._set_timer(self._limiter.limits.head_seconds)
            self._head += data
            # What a client sends right behind its handshake may be here before `_encrypt` goes on.
            if self.transport is not None:
                self._read_head()
        else:
            self._surplus = True
            if self._body_left:
                self._read_body(data)

    def _read_body(self, data: bytes) -> None:
        body = data[: self._body_left]
        self._body_left -= len(body)
        super().data_received(body)

    def _read_head(self) -> None:
        end = self._head.find(_END_OF_HEAD)
        size = len(self._head) if end < 0 else end + len(_END_OF_HEAD)
        if size > self._limiter.limits.head_bytes:
            self._refuse(431)
        elif end >= 0:
            self._surplus = len(self._head) > size
            head, rest, self._head = bytes(self._head[:size]), bytes(self._head[size:]), bytearray()
            # The parser would wait without an answer for what follows an empty line, or the preface of HTTP/2.
            if _REQUEST_LINE.match(head):
                self._complete = True
                self._body_left = _body_length(head)
                super().data_received(head)
                if rest and self._body_left:
                    self._read_body(rest)
            else:
                self._refuse(400)

    def begin(self) -> None:
        """Give the request its place and its time to be answered."""
        self._limiter.serve(self)
        self._set_timer(self._limiter.limits.answer_seconds)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer; then wait for the next request, unless something came in that is none."""
        sent, gone = await super().finish_response(request, resp, start_time)
        if sent.keep_alive and not gone and not self._surplus and self._generation == self._limiter.generation:
            self._complete, self.kept = False, True
            self._limiter.rest(self)
            self._set_timer(self._limiter.limits.idle_seconds)
        elif sent.keep_alive:
            self.close()
        return sent, gone

    def _refuse(self, status: int) -> None:
        self._complete = True
        if self._socket is not None:
            self._socket.write(_serialized(self._error_response(status)))
            self._socket.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - the library's signature
    ) -> web.StreamResponse:
        """Answer a malformed request, or a failure of ours, without its details."""
        if status >= 500:
            _log.error("web.failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of another answer has been sent")
        return self._error_response(status)

    def abort(self) -> None:
        """Close the connection at once."""
        if self._socket is not None:
            self._socket.abort()

    def _set_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self.abort)


def _body_length(head: bytes) -> int:
    """How many bytes of body are read: those of a POST that says how many, and not too many; else none."""
    if not head.startswith(b"POST "):
        return 0
    lengths = _CONTENT_LENGTH.findall(head)
    length = int(lengths[0]) if len(lengths) == 1 else 0
    return length if length <= LARGEST_BODY else 0


def _serialized(response: web.Response) -> bytes:
    """The bytes of an answer that is sent without a request."""
    lines = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{name}: {value}" for name, value in response.headers.items())]
    body = response.body if isinstance(response.body, bytes) else b""
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "Connection: close", "", ""]).encode("latin-1") + body
