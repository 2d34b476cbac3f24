"""A bare aiohttp server on a local port, which acts out faults."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus

from aiohttp import web

from monitor.clock import Clock
from monitor.simulator import faults
from monitor.simulator.faults import Fault, FaultKind, Where

JSON = "application/json; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"
_CHUNK = b"a" * 65_536
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_SHUTDOWN_SECONDS = 3.0


class LocalServer:
    """Calls one handler, without routing, logging or decoding, to be light on the CPU."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse | None]], clock: Clock) -> None:
        self._handler = handler
        self._clock = clock
        self._runner: web.ServerRunner | None = None
        self._closing = asyncio.Event()
        self._dated_at: datetime | None = None
        self._date = ""

    async def start(self, host: str, port: int) -> str:
        """Listen on *host* and *port* (0: any free one); returns the origin, such as `http://127.0.0.1:9841`. Raises OSError."""
        if self._runner is not None:
            raise RuntimeError("the server is running already")
        self._closing.clear()
        # A client that disconnects cancels its handler, else requests that hang would pile up.
        runner = web.ServerRunner(web.Server(self._handle, handler_cancellation=True, access_log=None), shutdown_timeout=_SHUTDOWN_SECONDS)
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
        """Stop at once, open requests included; may be called twice."""
        runner, self._runner = self._runner, None
        if runner is not None:
            self._closing.set()
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        response = await self._handler(request)
        if response is None and request.transport is not None:
            request.transport.close()
        return response or web.Response()

    def respond(self, status: int, body: bytes, headers: Mapping[str, str]) -> web.Response:
        """A response with these headers, its length, date and server."""
        return web.Response(status=status, body=body, headers={"Server": "simulator", **headers, "Date": self._dated()})

    def _dated(self) -> str:
        """The `Date` header, formatted at most once a second."""
        second = self._clock.now().replace(microsecond=0)
        if second != self._dated_at:
            self._dated_at, self._date = second, format_datetime(second, usegmt=True)
        return self._date

    async def control(
        self, request: web.BaseRequest, answer: Callable[[str, str, str, bytes], tuple[int, dict[str, object] | str]]
    ) -> web.Response:
        """The response to a control request, from this machine only; *answer* takes method, path, query and body."""
        if not is_local(request.remote):
            return self.respond(403, b'{"error": "only this machine may use the control API"}', {"Content-Type": JSON})
        path, _, query = request.raw_path.partition("?")
        status, document = answer(request.method, path, query, await request.read())
        if isinstance(document, str):
            return self.respond(status, document.encode(), {"Content-Type": _TEXT})
        return self.respond(status, json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n", {"Content-Type": JSON})

    async def pause(self, seconds: float) -> None:
        """Wait *seconds*, or until the server stops."""
        if seconds > 0:
            await self._clock.wait(self._closing, seconds)

    async def perform(self, fault: Fault, request: web.BaseRequest, ordinary: web.Response) -> web.StreamResponse | None:
        """Treat *request* as *fault* says; returns the response, or None to close the connection."""
        match fault.kind:
            case FaultKind.ANSWER:
                return self.respond(fault.status, fault.body, fault.headers)
            case FaultKind.HANG:
                await self._closing.wait()
            case FaultKind.DROP:
                head, body = _raw(ordinary)
                sent = {Where.START: b"", Where.HEADERS: head[: len(head) // 2], Where.BODY: head + body[: len(body) // 2]}
                self._write(request, sent[fault.where])
            case FaultKind.DRIP:
                await self._drip(fault, request, ordinary)
            case FaultKind.GARBAGE:
                return await self._garbage(fault.name, request, ordinary)
            case FaultKind.NORMAL | FaultKind.SLOW:
                return ordinary
        return None

    async def _drip(self, fault: Fault, request: web.BaseRequest, ordinary: web.Response) -> None:
        pause = fault.delay.total_seconds()
        while fault.where is Where.START and self._write(request, _CONTINUE):
            await self.pause(pause)
        head, body = _raw(ordinary)
        if fault.where is Where.BODY:
            self._write(request, head)
        for byte in body if fault.where is Where.BODY else head + body:
            if not self._write(request, bytes([byte])):
                return
            await self.pause(pause)

    async def _garbage(self, name: str, request: web.BaseRequest, ordinary: web.Response) -> web.StreamResponse:
        if name != faults.HUGE:
            return self.respond(200, faults.made(name, _body(ordinary)), {"Content-Type": JSON, **faults.headers_of(name)})
        stream = web.StreamResponse(headers={"Content-Type": JSON, "Date": self._dated()})
        await stream.prepare(request)
        for _ in range(faults.HUGE_BYTES // len(_CHUNK)):
            if self._closing.is_set():
                break
            await stream.write(_CHUNK)
        return stream

    def _write(self, request: web.BaseRequest, data: bytes) -> bool:
        transport = request.transport
        if transport is None or transport.is_closing() or self._closing.is_set():
            return False
        transport.write(data)
        return True


def is_local(remote: str | None) -> bool:
    """Whether *remote*, the address of a client, is of this machine."""
    address = (remote or "").removeprefix("::ffff:")
    return address == "::1" or address.startswith("127.")


def _raw(response: web.Response) -> tuple[bytes, bytes]:
    body = _body(response)
    lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items() if name.lower() != "content-length"]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode(), body


def _body(response: web.Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b""
