"""A reload of a cluster: a new account is taken up, a removed one is retired once, and a node with the old file takes nothing."""

import signal
from pathlib import Path

import pytest

from tests.cluster.nodes import cluster
from tests.databases import migrated_postgres
from tests.postgres import PostgresServer
from tests.waiting import eventually

pytestmark = pytest.mark.slow

ACCOUNTS = {name: [f"linkedin-{name}{number}" for number in range(2)] for name in ("one", "two", "three")}


async def test_an_account_is_removed(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """The first node that is reloaded takes over; the incidents of the removed account close, and all of its connections are retired."""
    async with cluster(tmp_path, migrated_postgres(postgres_server), accounts=ACCOUNTS) as made:
        without = "\n".join(line for line in made.text.splitlines() if "name: two" not in line)
        made.start("a")
        made.start("b")
        await made.until_tended({"a", "b"})
        made.api.world.connection("linkedin-two0").fail("Error validating access token: Session has expired")
        await eventually(lambda: any(post.type == "connection.failed" for post in made.posts()), what="failed")
        (tmp_path / "a.yaml").write_text(without.replace("NODE", "a").replace("PORT", str(made.ports["a"])) + "\n")
        made.signal("a", signal.SIGHUP)
        await eventually(lambda: "cluster.config_not_current" in made.log("b"), what="the other one has the old file")
        made.signal("b", signal.SIGTERM)
        assert await made.ended("b") == 0
        made.start("b", text=made.text)
        await eventually(
            lambda: (
                {name for (name,) in made.rows("SELECT name FROM shards WHERE node = 'a'")}
                == {"global", "account:one", "account:three", "receiver:on-call", "receiver:second"}
            ),
            what="the current configuration is that of the first",
        )
        await eventually(lambda: made.rows("SELECT count(*) FROM shards") == [(5,)], what="the shard is gone")
        assert made.rows("SELECT count(*) FROM connections WHERE account = 'two' AND retired_at IS NULL") == [(0,)]
        assert made.rows("SELECT count(*) FROM incidents WHERE closed_at IS NULL") == [(0,)]
        assert made.rows("SELECT count(*) FROM connections WHERE account <> 'two' AND retired_at IS NULL") == [(4,)]
        (tmp_path / "b.yaml").write_text(without.replace("NODE", "b").replace("PORT", str(made.ports["b"])) + "\n")
        made.signal("b", signal.SIGHUP)
        await eventually(lambda: made.rows("SELECT count(*) FROM shards WHERE node = 'b'") != [(0,)], what="both work again")
