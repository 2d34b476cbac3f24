"""How long a cluster is without an active instance when the process of the active one is killed, against the lease."""

import signal
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.bench.result import Result
from tests.crash.test_standby_kills import Cluster, two_instances
from tests.databases import migrated_postgres
from tests.e2e.processes import wait_until
from tests.postgres import start_postgres

KILLS = 10
LEASE_SECONDS = 5.0
"""`cluster.lease` of the instances; their connections are checked every second."""


def measure() -> Iterator[Result]:
    """Seconds from kill -9 until the other instance is ready as the active one, and until its first check is a row."""
    active, recorded = [], []
    server = start_postgres()
    try:
        with tempfile.TemporaryDirectory() as folder, two_instances(migrated_postgres(server), Path(folder)) as cluster:
            for number in range(KILLS):
                ready, first = _takeover(cluster, number % 2)
                active.append(ready)
                recorded.append(first)
    finally:
        server.stop()
    for what, found in (("the other one is active", active), ("its first check is recorded", recorded)):
        yield Result(f"killed until {what}, median of {KILLS}", statistics.median(found), "s", limit=2)
        yield Result(f"killed until {what}, longest", max(found), "s")
    yield Result("killed until the first check is recorded, as a share of the lease", statistics.median(recorded) / LEASE_SECONDS, "x")


def _takeover(cluster: Cluster, number: int) -> tuple[float, float]:
    process = cluster.commands[number].process
    with psycopg.connect(cluster.url, autocommit=True) as connection:
        process.send_signal(signal.SIGKILL)
        began, at = time.monotonic(), time.time() * 1000
        process.wait()
        cluster.until_active(1 - number)
        ready = time.monotonic() - began
        query = "SELECT 1 FROM checks WHERE at > %s LIMIT 1"
        wait_until("a check", lambda: connection.execute(query, (at,)).fetchall())
        recorded = time.monotonic() - began
    cluster.start(number)
    return ready, recorded
