"""Each type of receiver from the outbox to the wire: an incident is told and ended, refusals are understood, no secret leaks."""

import json
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.config import ReceiverSettings, Secret
from monitor.db import DeliveryState, list_deliveries, read_receiver_states
from monitor.domain.events import (
    FINE,
    EventType,
    IncidentRef,
    Notification,
    NotificationFacts,
    NotificationReason,
    Severity,
    Topic,
    incident_key,
)
from monitor.domain.policy import DigestPolicy, Policy
from monitor.domain.reasons import Scope
from monitor.errors import DeliveryReason
from monitor.simulator import faults
from tests import marked
from tests import receiver_schemas as schemas
from tests.builders import HOUR, MINUTE, SECOND, a_connection, a_notification
from tests.clock import FakeClock
from tests.jsonschema import problems
from tests.outbox import Outbox, an_outbox, ending, texts, transition_of
from tests.receiving import ReceiverServer
from tests.sampling import sampled
from tests.waiting import scaled

KEY = marked.ROUTING_KEY
PATH = marked.PATH
HEADER = marked.HEADER
TEMPLATE = '{"token": "' + marked.TEMPLATE_TOKEN + '", "text": "{summary}", "key": "{data.incident.key}", "why": "{data.why}"}'
CANARIES = (KEY, PATH, HEADER, marked.TEMPLATE_TOKEN)

KINDS = ("webhook", "slack", "discord", "teams", "pagerduty", "opsgenie", "alertmanager")
SUCCESS = {"webhook": 204, "slack": 200, "discord": 204, "teams": 202, "pagerduty": 202, "opsgenie": 202, "alertmanager": 200}
KEYS = {"pagerduty": {"routing_key": Secret(KEY[:32])}, "opsgenie": {"api_key": Secret(KEY)}, "webhook": {"template": Secret(TEMPLATE)}}
PAGERS = ("pagerduty", "opsgenie", "alertmanager")


@pytest.fixture
async def server() -> AsyncIterator[ReceiverServer]:
    server = ReceiverServer()
    await server.start()
    yield server
    await server.close()


def a_receiver(kind: str, server: ReceiverServer, **overrides: Any) -> ReceiverSettings:
    values: dict[str, Any] = {
        "name": "on-call",
        "type": kind,
        "url": Secret(f"{server.url}/{PATH}"),
        "headers": {"X-Team": Secret(HEADER)},
        "timeout": timedelta(seconds=scaled(2)),
    }
    return ReceiverSettings(**(values | KEYS.get(kind, {}) | overrides))


@pytest.fixture
async def outbox(request: pytest.FixtureRequest, tmp_path: Path, server: ReceiverServer) -> AsyncIterator[Outbox]:
    """The outbox of a receiver of the type that the test names, which takes everything."""
    kind = request.param
    server.behave(faults.answer(SUCCESS[kind], ""))
    async with an_outbox(tmp_path, a_receiver(kind, server)) as opened:
        yield opened


every = pytest.mark.parametrize("outbox", KINDS, indirect=True)


def of(*kinds: str) -> pytest.MarkDecorator:
    """Run the test with these types."""
    return pytest.mark.parametrize("outbox", kinds, indirect=True)


async def states(outbox: Outbox) -> Sequence[tuple[DeliveryState, DeliveryReason | None]]:
    return [(row.state, row.last_reason) for row in await outbox.rows()]


DELIVERED = (DeliveryState.DELIVERED, DeliveryReason.DELIVERED)


