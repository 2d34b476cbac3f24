"""A node that can't write while the others can: it notifies nothing, and says so once."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from monitor.clock import SystemClock
from monitor.cluster.node import Node
from monitor.cluster.peers import Peers
from monitor.domain.cluster.sharing import GLOBAL, ClusterView, NodeRow, Shard


@dataclass
class _Node:
    name: str
    view: ClusterView


@pytest.fixture
async def ready() -> AsyncIterator[list[int]]:
    """The status that the other node answers, and its port after it."""
    answers = [200]

    async def handle(_request: web.Request) -> web.Response:
        return web.Response(status=answers[0])

    app = web.Application()
    app.router.add_get("/-/ready", handle)
    async with TestServer(app) as server:
        answers.append(server.port or 0)
        yield answers


async def test_cut_off(ready: list[int]) -> None:
    """It is logged when it begins, not each time that the others are asked, and again when it begins anew."""
    clock = SystemClock()
    members = [NodeRow("a"), NodeRow("b", url=f"http://127.0.0.1:{ready[1]}")]
    node = _Node("a", ClusterView(clock.now(), members, [Shard(GLOBAL, "a")]))
    peers = Peers(cast("Node", node), None, clock)
    with capture_logs() as logs:
        for status, notifies in ((200, False), (200, False), (503, True), (200, False)):
            ready[0] = status
            assert await peers.notifies_outage(1.0) is notifies
    assert [entry["event"] for entry in logs] == ["node.cut_off"] * 2
    await peers.close()
