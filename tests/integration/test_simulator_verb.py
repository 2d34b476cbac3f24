"""The verb `simulate`, run as users run it."""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.cli import simulate
from monitor.config.loader import load_text
from monitor.notify import templates
from tests.waiting import eventually_sync, patience

ROOT = Path(__file__).parent.parent.parent
_PROGRAM = """
import argparse, sys
from monitor.cli import simulate
from monitor.errors import MonitorError
parser = argparse.ArgumentParser()
simulate.register(parser.add_subparsers())
args = parser.parse_args(sys.argv[1:])
try:
    sys.exit(args.run(args))
except MonitorError as error:
    print(error)
    sys.exit(error.exit_code)
"""
Start = Callable[..., tuple["subprocess.Popen[bytes]", Callable[[], str]]]


def _parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    simulate.register(parser.add_subparsers())
    return parser.parse_args(["simulate", *words])


def _ask(url: str, key: str = "", method: str = "GET") -> Any:
    request = urllib.request.Request(url, method=method, headers={"x-api-key": key} if key else {})
    with urllib.request.urlopen(request, timeout=patience()) as response:
        return json.load(response)


@pytest.fixture(name="start")
def _start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> tuple["subprocess.Popen[bytes]", Callable[[], str]]:
        output = tmp_path / f"out{len(started)}"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, "simulate", *words],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        started.append(process)
        return process, output.read_text

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serves_until_told_to_stop(start: Start, number: signal.Signals) -> None:
    """It prints addresses and key, serves what it printed, and ends with 0 on the first signal."""
    process, output = start("--port", "0", "--receiver-port", "0", "--key", "sk_mine_alone", "--generation", "september")
    text = eventually_sync(lambda: output() if "Ctrl-C" in output() else "")
    base = re.search(r"API +(\S+)", text)
    hook = re.search(r"receiver +(\S+)", text)
    assert base
    assert hook
    assert _ask(f"{base[1]}/test-connection/linkedin-Tz9W5i6ZYG", "sk_mine_alone", "POST")["status"] == "ok"
    assert _ask(f"{hook[1].removesuffix('/hook')}/_received")["total"] == 0
    for copied in ('api_key: "sk_mine_alone"', "/break -d", "discover: connections", "september generation"):
        assert copied in text

    process.send_signal(number)
    assert process.wait(patience()) == 0
    assert output().endswith("stopped\n")


def test_fleet(start: Start) -> None:
    """A fleet has as many connections as asked for."""
    _, output = start("--port", "0", "--fleet", "1200")
    text = eventually_sync(lambda: output() if "Ctrl-C" in output() else "")
    control = re.search(r"control +(\S+)/ ", text)
    assert "1,200 connections" in text
    assert control
    assert _ask(f"{control[1]}/state?last=1")["connections_total"] == 1200


def test_snippet_is_a_configuration(start: Start, tmp_path: Path) -> None:
    """The printed configuration loads as it is."""
    _, output = start("--port", "0", "--receiver-port", "0", "--receiver-secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    text = eventually_sync(lambda: output() if "Ctrl-C" in output() else "")
    snippet = text.partition("A configuration to copy:\n")[2].partition("Try:")[0]
    config = load_text(snippet, "rehearsal.yaml", {}, folder=tmp_path, check_template=templates.problems)
    assert [account.name for account in config.accounts] == ["main"]
    assert [receiver.name for receiver in config.receivers] == ["rehearsal"]


@pytest.mark.parametrize("option", ["--port", "--receiver-port"])
def test_port_taken(start: Start, option: str) -> None:
    """A taken port is named together with the option that changes it, and ends the verb."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        process, output = start("--port", "0", option, port)
        assert process.wait(patience()) == 1
    assert output() == f"port {port} on 127.0.0.1 is taken; choose another with {option}\n"


def test_address_that_is_not_ours(start: Start) -> None:
    """An address of another machine is refused with words."""
    process, output = start("--host", "192.0.2.1", "--port", "0")
    assert process.wait(patience()) == 1
    assert output().startswith("can't listen on 192.0.2.1 port 0: ")


@pytest.mark.parametrize(
    "words",
    [
        ("--port", "x"),
        ("--port", "70000"),
        ("--fleet", "0"),
        ("--fleet", "3", "--world", "demo"),
        ("--generation", "may"),
        ("--key", "short"),
        ("--key", "sk_two\nlines"),
        ("--receiver-secret", "hello"),
    ],
)
def test_usage(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong options end with 2 and say what is wrong; so do secrets that the monitor would refuse in the printed configuration."""
    with pytest.raises(SystemExit) as ended:
        _parse(*words)
    assert ended.value.code == 2
    assert words[-2] in capsys.readouterr().err


def test_secret_without_a_receiver(start: Start) -> None:
    """A secret that nothing would check is an error that names the option that is missing."""
    process, output = start("--port", "0", "--receiver-secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert process.wait(patience()) == 2
    assert "--receiver-port" in output()
