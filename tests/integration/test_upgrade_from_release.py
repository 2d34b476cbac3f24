"""
A database of release 0.1, opened by the present program: nothing that it holds is lost or means something else.

What the release said of it, by its own command line and its own reading of the states, is in tests/fixtures/release-0.1.json;
tests/fixtures/README.md tells how both files were made.
"""

import gzip
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor.db import read_scopes, read_states, reading
from monitor.db.codec import decode_scope
from monitor.domain.scopes.key import ScopeKey
from tests import marked
from tests.e2e.processes import Command, Receiver, fetch, free_port, running, wait_until

FIXTURES = Path(__file__).parent.parent / "fixtures"
PYTHON = Path(sys.executable)

JSON_NAMES: Mapping[str, str] = {
    "toldLevel": "notifiedLevel",
    "toldAt": "notifiedAt",
    "coveredBy": "suppressedBy",
    "quiet": "suppression",
    "wideIncidents": "scopeIncidents",
}
"""Key of a document of the release -> what it is called now; "" for one that is no more."""

FIELD_NAMES: Mapping[str, str] = {
    "told": "notified",
    "doubted": "false_negative_suspected",
    "hints": "pending_levels",
    "quiet": "suppression",
    "notice_owed": "notice_pending",
    "review_at": "next_evaluation_at",
    "turned": "recent_failures",
    "calm": "recovery",
    "name": "key",
}
"""The same for the attributes of states and scopes, as `plain` shows them."""

VALUES: Mapping[str, Mapping[str, str]] = {}
"""Key, by its present name -> value of the release -> what it is now."""

# The wording of these may change.
PROSE = frozenset({"words", "explanation"})

DOUBTED = 2
"""So many connections are asked about at once after a start: a check of each is not yet confirmed."""

SOME_ROUNDS_SECONDS = 3.0
"""Within this time everything that looks at the clock came round, several times."""

CONFIG = """\
api: {{base_url: "http://127.84.0.1:9841/api/v1"}}
accounts:
  - {{name: main, api_key: "{key}", discover: connections}}
  - {{name: agency, api_key: "{second}", discover: workspace}}
  - {{name: partner, api_key: "{key}", discover: "off"}}
connections:
  - id: linkedin-Tz9W5i6ZYG
    account: main
    name: Company page
    labels: {{team: social, market: de}}
    require_permissions: [w_member_social]
  - {{id: facebook-104857600123, account: main, name: Page, labels: {{team: social}}}}
  - {{id: threads-17841412345678, account: main, labels: {{team: growth}}}}
  - {{id: linkedin-Shared1234, account: agency, user_id: 6626a1f5e4b0c91a2d3f4567, name: Client one}}
  - {{id: mastodon-109876543212, account: agency, user_id: 6626a1f5e4b0c91a2d3f4568, name: Client two}}
  - {{id: twitter-900100200, account: partner, name: Partner}}
schedule: {{interval: 15m, recheck: 45s, discovery: 1h}}
policy:
  confirm: {{missing: 2, missing_over: 0s}}
  expiry: {{thresholds: [14d, 7d, 1d], settle: 0s}}
  platforms:
    threads: {{expiry: {{thresholds: [14d, 7d, 1d], settle: 0s}}}}
    instagram: {{expiry: {{thresholds: [14d, 7d, 1d], settle: 0s}}}}
  scopes: {{account_confirm: 2s, platform_count: 4, open_after: 1h, window: 10m}}
  flap: {{changes: 4, window: 1h, calm: 30m}}
  digest: {{after: 2, wait: 4s}}
  retry: {{schedule: [1s, 2s, 3s], poison_attempts: 2}}
receivers:
  - {{name: on-call, type: webhook, url: "{on_call}"}}
  - {{name: desk, type: webhook, url: "{desk}"}}
  - {{name: gone, type: webhook, url: "http://127.84.0.4:9842/hook"}}
database: {{url: "sqlite:///{folder}/monitor.db"}}
web: {{listen: "127.0.0.1:{port}"}}
"""
"""That of the release, but for keys, folder and the receivers that answer. Nothing listens at the API's address: it was down."""

