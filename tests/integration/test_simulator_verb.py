"""The verb `simulate`, run as a process."""

import json
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

from monitor.cli.main import build_parser, main
from monitor.config.loader import load_text
from monitor.notify import templates
from tests.waiting import eventually_sync, patience

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
Start = Callable[..., tuple["subprocess.Popen[bytes]", Callable[[], str]]]


def _request(url: str, key: str = "", method: str = "GET") -> Any:
    request = urllib.request.Request(url, method=method, headers={"x-api-key": key} if key else {})
    with urllib.request.urlopen(request, timeout=patience()) as response:
        return json.load(response)


@pytest.fixture(name="start")
def _start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> tuple["subprocess.Popen[bytes]", Callable[[], str]]:
        output = tmp_path / f"out{len(started)}"
        with output.open("wb") as file:
            command = [sys.executable, "-m", "monitor", "simulate", *options]
            started.append(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT))
        return started[-1], output.read_text

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_serves_until_stopped(start: Start, tmp_path: Path) -> None:
    """It serves what it printed, prints a valid configuration, and ends with 0 on a signal."""
    options = ("--receiver-port", "0", "--receiver-secret", SECRET, "--key", "sk_mine_alone", "--generation", "september")
    process, output = start("--port", "0", *options)
    text = eventually_sync(lambda: output() if "Ctrl-C" in output() else "")
    base = re.search(r"API +(\S+)", text)
    hook = re.search(r"receiver +(\S+)", text)
    assert base
    assert hook
    assert _request(f"{base[1]}/test-connection/linkedin-Tz9W5i6ZYG", "sk_mine_alone", "POST")["status"] == "ok"
    assert _request(f"{hook[1].removesuffix('/hook')}/_received")["total"] == 0
    assert "/break -d" in text
    assert "september generation" in text

    snippet = text.partition("A configuration to copy:\n")[2].partition("Try:")[0]
    config = load_text(snippet, "rehearsal.yaml", {}, folder=tmp_path, check_template=templates.problems)
    assert [account.name for account in config.accounts] == ["main"]
    assert [receiver.name for receiver in config.receivers] == ["rehearsal"]

    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert output().endswith("stopped\n")


def test_fleet(start: Start) -> None:
    """A fleet has the given number of connections; Ctrl-C ends it too."""
    process, output = start("--port", "0", "--fleet", "1200")
    text = eventually_sync(lambda: output() if "Ctrl-C" in output() else "")
    control = re.search(r"control +(\S+)/ ", text)
    assert "1,200 connections" in text
    assert control
    assert _request(f"{control[1]}/state?last=1")["connections_total"] == 1200
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


@pytest.mark.parametrize("option", ["--port", "--receiver-port"])
def test_port_in_use(capsys: pytest.CaptureFixture[str], option: str) -> None:
    """A port that is in use is named together with the option that changes it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["simulate", "--port", "0", option, port]) == 1
    assert capsys.readouterr().err == f"postpost-monitor: port {port} on 127.0.0.1 is in use; choose another with {option}\n"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--host", "192.0.2.1", "--port", "0"), 1, "cannot listen on 192.0.2.1 port 0: "),
        (("--port", "0", "--receiver-secret", SECRET), 2, "--receiver-secret needs --receiver-port"),
    ],
)
def test_errors(capsys: pytest.CaptureFixture[str], options: tuple[str, ...], code: int, message: str) -> None:
    """A foreign address, and a secret without a receiver, are refused."""
    assert main(["simulate", *options]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ("--port", "70000"),
        ("--fleet", "0"),
        ("--fleet", "3", "--world", "demo"),
        ("--generation", "may"),
        ("--key", "short"),
        ("--key", "sk_two\nlines"),
        ("--receiver-secret", "hello"),
    ],
)
def test_usage(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong options end with 2; so do secrets that would be invalid in the printed configuration."""
    with pytest.raises(SystemExit) as ended:
        build_parser(["simulate"]).parse_args(["simulate", *options])
    assert ended.value.code == 2
    assert options[-2] in capsys.readouterr().err
