"""Operators beside a running monitor: what their commands change, it takes up by itself; and its sign of life."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.app import App
from monitor.cli.main import build_parser
from monitor.clock import SystemClock
from monitor.config import load
from monitor.db import Database, heartbeat_accepted_at, list_deliveries, operator_session, read_outbox, reading
from monitor.domain.states import SuppressionReason
from monitor.errors import Reason, UsageError
from monitor.notify import templates
from monitor.runtime.signals import Signals
from monitor.simulator import faults
from monitor.simulator.presets import connection_like, empty_world
from monitor.simulator.server import SimulatorServer
from monitor.simulator.state import SimulatedApi, SimulatedConnection
from monitor.web.status.sidebar import heartbeat_of
from monitor.workers.controls_sync import ControlsSync
from monitor.workers.evaluator import Evaluator
from tests import marked
from tests.builders import a_notification, a_reply
from tests.receiving import ReceiverServer
from tests.waiting import eventually
from tests.watched import watched, write_config

KEY = marked.API_KEY
LINKEDIN, MASTODON = "linkedin-page1", "threads-17841412345678"

CONFIG = """\
monitor: {{instance: here}}
api: {{base_url: "{api}", requests_per_second: 100}}
accounts: [{{name: main, api_key: {key}, discover: "off"}}]
connections:
  - {{id: {linkedin}, labels: {{team: social}}}}
  - {mastodon}
schedule: {{interval: 1s, recheck: 150ms, discovery: 1h}}
policy: {{reminders: {reminders}, digest: {{after: 100}}, flap: {{changes: 100}}, stale_after: 3s, retry: {{schedule: [100ms]}}}}
receivers: [{{name: on-call, url: "{hook}"}}]
heartbeat: {{url: "{heart}", every: 1s, max_owed: 1s}}
database: {{url: "{url}"}}
web: {{listen: "127.0.0.1:0"}}
"""


@dataclass
class Outside:
    """Counts the signs of life."""

    beats: int = 0
    lines: list[str] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one sign of life."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.lines.append(head.decode().splitlines()[0])
        self.beats += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK")
        await writer.drain()
        writer.close()


@dataclass
class Place:
    """Everything around a running monitor."""

    app: App
    world: SimulatedApi
    simulator: SimulatorServer
    receiver: ReceiverServer
    outside: Outside
    config: Path

    def connection(self, platform_id: str = LINKEDIN) -> SimulatedConnection:
        """A connection as the API has it."""
        return self.world.connection(platform_id)

    def types(self) -> list[str]:
        """What was told so far."""
        return [one.type for one in self.receiver.accepted()]

    def level(self) -> list[str]:
        """The levels of the open incidents."""
        return [one.level for one in self.app.snapshot().incidents]

    def quiet(self) -> SuppressionReason:
        """Why nobody was told of LinkedIn at the last look."""
        return next(view.state.suppression for view in self.app.snapshot().connections if view.connection.platform_id == LINKEDIN)


@asynccontextmanager
async def a_place(folder: Path, url: str, reminders: str = "24h") -> AsyncIterator[Place]:
    world, outside = empty_world(SystemClock(), key=KEY), Outside()
    for platform_id in (LINKEDIN, MASTODON):
        world.account_of(KEY).owner.connect(connection_like(world, platform_id))  # type: ignore[union-attr]
    simulator, receiver = SimulatorServer(world), ReceiverServer()
    heart = await asyncio.start_server(outside.answer, "127.0.0.1", 0)
    port = heart.sockets[0].getsockname()[1]
    api, hook = await simulator.start(), await receiver.start()
    path = folder / "config.yaml"
    path.write_text(
        CONFIG.format(
            api=api,
            key=KEY,
            hook=hook,
            heart=f"http://127.0.0.1:{port}/{marked.PATH}",
            url=url,
            linkedin=LINKEDIN,
            mastodon=MASTODON,
            reminders=reminders,
        )
    )
    config, signals = load(path, check_template=templates.problems), Signals()
    app = App(config, clock=SystemClock(), signals=signals, reread=lambda: config)
    running = asyncio.create_task(app.run())
    try:
        await eventually(lambda: running.done() or app.ready.is_set(), what="the start")
        yield Place(app, world, simulator, receiver, outside, path)
    finally:
        signals.request_stop()
        await running
        heart.close()
        await receiver.close()
        await simulator.close()


@pytest.fixture
async def place(tmp_path: Path, database_url: str) -> AsyncIterator[Place]:
    """A running monitor that watches two connections every second, on a database of each kind."""
    async with a_place(tmp_path, database_url) as found:
        yield found


Call = Callable[..., Coroutine[Any, Any, str]]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a verb in a thread; returns what it printed."""

    async def run(*words: str) -> str:
        args = build_parser(words).parse_args([*words, "--config", str(tmp_path / "config.yaml")])
        capsys.readouterr()
        assert await asyncio.to_thread(args.run, args) == 0
        return capsys.readouterr().out

    return run