# Verbs of the program in one process whose clock stands at the given moment: [words] per line in, [exit code, output] per line out.
CONSOLE = """\
import contextlib, io, json, sys
from datetime import datetime
from monitor.clock import SystemClock
from monitor.__main__ import main
at = datetime.fromisoformat(sys.argv[1])
SystemClock.now = lambda self: at
for line in sys.stdin:
    sys.argv[1:] = json.loads(line)
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")) as out:
        code = main()
        out.flush()
    print(json.dumps([code, out.buffer.getvalue().decode()]), flush=True)
"""

# One verb in a process whose clock goes on from the given moment.
LATER = """\
import sys, time
from datetime import datetime, timedelta
from monitor.clock import SystemClock
from monitor.__main__ import main
at, began = datetime.fromisoformat(sys.argv.pop(1)), time.monotonic()
SystemClock.now = lambda self: at + timedelta(seconds=time.monotonic() - began)
sys.exit(main())
"""


class Upgraded:
    """A copy of the release's database, and the present program over it."""

    def __init__(self, folder: Path, release: Mapping[str, Any]) -> None:
        self.folder = folder
        self.release = release
        self.at = datetime.fromisoformat(release["at"])
        self.config = folder / "config.yaml"
        self.port = free_port()
        folder.chmod(0o700)
        database = folder / "monitor.db"
        database.touch(mode=0o600)
        database.write_bytes(gzip.decompress((FIXTURES / "release-0.1.db.gz").read_bytes()))
        self.configure()

    @property
    def url(self) -> str:
        """The address of the database."""
        return f"sqlite:///{self.folder}/monitor.db"

    def configure(self, on_call: str = "http://127.84.0.2:9842/hook", desk: str = "http://127.84.0.3:9842/hook") -> None:
        """Write the configuration, with these receivers."""
        text = CONFIG.format(
            key=marked.API_KEY, second=marked.SECOND_API_KEY, on_call=on_call, desk=desk, folder=self.folder, port=self.port
        )
        self.config.touch(mode=0o600)
        self.config.write_text(text)

    def run(self, calls: Sequence[Sequence[str]], at: datetime | None = None) -> list[Any]:
        """The documents that verbs print, all in one process whose clock stands."""
        lines = [json.dumps([*words, "--json", "--config", str(self.config)]) for words in calls]
        command: list[str | Path] = [PYTHON, "-c", CONSOLE, (at or self.at).isoformat()]
        done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert [code for code, _ in answers] == [0] * len(calls), done.stderr
        return [json.loads(out) for _, out in answers]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the database, by SQL."""
        connection = sqlite3.connect(f"file:{self.folder}/monitor.db?mode=ro", uri=True)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def release() -> dict[str, Any]:
    """What the release said of its database."""
    found: dict[str, Any] = json.loads((FIXTURES / "release-0.1.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def upgraded(tmp_path: Path, release: dict[str, Any]) -> Upgraded:
    """The database, upgraded by the verb."""
    folder = tmp_path / "state"
    folder.mkdir()
    world = Upgraded(folder, release)
    world.run([("db", "upgrade")])
    return world


def now_called(value: Any, names: Mapping[str, str]) -> Any:
    """*value* of the release with its present names, and without prose."""
    if isinstance(value, dict):
        kept = {names.get(key, key): inner for key, inner in value.items() if names.get(key, key)}
        return {key: VALUES.get(key, {}).get(str(inner), now_called(inner, names)) for key, inner in without_prose(kept)}
    return [now_called(inner, names) for inner in value] if isinstance(value, list) else value


def without_prose(document: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """What is not for people only: beside a connection's health, `why` is."""
    return ((key, value) for key, value in document.items() if key not in PROSE and not (key == "why" and "health" in document))


