"""The verbs that test, send and send again, beside a daemon that holds the database."""

import asyncio
import csv
import json
import re
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.cli import export
from monitor.cli.export import PAGE
from monitor.cli.main import build_parser
from monitor.clock import SystemClock
from monitor.db import AttemptRow, CheckRow, Database, DeliveryState, list_checks, list_deliveries
from monitor.domain.events import EventType, NotificationReason
from monitor.errors import AnotherInstance, DeliveryReason, Reason, UsageError
from monitor.simulator import faults
from monitor.simulator.presets import connection_like, empty_world
from monitor.simulator.server import SimulatorServer
from tests import marked
from tests.receiving import ReceiverServer
from tests.watched import Watched, tell_a_story, watched, write_config

Call = Callable[..., Coroutine[Any, Any, tuple[int, str]]]
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def api() -> AsyncIterator[SimulatorServer]:
    """A simulated API that knows the connections of the story."""
    world = empty_world(SystemClock(), key=marked.API_KEY)
    for platform_id in ("linkedin-page1", "threads-1784", "facebook-104857", "tiktok-new"):
        world.account_of(marked.API_KEY).owner.connect(connection_like(world, platform_id))  # type: ignore[union-attr]
    server = SimulatorServer(world)
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def hook() -> AsyncIterator[ReceiverServer]:
    """A receiver that is on."""
    receiver = ReceiverServer()
    await receiver.start()
    yield receiver
    await receiver.close()


@pytest.fixture
async def world(tmp_path: Path, database_url: str, api: SimulatorServer, hook: ReceiverServer) -> AsyncIterator[Watched]:
    """A story in a database of each kind that a daemon holds."""
    async with watched(write_config(tmp_path, database_url, api=api.base_url, hook=hook.url)) as story:
        await tell_a_story(story)
        yield story