@every
async def test_incident(outbox: Outbox, server: ReceiverServer) -> None:
    """An incident is told and its end too: where the service knows incidents, the end closes what the beginning opened."""
    failure = a_notification(at=outbox.clock.now(), facts=NotificationFacts(username="@page1"))
    await outbox.owe(failure, connection=a_connection())
    await outbox.settle()
    await outbox.owe(
        ending(failure, type=EventType.CONNECTION_RECOVERED, facts=NotificationFacts(duration=HOUR)), connection=a_connection()
    )
    await outbox.settle()

    assert await states(outbox) == [DELIVERED, DELIVERED]
    opened, closed = server.received
    assert all(got.headers["x-team"] == HEADER for got in server.received)
    assert all(got.headers["user-agent"] == "postpost-monitor/test" for got in server.received)
    kind = outbox.receiver.type
    key = incident_key(failure.incident, "test")
    if kind == "pagerduty":
        assert [got.document["event_action"] for got in (opened, closed)] == ["trigger", "resolve"]
        assert opened.document["dedup_key"] == closed.document["dedup_key"] == key
    elif kind == "opsgenie":
        assert opened.document["alias"] == key
        assert closed.path.endswith(f"/{PATH}/{key}/close")
        assert opened.headers["authorization"] == f"GenieKey {KEY}"
    elif kind == "alertmanager":
        assert opened.path.endswith(f"/{PATH}/api/v2/alerts")
        assert opened.document[0]["labels"] == closed.document[0]["labels"]
        assert datetime.fromisoformat(closed.document[0]["endsAt"]) <= outbox.clock.now()
    elif kind == "webhook":
        assert opened.document["key"] == closed.document["key"] == key
    else:
        assert "is broken since" in " ".join(texts(opened.document))
        assert "works again after 1h" in " ".join(texts(closed.document))


@every
async def test_receiver_works_again(outbox: Outbox, server: ReceiverServer) -> None:
    """What could not be told is told later, once and in order."""
    server.behave(faults.answer(503, "").only(2), faults.answer(SUCCESS[outbox.receiver.type], ""))
    failure = a_notification(at=outbox.clock.now())
    await outbox.owe(failure, ending(failure))
    await outbox.settle()
    for _ in range(40):
        await outbox.pass_time(SECOND)
    assert await states(outbox) == [DELIVERED, DELIVERED]
    assert len(server.received) == 4


def a_notice(outbox: Outbox) -> Notification:
    """Something that is no incident."""
    return a_notification(
        type=EventType.INVENTORY_CHANGED,
        why=NotificationReason.NOTICE,
        at=outbox.clock.now(),
        severity=Severity.INFO,
        incident=IncidentRef(Topic.SCOPE, "account:main", 1, outbox.clock.now()),
        scope=Scope.ACCOUNT,
        connection_id=None,
        level_to=FINE,
    )


@of(*PAGERS)
async def test_nothing_to_send(outbox: Outbox, server: ReceiverServer) -> None:
    """A notice that is no alert is not sent, and does not count as delivered."""
    await outbox.owe(a_notice(outbox))
    await outbox.settle()
    assert server.total == 0
    assert await states(outbox) == [(DeliveryState.CANCELLED, DeliveryReason.NOT_SENT)]
    assert "nothing to send to a receiver of type" in await outbox.said()


@of("alertmanager")
async def test_nothing_sent_heals_nothing(outbox: Outbox, server: ReceiverServer) -> None:
    """What is not sent says nothing about the health of the receiver."""
    await outbox.owe(a_notification(at=outbox.clock.now()))
    await outbox.settle()
    server.behave(faults.answer(503, ""))
    await outbox.pass_time(MINUTE)
    failing = await outbox.database.read(read_receiver_states)
    await outbox.owe(a_notice(outbox))
    await outbox.pass_time(5 * SECOND)
    assert await states(outbox) == [DELIVERED, (DeliveryState.CANCELLED, DeliveryReason.NOT_SENT)]
    assert await outbox.database.read(read_receiver_states) == failing
    assert json.loads(failing["on-call"])["failures"] == 1


@of(*PAGERS)
async def test_burst_is_not_digested(tmp_path: Path, outbox: Outbox, server: ReceiverServer) -> None:
    """However many incidents open at once, each gets an object of its own, and never a digest."""
    outbox.policy = Policy(digest=DigestPolicy(after=1, wait=SECOND))
    outbox.restart()
    await outbox.owe(*(a_notification(number, at=outbox.clock.now()) for number in range(1, 9)))
    for _ in range(20):
        await outbox.pass_time(SECOND)
    assert await states(outbox) == [DELIVERED] * 8
    assert server.total == 8


