"""A bare aiohttp server on a port of this machine, and how it acts out a `Behaviour`."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus

from aiohttp import web

from monitor.clock import Clock
from monitor.simulator import faults
from monitor.simulator.faults import Fault, FaultKind, Where

_CHUNK = b"a" * 65_536
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_SHUTDOWN_SECONDS = 3.0


class LocalServer:
    """
    A server of one handler without routing, logging or decoding, to be light on the CPU.

    `closing` is set as soon as the server is to stop; handlers that wait must wait for it too.
    """

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        self._handler = handler
        self._runner: web.ServerRunner | None = None
        self.closing = asyncio.Event()

    async def start(self, host: str, port: int) -> str:
        """
        Listen on *host* and *port* (0: any free one); returns the origin, such as `http://127.0.0.1:9841`.

        Raises:
            OSError: the port is taken, or the host is not one of this machine.
        """
        if self._runner is not None:
            raise RuntimeError("the server is running already")
        self.closing.clear()
        # A client that gives up ends its handler, else requests that hang would pile up.
        runner = web.ServerRunner(web.Server(self._handler, handler_cancellation=True, access_log=None), shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        bound = runner.addresses[0][1]
        return f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}"

    async def close(self) -> None:
        """Stop at once, breaking off whatever is being answered; closing twice is fine."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        self.closing.set()
        await runner.cleanup()


class DateHeader:
    """The `Date` header for a clock's now, formatted at most once a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second: datetime | None = None
        self._text = ""

    def __str__(self) -> str:
        second = self._clock.now().replace(microsecond=0)
        if second != self._second:
            self._second, self._text = second, format_datetime(second, usegmt=True)
        return self._text


class Act:
    """
    One request and what to do with it.

    Attributes:
        request: the request.
        clock: waits.
        closing: set when the server stops; everything ends then.
        ordinary: status, body and headers of the ordinary answer.
    """

    def __init__(self, request: web.BaseRequest, clock: Clock, closing: asyncio.Event, date: str) -> None:
        self._request = request
        self._clock = clock
        self._closing = closing
        self._date = date

    async def perform(self, step: Fault, ordinary: web.Response) -> web.StreamResponse | None:
        """Treat the request as *step* says; returns the answer, or None when the connection just closes."""
        match step.kind:
            case FaultKind.ANSWER:
                return respond(step.status, step.body, {**step.headers, "Date": self._date})
            case FaultKind.HANG:
                await self._closing.wait()
                return None
            case FaultKind.DROP:
                await self._drop(step.where, ordinary)
                return None
            case FaultKind.DRIP:
                await self._drip(step, ordinary)
                return None
            case FaultKind.GARBAGE:
                return await self._garbage(step.name, ordinary)
            case FaultKind.NORMAL | FaultKind.SLOW:
                return ordinary

    async def pause(self, seconds: float) -> None:
        """Wait *seconds*, or until the server stops."""
        if seconds > 0:
            await self._clock.wait(self._closing, seconds)

    async def _drop(self, where: Where, ordinary: web.Response) -> None:
        head, body = self._raw(ordinary)
        if where is Where.HEADERS:
            self._write(head[: len(head) // 2])
        elif where is Where.BODY:
            self._write(head + body[: len(body) // 2])

    async def _drip(self, step: Fault, ordinary: web.Response) -> None:
        pause = step.delay.total_seconds()
        if step.where is Where.START:
            while self._write(_CONTINUE):
                await self.pause(pause)
            return
        head, body = self._raw(ordinary)
        if step.where is Where.BODY:
            self._write(head)
        for byte in body if step.where is Where.BODY else head + body:
            if not self._write(bytes([byte])):
                return
            await self.pause(pause)

    async def _garbage(self, name: str, ordinary: web.Response) -> web.StreamResponse:
        headers = {"Content-Type": "application/json; charset=utf-8", "Date": self._date}
        if name != faults.HUGE:
            return respond(200, faults.made(name, _body(ordinary)), {**headers, **faults.headers_of(name)})
        stream = web.StreamResponse(headers=headers)
        await stream.prepare(self._request)
        for _ in range(faults.HUGE_BYTES // len(_CHUNK)):
            if self._closing.is_set():
                break
            await stream.write(_CHUNK)
        return stream

    def _write(self, data: bytes) -> bool:
        transport = self._request.transport
        if transport is None or transport.is_closing() or self._closing.is_set():
            return False
        transport.write(data)
        return True

    def _raw(self, ordinary: web.Response) -> tuple[bytes, bytes]:
        body = _body(ordinary)
        lines = [f"HTTP/1.1 {ordinary.status} {HTTPStatus(ordinary.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in ordinary.headers.items() if name.lower() != "content-length"]
        lines += [f"Content-Length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode(), body


def respond(status: int, body: bytes, headers: Mapping[str, str]) -> web.Response:
    """An answer of exactly these headers, apart from the length and the server's name."""
    return web.Response(status=status, body=body, headers={"Server": "simulator", **headers})


def hang_up(request: web.BaseRequest) -> web.StreamResponse:
    """Close the connection without (further) answer; what is returned is never sent."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()


def is_local(remote: str | None) -> bool:
    """Whether *remote*, the address of a client, is of this machine."""
    address = (remote or "").removeprefix("::ffff:")
    return address == "::1" or address.startswith("127.")


def _body(response: web.Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b""
