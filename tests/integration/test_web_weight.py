"""What answers weigh: gzip, confirmation by ETag, and connections that are kept for the next request."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import pytest

from monitor.config import WebConfig, WebSettings
from monitor.domain.reasons import Health
from monitor.domain.views.snapshot import ConnectionView, Snapshot
from monitor.metrics import Metrics
from monitor.web.connection_limits import Limits
from monitor.web.server import WebServer
from tests.builders import DAY, MINUTE, START, a_connection, a_state, a_token_belief
from tests.clock import FakeClock
from tests.waiting import eventually, patience

VIEWS = tuple(ConnectionView(a_connection(number), a_state(token=a_token_belief(START + 30 * DAY))) for number in range(1, 40))


@dataclass
class Reply:
    """One answer: status, headers by lower-case name, body as it was sent."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Client:
    """One connection to the port."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, path: str, *, more: bytes = b"", method: str = "GET", **headers: str) -> Reply:
        """One request, with *more* bytes right behind it, and its answer."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        self.writer.write(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode() + more)
        async with asyncio.timeout(patience()):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            known = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
            size = int(known.get("content-length", "0")) if method == "GET" else 0
            return Reply(int(head[0].split(" ")[1]), known, await self.reader.readexactly(size))

    async def is_closed(self) -> bool:
        """Whether the server hangs up without another word."""
        async with asyncio.timeout(patience()):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True


@dataclass
class Port:
    """A running web port, the snapshot that it shows, and how often that was taken."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(START))
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(START, VIEWS))
    server: WebServer = field(init=False)
    number: int = 0
    clients: list[Client] = field(default_factory=list)

    async def client(self) -> Client:
        """A new connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number, limit=1 << 24)
        self.clients.append(Client(reader, writer))
        return self.clients[-1]


@asynccontextmanager
async def running(limits: Limits | None = None) -> AsyncIterator[Port]:
    port = Port()
    settings = WebSettings(listen="127.0.0.1:0")
    port.server = WebServer(settings, Metrics(), lambda: port.snapshot, port.clock, lambda: (True, ""), limits=limits)
    port.number = urlsplit(await port.server.start()).port or 0
    try:
        yield port
    finally:
        for client in port.clients:
            client.writer.close()
        await port.server.close()


PATHS = ("/", "/metrics", "/calendar", "/calendar.ics", "/api/v1/connections", "/api/v1/openapi.json")


async def test_many_requests_on_one_connection() -> None:
    """Pages, metrics and documents are answered one after the other on the same connection."""
    async with running() as port:
        client = await port.client()
        statuses = [(await client.ask(path)).status for path in PATHS * 2]

        assert statuses == [200] * len(PATHS) * 2
        assert len(port.server.limiter) == 1
        assert port.server.limiter.serving == 0


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ({"Connection": "close"}, b""),
        ({"Content-Length": "3"}, b"abc"),
        ({"Content-Length": "3"}, b""),
        ({"Transfer-Encoding": "chunked"}, b"0\r\n\r\n"),
        ({"Expect": "100-continue"}, b""),
        ({}, b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ({}, b"x"),
    ],
    ids=range(7),
)
async def test_what_ends_a_connection(headers: dict[str, str], more: bytes) -> None:
    """After anything but a plain request the connection ends with the answer: nothing that follows is taken for a request."""
    async with running() as port:
        client = await port.client()
        assert (await client.ask("/-/healthy")).status == 200
        assert (await client.ask("/-/healthy", more=more, **headers)).status == 200
        assert await client.is_closed()


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/nothing"])
async def test_errors_end_a_connection(path: str) -> None:
    """A refusal is the last answer on its connection."""
    async with running() as port:
        client = await port.client()
        assert (await client.ask(path)).status == 404
        assert await client.is_closed()


