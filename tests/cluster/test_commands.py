"""The commands of a cluster: what they show of two nodes, what they change, and what they refuse."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.cli.main import main
from monitor.clock import SystemClock
from monitor.cluster.node import config_hash, member_of
from monitor.config import Config, load
from monitor.db import Database
from monitor.db.cluster.members import member_backend
from monitor.domain.cluster.sharing import NodeRow
from monitor.errors import ConfigError
from monitor.notify import templates
from monitor.schemas.commands import json_schema
from tests import marked
from tests.integration.test_cli_json import closed
from tests.jsonschema import problems

CONFIG = """\
accounts: [{{name: main, api_key: "{key}"}}]
database: {{url: "{url}"}}
cluster: {{mode: shared, node: alpha}}
web: {{listen: "{listen}"}}
"""


def _config(folder: Path, url: str, listen: str = "127.0.0.1:0") -> tuple[Path, Config]:
    path = folder / "config.yaml"
    path.touch(mode=0o600)
    path.write_text(CONFIG.format(key=marked.API_KEY, url=url, listen=listen))
    return path, load(path, check_template=templates.problems)


async def test_commands(postgres_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each prints a document of its schema; a node that is drained, or has another configuration, is shown as such."""
    path, config = _config(tmp_path, postgres_url)

    def call(*words: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert main([*words, "--json", "--config", str(path)]) == code
        document = json.loads(capsys.readouterr().out)
        assert list(problems(document, {"$ref": f"#/$defs/{' '.join(words[:2])}"}, closed(json_schema()))) == []
        return document

    databases, sessions = [], []
    for member in (member_of(config), NodeRow("beta", host="h", config="another")):
        backend = member_backend(postgres_url, owner=member.node, member=member, lease=timedelta(hours=1), clock=SystemClock())
        sessions.append(backend.session())
        databases.append(Database(postgres_url, clock=SystemClock(), owner=member.node, backend=backend))
        await databases[-1].start()

    def states() -> dict[str, str]:
        return {one["node"]: one["state"] for one in call("cluster", "status", code=1)["nodes"]}

    assert states() == {"alpha": "other configuration", "beta": "working"}
    call("cluster", "adopt")
    shown = call("cluster", "status", code=1)
    assert (shown["config"], shown["own_config"]) == (config_hash(config), config_hash(config))
    assert shown["free"] == ["global"]
    assert states() == {"alpha": "working", "beta": "other configuration"}
    sessions[0].note_unfit("its clock is wrong")
    assert states() == {"alpha": "unfit", "beta": "working"}
    sessions[0].note_unfit("")
    call("cluster", "drain", "alpha")
    assert states() == {"alpha": "drained", "beta": "working"}
    call("cluster", "drain", "--all")
    assert main(["cluster", "status", "--config", str(path)]) == 1
    table = capsys.readouterr().out
    assert "alpha" in table
    assert "Problem: without a node: global" in table
    for wrong in (["cluster", "drain"], ["cluster", "drain", "gamma"]):
        assert main([*wrong, "--config", str(path)]) == 2
    for session, database in zip(sessions, databases, strict=True):
        session.close()
        await database.close()


def test_hash_of_the_configuration(tmp_path: Path) -> None:
    """It changes with what secrets hold, not with what may differ between nodes, is the default, or where a file is."""
    base = "receivers: [{{name: on-call, url: {url}, headers: {{X-A: {header}}}}}]\nretention: {{checks: {days}}}\nlogging: {{level: {level}}}\n"
    path, made = tmp_path, dict[str, str]()
    for name, change in {
        "first": {},
        "url": {"url": "http://127.0.0.1:9/b"},
        "header": {"header": "other"},
        "level": {"level": "debug"},
    }.items():
        path, _ = _config(tmp_path, "postgresql://monitor@127.0.0.1/monitor")
        values = {"url": "http://127.0.0.1:9/a", "header": "one", "days": "90d", "level": "info"} | change
        path.write_text(path.read_text() + base.format(**values))
        made[name] = config_hash(load(path, check_template=templates.problems))
    path.write_text(path.read_text().replace("retention: {checks: 90d}\n", ""))
    made["without a default"] = config_hash(load(path, check_template=templates.problems))
    assert made["first"] == made["level"] == made["without a default"]
    assert len({made["first"], made["url"], made["header"]}) == 3


def test_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Procrastinate the mode is refused with its line and the extra; a port on loopback is a warning."""
    url = "postgresql://monitor@127.0.0.1/monitor"
    path, config = _config(tmp_path, url)
    assert [warning.location for warning in config.warnings if "web.listen is on loopback" in warning.message] == [f"{path}:4"]
    monkeypatch.setattr("monitor.extras.find_spec", lambda name: None if name == "procrastinate" else object())
    with pytest.raises(ConfigError, match="needs Procrastinate") as refused:
        load(path, check_template=templates.problems)
    assert f"{path}:3" in str(refused.value)
    assert "pip install 'postpost-monitor[cluster]'" in str(refused.value)
    path.write_text(path.read_text().replace("mode: shared", "mode: standby, weight: 3"))
    warnings = load(path, check_template=templates.problems).warnings
    assert {one.message for one in warnings} >= {f"cluster.{key} has no effect with mode: standby" for key in ("node", "weight")}
    assert {one.location for one in warnings if "no effect" in one.message} == {f"{path}:3"}


def test_only_with_a_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a cluster in the configuration the commands say so."""
    path = tmp_path / "config.yaml"
    path.touch(mode=0o600)
    path.write_text(f'accounts: [{{name: main, api_key: "{marked.API_KEY}"}}]\n')
    assert main(["cluster", "status", "--config", str(path)]) == 2
    assert "no cluster with mode: shared" in capsys.readouterr().err
