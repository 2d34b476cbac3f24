"""The deliverer with a real database and real receivers: nothing lost, nothing under two ids, nothing out of order."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.db import DeliveryState, attempts_of, read_outbox
from monitor.domain.events import EventType, IncidentRef, Topic
from monitor.domain.policy import DigestPolicy, Policy
from monitor.domain.reasons import Scope
from monitor.errors import DeliveryReason
from monitor.notify.payload import render
from monitor.simulator import faults
from tests.builders import DAY, HOUR, MINUTE, SECOND, a_notification
from tests.delivering import IDENTITY, World, a_world, told_in_order
from tests.sampling import sampled
from tests.waiting import patience


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as world:
        yield world


async def test_delivery(world: World) -> None:
    """What is owed goes out once, signed, and the attempt is on record."""
    await world.owe(1)
    await world.run(world.deliverer())
    (got,) = world.on_call.assert_exactly("connection.failed")
    assert got.signature == "valid"
    (row,) = await world.rows(DeliveryState.DELIVERED)
    assert (row.body, row.webhook_id, row.attempts) == (got.body, got.webhook_id, 1)
    (attempt,) = await world.database.read(lambda reader: attempts_of(reader, [row.id])[row.id])
    assert (attempt.reason, attempt.http_status) == (DeliveryReason.DELIVERED, 204)
    assert world.seen == [("on-call", DeliveryReason.DELIVERED)]
    assert not await world.deliverer().step()


async def test_without_a_lease(world: World) -> None:
    """While a node may have lost its lease, nothing is posted; what is pending is posted afterwards."""
    await world.owe(1)
    deliverer, held = world.deliverer(), [False]
    deliverer._may_send = lambda: held[0]
    assert not await deliverer.step()
    assert world.on_call.total == 0
    held[0] = True
    await world.run(deliverer)
    assert world.on_call.total == 1


async def test_dead_receiver_costs_one_request_per_pause(world: World) -> None:
    """While a receiver fails, its oldest message alone is tried, once per pause; then all arrive in order, each once."""
    await world.owe(*range(1, 9))
    world.on_call.behave(faults.answer(503))
    deliverer = world.deliverer()
    for count, pause in enumerate((5 * SECOND, 15 * SECOND, 45 * SECOND, 2 * MINUTE, 5 * MINUTE, 5 * MINUTE), start=1):
        await world.run(deliverer)
        assert world.on_call.total == count
        await world.run(deliverer, span=pause - SECOND)
        assert world.on_call.total == count
        await world.clock.advance(SECOND)
    assert len(world.on_call.by_id()) == 1
    world.on_call.behave()
    await world.run(deliverer, span=10 * SECOND)
    assert [got.data["platformId"] for got in world.on_call.accepted()] == [f"linkedin-page{number}" for number in range(1, 9)]
    assert not await world.rows(DeliveryState.PENDING)


@pytest.mark.slow
async def test_two_hours_dead(world: World) -> None:
    """Two hours of failure cost at most 40 attempts; the other receiver gets everything within the second."""
    on_call, chat = world.deliverer(), world.deliverer("chat")
    world.on_call.behave(faults.answer(500))
    for number in range(1, 9):
        await world.owe(number, receivers=("on-call", "chat"))
        await world.run(on_call, chat)
        await world.run(on_call, chat, span=15 * MINUTE, tick=5 * SECOND)
    assert len([got for got in world.chat.accepted() if got.type == "connection.failed"]) == 8
    assert world.on_call.total <= 40
    world.on_call.behave()
    await world.run(on_call, span=6 * MINUTE, tick=5 * SECOND)
    assert len({got.data["platformId"] for got in world.on_call.accepted()}) == 8


async def test_poison(world: World) -> None:
    """A message that its receiver refuses is dead after three tries, and its neighbours are not delayed by it."""
    await world.owe(1, 2, 3)
    world.on_call.behave(faults.normal().only(1), faults.answer(400).only(1), faults.normal().only(1), faults.answer(422).only(2))
    await world.run(world.deliverer(), span=MINUTE)
    assert [(row.subject, row.state, row.attempts) for row in await world.rows()] == [
        ("1", DeliveryState.DELIVERED, 1),
        ("2", DeliveryState.DEAD, 3),
        ("3", DeliveryState.DELIVERED, 1),
    ]


async def test_isolation(world: World) -> None:
    """A receiver that hangs delays nobody else, and keeps everything that it is owed."""
    await world.owe(*range(1, 9), receivers=("on-call", "chat"))
    world.on_call.behave(faults.hang())
    on_call, chat = world.deliverer(timeout=timedelta(milliseconds=300)), world.deliverer("chat")
    await asyncio.gather(world.run(on_call), world.run(chat))
    assert len(world.chat.accepted()) == 8
    assert len(await world.rows(DeliveryState.PENDING)) == 8
    assert world.seen[-1] == ("on-call", DeliveryReason.TIMEOUT)


@pytest.mark.parametrize("seed", sampled(range(5)))
async def test_order_per_connection(world: World, seed: int) -> None:
    """Through failures, lost answers and restarts each connection's notifications arrive in order, none twice under two ids."""
    dice = random.Random(seed)
    world.policy = Policy(digest=DigestPolicy(wait=4 * SECOND, after=dice.randrange(4), max_items=3))
    steps = [faults.normal(), faults.normal(), faults.answer(500), faults.drop(), faults.answer(400)]
    deliverer = world.deliverer()
    for _ in range(40):
        await world.owe(*dice.sample(range(1, 6), dice.randrange(4)))
        world.on_call.behave(dice.choice(steps))
        await world.run(deliverer, span=dice.choice([0, 1, 5, 60]) * SECOND)
        if dice.random() < 0.3:
            deliverer = world.deliverer()
    world.on_call.behave()
    await world.run(deliverer, span=10 * MINUTE)
    dead = {(row.subject, row.notification.seq) for row in await world.rows(DeliveryState.DEAD)}
    told = told_in_order(world.on_call)
    assert all(seqs == sorted(set(seqs)) for seqs in told.values())
    for subject, count in world.numbers.items():
        missing = set(range(1, count + 1)) - set(told.get(subject, []))
        assert {(subject, seq) for seq in missing} <= dead
    assert not await world.rows(DeliveryState.PENDING)


