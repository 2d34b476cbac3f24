"""A reload that is asked for ends with what came of it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.cli.main import main
from monitor.clock import SystemClock
from monitor.errors import UsageError
from monitor.runtime import reload_outcome
from monitor.runtime.reload_outcome import ReloadOutcome

OUTCOMES = [ReloadOutcome(["config.yaml:3: no"]), ReloadOutcome(restart=["database"]), ReloadOutcome(), ReloadOutcome()]


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process of the tests as a service, which reloads with these outcomes."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("MAINPID", str(os.getpid()))
    outcomes = iter(OUTCOMES)
    before = signal.signal(signal.SIGHUP, lambda *_: reload_outcome.record(next(outcomes)))
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("service")
def test_outcomes(capsys: pytest.CaptureFixture[str]) -> None:
    """A refused file fails with its problems, an applied one says what needs a restart; the same outcome twice is two outcomes."""
    assert [main(["config", "reload"]) for _ in OUTCOMES] == [78, 0, 0, 0]
    said, noted = capsys.readouterr()
    assert "config.yaml:3: no" in noted
    assert said == "database has changed, which takes effect with: systemctl restart postpost-monitor\n"


async def test_no_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that does not reload is not waited for longer than asked; no group of processes gets the signal."""
    environ = {"RUNTIME_DIRECTORY": str(tmp_path)}
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert await reload_outcome.request(os.getpid(), 0.0, SystemClock(), environ) is None
    signal.signal(signal.SIGHUP, before)
    for pid in (0, -1, 1):
        with pytest.raises(UsageError):
            await reload_outcome.request(pid, 0.0, SystemClock(), environ)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    with pytest.raises(UsageError, match="systemctl reload"):
        await reload_outcome.request(os.getpid(), 0.0, SystemClock())
    reload_outcome.record(ReloadOutcome())
