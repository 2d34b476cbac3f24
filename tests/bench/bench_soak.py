"""Whether the memory of the real daemon grows over many checks of ten thousand connections."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.fleet import Measured, daemon, simulated
from tests.bench.result import Result
from tests.e2e.processes import Simulator, fetch, wait_until

FLEET = 10_000
CHECKS = int(os.environ.get("CHECKS", "500000"))


def measure() -> Iterator[Result]:
    """Megabytes after a fifth of the checks, after three, and after all; the variable CHECKS says how many."""
    with tempfile.TemporaryDirectory() as name, simulated(Path(name), FLEET) as api, daemon(Path(name), api, in_flight=256) as monitor:
        wait_until("a check of each", lambda: api.requests() > 1.01 * FLEET, alive=monitor.command, within=1200)
        yield from _soak(monitor, api)


def _soak(monitor: Measured, api: Simulator) -> Iterator[Result]:
    """A first fifth to warm up, then two halves."""
    sizes, before = [], api.requests()
    for share in (0.2, 0.6, 1.0):
        wanted = before + share * CHECKS
        wait_until("checks", lambda wanted=wanted: api.requests() >= wanted, alive=monitor.command, within=3600)  # type: ignore[misc]
        fetch(f"{monitor.url}/metrics")
        sizes.append(monitor.resident_mb())
    warm, half, whole = sizes
    yield Result(f"memory after {CHECKS:,} checks", whole, "MB", limit=130)
    yield Result("memory, as a multiple of that after the first fifth", whole / warm, "x", limit=1.05)
    yield Result("growth in the second half", whole - half, "MB", limit=4)
