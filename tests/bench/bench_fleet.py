"""Ten thousand connections in the real daemon: how soon it answers after a start, what it holds, and whether that grows."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.fleet import Measured, daemon, simulated
from tests.bench.result import Result
from tests.e2e.processes import Simulator, fetch, wait_until

FLEET = 10_000
CHECKS = 200_000
_UP = b"\npostpost_connection_last_check_timestamp_seconds{"


def measure() -> Iterator[Result]:
    """Seconds from the start of a process to its first scrape, with all connections known; memory then, and over many checks."""
    with tempfile.TemporaryDirectory() as name, simulated(Path(name), FLEET) as api:
        folder = Path(name)
        with daemon(folder, api, in_flight=256, interval="15m") as monitor:
            wait_until("a check of each", lambda: api.requests() > 1.01 * FLEET, alive=monitor.command, within=1200)
            monitor.command.stop()
        began = time.perf_counter()
        with daemon(folder, api, interval="15m") as monitor:
            wait_until("the first scrape", lambda: _known(monitor) == FLEET, alive=monitor.command, within=60)
            yield Result("start to first scrape, all connections known", time.perf_counter() - began, "s", limit=3)
            yield Result("memory then", monitor.resident_mb(), "MB", limit=160)
            monitor.command.stop()
        with daemon(folder, api, in_flight=256) as monitor:
            yield from _soak(monitor, api)


def _known(monitor: Measured) -> int:
    return fetch(f"{monitor.url}/metrics").count(_UP)


def _soak(monitor: Measured, api: Simulator) -> Iterator[Result]:
    """A first fifth to warm up, then two halves."""
    sizes, before = [], api.requests()
    for share in (0.2, 0.6, 1.0):
        wanted = before + share * CHECKS
        wait_until("checks", lambda wanted=wanted: api.requests() >= wanted, alive=monitor.command, within=3600)  # type: ignore[misc]
        fetch(f"{monitor.url}/metrics")
        sizes.append(monitor.resident_mb())
    warm, half, whole = sizes
    yield Result(f"memory after {CHECKS:,} checks", whole, "MB", limit=160)
    yield Result("memory, as a multiple of that after the first fifth", whole / warm, "x", limit=1.05)
    yield Result("growth in the second half", whole - half, "MB", limit=4)
