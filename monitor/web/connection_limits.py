"""
The wire of the web port: one request per connection, small, in time, and never too many at once.

What is not a complete head of a request within its limits never reaches a parser; bodies and pipelined requests are
not even looked at. With TLS who has not finished the handshake counts as silent.

Source: reliability.md F49.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import structlog
from aiohttp import web

_log = structlog.get_logger(__name__)

_END_OF_HEAD = b"\r\n\r\n"
_REQUEST_LINE = re.compile(rb"[A-Z]{1,20} [\x21-\xff]+ HTTP/1\.[01]\r\n")


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What a visitor may take.

    Attributes:
        connections: most that are open at once.
        head_bytes: most bytes of request line and headers together.
        head_seconds: the longest wait for them.
        answer_seconds: the longest time from the head to the end of the answer.
    """

    connections: int = 64
    head_bytes: int = 8192
    head_seconds: float = 5.0
    answer_seconds: float = 30.0


class ConnectionLimiter:
    """Counts the visitors. When it is full, who has waited longest without asking anything makes room."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._silent: dict[LimitedHandler, None] = {}
        self._served: set[LimitedHandler] = set()

    def __len__(self) -> int:
        return len(self._silent) + len(self._served)

    def admit(self, visitor: "LimitedHandler") -> bool:
        """Let *visitor* in, at another one's cost if need be; False when everybody inside is being served."""
        if len(self) >= self.limits.connections:
            oldest = next(iter(self._silent), None)
            if oldest is None:
                return False
            del self._silent[oldest]
            oldest.drop()
        self._silent[visitor] = None
        return True

    def serve(self, visitor: "LimitedHandler") -> None:
        """The visitor has asked something that is being answered."""
        if visitor in self._silent:
            del self._silent[visitor]
            self._served.add(visitor)

    def leave(self, visitor: "LimitedHandler") -> None:
        """The visitor has gone."""
        self._silent.pop(visitor, None)
        self._served.discard(visitor)

    def clear(self) -> None:
        """Send everybody away who has not asked yet."""
        for visitor in list(self._silent):
            visitor.drop()


class LimitedHandler(web.RequestHandler):
    """One connection: collects the head of one request, hands it on, and gives it a last moment to be answered by."""

    __slots__ = ("_arrival", "_complete", "_doorkeeper", "_fail", "_head", "_timer", "_wire")

    def __init__(
        self,
        server: web.Server,
        doorkeeper: ConnectionLimiter,
        fail: Callable[[int], web.Response],
        *,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(server, loop=loop, keepalive_timeout=0, lingering_time=0, max_line_size=doorkeeper.limits.head_bytes)
        self._doorkeeper = doorkeeper
        self._fail = fail
        self._head = bytearray()
        self._complete = False
        self._arrival: asyncio.Task[None] | None = None
        self._wire: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_inside(self) -> bool:
        """Whether the connection stands, its encryption included."""
        return self._wire is not None

    def arrive(self, arrival: asyncio.Task[None]) -> None:
        """The visitor is admitted, and on the way in."""
        self._arrival = arrival

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock."""
        self._wire = cast("asyncio.Transport", transport)
        super().connection_made(transport)
        self._set_timer(self._doorkeeper.limits.head_seconds)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Leave."""
        if self._timer is not None:
            self._timer.cancel()
        self._doorkeeper.leave(self)
        self._wire = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Collect the head; whatever follows it is nobody's."""
        if self._complete or self._wire is None:
            return
        searched = max(0, len(self._head) - len(_END_OF_HEAD) + 1)
        self._head += data
        end = self._head.find(_END_OF_HEAD, searched)
        size = len(self._head) if end < 0 else end + len(_END_OF_HEAD)
        if size > self._doorkeeper.limits.head_bytes:
            self._refuse(431)
        elif end >= 0:
            head, self._head = bytes(self._head[:size]), bytearray()
            self._pass_on(head)

    def begin(self) -> None:
        """The request is understood, and its answer begins: nobody else takes this place until it has gone out, or its time is over."""
        self._doorkeeper.serve(self)
        self._set_timer(self._doorkeeper.limits.answer_seconds)

    def _pass_on(self, head: bytes) -> None:
        # The parser would wait without a word for what follows an empty line, or the preface of HTTP/2.
        if _REQUEST_LINE.match(head):
            self._complete = True
            super().data_received(head)
        else:
            self._refuse(400)

    def _refuse(self, status: int) -> None:
        self._complete = True
        if self._wire is not None:
            self._wire.write(_written(self._fail(status)))
            self._wire.close()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - the library's signature
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - as above
    ) -> web.StreamResponse:
        """The answer to what is no HTTP, or to a fault of ours; tells nothing of it to the visitor."""
        if status >= 500:
            _log.error("web.failed", exc_info=exc)
        return self._fail(status)

    def drop(self) -> None:
        """Hang up at once."""
        if self._wire is not None:
            self._wire.abort()
        elif self._arrival is not None:
            self._arrival.cancel()

    def _set_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self.drop)


def _written(response: web.Response) -> bytes:
    """The bytes of an answer that is given without a request."""
    lines = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{name}: {value}" for name, value in response.headers.items())]
    body = response.body if isinstance(response.body, bytes) else b""
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "Connection: close", "", ""]).encode("latin-1") + body