@of("slack", "discord", "teams")
async def test_burst_in_chat(outbox: Outbox, server: ReceiverServer) -> None:
    """A burst reaches a chat as a few messages and one digest."""
    outbox.policy = Policy(digest=DigestPolicy(after=2, wait=SECOND))
    outbox.restart()
    await outbox.owe(*(a_notification(number, at=outbox.clock.now()) for number in range(1, 9)))
    for _ in range(20):
        await outbox.pass_time(SECOND)
    assert server.total == 3
    assert "Digest: 6 broken" in " ".join(texts(server.received[-1].document)).replace("\\", "")


GONE = [("slack", 404, "no_service"), ("discord", 404, {"message": "Unknown Webhook", "code": 10015}), ("teams", 410, "")]


@pytest.mark.parametrize(("outbox", "status", "answer"), GONE, indirect=["outbox"])
async def test_gone(outbox: Outbox, server: ReceiverServer, status: int, answer: object) -> None:
    """A webhook that was deleted is asked three times, and then no more until the configuration changes; nothing is lost."""
    server.behave(faults.answer(status, answer))
    await outbox.owe(a_notification(at=outbox.clock.now()), a_notification(2, at=outbox.clock.now()))
    for _ in range(30):
        await outbox.pass_time(MINUTE)
    assert server.total == 3
    assert {row.state for row in await outbox.rows()} == {DeliveryState.PENDING}
    server.behave(faults.answer(SUCCESS[outbox.receiver.type], ""))
    outbox.restart(url=Secret(f"{server.url}/another"))
    await outbox.owe(a_notification(3, at=outbox.clock.now()))
    await outbox.settle()
    assert await states(outbox) == [DELIVERED] * 3


@of("pagerduty")
async def test_new_key(outbox: Outbox, server: ReceiverServer) -> None:
    """A wrong key is the receiver's trouble, not the message's: nothing is given up, and with the right key everything is told."""
    server.behave(faults.answer(400, {"status": "invalid event", "errors": ["Invalid routing key"]}))
    await outbox.owe(a_notification(at=outbox.clock.now()))
    for _ in range(30):
        await outbox.pass_time(MINUTE)
    assert await states(outbox) == [(DeliveryState.PENDING, DeliveryReason.AUTH_ERROR)]
    server.behave(faults.answer(202, ""))
    await outbox.pass_time(10 * MINUTE)
    assert await states(outbox) == [DELIVERED]


@of("discord")
async def test_discord_pause(outbox: Outbox, server: ReceiverServer) -> None:
    """The pause that Discord asks for in the body is kept."""
    server.behave(faults.answer(429, {"retry_after": 90.5, "global": False}).only(1), faults.answer(204, ""))
    await outbox.owe(a_notification(at=outbox.clock.now()))
    await outbox.settle()
    await outbox.pass_time(90 * SECOND)
    assert server.total == 1
    await outbox.pass_time(SECOND)
    assert await states(outbox) == [DELIVERED]


# what an Alertmanager is told again


@of("alertmanager")
async def test_repeat(outbox: Outbox, server: ReceiverServer) -> None:
    """While an incident is open its alert is sent every minute, long before it would end by itself, and no more once it is over."""
    failure, other = a_notification(at=outbox.clock.now()), a_notification(2, at=outbox.clock.now())
    await outbox.owe(failure, other)
    await outbox.settle()
    assert server.total == 2
    for _ in range(5):
        await outbox.pass_time(MINUTE)
    repeats = list(server.received)[2:]
    assert [len(got.document) for got in repeats] == [2] * 5
    assert list(problems(repeats[0].document, schemas.ALERTMANAGER)) == []
    assert repeats[0].document[0]["labels"] == server.received[0].document[0]["labels"]
    assert repeats[-1].document[0]["endsAt"] > repeats[0].document[0]["endsAt"]
    await outbox.owe(ending(failure, at=outbox.clock.now()))
    await outbox.pass_time(MINUTE)
    assert sorted(len(got.document) for got in list(server.received)[7:]) == [1, 1]
    await outbox.owe(ending(other, at=outbox.clock.now()))
    await outbox.settle()
    total = server.total
    await outbox.pass_time(5 * MINUTE)
    assert server.total == total


