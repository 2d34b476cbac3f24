"""The installed program from its first start to its last stop, seen only from outside."""

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests import marked
from tests.e2e.processes import Command, Metrics, Receiver, Simulator, control_port, fetch, free_port, running, scrape, wait_until

SECRET = marked.signing()
LINKEDIN, THREADS, FACEBOOK, TELEGRAM = "linkedin-Tz9W5i6ZYG", "threads-17841412345678", "facebook-104857600123", "telegram-1234567890"

CONFIG = """\
api: {{base_url: "{api}/api/v1", requests_per_second: 100}}
accounts:
  - {{name: main, api_key_file: {folder}/api-key, discover: connections}}
schedule: {{interval: 1s, recheck: 600ms, discovery: 1s}}
policy:
  platforms: {{linkedin: {{expiry: {{thresholds: [7d, 1d]}}}}}}
  digest: {{after: 100}}
  flap: {{changes: 100}}
receivers:
  - {{name: on-call, type: webhook, url: "{hook}/{path}", secret_file: {folder}/secret}}
database: {{url: "sqlite:///{folder}/state/monitor.db"}}
web: {{listen: "127.0.0.1:{port}"}}
"""


def _secret_file(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text + "\n")


def _up(metrics: Metrics, platform_id: str) -> float | None:
    return metrics.get("postpost_connection_up", platform_id=platform_id)


class World:
    """Three processes and how to look at them."""

    def __init__(self, simulator: Simulator, receiver: Receiver, url: str, folder: Path) -> None:
        self.simulator = simulator
        self.receiver = receiver
        self.url = url
        self.folder = folder
        self.expected: list[str] = []

    def metrics(self) -> Metrics:
        """A scrape."""
        return scrape(self.url)

    def ready(self, daemon: Command) -> None:
        """Waits until the daemon says that it is ready."""
        wait_until("readiness", lambda: fetch(f"{self.url}/-/ready"), alive=daemon)

    def expect(self, *types: str) -> dict[str, Any]:
        """Waits for exactly these further webhooks; returns the last one, its signature verified."""
        self.expected += types
        wait_until(f"{types}", lambda: len(self.receiver.types()) >= len(self.expected))
        assert self.receiver.types() == self.expected
        last = self.receiver.received()[-1]
        document: dict[str, Any] = Webhook(SECRET).verify(last["body"], last["headers"])
        assert document["type"] == types[-1]
        return document

    def quiet(self, rounds: int = 3) -> None:
        """Waits for *rounds* of checks of every connection and asserts that nobody was told anything."""
        before = self.simulator.requests()
        wait_until("more checks", lambda: self.simulator.requests() >= before + 5 * rounds)
        assert self.receiver.types() == self.expected


@pytest.mark.slow
@pytest.mark.e2e
def test_life(program: Path, tmp_path: Path) -> None:
    """It watches, tells of trouble and its end exactly once, survives restarts, and stops cleanly."""
    (tmp_path / "state").mkdir(mode=0o700)
    port, hook_port = free_port(), free_port()
    _secret_file(tmp_path / "secret", SECRET)
    simulating = running(program, "simulate", "--port", "0", "--world", "empty", "--key", marked.API_KEY, log=tmp_path / "simulator.log")
    receiving = running(
        program, "simulate", "--port", "0", "--receiver-port", str(hook_port), "--receiver-secret", SECRET, log=tmp_path / "receiver.log"
    )
    with simulating as simulator, receiving as receiver:
        wait_until("the simulator", lambda: "_sim" in simulator.text())
        wait_until("the receiver", lambda: "_sim" in receiver.text())
        api = f"http://127.0.0.1:{control_port(simulator.text())}"
        key = next(line.split()[1] for line in simulator.text().splitlines() if line.strip().startswith("key"))
        _secret_file(tmp_path / "api-key", key)
        hook = f"http://127.0.0.1:{hook_port}"
        config = tmp_path / "config.yaml"
        config.write_text(CONFIG.format(api=api, hook=hook, path=marked.PATH, folder=tmp_path, port=port))
        world = World(Simulator(api), Receiver(hook), f"http://127.0.0.1:{port}", tmp_path)
        for platform_id in (LINKEDIN, THREADS, FACEBOOK, TELEGRAM):
            world.simulator.do("connections", {"id": platform_id, "account": "main"})

        with running(program, "run", "--config", str(config), log=tmp_path / "daemon.log") as daemon:
            _first_life(world, daemon)
            assert daemon.stop() == 0, daemon.text()
        with running(program, "run", "--config", str(config), log=tmp_path / "daemon.log") as daemon:
            _second_life(world, daemon)
            assert daemon.stop() == 0, daemon.text()
        _afterwards(world, key)


