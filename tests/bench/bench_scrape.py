"""What a scrape of ten thousand connections costs, compared with one prometheus_client child per series."""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from monitor.clock import SystemClock
from monitor.config import WebSettings
from monitor.domain.reasons import Health
from monitor.domain.views.snapshot import ConnectionView, Snapshot
from monitor.domain.views.status import Filters
from monitor.metrics import Metrics, definitions
from monitor.web.pages.templates import Pages
from monitor.web.server import WebServer
from monitor.web.status.board import StatusBoard
from tests.bench.result import Result, longest_hold
from tests.builders import DAY, MINUTE, SECOND, START, a_connection, a_state, a_token_belief

CONNECTIONS = 10_000
MANY = 100_000
CHANGED = 170
"""Of ten thousand connections checked every fifteen minutes, so many change between two scrapes fifteen seconds apart."""

PLATFORMS = ("linkedin", "x", "instagram", "facebook", "youtube", "tiktok", "threads", "pinterest", "bluesky", "mastodon")


def measure() -> Iterator[Result]:
    """Milliseconds of CPU of the first scrape, of the following ones, of the library's; bytes; how long a piece holds the loop; the page."""
    metrics, views = Metrics(), [a_view(number, 0) for number in range(CONNECTIONS)]
    snapshot = Snapshot(START, tuple(views))

    def scraped(snapshot: Snapshot, now: datetime, *, gzip: bool = False) -> list[bytes]:
        return list(metrics.chunks(snapshot, now, gzip=gzip))

    first = _took(lambda: scraped(snapshot, START))
    unchanged = min(_took(partial(scraped, snapshot, START)) for _ in range(5))
    compressing = _took(partial(scraped, snapshot, START, gzip=True))
    compressed = min(_took(partial(scraped, snapshot, START, gzip=True)) for _ in range(5))
    following, following_compressed = [], []
    for turn in range(1, 8):
        for number in range(turn * CHANGED, (turn + 1) * CHANGED):
            views[number] = a_view(number, turn)
        changed, now = Snapshot(START, tuple(views)), START + 15 * turn * SECOND
        following.append(_took(partial(scraped, changed, now)))
        following_compressed.append(_took(partial(scraped, changed, now, gzip=True)))
    ours = sorted(following)[len(following) // 2]
    library = _library(views)
    size, nothing = len(metrics.render(snapshot, START)), len(metrics.render(Snapshot(START), START))

    yield Result("first scrape after a start", first * 1e3, "ms", limit=50)
    yield Result("scrape when nothing changed", unchanged * 1e3, "ms", limit=10)
    yield Result("first scrape with gzip, beyond that", compressing * 1e3, "ms")
    yield Result("scrape with gzip when nothing changed", compressed * 1e3, "ms", limit=10)
    yield Result(f"scrape when {CHANGED} changed", ours * 1e3, "ms")
    yield Result("the same with gzip, beyond that", sorted(following_compressed)[len(following) // 2] * 1e3, "ms")
    yield Result("scrape by the library's gauges", library * 1e3, "ms")
    yield Result("scrape, as a share of the library's", ours / library, "x", limit=0.05)
    yield Result("bytes of a connection", (size - nothing) / CONNECTIONS, "B", limit=1000)
    yield Result("bytes of a connection with gzip", len(metrics.render(snapshot, START, gzip=True)) / CONNECTIONS, "B")
    yield from _pages(tuple(views))
    yield Result("longest hold of the event loop", asyncio.run(_hold(Metrics(), snapshot)) * 1e3, "ms", limit=20)
    many = Snapshot(START, tuple(a_view(number, 0) for number in range(MANY)))
    yield Result(f"longest hold with {MANY:,} connections", asyncio.run(_hold(Metrics(), many)) * 1e3, "ms", limit=20)


def _pages(views: tuple[ConnectionView, ...]) -> Iterator[Result]:
    pages, snapshot = Pages(), Snapshot(START, views)
    yield Result("sort the picture for people", _took(lambda: StatusBoard(snapshot)) * 1e3, "ms")
    board = StatusBoard(snapshot)
    pages.status(board, board.page(Filters(), START), {}, START)
    began = time.process_time()
    pages.status(board, board.page(Filters(page=50), START), {}, START)
    yield Result("one page of it, of the CPU", (time.process_time() - began) * 1e3, "ms", limit=100)


def a_view(number: int, turn: int) -> ConnectionView:
    seen = START + timedelta(seconds=turn, microseconds=number)
    state = a_state(
        Health.OK,
        username=f"user{number}",
        last_check_at=seen,
        last_evidence_at=seen,
        last_successful_post_at=seen - DAY,
        token=a_token_belief(None, earliest_at=seen + 30 * DAY, latest_at=seen + 30 * DAY + MINUTE),
    )
    platform = PLATFORMS[number % len(PLATFORMS)]
    return ConnectionView(a_connection(number, platform_id=f"{platform}-{number:08d}"), state)


def _took(work: Callable[[], object]) -> float:
    """CPU seconds of *work*."""
    gc.collect()
    started = time.process_time()
    work()
    return time.process_time() - started


def _library(views: list[ConnectionView]) -> float:
    """The same series as children of the library's gauges, all set beforehand: only the rendering is measured."""
    registry = CollectorRegistry()
    for family in definitions.PER_CONNECTION:
        gauge = Gauge(family.name, family.help, family.labels, registry=registry)
        for view in views:
            one = view.connection
            labels = (one.account, one.user_id, one.platform, one.platform_id)
            for more in _more_labels(family.labels, view):
                gauge.labels(*labels, *more).set(START.timestamp())
    return _took(lambda: generate_latest(registry))


def _more_labels(labels: tuple[str, ...], view: ConnectionView) -> list[tuple[str, ...]]:
    if "health" in labels:
        return [(view.state.health.value,)]
    return [(view.connection.name or "", view.state.username or "")] if "username" in labels else [()]


async def _hold(metrics: Metrics, snapshot: Snapshot) -> float:
    """The longest hold during scrapes over the port."""
    server = WebServer(WebSettings(listen="127.0.0.1:0"), metrics, lambda: snapshot, SystemClock(), lambda: (True, ""), fresh_seconds=0.0)
    url = await server.start()

    async def scrape() -> None:
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n")
            while await reader.read(1 << 20):
                pass
            writer.close()

    longest = await longest_hold(scrape())
    await server.close()
    return longest