@of("alertmanager")
async def test_repeat_of_what_ended_and_began_unheard(outbox: Outbox, server: ReceiverServer) -> None:
    """What ended and began again while a silence held both back still fires, under what the receiver knows; after an end was told nothing does."""
    failure = a_notification(at=outbox.clock.now())

    async def unheard(notification: Notification) -> None:
        await outbox.database.write(lambda store: store.apply_transitions([transition_of(notification)]))

    await outbox.owe(failure)
    await outbox.settle()
    await unheard(ending(failure))
    again = replace(failure, incident=replace(failure.incident, number=2))
    await unheard(again)
    await outbox.pass_time(MINUTE)
    assert server.total == 2
    assert server.received[1].document[0]["labels"] == server.received[0].document[0]["labels"]
    assert server.received[1].document[0]["endsAt"] > server.received[0].document[0]["endsAt"]

    await unheard(ending(again))
    await outbox.owe(ending(failure, at=outbox.clock.now()))
    await outbox.settle()
    await unheard(replace(failure, incident=replace(failure.incident, number=3)))
    total = server.total
    await outbox.pass_time(3 * MINUTE)
    assert server.total == total


@of("alertmanager")
async def test_repeat_after_start(outbox: Outbox, server: ReceiverServer) -> None:
    """After a start what stands is told at once, with the last that was delivered of it, and nothing that is still owed."""
    failure = a_notification(at=outbox.clock.now(), severity=Severity.WARNING)
    await outbox.owe(failure)
    await outbox.settle()
    await outbox.owe(replace(failure, severity=Severity.CRITICAL, why=NotificationReason.CHANGED, seq=2))
    await outbox.settle()
    assert [[alert["labels"]["severity"] for alert in got.document] for got in server.received] == [["warning"], ["critical", "warning"]]
    server.clear()
    server.behave(faults.answer(200, "").only(1), faults.answer(503, ""))
    await outbox.owe(a_notification(2, at=outbox.clock.now()))
    outbox.restart()
    await outbox.settle()
    assert [alert["labels"]["severity"] for alert in server.received[0].document] == ["critical"]


@of("alertmanager")
async def test_repeat_fails(outbox: Outbox, server: ReceiverServer) -> None:
    """An Alertmanager that is down is found by what it is told again, and the other receivers hear of it and of its return."""
    await outbox.owe(a_notification(at=outbox.clock.now()))
    await outbox.settle()
    server.behave(faults.answer(503, ""))
    for _ in range(8):
        await outbox.pass_time(MINUTE)
    told = await outbox.database.read(lambda reader: list_deliveries(reader, receiver="other"))
    assert [row.type for row in told] == [EventType.RECEIVER_FAILING]
    server.behave(faults.answer(200, ""))
    for _ in range(6):
        await outbox.pass_time(MINUTE)
    told = await outbox.database.read(lambda reader: list_deliveries(reader, receiver="other"))
    assert [row.type for row in told] == [EventType.RECEIVER_RECOVERED, EventType.RECEIVER_FAILING]


@of("alertmanager")
async def test_repeat_does_not_starve(outbox: Outbox, server: ReceiverServer) -> None:
    """What is owed to a failing Alertmanager is what is tried: it grows old, and is given up in the end."""
    await outbox.owe(a_notification(at=outbox.clock.now()))
    await outbox.settle()
    server.behave(faults.answer(503, ""))
    await outbox.pass_time(MINUTE)
    await outbox.owe(a_notification(2, at=outbox.clock.now()))
    for _ in range(80):
        await outbox.pass_time(HOUR)
    assert await states(outbox) == [DELIVERED, (DeliveryState.DEAD, DeliveryReason.SERVER_ERROR)]


