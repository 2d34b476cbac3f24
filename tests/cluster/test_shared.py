"""Two nodes share the work; one is killed, the other one goes on."""

import signal
from pathlib import Path

import pytest

from tests.cluster.judge import findings
from tests.cluster.nodes import Cluster, cluster
from tests.waiting import eventually

pytestmark = pytest.mark.slow

ACCOUNTS = {name: [f"linkedin-{name}{number}" for number in range(2)] for name in ("one", "two", "three")}


async def test_one_of_two_is_killed(postgres_url: str, tmp_path: Path) -> None:
    """Both have work; the news of an account of the killed one are told by the other, once, and nothing is asked or told twice."""
    async with cluster(tmp_path, postgres_url, accounts=ACCOUNTS) as made:
        made.start("a")
        made.start("b")
        tended = await made.until_tended({"a", "b"})
        assert set(tended.values()) == {"a", "b"}
        killed = tended["account:one"]
        other = ({"a", "b"} - {killed}).pop()
        await eventually(lambda: made.rows("SELECT count(*) FROM checks")[0][0] > 20, what="checks")
        await eventually(lambda: _each_once(made), what="each series once")
        made.signal(killed, signal.SIGKILL)
        broken = made.api.world.connection("linkedin-one0")
        broken.fail("Error validating access token: Session has expired")
        await made.until_tended({other})
        for kind in ("connection.failed", "connection.recovered"):
            await eventually(lambda kind=kind: [each.type for each in made.posts()].count(kind) == 2, what=kind)
            broken.heal()
        assert "linkedin-one0" in await made.get(other, "/?q=linkedin-one0")
        made.signal(other, signal.SIGTERM)
        assert await made.ended(other) == 0
        assert findings(made, interval=1.0) == []


ONCE = {
    "postpost_connection_info": 6,
    "postpost_account_up": 3,
    "postpost_outbox_pending": 2,
    "postpost_api_up": 1,
    "postpost_silences": 2,
}


async def _each_once(made: Cluster) -> bool:
    """Whether each connection, account and receiver is exported by one node, and what exists once by one of them."""
    lines = [line for node in ("a", "b") for line in (await made.get(node, "/metrics")).splitlines()]
    series = [line.split()[0] for line in lines if not line.startswith("#")]
    found = {name: [one for one in series if one.partition("{")[0] == name] for name in ONCE}
    return {name: len(set(each)) for name, each in found.items()} == ONCE == {name: len(each) for name, each in found.items()}
