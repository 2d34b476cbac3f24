"""What pages, documents and their confirmation (304) cost in CPU and bytes at 12, 300 and 5,000 connections, over the port."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from monitor.config import WebSettings
from monitor.domain.views.snapshot import Snapshot
from monitor.logs import configure
from monitor.metrics import Metrics
from monitor.web.connection_limits import Limits
from monitor.web.server import WebServer
from tests.bench.bench_scrape import a_view
from tests.bench.result import Result, longest_hold
from tests.builders import MINUTE, START
from tests.clock import FakeClock

SIZES = (12, 300, 5_000)
ROUNDS = 5
PAGES = ("/", "/?displayStatus=trouble", "/wall", "/calendar", "/incidents", "/calendar.ics", "/api/v1/summary", "/api/v1/connections")
LIMIT_OF_PAGE, LIMIT_OF_CONFIRMATION, LIMIT_OF_HOLD = 30, 2, 20
"""Milliseconds of CPU at the largest size."""


def measure() -> Iterator[Result]:
    """
    Bytes as sent, milliseconds of CPU after one connection changed, and of a 304 when none did; the client's CPU is counted too.

    Of the largest size also for how much CPU in one piece a page holds the event loop.
    """
    # Without a database no page has history.
    configure(level="error", log_format="console")
    for size in SIZES:
        yield from asyncio.run(_of(size))


@dataclass
class _Port:
    """A port, its snapshot, and one client that keeps its connection."""

    size: int
    clock: FakeClock = field(default_factory=lambda: FakeClock(START))
    turn: int = 0

    def __post_init__(self) -> None:
        self.views = [a_view(number, 0) for number in range(self.size)]
        self.snapshot = Snapshot(START, tuple(self.views))
        settings = WebSettings(listen="127.0.0.1:0")
        # On a busy machine the first feed of thousands takes longer than an answer may.
        limits = Limits(answer_seconds=300.0)
        self.server = WebServer(
            settings, Metrics(), lambda: self.snapshot, self.clock, lambda: (True, ""), fresh_seconds=1.0, limits=limits
        )

    async def change(self) -> None:
        """One connection was checked, and so much time went by that nothing is kept, not even the feed."""
        self.turn += 1
        await self.clock.advance(MINUTE)
        number = self.turn % self.size
        self.views[number] = a_view(number, self.turn)
        self.snapshot = Snapshot(self.clock.now(), tuple(self.views))

    async def connect(self) -> None:
        """Listen, and connect."""
        url = await self.server.start()
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), limit=1 << 24)

    async def ask(self, path: str, tag: str = "") -> tuple[bytes, int, float]:
        """The head of the answer, the bytes of its body, and the seconds of CPU."""
        more = f"If-None-Match: {tag}\r\n" if tag else ""
        began = time.process_time()
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n{more}\r\n".encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = _header(head, b"content-length")
        body = await self.reader.readexactly(int(length)) if length and not head.startswith(b"HTTP/1.1 304") else b""
        return head, len(body), time.process_time() - began


def _header(head: bytes, name: bytes) -> bytes:
    lines = (line.partition(b": ") for line in head.split(b"\r\n"))
    return next((value for key, _, value in lines if key.lower() == name), b"")


async def _of(size: int) -> list[Result]:
    port, results = _Port(size), []
    await port.connect()
    for path in PAGES:
        times, bytes_sent, head = [], 0, b""
        for _ in range(ROUNDS):
            await port.change()
            head, bytes_sent, took = await port.ask(path)
            assert head.startswith(b"HTTP/1.1 200"), head
            times.append(took)
        largest = size == SIZES[-1]
        limit = LIMIT_OF_PAGE if path == "/" and largest else None
        results.append(Result(f"{path} of {size:,}: bytes with gzip", bytes_sent, "B"))
        results.append(Result(f"{path} of {size:,}: one changed", min(times) * 1e3, "ms", limit=limit))
        if tag := _header(head, b"etag").decode():
            confirmed = [await port.ask(path, tag) for _ in range(ROUNDS)]
            assert all(head.startswith(b"HTTP/1.1 304") for head, _, _ in confirmed), path
            results.append(
                Result(f"{path} of {size:,}: 304", min(took for _, _, took in confirmed) * 1e3, "ms", limit=LIMIT_OF_CONFIRMATION)
            )
        if largest:
            longest = min([await _hold(port, path) for _ in range(ROUNDS)])
            results.append(Result(f"{path} of {size:,}: longest hold of the loop", longest * 1e3, "ms", limit=LIMIT_OF_HOLD))
    port.writer.close()
    await port.server.close()
    return results


async def _hold(port: _Port, path: str) -> float:
    """The longest hold while one page is made."""
    await port.change()
    return await longest_hold(port.ask(path))