async def broken(place: Place) -> None:
    """LinkedIn breaks, and the monitor has believed it."""
    place.connection().fail()
    await eventually(lambda: "error" in place.level())


async def healed(place: Place) -> None:
    place.connection().heal()
    await eventually(lambda: "error" not in place.level())


async def heard(place: Place, *, silences: int = 0, acks: int = 0) -> None:
    """The monitor has taken up, by itself and within seconds, that so much is asked for."""

    def asked() -> bool:
        controls = place.app._registry.controls
        return (len(controls.silences), len(controls.acks)) == (silences, acks)

    await eventually(asked)


@pytest.mark.slow
async def test_silence(place: Place, call: Call) -> None:
    """A failure within a silence is believed but not told; ended by hand, the silence lets out what is still true."""
    said = await call("silence", "add", "--match", f"connection={LINKEDIN}", "--for", "2h", "--author", "anna", "--reason", "their move")
    assert "Silence 1 until" in said
    assert "1 of 2 connections" in said
    await heard(place, silences=1)
    await broken(place)
    await healed(place)
    await broken(place)
    await eventually(lambda: place.quiet() is SuppressionReason.SILENCED)
    assert place.types() == []

    assert "anna" in await call("silence", "list")
    assert "Ended: 1" in await call("silence", "expire", "1")
    await eventually(lambda: place.types() == ["connection.failed"])
    await healed(place)
    await eventually(lambda: place.types() == ["connection.failed", "connection.recovered"])
    assert await call("silence", "list") == "No silences.\n"
    assert "expired" in await call("silence", "list", "--all")


@pytest.mark.slow
async def test_silence_that_ends_by_itself(place: Place, call: Call) -> None:
    """What was told before a silence and is over meanwhile is told when its time is up."""
    await broken(place)
    await eventually(lambda: place.types() == ["connection.failed"])
    await call("silence", "add", "--match", "team=social", "--for", "6s", "--reason", "lunch")
    await heard(place, silences=1)
    await healed(place)
    assert place.types() == ["connection.failed"]
    await eventually(lambda: place.types() == ["connection.failed", "connection.recovered"])


@pytest.mark.slow
async def test_silence_of_another(tmp_path: Path, sqlite_url: str, call: Call) -> None:
    """A silence of other connections, or of another severity, is none of this one."""
    async with a_place(tmp_path, sqlite_url) as place:
        await call("silence", "add", "--match", "platform=threads", "--for", "2h", "--reason", "x")
        await call("silence", "add", "--match", "severity=info|warning", "--for", "2h", "--reason", "x")
        await heard(place, silences=2)
        await broken(place)
        await eventually(lambda: place.types() == ["connection.failed"])


