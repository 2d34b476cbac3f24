"""The verb `routes test`: the same answer as the routing itself, and every value checked."""

import json
from pathlib import Path

import pytest

from monitor.cli.main import main
from monitor.schemas.commands import json_schema
from tests.jsonschema import problems

CONFIG = """\
accounts: [{name: main, api_key: sk_0123456789abcdef}]
connections: [{id: linkedin-page1, labels: {team: social}}]
receivers:
  - {name: pager, url: "https://hooks.example.org/pager"}
  - {name: chat, url: "https://hooks.example.org/chat", send_resolved: false}
  - {name: boss, url: "https://hooks.example.org/boss"}
routes:
  - {match: {severity: critical, team: social}, receivers: [pager], escalate: {after: 30m, receivers: [boss]}, reminder_interval: 4h}
  - {match: {severity: "warning|critical"}, receivers: [chat], quiet_hours: {from: "00:00", to: "24:00", severities: [warning]}}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return str(path)


def run(file: str, *words: str) -> int:
    return main(["routes", "test", "--config", file, *words])


def test_taken(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A connection of the configuration brings its labels; what follows the first message is shown."""
    assert run(file, "--connection", "linkedin-page1") == 0
    text = capsys.readouterr().out
    assert "routes[0] severity=critical team=social: takes it" in text
    assert "notified: pager" in text
    assert "reminders: every 4h" in text
    assert "escalated after 30m without acknowledgement: boss" in text


def test_why_not(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each route that does not match says why; quiet hours that are active are named; without a receiver the exit code is 1."""
    assert run(file, "--severity", "warning", "--platform", "threads") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "routes[0] severity=critical team=social: does not match, severity is warning, not critical" in text
    assert "suppressed now by the quiet hours of the route" in text
    assert run(file, "--severity", "info") == 1
    assert "notified: no receiver" in capsys.readouterr().out
    assert run(file, "--why", "closed", "--type", "connection.recovered", "--label", "team=sales") == 1


def test_json(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON is as its schema says."""
    assert run(file, "--label", "team=social", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["receivers"], document["escalateTo"], document["escalateAfterSeconds"]) == (["pager"], ["boss"], 1800.0)
    schema = json_schema()
    assert list(problems(document, schema["$defs"]["routes test"] | {"$defs": schema["$defs"]})) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--severity", "crit"], "severity is never crit (did you mean critical? known: critical, info, warning)"),
        (["--type", "connection.broken"], "type is never connection.broken (did you mean connection.failed?)"),
        (["--platform", "LinkedIn"], "platform is never LinkedIn (did you mean linkedin?)"),
        (["--account", "mian"], "account is never mian (did you mean main?)"),
        (["--label", "taem=social"], "label is never taem (did you mean team?)"),
        (["--label", "nonsense"], "is not NAME=VALUE"),
    ],
)
def test_closed_sets(file: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A value that no notification can have is refused, with the nearest one that it can."""
    try:
        code = run(file, *words)
    except SystemExit as error:
        code = int(error.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err
