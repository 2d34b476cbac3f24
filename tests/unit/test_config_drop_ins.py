"""Files of `config.d` beside the configuration: order, merging, the place of every problem, and what `config show` says."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from monitor.cli.main import main
from monitor.config import Config, load, load_policy
from monitor.errors import ConfigError
from monitor.notify import templates

MAIN = "accounts: [{name: main, api_key_file: key}]\nconnections: [linkedin-Ab1]\nweb: {listen: '127.0.0.1:1', actions: false}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.d").mkdir()
    (tmp_path / "config.yaml").write_text(MAIN)
    (tmp_path / "key").write_text("sk_0123456789abcdef")
    (tmp_path / "key").chmod(0o400)
    return tmp_path


def put(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        (folder / "config.d" / f"{name}.yaml").write_text(text)


def loaded(folder: Path) -> Config:
    return load(folder / "config.yaml", {}, check_template=templates.problems)


def refused(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def test_merging(folder: Path) -> None:
    """Files are read by name: entries are appended, sections merged, single values and plain lists replaced by the later file."""
    put(
        folder,
        b="connections: [x-2]\nweb: {listen: '127.0.0.1:3'}\npolicy: {expiry: {thresholds: [1d]}}\n",
        a="connections: [x-1]\nweb: {listen: '127.0.0.1:2'}\npolicy: {expiry: {thresholds: [9d, 3d]}}\nschedule:\n",
        c="",
    )
    config = loaded(folder)
    assert [connection.id for connection in config.connections] == ["linkedin-Ab1", "x-1", "x-2"]
    assert config.web.listen == "127.0.0.1:3"
    assert [threshold.days for threshold in config.policy().expiry.thresholds] == [1]
    assert config.drop_ins == (str(folder / "config.d/a.yaml"), str(folder / "config.d/b.yaml"))


def test_policy_of_a_replay(folder: Path) -> None:
    """Another policy is read as a configuration is: with the files beside it, over the current one's other sections."""
    put(folder, a="connections: [x-1]\npolicy: {reminders: 3h}\nweb: {listen: '127.0.0.1:2'}\n", b="schedule: {recheck: 20s}\n")
    base = loaded(folder)
    (folder / "other.yaml").write_text("policy: {confirm: {failures: 4}, reminders: 9h}\n")
    other = load_policy(folder / "other.yaml", base, {})
    assert (other.policy().confirm.failures, other.policy().reminders, other.policy().recheck) == (
        4, timedelta(hours=3), timedelta(seconds=20),
    )  # fmt: skip
    assert (other.web, other.connections) == (base.web, base.connections)


def test_nested_entries(folder: Path) -> None:
    """Entries within a section are appended too, and their problems keep their own lines."""
    rule = "policy: {known_false_negatives: [{platform: x, message: one}]}\n"
    put(folder, a=rule, b=f"\n{rule.replace('one', 'two')}", c="policy:\n  known_false_negatives:\n  - {platform: x, mesage: three}\n")
    assert [problem.partition(" ")[0] for problem in refused(folder)] == ["config.d/c.yaml:3:"] * len(refused(folder))
    (folder / "config.d/c.yaml").unlink()
    assert [rule.message for rule in loaded(folder).policy_settings.known_false_negatives] == ["one", "two"]


def test_empty_list(folder: Path) -> None:
    """An empty list empties what the files before gave, as an empty assignment does in systemd's drop-ins."""
    put(folder, a="connections: []\n", b="connections: [x-2]\n")
    assert [connection.id for connection in loaded(folder).connections] == ["x-2"]


def test_own_place(folder: Path) -> None:
    """Each problem names its own file and line, all at once; a duplicate names the other file."""
    put(
        folder,
        a="accounts:\n- {name: main, api_key_file: key}\n",
        b="web:\n  lissen: 1\nroutes:\n- match: {severity: crit}\n  receivers: []\n",
        c="connections: {x: [\n",
        d="- text\n",
    )
    problems = refused(folder)
    assert [problem.partition(" ")[0] for problem in problems] == [
        "config.d/a.yaml:2:",
        "config.d/b.yaml:2:",
        "config.d/b.yaml:4:",
        "config.d/c.yaml:2:",
        "config.d/d.yaml:1:",
    ]
    assert "first on line 1 of " in problems[0]
    assert "did you mean listen?" in problems[1]
    assert "did you mean critical?" in problems[2]


def test_wrong_kind(folder: Path) -> None:
    """A section that is not one is refused where it is written."""
    put(folder, a="\nweb: 5\n")
    assert [problem.partition(" ")[0] for problem in refused(folder)] == ["config.d/a.yaml:2:"]


@pytest.mark.parametrize("name", ["key.yml", "key.conf"])
def test_other_names(folder: Path, name: str) -> None:
    """A file whose name does not end in .yaml is warned of; hidden files and backups are left alone."""
    for each in (name, ".#a.yaml", "a.yaml~"):
        (folder / "config.d" / each).write_text("nonsense: [\n")
    assert [warning.location for warning in loaded(folder).warnings if "is not read" in warning.message] == [
        str(folder / "config.d" / name)
    ]


def test_unreadable(folder: Path) -> None:
    """A drop-in that can't be read is a problem of its own."""
    (folder / "config.d" / "a.yaml").mkdir()
    put(folder, b="wep: 1\n", c="connections: {\n")
    problems = refused(folder)
    assert [problem.partition(" ")[0] for problem in problems] == ["config.d/a.yaml:", "config.d/c.yaml:2:"]


@pytest.mark.parametrize(("mode", "open_to_all"), [(0o644, True), (0o640, False)])
def test_secret_in_open_file(folder: Path, mode: int, open_to_all: bool) -> None:
    """A secret in plain text is warned of in its file, and that everybody can read that."""
    put(folder, a="accounts: [{name: other, api_key: sk_0123456789abcdef}]\n")
    (folder / "config.d/a.yaml").chmod(mode)
    (warning,) = (warning for warning in loaded(folder).warnings if "plain text" in warning.message)
    assert warning.location == f"{folder}/config.d/a.yaml:1"
    assert ("every user of this machine can read the file" in warning.message) == open_to_all


def test_show_origins(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`config show` prints the merged configuration, still as YAML, with the file and line of everything that is given."""
    put(folder, a='\nconnections:\n- id: x-1\n  labels: {team: "a # b"}\nweb: {listen: "127.0.0.1:2"}\n')
    assert main(["config", "show", "--config", str(folder / "config.yaml")]) == 0
    out = capsys.readouterr().out
    origins = {
        line.split("  # ")[0].strip(): line.split("  # ")[1].removeprefix(f"{folder}/") for line in out.splitlines() if "  # " in line
    }
    assert origins["listen: 127.0.0.1:2"] == "config.d/a.yaml:5"
    assert origins["- id: linkedin-Ab1"] == "config.yaml:2"
    assert origins["- id: x-1"] == "config.d/a.yaml:3"
    assert origins["api_key: <secret>"] == "config.yaml:1"
    assert origins["actions: false"] == "config.yaml:3"
    assert yaml.safe_load(out)["connections"][1]["labels"] == {"team": "a # b"}


def test_check_names_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`config check` names the files that gave something."""
    put(folder, a="connections: [x-1]\n")
    assert main(["config", "check", str(folder / "config.yaml")]) == 0
    assert " ".join(capsys.readouterr().out.split()).startswith(f"{folder}/config.yaml: valid, with config.d/a.yaml 1 account")
    assert main(["config", "check", "--json", str(folder / "config.yaml")]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