@pytest.mark.slow
async def test_ack(tmp_path: Path, database_url: str, call: Call) -> None:
    """Reminders come until somebody acknowledges the incident by its key; its end is told."""
    async with a_place(tmp_path, database_url, reminders="1s") as place:
        await broken(place)
        await eventually(lambda: place.types().count("reminder") >= 2)
        key = place.receiver.accepted()[0].data["incident"]["key"]
        assert key in await call("ack", key, "--author", "anna", "--reason", "on it")
        await heard(place, acks=1)
        # One that was decided before may still be on its way; they come every second or so.
        told: list[str] = []
        while told != place.types():
            told = place.types()
            await asyncio.sleep(2.5)
        assert told.count("reminder") < 20, "they end"
        await eventually(lambda: place.quiet() is SuppressionReason.ACKNOWLEDGED)
        await healed(place)
        await eventually(lambda: place.types()[-1] == "connection.recovered")

        await broken(place)
        await eventually(lambda: place.types()[-1] == "reminder")
        assert json.loads(await call("ack", LINKEDIN, "--reason", "again", "--json"))["acknowledged"] == [key.removesuffix("1") + "2"]


@pytest.mark.slow
async def test_a_receiver_that_comes_back(tmp_path: Path, sqlite_url: str, call: Call) -> None:
    """A receiver that was down hears what broke and the newest reminder, not every one of the time between; `deliveries list` says why."""
    async with a_place(tmp_path, sqlite_url, reminders="1s") as place:
        place.receiver.behave(faults.answer(503))
        await broken(place)
        await eventually(lambda: reminders(place) >= 4)
        place.receiver.behave()
        await eventually(lambda: len(place.types()) >= 2)
        first, second = place.receiver.accepted()[:2]
        assert (first.type, second.type, second.data["reminder"] >= 4) == ("connection.failed", "reminder", True)
        assert "superseded by" in await call("deliveries", "list")
        await healed(place)
        await eventually(lambda: place.types()[-1] == "connection.recovered")


def reminders(place: Place) -> int:
    """How often somebody was to be reminded."""
    return max((one.notified.reminders for view in place.app.snapshot().connections for one in view.state.topics.values()), default=0)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("silence", "add", "--match", "plattform=x", "--for", "1h", "--reason", "x"), "did you mean platform"),
        (("silence", "add", "--match", "platform", "--for", "1h", "--reason", "x"), "nothing is called platform"),
        (("silence", "add", "--match", "platform=x", "platform=y", "--for", "1h", "--reason", "x"), "given twice"),
        (("silence", "add", "--match", "platform=x", "--for", "0s", "--reason", "x"), "would end before it starts"),
        (("silence", "add", "--match", "platform=x", "--until", "2020-01-01", "--reason", "x"), "would end before it starts"),
        (("silence", "add", "--match", "platform=x", "--for", "1h", "--reason", " "), "must not be empty"),
        (("silence", "expire", "7"), "silence 7 is unknown"),
        (("ack", "pp-here-1-connection-1", "--reason", "x"), "no open incident"),
        (("ack", LINKEDIN, "--reason", ""), "must not be empty"),
    ],
)
async def test_words_that_make_no_sense(tmp_path: Path, sqlite_url: str, call: Call, words: tuple[str, ...], problem: str) -> None:
    """What can't be meant is refused, with advice, and nothing is changed."""
    async with watched(write_config(tmp_path, sqlite_url)):
        with pytest.raises(UsageError, match=problem):
            await call(*words)
        assert await call("silence", "list", "--all") == "No silences.\n"


async def test_json(tmp_path: Path, sqlite_url: str, call: Call) -> None:
    """What the verbs print for machines."""
    async with watched(write_config(tmp_path, sqlite_url)):
        words = ("--match", "team=social", "topic=expiry", "--from", "2999-01-01", "--until", "2999-01-02T03:04+01:00")
        added = json.loads(await call("silence", "add", *words, "--author", "anna", "--reason", f"{KEY} moved", "--json"))
        assert added["connections"] == 1
        silence = added["silence"]
        assert silence == {
            "number": 1,
            "state": "pending",
            "match": {"team": "social", "topic": "expiry"},
            "startsAt": "2999-01-01T00:00:00.000Z",
            "endsAt": "2999-01-02T02:04:00.000Z",
            "expiredAt": None,
            "author": "anna",
            "reason": silence["reason"],
            "createdAt": silence["createdAt"],
            "covers": 1,
        }
        assert "0123456789" not in silence["reason"]
        listed = json.loads(await call("silence", "list", "--json"))
        assert listed["silences"] == [silence]
        assert listed["recurring"] == []
        assert json.loads(await call("silence", "expire", "1", "--json"))["expired"] == [1]


