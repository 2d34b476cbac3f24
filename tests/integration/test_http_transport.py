"""The HTTP transport on its own: framing, connections that are kept, addresses, cancellation."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from monitor.http.errors import Failure, HttpError
from monitor.http.transport import HEAD_LIMIT, Response, Transport
from tests.raw_server import RawServer, Request, answer, raw_server, says
from tests.waiting import eventually

LIMIT = 1000
OK = answer(200, b"fine")


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = Transport(keep_alive_seconds=5)
    yield transport
    await transport.close()


async def get(transport: Transport, server: RawServer, *, limit: int = LIMIT, seconds: float = 5, **options: Any) -> Response:
    request = httpx.Request("GET", f"{server.scheme}://127.0.0.1:{server.port}/path?query")
    return await transport.send(request, seconds=seconds, limit=limit, **options)


async def test_request(transport: Transport) -> None:
    """A request is sent with its headers and body as they are; `target` stands for path and query."""
    async with raw_server(says(OK)) as server:
        url = httpx.URL(f"http://127.0.0.1:{server.port}/api")
        await get(transport, server)
        await transport.send(httpx.Request("POST", url, headers={"X-Team": "a b"}), seconds=5, limit=LIMIT, target=b"/api/%2F")
        first, second = server.requests
        assert (first.method, first.target, first.headers["host"]) == ("GET", "/path?query", f"127.0.0.1:{server.port}")
        assert (second.method, second.target, second.headers["x-team"]) == ("POST", "/api/%2F", "a b")
        assert second.headers["content-length"] == "0"
        assert server.connections == 1


@pytest.mark.parametrize("target", [b"/a b", b"/a\r\nX: y", b"/a\nb", b"/a\0"])
async def test_request_splitting(transport: Transport, target: bytes) -> None:
    """What would end the target or a header is never sent."""
    async with raw_server(says(OK)) as server:
        url = httpx.URL(f"http://127.0.0.1:{server.port}/")
        with pytest.raises(ValueError, match="character"):
            await transport.send(httpx.Request("GET", url), seconds=5, limit=LIMIT, target=target)
        with pytest.raises(ValueError, match="character"):
            await transport.send(httpx.Request("GET", url, headers=[(b"x", target + b"\r")]), seconds=5, limit=LIMIT)
        assert server.connections == 0


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
WHOLE = [
    ("length", OK, b"fine", True),
    ("chunks", CHUNKED + b"\r\n2\r\nfi\r\n2\r\nne\r\n0\r\n\r\n", b"fine", True),
    ("interim", b"HTTP/1.1 103 Early\r\nDate: x\r\n\r\n" + OK, b"fine", True),
    ("trailers", CHUNKED + b"Date: a\r\n\r\n4\r\nfine\r\n0\r\nDate: b\r\nRetry-After: 1\r\n\r\n", b"fine", True),
    ("no content", b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    ("close", answer(200, b"fine", "Connection: close"), b"fine", False),
    ("1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nfine", b"fine", False),
    ("two answers", OK + OK, b"fine", False),
    ("bytes too many", OK + b"x", b"fine", False),
    ("switch", b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nbytes", b"", False),
]


@pytest.mark.parametrize(("name", "payload", "body", "kept"), WHOLE, ids=[row[0] for row in WHOLE])
async def test_complete(transport: Transport, name: str, payload: bytes, body: bytes, *, kept: bool) -> None:
    """A complete response ends where its framing says; a connection with more or less than that is not used again."""
    async with raw_server(says(payload)) as server:
        for _ in range(3):
            response = await get(transport, server)
            assert (response.body, response.truncated, response.failure) == (body, False, None)
            assert response.headers.get("date") in (None, "a")
            assert "retry-after" not in response.headers
        assert server.connections == (1 if kept else 3)


BROKEN = [
    ("end of the connection", b"HTTP/1.1 200 OK\r\n\r\nfine", None),
    ("length", answer(200, b"fine", length=5), Failure.DISCONNECTED),
    ("chunks", CHUNKED + b"\r\n4\r\nfine\r\n", Failure.DISCONNECTED),
    ("bad chunk", CHUNKED + b"\r\n4\r\nfine\r\nzz\r\n", Failure.MALFORMED),
    ("trailers without end", CHUNKED + b"\r\n4\r\nfine\r\n0\r\n" + b"X: y\r\n" * HEAD_LIMIT, Failure.TOO_LARGE),
    ("far too much framing", CHUNKED + b"\r\n4\r\nfine\r\n" + b"1;" + b"x" * 2 * HEAD_LIMIT, Failure.TOO_LARGE),
]


@pytest.mark.parametrize(("name", "payload", "failure"), BROKEN, ids=[row[0] for row in BROKEN])
async def test_incomplete(transport: Transport, name: str, payload: bytes, failure: Failure | None) -> None:
    """With the status known, a body that breaks off is told beside what there is of it; without a length its end is the connection's."""
    async with raw_server(says(payload, close=True)) as server:
        response = await get(transport, server)
        assert (response.status, response.body) == (200, b"fine")
        assert (response.failure and response.failure.failure) == failure


