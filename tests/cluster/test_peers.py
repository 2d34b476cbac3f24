"""A node that can't write asks the others over their web ports, also over TLS with a certificate that only they know."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.clock import SystemClock
from monitor.cluster.node import Node, member_of
from monitor.cluster.peers import Peers
from monitor.config import TlsServerSettings, WebConfig, load
from monitor.config.web_config import server_context
from monitor.db.cluster.members import member_backend
from monitor.domain.cluster.sharing import GLOBAL, ClusterView, NodeRow, Shard
from monitor.notify import templates
from tests import marked
from tests.certificates import Authority

URL = "postgresql://monitor@127.0.0.1:9/monitor"


def _tls(folder: Path, name: str) -> TlsServerSettings:
    authority = Authority(folder)
    certificate, key = authority.issue(name, "monitor.example.com")
    with certificate.open("ab") as file:
        file.write(authority.file.read_bytes())
    return TlsServerSettings(cert_file=str(certificate), key_file=str(key))


@asynccontextmanager
async def _peer(tls: TlsServerSettings) -> AsyncIterator[str]:
    """A node that can write; yields its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nready")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_context(tls))
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("shared", [True, False], ids=["shared certificate", "other authority"])
async def test_asks_over_tls(tmp_path: Path, shared: bool) -> None:
    """It believes a node whose certificate, or its authority, is in its own file, whatever names it has; not any other one."""
    (tmp_path / "other").mkdir()
    ours, theirs = _tls(tmp_path, "web"), _tls(tmp_path / "other", "web")
    backend = member_backend(URL, owner="a", member=NodeRow("a"), lease=timedelta(seconds=15), clock=SystemClock())
    node = Node(backend)
    peers = Peers(node, ours, SystemClock())
    async with _peer(ours if shared else theirs) as url:
        node.view = ClusterView(datetime.now(UTC), [NodeRow("a"), NodeRow("b", url=url)], [Shard(GLOBAL, "a")])
        assert await peers.notifies_outage(200.0) is not shared
    await peers.close()
    await node.close()


def test_address_of_a_node(tmp_path: Path) -> None:
    """By default it has the scheme that the port speaks."""
    path = tmp_path / "config.yaml"
    path.touch(mode=0o600)
    path.write_text(
        f'accounts: [{{name: main, api_key: "{marked.API_KEY}"}}]\ndatabase: {{url: "{URL}"}}\n'
        "cluster: {mode: shared}\nweb: {listen: '0.0.0.0:9840', insecure_listen: true}\n"
    )
    config = load(path, check_template=templates.problems)
    assert member_of(config).url.startswith("http://")
    encrypted = config.model_copy(update={"web_file": WebConfig(tls_server_config=_tls(tmp_path, "web"))})
    assert member_of(encrypted).url.startswith("https://")