async def test_nothing_waits_for_the_next_check(tmp_path: Path, database_url: str) -> None:
    """What was held back goes out as soon as the silence is ended, however far away the next check is; nothing does before."""
    async with watched(write_config(tmp_path, database_url)) as world:
        # It has been running since before the story.
        world.fleet._continuity._since = world.now - timedelta(hours=1)
        controls_sync = ControlsSync(registry=world.fleet, database=world.database, clock=SystemClock())
        evaluator = Evaluator(registry=world.fleet, database=world.database, clock=SystemClock())

        async def told() -> list[str]:
            await controls_sync.step()
            while await evaluator.step():
                pass
            return [row.type.value for row in await world.database.read(list_deliveries)]

        with operator_session(database_url) as operations:
            now, minute = world.now, timedelta(minutes=1)
            for until in (timedelta(hours=5), timedelta(hours=6)):
                operations.add_silence(
                    {"team": "social"}, starts_at=now - 10 * minute, ends_at=now + until, author="a", reason="r", now=now
                )
        assert await told() == []
        await world.checks(world.connection("linkedin-page1"), [Reason.OK, Reason.CREDENTIAL_REJECTED], 6 * minute, minute)
        await world.check(world.connection("linkedin-page1"), Reason.CREDENTIAL_REJECTED, 3 * minute)
        assert await told() == []
        with operator_session(database_url) as operations:
            assert operations.expire_silence(1, now)
        assert await told() == [], "the other one still holds"
        with operator_session(database_url) as operations:
            assert operations.expire_silence(2, now)
        assert await told() == ["connection.failed"]
        assert await told() == ["connection.failed"]


# the sign of life


async def beating(place: Place) -> None:
    before = place.outside.beats
    await eventually(lambda: place.outside.beats >= before + 2, what="a beating heart")


async def stopped(place: Place, rounds: int = 7) -> None:
    """Waits until there was no sign of life for three times the pause between two of them."""
    for _ in range(rounds):
        before = place.outside.beats
        await asyncio.sleep(3)
        if place.outside.beats == before:
            return
    raise AssertionError("the heart beats on")


@pytest.mark.slow
async def test_heart_without_checks(tmp_path: Path, sqlite_url: str) -> None:
    """The signs of life stop when no check is conclusive any more, and come back when checks are."""
    async with a_place(tmp_path, sqlite_url) as place:
        await beating(place)
        assert place.outside.lines[0] == f"GET /{marked.PATH} HTTP/1.1"
        await place.simulator.close()
        await stopped(place)


@pytest.mark.slow
async def test_heart_without_receivers(tmp_path: Path, sqlite_url: str) -> None:
    """They stop while a receiver has been owed something for too long, and come back when it was told."""
    async with a_place(tmp_path, sqlite_url) as place:
        await beating(place)
        port = place.receiver.url.rpartition(":")[2].partition("/")[0]
        await place.receiver.close()
        await broken(place)
        await stopped(place)
        await place.receiver.start(port=int(port))
        await beating(place)


@pytest.mark.slow
async def test_heart_after_a_receiver_left(tmp_path: Path, sqlite_url: str) -> None:
    """What a receiver is still owed that left the configuration stops no sign of life: nobody will ever take it."""
    database = Database(sqlite_url, clock=SystemClock(), owner="test")
    await database.start()
    old = a_notification(connection_id=None, at=SystemClock().now() - timedelta(hours=1))
    await database.write(lambda store: store.outbox.add_notification("msg_1", old, "key", b"{}", ["former"]))
    await database.close()
    async with a_place(tmp_path, sqlite_url) as place:
        await beating(place)
        assert (await asyncio.to_thread(owed_to, "former", sqlite_url)) == 1


def owed_to(receiver: str, url: str) -> int:
    """How much *receiver* is owed."""
    with reading(url) as reader:
        return read_outbox(reader)[receiver].pending