SMUGGLING = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfine!",
    b"HTTP/1.1 200 OK\r\nContent-Length : 4\r\n\r\nfine",
    b"HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\nfine",
    b"HTTP/1.1 200 OK\nContent-Length: 4\n\nfine",
    b"HTTP/1.1 200 OK\r\nA: b\rContent-Length: 4\r\n\r\nfine",
    b"HTTP/1.1 2000 OK\r\nContent-Length: 4\r\n\r\nfine",
    b"HTTP/9.9 200 OK\r\nContent-Length: 4\r\n\r\nfine",
]


@pytest.mark.parametrize("payload", SMUGGLING)
async def test_ambiguous(transport: Transport, payload: bytes) -> None:
    """A response that two parsers may read differently is refused."""
    async with raw_server(says(payload)) as server:
        with pytest.raises(HttpError, match="not HTTP"):
            await get(transport, server)


async def test_truncated(transport: Transport) -> None:
    """No more than the limit is handed over, and the rest is not waited for."""
    async with raw_server(says(answer(200, b"x" * (LIMIT + 1), length=10**9))) as server:
        response = await get(transport, server)
        assert (len(response.body), response.truncated, response.failure) == (LIMIT, True, None)
        server.script = says(answer(200, b"x" * LIMIT))
        response = await get(transport, server)
        assert (len(response.body), response.truncated) == (LIMIT, False)


async def test_deadline_in_the_body(transport: Transport) -> None:
    """When the deadline ends a body, the status and what there is of the body are not lost."""
    async with raw_server(says(answer(503, b"par", length=10))) as server:
        response = await get(transport, server, seconds=0.2)
        assert (response.status, response.body) == (503, b"par")
        assert response.failure is not None
        assert response.failure.failure is Failure.TIMEOUT


async def test_idle_connections_are_closed() -> None:
    """An idle connection is closed after its time, without another request."""
    transport = Transport(keep_alive_seconds=0.1)
    async with raw_server(says(OK)) as server:
        await asyncio.gather(*(get(transport, server) for _ in range(5)))
        assert server.connections == 5
        await eventually(lambda: not transport._open, what="no open connection")
        await get(transport, server)
        assert server.connections == 6
        await transport.close()


async def test_answer_to_nothing(transport: Transport) -> None:
    """Bytes on an idle connection end it: they cannot become the answer to the next request."""
    late: list[asyncio.StreamWriter] = []

    async def script(request: Request, writer: asyncio.StreamWriter) -> None:
        late.append(writer)
        writer.write(OK)

    async with raw_server(script) as server:
        await get(transport, server)
        late[0].write(answer(200, b"evil"))
        await eventually(lambda: not transport._open, what="no open connection")
        assert (await get(transport, server)).body == b"fine"
        assert server.connections == 2