async def test_crash_between_post_and_record(world: World) -> None:
    """A process that dies after the request and before its record sends the same bytes under the same id again."""

    def die() -> None:
        raise SystemExit

    await world.owe(1, 2)
    for _ in range(3):
        with pytest.raises(SystemExit):
            await world.deliverer(on_attempt=die).step()
    await world.run(world.deliverer())
    by_id = world.on_call.by_id()
    assert [len(times) for times in by_id.values()] == [4, 1]
    assert len({got.body for got in next(iter(by_id.values()))}) == 1
    assert len(world.on_call.accepted()) == 2


async def test_cancelled_while_recording(world: World) -> None:
    """An attempt whose agent is cancelled is still recorded, and until it is, the next message waits."""
    await world.owe(1, 2)
    busy = threading.Event()
    waiting: list[asyncio.Future[bool]] = []

    def cancel() -> None:
        # The writer is busy, so that the record is certain to be waiting when the cancellation comes.
        waiting.append(world.database.submit(lambda _: busy.wait(patience())))
        asyncio.get_running_loop().call_later(0.05, task.cancel)

    deliverer = world.deliverer(on_attempt=lambda: None if waiting else cancel())
    task = asyncio.create_task(deliverer.step())
    with pytest.raises(asyncio.CancelledError):
        await task
    again = asyncio.create_task(world.run(deliverer))
    await asyncio.sleep(0.1)
    assert world.on_call.total == 1
    busy.set()
    await again
    assert [len(times) for times in world.on_call.by_id().values()] == [1, 1]
    assert {row.state for row in await world.rows()} == {DeliveryState.DELIVERED}


