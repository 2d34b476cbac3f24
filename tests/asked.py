"""The web port over a database that has a story, asked over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from monitor.clock import Clock, SystemClock
from monitor.config import WebConfig, WebSettings
from monitor.db import read_outbox
from monitor.domain.policy import Policy
from monitor.domain.views.snapshot import Snapshot
from monitor.metrics import Metrics
from monitor.web.actions import Actions
from monitor.web.db_access import Read
from monitor.web.server import WebServer
from tests.clock import StoppedClock
from tests.waiting import patience
from tests.watched import Watched


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        """The body as a document."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Port:
    """A web port that listens."""

    host: str
    number: int

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Reply:
        """One request and its answer."""
        head = {"Host": "127.0.0.1", "Connection": "close", **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        return await self.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode())

    async def send(self, request: bytes) -> Reply:
        """These bytes, and what comes back."""
        reader, writer = await asyncio.open_connection(self.host, self.number)
        writer.write(request)
        async with asyncio.timeout(patience()):
            raw = await reader.read(-1)
        writer.close()
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        return Reply(int(first.split(" ")[1]), dict(line.split(": ", 1) for line in lines), body)

    async def get(self, path: str) -> Any:
        """The document at *path*, which must be there."""
        reply = await self.ask(path)
        assert reply.status == 200, (path, reply)
        return reply.json()

    async def pages(self, path: str, key: str, between: Callable[[], Any] | None = None, *, begin: str = "") -> list[Any]:
        """The rows of all pages, by their cursors, from that of *begin* on; *between* is awaited after each."""
        rows, cursor = [], f"&cursor={begin}" if begin else ""
        while True:
            document = await self.get(f"{path}{cursor}")
            rows += document[key]
            if document["nextCursor"] is None:
                return rows
            cursor = f"&cursor={document['nextCursor']}"
            if between is not None:
                await between()


@asynccontextmanager
async def listening(
    snapshot: Callable[[], Snapshot],
    *,
    policy: Policy | None = None,
    read: Read | None = None,
    clock: Clock | None = None,
    acting: Actions | None = None,
    file: WebConfig | None = None,
    instance: str = "",
    **web: Any,
) -> AsyncIterator[Port]:
    """A port that shows *snapshot*, anew for every request."""
    settings = WebSettings(**({"listen": "127.0.0.1:0"} | web))
    held = policy if policy is not None else Policy()
    server = WebServer(
        settings,
        Metrics(),
        snapshot,
        clock or SystemClock(),
        lambda: (True, "ready"),
        policy=lambda: held,
        read=read,
        fresh_seconds=0.0,
        actions=acting,
        file=file,
        instance=lambda: instance,
    )
    url = urlsplit(await server.start())
    try:
        yield Port(url.hostname or "", url.port or 0)
    finally:
        await server.close()


@asynccontextmanager
async def asked(world: Watched, **web: Any) -> AsyncIterator[Port]:
    """The port of a monitor that has this story behind it; its clock stands still at the story's end."""
    clock = StoppedClock(world.now)
    world.fleet.set_outbox(await world.database.read(read_outbox))
    policy = world.config.policy()
    given: dict[str, Any] = {"policy": policy, "read": world.database.read, "clock": clock, "instance": world.config.monitor.instance or ""}
    async with listening(lambda: world.fleet.snapshot(clock.now()), **given, **web) as port:
        yield port
