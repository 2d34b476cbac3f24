"""A thousand, ten thousand and a hundred thousand known connections in the real daemon: start, memory, and CPU at fifty checks a second."""

import contextlib
import gzip
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from tests.bench.fleet import Measured
from tests.bench.known import Fleet, prepare
from tests.bench.result import Result
from tests.e2e.processes import fetch, free_port, running, wait_until

SIZES = {1_000: (4, 2.5, 130.0), 10_000: (40, 2.5, 130.0), 100_000: (400, 15.0, 600.0)}
"""Connections: accounts, and at most so many seconds and megabytes."""

RATE = 50
"""Checks a second, however many connections there are."""

_SETTLING_SECONDS = 30.0
_SECONDS = 40.0
_LAST_CHECK = b"\npostpost_connection_last_check_timestamp_seconds{"


def measure() -> Iterator[Result]:
    """Seconds from the start of the process to its first scrape of all connections; memory; CPU of a check at each size."""
    costs: list[float] = []
    sizes = [int(size) for size in os.environ.get("FLEET", "").split()] or list(SIZES)
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            yield from _measure(Path(name), size, costs)
    yield Result("CPU of a check, the dearest size as a multiple of the cheapest", max(costs) / min(costs), "x", limit=1.1)


def _measure(folder: Path, size: int, costs: list[float]) -> Iterator[Result]:
    accounts, seconds, megabytes = SIZES[size]
    fleet, api, web = Fleet(size, accounts), free_port(), free_port()
    config = prepare(folder, fleet, interval=timedelta(seconds=size / RATE), api=api, web=web)
    with (
        running(Path(sys.executable), "-m", "tests.bench.known", str(api), str(size), str(accounts), log=folder / "api.log") as command,
        contextlib.ExitStack() as stack,
    ):
        wait_until("the API", lambda: "listening" in command.text(), alive=command)
        began = time.perf_counter()
        # As installed: with compiled files, and without what only our tools bring and libraries import where it is there.
        (folder / "rich.py").write_text("raise ImportError\n")
        compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "bench-compiled")}
        compiled["PYTHONPATH"] = str(folder)
        log = folder / "daemon.log"
        daemon = stack.enter_context(
            running(Path(sys.executable), "-m", "monitor", "run", "--config", str(config), log=log, environment=compiled)
        )
        monitor = Measured(daemon, f"http://127.0.0.1:{web}")
        wait_until("the first scrape", lambda: _known(monitor) == size, alive=daemon, within=240)
        took, cpu = time.perf_counter() - began, monitor.cpu_seconds()
        yield Result(f"{size:,} connections: start to first scrape", took, "s", limit=seconds)
        yield Result(f"{size:,} connections: CPU until then", cpu, "s")
        yield Result(f"{size:,} connections: memory then", monitor.resident_mb(), "MB", limit=megabytes)
        time.sleep(_SETTLING_SECONDS)
        before, checks = monitor.cpu_seconds(), _checks(api)
        time.sleep(_SECONDS)
        spent, checks = monitor.cpu_seconds() - before, _checks(api) - checks
        costs.append(spent / checks)
        yield Result(f"{size:,} connections: checks a second", checks / _SECONDS, "/s")
        yield Result(f"{size:,} connections: CPU a second meanwhile", spent / _SECONDS * 1e3, "ms", limit=50)
        yield Result(f"{size:,} connections: CPU of a check", spent / checks * 1e6, "us")
        yield Result(f"{size:,} connections: memory after that", monitor.resident_mb(), "MB", limit=megabytes)
        daemon.stop()


def _checks(api: int) -> int:
    return int(json.loads(fetch(f"http://127.0.0.1:{api}/"))["checks"])


def _known(monitor: Measured) -> int:
    request = urllib.request.Request(f"{monitor.url}/metrics", headers={"Accept-Encoding": "gzip"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return gzip.decompress(answer.read()).count(_LAST_CHECK)
    except OSError:
        return 0