@pytest.fixture
def call(world: Watched, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Runs a verb in a thread; returns its exit code and what it printed."""

    async def run(*options: str) -> tuple[int, str]:
        args = build_parser(options).parse_args([*options, "--config", str(tmp_path / "config.yaml")])
        capsys.readouterr()
        code = await asyncio.to_thread(args.run, args)
        return code, capsys.readouterr().out

    return run


# preflight


async def test_preflight_fresh(call: Call, api: SimulatorServer) -> None:
    """What is fresh is answered from the database, without a request."""
    code, text = await call("preflight", "threads-1784", "--json")
    document = json.loads(text)["connections"][0]
    assert (code, document["answer"], document["live"]) == (0, "ready", False)
    assert (await call("preflight", "linkedin-page1", "--account", "main"))[0] == 1
    assert (await call("preflight", "telegram-42"))[0] == 3
    assert api.journal.total == 0


async def test_preflight_live(call: Call, api: SimulatorServer) -> None:
    """What is old, or was not conclusive, or is not known, is tested now."""
    code, text = await call("preflight", "threads-1784", "facebook-104857", "tiktok-new", "--max-age", "1m", "--json")
    assert (code, [(each["answer"], each["live"]) for each in json.loads(text)["connections"]]) == (0, [("ready", True)] * 3)
    api.world.connection("threads-1784").fail("Session has expired")
    code, text = await call("preflight", "threads-1784", "--max-age", "0s")
    assert code == 1
    assert "Session has expired" in text


async def test_preflight_unreachable(call: Call, api: SimulatorServer) -> None:
    """When the API cannot be reached the answer is unknown, whatever is stored."""
    await api.close()
    code, text = await call("preflight", "threads-1784", "--max-age", "1s")
    assert (code, "unknown" in text, "the API cannot be reached" in text) == (3, True, True)
    assert (await call("preflight", "facebook-104857"))[0] == 3
    assert (await call("preflight", "threads-1784"))[0] == 0


async def test_preflight_usage(call: Call) -> None:
    """An id that two accounts have asks for the account; an impossible one is refused."""
    with pytest.raises(UsageError, match="add --account main or --account second"):
        await call("preflight", "linkedin-page1")
    with pytest.raises(UsageError, match="not a valid platform id"):
        await call("preflight", "../x")
    with pytest.raises(UsageError, match="unknown account 'third'"):
        await call("preflight", "tiktok-new", "--account", "third")


async def test_preflight_without_database(tmp_path: Path, api: SimulatorServer) -> None:
    """Before there is a database everything is tested live."""
    path = write_config(tmp_path, f"sqlite:///{tmp_path}/none/monitor.db", api=api.base_url)
    options = ["preflight", "threads-1784", "--config", str(path)]
    args = build_parser(options).parse_args(options)
    assert await asyncio.to_thread(args.run, args) == 0


async def test_preflight_damaged_database(tmp_path: Path, api: SimulatorServer, capsys: pytest.CaptureFixture[str]) -> None:
    """With a corrupt database there is a message, and everything is tested live."""
    database = tmp_path / "monitor.db"
    database.write_bytes(b"no database at all" * 1000)
    path = write_config(tmp_path, f"sqlite:///{database}", api=api.base_url)
    options = ["preflight", "threads-1784", "--json", "--config", str(path)]
    args = build_parser(options).parse_args(options)
    assert await asyncio.to_thread(args.run, args) == 0
    shown = capsys.readouterr()
    assert [each["live"] for each in json.loads(shown.out)["connections"]] == [True]
    assert "the database is not used" in shown.err


async def test_preflight_many(call: Call, api: SimulatorServer) -> None:
    """Many are tested at the same time, up to the configured concurrency."""
    api.world.latency = (timedelta(seconds=0.3), timedelta(seconds=0.3))
    ids = ["threads-1784", "facebook-104857", *(f"tiktok-{number}" for number in range(6))]
    code, text = await call("preflight", *ids, "--max-age", "0s", "--json")
    assert code == 1
    assert [each["platformId"] for each in json.loads(text)["connections"]] == ids
    assert 1 < api.journal.max_in_flight <= 4


# check


async def test_check(call: Call, api: SimulatorServer) -> None:
    """Everything that is configured or listed is tested, in order; a wrong account is an error; the worst outcome decides the code."""
    code, text = await call("check", "--account", "main", "--json")
    document = json.loads(text)
    assert [each["platformId"] for each in document["connections"]] == [
        "facebook-104857",
        "linkedin-page1",
        "telegram-42",
        "threads-1784",
        "tiktok-new",
    ]
    assert (code, document["version"], document["problems"]) == (1, "1", [])
    assert {each["platformId"]: each["outcome"] for each in document["connections"]}["telegram-42"] == "failed"
    api.world.connection("threads-1784").fail("Session has expired")
    code, text = await call("check", "threads-1784")
    assert (code, "Session has expired" in text) == (1, True)
    with pytest.raises(UsageError, match="unknown account 'third'"):
        await call("check", "--account", "third")


async def test_check_by_id(call: Call, api: SimulatorServer) -> None:
    """An id is tested in the account that the configuration gives it; one that several have asks which."""
    with pytest.raises(UsageError, match="add --account main or --account second"):
        await call("check", "linkedin-page1")
    code, text = await call("check", "linkedin-page1", "--account", "second", "--json")
    assert (code, [each["account"] for each in json.loads(text)["connections"]]) == (3, ["second"])
    assert (await call("check", "threads-1784"))[0] == 0
    await api.close()
    assert (await call("check", "threads-1784"))[0] == 3


async def test_check_without_an_answer(call: Call, api: SimulatorServer) -> None:
    """A listing that cannot be read is reported, and the exit code is inconclusive."""
    await api.close()
    code, text = await call("check")
    assert code == 3
    assert "the list of connections could not be read" in text


# receivers test


async def test_receiver_takes_it(call: Call, hook: ReceiverServer) -> None:
    """A real test body arrives, and what came back is printed."""
    code, text = await call("receivers", "test", "on-call")
    assert code == 0
    assert text.startswith("on-call (webhook, not signed) accepted the test: HTTP 2")
    assert [(each.document or {})["type"] for each in hook.accepted()] == ["test"]


async def test_receiver_refuses_it(call: Call, hook: ReceiverServer) -> None:
    """A refusal ends with 1 and prints the response."""
    hook.behave(faults.answer(503))
    code, text = await call("receivers", "test", "on-call", "--json")
    document = json.loads(text)
    assert (code, document["delivered"], document["reason"], document["httpStatus"]) == (1, False, "server_error", 503)
    await hook.close()
    code, text = await call("receivers", "test", "on-call")
    assert code == 1
    assert "did not accept the test: no response after" in text


async def test_receiver_unknown(call: Call) -> None:
    """A name that is not configured is answered with one that may be meant."""
    with pytest.raises(UsageError, match=r"did you mean on-call\?"):
        await call("receivers", "test", "oncall")


# deliveries


async def give_up(world: Watched, state: DeliveryState = DeliveryState.DEAD) -> int:
    """Ends the story's only delivery; returns its number."""
    rows = await world.database.read(list_deliveries)
    attempt = AttemptRow(world.now, DeliveryReason.TIMEOUT, 15_000, None, "no answer in time")
    await world.database.write(lambda store: store.outbox.record_attempt(rows[0], attempt, state))
    return rows[0].id


async def test_list(world: Watched, call: Call) -> None:
    """Deliveries are listed with whom they are about and what came back, by state and receiver."""
    assert "linkedin-page1 (main)" in (await call("deliveries", "list"))[1]
    number = await give_up(world)
    code, text = await call("deliveries", "list")
    assert code == 0
    assert f"{number} " in text
    assert "did not answer in time" in text
    assert (await call("deliveries", "list", "--state", "pending"))[1] == "No deliveries.\n"
    assert (await call("deliveries", "list", "--receiver", "desk"))[1] == "No deliveries.\n"
    document = json.loads((await call("deliveries", "list", "--state", "dead", "--json"))[1])["deliveries"]
    assert [(each["number"], each["receiver"], each["type"]) for each in document] == [(number, "on-call", "connection.failed")]


@pytest.mark.parametrize("options", [("NUMBER",), ("--dead",), ("--dead", "--receiver", "on-call")])
async def test_retry(world: Watched, call: Call, options: tuple[str, ...]) -> None:
    """An abandoned delivery is due again under its old webhook id, although the daemon holds the database."""
    number = await give_up(world)
    before = (await world.database.read(list_deliveries))[0]
    code, text = await call("deliveries", "retry", *(str(number) if word == "NUMBER" else word for word in options))
    assert (code, text) == (0, "1 delivery queued again; a running daemon sends them within seconds.\n")
    (after,) = await world.database.read(list_deliveries)
    assert (after.id, after.state, after.webhook_id, after.attempts) == (number, DeliveryState.PENDING, before.webhook_id, 0)


async def test_retry_of_a_digest(world: Watched, call: Call) -> None:
    """A delivery that a digest replaced is not sent again beside the digest."""
    only = (await world.database.read(list_deliveries))[0]
    digest = replace(only.notification, type=EventType.DIGEST, why=NotificationReason.DIGEST, connection_id=None)
    await world.database.write(lambda store: store.outbox.replace_by_digest("msg_digest", digest, "key", b"{}", "on-call", [only.id]))
    await give_up(world)
    states = {row.state for row in await world.database.read(list_deliveries)}
    assert states == {DeliveryState.DEAD}
    assert "1 delivery queued again" in (await call("deliveries", "retry", "--dead"))[1]
    rows = await world.database.read(lambda reader: list_deliveries(reader, state=DeliveryState.PENDING))
    assert [row.webhook_id for row in rows] == ["msg_digest"]
    assert f"part of digest {rows[0].id}" in (await call("deliveries", "list", "--state", "dead"))[1]


async def test_retry_beside_writes(world: Watched, call: Call) -> None:
    """Writes of the daemon and of the command at the same time both come through."""
    number = await give_up(world)
    page = world.connection("threads-1784")
    writes = [world.check(page, Reason.OK, MINUTE - timedelta(milliseconds=step)) for step in range(1, 60)]
    retrying = asyncio.create_task(call("deliveries", "retry", str(number)))
    await asyncio.gather(*writes)
    assert (await retrying)[0] == 0
    assert len(await world.database.read(lambda reader: list_checks(reader, page.id))) == 4 + 59
    assert (await world.database.read(list_deliveries))[0].state is DeliveryState.PENDING


async def test_retry_refused(world: Watched, call: Call, tmp_path: Path) -> None:
    """What cannot be sent again is an error, and nothing is changed."""
    with pytest.raises(UsageError, match="is pending: the daemon sends it anyway"):
        await call("deliveries", "retry", "1")
    with pytest.raises(UsageError, match="unknown delivery 999"):
        await call("deliveries", "retry", "999")
    with pytest.raises(UsageError, match="give either the numbers of deliveries or --dead"):
        await call("deliveries", "retry")
    with pytest.raises(UsageError, match="--receiver needs --dead"):
        await call("deliveries", "retry", "1", "--receiver", "on-call")
    with pytest.raises(UsageError, match="no receiver pager"):
        await call("deliveries", "retry", "--dead", "--receiver", "pager")
    await give_up(world)
    await world.database.write(lambda store: store.outbox.put_receiver_state("on-call", b"{}", disabled=True))
    with pytest.raises(UsageError, match="is disabled"):
        await call("deliveries", "retry", "--dead")


# export


async def test_export_checks(call: Call, tmp_path: Path, world: Watched) -> None:
    """Every check is a line, with its connection."""
    code, text = await call("export", "checks")
    rows = list(csv.DictReader(text.splitlines()))
    assert code == 0
    assert len(rows) == 4 + 3 + 5 + 1
    assert {row["platformId"] for row in rows if row["outcome"] == "failed"} == {"linkedin-page1"}
    document = [json.loads(line) for line in (await call("export", "checks", "--format", "jsonl", "--since", "20m"))[1].splitlines()]
    assert len(document) == 2 + 1 + 2 + 1
    assert set(document[0]) == set(rows[0])


async def test_export_incidents(call: Call, tmp_path: Path) -> None:
    """Incidents go to a file that did not exist; one that does is left alone."""
    file = tmp_path / "incidents.jsonl"
    assert (await call("export", "incidents", "--format", "jsonl", "--output", str(file)))[0] == 0
    assert [json.loads(line)["level"] for line in file.read_text().splitlines()] == ["error"]
    with pytest.raises(UsageError, match="exists already"):
        await call("export", "incidents", "--output", str(file))


async def test_export_formulas(call: Call, world: Watched) -> None:
    """A text that a spreadsheet would run is harmless in CSV and untouched in JSON."""
    await world.check(world.connection("threads-1784"), Reason.CREDENTIAL_REJECTED, MINUTE, detail="=cmd()")
    rows = list(csv.DictReader((await call("export", "checks"))[1].splitlines()))
    assert "'=cmd()" in {row["detail"] for row in rows}
    assert '"detail":"=cmd()"' in (await call("export", "checks", "--format", "jsonl"))[1]


async def test_export_span(call: Call, world: Watched) -> None:
    """Only rows of the time range are written, which excludes its end."""
    moments = [json.loads(line)["at"] for line in (await call("export", "checks", "--format", "jsonl"))[1].splitlines()]
    middle = sorted(moments)[len(moments) // 2]
    earlier = [json.loads(line)["at"] for line in (await call("export", "checks", "--format", "jsonl", "--until", middle))[1].splitlines()]
    later = [json.loads(line)["at"] for line in (await call("export", "checks", "--format", "jsonl", "--since", middle))[1].splitlines()]
    assert sorted(earlier + later) == sorted(moments)
    assert max(earlier) < middle <= min(later)
    assert (await call("export", "incidents", "--until", "1000d"))[1].count("\n") == 1
    assert (await call("export", "incidents", "--since", "1000d"))[1].count("\n") > 1


async def test_export_fails_half_way(tmp_path: Path, sqlite_url: str) -> None:
    """What can't be written to its end leaves no file that looks whole."""

    def rows() -> Iterator[export.Row]:
        yield dict.fromkeys(("account", "at"), "x")
        raise KeyboardInterrupt

    file = tmp_path / "half.csv"
    with pytest.raises(KeyboardInterrupt), export.output(file) as stream:
        export.write(rows(), ("account", "at"), stream, "csv")
    assert not file.exists()
    assert sqlite_url


@pytest.mark.slow
async def test_export_streams(sqlite_url: str, tmp_path: Path) -> None:
    """Many rows need no more memory than a few pieces of them."""
    async with watched(write_config(tmp_path, sqlite_url)) as world:
        page = world.connection("threads-1784")
        for first in range(0, 8 * PAGE, PAGE):
            rows = [CheckRow(page.id, world.now - (first + step) * timedelta(seconds=1), Reason.OK, 5) for step in range(PAGE)]
            await world.database.write(lambda store, rows=rows: store.record_checks(rows))  # type: ignore[misc]

        def drain(rows: Iterator[object]) -> tuple[int, int]:
            tracemalloc.start()
            try:
                return sum(1 for _ in rows), tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

        count, peak = await asyncio.to_thread(drain, export.checks(sqlite_url, export.ExportRange()))
        assert count == 8 * PAGE
        assert peak < 2_500 * PAGE


def test_second_daemon_is_still_refused(call: Call, world: Watched) -> None:
    """The door for operators is none for a second daemon."""
    second = Database(world.config.database.url.reveal(), clock=SystemClock(), owner="second")
    with pytest.raises(AnotherInstance):
        asyncio.run(second.start())


async def test_heartbeat_that_is_withheld(call: Call, hook: ReceiverServer, tmp_path: Path) -> None:
    """A heartbeat that is sent by hand is sent all the same; the verb says that the monitor itself would not."""
    path = tmp_path / "config.yaml"
    more = f"heartbeat: {{url: '{hook.url}', max_owed: 1d}}\n"
    text = path.read_text()
    path.write_text(text + more)
    assert "withholds" not in (await call("heartbeat", "test"))[1]
    path.write_text(re.sub(r"routes:\n(  - .*\n)+", "routes: [{match: {severity: info}, receivers: [desk]}]\n", text) + more)
    assert "the monitor itself withholds heartbeats now: no route sends critical notifications" in (await call("heartbeat", "test"))[1]
