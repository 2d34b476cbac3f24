"""The unit, its user and its folders, judged by systemd's own tools; and that they fit the program."""

import re
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from monitor.config import load
from monitor.errors import ConfigError
from monitor.notify import templates
from tests import marked
from tests.deploy.daemon import ROOT
from tests.tools import require_tool

FOLDER = ROOT / "deploy" / "systemd"
UNIT = FOLDER / "postpost-monitor.service"
NODE_UNIT = FOLDER / "postpost-monitor@.service"
MOST_EXPOSED = 1.5
STOPS_FOR_GOOD = {"74", "75", "78"}


def _settings(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)


def _seconds(name: str) -> float:
    return float(_settings(name)[0])


def test_unit_is_valid(tmp_path: Path) -> None:
    """Systemd finds nothing to complain about: no unknown key, no value that it ignores."""
    copy = tmp_path / UNIT.name
    copy.write_text(
        UNIT.read_text(encoding="utf-8").replace(_settings("ExecStart")[0], "/bin/true").replace(_settings("ExecReload")[0], "/bin/true")
    )
    done = subprocess.run([require_tool("systemd-analyze"), "verify", copy], capture_output=True, text=True, check=False)

    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_unit_of_a_node() -> None:
    """It differs from the unit of a single instance in what the nodes of one machine have of their own, and comes back after 75."""
    lines = [[line for line in unit.read_text(encoding="utf-8").splitlines() if not line.startswith("#")] for unit in (UNIT, NODE_UNIT)]
    assert sorted(set(lines[1]) - set(lines[0])) == [
        "Description=Watch PostPost social connections and tell on-call, node %i",
        "EnvironmentFile=-/etc/postpost-monitor/node-%i.env",
        "PartOf=postpost-monitor.target",
        "RestartPreventExitStatus=74 78",
        "RestartSec=2",
        "RuntimeDirectory=postpost-monitor/%i",
        "WantedBy=postpost-monitor.target",
    ]
    assert len(lines[0]) + 2 == len(lines[1])


def test_exposure() -> None:
    """systemd-analyze counts at most 1.5 of 10 points of exposure."""
    command: list[str | Path] = [require_tool("systemd-analyze"), "security", "--offline=yes", "--no-pager", UNIT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)

    assert found is not None, done.stdout
    assert float(found[1]) <= MOST_EXPOSED


def test_unit_fits_the_program(tmp_path: Path) -> None:
    """Ends that no restart repairs are not restarted; the drain fits the stop; the key is handed over; the file is the installer's."""
    path = tmp_path / "config.yaml"
    path.touch(mode=0o600)
    path.write_text(f'accounts: [{{name: main, api_key: "{marked.API_KEY}"}}]\n')
    assert set(_settings("RestartPreventExitStatus")[0].split()) == STOPS_FOR_GOOD
    assert _seconds("TimeoutStopSec") > load(path, check_template=templates.problems).shutdown.drain.total_seconds() + 10
    assert _settings("LoadCredential") == ["api-key:/etc/postpost-monitor/credentials/api-key"]
    assert _settings("ExecStart")[0].endswith("run --config /etc/postpost-monitor/config.yaml")
    assert _settings("WatchdogSec") == ["60"]
    # However often it ends, it is started again.
    assert (_settings("Restart"), _settings("StartLimitIntervalSec")) == (["always"], ["0"])
    assert _settings("ExecReload")[0].endswith("config reload --pid $MAINPID")


def test_first_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration that the installer puts in place works as soon as the key is there, and says so when it is not."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    key = tmp_path / "api-key"
    key.touch(mode=0o400)
    with pytest.raises(ConfigError, match="empty"):
        load(FOLDER / "config.yaml", check_template=templates.problems)
    key.chmod(0o600)
    key.write_text(marked.API_KEY + "\n")

    config = load(FOLDER / "config.yaml", check_template=templates.problems)

    assert config.database.url.reveal() == "sqlite:////var/lib/postpost-monitor/monitor.db"
    assert config.accounts[0].discover == "connections"


def test_configuration_with_a_receiver(tmp_path: Path) -> None:
    """The commented receiver of that file works once its comment signs are taken away."""
    for name, text in {
        "api-key": marked.API_KEY,
        "on-call-url": "http://127.0.0.1:9/x",
        "on-call-secret": marked.signing(),
    }.items():
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(text)
    text = (FOLDER / "config.yaml").read_text(encoding="utf-8")
    text = re.sub(r"^# (receivers:|  .*)$", r"\1", text, flags=re.MULTILINE)
    text = text.replace("${CREDENTIALS_DIRECTORY:-/etc/postpost-monitor/credentials}", str(tmp_path))
    path = tmp_path / "config.yaml"
    path.touch(mode=0o600)
    path.write_text(text.replace("/etc/postpost-monitor/credentials", str(tmp_path)))

    assert [receiver.name for receiver in load(path, check_template=templates.problems).receivers] == ["on-call"]


def test_user_and_folders(tmp_path: Path) -> None:
    """Systemd makes the user and the folders, with the modes that the program asks for."""
    root = tmp_path / "root"
    (root / "etc/postpost-monitor/credentials").mkdir(parents=True)
    (root / "etc/postpost-monitor/credentials/api-key").touch(mode=0o644)
    for tool, name in (("systemd-sysusers", "sysusers"), ("systemd-tmpfiles", "tmpfiles")):
        target = root / f"etc/{name}.d/postpost-monitor.conf"
        target.parent.mkdir()
        target.write_text((FOLDER / f"{name}.conf").read_text(encoding="utf-8"))
        command: list[str | Path] = [require_tool(tool), *(["--create"] if name == "tmpfiles" else []), f"--root={root}", target]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    passwd = (root / "etc/passwd").read_text()
    modes = {
        path: f"{(root / path).stat().st_mode & 0o7777:04o}"
        for path in (
            "etc/postpost-monitor",
            "etc/postpost-monitor/credentials",
            "etc/postpost-monitor/credentials/api-key",
            "var/lib/postpost-monitor",
        )
    }

    assert re.search(r"^postpost-monitor:.*:/usr/sbin/nologin$", passwd, re.MULTILINE)
    assert list(modes.values()) == ["0750", "0750", "0400", "0700"]


def test_unit_has_no_trailing_comments() -> None:
    """A comment after a value would become part of the value."""
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text(encoding="utf-8"))

    assert parser.sections() == ["Unit", "Service", "Install"]
    assert not [value for section in parser.sections() for value in parser[section].values() if "#" in value]
