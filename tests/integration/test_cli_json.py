"""What every verb prints with `--json`, held against the published schema."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.cli.main import build_parser, main, verbs_of
from monitor.db import AttemptRow, DeliveryState, list_deliveries
from monitor.errors import DeliveryReason, Reason
from monitor.schemas.commands import DOCUMENTS, json_schema
from monitor.schemas.facts import VERSION
from tests.builders import a_reply
from tests.databases import migrated_sqlite
from tests.jsonschema import problems
from tests.watched import Watched, tell_a_story, watched, write_config

# Each verb's words, and the exit code that they end with, in an order that leaves each something to show.
CALLS: list[tuple[str, tuple[str, ...], int]] = [
    ("check", ("threads-1784",), 3),
    ("forecast", (), 0),
    ("preflight", ("threads-1784", "telegram-42", "tiktok-new"), 3),
    ("status", (), 0),
    ("history", ("linkedin-page1", "--account", "main"), 0),
    ("incidents", (), 0),
    ("explain", ("linkedin-page1", "--account", "main"), 0),
    ("replay", ("--policy", "other.yaml"), 0),
    ("deliveries list", (), 0),
    ("deliveries retry", ("--dead",), 0),
    ("silence add", ("--match", "platform=threads", "--for", "1h", "--reason", "test"), 0),
    ("silence list", (), 0),
    ("silence extend", ("1", "--by", "1h"), 0),
    ("silence expire", ("1",), 0),
    ("ack", ("linkedin-page1", "--reason", "seen"), 0),
    ("permissions accept", ("threads-1784",), 0),
    ("receivers test", ("desk",), 1),
    ("receivers enable", ("on-call",), 0),
    ("heartbeat test", (), 1),
    ("routes test", (), 0),
    ("config check", (), 0),
    ("db check", (), 0),
    ("db backup", ("copy.db",), 0),
]
WITHOUT_A_DAEMON = {"db upgrade", "db copy"}
OF_A_CLUSTER = {"cluster status", "cluster drain", "cluster adopt"}
"""Called in tests/cluster/test_commands.py."""


@pytest.fixture
async def world(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    """A story in an SQLite database that a daemon holds; one delivery was abandoned, a permission is lost, quiet hours recur."""
    path = write_config(tmp_path, sqlite_url)
    path.write_text(path.read_text() + "heartbeat: {url: 'http://127.0.0.1:9/ping'}\nquiet_hours: {from: '22:00', to: '07:00'}\n")
    (tmp_path / "other.yaml").write_text("policy: {confirm: {failures: 9}}\n")
    monkeypatch.chdir(tmp_path)
    async with watched(path) as story:
        await tell_a_story(story)
        for minutes, granted in ((3, ("a", "b")), (2, ("a",))):
            reply = a_reply(platform_id="threads-1784", permissions=granted)
            await story.check(story.connection("threads-1784"), Reason.OK, timedelta(minutes=minutes), reply)
        rows = await story.database.read(list_deliveries)
        attempt = AttemptRow(story.now, DeliveryReason.TIMEOUT, 15_000, None, "no answer in time")
        await story.database.write(lambda store: store.outbox.record_attempt(rows[0], attempt, DeliveryState.DEAD))
        yield story


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with keys that it does not name forbidden: what is printed must be documented."""
    strict = copy.deepcopy(schema)
    for each in _objects(strict):
        each.setdefault("additionalProperties", False)
    return strict


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for each in schema.values():
            yield from _objects(each)


def test_every_verb(world: Watched, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every document has exactly the keys, types and values of the schema, and the version."""
    schema = closed(json_schema())
    wrong: dict[str, object] = {}
    for verb, options, code in CALLS:
        capsys.readouterr()
        ended = main([*verb.split(), *options, "--json", "--config", str(tmp_path / "config.yaml")])
        output = capsys.readouterr()
        assert ended == code, (verb, output)
        document = json.loads(output.out)
        assert document["version"] == VERSION
        mismatches = list(problems(document, {"$ref": f"#/$defs/{verb}"}, schema))
        wrong |= {verb: mismatches} if mismatches else {}
    assert wrong == {}
    assert world.now is not None


def test_bad_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Problems of a configuration are a document too."""
    (tmp_path / "config.yaml").write_text("acounts: []\n")
    assert main(["config", "check", "--json", "--config", str(tmp_path / "config.yaml")]) == 78
    document = json.loads(capsys.readouterr().out)
    assert list(problems(document, {"$ref": "#/$defs/config check"}, closed(json_schema()))) == []
    assert not document["ok"]


@pytest.mark.slow
@pytest.mark.parametrize("verb", sorted(WITHOUT_A_DAEMON))
def test_without_a_daemon(verb: str, tmp_path: Path) -> None:
    """So is what came of an upgrade and of a copy; nothing else is on standard output."""
    path = write_config(tmp_path, migrated_sqlite(tmp_path / "state" / "monitor.db"))
    url = tmp_path / "url"
    url.touch(mode=0o600)
    url.write_text(f"sqlite:///{tmp_path}/new/monitor.db")
    options = [url] if verb == "db copy" else []
    command: list[str | Path] = [sys.executable, "-m", "monitor", *verb.split(), *options, "--json", "--config", path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert list(problems(json.loads(done.stdout), {"$ref": f"#/$defs/{verb}"}, closed(json_schema()))) == []


def test_nothing_is_left_out() -> None:
    """Every verb that has `--json` has a schema, and is called above; no verb that shows something lacks the option."""
    able = {name for name, verb in verbs_of(build_parser()) for action in verb._actions if "--json" in action.option_strings}
    assert able == set(DOCUMENTS)
    assert able - WITHOUT_A_DAEMON - OF_A_CLUSTER == {verb for verb, _, _ in CALLS}


def test_schema_is_sound() -> None:
    """Every reference leads somewhere, and every object has a description."""
    schema = json_schema()
    led = set(re.findall(r'"\$ref": "#/\$defs/([^"]+)"', json.dumps(schema)))
    assert led - schema["$defs"].keys() == set()
    assert "#/components" not in json.dumps(schema)
    assert [each for each in _objects(schema) if not each.get("description")] == []
