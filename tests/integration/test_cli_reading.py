"""The verbs that read, beside a daemon that holds the database."""

import json
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from monitor.cli.main import main
from monitor.db import Store, reading, write_problem
from monitor.db.sqlite import disk_problem
from monitor.errors import EXIT_USAGE, Reason, StoreUnavailable
from monitor.state.unit_of_work import unit_of_work
from tests.watched import Watched, tell_a_story, watched, write_config

Call = Callable[..., str]


@pytest.fixture
async def world(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Watched]:
    """A story in an SQLite database that a daemon holds."""
    async with watched(write_config(tmp_path, sqlite_url)) as story:
        await tell_a_story(story)
        yield story


@pytest.fixture
def call(world: Watched, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Runs a verb and returns what it printed; it must end with *code*."""

    def run(*options: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main([*options, "--config", str(tmp_path / "config.yaml")]) == code
        shown = capsys.readouterr()
        return shown.out if code == 0 else shown.err

    return run


def test_status(call: Call) -> None:
    """The worst comes first, with its explanation; the last line has the counts."""
    lines = call("status").splitlines()
    states = ("Broken", "Unknown", "Working", "Working", "Not testable")
    assert lines[0].split()[:2] == ["NAME", "STATE"]
    assert [state in line for state, line in zip(states, lines[1:6], strict=True)] == [True] * 5
    assert "linkedin-page1 (main)" in lines[1]
    assert lines[1].endswith("the platform rejects the stored credential (“Session has expired”)")
    assert "not known" not in lines[2]
    assert lines[3].endswith("last check inconclusive: the API did not answer in time")
    assert "5 connections: 1 broken, 1 unknown, 2 working, 1 not testable." in lines
    assert lines[-1].startswith("1 of 5 connections is broken.")


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (("--health", "error"), ["linkedin-page1"]),
        (("--health", "ok", "--health", "unsupported"), ["facebook-104857", "threads-1784", "telegram-42"]),
        (("--platform", "linkedin"), ["linkedin-page1", "linkedin-page1"]),
        (("--account", "second"), ["linkedin-page1"]),
        (("--label", "team=social"), ["linkedin-page1"]),
        (("--label", "team=social", "--label", "team=growth"), []),
    ],
)
def test_status_filters(call: Call, options: tuple[str, ...], ids: list[str]) -> None:
    """Filters leave what fits all of them."""
    assert [each["platformId"] for each in json.loads(call("status", "--json", *options))["connections"]] == ids


async def test_status_of_the_alert_path(tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What no route takes, a matcher that matches nothing and a withheld heartbeat are said, each with its reason."""
    path = write_config(tmp_path, sqlite_url)
    routes = path.read_text().split("routes:\n")[1].split("#")[0]
    others = "  - {match: {severity: info, team: socail}, receivers: [desk]}\n  - {match: {severity: info}, receivers: [desk]}\n"
    path.write_text(path.read_text().replace(routes, others) + "heartbeat: {url: 'https://ping.example.org/x'}\n")
    async with watched(path) as story:
        await tell_a_story(story)
        capsys.readouterr()
        assert main(["status", "--config", str(path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "1 notification reached no receiver: no route matches." in text
    assert re.search(
        r"The matcher team: socail of routes \(\S+config\.yaml:16\) matches nothing that is known\. Did you mean social\?", text
    )
    assert "! heartbeats are withheld: no route sends critical notifications to any receiver" in text


def test_status_of_a_locked_database(call: Call, sqlite_url: str) -> None:
    """While another program holds the write lock, nothing is said to work, as on the page."""
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        table, explained = call("status"), call("explain", "threads-1784")
        other.execute("ROLLBACK")
    assert ("The monitor cannot write to its database" in table, "Was working" in table, "  Working" in table) == (True, True, False)
    assert "database is locked (SQLITE_BUSY). End the other program that locks the file" in " ".join(table.split())
    assert ("its state is not known now" in explained, "The database takes no writes since" in explained) == (True, True)
    assert "No scope incident" not in explained


def test_why_a_database_takes_no_writes(tmp_path: Path, postgres_url: str) -> None:
    """A read-only disk or server is the cause; a full disk is, once nothing was written for long: until then old pages are used again."""
    disk = list(os.statvfs(tmp_path))
    read_only = [*disk[:-2], os.ST_RDONLY, disk[-1]]
    full = [*disk[:4], 3, *disk[5:]]
    problems = [disk_problem(os.statvfs_result(each), idle=idle) for each in (disk, full, read_only) for idle in (False, True)]
    assert [problem.partition("(")[2] for problem in problems] == ["", "", "", "SQLITE_FULL)", *["SQLITE_READONLY)"] * 2]
    found = []
    for setting in ("off", "on"):
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {connection.info.dbname} SET default_transaction_read_only = {setting}")
        with reading(postgres_url) as reader:
            found.append(write_problem(reader, postgres_url, idle=False))
    assert found == ["", "the server is a standby, or default_transaction_read_only is on"]


async def test_explain_what_is_no_longer_watched(world: Watched, call: Call) -> None:
    """Its last known state is explained, with its token and its last post, and no advice of others."""
    gone, named = world.connection("linkedin-page1"), ("explain", "linkedin-page1", "--account", "main")
    before = json.loads(call(*named, "--json"))["connection"]

    def retire(store: Store) -> None:
        unit_of_work(world.fleet, store).retire(gone, world.now)
        store.retire([gone.id], world.now)

    await world.database.write(retire)
    shown, after = call(*named), json.loads(call(*named, "--json"))["connection"]
    assert ("is no longer watched; it was broken" in shown, "What to do" in shown, "Never checked" in shown) == (True, False, False)
    kept = ("health", "lastCheckAt", "lastConclusiveCheckAt", "lastSuccessfulPostAt", "expiresAt", "consecutiveFailures", "username")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


def test_status_nothing_fits(call: Call) -> None:
    """A filter that matches nothing is not an error."""
    assert call("status", "--platform", "mastodon") == "None of 5 connections matches.\n"
    assert "write a name and a value" in call("status", "--label", "team", code=EXIT_USAGE)


def test_history(call: Call) -> None:
    """The checks of one connection come newest first, up to the limit."""
    about, _, *lines = call("history", "linkedin-page1", "--account", "main").splitlines()
    assert about == "LinkedIn “Company page” (linkedin-page1, account main)"
    assert [line.split()[2] for line in lines] == ["OUTCOME", "failed", "failed", "passed", "passed", "passed"]
    assert lines[1].endswith("the platform rejects the stored credential: Session has expired")
    document = json.loads(call("history", "linkedin-page1", "--account", "main", "--limit", "1", "--json"))
    assert [each["reason"] for each in document["checks"]] == ["credential_rejected"]
    assert len(json.loads(call("history", "linkedin-page1", "--account", "main", "--since", "20m", "--json"))["checks"]) == 2
    assert call("history", "linkedin-page1", "--account", "second").endswith(" second)\n\nNo checks.\n")


def test_incidents(call: Call) -> None:
    """Incidents name the connection and why."""
    lines = call("incidents").splitlines()
    assert len(lines) == 2
    assert "  broken  " in lines[1]
    assert "  pp-here-1-connection-1  " in lines[1]
    assert lines[1].startswith("Company page  ")
    assert "linkedin-page1 (main)" in lines[1]
    assert ", open" in lines[1]
    assert len(json.loads(call("incidents", "--open", "--json"))["incidents"]) == 1


async def test_closed_incidents(world: Watched, call: Call) -> None:
    """A closed incident is listed with what it lasted, but not among the open ones, nor when it was over before."""
    page = world.connection("linkedin-page1")
    await world.checks(page, [Reason.OK, Reason.OK], timedelta(minutes=6), timedelta(minutes=3))
    assert call("incidents", "--open") == "No incidents.\n"
    assert call("incidents", "--since", "1m") == "No incidents.\n"
    document = json.loads(call("incidents", "--since", "1h", "--json"))["incidents"]
    assert [(each["subject"], each["closedWhy"]) for each in document] == [("linkedin-page1", "recovered")]


def test_explain(call: Call) -> None:
    """The evidence, the notifications and the pending deliveries are shown."""
    text = " ".join(call("explain", "linkedin-page1", "--account", "main").split())
    for options in (
        "LinkedIn “Company page” (linkedin-page1, account main) is broken (error) since",
        "2 consecutive checks failed, the first",
        "failed: the platform rejects the stored credential (“Session has expired”)",
        "“error”, not delivered yet to on-call, incident key pp-here-1-connection-1.",
        "connection.failed (opened, critical), connection fine → error",
        "on-call: pending after 0 attempts, next not before",
        "Reconnect the account on the PostPost dashboard.",
    ):
        assert options in text
    assert "desk" not in text


def test_explain_json(call: Call) -> None:
    """JSON has the facts and the same sentences."""
    document = json.loads(call("explain", "linkedin-page1", "--account", "main", "--json"))
    assert document["connection"]["health"] == "error"
    assert document["suppression"] == "nothing_new"
    assert document["topics"]["connection"]["notifiedLevel"] == "error"
    assert [each["type"] for each in document["notifications"]] == ["connection.failed"]
    assert [each["title"] for each in document["explanation"]][1] == "What to do"


@pytest.mark.parametrize("verb", ["history", "explain"])
def test_ambiguous(call: Call, verb: str) -> None:
    """An id that two accounts have asks for the account."""
    assert call(verb, "linkedin-page1", code=EXIT_USAGE) == (
        "postpost-monitor: linkedin-page1 belongs to several accounts: add --account main or --account second\n"
    )


@pytest.mark.parametrize("verb", ["history", "explain"])
def test_unknown(call: Call, verb: str) -> None:
    """An unknown id is answered with those that may be meant."""
    text = call(verb, "linkedin-pgae1", code=EXIT_USAGE)
    assert text == "postpost-monitor: unknown connection linkedin-pgae1; did you mean linkedin-page1?\n"
    assert "`postpost-monitor status` lists all connections" in call(verb, "zzz", code=EXIT_USAGE)
    assert "in account third; other accounts have it" in call(verb, "linkedin-page1", "--account", "third", code=EXIT_USAGE)


def _documented() -> dict[str, Any]:
    """Command to the document that the page shows for it."""
    page = (Path(__file__).parent.parent.parent / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    return {name: json.loads(text) for name, text in re.findall(r"### `(.+?) --json`\n.*?```json\n(.*?)\n```", page, re.DOTALL)}


def _shape(value: Any, like: Any, where: str = "") -> Iterator[str]:
    """Where *value* has other keys than *like*; lists are compared by their first elements, and nothing with null."""
    if isinstance(value, dict) and isinstance(like, dict):
        if where.endswith((".labels", ".accounts")):
            return
        if value.keys() != like.keys():
            yield f"{where}: {sorted(value.keys() ^ like.keys())}"
        for name in value.keys() & like.keys():
            yield from _shape(value[name], like[name], f"{where}.{name}")
    elif isinstance(value, list) and isinstance(like, list) and value and like:
        yield from _shape(value[0], like[0], f"{where}[0]")
    elif value is not None and like is not None and type(value) is not type(like):
        yield f"{where}: {type(value).__name__} is not {type(like).__name__}"


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("status", ("status", "--health", "error"), 0),
        ("history ID", ("history", "threads-1784"), 0),
        ("incidents", ("incidents",), 0),
        ("explain ID", ("explain", "linkedin-page1", "--account", "main"), 0),
        ("preflight ID...", ("preflight", "threads-1784"), 0),
        ("deliveries list", ("deliveries", "list"), 0),
        ("receivers test NAME", ("receivers", "test", "on-call"), 1),
    ],
)
@pytest.mark.usefixtures("world")
def test_json_is_documented(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, options: Any, code: int) -> None:
    """Each JSON document has exactly the keys, and the types, that the page shows."""
    capsys.readouterr()
    assert main([*options, "--json", "--config", str(tmp_path / "config.yaml")]) == code
    assert list(_shape(json.loads(capsys.readouterr().out), _documented()[name])) == []


def test_no_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the first run there is nothing to read, and nothing is made."""
    path = write_config(tmp_path, f"sqlite:///{tmp_path}/none/monitor.db")
    assert main(["status", "--config", str(path)]) == 1
    assert "there is no database at" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


async def test_postgres(postgres_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same on PostgreSQL."""
    path = write_config(tmp_path, postgres_url)
    async with watched(path) as story:
        await tell_a_story(story)
        capsys.readouterr()

        def look(*options: str) -> Any:
            assert main([*options, "--json", "--config", str(path)]) == 0
            return json.loads(capsys.readouterr().out)

        assert look("status")["counts"]["error"] == 1
        assert len(look("history", "threads-1784")["checks"]) == 4
        assert len(look("incidents")["incidents"]) == 1
        assert look("explain", "threads-1784")["connection"]["health"] == "ok"


def test_replay(call: Call, tmp_path: Path) -> None:
    """The notifications of both policies are counted, their differences listed, and compared with what was sent."""
    (tmp_path / "slow.yaml").write_text("policy: {confirm: {failures: 9}}\n")
    text = call("replay", "--policy", str(tmp_path / "slow.yaml"))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "connection.failed 1 0 -1" in lines
    assert "all 1 0 -1" in lines
    assert any(line.startswith("not sent ") and line.endswith("linkedin-page1 (main)") for line in lines)
    assert "yields 1 of the 1 notifications that were decided" in " ".join(text.split())
    document = json.loads(call("replay", "--policy", str(tmp_path / "slow.yaml"), "--json"))
    assert document["counts"] == [{"name": "connection.failed", "present": 1, "other": 0}, {"name": "critical", "present": 1, "other": 0}]
    assert [(each["change"], each["present"]["subject"], each["other"]) for each in document["differences"]] == [
        ("dropped", "linkedin-page1", None)
    ]
    assert document["really"] == {"decided": 1, "notInChecks": 0, "notReplayed": [], "onlyReplayed": []}


def test_replay_same(call: Call) -> None:
    """Without another policy the current one is compared with what was sent."""
    text = " ".join(call("replay", "--since", "1d").split())
    assert "yields 1 of the 1 notifications that were decided." in text
    assert "OTHER" not in text
    assert call("replay", "--since", "1s") == "No checks are stored of that time.\n"


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("policy: {confirm: {falures: 9}}\n", "falures is an unknown key"),
        ("polcy: {}\n", "contains no policy"),
        ("accounts: []\n", "contains no policy"),
        ("policy: {confirm: {failures: 0}}\npolicy: {}\n", "twice"),
        ("", "contains no policy"),
    ],
)
def test_replay_bad_policy(call: Call, tmp_path: Path, policy: str, message: str) -> None:
    """An invalid policy is refused with its line and what to do; other sections are ignored."""
    (tmp_path / "other.yaml").write_text(policy)
    assert message in call("replay", "--policy", str(tmp_path / "other.yaml"), code=78)


def test_replay_whole_configuration(call: Call, tmp_path: Path) -> None:
    """A whole configuration will do; its accounts and receivers, and files that they name, do not matter."""
    (tmp_path / "other.yaml").write_text(
        "accounts: [{name: other, api_key_file: /nowhere}]\nschedule: {recheck: 10s, interval: 1h}\npolicy: {}\n"
    )
    assert "Both policies send the same notifications at the same times." in call("replay", "--policy", str(tmp_path / "other.yaml"))


def test_without_a_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a database nothing is written, not even the header."""
    path = write_config(tmp_path, f"sqlite:///{tmp_path}/none.db")
    assert main(["export", "checks", "--config", str(path)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "there is no database at" in shown.err


@contextmanager
def somebody_else() -> Iterator[None]:
    """For a while the rights of a user who owns nothing; for root only, others have none in a closed folder anyway."""
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("closed", ["folder", "file"])
def test_without_the_right_to_read(closed: str) -> None:
    """Missing permissions are reported as such, of the folder as of the file."""
    # Not below the tests' own folder, which is closed to others itself.
    folder = Path(tempfile.mkdtemp())
    file = folder / "monitor.db"
    file.touch(0o000 if closed == "file" else 0o644)
    folder.chmod(0o000 if closed == "folder" else 0o755)
    try:
        refused = pytest.raises(StoreUnavailable, match="can't be read by this user: run the command with sudo")
        with somebody_else(), refused, reading(f"sqlite:///{file}"):
            pass
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)
