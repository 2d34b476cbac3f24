"""Nodes are killed, suspended and stopped at random, the server and the job queue too; the judge finds nothing."""

import asyncio
import random
import signal
from pathlib import Path

import pytest

from tests.cluster.judge import findings
from tests.cluster.nodes import Cluster, cluster
from tests.databases import migrated_postgres
from tests.postgres import PostgresServer
from tests.waiting import eventually

pytestmark = pytest.mark.slow

ACCOUNTS = {f"account{number}": [f"linkedin-{number}x{each}" for each in range(5)] for number in range(8)}
NODES = ("a", "b", "c")
ROUNDS = 6
# The machine of a test is shared: a node that gets no CPU for long loses its lease.
LEASE_SECONDS = 15.0
POLICY = "{digest: {after: 1000}, flap: {changes: 1000}, stale_after: 10m, scopes: {sweep: 1s, platform_count: 1000, group_count: 1000}}"


async def _changes(made: Cluster, rng: random.Random, stop: asyncio.Event) -> None:
    """Break and heal connections, one at a time, until the *stop*."""
    connections = [connection for _, _, connection in made.api.world.every()]
    while not stop.is_set():
        connection = rng.choice(connections)
        if connection.dead is None:
            connection.fail("Error validating access token: Session has expired")
        else:
            connection.heal()
        await asyncio.sleep(0.5)
    for connection in connections:
        connection.heal()


async def _hurt(made: Cluster, rng: random.Random, server: PostgresServer, round_: int) -> None:
    node = rng.choice(sorted(set(made.tended().values())))
    way = ("kill", "stop", "term", "server", "jobs", "kill")[round_ % ROUNDS]
    if way == "server":
        # In this thread: the server ends with the thread that has started it.
        server.crash()
        server.start_again()
    elif way == "jobs":
        made.rows("UPDATE procrastinate_jobs SET status = 'doing' RETURNING id")
        made.rows("DELETE FROM procrastinate_jobs RETURNING id")
        made.rows("DELETE FROM procrastinate_workers RETURNING id")
    elif way == "stop":
        made.signal(node, signal.SIGSTOP)
        await _until_replaced(made, node)
        made.signal(node, signal.SIGCONT)
        assert await made.ended(node) == 75, made.log(node)[-3000:]
        made.start(node)
    else:
        made.signal(node, signal.SIGKILL if way == "kill" else signal.SIGTERM)
        code = await made.ended(node)
        assert code == (-signal.SIGKILL if way == "kill" else 0), made.log(node)[-3000:]
        await _until_replaced(made, node)
        made.start(node)


async def _until_replaced(made: Cluster, node: str) -> None:
    await eventually(lambda: (node,) not in made.rows("SELECT node FROM members"), what=f"{node} is replaced")


async def test_chaos(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """No check twice or too late, no news under two ids or lost, no account over its rate."""
    rng = random.Random(1)
    async with cluster(
        tmp_path, migrated_postgres(postgres_server), accounts=ACCOUNTS, rate=20, policy=POLICY, lease=LEASE_SECONDS
    ) as made:
        for node in NODES:
            made.start(node)
        await made.until_tended(NODES)
        stop = asyncio.Event()
        changing = asyncio.create_task(_changes(made, rng, stop))
        for round_ in range(ROUNDS):
            await _hurt(made, rng, postgres_server, round_)
            await made.until_tended(NODES, by=f"all shards are tended after round {round_}")
        stop.set()
        await changing
        await eventually(lambda: made.rows("SELECT count(*) FROM incidents WHERE closed_at IS NULL") == [(0,)], what="all is well again")
        await eventually(lambda: made.rows("SELECT count(*) FROM deliveries WHERE state = 'pending'") == [(0,)], what="all is delivered")
        for node in NODES:
            made.signal(node, signal.SIGTERM)
        for node in NODES:
            assert await made.ended(node) == 0, made.log(node)[-3000:]
        assert findings(made, interval=1.0, longest_pause=3 * (LEASE_SECONDS + 10.0)) == []
