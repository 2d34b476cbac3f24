"""
A server that says exactly the bytes it is told to: for answers that no proper server would give.

A script is handed the request and the connection's writer and may do anything; `says(...)` makes the usual one.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from monitor.clock import SystemClock
from monitor.config.secrets import Secret
from monitor.config.sections.core import ApiSettings
from monitor.postpost.api_transport import ApiTransport
from monitor.postpost.client import ApiClient
from tests import marked
from tests.waiting import scaled

KEY = marked.API_KEY
USER_ID = "6626a1f5e4b0c91a2d3f4567"
PLATFORM_ID = "linkedin-Ab1"


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    raw: bytes


Script = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def answer(status: int, body: bytes | str | object = b"", *headers: str, length: int | None = None) -> bytes:
    """A whole HTTP answer; a *body* that is no text or bytes is written as JSON, a *length* of -1 sends no Content-Length."""
    if not isinstance(body, bytes):
        body = (body if isinstance(body, str) else json.dumps(body)).encode("utf-8", "surrogatepass")
    lines = [f"HTTP/1.1 {status} Whatever", *headers]
    if length != -1:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def says(payload: bytes, *, close: bool = False) -> Script:
    """The script that answers each request with the same bytes."""

    async def script(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(payload)
        await writer.drain()
        if close:
            writer.close()

    return script


def a_test_answer(**overrides: Any) -> dict[str, Any]:
    """A complete answer to the test of `PLATFORM_ID`: passed. The `T{...}` of api-contract.md 6."""
    values: dict[str, Any] = {
        "platform": "linkedin",
        "platformId": PLATFORM_ID,
        "username": "A",
        "status": "ok",
        "message": "m",
        "permissions": ["p"],
        "tokenExpiresIn": None,
        "lastSuccessfulPost": None,
        "lastError": None,
    }
    return values | overrides


HEALTHY = says(answer(200, a_test_answer()))


@dataclass
class RawServer:
    """A listening server: what it says, and what it was asked."""

    script: Script = HEALTHY
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    sent: int = 0
    port: int = 0
    scheme: str = "http"
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def api(self, host: str = "127.0.0.1", **overrides: Any) -> ApiClient:
        """A client of this server; *overrides* are settings, and its transport's `lookup` and `rebuilt`."""
        hooks = {name: overrides.pop(name) for name in ("lookup", "rebuilt") if name in overrides}
        values: dict[str, Any] = {
            "timeout": timedelta(seconds=scaled(5)),
            "connect_timeout": timedelta(seconds=scaled(2)),
            "concurrency": 32,
        }
        settings = ApiSettings(base_url=f"{self.scheme}://{host}:{self.port}/api/v1", **(values | overrides))
        transport = ApiTransport(settings, clock=SystemClock(), **hooks)
        return ApiClient(settings, Secret(KEY), clock=SystemClock(), user_agent="postpost-monitor/1", transport=transport)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until somebody has enough of it."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while not writer.is_closing():
                raw = await reader.readuntil(b"\r\n\r\n")
                first, *lines = raw.decode("latin-1").rstrip().split("\r\n")
                method, target, _ = first.split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                request = Request(method, target, headers, raw)
                self.requests.append(request)
                await self.script(request, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def stop(self) -> None:
        """End every connection."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def raw_server(script: Script = HEALTHY, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """A server on loopback for the length of a block."""
    server = RawServer(script, scheme="https" if tls else "http")
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls, ssl_handshake_timeout=5 if tls else None)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        await server.stop()