async def test_failed_record_comes_first(world: World) -> None:
    """After an error between request and record the same deliverer records first and sends nothing twice."""
    failures = iter([ValueError("a broken gauge")])

    def fail_once() -> None:
        for error in failures:
            raise error

    await world.owe(1, 2)
    deliverer = world.deliverer(on_attempt=fail_once)
    with pytest.raises(ValueError, match="gauge"):
        await deliverer.step()
    await world.run(deliverer)
    assert [len(times) for times in world.on_call.by_id().values()] == [1, 1]


async def test_settled_by_hand(world: World) -> None:
    """A delivery that somebody cancels while it is being sent stays cancelled, and the deliverer goes on."""
    await world.owe(1)
    deliverer = world.deliverer()
    world.on_call.behave(faults.slow(timedelta(milliseconds=100)))
    sending = asyncio.create_task(deliverer.step())
    await world.on_call.wait_for(lambda _: True)
    await world.database.write(lambda store: store.outbox.cancel_deliveries("on-call", world.clock.now()))
    await sending
    assert [row.state for row in await world.rows()] == [DeliveryState.CANCELLED]
    await world.owe(2)
    await world.run(deliverer)
    assert len(world.on_call.accepted()) == 2


@pytest.mark.slow
async def test_others_are_told(world: World) -> None:
    """After five minutes of failure the other receivers hear of it once, and of its end once, under the same incident."""
    await world.owe(1)
    world.on_call.behave(faults.answer(500))
    on_call, chat = world.deliverer(), world.deliverer("chat")
    await world.run(on_call, chat, span=4 * MINUTE)
    assert world.chat.total == 0
    on_call = world.deliverer()
    await world.run(on_call, chat, span=HOUR, tick=5 * SECOND)
    (failing,) = world.chat.assert_exactly("receiver.failing")
    assert "on-call" in failing.summary
    assert world.on_call.url.rpartition("/")[0] not in failing.body.decode()
    world.on_call.behave()
    await world.run(on_call, chat, span=10 * MINUTE, tick=5 * SECOND)
    failing, recovered = world.chat.assert_exactly("receiver.failing", "receiver.recovered")
    assert failing.data["incident"] == recovered.data["incident"]
    assert recovered.data["durationSeconds"] > 3600


@pytest.mark.parametrize("status", [401, 404, 302])
async def test_mistakes_are_told_soon(world: World, status: int) -> None:
    """What only a person can put right is told at the second failure."""
    await world.owe(1)
    world.on_call.behave(faults.answer(status))
    await world.run(world.deliverer(), world.deliverer("chat"), span=10 * SECOND)
    world.chat.assert_exactly("receiver.failing")


async def test_restart_keeps_the_pause(world: World) -> None:
    """A restart does not make a failing receiver be asked sooner."""
    await world.owe(1)
    world.on_call.behave(faults.answer(500))
    await world.run(world.deliverer(), span=20 * SECOND)
    before = world.on_call.total
    for _ in range(5):
        await world.run(world.deliverer())
    assert world.on_call.total == before


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 3650 * DAY, -3650 * DAY])
async def test_clock_jumps(world: World, jump: timedelta) -> None:
    """A wall clock that jumps delays no delivery."""
    await world.owe(1, 2)
    world.on_call.behave(faults.answer(500).only(1), faults.normal())
    deliverer = world.deliverer()
    await world.run(deliverer)
    world.clock.jump(jump)
    await world.run(deliverer, span=6 * SECOND)
    await world.owe(3)
    await world.run(deliverer)
    assert {row.state for row in await world.rows()} == {DeliveryState.DELIVERED}


async def test_retry_after(world: World) -> None:
    """A receiver that asks for two minutes is left alone for two minutes."""
    await world.owe(1)
    world.on_call.behave(faults.throttle(2 * MINUTE).only(1), faults.normal())
    deliverer = world.deliverer()
    await world.run(deliverer, span=119 * SECOND)
    assert world.on_call.total == 1
    await world.run(deliverer, span=2 * SECOND)
    world.on_call.assert_exactly("connection.failed")


