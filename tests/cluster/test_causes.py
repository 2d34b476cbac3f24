"""Causes wider than an account are told by a cluster as by one process: the API fails, a platform fails, one account is refused."""

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.simulator.faults import Fault, FaultKind
from monitor.simulator.state import SimulatedApi
from tests.cluster.judge import findings, told
from tests.cluster.nodes import Cluster, cluster
from tests.databases import migrated_postgres
from tests.postgres import PostgresServer
from tests.waiting import eventually

pytestmark = pytest.mark.slow

ACCOUNTS = {
    f"account{number}": [f"{platform}-{number}{each}" for platform in ("linkedin", "threads") for each in "ab"] for number in range(4)
}
POLICY = (
    "{digest: {after: 100}, flap: {changes: 100}, stale_after: 10m,"
    " scopes: {open_after: 8s, close_after: 3s, canary: 500ms, sweep: 5s, sweep_pause: 1s, window: 10s, api_notify_after: 8s, account_confirm: 2s, account_canary: 1s}}"
)


def _away(world: SimulatedApi) -> None:
    world.script.play(Fault(FaultKind.ANSWER, status=503))


def _back(world: SimulatedApi) -> None:
    world.script.play()


def _platform_fails(world: SimulatedApi) -> None:
    for connection in world.find("threads-*"):
        connection.fail("Service temporarily unavailable")


def _platform_works(world: SimulatedApi) -> None:
    for connection in world.find("threads-*"):
        connection.heal()


def _refused(world: SimulatedApi) -> None:
    world.accounts["account1"].revoke()


def _accepted(world: SimulatedApi) -> None:
    world.accounts["account1"].restore()


CAUSES = {"api": (_away, _back), "platform": (_platform_fails, _platform_works), "account": (_refused, _accepted)}


async def _until_checked(made: Cluster, count: int) -> None:
    await eventually(
        lambda: made.rows("SELECT count(*) FROM (SELECT connection_id FROM checks GROUP BY 1 HAVING count(*) > 3) c")[0][0] >= count
    )


async def _run(folder: Path, url: str, nodes: int, cause: str, *, kill: bool = False) -> Counter[str]:
    """What is told of one outage and its end by so many nodes; 0: by one process without a cluster."""
    begin, end = CAUSES[cause]
    async with cluster(folder, url, accounts=ACCOUNTS, policy=POLICY, shared=nodes > 0) as made:
        names = [f"n{number}" for number in range(max(1, nodes))]
        for name in names:
            made.start(name)
        if nodes:
            await made.until_tended(names)
        await _until_checked(made, 16)
        begin(made.api.world)
        if kill:
            owner = made.tended()["global"]
            made.signal(owner, signal.SIGKILL)
            names.remove(owner)
        await _until_told(made, lambda kinds: any(kind.endswith(".failed") for kind in kinds), "failed")
        end(made.api.world)
        await _until_told(made, lambda kinds: sum(map(_ended, kinds)) >= sum(kind.endswith(".failed") for kind in kinds), "recovered")
        checks = made.rows("SELECT count(*) FROM checks")[0][0]
        await eventually(lambda: made.rows("SELECT count(*) FROM checks")[0][0] >= checks + 100, what="further checks")
        for name in names:
            made.signal(name, signal.SIGTERM)
        for name in names:
            assert await made.ended(name) == 0, made.log(name)
        assert findings(made, interval=1.0, longest_pause=60.0) == []
        return Counter(told(made))


def _ended(kind: str) -> bool:
    return kind.endswith(".recovered")


async def _until_told(made: Cluster, condition: Callable[[list[str]], bool], what: str) -> None:
    await eventually(lambda: condition([one.type for one in made.posts() if one.path == "/first"]), what=what)


@pytest.mark.parametrize("cause", list(CAUSES))
@pytest.mark.parametrize("nodes", [2, 4])
async def test_same_messages(postgres_server: PostgresServer, tmp_path: Path, cause: str, nodes: int) -> None:
    """The very same messages as of one process."""
    alone = await _run(tmp_path / "alone", migrated_postgres(postgres_server), 0, cause)
    assert sum(alone.values()) == 2
    assert await _run(tmp_path / "shared", migrated_postgres(postgres_server), nodes, cause) == alone


@pytest.mark.parametrize("cause", ["api", "platform"])
async def test_owner_of_global_is_killed(postgres_server: PostgresServer, tmp_path: Path, cause: str) -> None:
    """The same when the node that decides is killed in the middle of it."""
    told_of = await _run(tmp_path / "shared", migrated_postgres(postgres_server), 3, cause, kill=True)
    assert sorted(told_of) == sorted(f"{cause}.{what} {cause}" for what in ("failed", "recovered"))
    assert set(told_of.values()) == {1}
