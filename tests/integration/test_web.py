"""The web port over real sockets."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from monitor.clock import SystemClock
from monitor.config import Secret, WebSettings
from monitor.domain.views.snapshot import ConnectionView, OutboxView, Snapshot
from monitor.errors import ConfigError
from monitor.metrics import Metrics
from monitor.web.connection_limits import Limits
from monitor.web.server import SECURITY_HEADERS, WebServer
from tests import marked
from tests.builders import DAY, START, a_connection, a_state, a_token_belief
from tests.waiting import eventually, patience, scaled

TOKEN = marked.TOKEN
DEFAULT_HEADERS = {"Host": "127.0.0.1", "Connection": "close"}


@dataclass
class Reply:
    """A parsed answer; status 0 when the server hung up without one."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Port:
    """A running web port, with what a test may turn."""

    host: str
    number: int
    server: WebServer
    metrics: Metrics
    snapshot: Snapshot
    ready: tuple[bool, str] = (True, "ready")
    asked: int = 0

    def picture(self) -> Snapshot:
        """What the port shows."""
        self.asked += 1
        return self.snapshot

    async def ask(self, path: str = "/", method: str = "GET", **headers: str) -> Reply:
        """One request and its answer."""
        given = DEFAULT_HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value)
        return await self.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())

    async def send(self, request: bytes) -> Reply:
        """These bytes, and what comes back until the server hangs up."""
        reader, writer = await asyncio.open_connection(self.host, self.number)
        try:
            writer.write(request)
            async with asyncio.timeout(patience()):
                raw = await reader.read(-1)
        except ConnectionError:
            raw = b""
        finally:
            writer.close()
        return _parsed(raw)


def _parsed(raw: bytes) -> Reply:
    head, _, body = raw.partition(b"\r\n\r\n")
    if not head:
        return Reply()
    first, *lines = head.decode("latin-1").split("\r\n")
    return Reply(int(first.split(" ")[1]), dict(line.split(": ", 1) for line in lines), body)


SNAPSHOT = Snapshot(
    START,
    (ConnectionView(a_connection(1), a_state(token=a_token_belief(START + 30 * DAY), username="page1")),),
    accounts={"main": True},
    api_up=True,
    outbox={"on-call": OutboxView()},
)


@asynccontextmanager
async def _running(snapshot: Snapshot = SNAPSHOT, limits: Limits | None = None, **settings: Any) -> AsyncIterator[Port]:
    metrics = Metrics()
    metrics.prepare(receivers=["on-call"])
    port = Port("", 0, server=None, metrics=metrics, snapshot=snapshot)  # type: ignore[arg-type]
    web = WebSettings(**({"listen": "127.0.0.1:0"} | settings))
    port.server = WebServer(web, metrics, port.picture, SystemClock(), lambda: port.ready, limits=limits)
    url = urlsplit(await port.server.start())
    port.host, port.number = url.hostname or "", url.port or 0
    yield port
    await port.server.close()


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    """The web port as it is by default."""
    async with _running() as running:
        yield running


async def test_status_page(port: Port) -> None:
    """The front page says how it all stands."""
    reply = await port.ask("/")

    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"The connection works." in reply.body
    assert b"linkedin-page1" in reply.body


@pytest.mark.parametrize("name", ["style.css", "live.js", "good.svg"])
async def test_static(port: Port, name: str) -> None:
    """The page's files are served as what they are."""
    reply = await port.ask(f"/static/{name}?abc")
    types = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

    assert (reply.status, reply.headers["Content-Type"]) == (200, types[Path(name).suffix])


async def test_json(port: Port) -> None:
    """Both documents are JSON and take the page's filters."""
    summary = await port.ask("/api/v1/summary")
    found = await port.ask("/api/v1/connections?q=page1")
    nothing = await port.ask("/api/v1/connections?q=nothing")

    assert summary.headers["Content-Type"] == "application/json; charset=utf-8"
    assert json.loads(summary.body)["summary"] == "The connection works."
    assert json.loads(found.body)["connections"][0]["platformId"] == "linkedin-page1"
    assert json.loads(nothing.body)["total"] == 0