async def test_idle_connections_end() -> None:
    """A connection that stays silent after its answer ends, and so does one whose next head does not come to its end."""
    async with running(Limits(idle_seconds=0.2)) as port:
        silent = await port.client()
        await silent.ask("/-/healthy")
        assert await silent.is_closed()
    async with running(Limits(head_seconds=0.2)) as port:
        slow = await port.client()
        await slow.ask("/-/healthy")
        slow.writer.write(b"GET /")
        assert await slow.is_closed()


async def test_full_of_idle_connections() -> None:
    """A connection that is only kept makes room for a new one."""
    async with running(Limits(connections=2)) as port:
        kept = [await port.client(), await port.client()]
        for client in kept:
            await client.ask("/-/healthy")
        new = await port.client()
        assert (await new.ask("/-/healthy")).status == 200
        assert await kept[0].is_closed()


async def test_reload_ends_kept_connections() -> None:
    """When access is decided anew, connections that were let in before are not kept."""
    async with running() as port:
        client = await port.client()
        await client.ask("/-/healthy")
        settings = WebSettings(listen="127.0.0.1:0")
        port.server.adopt(settings, await port.server.prepare(settings, WebConfig()))
        assert await client.is_closed()
        await eventually(lambda: len(port.server.limiter) == 0)


@pytest.mark.parametrize("path", PATHS)
async def test_gzip(path: str) -> None:
    """Clients that accept gzip get the same bytes in fewer."""
    async with running() as port:
        client = await port.client()
        plain = await client.ask(path)
        packed = await client.ask(path, Accept_Encoding="deflate, gzip;q=0.5")
        refused = await client.ask(path, Accept_Encoding="gzip;q=0")

    assert packed.headers["content-encoding"] == "gzip"
    assert "Accept-Encoding" in packed.headers["vary"]
    assert "Accept-Encoding" in plain.headers["vary"]
    assert "content-encoding" not in plain.headers | refused.headers
    assert 2 * len(packed.body) < len(plain.body)
    if path != "/metrics":
        assert gzip.decompress(packed.body) == plain.body == refused.body
    else:
        assert gzip.decompress(packed.body).split(b"# HELP process_")[0] == plain.body.split(b"# HELP process_")[0]


@pytest.mark.parametrize(
    "path", ["/", "/?displayStatus=error", "/calendar", "/calendar.ics", "/api/v1/summary", "/api/v1/connections?limit=50"]
)
async def test_not_modified(path: str) -> None:
    """A page that the client has is confirmed while it shows the same, by snapshot and filter; another one is sent when it does not."""
    async with running() as port:
        client = await port.client()
        first = await client.ask(path)
        tag = first.headers["etag"]
        again = await client.ask(path, If_None_Match=f'"other", {tag}')
        other = await client.ask("/?displayStatus=unknown", If_None_Match=tag)
        port.snapshot = replace(port.snapshot, connections=(replace(VIEWS[0], state=a_state(Health.ERROR)),))
        await port.clock.advance(DAY)
        later = await client.ask(path, If_None_Match=tag)

    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert other.status == 200
    assert later.status == 200
    assert later.headers["etag"] != tag
    assert first.headers["cache-control"] == "private, no-cache"


async def test_the_time_of_an_answer_changes_nothing() -> None:
    """A document that was made again, and says the same, is still the one that the client has."""
    async with running() as port:
        client = await port.client()
        tag = (await client.ask("/api/v1/connections")).headers["etag"]
        port.snapshot = replace(port.snapshot, taken_at=START + 20 * MINUTE)
        await port.clock.advance(20 * MINUTE)
        confirmed = await client.ask("/api/v1/connections", If_None_Match=tag)

    assert (confirmed.status, confirmed.body) == (304, b"")


async def test_a_page_is_made_once() -> None:
    """Many who look at the same page get one rendering; the pages of other filters are their own."""
    async with running() as port:
        clients = [await port.client() for _ in range(10)]
        tags = [reply.headers["etag"] for reply in await asyncio.gather(*(client.ask("/") for client in clients))]
        filtered = await clients[0].ask("/?q=page1")

    assert len(set(tags)) == 1
    assert filtered.headers["etag"] != tags[0]
