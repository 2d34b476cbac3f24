"""The verb `config`: check, show, schema."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from monitor.cli.main import build_parser, main
from monitor.errors import EXIT_CONFIG

GOOD = """\
accounts: [{name: main, api_key: sk_telltale.0123456789}]
connections: [linkedin-Ab1]
receivers: [{name: on-call, url: "https://hooks.example.org/telltale", headers: {Authorization: Bearer telltale}}]
database: {url: "postgresql://monitor:telltale@db/monitor"}
"""


def call(*words: str) -> int:
    return main(["config", *words])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "monitor.yaml"
    path.write_text(GOOD)
    return path


def test_check_good(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A good file is summed up, with its warnings, and ends with 0."""
    assert call("check", "--config", str(file)) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[:5] == [
        f"{file}: valid",
        "1 account: main (discovers its connections)",
        "1 connection: linkedin-Ab1",
        "1 receiver: on-call (webhook)",
        "1 warning:",
    ]
    assert "telltale" not in out


@pytest.mark.slow
def test_file_of_root(tmp_path: Path) -> None:
    """For root the installed command checks a file of any folder, and what it names as the service's user would read it."""
    root = os.geteuid() == 0
    closed, key = tmp_path / "closed", Path("/var/tmp") / f"postpost-monitor-test-{os.getpid()}"
    closed.mkdir(0o700)
    (closed / "config.yaml").write_text(f"accounts: [{{name: main, api_key_file: {key}}}]\n")
    script = (
        "import pkgutil, sys, monitor\n"
        "from importlib import import_module\n"
        "for one in pkgutil.walk_packages(monitor.__path__, 'monitor.'):\n"
        "    one.name == 'monitor.__main__' or import_module(one.name)\n"
        f"sys.exit(import_module('monitor.cli.main').main(['config', 'check', {str(closed / 'config.yaml')!r}]))"
    )
    said = []
    try:
        for owner in (65534, 0):
            key.touch(mode=0o600)
            key.write_text("sk_made.up-for-this-test")
            if root:
                os.chown(key, owner, -1)
            command, environment = [sys.executable, "-c", script], os.environ | {"POSTPOST_MONITOR_USER": "nobody"}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            said.append((done.returncode, "can't be read: Permission denied (run the command with sudo" in done.stdout))
    finally:
        key.unlink()

    assert said == [(0, False), (EXIT_CONFIG, True) if root else (0, False)]


def test_check_bad(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bad file gives one line per problem and ends with 78."""
    file.write_text(GOOD + "web: {listen: 1}\nschedule: {interval: 5}\n")
    assert call("check", "--config", str(file)) == EXIT_CONFIG
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" ")[0] for line in lines] == [f"{file}:5:", f"{file}:6:"]


@pytest.mark.parametrize("bad", [False, True])
def test_check_json(file: Path, capsys: pytest.CaptureFixture[str], bad: bool) -> None:
    """With --json problems and warnings are for machines."""
    if bad:
        file.write_text(GOOD + "web: {listen: 1}\n")
    code = call("check", "--json", "--config", str(file))
    told = json.loads(capsys.readouterr().out)
    assert (code, told["ok"], len(told["problems"]), len(told["warnings"])) == ((EXIT_CONFIG, False, 1, 0) if bad else (0, True, 0, 1))
    assert set((told["problems"] or told["warnings"])[0]) == {"location", "message", "fix"}


def test_show(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is in effect is shown as YAML, defaults and platforms included, without any secret."""
    assert call("show", "--config", str(file)) == 0
    out = capsys.readouterr().out
    assert "telltale" not in out
    shown = yaml.safe_load(out)
    assert shown["accounts"][0]["api_key"] == "<secret>"
    assert shown["connections"][0]["interval"] == "15m"
    assert shown["policy"]["platforms"]["linkedin"]["expiry"]["thresholds"] == ["14d", "3d", "1d"]
    assert shown["policy"]["stale_after"] == "auto"


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """The schema is JSON and closed to unknown keys."""
    assert call("schema") == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["additionalProperties"] is False
    assert "warnings" not in schema["properties"]


def test_reference(capsys: pytest.CaptureFixture[str]) -> None:
    """The reference is Markdown with a table per section."""
    assert call("reference") == 0
    assert "| `interval` | duration | `15m` |" in capsys.readouterr().out


def test_config_option() -> None:
    """Without --config the default file is meant."""
    assert build_parser().parse_args(["config", "show"]).config is None
    assert build_parser().parse_args(["config", "show", "--config", "x.yaml"]).config == Path("x.yaml")
