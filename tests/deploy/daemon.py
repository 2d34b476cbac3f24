"""The real `run` as a process, from this source tree, against a simulated API in a process of its own."""

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from monitor import __version__
from tests.deploy.notify import own_environment
from tests.e2e.processes import Metrics, Simulator, fetch, free_port, scrape, wait_until
from tests.waiting import patience

ROOT = Path(__file__).parent.parent.parent
PROGRAM = [sys.executable, "-m", "monitor"]

_CONFIG = """\
api: {{base_url: "{api}/api/v1", requests_per_second: 100}}
accounts: [{{name: main, api_key_file: {folder}/api-key}}]
schedule: {{interval: 1s, recheck: 500ms, discovery: 1s}}
receivers: [{receivers}]
database: {{url: "sqlite:///{folder}/state/monitor.db"}}
web: {{listen: "127.0.0.1:{port}"{web}}}
shutdown: {{drain: 5s}}
{more}
"""


class Simulated:
    """A simulated API: its address, its key, and how to steer it."""

    def __init__(self, url: str, key: str, hook: str) -> None:
        self.url = url
        self.key = key
        self.hook = hook
        self.steer = Simulator(url)


class Daemon:
    """One running daemon; stopped at the end of the block if it still runs."""

    def __init__(
        self,
        folder: Path,
        api: Simulated,
        *,
        environment: Mapping[str, str] | None = None,
        receivers: str = "",
        web: str = "",
        more: str = "",
        log: int | None = None,
        program: str | None = None,
    ) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.url = f"http://127.0.0.1:{free_port()}"
        (folder / "state").mkdir(mode=0o700)
        self._secret(folder / "api-key", api.key + "\n")
        port = self.url.rpartition(":")[2]
        self._secret(self.config, _CONFIG.format(api=api.url, folder=folder, port=port, receivers=receivers, web=web, more=more))
        self._log = (folder / "daemon.log").open("w")
        self.process = subprocess.Popen(
            [*PROGRAM, "run", "--config", self.config] if program is None else [sys.executable, "-m", program, self.config],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            text=True,
            stdout=self._log if log is None else log,
            stderr=self._log if log is None else log,
            env=own_environment() | dict(environment or {}),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self._log.close()

    def stop(self) -> int:
        """Ask it to stop and wait; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patience())

    def ready(self) -> None:
        """Wait until it says so."""
        wait_until("readiness", lambda: fetch(f"{self.url}/-/ready"))

    def metrics(self) -> Metrics:
        """A scrape."""
        return scrape(self.url)

    def version(self) -> str:
        """What it is."""
        return __version__

    @staticmethod
    def _secret(path: Path, text: str) -> None:
        path.touch(mode=0o600)
        path.write_text(text)