@pytest.mark.slow
async def test_given_up(world: World) -> None:
    """After 72 hours a message is dead, and its receiver still fails."""
    await world.owe(1)
    world.on_call.behave(faults.answer(500))
    await world.run(world.deliverer(), span=3 * DAY + HOUR, tick=5 * MINUTE)
    (row,) = await world.rows()
    assert row.state is DeliveryState.DEAD
    assert (await world.database.read(read_outbox))["on-call"].failing_since is not None


async def test_digests(world: World) -> None:
    """Of a burst the first four go out at once and the rest as one digest, each connection once with its final state."""
    world.policy = Policy()
    await world.connect(60)
    await world.owe(*range(1, 40))
    deliverer = world.deliverer()
    await world.run(deliverer)
    assert [got.type for got in world.on_call.accepted()] == ["connection.failed"] * 4
    await world.run(deliverer, span=10 * SECOND)
    await world.owe(10, 11, 40)
    await world.run(deliverer, span=11 * SECOND)
    digest = world.on_call.accepted()[-1]
    assert digest.type == "digest"
    assert len(world.on_call.accepted()) == 5
    items = {item["connection"]["id"]: item for item in digest.data["items"]}
    assert items.keys() == {f"linkedin-page{number}" for number in range(5, 41)}
    assert (items["linkedin-page10"]["type"], items["linkedin-page10"]["merged"]) == ("connection.recovered", 2)
    assert digest.data["counts"]["byType"] == {"connection.failed": 34, "connection.recovered": 2}
    assert digest.signature == "valid"
    assert {row.state for row in await world.rows()} == {DeliveryState.DELIVERED}


async def test_a_storm_that_lasts(world: World) -> None:
    """While connections keep breaking there is a digest every twenty seconds and nothing besides; what comes alone later goes out at once."""
    world.policy = Policy()
    await world.connect(203)
    deliverer = world.deliverer()
    for start in range(1, 201, 2):
        await world.owe(start, start + 1)
        await world.run(deliverer, span=SECOND)
    await world.run(deliverer, span=30 * SECOND)
    types = Counter(got.type for got in world.on_call.accepted())
    assert types["connection.failed"] == 4
    assert types["digest"] <= 6
    assert told_in_order(world.on_call) == {str(number): [1] for number in range(1, 201)}
    await world.owe(201)
    await world.run(deliverer)
    assert world.on_call.accepted()[-1].type == "connection.failed"


async def test_scopes_are_not_collected(world: World) -> None:
    """In the middle of a burst the trouble that explains it goes out at once."""
    world.policy = Policy()
    await world.owe(*range(1, 10))
    incident = IncidentRef(Topic.SCOPE, "platform:linkedin", 1, world.clock.now())
    parent = a_notification(type=EventType.PLATFORM_FAILED, incident=incident, scope=Scope.PLATFORM, connection_id=None)
    body = render("msg_parent", parent, None, IDENTITY)
    await world.database.write(lambda store: store.outbox.add_notification("msg_parent", parent, "key", body, ["on-call"]))
    await world.run(world.deliverer())
    assert Counter(got.type for got in world.on_call.accepted()) == {"connection.failed": 4, "platform.failed": 1}


@pytest.mark.slow
async def test_storm(world: World) -> None:
    """Ten thousand connections that break within a minute cost at most 210 requests, each connection told exactly once."""
    world.policy = Policy()
    await world.connect(10_000)
    deliverer = world.deliverer()
    for start in range(1, 10_001, 500):
        await world.owe(*range(start, start + 500))
        await world.run(deliverer, span=3 * SECOND)
    await world.run(deliverer, span=4 * MINUTE)
    assert world.on_call.total <= 210
    told = told_in_order(world.on_call)
    assert told == {str(number): [1] for number in range(1, 10_001)}
    assert all(len(got.body) <= 20_000 for got in world.on_call.received)
