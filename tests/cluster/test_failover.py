"""The PostgreSQL server fails and its synchronous standby server is promoted: nodes that name both go on, and nothing is lost."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.judge import findings
from tests.cluster.nodes import cluster
from tests.databases import migrated_postgres
from tests.postgres import PostgresServer, start_pair
from tests.waiting import eventually

pytestmark = pytest.mark.slow

ACCOUNTS = {name: [f"linkedin-{name}{number}" for number in range(5)] for name in ("one", "two", "three")}


@pytest.fixture
def servers() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A server and its synchronous standby server."""
    pair = start_pair()
    yield pair
    for server in pair:
        server.stop()


@pytest.mark.parametrize("shared", [True, False])
async def test_failover(servers: tuple[PostgresServer, PostgresServer], tmp_path: Path, shared: bool) -> None:
    """Each check that was a row and each message that was sent is a row of the new server too; no check is missing for long."""
    primary, standby = servers
    name = migrated_postgres(primary).rpartition("/")[2]
    user = primary.url(name).rpartition("@")[0]
    url = f"{user}@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/{name}?target_session_attrs=read-write"
    nodes = ("a", "b") if shared else ("a",)
    every = "SELECT connection_id, at FROM checks"
    async with cluster(tmp_path, url, accounts=ACCOUNTS, shared=shared) as made:
        for node in nodes:
            made.start(node)
        await eventually(lambda: len(made.rows("SELECT 1 FROM checks LIMIT 200")) == 200, what="all are checked")
        made.api.world.connection("linkedin-one0").fail("Error validating access token: Session has expired")
        await eventually(lambda: len(made.posts()) >= 2, what="both receivers are notified")
        stored = set(made.rows(every))
        sent = {post.webhook_id for post in made.posts()}
        primary.kill()
        standby.run("SELECT pg_promote()")
        assert stored <= set(made.rows(every))
        assert sent <= {webhook_id for (webhook_id,) in made.rows("SELECT webhook_id FROM notifications")}
        kept = len(made.rows(every))
        await eventually(lambda: len(made.rows(every)) > kept + 300, what="the checks go on")
        made.api.world.connection("linkedin-one0").heal()
        await eventually(lambda: len([post for post in made.posts() if post.type == "connection.recovered"]) == 2, what="the end")
        for node in nodes:
            made.signal(node, signal.SIGTERM)
        for node in nodes:
            assert await made.ended(node) == 0, made.log(node)[-3000:]
        assert findings(made, interval=1.0, longest_pause=25.0) == []
