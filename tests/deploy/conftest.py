"""A simulated API for the daemons of these tests."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import marked
from tests.deploy.daemon import PROGRAM, ROOT, Simulated
from tests.deploy.notify import own_environment
from tests.e2e.processes import control_port, free_port, wait_until


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Simulated]:
    """An API with one connection that works, `threads-17841412345678`, and a webhook receiver."""
    with simulating(tmp_path) as api:
        yield api


@contextmanager
def simulating(folder: Path) -> Iterator[Simulated]:
    """The same inside the block, its log in *folder*."""
    log = folder / "simulator.log"
    hook = free_port()
    with log.open("w") as out:
        process = subprocess.Popen(
            [*PROGRAM, "simulate", "--port", "0", "--world", "empty", "--receiver-port", str(hook), "--key", marked.API_KEY],
            cwd=ROOT,
            stdout=out,
            stderr=out,
            env=own_environment() | {"PYTHONUNBUFFERED": "1"},
        )
    try:
        wait_until("the simulator", lambda: "_sim" in log.read_text())
        text = log.read_text()
        key = next(line.split()[1] for line in text.splitlines() if line.strip().startswith("key"))
        simulated = Simulated(f"http://127.0.0.1:{control_port(text)}", key, f"http://127.0.0.1:{hook}/{marked.PATH}")
        simulated.steer.do("connections", {"id": "threads-17841412345678", "account": "main"})
        yield simulated
    finally:
        process.kill()
        process.wait()
