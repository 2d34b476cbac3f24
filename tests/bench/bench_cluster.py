"""
Checks per second of 1, 2 and 4 nodes of a cluster, and CPU of all nodes per check against one node, under two loads.

- as many checks for each node, fewer than it can make: a node with little to do wakes up for each of them, one with much for several at
  once. What a node uses while nothing is due is measured apart and not part of a check: how much of it falls to one depends on how many
  checks the machine has room for.
- more checks than the machine has room for, the same for all numbers of nodes: as many as they can make. A check costs more the more
  processes compete for the cores, whether or not they know of each other; so the yardstick is as many nodes, each of a cluster of its own.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tests.bench.result import Result
from tests.cluster.nodes import Cluster, cluster
from tests.databases import migrated_postgres
from tests.postgres import PostgresServer, start_postgres
from tests.waiting import eventually

NODES = {1: None, 2: 1.05, 4: 1.2}
"""So many nodes, and the most CPU that a check may need against one node."""

IDLE_LIMIT = 25.0
"""Milliseconds of CPU in a second that a node may use while nothing is due; the one with the shard `global` uses more."""

ACCOUNTS_PER_NODE = 2
PER_ACCOUNT = 100
TOO_MANY_PER_ACCOUNT = 250
"""With the accounts of four nodes more checks a second than two cores can make."""

SECONDS = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")


def measure() -> Iterator[Result]:
    """Checks per second and CPU per check, the nodes sharing one machine with the simulated API and the server."""
    server, alone = start_postgres(), 0.0
    try:
        idle = [_measured(server, [_fleet(nodes * ACCOUNTS_PER_NODE, PER_ACCOUNT)], nodes, "1h")[1] for nodes in (1, 2)]
        yield Result("CPU of one node while nothing is due", 1000 * idle[0], "ms/s")
        yield Result("CPU of each further node while nothing is due", 1000 * (idle[1] - idle[0]), "ms/s", limit=IDLE_LIMIT)
        for nodes, limit in NODES.items():
            named = f"{nodes} node{'s' * (nodes > 1)}"
            speed, used = _measured(server, [_fleet(nodes * ACCOUNTS_PER_NODE, PER_ACCOUNT)], nodes, "2s")
            cpu = (used - idle[0] - (nodes - 1) * (idle[1] - idle[0])) / speed
            yield Result(f"CPU of all, {named}", 1000 * used, "ms/s")
            yield Result(f"checks per second, {named}", speed, "/s")
            yield Result(f"CPU per check, {named}", 1000 * cpu, "ms")
            alone = alone or cpu
            if limit is not None:
                yield Result(f"CPU per check, {named} against one", cpu / alone, "x", limit=limit)
        all_accounts = _fleet(max(NODES) * ACCOUNTS_PER_NODE, TOO_MANY_PER_ACCOUNT)
        for nodes, limit in NODES.items():
            named = f"{nodes} node{'s' * (nodes > 1)}"
            speed, used = _measured(server, [all_accounts], nodes, "1s")
            yield Result(f"checks per second, {named}, as fast as they go", speed, "/s")
            yield Result(f"CPU per check, {named}, as fast as they go", 1000 * used / speed, "ms")
            if limit is not None:
                apart = [dict(list(all_accounts.items())[number::nodes]) for number in range(nodes)]
                apart_speed, apart_used = _measured(server, apart, 1, "1s")
                yield Result(f"CPU per check, {nodes} clusters of one node, as fast as they go", 1000 * apart_used / apart_speed, "ms")
                ratio = (used / speed) / (apart_used / apart_speed)
                yield Result(f"CPU per check, {nodes} nodes of a cluster against as many of their own", ratio, "x", limit=limit)
    finally:
        server.stop()


def _fleet(accounts: int, connections: int) -> dict[str, list[str]]:
    """So many *accounts*, each with so many *connections*."""
    return {f"account{number}": [f"linkedin-{number}x{each}" for each in range(connections)] for number in range(accounts)}


def _measured(server: PostgresServer, fleets: Sequence[Mapping[str, list[str]]], nodes: int, interval: str) -> tuple[float, float]:
    """Checks per second of clusters of so many *nodes*, one for each of *fleets*, and their seconds of CPU per second."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(server, Path(folder), fleets, nodes, interval))


async def _run(
    server: PostgresServer, folder: Path, fleets: Sequence[Mapping[str, list[str]]], nodes: int, interval: str
) -> tuple[float, float]:
    names = [f"n{number}" for number in range(nodes)]
    async with AsyncExitStack() as stack:
        clusters: list[Cluster] = []
        for number, accounts in enumerate(fleets):
            own = folder / str(number)
            own.mkdir()
            url = migrated_postgres(server)
            made = await stack.enter_async_context(cluster(own, url, accounts=accounts, interval=interval, rate=200, lease=60))
            for name in names:
                made.start(name)
            clusters.append(made)
        for made, accounts in zip(clusters, fleets, strict=True):
            await made.until_tended(names)
            await _until_at_work(made, names, connections=sum(map(len, accounts.values())), checks=1 if interval == "1h" else 4)
        checks, cpu, begun = sum(map(_checks, clusters)), sum(map(_cpu, clusters)), time.monotonic()
        await asyncio.sleep(SECONDS)
        checks, cpu, passed = sum(map(_checks, clusters)) - checks, sum(map(_cpu, clusters)) - cpu, time.monotonic() - begun
        return checks / passed, cpu / passed


async def _until_at_work(made: Cluster, names: Sequence[str], *, connections: int, checks: int) -> None:
    """Wait until every connection was checked so often, and every node has work."""
    every = f"SELECT count(*) FROM (SELECT connection_id FROM checks GROUP BY 1 HAVING count(*) >= {checks}) AS checked"
    await eventually(lambda: made.rows(every)[0][0] == connections, what="all are checked")
    await eventually(lambda: set(made.tended().values()) == set(names), what="all have work")


def _checks(made: Cluster) -> int:
    count: int = made.rows("SELECT count(*) FROM checks")[0][0]
    return count


def _cpu(made: Cluster) -> float:
    """Seconds of CPU that all nodes have used."""
    fields = [Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split() for process in made.processes.values()]
    return sum(int(each[11]) + int(each[12]) for each in fields) / _TICKS
