"""Receivers that are gone or refuse everything: believed when repeated, told to the others, left by test, reload and verb."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from monitor.config import Secret
from monitor.db import DeliveryState, list_notifications, operator_session, read_outbox
from monitor.domain.delivery.retries import CircuitBreaker, after_test, release
from monitor.domain.events import Severity
from monitor.domain.routes import Route
from monitor.domain.routing.rules import ReceiverRule
from monitor.domain.views.snapshot import OutboxView
from monitor.simulator import faults
from monitor.text.heartbeats import is_late, is_unreachable
from tests.builders import DAY, HOUR, MINUTE, SECOND, START, at
from tests.delivering import World, a_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as world:
        yield world


async def shown(world: World, receiver: str = "on-call") -> OutboxView:
    return (await world.database.read(read_outbox))[receiver]


async def make_gone(world: World) -> None:
    """The receiver has answered 410 until it was believed."""
    await world.owe(1, 2)
    world.on_call.behave(faults.answer(410))
    await world.run(world.deliverer(), span=MINUTE)
    assert (await shown(world)).disabled
    world.on_call.behave()


def operate(world: World, change: Callable[[CircuitBreaker], CircuitBreaker]) -> bool:
    """What a command does beside the daemon."""
    with operator_session(world.url) as operations:
        return operations.change_receiver("on-call", change)


async def test_gone_once(world: World) -> None:
    """One 410, as a proxy or a deployment may answer, costs a pause and nothing else."""
    await world.owe(1, 2)
    world.on_call.behave(faults.answer(410).only(2), faults.normal())
    await world.run(world.deliverer(), world.deliverer("chat"), span=MINUTE)
    assert {row.state for row in await world.rows()} == {DeliveryState.DELIVERED}
    assert world.chat.total == 0


async def test_gone(world: World) -> None:
    """A receiver that is gone is asked no more, over restarts, keeps what is pending, and is told to the others; a new address enables it."""
    await make_gone(world)
    assert world.on_call.total == 3
    assert world.gone == {"on-call": True}
    world.gone.clear()
    await world.owe(3)
    await world.run(world.deliverer(), world.deliverer("chat"), span=HOUR, tick=MINUTE)
    assert world.gone == {"on-call": True, "chat": False}
    assert world.on_call.total == 3
    assert {row.state for row in await world.rows()} == {DeliveryState.PENDING}
    (told,) = world.chat.assert_exactly("receiver.failing")
    assert told.document["severity"] == "critical"
    assert told.data["level"] == {"from": "fine", "to": "disabled"}
    assert "kept" in told.data["advice"]
    await world.run(world.deliverer(url=Secret(world.on_call.url + "/new")), world.deliverer("chat"), span=SECOND)
    assert [got.data["platformId"] for got in world.on_call.accepted()] == ["linkedin-page1", "linkedin-page2", "linkedin-page3"]
    assert world.gone == {"on-call": False, "chat": False}
    world.chat.assert_exactly("receiver.failing", "receiver.recovered")


async def test_gone_is_repeated(world: World) -> None:
    """An Alertmanager is sent the alert about a failing receiver every minute, as any other, until that works again."""
    await make_gone(world)
    world.chat.behave(faults.answer(200, ""))
    alertmanager = world.deliverer("chat", type="alertmanager", secrets=())
    await world.run(alertmanager, span=5 * MINUTE, tick=SECOND)
    alerts = [got.document[0] for got in world.chat.received]
    assert {alert["labels"]["alertname"] for alert in alerts} == {"PostpostReceiverDisabled"}
    assert len(alerts) >= 5
    await world.run(world.deliverer(url=Secret(world.on_call.url + "/new")), alertmanager, span=SECOND)
    total = world.chat.total
    await world.run(alertmanager, span=3 * MINUTE, tick=SECOND)
    assert world.chat.total == total


async def test_gone_for_days(world: World) -> None:
    """What is pending for a disabled receiver is given up when it is three days old, as for one that fails."""
    await make_gone(world)
    await world.run(world.deliverer(), span=2 * DAY, tick=HOUR)
    await world.owe(3)
    await world.run(world.deliverer(), span=DAY, tick=HOUR)
    assert [row.state for row in await world.rows()] == [DeliveryState.CANCELLED] * 2 + [DeliveryState.PENDING]


async def test_reload_tries_again(world: World) -> None:
    """A restart says that the receiver is disabled and leaves it so; a reload tries it, and what was pending arrives."""
    await make_gone(world)
    with capture_logs() as logged:
        await world.run(world.deliverer())
    assert "receiver.disabled" in [event["event"] for event in logged]
    assert world.on_call.total == 3
    await world.run(world.deliverer(trial=True), world.deliverer("chat"), span=SECOND)
    assert not (await shown(world)).disabled
    assert {row.state for row in await world.rows()} == {DeliveryState.DELIVERED}
    world.chat.assert_exactly("receiver.failing", "receiver.recovered")


async def test_verb_tries_again(world: World) -> None:
    """`receivers enable` makes a running deliverer try the receiver; one that is still gone is disabled again."""
    await make_gone(world)
    deliverer = world.deliverer()
    await world.run(deliverer)
    world.on_call.behave(faults.answer(410))
    assert operate(world, release)
    await world.run(deliverer, span=MINUTE)
    assert (world.on_call.total, (await shown(world)).disabled) == (6, True)
    world.on_call.behave()
    assert operate(world, release)
    await world.run(deliverer, span=SECOND)
    assert {row.state for row in await world.rows()} == {DeliveryState.DELIVERED}
    assert not operate(world, release)


@pytest.mark.parametrize("running", [True, False])
async def test_successful_test(world: World, running: bool) -> None:
    """After a test that the receiver accepted it counts as working, and the others hear of its recovery, once."""
    await make_gone(world)
    deliverer = world.deliverer()
    if running:
        await world.run(deliverer)
    assert operate(world, after_test)
    await world.run(deliverer, world.deliverer("chat"), span=SECOND)
    assert (await shown(world)) == OutboxView()
    assert {row.state for row in await world.rows()} == {DeliveryState.DELIVERED}
    await world.run(world.deliverer(), world.deliverer("chat"), span=SECOND)
    world.chat.assert_exactly("receiver.failing", "receiver.recovered")
    ended = next(row.notification for row in await world.database.read(list_notifications) if row.notification.facts.duration is not None)
    assert (ended.level_from, ended.severity) == ("disabled", Severity.CRITICAL), "of the incident that it ends, also after a reload"
    assert ended.facts.duration


async def test_test_ends_a_pause(world: World) -> None:
    """A receiver that failed for hours and accepts a test gets what is pending at once."""
    await world.owe(1)
    world.on_call.behave(faults.answer(503))
    deliverer = world.deliverer()
    await world.run(deliverer, span=HOUR, tick=10 * SECOND)
    world.on_call.behave()
    assert operate(world, after_test)
    await world.run(deliverer)
    assert {row.state for row in await world.rows()} == {DeliveryState.DELIVERED}


@pytest.mark.slow
async def test_refuses_everything(world: World) -> None:
    """A receiver that refuses every message is told to the others at the second one, and loses none of them."""
    world.on_call.behave(faults.answer(400, "no such channel"))
    on_call, chat = world.deliverer(), world.deliverer("chat")
    await world.owe(1)
    await world.run(on_call, chat, span=10 * SECOND)
    assert world.chat.total == 0
    await world.owe(*range(2, 9))
    await world.run(on_call, chat, span=SECOND)
    (told,) = world.chat.assert_exactly("receiver.failing")
    assert "client_error: answered 400: no such channel" in told.summary
    assert told.data["level"]["to"] == "refusing"
    view = await shown(world)
    assert (view.refusing, view.in_trouble) == (True, True)
    on_call = world.deliverer()
    await world.run(on_call, chat, span=2 * HOUR, tick=5 * SECOND)
    assert world.on_call.total <= 45
    assert {row.state for row in await world.rows()} == {DeliveryState.PENDING}
    # Each time another one: a message that is at fault itself must not hold up the others.
    asked = Counter(got.webhook_id for got in world.on_call.received)
    assert (len(asked), max(asked.values()) - min(asked.values()) <= 3) == (8, True)
    world.on_call.behave()
    await world.run(on_call, chat, span=10 * MINUTE, tick=5 * SECOND)
    assert {row.state for row in await world.rows()} == {DeliveryState.DELIVERED}
    world.chat.assert_exactly("receiver.failing", "receiver.recovered")


async def test_two_bad_messages(world: World) -> None:
    """Two messages in a row that are at fault themselves hold up the others for one pause, and are abandoned once others are accepted."""
    await world.owe(*range(1, 6))
    bad = {f"linkedin-page{number}" for number in (1, 2)}
    world.on_call.judge = lambda document: faults.answer(413) if document["data"]["platformId"] in bad else faults.normal()
    await world.run(world.deliverer(), span=10 * MINUTE, tick=SECOND)
    states = {row.subject: row.state for row in await world.rows()}
    assert [states[number] for number in "12345"] == [DeliveryState.DEAD] * 2 + [DeliveryState.DELIVERED] * 3
    assert not (await shown(world)).in_trouble


# the heartbeat


RULES = (ReceiverRule("on-call"), ReceiverRule("chat"))
TROUBLE = OutboxView(failing_since=START, in_trouble=True)


@pytest.mark.parametrize(
    ("routes", "outbox", "reachable"),
    [
        ((), {}, True),
        ((), {"on-call": TROUBLE}, True),
        ((), {"on-call": TROUBLE, "chat": OutboxView(failing_since=START)}, True),
        ((), {"on-call": TROUBLE, "chat": TROUBLE}, False),
        ((Route({"severity": "critical"}, ("on-call",)), Route({}, ("chat",))), {"on-call": TROUBLE}, False),
        ((Route({"severity": "critical", "platform": "x"}, ("on-call",)), Route({}, ("chat",))), {"on-call": TROUBLE}, True),
        ((Route({"severity": "critical", "customer": "acme"}, ("on-call",)), Route({}, ("chat",))), {"chat": TROUBLE}, False),
        ((Route({"customer": "acme"}, ("on-call",)),), {"chat": TROUBLE}, True),
        ((Route({"severity": "info|warning"}, ("chat",)),), {}, False),
        ((Route({"severity": "crit*"}, ("chat",)),), {}, True),
        ((Route({}, ()),), {}, False),
    ],
)
def test_somebody_can_be_told(routes: tuple[Route, ...], outbox: dict[str, OutboxView], reachable: bool) -> None:
    """The heartbeat stops when no critical notification could reach any receiver, whatever the reason."""
    assert (is_unreachable(outbox, routes, RULES) == "") is reachable


@pytest.mark.parametrize("by_test", [False, True])
async def test_only_receiver_fails(world: World, by_test: bool) -> None:
    """The failure of the only receiver stops the heartbeat once it is an outage; a delivery, or a test that it accepts, brings it back."""

    async def problem() -> str:
        return is_unreachable(await world.database.read(read_outbox), (), RULES[:1])

    await world.owe(1)
    world.on_call.behave(faults.answer(503))
    deliverer = world.deliverer()
    await world.run(deliverer, span=MINUTE, tick=SECOND)
    assert (await shown(world)).failing_since is not None
    assert await problem() == ""
    await world.run(deliverer, span=10 * MINUTE, tick=5 * SECOND)
    assert await problem() == "no receiver of critical notifications works: on-call"
    world.on_call.behave()
    if by_test:
        assert operate(world, after_test)
    else:
        await world.run(deliverer, span=10 * MINUTE, tick=5 * SECOND)
    assert await problem() == ""


def test_nobody_is_configured() -> None:
    """Without receivers the heartbeat is about the checks alone."""
    assert is_unreachable({}, (), ()) == ""


def test_late() -> None:
    """What is pending for too long stops the heartbeat, but not for ever because one receiver is disabled."""
    late = OutboxView(pending=1, oldest_at=START)
    assert is_late({"chat": late}, RULES, at(HOUR), MINUTE) == "pending for longer than 1m: chat"
    assert is_late({"chat": OutboxView(pending=1, oldest_at=START, disabled=True)}, RULES, at(HOUR), MINUTE) == ""
    assert is_late({"removed": late}, RULES, at(HOUR), MINUTE) == ""
