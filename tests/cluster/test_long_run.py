"""
Nodes are killed, suspended and stopped at random for as long as one likes, and the server is killed twice; the judge finds nothing.

The size is given by the environment: `CLUSTER_CONNECTIONS`, `CLUSTER_SECONDS`, `CLUSTER_INTERVAL` (seconds; by default as short as the
accounts' rate allows), `CLUSTER_NODES`, `CLUSTER_SEED`. `make cluster` runs ten minutes of 20,000, and prints a verdict for each rule.
"""

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.judge import Failure, verdicts
from tests.cluster.nodes import Cluster, cluster
from tests.databases import migrated_postgres
from tests.postgres import PostgresServer
from tests.waiting import eventually

PER_ACCOUNT = 500
RATE = 5
CONNECTIONS, SECONDS, NODES, SEED = (
    int(os.environ.get(f"CLUSTER_{name}", default))
    for name, default in (("CONNECTIONS", "200"), ("SECONDS", "60"), ("NODES", "4"), ("SEED", "1"))
)
COUNT = max(8, CONNECTIONS // PER_ACCOUNT)
"""Of the accounts."""

INTERVAL = int(os.environ.get("CLUSTER_INTERVAL", max(20, 1.5 * CONNECTIONS // COUNT // RATE)))
BROKEN = "threads"
"""Some connections of this platform break; those of the others are checked on their grid alone."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * SECONDS + 900)]

LEASE_SECONDS = 15.0
PAUSE_SECONDS = 25.0
SHOWN = 10
"""So many findings of a rule are printed."""
POLICY = "{digest: {after: 1000}, flap: {changes: 1000}, scopes: {sweep: 1s, platform_count: 100000, group_count: 100000}}"


def _accounts() -> dict[str, list[str]]:
    platforms = [BROKEN, *["linkedin"] * (COUNT - 1)]
    return {
        f"account{number}": [f"{platform}-{number}x{each}" for each in range(CONNECTIONS // COUNT)]
        for number, platform in enumerate(platforms)
    }


async def _hurt(made: Cluster, rng: random.Random, number: signal.Signals, failures: list[Failure]) -> str:
    """Kill, suspend or stop one node, and start it again once it has ended."""
    node = rng.choice(sorted(made.processes))
    failures.append(Failure(time.time(), [shard.partition(":")[2] for shard, tended_by in made.tended().items() if tended_by == node]))
    made.signal(node, number)
    if number is signal.SIGSTOP:
        await asyncio.sleep(rng.uniform(5, 30))
        made.signal(node, signal.SIGCONT)
        await asyncio.sleep(5)
    else:
        await made.ended(node)
    code = made.processes[node].poll()
    if code is not None:
        made.start(node)
    return f"{node} {number.name}{'' if code is None else f' {code}'}"


async def test_long_run(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """No check twice or missing for longer than a takeover, none out of order, no news under two ids, no account over its rate."""
    rng, accounts, failures = random.Random(SEED), _accounts(), list[Failure]()
    nodes = [f"n{number}" for number in range(NODES)]
    interval, url = f"{INTERVAL}s", migrated_postgres(postgres_server)
    done = []
    async with cluster(
        tmp_path, url, accounts=accounts, interval=interval, recheck="5s", rate=RATE, policy=POLICY, lease=LEASE_SECONDS
    ) as made:
        for node in nodes:
            made.start(node)
        await made.until_tended(nodes)
        every = sum(map(len, accounts.values()))
        await eventually(lambda: made.rows("SELECT count(*) FROM connections")[0][0] == every, what="all connections are known")
        begun, began_at, crashes = time.monotonic(), time.time(), [SECONDS / 3, 2 * SECONDS / 3]
        while (passed := time.monotonic() - begun) < SECONDS:
            if crashes and passed >= crashes[0]:
                crashes.pop(0)
                # In this thread: the server ends with the thread that has started it.
                crashed_at = time.time()
                postgres_server.crash()
                postgres_server.start_again()
                failures.append(Failure(crashed_at, away=time.time() - crashed_at))
                done.append("server killed")
            rng.choice(made.api.world.find(f"{BROKEN}-*")).fail("Error validating access token: Session has expired")
            done.append(await _hurt(made, rng, rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM]), failures))
            await asyncio.sleep(min(PAUSE_SECONDS, SECONDS / 10))
        ended_at = time.time()
        try:
            await made.until_tended(nodes, by="all shards are tended at the end")
            await eventually(
                lambda: made.rows("SELECT count(*) FROM deliveries WHERE state = 'pending'") == [(0,)], what="all is delivered"
            )
            for node in nodes:
                made.signal(node, signal.SIGTERM)
            for node in nodes:
                assert await made.ended(node) == 0, made.log(node)[-3000:]
        finally:
            found = verdicts(
                made,
                interval=INTERVAL,
                span=(began_at, ended_at),
                failures=failures,
                first_round=CONNECTIONS / COUNT / RATE,
                recheck=BROKEN,
            )
            sys.stdout.write(f"{_summary(made)}; {', '.join(done)}\n")
            for rule, broken in found.items():
                sys.stdout.write(f"{f'BROKEN {len(broken)} times' if broken else 'kept'}: {rule}\n")
                sys.stdout.writelines(f"    {one}\n" for one in broken[:SHOWN])
        assert not any(found.values())


def _summary(made: Cluster) -> str:
    checks, checked = made.rows("SELECT count(*), count(DISTINCT connection_id) FROM checks")[0]
    size = f"{NODES} nodes, {CONNECTIONS} connections every {INTERVAL} s, {SECONDS} s"
    return f"{size}: {checks} checks of {checked}, {len(made.api.journal.entries)} requests, {len(made.posts())} posts"
