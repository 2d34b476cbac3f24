"""Verbs on a real terminal, in a closed pipe, with few characters, and stopped by signals."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.cli.main import main
from monitor.errors import Reason
from tests.terminal import on_terminal
from tests.waiting import patience
from tests.watched import Watched, tell_a_story, watched, write_config


@pytest.fixture
async def world(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Watched]:
    """A story in an SQLite database that a daemon holds."""
    async with watched(write_config(tmp_path, sqlite_url)) as story:
        await tell_a_story(story)
        yield story


@pytest.mark.slow
async def test_watch(world: Watched, tmp_path: Path) -> None:
    """The table is redrawn without clearing the screen, shows changes, fits a new size, and Ctrl-C restores the terminal."""
    with on_terminal(["status", "--watch", "0.2", "--config", str(tmp_path / "config.yaml")]) as terminal:
        drawn = terminal.read_until(lambda text: text.count("\033[H") >= 4 and "connections:" in text.rpartition("\033[H")[2])
        assert "\033[2J" not in drawn
        assert max(len(line) for line in terminal.picture()) <= 80
        await world.checks(world.connection("threads-1784"), [Reason.CREDENTIAL_REJECTED] * 2, timedelta(minutes=2), timedelta(minutes=1))
        terminal.read_until(lambda text: "2 \033[31mbroken" in text)
        terminal.resize(24, 140)
        terminal.read_until(lambda text: "WHY" in text and "connections:" in text.rpartition("\033[H")[2])
        assert 80 < max(len(line) for line in terminal.picture()) <= 140
        terminal.resize(8, 60)
        terminal.read_until(lambda text: "more lines" in text and "connections:" in text.rpartition("\033[H")[2])
        terminal.press(b"\x03")
        terminal.read_until(lambda text: "\033[?1049l" in text)
        assert terminal.process.wait(patience()) == 0
        assert terminal.text.rfind("\033[?25h") > terminal.text.rfind("\033[?25l"), "the cursor is shown again"
        assert "Traceback" not in terminal.text


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_watch_ended(world: Watched, tmp_path: Path, number: signal.Signals) -> None:
    """Without a database the watch says so and goes on; a signal ends it and restores the terminal."""
    config = tmp_path / "other.yaml"
    config.write_text((tmp_path / "config.yaml").read_text().replace("monitor.db", "other.db"))
    with on_terminal(["status", "--watch", "0.2", "--config", str(config)]) as terminal:
        terminal.read_until(lambda text: text.count("there is no database") >= 2)
        terminal.process.send_signal(number)
        assert terminal.process.wait(patience()) == 0
        terminal.read_until(lambda text: "\033[?1049l" in text)


@pytest.mark.slow
def test_no_colour(world: Watched, tmp_path: Path) -> None:
    """A terminal gets colours, unless NO_COLOR is set."""
    command = ["status", "--config", str(tmp_path / "config.yaml")]
    with on_terminal(command) as terminal:
        assert "\033[31mBroken\033[0m" in terminal.read_until(lambda text: "not testable" in text.rpartition("connections:")[2])
    with on_terminal(command, environment={"NO_COLOR": "1"}) as terminal:
        assert "\033" not in terminal.read_until(lambda text: "not testable" in text.rpartition("connections:")[2])


def closed_pipe() -> int:
    """The writing end of a pipe without a reader."""
    read, write = os.pipe()
    os.close(read)
    return write


@pytest.mark.slow
def test_closed_pipe(world: Watched, tmp_path: Path) -> None:
    """When the reader of its output is gone, a process ends quietly with the code of SIGPIPE."""
    command = [sys.executable, "-m", "monitor", "status", "--config", str(tmp_path / "config.yaml")]
    with os.fdopen(closed_pipe(), "w") as stdout:
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_closed_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is wrong with a standard stream that the caller has closed: what is written there is discarded."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    monkeypatch.setattr(sys, "argv", ["postpost-monitor", "completion", "bash"])
    assert main() == 0
    sys.stdout.close()
    sys.stderr.close()


@pytest.mark.parametrize("command", [["export", "checks"], ["history", "threads-1784"]])
def test_closed_pipe_in_process(world: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    """So does every verb whose output is longer than the buffer, here of one byte."""
    with io.FileIO(closed_pipe(), "w") as pipe:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, write_through=True))
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        assert main([*command, "--config", str(tmp_path / "config.yaml")]) == 128 + signal.SIGPIPE


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1", "utf-8"])
def test_few_characters(world: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    """Characters that the output cannot encode are replaced; JSON and exports lose none."""

    def output(*command: str) -> bytes:
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
        monkeypatch.setattr(sys, "argv", ["postpost-monitor", *command, "--config", str(tmp_path / "config.yaml")])
        assert main() == 0
        sys.stdout.flush()
        return raw.getvalue()

    assert b"linkedin-page1" in output("status")
    assert "“Session has expired”" in json.loads(output("status", "--json").decode(encoding))["connections"][0]["why"]
    assert output("export", "checks").decode("utf-8").startswith("account,")


@pytest.mark.slow
def test_few_characters_of_a_process(world: Watched, tmp_path: Path) -> None:
    """So does a process whose environment has an ASCII locale."""
    command = [sys.executable, "-m", "monitor", "status", "--config", str(tmp_path / "config.yaml")]
    done = subprocess.run(command, capture_output=True, check=True, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert b"?Session has expired?" in done.stdout
