"""A cluster for tests: nodes as processes, with a simulated API and a receiver in the test's own process."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from monitor.clock import SystemClock
from monitor.simulator.clock import ShiftedClock
from monitor.simulator.receiver import Received
from monitor.simulator.server import SimulatorServer
from monitor.simulator.state import SimulatedApi, SimulatedConnection
from tests.e2e.processes import Metrics, fetch, free_port, scrape
from tests.receiving import ReceiverServer
from tests.waiting import eventually

_CONFIG = """\
api: {{base_url: "{api}", requests_per_second: {rate}}}
accounts:
{accounts}
schedule: {{interval: {interval}, recheck: {recheck}, discovery: 1h}}
policy: {policy}
receivers:
  - {{name: on-call, type: webhook, url: "{hook}/first"}}
  - {{name: second, type: webhook, url: "{hook}/second"}}
database: {{url: "{url}"}}
{cluster}
web: {{listen: "127.0.0.1:PORT"}}
shutdown: {{drain: 5s}}
logging: {{level: debug}}
"""


@dataclass
class Cluster:
    """
    The nodes and the world around them.

    Attributes:
        text: the configuration of a node, with NODE and PORT in the place of its own values.
        processes: node to its running process.
    """

    folder: Path
    url: str
    api: SimulatorServer
    receiver: ReceiverServer
    text: str
    rate: float
    lease: float
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def start(self, node: str, *, text: str | None = None, prefix: Sequence[str] = (), folder: Path | None = None) -> None:
        """Start a node, or start it again; *prefix* runs the command, *folder* holds another release of the program."""
        port = self.ports.setdefault(node, free_port())
        config = self.folder / f"{node}.yaml"
        config.touch(mode=0o600)
        config.write_text((text or self.text).replace("NODE", node).replace("PORT", str(port)))
        with (self.folder / f"{node}.log").open("ab") as log:
            command = [*prefix, sys.executable, "-m", "monitor", "run", "--config", str(config)]
            self.processes[node] = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)

    def signal(self, node: str, number: signal.Signals) -> None:
        """Send a signal to a node."""
        self.processes[node].send_signal(number)

    async def ended(self, node: str) -> int:
        """The exit code of a node, once it has ended."""
        process = self.processes[node]
        await eventually(lambda: process.poll() is not None, what=f"{node} has ended")
        return process.returncode

    def log(self, node: str) -> str:
        """What a node printed."""
        return (self.folder / f"{node}.log").read_text()

    def posts(self) -> list[Received]:
        """What the receivers accepted, once per id and receiver, in order."""
        accepted = [delivery for delivery in self.receiver.received if delivery.accepted]
        return list({(delivery.path, delivery.webhook_id): delivery for delivery in reversed(accepted)}.values())[::-1]

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of one query."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()

    def tended(self) -> dict[str, str]:
        """Shard to node."""
        with suppress(psycopg.errors.UndefinedTable):
            return dict(self.rows("SELECT name, node FROM shards WHERE node IS NOT NULL"))
        return {}

    async def until_tended(self, nodes: Iterable[str], *, by: str = "all shards are tended") -> dict[str, str]:
        """Wait until every shard has one of *nodes*; returns shard to node."""
        wanted, count = set(nodes), self.text.count("api_key") + 3

        def settled() -> bool:
            for node in wanted:
                if self.processes[node].poll() is not None:
                    raise AssertionError(f"{node} ended with {self.processes[node].poll()}:\n{self.log(node)[-6000:]}")
            tended = self.tended()
            return len(tended) == count and set(tended.values()) <= wanted

        await eventually(settled, what=by)
        return self.tended()

    async def get(self, node: str, path: str) -> str:
        """A page of a node."""
        return (await asyncio.to_thread(fetch, f"http://127.0.0.1:{self.ports[node]}{path}")).decode()

    async def metrics(self, node: str) -> Metrics:
        """What a node exports."""
        return await asyncio.to_thread(scrape, f"http://127.0.0.1:{self.ports[node]}")


@asynccontextmanager
async def cluster(
    folder: Path,
    url: str,
    *,
    accounts: Mapping[str, Iterable[str]],
    interval: str = "1s",
    recheck: str = "600ms",
    rate: float = 20,
    policy: str = "{digest: {after: 100}, flap: {changes: 100}, scopes: {sweep: 1s}}",
    shared: bool = True,
    lease: float = 5,
) -> AsyncIterator[Cluster]:
    """A cluster of *accounts*, each with its connections; no node runs yet. Not *shared*: for a single process."""
    keys = {name: f"sk_mtest{number:04}_0123456789ab.0123456789abc" for number, name in enumerate(accounts)}

    def populate(world: SimulatedApi) -> None:
        for name, ids in accounts.items():
            account = world.add_account(name, keys[name])
            for platform_id in ids:
                account.owner.connect(SimulatedConnection(platform_id, world.clock))

    api, receiver = (
        SimulatorServer(SimulatedApi(ShiftedClock(SystemClock()), populate), journal_limit=1_000_000),
        ReceiverServer(limit=1_000_000),
    )
    text = _CONFIG.format(
        api=await api.start(),
        hook=(await receiver.start()).removesuffix("/hook"),
        accounts="\n".join(f'  - {{name: {name}, api_key: "{key}", discover: connections}}' for name, key in keys.items()),
        url=url,
        interval=interval,
        recheck=recheck,
        rate=rate,
        policy=policy,
        cluster=f'cluster: {{mode: shared, node: NODE, lease: {lease:g}s, url: "http://127.0.0.1:PORT"}}' if shared else "",
    )
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    made = Cluster(folder, url, api, receiver, text, rate, lease)
    try:
        yield made
    finally:
        for process in made.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        await api.close()
        await receiver.close()