def _first_life(world: World, daemon: Command) -> None:
    world.ready(daemon)
    wait_until("the first checks", lambda: _up(world.metrics(), THREADS) == 1.0 and _up(world.metrics(), LINKEDIN) == 1.0)
    wait_until(
        "the untestable one",
        lambda: world.metrics().get("postpost_connection_health", platform_id=TELEGRAM, health="unsupported") == 1.0,
    )
    assert _up(world.metrics(), TELEGRAM) is None
    world.quiet()

    world.simulator.do(f"connections/{THREADS}/break", {"message": "Error validating access token: Session has expired"})
    failed = world.expect("connection.failed")
    assert failed["data"]["platformId"] == THREADS
    assert failed["severity"] == "critical"
    wait_until("the gauge", lambda: _up(world.metrics(), THREADS) == 0.0)
    world.simulator.do(f"connections/{THREADS}/heal")
    recovered = world.expect("connection.recovered")
    assert recovered["data"]["incident"]["key"] == failed["data"]["incident"]["key"]
    wait_until("the gauge", lambda: _up(world.metrics(), THREADS) == 1.0)

    world.simulator.do(f"connections/{LINKEDIN}/expires-in", {"in": "6d"})
    assert world.expect("token.expiring")["severity"] == "info"
    expires_at = world.metrics().get("postpost_connection_token_expiry_timestamp_seconds", platform_id=LINKEDIN)
    assert expires_at is not None
    assert 5.9 * 86400 < expires_at - time.time() < 6 * 86400
    world.simulator.do(f"connections/{LINKEDIN}/expires-in", {"in": "20h"})
    assert world.expect("token.expiring")["severity"] == "critical"
    world.simulator.do(f"connections/{LINKEDIN}/renew", {"in": "60d"})
    renewed = world.expect("token.renewed")
    assert renewed["data"]["platformId"] == LINKEDIN

    world.simulator.do("api/generation", {"to": "september"})
    world.simulator.do(f"connections/{FACEBOOK}/flag")
    assert world.expect("token.expired")["data"]["platformId"] == FACEBOOK
    world.simulator.do(f"connections/{FACEBOOK}/renew", {"in": "59d"})
    world.expect("token.renewed")
    world.quiet()

    world.simulator.do("api/down")
    wait_until("failed checks", lambda: world.metrics().get("postpost_checks_total", platform="threads", reason="api_disconnected"))
    world.simulator.do("api/up")
    world.quiet()
    world.simulator.do(f"connections/{THREADS}/break", {"message": "Token has been revoked"})
    world.expect("connection.failed")


def _second_life(world: World, daemon: Command) -> None:
    world.ready(daemon)
    first = world.metrics()
    assert _up(first, THREADS) == 0.0
    assert _up(first, LINKEDIN) == 1.0
    assert first.get("postpost_incident_open", topic="connection", platform_id=THREADS, severity="critical") == 1.0
    world.quiet()
    world.simulator.do(f"connections/{THREADS}/heal")
    world.expect("connection.recovered")
    world.quiet()
    assert daemon.process.poll() is None


def _afterwards(world: World, key: str) -> None:
    time.sleep(1.0)
    assert world.receiver.types() == world.expected
    assert len({row["webhook_id"] for row in world.receiver.received()}) == len(world.expected)
    for row in world.receiver.received():
        assert Webhook(SECRET).verify(row["body"], row["headers"])
    with sqlite3.connect(f"file:{world.folder}/state/monitor.db?mode=ro", uri=True) as database:
        (checks,) = database.execute("SELECT count(*) FROM checks").fetchone()
        (still_open,) = database.execute("SELECT count(*) FROM incidents WHERE closed_at IS NULL").fetchone()
        states = dict(database.execute("SELECT state, count(*) FROM deliveries GROUP BY state").fetchall())
    database.close()
    assert checks > 20
    assert still_open == 0
    assert states == {"delivered": len(world.expected)}
    log = (world.folder / "daemon.log").read_text()
    assert key not in log
    assert SECRET not in log
    assert "Traceback" not in log
