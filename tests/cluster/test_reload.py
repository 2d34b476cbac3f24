"""
A reload of a cluster: a new account is taken up, a removed one is retired once, a renamed one keeps everything, and a node with the old
file takes nothing.
"""

import signal
from functools import partial
from pathlib import Path

import pytest

from tests.cluster.nodes import Cluster, cluster
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
        await eventually(lambda: "config.superseded" in made.log("b"), what="the other one has the old file")
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


async def test_an_account_is_renamed(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """
    It keeps connections, history and incidents: none is retired, none is new, and nothing is notified.

    Until the node that tends it has the new name too, it goes on under the old one.
    """
    async with cluster(tmp_path, migrated_postgres(postgres_server), accounts=ACCOUNTS) as made:
        renamed = made.text.replace("name: two", "name: deux")
        made.start("a")
        made.start("b")
        tended = await made.until_tended({"a", "b"})
        made.api.world.connection("linkedin-two0").fail("Error validating access token: Session has expired")
        await eventually(lambda: any(post.type == "connection.failed" for post in made.posts()), what="failed")
        incidents = "SELECT topic, subject, number FROM incidents WHERE closed_at IS NULL ORDER BY 1"
        await eventually(lambda: [topic for topic, _, _ in made.rows(incidents)] == ["connection", "expiry"], what="both incidents")
        before, told = made.rows(incidents), {post.webhook_id for post in made.posts()}
        second = tended["account:two"]
        first = ({"a", "b"} - {second}).pop()
        for node in (first, second):
            (tmp_path / f"{node}.yaml").write_text(renamed.replace("NODE", node).replace("PORT", str(made.ports[node])))
            made.signal(node, signal.SIGHUP)
            await eventually(partial(_reloaded, made, node), what=f"{node} has read it")
        await eventually(lambda: made.tended().keys() >= {"account:deux", "global"}, what="the account under its new name")
        await eventually(lambda: made.rows("SELECT count(*) FROM shards") == [(6,)], what="no shard is left over")
        number, last = made.rows(
            "SELECT max(connection_id), max(at) FROM checks JOIN connections c ON c.id = connection_id WHERE account = 'deux'"
        )[0]
        await eventually(
            lambda: made.rows(f"SELECT count(*) FROM checks WHERE connection_id = {number} AND at > {last}")[0][0] > 3,
            what="further checks",
        )
        assert made.rows("SELECT account, count(*) FROM connections WHERE retired_at IS NULL GROUP BY account ORDER BY account") == [
            ("deux", 2),
            ("one", 2),
            ("three", 2),
        ]
        assert made.rows("SELECT count(*) FROM connections") == [(6,)]
        assert made.rows(incidents) == before
        assert {post.type for post in made.posts() if post.webhook_id not in told} <= {"token.expired"}


def _reloaded(made: Cluster, node: str) -> bool:
    return "config.reloaded" in made.log(node)


async def test_a_new_file_is_gone_with_its_node(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """The node with the file before goes on, with all that it knows; it retires nothing, and every page says what no node tends."""
    async with cluster(tmp_path, migrated_postgres(postgres_server), accounts=ACCOUNTS) as made:
        without = "\n".join(line for line in made.text.splitlines() if "name: three" not in line)
        made.start("a", text=without)
        await eventually(lambda: set(made.tended().values()) == {"a"}, what="the first works")
        made.signal("a", signal.SIGTERM)
        assert await made.ended("a") == 0
        made.start("b")
        await made.until_tended({"b"})
        await eventually(lambda: made.rows("SELECT count(*) FROM connections") == [(6,)], what="the connections")
        made.start("a", text=without)
        await eventually(lambda: "config.superseded" in made.log("a"), what="the first is back")
        made.signal("b", signal.SIGKILL)
        rest = {"global", "account:one", "account:two", "receiver:on-call", "receiver:second"}
        await eventually(lambda: {name for name, node in made.tended().items() if node == "a"} == rest, what="the first goes on")
        said = "ready, but no node tends account:three"
        await eventually(partial(_says, made, "/-/ready", said), what="it is ready, with what is missing")
        assert "No node of the cluster tends account:three" in await made.get("a", "/")
        assert made.rows("SELECT count(*) FROM connections WHERE retired_at IS NULL") == [(6,)]


async def _says(made: Cluster, path: str, text: str) -> bool:
    return text in await made.get("a", path)


async def test_weight(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """A changed weight is in force at once, and no restart is asked for; the log does not count the connections of this node alone."""
    async with cluster(tmp_path, migrated_postgres(postgres_server), accounts=ACCOUNTS) as made:
        made.start("a")
        made.start("b")
        await made.until_tended({"a", "b"})
        config = tmp_path / "a.yaml"
        config.write_text(config.read_text().replace("node: a,", "node: a, weight: 0,"))
        made.signal("a", signal.SIGHUP)
        await eventually(lambda: set(made.tended().values()) == {"b"}, what="the other one tends everything")
        reloaded = await eventually(lambda: [line for line in made.log("a").splitlines() if "config.reloaded" in line], what="reloaded")
        assert "connections" not in reloaded[0]
        assert "config.restart_required" not in made.log("a")


async def test_a_new_route(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """What is open goes to the receiver that routes name now, once, whichever nodes tend it and `global`; both receivers get its end."""
    async with cluster(tmp_path, migrated_postgres(postgres_server), accounts=ACCOUNTS) as made:
        for node in ("a", "b"):
            made.start(node, text=made.text + "routes: [{receivers: [on-call]}]\n")
        await made.until_tended({"a", "b"})
        made.api.world.connection("linkedin-two0").fail("Error validating access token: Session has expired")
        await eventually(lambda: _told(made) == [("/first", "failed")], what="the first receiver is notified")
        for node in ("a", "b"):
            config = tmp_path / f"{node}.yaml"
            config.write_text(config.read_text().replace("receivers: [on-call]", "receivers: [second]"))
            made.signal(node, signal.SIGHUP)
            await eventually(partial(_reloaded, made, node), what=f"{node} has read it")
        await eventually(lambda: _told(made) == [("/first", "failed"), ("/second", "failed")], what="the second one has it, too")
        made.api.world.connection("linkedin-two0").heal()
        ends = [("/first", "recovered"), ("/second", "recovered")]
        await eventually(lambda: sorted(_told(made)[2:]) == ends, what="both get its end")


def _told(made: Cluster) -> list[tuple[str, str]]:
    """Path and type of what the receivers got about connections, in order."""
    return [(post.path, post.type.removeprefix("connection.")) for post in made.posts() if post.type.startswith("connection.")]
