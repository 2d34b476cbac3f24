"""
The listening sockets. Who comes is counted before anything is said, the TLS handshake included.

Every connection is encrypted with what holds at its moment, so a new certificate needs no new port.

Source: reliability.md F49, F56.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable

import structlog

from monitor.clock import Clock
from monitor.web.guard import Doorkeeper, Visitor

_log = structlog.get_logger(__name__)

_PAUSE_SECONDS = 1.0
_TLS_GOODBYE_SECONDS = 1.0
_THEIR_FAULT = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH})


class Listener:
    """
    Lets visitors in.

    Args:
        doorkeeper: decides who.
        visitor: makes the protocol of one connection.
        context: what the next connection is encrypted with; None: nothing.
        clock: the time.
    """

    def __init__(
        self, doorkeeper: Doorkeeper, visitor: Callable[[], Visitor], context: Callable[[], ssl.SSLContext | None], clock: Clock
    ) -> None:
        self._doorkeeper = doorkeeper
        self._visitor = visitor
        self._context = context
        self._clock = clock
        self._sockets: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, host: str, port: int) -> int:
        """Listen on every address of *host*; gives the port. Raises OSError."""
        loop = asyncio.get_running_loop()
        # The loop knows how names become sockets; it does not count visitors before their handshake, so accepting is done here.
        bound = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
        try:
            self._sockets = [each.dup() for each in bound.sockets]
            for each in self._sockets:
                each.setblocking(False)
                each.listen(self._doorkeeper.limits.connections)
        except OSError:
            await self.close()
            raise
        finally:
            bound.close()
        self._tasks = [loop.create_task(self._accept(each), name="web-accept") for each in self._sockets]
        number: int = self._sockets[0].getsockname()[1]
        return number

    def check(self) -> None:
        """Raise RuntimeError when somebody is no longer listened to: the process is better started anew."""
        for task in self._tasks:
            if task.done():
                raise RuntimeError("the web port lets nobody in any more") from (None if task.cancelled() else task.exception())

    async def close(self) -> None:
        """Let nobody in any more, and send away who has not asked yet; idempotent."""
        tasks, self._tasks = self._tasks, []
        sockets, self._sockets = self._sockets, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in sockets:
            each.close()
        self._doorkeeper.clear()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        failing = False
        while True:
            try:
                wire, _ = await loop.sock_accept(listening)
            except OSError as error:
                if error.errno in _THEIR_FAULT:
                    continue
                if not failing:
                    _log.error("web.deaf", problem=error.strerror, advice="Nobody is let in for now; see how many files are open.")
                failing = True
                await self._clock.sleep(_PAUSE_SECONDS)
                continue
            failing = False
            self._welcome(wire)

    def _welcome(self, wire: socket.socket) -> None:
        visitor = self._visitor()
        if not self._doorkeeper.admit(visitor):
            wire.close()
            return
        arrival = asyncio.get_running_loop().create_task(self._connect(wire, visitor), name="web-arrival")
        visitor.arrive(arrival)
        arrival.add_done_callback(lambda _: self._arrived(wire, visitor))

    async def _connect(self, wire: socket.socket, visitor: Visitor) -> None:
        loop = asyncio.get_running_loop()
        context = self._context()
        times = (
            {}
            if context is None
            else {"ssl_handshake_timeout": self._doorkeeper.limits.head_seconds, "ssl_shutdown_timeout": _TLS_GOODBYE_SECONDS}
        )
        try:
            await loop.connect_accepted_socket(lambda: visitor, wire, ssl=context, **times)
        except OSError as error:
            # A port scan, a client that speaks plain HTTP or does not trust the certificate: their log tells them more.
            _log.debug("web.handshake_failed", problem=str(error))

    def _arrived(self, wire: socket.socket, visitor: Visitor) -> None:
        if not visitor.is_inside:
            self._doorkeeper.leave(visitor)
            wire.close()
