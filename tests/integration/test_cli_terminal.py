"""Verbs on a real terminal, in a pipe that is closed, and stopped half-way."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

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


async def test_watch(world: Watched, tmp_path: Path) -> None:
    """The picture is drawn over the old one, never wiped; it shows what changed, fits a new size, and Ctrl-C gives the terminal back."""
    with on_terminal(["status", "--watch", "0.2", "--config", str(tmp_path / "config.yaml")]) as terminal:
        drawn = terminal.read_until(lambda text: text.count("\033[J") >= 3)
        assert "\033[2J" not in drawn
        assert "\033[H\033[J" not in drawn
        assert max(len(line) for line in terminal.picture()) <= 80
        await world.checks(world.connection("threads-1784"), [Reason.CREDENTIAL_REJECTED] * 2, timedelta(minutes=2), timedelta(minutes=1))
        terminal.read_until(lambda text: "2 \033[31merror" in text and text.endswith("\033[J"))
        terminal.resize(24, 140)
        terminal.read_until(lambda text: "WHY" in text and text.endswith("\033[J"))
        assert 80 < max(len(line) for line in terminal.picture()) <= 140
        terminal.resize(8, 60)
        terminal.read_until(lambda text: "more lines" in text and text.endswith("\033[J"))
        assert len(terminal.picture()) <= 8
        terminal.press(b"\x03")
        terminal.read_until(lambda text: "\033[?1049l" in text)
        assert terminal.process.wait(patience()) == 0
        assert terminal.text.endswith("\033[?25h\033[?1049l")
        assert "Traceback" not in terminal.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_watch_ended(world: Watched, tmp_path: Path, number: signal.Signals) -> None:
    """However it is ended, the terminal is given back."""
    with on_terminal(["status", "--watch", "--config", str(tmp_path / "config.yaml")]) as terminal:
        terminal.read_until(lambda text: "\033[J" in text)
        terminal.process.send_signal(number)
        assert terminal.process.wait(patience()) == 0
        terminal.read_until(lambda text: "\033[?1049l" in text)
    assert world.now is not None


def test_watch_without_a_database(world: Watched, tmp_path: Path) -> None:
    """While there is no database that is said, and the watch goes on."""
    config = tmp_path / "other.yaml"
    config.write_text((tmp_path / "config.yaml").read_text().replace("monitor.db", "other.db"))
    with on_terminal(["status", "--watch", "0.2", "--config", str(config)]) as terminal:
        terminal.read_until(lambda text: text.count("there is no database") >= 2)
        assert terminal.process.poll() is None
    assert world.now is not None


def test_no_colour(world: Watched, tmp_path: Path) -> None:
    """With NO_COLOR a terminal gets no colour; without, words that matter have one."""
    words = ["status", "--config", str(tmp_path / "config.yaml")]
    with on_terminal(words) as terminal:
        assert "\033[31merror\033[0m" in terminal.read_until(lambda text: "unsupported" in text.rpartition("connections:")[2])
    with on_terminal(words, environment={"NO_COLOR": "1"}) as terminal:
        assert "\033" not in terminal.read_until(lambda text: "unsupported" in text.rpartition("connections:")[2])
    assert world.now is not None


@pytest.mark.parametrize("words", [["status"], ["export", "checks"], ["history", "threads-1784"], ["config", "reference"]])
def test_closed_pipe(world: Watched, tmp_path: Path, words: list[str]) -> None:
    """A reader that goes away ends the verb quietly, with the code that a shell gives a broken pipe."""
    read, write = os.pipe()
    os.close(read)
    config = [] if words[0] == "config" else ["--config", str(tmp_path / "config.yaml")]
    command = [sys.executable, "-m", "monitor", *words, *config]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")
    assert world.now is not None
