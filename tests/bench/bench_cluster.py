"""
Checks per second of 1, 2 and 4 nodes of a cluster, and CPU of all nodes per check against one node, under two loads.

- as many checks for each node, fewer than it can make: a node with little to do wakes up for each of them, one with much for several at
  once. What a node uses while nothing is due is measured apart and not part of a check: how much of it falls to one depends on how many
  checks the machine has room for.
- more checks than the machine has room for, the same for all numbers of nodes: as many as they can make.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
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
PER_ACCOUNT = 50
TOO_MANY_PER_ACCOUNT = 250
"""With the accounts of four nodes more checks a second than two cores can make."""

SECONDS = 12.0
_TICKS = os.sysconf("SC_CLK_TCK")


def measure() -> Iterator[Result]:
    """Checks per second and CPU per check, the nodes sharing one machine with the simulated API and the server."""
    server, alone = start_postgres(), 0.0
    try:
        idle = [_measured(server, nodes, nodes * ACCOUNTS_PER_NODE, PER_ACCOUNT, interval="1h")[1] for nodes in (1, 2)]
        yield Result("CPU of one node while nothing is due", 1000 * idle[0], "ms/s")
        yield Result("CPU of each further node while nothing is due", 1000 * (idle[1] - idle[0]), "ms/s", limit=IDLE_LIMIT)
        for nodes, limit in NODES.items():
            speed, used = _measured(server, nodes, nodes * ACCOUNTS_PER_NODE, PER_ACCOUNT, interval="1s")
            cpu = (used - idle[0] - (nodes - 1) * (idle[1] - idle[0])) / speed
            yield Result(f"CPU of all, {nodes} node{'s' * (nodes > 1)}", 1000 * used, "ms/s")
            yield Result(f"checks per second, {nodes} node{'s' * (nodes > 1)}", speed, "/s")
            yield Result(f"CPU per check, {nodes} node{'s' * (nodes > 1)}", 1000 * cpu, "ms")
            alone = alone or cpu
            if limit is not None:
                yield Result(f"CPU per check, {nodes} nodes against one", cpu / alone, "x", limit=limit)
        alone = 0.0
        for nodes, limit in NODES.items():
            speed, used = _measured(server, nodes, max(NODES) * ACCOUNTS_PER_NODE, TOO_MANY_PER_ACCOUNT, interval="1s")
            yield Result(f"checks per second, {nodes} node{'s' * (nodes > 1)}, as fast as they go", speed, "/s")
            alone = alone or used / speed
            if limit is not None:
                yield Result(f"CPU per check, {nodes} nodes against one, as fast as they go", used / speed / alone, "x", limit=limit)
    finally:
        server.stop()


def _measured(server: PostgresServer, nodes: int, accounts: int, connections: int, *, interval: str) -> tuple[float, float]:
    """See `_run`; of so many *accounts*, each with so many *connections*."""
    with tempfile.TemporaryDirectory() as folder:
        ids = {f"account{number}": [f"linkedin-{number}x{each}" for each in range(connections)] for number in range(accounts)}
        return asyncio.run(_run(server, Path(folder), nodes, ids, interval))


async def _run(server: PostgresServer, folder: Path, nodes: int, accounts: dict[str, list[str]], interval: str) -> tuple[float, float]:
    """Checks per second of so many nodes, and their seconds of CPU per second."""
    url, names = migrated_postgres(server), [f"n{number}" for number in range(nodes)]
    async with cluster(folder, url, accounts=accounts, interval=interval, rate=200, lease=60) as made:
        for name in names:
            made.start(name)
        await made.until_tended(names)
        least = 3 if interval == "1s" else 0
        every = f"SELECT count(*) FROM (SELECT connection_id FROM checks GROUP BY 1 HAVING count(*) > {least}) AS checked"
        await eventually(lambda: made.rows(every)[0][0] == sum(map(len, accounts.values())), what="all are checked")
        await eventually(lambda: set(made.tended().values()) == set(names), what="all have work")
        checks, cpu, begun = _checks(made), _cpu(made), time.monotonic()
        await asyncio.sleep(SECONDS)
        checks, cpu, passed = _checks(made) - checks, _cpu(made) - cpu, time.monotonic() - begun
        return checks / passed, cpu / passed


def _checks(made: Cluster) -> int:
    count: int = made.rows("SELECT count(*) FROM checks")[0][0]
    return count


def _cpu(made: Cluster) -> float:
    """Seconds of CPU that all nodes have used."""
    fields = [Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split() for process in made.processes.values()]
    return sum(int(each[11]) + int(each[12]) for each in fields) / _TICKS