def plain(value: Any) -> Any:
    """A state as values of JSON, under the names of its attributes."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (Enum, ScopeKey)):
        return value.value if isinstance(value, Enum) else str(value)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list, frozenset)):
        return [plain(inner) for inner in value]
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.isoformat() if isinstance(value, datetime) else value


def without(value: Any, names: frozenset[str]) -> Any:
    """*value* without the keys *names*, wherever they are."""
    if isinstance(value, dict):
        return {key: without(inner, names) for key, inner in value.items() if key not in names}
    return [without(inner, names) for inner in value] if isinstance(value, list) else value


def as_in(value: Any, old: Any) -> Any:
    """*value* as far as *old* has it: what the release did not know is left out."""
    if isinstance(value, dict) and isinstance(old, dict):
        return {key: as_in(inner, old[key]) for key, inner in value.items() if key in old}
    if isinstance(value, list) and isinstance(old, list) and len(value) == len(old):
        return [as_in(inner, before) for inner, before in zip(_in_order(value), _in_order(old), strict=True)]
    return value


def _in_order(rows: list[Any]) -> list[Any]:
    """*rows* in an order of their own: what comes first is decided anew."""
    return sorted(rows, key=lambda row: str([row.get(name) for name in IDENTITY])) if all(isinstance(row, dict) for row in rows) else rows


def sorted_lists(value: Any) -> Any:
    """*value* with its lists in the order of `as_in`."""
    return as_in(value, value)


IDENTITY = ("at", "key", "id", "account", "userId", "platformId", "subject", "topic", "number")


# What an incident of a platform says of the connections below it: their own state is shown since, and their own reason.
# A suspected false negative is an advice now, and of an API that is suspected it is not said that it is up.
TOLD_OTHERWISE = frozenset({"suppressedBy", "scopeIncidents", "recent_failures", "false_negative_suspected", "apiUp"})
# Of a connection that is no longer watched the last state is shown now.
LAST_KNOWN = frozenset({"health", "reason", "detail", "lastCheckAt", "lastCheckReason", "lastConclusiveCheckAt"})


@pytest.mark.slow
def test_documents(upgraded: Upgraded, release: dict[str, Any]) -> None:
    """Every verb that reads says what it said before: connections, incidents, deliveries, silences, checks, and why who was told what."""
    said = upgraded.run([call["words"] for call in release["calls"]])

    for call, document in zip(release["calls"], said, strict=True):
        # Where no name is configured, the one that the API tells is shown now.
        otherwise = TOLD_OTHERWISE | ({"name"} if call["words"][0] in {"history", "deliveries"} else set())
        if document.get("retired"):
            otherwise |= LAST_KNOWN
        old = without(now_called(call["document"], JSON_NAMES), otherwise)
        assert as_in(without(now_called(document, {}), otherwise), old) == sorted_lists(old), call["words"]


def test_states(upgraded: Upgraded, release: dict[str, Any]) -> None:
    """Whatever is remembered of connections and scopes is read as the release read it, also what no verb shows."""
    with reading(upgraded.url) as reader:
        states = {str(number): plain(state) for number, (_, state) in read_states(reader).items()}
        scopes = {name: plain(decode_scope(name, document)) for name, (_, document) in read_scopes(reader).items()}

    for now, before in ((states, release["states"]), (scopes, release["scopes"])):
        old = without(now_called(before, FIELD_NAMES), TOLD_OTHERWISE)
        assert as_in(now, old) == sorted_lists(old)


def test_rows(upgraded: Upgraded, release: dict[str, Any]) -> None:
    """What has neither a verb nor a state is kept: acknowledgements, uptime, what was learned of the API."""
    assert {query: json.loads(json.dumps(upgraded.rows(query))) for query in release["rows"]} == release["rows"]


@pytest.mark.slow
def test_start(upgraded: Upgraded, release: dict[str, Any], tmp_path: Path) -> None:
    """The daemon delivers exactly what was pending, under its stored ids, and tells nothing new while the evidence is the same."""
    documents = {" ".join(call["words"]): call["document"] for call in release["calls"]}
    deliveries = documents["deliveries list --limit 1000"]["deliveries"]
    pending = {one["id"] for one in deliveries if one["state"] == "pending"}
    assert {one["receiver"] for one in deliveries if one["state"] == "pending"} == {"desk"}
    ports = {name: free_port() for name in ("on-call", "desk")}
    receivers = {name: Receiver(f"http://127.0.0.1:{port}") for name, port in ports.items()}

    with _receiver(tmp_path, ports["on-call"]) as one, _receiver(tmp_path, ports["desk"]) as other:
        wait_until("the receivers", lambda: "_sim" in one.text() and "_sim" in other.text())
        upgraded.configure(*(f"http://127.0.0.1:{port}/hook" for port in ports.values()))
        # Later than every pause before a next attempt.
        start = upgraded.at + timedelta(seconds=30)
        with running(
            PYTHON, "-c", LATER, start.isoformat(), "run", "--config", str(upgraded.config), log=tmp_path / "daemon.log"
        ) as daemon:
            wait_until("the pending deliveries", lambda: len(receivers["desk"].received()) >= len(pending), alive=daemon)
            _wait_for_rounds(upgraded, daemon)
            assert daemon.stop() == 0, daemon.text()
        told = {name: [row["webhook_id"] for row in receiver.received()] for name, receiver in receivers.items()}

    assert told["on-call"] == []
    assert sorted(told["desk"]) == sorted(pending)
    status, incidents, after = upgraded.run(
        [("status",), ("incidents", "--limit", "1000"), ("deliveries", "list", "--limit", "1000")], at=start + timedelta(minutes=1)
    )
    moved = TOLD_OTHERWISE | {"at", "openIncidents", "lastCheckAt", "lastCheckReason", "receivers"}
    # A token that had run out is an incident of its own now, which the failure that it causes explains: it is not notified.
    incidents["incidents"] = [row for row in incidents["incidents"] if row["openedAt"] < start.isoformat() or row["topic"] != "expiry"]
    # Open incidents of scopes are shown with their present reason.
    (open_one,) = (row for row in incidents["incidents"] if row["subject"] == "platform:mastodon" and row["closedAt"] is None)
    assert open_one["reason"] == "credential_rejected"
    open_one |= {"reason": "platform_trouble", "detail": "4 of 7 connections fail"}
    for now, words in ((status, "status"), (incidents, "incidents --limit 1000")):
        old = without(now_called(documents[words], JSON_NAMES), moved)
        assert as_in(without(now_called(now, {}), moved), old) == sorted_lists(old)
    (mastodon,) = (row for row in status["scopeIncidents"] if row["subject"] == "platform:mastodon")
    assert mastodon["reason"] == "credential_rejected"
    assert [(row["number"], row["id"]) for row in after["deliveries"]] == [(row["number"], row["id"]) for row in deliveries]
    changed = {row["id"] for row, old in zip(after["deliveries"], deliveries, strict=True) if row["state"] != old["state"]}
    assert changed == pending
    assert {row["state"] for row in after["deliveries"] if row["id"] in pending and row["receiver"] == "desk"} == {"delivered"}
    assert status["receivers"]["gone"]["disabled"]


def _receiver(folder: Path, port: int) -> Any:
    command = ("-u", "-m", "monitor", "simulate", "--port", "0", "--receiver-port", str(port))
    return running(PYTHON, *command, log=folder / f"receiver-{port}.log", environment={**os.environ})


def _wait_for_rounds(upgraded: Upgraded, daemon: Command) -> None:
    """Wait until the daemon asked again about what it was in doubt of, without an answer, and most loops came round after that."""
    page = f"http://127.0.0.1:{upgraded.port}"
    wait_until("readiness", lambda: fetch(f"{page}/-/ready"), alive=daemon)
    later = f"SELECT count(DISTINCT connection_id), max(at) FROM checks WHERE at > {upgraded.at.timestamp() * 1000:.0f}"
    wait_until("second looks", lambda: upgraded.rows(later)[0][0] >= DOUBTED, alive=daemon)
    since = upgraded.rows(later)[0][1] / 1000 + SOME_ROUNDS_SECONDS
    # The others rest for minutes or hours.
    wait_until("most loops", lambda: 4 * len(_stepped(page, since)) >= 3 * len(_stepped(page, 0.0)), alive=daemon)


def _stepped(page: str, since: float) -> list[str]:
    """The loops that finished a step after *since*, by the daemon's clock."""
    return [
        str(sample.labels["loop"])
        for family in text_string_to_metric_families(fetch(f"{page}/metrics").decode())
        for sample in family.samples
        if sample.name == "postpost_monitor_loop_last_step_timestamp_seconds" and sample.value > since
    ]
