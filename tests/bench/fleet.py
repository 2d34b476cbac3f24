"""Processes to measure: a simulated API with a fleet, the real daemon before it, and what the kernel counted of each."""

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from monitor.simulator.presets import DEMO_KEY
from tests.e2e.processes import Command, Simulator, control_port, fetch, free_port, running, wait_until

_PYTHON = Path(sys.executable)
_TICKS = os.sysconf("SC_CLK_TCK")

CONFIG = """\
api: {{base_url: "{api}/api/v1", requests_per_second: {rate}, concurrency: {in_flight}}}
accounts: [{{name: main, api_key: "{key}"}}]
schedule: {{interval: {interval}, recheck: 600ms}}
policy: {{digest: {{after: 10000}}, scopes: {{platform_count: 1000}}}}
receivers: [{receivers}]
database: {{url: "sqlite:///{folder}/monitor.db"}}
web: {{listen: "127.0.0.1:{port}"}}
"""


@dataclass(frozen=True)
class Measured:
    """A process under measurement, and where it answers."""

    command: Command
    url: str

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_mb(self) -> float:
        """Memory that it holds now."""
        found = re.search(r"VmRSS:\s+(\d+) kB", self._proc("status"))
        assert found is not None
        return int(found[1]) / 1024

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self.command.process.pid}/{name}").read_text()


@contextmanager
def simulated(folder: Path, size: int) -> Iterator[Simulator]:
    """A simulated API with *size* healthy connections."""
    log = folder / "simulator.log"
    with running(_PYTHON, "-u", "-m", "monitor", "simulate", "--port", "0", "--fleet", str(size), log=log) as command:
        wait_until("the simulator", lambda: "_sim" in command.text(), alive=command)
        yield Simulator(f"http://127.0.0.1:{control_port(command.text())}")


def ids(api: Simulator) -> list[str]:
    """The connections of *api*."""
    listed = json.loads(fetch(f"{api.url}/api/v1/platform-connections", headers={"x-api-key": DEMO_KEY}))
    return [row["platformId"] for row in listed["connections"]]


@contextmanager
def daemon(
    folder: Path, api: Simulator, *, in_flight: int = 32, interval: str = "1s", receivers: str = "", rate: int = 1000, settings: str = ""
) -> Iterator[Measured]:
    """The real daemon, discovering the fleet of *api*; *settings* is a section that replaces that of the benchmark's configuration."""
    port = free_port()
    path = folder / "config.yaml"
    path.touch(mode=0o600)
    text = CONFIG.format(
        api=api.url, key=DEMO_KEY, folder=folder, port=port, rate=rate, in_flight=in_flight, interval=interval, receivers=receivers
    )
    replaced = settings.partition(":")[0]
    path.write_text("".join(line for line in text.splitlines(keepends=True) if not replaced or not line.startswith(replaced)) + settings)
    with running(_PYTHON, "-m", "monitor", "run", "--config", str(path), log=folder / "daemon.log") as command:
        yield Measured(command, f"http://127.0.0.1:{port}")
