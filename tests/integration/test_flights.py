"""Messages in flight: several at a time where order allows it, recorded together, one at a time to a receiver that fails."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.db import DeliveryState
from monitor.simulator import faults
from monitor.simulator.faults import Fault
from tests.builders import MINUTE, SECOND
from tests.delivering import World, a_world, told_in_order
from tests.waiting import eventually

MOST_IN_FLIGHT = 8


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as world:
        yield world


class Flights:
    """Answers each message a little later, and counts how many are in flight, in all and of one subject."""

    def __init__(self, world: World, delay: timedelta = timedelta(milliseconds=20)) -> None:
        self.most = 0
        self.most_of_one = 0
        self._delay = delay
        self._world = world
        self._flying: Counter[str] = Counter()
        world.on_call.judge = self._leave

    def _leave(self, document: Any) -> Fault:
        subject = document["data"]["incident"]["subject"]
        self._flying[subject] += 1
        self.most = max(self.most, self._flying.total())
        self.most_of_one = max(self.most_of_one, self._flying[subject])
        # The receiver answers after the delay; only then can the next one about the subject leave.
        asyncio.get_running_loop().call_later(self._delay.total_seconds() * 0.9, self._land, subject)
        return faults.slow(self._delay)

    def _land(self, subject: str) -> None:
        self._flying[subject] -= 1


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
async def test_storm(world: World, count: int) -> None:
    """Many messages to one receiver: several in flight, recorded in groups, in order per subject, each under one id."""
    await world.connect(count // 2)
    flights = Flights(world)
    await world.owe(*range(1, count // 2 + 1))
    await world.owe(*range(1, count // 2 + 1))
    before = world.commits
    await world.run(world.deliverer())
    assert world.on_call.total == count
    assert len(world.on_call.by_id()) == count
    assert told_in_order(world.on_call) == {str(number): [1, 2] for number in range(1, count // 2 + 1)}
    assert {row.state for row in await world.rows()} == {DeliveryState.DELIVERED}
    assert 4 <= flights.most <= MOST_IN_FLIGHT
    assert flights.most_of_one == 1
    assert world.commits - before <= count / 2


async def test_limit(world: World) -> None:
    """A receiver with a limit gets ten messages at once and then no more than that a second."""
    await world.connect(30)
    await world.owe(*range(1, 31))
    deliverer = world.deliverer(messages_per_second=1.0)
    await world.run(deliverer)
    assert world.on_call.total == 10
    await world.run(deliverer, span=5 * SECOND)
    assert world.on_call.total == 15
    await world.run(deliverer, span=MINUTE)
    assert world.on_call.total == 30


async def test_failing_in_flight(world: World) -> None:
    """When all messages of a flight fail that is one failure of the receiver, and afterwards one message at a time probes it."""
    await world.connect(30)
    await world.owe(*range(1, 31))
    world.on_call.behave(faults.normal().only(7), faults.answer(503))
    deliverer = world.deliverer()
    await world.run(deliverer)
    first = world.on_call.total
    assert 8 < first <= 7 + MOST_IN_FLIGHT
    await world.run(deliverer, span=5 * SECOND)
    assert world.on_call.total == first + 1
    await world.run(deliverer, span=15 * SECOND)
    assert world.on_call.total == first + 2
    world.on_call.behave()
    await world.run(deliverer, span=2 * MINUTE)
    assert len(world.on_call.accepted()) == len(world.on_call.by_id()) == 30


async def test_one_that_hangs(world: World) -> None:
    """The results of a flight are recorded while one of its messages still has no answer, and cancelled it loses only that one."""
    world.on_call.behave(faults.normal().only(5), faults.hang().only(1), faults.normal())
    await world.owe(*range(1, 8))
    deliverer = world.deliverer()
    sending = asyncio.create_task(world.run(deliverer))
    await world.on_call.wait_for(lambda _: world.on_call.total >= 7)

    async def recorded() -> bool:
        return len(await world.rows(DeliveryState.DELIVERED)) == 6

    await eventually(recorded)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await world.run(world.deliverer())
    assert sorted(len(times) for times in world.on_call.by_id().values()) == [1] * 6 + [2]
    assert {row.state for row in await world.rows()} == {DeliveryState.DELIVERED}