async def test_metrics(port: Port) -> None:
    """Prometheus gets the text format by default and OpenMetrics when it asks, each announced as what it is."""
    text = await port.ask("/metrics")
    openmetrics = await port.ask("/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")

    names = {family.name for family in parse(text.body.decode())}
    assert text.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert {"postpost_connection_up", "postpost_checks", "process_resident_memory_bytes"} <= names
    assert openmetrics.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert openmetrics.body.endswith(b"# EOF\n")
    assert b"# EOF" not in text.body


async def test_promtool(port: Port, promtool: Path) -> None:
    """Prometheus' own checker has nothing to say about the metrics."""
    port.metrics.loops_stepped({"checker": START})
    port.metrics.config_reloaded(successful=True, at=START)
    reply = await port.ask("/metrics")

    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(promtool, "check", "metrics", stdin=pipe, stdout=pipe, stderr=pipe)
    said, complained = await process.communicate(reply.body)

    assert (process.returncode, said, complained) == (0, b"", b"")


async def test_ready(port: Port) -> None:
    """`/-/ready` says why it is not; `/-/healthy` only that the process answers."""
    port.ready = (False, "the database takes no writes")

    ready, healthy = await port.ask("/-/ready"), await port.ask("/-/healthy")

    assert (ready.status, ready.body) == (503, b"the database takes no writes\n")
    assert healthy.status == 200
    port.ready = (True, "ready")
    assert (await port.ask("/-/ready")).status == 200


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/ready", "/api/v1/summary", "/nothing", "/static/style.css"])
async def test_security_headers(port: Port, path: str) -> None:
    """Every answer forbids what a page of ours never needs, and tells no version."""
    reply = await port.ask(path)
    cached = {"/": "private, no-cache", "/api/v1/summary": "private, no-cache", "/static/style.css": "max-age=86400"}
    expected = SECURITY_HEADERS | ({"Cache-Control": cached[path]} if path in cached else {})

    assert expected.items() <= reply.headers.items()
    assert "'unsafe" not in reply.headers["Content-Security-Policy"]
    assert reply.headers["Server"] == "postpost-monitor"
    assert "Access-Control-Allow-Origin" not in reply.headers


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/ready", "/nothing"])
async def test_head(port: Port, path: str) -> None:
    """HEAD gets the headers of GET and no body."""
    head, get = await port.ask(path, "HEAD"), await port.ask(path)

    assert head.status == get.status
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert int(head.headers["Content-Length"]) > 0
    assert head.body == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
async def test_methods(port: Port, method: str) -> None:
    """Nothing can be changed: every other method is refused."""
    reply = await port.ask("/" if method != "CONNECT" else "127.0.0.1:80", method)

    assert reply.status == 405
    assert reply.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path",
    [
        "/favicon.ico",
        "/static/",
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static//etc/passwd",
        "//metrics",
        "/metrics/",
        "/api/v1/",
        "/..",
    ],
)
async def test_nothing_there(port: Port, path: str) -> None:
    """What is not served is not found, and no path leads out of the page's files."""
    assert (await port.ask(path)).status == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "127.0.0.1:80@evil.example"])
async def test_foreign_names(port: Port, host: str) -> None:
    """On loopback nothing is served under a foreign name, health included: a browser may have been led here."""
    for path in ("/", "/metrics", "/-/healthy", "/static/style.css"):
        reply = await port.ask(path, Host=host)
        assert reply.status == 421
        assert b"linkedin" not in reply.body


async def test_allowed_names() -> None:
    """A name of the configuration is served."""
    async with _running(allowed_hosts=["monitor.example.com"]) as port:
        assert (await port.ask("/", Host="monitor.example.com:443")).status == 200
        assert (await port.ask("/", Host="other.example.com")).status == 421


async def test_token() -> None:
    """With a token, everything but health needs it; browsers are asked for a password."""
    async with _running(token=Secret(TOKEN)) as port:
        for path in ("/", "/metrics", "/api/v1/summary", "/static/style.css", "/nothing"):
            refused = await port.ask(path)
            assert (refused.status, refused.headers["WWW-Authenticate"].split()[0]) == (401, "Basic")
            assert (await port.ask(path, Authorization=f"Bearer {TOKEN}x")).status == 401
        assert (await port.ask("/metrics", Authorization=f"Bearer {TOKEN}")).status == 200
        assert (await port.ask("/-/healthy")).status == 200
        assert (await port.ask("/-/ready")).status == 200


