"""What a cluster does when a part of it, or the database, is cut off from the rest."""

import signal
from pathlib import Path

import pytest

from tests.cluster.judge import findings
from tests.cluster.nodes import Cluster, cluster
from tests.databases import migrated_postgres
from tests.postgres import PostgresServer
from tests.waiting import eventually

pytestmark = pytest.mark.slow

ACCOUNTS = {name: [f"linkedin-{name}{number}" for number in range(2)] for name in ("one", "two", "three")}
POLICY = "{digest: {after: 100}, flap: {changes: 100}, stale_after: 10m, scopes: {open_after: 6s, close_after: 2s, sweep: 1s}}"


async def test_storage_is_away(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """The server is gone for long: each receiver is notified once, by one of three nodes, and once of the end."""
    async with cluster(tmp_path, migrated_postgres(postgres_server), accounts=ACCOUNTS, policy=POLICY) as made:
        nodes = ("a", "b", "c")
        for node in nodes:
            made.start(node)
        await made.until_tended(nodes)
        every = "SELECT count(*) FROM (SELECT connection_id FROM checks GROUP BY 1 HAVING count(*) > 3) AS checked"
        await eventually(lambda: made.rows(every) == [(6,)], what="all are checked")
        # It loses what it did not write to the disk.
        postgres_server.run("CHECKPOINT")
        # In this thread: the server ends with the thread that has started it.
        postgres_server.crash()
        try:
            await eventually(lambda: len(_about_storage(made)) >= 2, what="both receivers are notified")
        finally:
            postgres_server.start_again()
        await made.until_tended(nodes, by="all shards are tended again")
        await eventually(lambda: len(_about_storage(made)) >= 4, what="both are notified of the end")
        for node in nodes:
            made.signal(node, signal.SIGTERM)
        for node in nodes:
            assert await made.ended(node) == 0, made.log(node)[-3000:]
        kinds = [(post.path, post.type) for post in made.receiver.received if post.data.get("scope") == "storage"]
        assert sorted(kinds) == [(path, f"storage.{what}") for path in ("/first", "/second") for what in ("failed", "recovered")]
        assert findings(made, interval=1.0, longest_pause=90.0) == []


def _about_storage(made: Cluster) -> list[str]:
    return [post.type for post in made.posts() if post.data.get("scope") == "storage"]


async def test_two_of_one_name(postgres_url: str, tmp_path: Path) -> None:
    """The second one says so and ends with 75; the first does not notice."""
    async with cluster(tmp_path, postgres_url, accounts=ACCOUNTS) as made:
        made.start("a")
        await made.until_tended({"a"})
        first, port = made.processes["a"], made.ports.pop("a")
        made.start("a")
        assert await made.ended("a") == 75
        assert "another instance runs as node a: set cluster.node" in made.log("a")
        assert first.poll() is None
        made.processes["a"], made.ports["a"] = first, port
