"""Servers that drip, break off, flood, redirect or lie about lengths: each ends in time, and the next checks are fine."""

import asyncio
import gzip
import random
import resource
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from urllib.parse import unquote

import pytest

from monitor.domain.replies.checks import Reply
from monitor.errors import ApiError, Reason
from monitor.postpost.client import ApiClient
from tests.hostile_ids import hostile_id
from tests.raw_server import HEALTHY, PLATFORM_ID, RawServer, Request, a_test_answer, answer, raw_server, says
from tests.waiting import scaled

HEAD = b"HTTP/1.1 200 OK\r\n"
GOOD = answer(200, a_test_answer())
BOMB = gzip.compress(bytes(1_000_000), 1) * 200


def drip(prefix: bytes, piece: bytes, pause: float = 0.05) -> Callable[[Request, asyncio.StreamWriter], Awaitable[None]]:
    """Say *prefix*, then *piece* again and again."""

    async def script(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(prefix)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return script


async def silence(request: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def reset(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def flood(request: Request, writer: asyncio.StreamWriter) -> None:
    """Ten gigabytes, as fast as they are taken."""
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(160_000):
        writer.write(chunk)
        await writer.drain()
        FLOODED[0] += len(chunk)


FLOODED = [0]

CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

SLOW = [
    ("silence", silence),
    ("body", drip(HEAD + b"Content-Length: 100000\r\n\r\n", b"x")),
    ("chunks", drip(CHUNKED, b"1\r\nx\r\n")),
    ("headers", drip(HEAD, b"X-A: b\r\n")),
    ("header", drip(HEAD + b"X-A: ", b"b")),
    ("status line", drip(b"HTTP/1.1 200 O", b"K")),
    ("100-continue", drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
    ("fast 100-continue", drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50, 0.001)),
]

BROKEN = [
    ("nothing", says(b"", close=True), {Reason.API_DISCONNECTED}),
    ("reset", reset, {Reason.API_DISCONNECTED}),
    ("half a header", says(HEAD + b"Conte", close=True), {Reason.API_DISCONNECTED}),
    ("cut body", says(GOOD[:-10], close=True), {Reason.API_DISCONNECTED}),
    ("promised more", says(answer(200, a_test_answer(), length=5000), close=True), {Reason.API_DISCONNECTED}),
    ("cut chunks", says(CHUNKED + b"20\r\n" + b'{"status":"ok"', close=True), {Reason.API_DISCONNECTED}),
    ("chunks without end", says(CHUNKED + b'f\r\n{"status":"ok"}\r\n', close=True), {Reason.API_DISCONNECTED}),
    ("broken chunk size", says(CHUNKED + b"zz\r\nxx\r\n", close=True), {Reason.API_DISCONNECTED, Reason.REPLY_INVALID}),
    ("promised less", says(answer(200, a_test_answer(), length=60)), {Reason.REPLY_NOT_JSON, Reason.REPLY_INVALID}),
    ("not HTTP", says(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", close=True), {Reason.REPLY_INVALID}),
    ("a megabyte of header", says(answer(200, a_test_answer(), "X-A: " + "b" * 1_000_000)), {Reason.REPLY_TOO_LARGE}),
    (
        "10,000 headers",
        says(answer(200, a_test_answer(), *[f"X-{n}: b" for n in range(10_000)])),
        {Reason.REPLY_TOO_LARGE, Reason.REPLY_INVALID},
    ),
    ("two lengths", says(answer(200, a_test_answer(), "Content-Length: 3")), {Reason.REPLY_INVALID}),
    ("bomb", says(answer(200, BOMB, "Content-Encoding: gzip")), {Reason.REPLY_ENCODED}),
    ("bomb, unannounced", says(answer(200, BOMB)), {Reason.REPLY_TOO_LARGE}),
    ("flood", flood, {Reason.REPLY_TOO_LARGE}),
]


async def one(api: ApiClient) -> Reply | ApiError:
    exchange = await api.test(PLATFORM_ID)
    return exchange.answer


async def healthy(api: ApiClient, server: RawServer, count: int = 200) -> None:
    """The next *count* checks through the same client are all passed."""
    server.script = HEALTHY
    answers = await asyncio.gather(*(one(api) for _ in range(count)))
    assert [found for found in answers if not isinstance(found, Reply)] == []


@pytest.mark.parametrize(("name", "script"), SLOW, ids=[row[0] for row in SLOW])
async def test_slow(name: str, script: Callable[[Request, asyncio.StreamWriter], Awaitable[None]]) -> None:
    """However slowly a server talks, twenty checks at once end with the total deadline; afterwards all is well."""
    deadline = scaled(0.6)
    async with raw_server(script) as server:
        api = server.api(timeout=timedelta(seconds=deadline))
        started = time.monotonic()
        answers = await asyncio.gather(*(one(api) for _ in range(20)))
        took = time.monotonic() - started
        assert {found.reason for found in answers if isinstance(found, ApiError)} == {Reason.API_TIMEOUT}
        assert deadline <= took < scaled(5 * deadline)

        await healthy(api, server)
        await api.close()


@pytest.mark.parametrize(("name", "script", "reasons"), BROKEN, ids=[row[0] for row in BROKEN])
async def test_broken(name: str, script: Callable[[Request, asyncio.StreamWriter], Awaitable[None]], reasons: set[Reason]) -> None:
    """A broken answer is told for what it is, never read in part, costs little, and harms no later check."""
    async with raw_server(script) as server:
        api = server.api(timeout=timedelta(seconds=scaled(2)))
        FLOODED[0] = 0
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
        answers = [await one(api) for _ in range(3)]
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert {found.reason for found in answers if isinstance(found, ApiError)} <= reasons
        assert not any(isinstance(found, Reply) for found in answers)
        assert time.monotonic() - started < scaled(3 * 2), "three deadlines"
        assert grown < 30_000, "KiB of memory for both ends of three answers"
        assert FLOODED[0] < 3 * 20_000_000, "what the kernel's buffers hold, not what was offered"

        await healthy(api, server)
        await api.close()


async def test_redirect_sink() -> None:
    """The target of a redirect hears nothing, so it learns no key."""
    async with raw_server() as sink, raw_server() as server:
        api = server.api()
        for status in (301, 302, 303, 307, 308):
            server.script = says(answer(status, b"", f"Location: http://127.0.0.1:{sink.port}/x"))
            found = await one(api)
            assert isinstance(found, ApiError)
            assert found.reason is Reason.API_REDIRECTED
        await healthy(api, server)
        await api.close()
        assert sink.connections == 0


async def test_hostile_ids() -> None:
    """Five thousand hostile ids: each is refused here, or asks for exactly one segment below the endpoint."""
    source = random.Random(20300101)
    asked = []
    async with raw_server() as server:
        api = server.api()
        for _ in range(5000):
            platform_id = hostile_id(source)
            exchange = await api.test(platform_id)
            if exchange.http_status is not None:
                asked.append(f"/api/v1/test-connection/{platform_id}")
        await api.close()

    assert len(asked) > 100
    assert [unquote(request.target) for request in server.requests] == asked
    assert {request.target.count("/") for request in server.requests} == {4}


async def test_cookies() -> None:
    """A cookie is never sent back."""
    async with raw_server(says(answer(200, a_test_answer(), "Set-Cookie: a=b; Path=/"))) as server:
        api = server.api("localhost")
        await one(api)
        await one(api)
        await api.close()
        assert [request for request in server.requests if "cookie" in request.headers] == []


async def test_closed_keep_alive() -> None:
    """A server that closes after every answer, without saying so, makes no check fail."""
    async with raw_server(says(GOOD, close=True)) as server:
        api = server.api()
        answers = [found for _ in range(40) for found in await asyncio.gather(*(one(api) for _ in range(25)))]
        assert [found for found in answers if not isinstance(found, Reply)] == []
        await api.close()


async def test_stale_connection() -> None:
    """A kept connection that the server closes instead of answering is retried once, at once; a server that always does so fails."""
    turns = iter([True, False, True])

    async def script(request: Request, writer: asyncio.StreamWriter) -> None:
        if next(turns, False):
            await HEALTHY(request, writer)
        else:
            writer.close()

    async with raw_server(script) as server:
        api = server.api()
        assert isinstance(await one(api), Reply)
        assert isinstance(await one(api), Reply)
        assert len(server.requests) == 3
        found = await one(api)
        assert isinstance(found, ApiError)
        assert found.reason is Reason.API_DISCONNECTED
        assert len(server.requests) == 5
        await api.close()


async def test_cancelled() -> None:
    """Two thousand checks cancelled at any moment take no capacity away."""
    async with raw_server() as server:
        api = server.api(concurrency=8)
        for round_ in range(40):
            tasks = [asyncio.ensure_future(one(api)) for _ in range(50)]
            await asyncio.sleep(0.0005 * (round_ % 10))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await healthy(api, server)
        await api.close()


async def test_concurrency() -> None:
    """No more requests are under way than the settings allow, and waiting for a turn does not count against the deadline."""
    running = most = 0

    async def script(request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.1)
        running -= 1
        await HEALTHY(request, writer)

    async with raw_server(script) as server:
        api = server.api(concurrency=3, timeout=timedelta(seconds=scaled(0.4)))
        answers = await asyncio.gather(*(one(api) for _ in range(21)))
        assert [found for found in answers if not isinstance(found, Reply)] == []
        assert most == 3
        await api.close()


async def test_closed() -> None:
    """After close every call still gives an exchange; closing twice is fine."""
    async with raw_server() as server:
        api = server.api()
        await one(api)
        await api.close()
        await api.close()
        found = await one(api)
        assert isinstance(found, ApiError)
        assert found.reason is Reason.MONITOR_INTERNAL


async def test_rebuild() -> None:
    """Three internal errors in a row replace the HTTP transport; the key is in none of the texts."""
    rebuilds: list[None] = []
    async with raw_server() as server:
        api = server.api(rebuilt=lambda: rebuilds.append(None))
        await one(api)
        await api._transport.current().close()
        found = [await one(api) for _ in range(3)]
        assert [error.reason for error in found if isinstance(error, ApiError)] == [Reason.MONITOR_INTERNAL] * 3
        assert "RuntimeError" in str(found[0])
        assert len(rebuilds) == 1
        await healthy(api, server)
        await api.close()
