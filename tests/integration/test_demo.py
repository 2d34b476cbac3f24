"""The verb `demo`."""

import contextlib
import re
import socket
import urllib.request
from pathlib import Path

import pytest

from monitor.cli.main import main
from tests.terminal import on_terminal
from tests.waiting import patience


@pytest.fixture(name="taken")
def _taken() -> "socket.socket":
    """The default port, in use."""
    taken = socket.socket()
    with contextlib.suppress(OSError):
        taken.bind(("127.0.0.1", 9840))
        taken.listen()
    return taken


def test_demo(taken: socket.socket, tmp_path: Path) -> None:
    """
    Beside a running daemon, on a narrow terminal: the printed addresses answer, the printed command breaks a connection and on-call
    is notified, Ctrl-C ends it with 0, and no file is left.
    """
    with taken, on_terminal(["demo"], columns=80, environment={"TMPDIR": str(tmp_path), "NO_COLOR": "1"}) as terminal:
        shown = terminal.read_until(lambda text: re.search(r"break something .*\n", text))
        metrics = re.search(r"metrics +(http://\S+/metrics)\r\n", shown)
        command = re.search(r"curl -X POST (http://127\.0\.0\.1:\d+/_sim/connections/(\S+)/break)\r\n", shown)
        assert metrics is not None, shown
        assert command is not None, shown
        with urllib.request.urlopen(metrics[1], timeout=patience()) as answer:
            assert b"postpost_monitor_build_info" in answer.read()
        urllib.request.urlopen(urllib.request.Request(command[1], method="POST"), timeout=patience()).close()
        terminal.read_until(lambda text: re.search(r"on-call +connection\.failed: Mastodon", text))
        terminal.press(b"\x03")
        terminal.read_until(lambda text: "stopped\r\n" in text)
        assert terminal.process.wait(patience()) == 0
    assert list(tmp_path.iterdir()) == []


def test_port_asked_for(taken: socket.socket, capsys: pytest.CaptureFixture[str]) -> None:
    """A given port is not replaced by another: when it is in use, that is the error."""
    with taken:
        assert main(["demo", "--port", "9840"]) == 1

    said = capsys.readouterr()
    assert said.err == (
        "postpost-monitor: web.listen: can't listen on 127.0.0.1:9840: Address already in use (choose another address or port)\n"
    )
    assert said.out == ""


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """An invalid port ends with 2."""
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--port", "70000"])
    assert ended.value.code == 2
    assert "'70000' is not a port" in capsys.readouterr().err
