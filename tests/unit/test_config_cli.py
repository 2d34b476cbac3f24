"""The verb `config`: check, show, schema."""

import argparse
import json
from pathlib import Path

import pytest
import yaml

from monitor.cli import config as verb
from monitor.cli.options import add_config
from monitor.config.reference import BEGIN, END
from monitor.errors import EXIT_CONFIG

GOOD = """\
accounts: [{name: main, api_key: sk_telltale.0123456789}]
connections: [linkedin-Ab1]
receivers: [{name: on-call, url: "https://hooks.example.org/telltale", headers: {Authorization: Bearer telltale}}]
database: {url: "postgresql://monitor:telltale@db/monitor"}
"""


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    verb.register(parser.add_subparsers())
    args = parser.parse_args(["config", *words])
    result = args.run(args)
    assert isinstance(result, int)
    return result


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
        f"{file}: can be used",
        "1 account: main (discovers its connections)",
        "1 connection: linkedin-Ab1",
        "1 receiver: on-call (webhook)",
        "1 warning:",
    ]
    assert "telltale" not in out


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
    assert shown["policy"]["platforms"]["linkedin"]["expiry"]["thresholds"] == ["14d", "3d"]
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


def test_reference_written(tmp_path: Path) -> None:
    """In a source tree the page and the schema are made anew; what people wrote around the reference stays."""
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    (tmp_path / "config").mkdir()
    page = tmp_path / "docs" / "reference" / "configure.md"
    page.write_text(f"# Before\n{BEGIN}old\n{END}# After\n")
    assert call("reference", "--write", str(tmp_path)) == 0
    assert page.read_text().startswith("# Before\n")
    assert page.read_text().endswith("# After\n")
    assert "old" not in page.read_text().split("\n")
    assert json.loads((tmp_path / "config" / "schema.json").read_text())


def test_config_option() -> None:
    """Without --config the usual place is meant."""
    parser = argparse.ArgumentParser()
    add_config(parser)
    assert parser.parse_args([]).config is None
    assert parser.parse_args(["--config", "x.yaml"]).config == Path("x.yaml")