async def test_without_status_page() -> None:
    """The pages can be switched off; metrics and health stay."""
    async with _running(status_page=False) as port:
        statuses = [(await port.ask(path)).status for path in ("/", "/api/v1/summary", "/static/style.css", "/metrics", "/-/healthy")]

    assert statuses == [404, 404, 404, 200, 200]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 421),
        (b"GET /-/healthy HTTP/1.0\r\nHost: localhost\r\n\r\n", 200),
        (b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nabc", 200),
        (b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n", 200),
        (b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x81\x01a", 200),
    ],
    ids=range(15),
)
async def test_odd_requests(port: Port, request_bytes: bytes, status: int) -> None:
    """What is no proper request within the limits is refused without a word about the inside; bodies are not waited for."""
    reply = await port.send(request_bytes)

    assert reply.status == status
    assert b"Traceback" not in reply.body
    assert b"aiohttp" not in reply.body
    assert "ython" not in reply.headers.get("Server", "")
    assert (await port.ask("/-/healthy")).status == 200


async def test_one_request_per_connection(port: Port) -> None:
    """What follows the first request on the same connection is not answered: nothing can be smuggled behind it."""
    one = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"

    reply = await port.send(one * 3)

    assert reply.status == 200
    assert reply.body == b"healthy\n"


async def test_bytes_behind_the_request() -> None:
    """What comes in while an answer goes out is thrown away, and does not disturb the answer."""
    # More than the buffers of both sides hold, so that the answer is still going out.
    views = tuple(ConnectionView(a_connection(number), a_state()) for number in range(5000))
    loop = asyncio.get_running_loop()
    async with _running(Snapshot(START, views)) as port:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)
            await loop.sock_connect(slow, (port.host, port.number))
            await loop.sock_sendall(slow, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
            answer = await loop.sock_recv(slow, 1000)
            await loop.sock_sendall(slow, b"a" * 100_000)
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            while piece := await loop.sock_recv(slow, 1 << 20):
                answer += piece
    reply = _parsed(answer)

    assert len(reply.body) == int(reply.headers["Content-Length"])
    assert b"HTTP/1.1" not in reply.body


async def test_a_megabyte_of_request_line(port: Port) -> None:
    """An endless request line is cut off early."""
    reply = await port.send(b"GET /" + b"a" * 1_000_000)

    assert reply.status in (431, 0)


async def test_slow_heads() -> None:
    """Who does not finish asking in time is hung up on, however busily the bytes drip."""
    async with _running(limits=Limits(head_seconds=0.3)) as port:
        _, writer = await asyncio.open_connection(port.host, port.number)
        started = time.monotonic()
        with pytest.raises(ConnectionError):
            await _drip(writer)
        assert time.monotonic() - started < scaled(10 * 0.3)
        writer.close()


async def _drip(writer: asyncio.StreamWriter) -> None:
    for _ in range(500):
        writer.write(b"G")
        await writer.drain()
        await asyncio.sleep(0.01)


async def test_readers_that_do_not_read() -> None:
    """Who asks and does not take the answer is hung up on in the end."""
    views = tuple(ConnectionView(a_connection(number), a_state()) for number in range(5000))
    async with _running(Snapshot(START, views), Limits(answer_seconds=0.5)) as port:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setblocking(False)
            await asyncio.get_running_loop().sock_connect(deaf, (port.host, port.number))
            await asyncio.get_running_loop().sock_sendall(deaf, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await eventually(lambda: len(port.server.limiter) == 1)
            await eventually(lambda: len(port.server.limiter) == 0)


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_thousand_half_open_connections(port: Port) -> None:
    """A thousand visitors who ask nothing keep nobody out: a scrape still takes less than a second, files and threads stay few."""
    threads = threading.active_count()
    crowd = []
    try:
        for _ in range(1000):
            visitor = socket.socket()
            visitor.setblocking(False)
            visitor.connect_ex((port.host, port.number))
            crowd.append(visitor)
            await asyncio.sleep(0)
        started = time.monotonic()
        reply = await port.ask("/metrics")
        took = time.monotonic() - started
        # Both ends of every connection are in this process.
        open_files = _open_files() - len(crowd)
    finally:
        for visitor in crowd:
            visitor.close()

    assert reply.status == 200
    assert took < scaled(5)
    assert open_files < 256
    assert threading.active_count() == threads


async def test_full_house() -> None:
    """When everybody inside is being served, the next one is turned away at once."""
    async with _running(Snapshot(START), Limits(connections=2)) as port:
        busy = [await asyncio.open_connection(port.host, port.number) for _ in range(2)]
        # While another one makes the text, both wait for it.
        async with port.server._snapshots._rendering[False, False]:
            for _, writer in busy:
                writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await eventually(lambda: port.server.limiter.serving == 2)

            turned_away = await port.ask("/-/healthy")

        for _, writer in busy:
            writer.close()
        await eventually(lambda: len(port.server.limiter) == 0)
        assert turned_away.status == 0
        assert (await port.ask("/-/healthy")).status == 200


async def test_many_scrapers_one_rendering(port: Port) -> None:
    """Twenty scrapers at once get the same text, made once; the picture is taken at most once a second."""
    replies = await asyncio.gather(*(port.ask("/metrics") for _ in range(20)))

    assert {reply.body for reply in replies} == {replies[0].body}
    assert port.asked == 1


async def test_large_answers_arrive_whole() -> None:
    """Megabytes arrive complete while the loop keeps serving others."""
    views = tuple(ConnectionView(a_connection(number), a_state(token=a_token_belief(START + DAY))) for number in range(3000))
    async with _running(Snapshot(START, views)) as port:
        metrics, page, summary = await asyncio.gather(port.ask("/metrics"), port.ask("/?page=30"), port.ask("/api/v1/summary"))

    assert len(metrics.body) == int(metrics.headers["Content-Length"]) > 2_000_000
    assert metrics.body.count(b"postpost_connection_up{") == 3000
    assert b"1,451 to 1,500 of 3,000 connections" in page.body
    assert json.loads(summary.body)["displayStatuses"]["ok"] == 3000


async def test_a_fault_of_ours() -> None:
    """A fault while answering is a 500 that tells nothing, and the next request is answered."""
    async with _running() as port:
        port.snapshot = None  # type: ignore[assignment]
        reply = await port.ask("/")
        port.snapshot = SNAPSHOT

        assert reply.status == 500
        assert reply.body == b"Internal error; see the monitor's log.\n"
        assert reply.headers["Server"] == "postpost-monitor"


async def test_port_taken(port: Port) -> None:
    """A port that is taken is a problem of the configuration, and says which."""
    other = WebServer(WebSettings(listen=f"127.0.0.1:{port.number}"), Metrics(), port.picture, SystemClock(), lambda: port.ready)

    with pytest.raises(ConfigError, match=rf"web\.listen: can't listen on 127\.0\.0\.1:{port.number}: Address already in use \(choose"):
        await other.start()
    await other.close()


async def test_close(port: Port) -> None:
    """Closing hangs up on who is silent, frees the port, and may be done twice."""
    reader, writer = await asyncio.open_connection(port.host, port.number)
    await eventually(lambda: len(port.server.limiter) == 1)

    await port.server.close()
    await port.server.close()

    assert await asyncio.wait_for(_rest(reader), patience()) == b""
    writer.close()
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(port.host, port.number)


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(-1)
    except ConnectionError:
        return b""


async def test_ipv6() -> None:
    """It listens on IPv6 too, and its address can be used as it is given."""
    metrics = Metrics()
    server = WebServer(WebSettings(listen="[::1]:0"), metrics, lambda: SNAPSHOT, SystemClock(), lambda: (True, "ready"))
    url = await server.start()
    try:
        reader, writer = await asyncio.open_connection("::1", urlsplit(url).port)
        writer.write(f"GET /-/healthy HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nConnection: close\r\n\r\n".encode())
        assert _parsed(await reader.read(-1)).status == 200
        writer.close()
    finally:
        await server.close()


async def test_fresh_after_a_second() -> None:
    """What was told before is told for a second at most."""
    async with _running() as port:
        before = await port.ask("/metrics")
        port.snapshot = Snapshot(START + timedelta(seconds=1))

        assert (await port.ask("/metrics")).body == before.body
        await eventually(lambda: not port.server._snapshots._texts, what="the text is forgotten")
        after = await port.ask("/metrics")

        assert b"linkedin-page1" in before.body
        assert b"linkedin-page1" not in after.body
        assert port.asked == 2
