"""A node is cut off from the database, or from the API alone: real packets are dropped, in one direction or both."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cluster.judge import findings, told
from tests.cluster.network import Network, forbidden, network
from tests.cluster.nodes import Cluster, cluster
from tests.databases import migrated_postgres
from tests.postgres import PostgresServer
from tests.waiting import eventually, scaled

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(forbidden()), reason="network namespaces are not allowed here")]

ACCOUNTS = {name: [f"linkedin-{name}{number}" for number in range(2)] for name in ("one", "two", "three", "four")}
POLICY = "{digest: {after: 100}, flap: {changes: 100}, stale_after: 10m, scopes: {open_after: 12s, close_after: 2s, sweep: 1s}}"
LEASE_SECONDS = 8.0


@asynccontextmanager
async def _two_nodes(server: PostgresServer, folder: Path) -> AsyncIterator[tuple[Cluster, Network]]:
    """`near` on this machine, `far` in a network of its own; both have work."""
    url = migrated_postgres(server)
    async with cluster(folder, url, accounts=ACCOUNTS, policy=POLICY, lease=LEASE_SECONDS) as made:
        made.text = made.text.replace("requests_per_second", "timeout: 2s, connect_timeout: 1s, requests_per_second")
        hook = urlsplit(made.text.split('type: webhook, url: "')[1].split('"')[0]).port
        assert hook is not None
        async with network([api_port(made), hook], [server.port]) as net:
            made.start("near")
            far = made.text.replace(url, url.replace("127.0.0.1", net.host) + "?sslmode=disable")
            made.start("far", text=far, prefix=net.prefix)
            await eventually(lambda: _with_accounts(made) == {"near", "far"}, what="both have accounts")
            await eventually(lambda: net.asked_at.get(api_port(made)), what="far asks the API")
            try:
                yield made, net
            finally:
                for node in ("near", "far"):
                    made.processes[node].kill()


def _with_accounts(made: Cluster) -> set[str]:
    return {node for shard, node in made.tended().items() if shard.startswith("account:")}


def api_port(made: Cluster) -> int:
    """The port of the simulated API."""
    port = urlsplit(made.text.split('base_url: "')[1].split('"')[0]).port
    assert port is not None
    return port


@pytest.mark.parametrize("way", ["both", "towards", "back", "link"])
async def test_cut_off_from_the_database(postgres_server: PostgresServer, tmp_path: Path, way: str) -> None:
    """
    It sends no request after nine tenths of its lease; another one takes all over, and when it is back it is refused and ends with 75.

    Started anew it works again. Nothing was notified, nothing asked by both, and nothing left out for long.
    """
    async with _two_nodes(postgres_server, tmp_path) as (made, net):
        cut_at = time.monotonic()
        if way == "link":
            net.cut()
        else:
            net.cut(postgres_server.port, towards=way != "back", back=way != "towards")
        await made.until_tended({"near"}, by="near has taken everything")
        taken_after = time.monotonic() - cut_at
        assert taken_after < scaled(LEASE_SECONDS + 10)
        last = net.asked_at[api_port(made)] - cut_at
        assert last < min(taken_after, scaled(0.9 * LEASE_SECONDS + 0.5)), last
        net.restore()
        assert await made.ended("far") == 75, made.log("far")[-3000:]
        assert net.asked_at[api_port(made)] - cut_at == last
        made.start("far", text=(tmp_path / "far.yaml").read_text(), prefix=net.prefix)
        await eventually(lambda: "far" in _with_accounts(made), what="far works again")
        await made.until_tended({"near", "far"})
        checked = "SELECT count(DISTINCT connection_id) FROM checks"
        await eventually(lambda: made.rows(checked) == [(sum(map(len, ACCOUNTS.values())),)], what="all are checked")
        assert told(made) == []
        assert findings(made, interval=1.0) == []


async def test_cut_off_from_the_api(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """The node that alone does not reach it gives its accounts away before anything is notified, and takes some again later."""
    async with _two_nodes(postgres_server, tmp_path) as (made, net):
        net.cut(api_port(made))
        await eventually(lambda: "node.excluded" in made.log("far"), what="it says so")
        await made.until_tended({"near"}, by="near has taken everything")
        assert made.rows("SELECT unfit FROM members WHERE node = 'far'") != [(None,)]
        net.restore()
        await eventually(lambda: "far" in _with_accounts(made), what="it works again")
        assert made.processes["far"].poll() is None
        assert told(made) == []
        assert findings(made, interval=1.0) == []
