"""The life of the real daemon as a process: reloads in storms and from broken files, stops that are bounded, nobody who reads its log."""

import fcntl
import json
import os
import random
import resource
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import marked
from tests.deploy.daemon import Daemon, Simulated
from tests.deploy.hostile import HostileReceiver
from tests.e2e.processes import fetch
from tests.waiting import eventually_sync, patience

IDS = tuple(f"linkedin-page{number}" for number in range(12))
HOUR, YEAR = 3600, 365 * 86400
_F_SETPIPE_SZ = 1031


@pytest.fixture
def watching(simulated: Simulated, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that checks a dozen connections every second, its log at INFO in a file."""
    for platform_id in IDS:
        simulated.steer.do("connections", {"id": platform_id, "account": "main"})
    with Daemon(tmp_path, simulated) as daemon:
        daemon.ready()
        eventually_sync(lambda: checked(daemon) >= len(IDS), what="the first checks")
        yield daemon


def checked(daemon: Daemon) -> int:
    """How many connections have been found to work."""
    return sum(daemon.metrics().get("postpost_connection_up", platform_id=one) == 1.0 for one in IDS)


def events(daemon: Daemon, name: str) -> int:
    """How often that was logged."""
    return (daemon.folder / "daemon.log").read_text().count(f'"event": "{name}"')


def journal(simulated: Simulated) -> dict[str, int]:
    """The totals of the simulated API."""
    totals: dict[str, int] = json.loads(fetch(f"{simulated.url}/_sim/requests"))
    return totals


def reload(daemon: Daemon, event: str) -> None:
    """SIGHUP, until that is logged once more."""
    before = events(daemon, event)
    daemon.process.send_signal(signal.SIGHUP)
    eventually_sync(lambda: events(daemon, event) > before, what=event)


def goes_on(simulated: Simulated, requests: int = 2 * len(IDS)) -> None:
    """Waits for so many further requests to the API."""
    before = journal(simulated)["total"]
    eventually_sync(lambda: journal(simulated)["total"] >= before + requests, what="further checks")


@pytest.mark.slow
def test_reloads(watching: Daemon, simulated: Simulated) -> None:
    """
    A thousand SIGHUPs under load are taken together: nobody is asked twice at once, and checks go on. Fifty broken files
    change nothing: each is refused and checks go on at their pace. A key that was replaced in its file is used.
    """
    _storm(watching, simulated)
    _broken_files(watching, simulated)
    _rotated_key(watching, simulated)
    assert watching.stop() == 0


def _storm(watching: Daemon, simulated: Simulated) -> None:
    watching.config.write_text(watching.config.read_text().replace("drain: 5s", "drain: 6s"))
    for _ in range(1000):
        watching.process.send_signal(signal.SIGHUP)
        time.sleep(0.002)
    eventually_sync(lambda: events(watching, "config.reloaded") >= 1, what="a reload")
    goes_on(simulated)
    assert watching.process.poll() is None
    assert events(watching, "config.reloaded") < 500
    assert events(watching, "drain.exceeded") == 0
    assert journal(simulated)["overlaps"] == 0


def broken(good: str, dice: random.Random) -> bytes:
    """A configuration that can't be used: a good one, mutilated."""
    text = good.encode()
    match dice.randrange(6):
        case 0:
            return text[: dice.randrange(1, len(text) // 2)] + b"\n: ["
        case 1:
            return bytes(dice.randrange(256) for _ in range(200)) + b"\xff"
        case 2:
            lines = good.splitlines()
            lines.insert(dice.randrange(len(lines)), f"{dice.choice(['recievers', 'acounts', 'api key', 'x'])}: {dice.randrange(99)}")
            return "\n".join(lines).encode()
        case 3:
            return good.replace("interval: 1s", f"interval: {dice.choice(['1', '-1s', '1 s', 'null null', '[]', '1000y'])}").encode()
        case 4:
            return good.replace("api-key", dice.choice(["gone", "state", "daemon.log", "../" * 30 + "etc/shadow"])).encode()
        case _:
            return b""


def _broken_files(watching: Daemon, simulated: Simulated) -> None:
    good, dice = watching.config.read_text(), random.Random(38)
    begun, before = time.monotonic(), journal(simulated)["total"]
    for _ in range(50):
        watching.config.write_bytes(broken(good, dice))
        reload(watching, "config.rejected")
    goes_on(simulated)
    pace = (journal(simulated)["total"] - before) / (time.monotonic() - begun)
    assert pace > 0.5 * len(IDS), "checks were delayed"
    assert journal(simulated)["overlaps"] == 0
    assert checked(watching) == len(IDS)
    watching.config.unlink()
    reload(watching, "config.rejected")
    eventually_sync(lambda: watching.metrics().get("postpost_monitor_config_last_reload_successful") == 0.0, what="the metric")
    watching.config.touch(mode=0o600)
    watching.config.write_text(good)
    reload(watching, "config.reloaded")
    eventually_sync(lambda: watching.metrics().get("postpost_monitor_config_last_reload_successful") == 1.0, what="the metric")


def _rotated_key(watching: Daemon, simulated: Simulated) -> None:
    simulated.steer.do("accounts/main/revoke")
    simulated.steer.do("accounts/main/add-key", {"key": marked.SECOND_API_KEY})
    (watching.folder / "api-key").write_text(marked.SECOND_API_KEY + "\n")
    reload(watching, "config.reloaded")
    goes_on(simulated)
    eventually_sync(lambda: watching.metrics().get("postpost_account_up", account="main") == 1.0, what="the account")


@pytest.mark.slow
def test_removed_and_added_again(simulated: Simulated, tmp_path: Path) -> None:
    """A connection that is no longer configured is gone from the next scrape and its incident closed; when it comes back it is told of afresh."""
    for platform_id in IDS[:4]:
        simulated.steer.do("connections", {"id": platform_id, "account": "main"})
    simulated.steer.do(f"connections/{IDS[0]}/break", {"message": "Token has been revoked"})
    more = f"connections: [{', '.join(IDS[:4])}]"
    with HostileReceiver() as receiver:
        rows = f'{{name: on-call, url: "{receiver.url("taken", marked.PATH)}"}}'
        with Daemon(tmp_path, simulated, receivers=rows, more=more) as daemon:
            daemon.config.write_text(daemon.config.read_text().replace("name: main,", "name: main, discover: off,"))
            daemon.ready()
            reload(daemon, "config.reloaded")

            def told() -> list[str]:
                return [json.loads(body)["type"] for body in receiver.bodies.get("taken", [])]

            eventually_sync(lambda: told() == ["connection.failed"], what="the failure")
            with_all = daemon.config.read_text()
            daemon.config.write_text(with_all.replace(f"connections: [{IDS[0]}, {IDS[1]}, ", "connections: ["))
            reload(daemon, "config.reloaded")
            scrape = fetch(f"{daemon.url}/metrics").decode()
            assert [one for one in IDS[:4] if f'"{one}"' in scrape] == list(IDS[2:4])
            assert daemon.metrics().get("postpost_incident_open", topic="connection", severity="critical") is None
            eventually_sync(lambda: told() == ["connection.failed", "connection.closed"], what="the end of the incident")
            daemon.config.write_text(with_all)
            reload(daemon, "config.reloaded")
            eventually_sync(lambda: told()[2:] == ["connection.failed"], what="the failure afresh")
            assert daemon.metrics().get("postpost_connection_up", platform_id=IDS[1]) == 1.0
            assert daemon.stop() == 0


@pytest.mark.slow
def test_stops(simulated: Simulated, tmp_path: Path) -> None:
    """With an API and a receiver that hang SIGTERM ends the daemon after its drain, with 0; a second one ends it at once."""
    simulated.steer.do("connections/threads-17841412345678/break", {"message": "Token has been revoked"})
    with HostileReceiver() as receiver:
        rows = f'{{name: on-call, url: "{receiver.url("hang", marked.PATH)}", timeout: 1m}}'
        took = {}
        for drain, signals in (("2s", 1), ("5m", 2)):
            folder = tmp_path / drain
            folder.mkdir(mode=0o700)
            with Daemon(folder, simulated, receivers=rows) as daemon:
                daemon.config.write_text(daemon.config.read_text().replace("drain: 5s", f"drain: {drain}"))
                daemon.ready()
                reload(daemon, "config.reloaded")
                hanging = len(receiver.bodies.get("hang", []))
                eventually_sync(lambda many=hanging: len(receiver.bodies.get("hang", [])) > many, what="a POST")  # type: ignore[misc]
                simulated.steer.do("api/hang")
                begun = time.monotonic()
                for number in range(signals):
                    daemon.process.send_signal(signal.SIGTERM)
                    eventually_sync(lambda: events(daemon, "monitor.stop_requested") == 1, what="the stop")
                    assert number or daemon.process.poll() is None
                assert daemon.process.wait(patience()) == 0
                took[signals] = time.monotonic() - begun
                simulated.steer.do("api/behave-normally")
        assert took[1] >= 2
        assert took[2] < 30, "the drain would have been five minutes"


@pytest.mark.slow
def test_nobody_reads_the_log(simulated: Simulated, tmp_path: Path) -> None:
    """While nobody takes what the daemon writes to stderr, checks go on at their pace, it can be scraped, and it stops when asked."""
    for platform_id in IDS:
        simulated.steer.do("connections", {"id": platform_id, "account": "main"})
    reading, writing = os.pipe()
    fcntl.fcntl(writing, _F_SETPIPE_SZ, 4096)
    with Daemon(tmp_path, simulated, log=writing) as daemon:
        os.close(writing)
        daemon.ready()
        daemon.config.write_text(daemon.config.read_text() + "".join(f"nonsense{number}: true\n" for number in range(400)))
        for _ in range(60):
            daemon.process.send_signal(signal.SIGHUP)
            time.sleep(0.02)
        goes_on(simulated)
        begun, before = time.monotonic(), journal(simulated)["total"]
        goes_on(simulated, 4 * len(IDS))
        assert (journal(simulated)["total"] - before) / (time.monotonic() - begun) > 0.5 * len(IDS)
        assert daemon.metrics().get("postpost_monitor_config_last_reload_successful") == 0.0
        kept_waiting = 0
        while kept_waiting < 200_000:
            kept_waiting += len(os.read(reading, 1 << 20))
        assert daemon.stop() == 0
    os.close(reading)


@pytest.mark.slow
def test_clock_jumps(simulated: Simulated, tmp_path: Path) -> None:
    """
    The wall clock is set on by ten years and by an hour, and back each time: checks neither stop nor come in a burst, nothing is told,
    and every jump is counted.
    """
    for platform_id in IDS:
        simulated.steer.do("connections", {"id": platform_id, "account": "main"})
        simulated.steer.do(f"connections/{platform_id}/expires-in", {"in": "59d"})
    with HostileReceiver() as receiver:
        rows = f'{{name: on-call, url: "{receiver.url("taken", marked.PATH)}"}}'
        with Daemon(tmp_path, simulated, receivers=rows, program="tests.deploy.jumping") as daemon:
            daemon.ready()
            eventually_sync(lambda: checked(daemon) == len(IDS), what="the first checks")
            wall = daemon.process.stdin
            assert wall is not None
            for number, jump in enumerate((10 * YEAR, 0, HOUR, 0)):
                begun, before = time.monotonic(), journal(simulated)["total"]
                wall.write(f"{jump}\n")
                wall.flush()
                goes_on(simulated, 3 * len(IDS))
                pace = (journal(simulated)["total"] - before) / (time.monotonic() - begun)
                assert 0.4 * len(IDS) < pace < 2.5 * len(IDS), jump
                jumps = number + 1.0
                eventually_sync(lambda: daemon.metrics().get("postpost_monitor_clock_jumps_total") == jumps, what="the jump")  # noqa: B023
            assert journal(simulated)["overlaps"] == 0
            assert receiver.bodies == {}
            assert daemon.stop() == 0


@pytest.mark.slow
def test_standing_still(simulated: Simulated, tmp_path: Path) -> None:
    """A daemon that was stopped and continued after longer than its evidence lasts says nothing, and checks everything again."""
    for platform_id in IDS:
        simulated.steer.do("connections", {"id": platform_id, "account": "main"})
        simulated.steer.do(f"connections/{platform_id}/expires-in", {"in": "59d"})
    with HostileReceiver() as receiver:
        rows = f'{{name: on-call, url: "{receiver.url("taken", marked.PATH)}"}}'
        with Daemon(tmp_path, simulated, receivers=rows, more="policy: {stale_after: 6s}\n") as daemon:
            daemon.ready()
            eventually_sync(lambda: checked(daemon) == len(IDS), what="the first checks")
            daemon.process.send_signal(signal.SIGSTOP)
            time.sleep(9)
            daemon.process.send_signal(signal.SIGCONT)
            goes_on(simulated, 3 * len(IDS))
            assert receiver.bodies == {}
            assert daemon.stop() == 0


@pytest.mark.slow
def test_signals_from_the_first_moment(simulated: Simulated, tmp_path: Path) -> None:
    """SIGHUP ends no daemon that is still starting, and the reload that it asks for is not forgotten."""
    with Daemon(tmp_path, simulated) as daemon:
        status = Path(f"/proc/{daemon.process.pid}/status")
        eventually_sync(lambda: _heeds(status, signal.SIGHUP), what="a handler")
        loaded = Path(f"/proc/{daemon.process.pid}/maps").read_text()
        assert "pydantic" not in loaded, "libraries are loaded before the signal is taken care of"
        while events(daemon, "monitor.started") == 0:
            daemon.process.send_signal(signal.SIGHUP)
            time.sleep(0.01)
            assert daemon.process.poll() is None
        daemon.ready()
        eventually_sync(lambda: events(daemon, "config.reloaded") >= 1, what="the reload")
        assert daemon.stop() == 0


@pytest.mark.slow
def test_stop_before_the_start(simulated: Simulated, tmp_path: Path) -> None:
    """SIGTERM ends a daemon with 0 that is still loading its libraries."""
    with Daemon(tmp_path, simulated) as daemon:
        status = Path(f"/proc/{daemon.process.pid}/status")
        eventually_sync(lambda: _heeds(status, signal.SIGTERM), what="a handler")
        assert daemon.stop() == 0
    assert (tmp_path / "daemon.log").read_text() == ""


@pytest.mark.slow
def test_reloads_while_it_stops(simulated: Simulated, tmp_path: Path) -> None:
    """SIGHUPs that come after SIGTERM, up to the last moment of the process, neither keep it alive nor spoil its exit code."""
    with Daemon(tmp_path, simulated) as daemon:
        daemon.ready()
        daemon.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + patience()
        while daemon.process.poll() is None and time.monotonic() < end:
            daemon.process.send_signal(signal.SIGHUP)
            time.sleep(0.002)
        assert daemon.process.poll() == 0


def _heeds(status: Path, number: signal.Signals) -> bool:
    masks = dict(line.split(":\t") for line in status.read_text().splitlines() if line.startswith(("SigIgn", "SigCgt")))
    return any(int(mask, 16) & 1 << (number - 1) for mask in masks.values())


@pytest.mark.slow
def test_no_files_left(simulated: Simulated, tmp_path: Path) -> None:
    """A daemon that can open no more files lives on, blames neither the API nor a connection, and is well when it can again."""
    for platform_id in IDS:
        simulated.steer.do("connections", {"id": platform_id, "account": "main"})
    with HostileReceiver() as receiver:
        rows = f'{{name: on-call, url: "{receiver.url("taken", marked.PATH)}"}}'
        with Daemon(tmp_path, simulated, receivers=rows) as daemon:
            daemon.ready()
            eventually_sync(lambda: checked(daemon) == len(IDS), what="the first checks")
            process = daemon.process.pid
            limits = resource.prlimit(process, resource.RLIMIT_NOFILE, (3, resource.prlimit(process, resource.RLIMIT_NOFILE)[1]))
            simulated.steer.do("api/drop", {"times": 40})
            with socket.create_connection(("127.0.0.1", int(daemon.url.rpartition(":")[2]))):
                eventually_sync(lambda: events(daemon, "web.accept_failed") == 1, what="that no connection is accepted")
            time.sleep(3)
            assert daemon.process.poll() is None
            resource.prlimit(process, resource.RLIMIT_NOFILE, limits)
            daemon.ready()
            goes_on(simulated)
            assert daemon.metrics().get("postpost_checks_total", platform="linkedin", reason="monitor_internal")
            assert checked(daemon) == len(IDS)
            assert receiver.bodies == {}
            assert daemon.stop() == 0