async def test_addresses() -> None:
    """The next address is tried when one does not answer; refused ones are never tried."""

    def lookup(host: str, port: int, **kind: Any) -> list[tuple[int, int, int, str, Any]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

    transport = Transport(lookup=lookup)
    async with raw_server(says(OK)) as server:
        assert (await get(transport, server)).body == b"fine"
        assert (await get(transport, server, refuse=lambda address: address == "127.0.0.2")).body == b"fine"
        with pytest.raises(HttpError) as refused:
            await get(transport, server, refuse=lambda address: address.startswith("127."))
        assert refused.value.failure is Failure.ADDRESS_REFUSED
        with pytest.raises(HttpError) as unreachable:
            await get(transport, server, refuse=lambda address: address == "127.0.0.1")
        assert unreachable.value.failure is Failure.UNREACHABLE
        assert server.connections == 2
    await transport.close()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def slow(request: Request, writer: asyncio.StreamWriter) -> None:
    """Answers in four pieces, a step of the loop apart."""
    for piece in (OK[:10], OK[10:30], OK[30:-2], OK[-2:]):
        writer.write(piece)
        await asyncio.sleep(0)


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS of a server on 127.0.0.1, and of a client that trusts it."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


async def test_tls_connections_are_kept() -> None:
    """A TLS connection serves several requests, and is closed when it was idle for its time."""
    server_tls, client_tls = contexts()
    transport = Transport(client_tls, keep_alive_seconds=0.3)
    async with raw_server(says(OK), server_tls) as server:
        for _ in range(3):
            assert (await get(transport, server)).body == b"fine"
        assert server.connections == 1
        await eventually(lambda: not transport._open, what="no open connection")
        await transport.close()


@pytest.mark.parametrize("tls", [False, True])
async def test_cancelled_at_every_step(*, tls: bool) -> None:
    """However many steps of the loop a request had when it was cancelled, no socket is left and the next request is answered."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the server's side of a handshake that was cut
    server_tls, client_tls = contexts() if tls else (None, None)
    transport = Transport(client_tls, keep_alive_seconds=5)
    before = open_files()
    async with raw_server(slow, server_tls) as server:
        for steps in range(60):
            for kept in (True, False):
                await get(transport, server)
                if not kept:
                    for connection in list(transport._open):
                        connection.abort()
                task = asyncio.ensure_future(get(transport, server))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        assert (await get(transport, server)).body == b"fine"
        await transport.close()
    await eventually(lambda: open_files() <= before, what="no socket left")


async def test_close(transport: Transport) -> None:
    """Closing ends the requests that are under way, and no new one is taken."""
    async with raw_server(says(b"")) as server:
        task = asyncio.ensure_future(get(transport, server))
        await eventually(lambda: len(server.requests) == 1, what="a request")
        await transport.close()
        with pytest.raises(HttpError, match="broke"):
            await task
        with pytest.raises(RuntimeError, match="closed"):
            await get(transport, server)


async def _drip(writer: asyncio.StreamWriter, payload: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        for position in range(len(payload)):
            writer.write(payload[position : position + 1])
            await writer.drain()
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n" + b"X-Drip: y\r\n" * 1000, None),
        (answer(200, b"x" * 900), 200),
        (CHUNKED + b"\r\n" + b"1\r\nx\r\n" * 900, 200),
    ],
    ids=["headers", "body", "chunks"],
)
async def test_drip(transport: Transport, payload: bytes, status: int | None) -> None:
    """A server that sends one byte at a time is cut off at the total deadline, in the headers and in the body."""

    async def script(request: Request, writer: asyncio.StreamWriter) -> None:
        head, end, body = payload.partition(b"\r\n\r\n")
        writer.write(head + end if end else b"")
        await _drip(writer, body if end else payload)

    async with raw_server(script) as server:
        began = asyncio.get_running_loop().time()
        if status is None:
            with pytest.raises(HttpError) as raised:
                await get(transport, server, seconds=0.5)
            failure: HttpError | None = raised.value
        else:
            response = await get(transport, server, seconds=0.5)
            assert response.status == status
            failure = response.failure
        assert failure is not None
        assert failure.failure is Failure.TIMEOUT
        assert asyncio.get_running_loop().time() - began >= 0.45
        await eventually(lambda: not transport._open, what="no open connection")


@pytest.mark.parametrize("size", [b"FFFFFFFFFFFFFFFFF", b"-1", b"0x4", b"7fffffffffffffff"])
async def test_chunk_bombs(transport: Transport, size: bytes) -> None:
    """A chunk that claims to be larger than anything is refused, or ends with the connection; it allocates nothing."""
    async with raw_server(says(CHUNKED + b"\r\n" + size + b"\r\nfine", close=True)) as server:
        response = await get(transport, server)
        assert response.failure is not None
        assert response.failure.failure in (Failure.MALFORMED, Failure.DISCONNECTED)
        assert len(response.body) <= LIMIT


@pytest.mark.parametrize(("payload", "complete"), [(OK, True), (answer(200, b"fi", length=4), False)], ids=["complete", "incomplete"])
async def test_half_close(transport: Transport, payload: bytes, *, complete: bool) -> None:
    """A server that ends its side only: a complete answer counts, an incomplete one is broken off; the connection is not used again."""

    async def script(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(payload)
        writer.write_eof()
        await writer.drain()

    async with raw_server(script) as server:
        for _ in range(2):
            response = await get(transport, server)
            assert (response.failure is None) is complete
            await eventually(lambda: not transport._open, what="no open connection")
        assert server.connections == 2


async def test_stale_kept_connection(transport: Transport) -> None:
    """A request that finds its kept connection closed without a byte is sent once more; one that got a byte, or is alone, is not."""
    seen: list[str] = []

    async def script(request: Request, writer: asyncio.StreamWriter) -> None:
        seen.append(request.target)
        if len(seen) in (1, 3):
            writer.write(OK)
            await writer.drain()
            return
        if len(seen) == 4:
            writer.write(b"H")
            await writer.drain()
        writer.close()

    async with raw_server(script) as server:
        await get(transport, server)
        assert (await get(transport, server)).body == b"fine"  # closed, and sent again
        assert (len(seen), server.connections) == (3, 2)
        with pytest.raises(HttpError, match="broke"):
            await get(transport, server)
        assert len(seen) == 4, "an answer had begun"
        with pytest.raises(HttpError, match="broke"):
            await get(transport, server)
        assert len(seen) == 5, "a new connection is no stale one"


def _server_tls(authority: trustme.CA, *names: str, **options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(context)
    return context


async def test_tls_failures() -> None:
    """An expired certificate, one for another name, of an unknown authority, no TLS at all, a handshake that is cut or never ends."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the server's side of a refused handshake
    authority, stranger = trustme.CA(), trustme.CA()
    client = ssl.create_default_context()
    authority.configure_trust(client)
    transport = Transport(client, connect_seconds=1, keep_alive_seconds=5)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    servers = {
        "expired": (
            _server_tls(authority, "127.0.0.1", not_before=yesterday - timedelta(days=1), not_after=yesterday),
            Failure.TLS_EXPIRED,
        ),
        "another": (_server_tls(authority, "example.org"), Failure.TLS),
        "unknown": (_server_tls(stranger, "127.0.0.1"), Failure.TLS),
    }
    before = open_files()
    for name, (context, failure) in servers.items():
        async with raw_server(says(OK), context) as server:
            with pytest.raises(HttpError) as raised:
                await get(transport, server)
            assert raised.value.failure is failure, name
            assert not server.requests, "no key leaves before the certificate is checked"

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(OK)
        writer.close()

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    for handler, failure in ((plain, Failure.TLS), (cut, Failure.TLS), (silent, Failure.TIMEOUT)):
        listener = await asyncio.start_server(handler, "127.0.0.1")
        request = httpx.Request("GET", f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/")
        with pytest.raises(HttpError) as raised:
            await transport.send(request, seconds=5, limit=LIMIT)
        assert raised.value.failure is failure, handler.__name__
        listener.close()
    await transport.close()
    await eventually(lambda: open_files() <= before, what="no socket left")


async def _cancel(transport: Transport, server: RawServer, times: int) -> None:
    for number in range(times):
        task = asyncio.ensure_future(get(transport, server))
        for _ in range(number % 12):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("times", [200, pytest.param(25_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
async def test_many_cancellations(transport: Transport, times: int) -> None:
    """A hundred thousand cancelled requests, four at a time: no socket and no connection is lost."""
    before = open_files()
    async with raw_server(says(OK)) as server:
        await asyncio.gather(*(_cancel(transport, server, times) for _ in range(4)))
        assert (await get(transport, server)).body == b"fine"
        assert len(transport._open) <= 5
        await transport.close()
    await eventually(lambda: open_files() <= before, what="no socket left")
