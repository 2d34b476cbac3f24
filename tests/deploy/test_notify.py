"""What systemd hears, over a real socket: ready, reloading, stopping, and life or silence."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from monitor.config import load
from monitor.notify import templates
from monitor.postpost.rate_limit import SLOW_FOR_SECONDS
from monitor.runtime.loop import WatchdogLimits
from monitor.runtime.systemd import ServiceManager
from tests import marked
from tests.deploy.daemon import ROOT, Daemon, Simulated
from tests.deploy.notify import NotifySocket, own_environment
from tests.deploy.sabotage import LIMITS, SILENT_WITHIN_SECONDS
from tests.waiting import eventually_sync

SABOTAGES = {
    "block_the_loop": "",
    "stop_the_timer": "Stuck: scheduler",
    "raise_in_the_scheduler": "Stuck: scheduler",
    "deadlock_the_writer": "Stuck: writer",
    "hang_a_deliverer": "Stuck: deliverer-on-call",
}
"""What is broken, and what `systemctl status` then shows."""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[NotifySocket]:
    """A service manager that listens."""
    notify = NotifySocket(tmp_path / "notify")
    yield notify
    notify.close()


@pytest.mark.slow
def test_life(manager: NotifySocket, simulated: Simulated, tmp_path: Path) -> None:
    """READY with counts, signs of life, RELOADING and READY around a reload good or bad, STOPPING at the end, exit code 0."""
    with Daemon(tmp_path, simulated, environment=manager.environment()) as daemon:
        eventually_sync(lambda: manager.seen("READY"), what="READY=1")
        assert manager.order() == ["READY"]
        assert "connections" in manager.seen("READY")[0].fields["STATUS"]
        assert daemon.metrics().get("postpost_monitor_build_info", version=daemon.version()) == 1.0, "ready, and nothing to scrape"
        eventually_sync(lambda: len(manager.seen("WATCHDOG")) >= 2, what="WATCHDOG=1 twice")
        eventually_sync(lambda: "1 connections, 0 open incidents" in manager.last_status(), what="the counts")

        asked_at = time.monotonic()
        daemon.process.send_signal(signal.SIGHUP)
        eventually_sync(lambda: manager.order() == ["READY", "RELOADING", "READY"], what="a reload")
        reloading = int(manager.seen("RELOADING")[0].fields["MONOTONIC_USEC"]) / 1e6
        assert asked_at <= reloading <= manager.seen("RELOADING")[0].at

        good = daemon.config.read_text()
        daemon.config.write_text(good + "\nnonsense: true\n")
        daemon.process.send_signal(signal.SIGHUP)
        eventually_sync(lambda: manager.order() == ["READY"] + ["RELOADING", "READY"] * 2, what="a refused reload")
        failed_at = manager.seen("READY")[-1].at
        eventually_sync(lambda: manager.seen("WATCHDOG", since=failed_at), what="life after it")
        assert "reload failed" in manager.last_status(), "the sign of life that follows hides that the reload failed"
        assert daemon.metrics().get("postpost_monitor_config_last_reload_successful") == 0.0

        daemon.config.write_text(good)
        daemon.process.send_signal(signal.SIGHUP)
        eventually_sync(lambda: manager.order() == ["READY"] + ["RELOADING", "READY"] * 3, what="a third reload")
        assert "reload failed" not in manager.last_status()

        assert daemon.stop() == 0
    assert manager.order()[-1] == "STOPPING"


@pytest.mark.slow
def test_watchdog_silence(tmp_path: Path) -> None:
    """Each of five sabotages ends the signs of life, and says in the status what stands still; a healthy process goes on."""
    kinds = ["none", *SABOTAGES]
    with ExitStack() as stack:
        sockets = {}
        for kind in kinds:
            folder = tmp_path / kind
            folder.mkdir(mode=0o700)
            sockets[kind] = NotifySocket(folder / "notify")
            stack.callback(sockets[kind].close)
            with (folder / "log").open("w") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "tests.deploy.sabotage", folder, kind],
                    cwd=ROOT,
                    stdout=log,
                    stderr=log,
                    env=own_environment() | sockets[kind].environment(),
                )
            stack.callback(process.wait)
            stack.callback(process.kill)
        ready = {kind: eventually_sync(lambda kind=kind: sockets[kind].seen("READY"), what=kind)[0].at for kind in kinds}  # type: ignore[misc]
        broken = {kind: at + 2.0 for kind, at in ready.items()}
        time.sleep(max(0.0, max(broken.values()) + SILENT_WITHIN_SECONDS + 3.0 - time.monotonic()))

        for kind in kinds:
            assert sockets[kind].seen("WATCHDOG", since=ready[kind]), f"{kind}: no sign of life before"
            late = sockets[kind].seen("WATCHDOG", since=broken[kind] + SILENT_WITHIN_SECONDS)
            assert bool(late) == (kind == "none"), kind
        assert {kind: sockets[kind].last_status() for kind, text in SABOTAGES.items() if text} == {k: v for k, v in SABOTAGES.items() if v}


def test_deaf_service_manager(tmp_path: Path) -> None:
    """A service manager that reads nothing holds up nothing, and learns the last state as soon as it reads again."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as deaf:
        deaf.bind(str(tmp_path / "notify"))
        service = ServiceManager(str(tmp_path / "notify"))
        for _ in range(5000):
            service.alive("going on")
        service.reloading(1.0)
        service.ready("up")
        service.ready("up again")
        assert not any(text.startswith(b"READY") for text in _read_all(deaf)), "there was room: the test shows nothing"
        service.alive("going on")
        assert _read_all(deaf) == [b"READY=1\nSTATUS=up again", b"WATCHDOG=1\nSTATUS=going on"]


def _read_all(listener: socket.socket) -> list[bytes]:
    read = []
    while True:
        try:
            read.append(listener.recv(4096))
        except BlockingIOError:
            return read


def test_bounds_fit_the_unit(tmp_path: Path) -> None:
    """With default timeouts everything that may stand still is told within the minute of WatchdogSec."""
    path = tmp_path / "config.yaml"
    path.touch(mode=0o600)
    path.write_text(f'accounts: [{{name: main, api_key: "{marked.API_KEY}"}}]\nreceivers: [{{name: hook, url: "http://127.0.0.1:9/"}}]\n')
    config, bounds = load(path, check_template=templates.problems), WatchdogLimits()
    turns = 2 * config.api.concurrency / config.api.requests_per_second
    longest = max(config.api.timeout.total_seconds() + turns, config.receivers[0].timeout.total_seconds())

    assert longest + bounds.step + bounds.rest <= 60
    assert max(bounds.scheduler, bounds.writer) + bounds.rest <= 60
    assert LIMITS.scheduler > 2, "beats are a second apart"
    assert SLOW_FOR_SECONDS == 60, "after a pause the pace is halved: that is the factor 2 above"
