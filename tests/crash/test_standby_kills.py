"""Two instances on one PostgreSQL database, the active one killed or suspended again and again: every change is notified once."""

import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from tests import marked
from tests.databases import migrated_postgres
from tests.e2e.processes import Command, Receiver, Simulator, control_port, fetch, free_port, running, wait_until
from tests.postgres import PostgresServer

pytestmark = pytest.mark.slow

SECRET = marked.signing()
IDS = ("linkedin-Tz9W5i6ZYG", "threads-17841412345678", "facebook-104857600123")
CONFIG = """\
api: {{base_url: "{api}/api/v1", requests_per_second: 50}}
accounts: [{{name: main, api_key_file: {folder}/api-key, discover: connections}}]
schedule: {{interval: 1s, recheck: 600ms, discovery: 1s}}
policy: {{digest: {{after: 100}}, flap: {{changes: 100}}, scopes: {{sweep: 1s}}}}
receivers: [{{name: on-call, type: webhook, url: "{hook}/{path}", secret_file: {folder}/secret}}]
database: {{url: "{url}"}}
cluster: {{mode: standby, lease: 5s}}
web: {{listen: "127.0.0.1:{port}"}}
shutdown: {{drain: 2s}}
"""


@dataclass
class Cluster:
    """Two instances and the world around them."""

    folder: Path
    simulator: Simulator
    receiver: Receiver
    text: str
    stack: ExitStack
    url: str
    commands: dict[int, Command] = field(default_factory=dict)
    ports: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))

    def start(self, number: int) -> None:
        """Start, or start again, one of the instances."""
        config = self.folder / f"config{number}.yaml"
        config.write_text(self.text.replace("PORT", str(self.ports[number])))
        command = running(Path(sys.executable), "-m", "monitor", "run", "--config", str(config), log=self.folder / f"{number}.log")
        self.commands[number] = self.stack.enter_context(command)
        wait_until(f"instance {number}", lambda: self.role(number), self.commands[number])

    def role(self, number: int) -> str:
        """`ready`, `standby`, or why it is neither."""
        return fetch(f"http://127.0.0.1:{self.ports[number]}/-/ready").decode().strip()

    def until_active(self, number: int) -> None:
        """Wait for a takeover."""
        wait_until(f"{number} is active", lambda: self.role(number) == "ready", self.commands[number])

    def change(self, platform_id: str, action: str, expected: int) -> None:
        """Change something in the world and wait until it was notified."""
        document = {"message": "Error validating access token: Session has expired"} if action == "break" else None
        self.simulator.do(f"connections/{platform_id}/{action}", document)
        wait_until(f"{action} of {platform_id}", lambda: len(self.receiver.received()) >= expected)


@pytest.fixture
def cluster(postgres_url: str, tmp_path: Path) -> Iterator[Cluster]:
    """Both instances, the first one active."""
    with two_instances(postgres_url, tmp_path) as cluster:
        yield cluster


@contextmanager
def two_instances(postgres_url: str, tmp_path: Path) -> Iterator[Cluster]:
    """Both instances on the database at *postgres_url*, the first one active; their files are in *tmp_path*."""
    hook_port = free_port()
    for name, text in (("secret", SECRET), ("api-key", "")):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(f"{text}\n")
    with ExitStack() as stack:
        program = (Path(sys.executable), "-m", "monitor", "simulate", "--port", "0")
        api = stack.enter_context(running(*program, "--world", "empty", "--key", marked.API_KEY, log=tmp_path / "simulator.log"))
        hooks = ("--receiver-port", str(hook_port), "--receiver-secret", SECRET)
        receiver = stack.enter_context(running(*program, *hooks, log=tmp_path / "receiver.log"))
        wait_until("the simulator", lambda: "_sim" in api.text(), api)
        wait_until("the receiver", lambda: "_sim" in receiver.text(), receiver)
        key = next(line.split()[1] for line in api.text().splitlines() if line.strip().startswith("key"))
        (tmp_path / "api-key").write_text(f"{key}\n")
        base = f"http://127.0.0.1:{control_port(api.text())}"
        text = CONFIG.format(
            api=base, hook=f"http://127.0.0.1:{hook_port}", path=marked.PATH, folder=tmp_path, url=postgres_url, port="PORT"
        )
        cluster = Cluster(tmp_path, Simulator(base), Receiver(f"http://127.0.0.1:{hook_port}"), text, stack, postgres_url)
        for platform_id in IDS:
            cluster.simulator.do("connections", {"id": platform_id, "account": "main"})
        cluster.start(0)
        cluster.until_active(0)
        cluster.start(1)
        assert cluster.role(1) == "standby"
        yield cluster


def test_killed_and_suspended(cluster: Cluster) -> None:
    """
    Kill -9 four times, then a suspended instance that wakes up when it was replaced.

    Every break and recovery is notified once, under one id; no row stands twice; the one that was replaced ends with 75.
    """
    active, told = 0, 0
    for round_ in range(4):
        platform_id = IDS[round_ % len(IDS)]
        told += 1
        cluster.change(platform_id, "break", told)
        cluster.commands[active].process.send_signal(signal.SIGKILL)
        cluster.commands[active].process.wait()
        cluster.until_active(1 - active)
        cluster.start(active)
        assert cluster.role(active) == "standby"
        told += 1
        cluster.change(platform_id, "heal", told)
        active = 1 - active

    suspended = cluster.commands[active].process
    suspended.send_signal(signal.SIGSTOP)
    cluster.until_active(1 - active)
    told += 1
    cluster.change(IDS[0], "break", told)
    suspended.send_signal(signal.SIGCONT)
    wait_until("the replaced instance ended", lambda: suspended.poll() is not None)
    assert suspended.returncode == 75
    told += 1
    cluster.change(IDS[0], "heal", told)
    assert cluster.commands[1 - active].stop() == 0
    _judge(cluster, told)


def test_server_away(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """While the server is away for longer than the lease, and when it is back: the active instance stays active, and loses no result."""
    with two_instances(migrated_postgres(postgres_server), tmp_path) as cluster:
        postgres_server.crash()
        asked: list[int] = []

        def quiet() -> bool:
            asked.append(cluster.simulator.requests())
            return len(asked) > 20 and asked[-1] == asked[-20]

        wait_until("nothing is sent any more", quiet)
        postgres_server.start_again()
        last = time.time() * 1000
        query = "SELECT 1 FROM checks WHERE at > %s LIMIT 1"
        with psycopg.connect(cluster.url, autocommit=True) as connection:
            wait_until("checks go on", lambda: connection.execute(query, (last,)).fetchall(), cluster.commands[0])
        assert [cluster.role(number) for number in (0, 1)] == ["ready", "standby"]
        assert "check.lost" not in cluster.commands[0].text()


def _judge(cluster: Cluster, told: int) -> None:
    received = cluster.receiver.received()
    assert Counter(row["type"] for row in received) == {"connection.failed": told // 2, "connection.recovered": told // 2}
    with psycopg.connect(cluster.url) as connection:
        rows = connection.execute("SELECT connection_id, count(*), count(DISTINCT at) FROM checks GROUP BY connection_id").fetchall()
        states: dict[str, int] = dict(connection.execute("SELECT state, count(*) FROM deliveries GROUP BY state").fetchall())
        open_incidents = connection.execute("SELECT count(*) FROM incidents WHERE closed_at IS NULL").fetchone()
    assert len(rows) == len(IDS)
    assert all(count == distinct for _, count, distinct in rows)
    assert states == {"delivered": told}
    assert open_incidents == (0,)