@pytest.mark.slow
async def test_heart_without_storage(tmp_path: Path, sqlite_url: str) -> None:
    """They stop while the database takes no writes, although checks go on, and come back when it does."""
    async with a_place(tmp_path, sqlite_url) as place:
        await beating(place)
        path = sqlite_url.removeprefix("sqlite:///")
        other = await asyncio.to_thread(sqlite3.connect, path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(1)
        # At once, and not only when the other writers have lost their patience.
        await stopped(place, rounds=1)
        other.execute("ROLLBACK")
        other.close()
        await beating(place)


async def test_heart_that_nobody_hears(tmp_path: Path, sqlite_url: str) -> None:
    """The metrics tell how many signs of life were sent, and when the last one was."""
    async with a_place(tmp_path, sqlite_url) as place:
        await beating(place)
        text = place.app._metrics.render(place.app.snapshot(), SystemClock().now() + timedelta(seconds=1)).decode()
        assert 'postpost_monitor_heartbeats_total{result="sent"}' in text
        assert "postpost_monitor_heartbeat_last_success_timestamp_seconds 1" in text
        heartbeat = place.app.snapshot().heartbeat
        assert heartbeat is not None
        assert (heartbeat.problem, heartbeat.accepted_at is not None) == ("", True)
        assert await place.app._database.read(heartbeat_accepted_at) is not None
        shown = heartbeat_of(place.app.snapshot(), SystemClock().now())
        assert shown is not None
        assert shown.text.startswith("accepted ")
        assert marked.PATH not in text


async def test_permissions(tmp_path: Path, sqlite_url: str, call: Call) -> None:
    """A lost permission is accepted beside the daemon, which closes the incident without a check; a restart changes nothing."""
    path, name = write_config(tmp_path, sqlite_url), "linkedin-page1"
    path.write_text(path.read_text().replace("id: threads-1784,", "id: threads-1784, require_permissions: [must],"))
    async with watched(path) as world:
        controls_sync = ControlsSync(registry=world.fleet, database=world.database, clock=SystemClock())
        evaluator = Evaluator(registry=world.fleet, database=world.database, clock=SystemClock())
        page, threads, minute = world.connection(name), world.connection("threads-1784"), timedelta(minutes=1)

        async def check(ago: int, *granted: str) -> None:
            for connection in (page, threads):
                reply = a_reply(platform=connection.platform, platform_id=connection.platform_id, permissions=granted)
                await world.check(connection, Reason.OK, ago * minute, reply)

        await check(9, "p", "q", "must")
        for ago in (8, 6, 4):
            await check(ago, "p")
        said = await call("permissions", "accept", "Company page", "--author", "anna", "--reason", "agency")
        assert "Accepted: Company page no longer needs must, q." in said
        assert "The loss of must, q was accepted by anna" in " ".join((await call("explain", "Company page")).split())
        document = json.loads(await call("permissions", "accept", "threads-1784", "--json"))
        assert (document["accepted"], document["required"]) == (["q"], ["must"])
        await controls_sync.step()
        while await evaluator.step():
            pass
        assert "An operator accepted the loss." in await call("incidents")
        # The notification waits for a check since the start, as every one does.
        await check(0, "p")
        told = [(row.type.value, row.subject) for row in await world.database.read(list_deliveries)]
        assert [kind for kind, subject in told if subject == str(page.id)] == ["permissions.restored", "permissions.lost"]
        assert [kind for kind, subject in told if subject == str(threads.id)] == ["permissions.lost"]
        for word, problem in {
            "Company page": "Company page lacks no permission",
            "threads-1784": "lacks must, which require_permissions in the configuration names",
            "threads-178": "did you mean threads-1784",
        }.items():
            with pytest.raises(UsageError, match=problem):
                await call("permissions", "accept", word)
    async with watched(path) as world:
        await world.check(page, Reason.OK, minute, a_reply(platform_id=name, permissions=("p",)))
        assert world.fleet.state(page.id).permissions_missing == ()