@of("alertmanager")
async def test_repeat_in_batches(outbox: Outbox, server: ReceiverServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many alerts go out in several requests, each exactly once a minute."""
    monkeypatch.setattr("monitor.workers.deliverer._RESENT_AT_ONCE", 3)
    await outbox.owe(*(a_notification(number, at=outbox.clock.now()) for number in range(1, 9)))
    await outbox.settle()
    server.clear()
    await outbox.pass_time(MINUTE)
    assert [len(got.document) for got in server.received] == [3, 3, 2]
    names = [alert["annotations"]["incident"] for got in server.received for alert in got.document]
    assert len(set(names)) == 8


@of("alertmanager")
async def test_repeat_takes_turns(outbox: Outbox, server: ReceiverServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much stands, what is new does not wait for all of it to be told again."""
    monkeypatch.setattr("monitor.workers.deliverer._RESENT_AT_ONCE", 2)
    await outbox.owe(*(a_notification(number, at=outbox.clock.now()) for number in range(1, 9)))
    await outbox.settle()
    server.clear()
    await outbox.owe(*(a_notification(number, at=outbox.clock.now()) for number in (9, 10)))
    await outbox.pass_time(MINUTE)
    # Numbers 9 and 10 stand themselves by the time that the end of the list is reached.
    assert [len(got.document) for got in server.received] == [2, 1, 1, 2, 2, 2, 2]


# secrets


@every
@pytest.mark.parametrize("how", sampled(["echo", "drop", "redirect", "gone"]))
async def test_no_secret_leaks(outbox: Outbox, server: ReceiverServer, caplog: pytest.LogCaptureFixture, how: str) -> None:
    """Whatever goes wrong, no key, address, header or text of a template is in a log line, a record or another body."""
    caplog.set_level(logging.DEBUG)
    own = {"pagerduty": KEY, "opsgenie": KEY, "webhook": f"{TEMPLATE} {marked.TEMPLATE_TOKEN}"}.get(outbox.receiver.type, "")
    echo = f"bad: {server.url}/{PATH} {HEADER} {own}"
    steps = {
        "echo": faults.answer(400, echo),
        "drop": faults.drop(),
        "redirect": faults.answer(302, echo, {"Location": f"http://127.0.0.1:9/{PATH}"}),
        "gone": faults.answer(410, echo),
    }
    server.behave(steps[how])
    await outbox.owe(a_notification(at=outbox.clock.now()), a_notification(2, at=outbox.clock.now()))
    await outbox.settle()
    for _ in range(10):
        await outbox.pass_time(MINUTE)
    told = await outbox.database.read(lambda reader: list_deliveries(reader, receiver="other"))
    states = await outbox.database.read(read_receiver_states)
    said = f"{await outbox.said()} {told!r} {states!r} {outbox.receiver!r} {caplog.text} {[vars(one) for one in caplog.records]}"
    assert server.total >= 1
    for canary in CANARIES:
        assert canary not in said
    if how == "echo":
        assert "answered 400: bad:" in said


@every
async def test_bodies_hold_no_foreign_secret(outbox: Outbox, server: ReceiverServer) -> None:
    """A body holds no secret but the one that its service wants in it."""
    await outbox.owe(a_notification(at=outbox.clock.now()))
    await outbox.settle()
    (got,) = server.received
    wanted = {"pagerduty": KEY, "webhook": marked.TEMPLATE_TOKEN}.get(outbox.receiver.type)
    for canary in CANARIES:
        assert (canary.encode() in got.body) == (canary == wanted)


async def test_type_changes(tmp_path: Path, server: ReceiverServer) -> None:
    """What was decided for a receiver of one type reaches it when it becomes another one, a digest included."""
    async with an_outbox(tmp_path, a_receiver("slack", server), FakeClock(), Policy(digest=DigestPolicy(after=0, wait=SECOND))) as outbox:
        server.behave(faults.answer(503, "").only(1), faults.answer(202, ""))
        told: list[Notification] = [a_notification(number, at=outbox.clock.now()) for number in range(1, 6)]
        await outbox.owe(*told)
        await outbox.settle()
        await outbox.pass_time(2 * SECOND)
        outbox.restart(type="pagerduty", routing_key=Secret(KEY[:32]))
        await outbox.pass_time(MINUTE)
        event = server.received[-1].document
        assert (event["event_action"], event["payload"]["class"]) == ("trigger", "digest")
        assert len(event["payload"]["custom_details"]["connections"]) == 5
        assert {row.state for row in await outbox.rows()} == {DeliveryState.DELIVERED}
