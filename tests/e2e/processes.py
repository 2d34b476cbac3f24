"""The installed command as processes: started on free ports, watched from outside, and never left behind."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from tests.waiting import PATIENCE_SECONDS, eventually_sync, patience

T = TypeVar("T")

Labels = frozenset[tuple[str, str]]


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def fetch(url: str, *, method: str = "GET", document: Any = None, headers: Mapping[str, str] | None = None) -> bytes:
    """The body of an answer; raises on anything but success."""
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, data=body, method=method, headers=dict(headers or {}))
    with urllib.request.urlopen(request, timeout=patience()) as answer:
        data: bytes = answer.read()
        return data


class Command:
    """One running `postpost-monitor`; its output is kept in a file."""

    def __init__(self, program: Path, arguments: list[str], log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        with log.open("a") as out:
            self.process = subprocess.Popen([program, *arguments], stdout=out, stderr=out, env={**os.environ, **environment})

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(patience())

    def text(self) -> str:
        """Everything it printed."""
        return self.log.read_text()


@contextmanager
def running(program: Path, *arguments: str, log: Path, environment: Mapping[str, str] | None = None) -> Iterator[Command]:
    """A command that runs inside the block and is killed at its end if it still does."""
    command = Command(program, list(arguments), log, environment or {})
    try:
        yield command
    finally:
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait()


def wait_until(what: str, condition: Callable[[], T], alive: Command | None = None, within: float = PATIENCE_SECONDS) -> T:
    """As `eventually_sync`; an address that nothing listens on yet is no answer, and the process *alive* must not end before there is one."""

    def value() -> T | None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            if (answer := condition()) or alive is None:
                return answer
        if alive is not None and alive.process.poll() is not None:
            raise AssertionError(f"{what}: the process ended\n{alive.text()}")
        return None

    answer = eventually_sync(value, what=what, within=within)
    assert answer is not None
    return answer


class Simulator:
    """A simulated PostPost in a process of its own, steered over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url

    def do(self, path: str, document: Any = None) -> Any:
        """One control request."""
        return json.loads(fetch(f"{self.url}/_sim/{path}", method="POST", document=document or {}))

    def requests(self) -> int:
        """How many requests the API has had."""
        return int(json.loads(fetch(f"{self.url}/_sim/requests"))["total"])


class Receiver:
    """A webhook receiver in a process of its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def received(self) -> list[dict[str, Any]]:
        """Every delivery so far, oldest first, once per id."""
        rows = json.loads(fetch(f"{self.url}/_received?last=1000"))["received"]
        firsts: dict[str, dict[str, Any]] = {}
        for row in rows:
            firsts.setdefault(row["webhook_id"], row)
        return list(firsts.values())

    def types(self) -> list[str]:
        """The types of what came."""
        return [row["type"] for row in self.received()]


class Metrics:
    """One scrape, parsed with Prometheus' own parser."""

    def __init__(self, text: str) -> None:
        self._samples: dict[tuple[str, Labels], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples[sample.name, frozenset(sample.labels.items())] = sample.value

    def get(self, name: str, **labels: str) -> float | None:
        """The one sample of this name that has these labels, or None."""
        wanted = set(labels.items())
        found = [value for (sample, own), value in self._samples.items() if sample == name and wanted <= own]
        assert len(found) <= 1, f"{name}{labels} is not unique"
        return found[0] if found else None


def scrape(url: str) -> Metrics:
    """What a monitor exports right now."""
    return Metrics(fetch(f"{url}/metrics").decode())


def control_port(text: str) -> int:
    """The port that `simulate` says it listens on."""
    match = re.search(r"http://127\.0\.0\.1:(\d+)/_sim", text)
    assert match is not None, text
    return int(match[1])
