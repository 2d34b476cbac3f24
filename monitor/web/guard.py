"""
The wire of the web port: one request per connection, small, in time, and never too many at once.

What is not a complete head of a request within its limits never reaches a parser; bodies and pipelined requests are
not even looked at.

Source: reliability.md F49.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import structlog
from aiohttp import web

_log = structlog.get_logger(__name__)

_END_OF_HEAD = b"\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


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


class Doorkeeper:
    """Counts the visitors. When it is full, who has waited longest without asking anything makes room."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._silent: dict[Visitor, None] = {}
        self._served: set[Visitor] = set()

    def __len__(self) -> int:
        return len(self._silent) + len(self._served)

    def admit(self, visitor: "Visitor") -> bool:
        """Let *visitor* in, at another one's cost if need be; False when everybody inside is being served."""
        if len(self) >= self.limits.connections:
            oldest = next(iter(self._silent), None)
            if oldest is None:
                return False
            del self._silent[oldest]
            oldest.drop()
        self._silent[visitor] = None
        return True

    def serve(self, visitor: "Visitor") -> None:
        """The visitor has asked."""
        if visitor in self._silent:
            del self._silent[visitor]
            self._served.add(visitor)

    def leave(self, visitor: "Visitor") -> None:
        """The visitor has gone."""
        self._silent.pop(visitor, None)
        self._served.discard(visitor)

    def clear(self) -> None:
        """Send everybody away who has not asked yet."""
        for visitor in list(self._silent):
            visitor.drop()


class Visitor(web.RequestHandler):
    """One connection: collects the head of one request, hands it on, and gives it a last moment to be answered by."""

    __slots__ = ("_complete", "_doorkeeper", "_fail", "_head", "_timer", "_wire")

    def __init__(
        self,
        server: web.Server,
        doorkeeper: Doorkeeper,
        fail: Callable[[int], web.Response],
        *,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(server, loop=loop, keepalive_timeout=0, lingering_time=0, max_line_size=doorkeeper.limits.head_bytes)
        self._doorkeeper = doorkeeper
        self._fail = fail
        self._head = bytearray()
        self._complete = False
        self._wire: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the doorkeeper, and start the clock."""
        wire = cast("asyncio.Transport", transport)
        if not self._doorkeeper.admit(self):
            wire.abort()
            return
        self._wire = wire
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
            self._complete = True
            self._wire.write(_TOO_LARGE)
            self._wire.close()
        elif end >= 0:
            self._complete = True
            self._doorkeeper.serve(self)
            self._set_timer(self._doorkeeper.limits.answer_seconds)
            head, self._head = bytes(self._head[:size]), bytearray()
            super().data_received(head)

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

    def _set_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self.drop)
