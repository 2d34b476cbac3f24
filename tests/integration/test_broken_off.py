"""The lease of an instance runs out while requests are under way: they are broken off, and are evidence of nothing."""

import asyncio
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from monitor.db import DeliveryState
from monitor.domain.reasons import Health
from monitor.http.errors import BrokenOffError
from monitor.http.gate import Gate
from monitor.http.transport import Transport
from monitor.notify.sender import Sender
from monitor.simulator import faults
from tests.clock import FakeClock
from tests.delivering import a_world
from tests.raw_server import answer, raw_server, says
from tests.virtual import monitoring, simple_world
from tests.waiting import eventually


class Lease:
    """A lease that runs out and is renewed by hand."""

    def __init__(self) -> None:
        self.held = True
        self.gate = Gate(lambda: self.held)

    def run_out(self) -> None:
        """As the daemon treats it."""
        self.held = False
        self.gate.break_off()


async def test_transport() -> None:
    """Of a request under way nothing more leaves, the next ones are not sent, and with a new lease all is as before."""
    lease = Lease()
    transport = Transport(keep_alive_seconds=5, gate=lease.gate)
    async with raw_server(says(b"")) as server:
        request = httpx.Request("GET", f"http://127.0.0.1:{server.port}/")

        async def send() -> bytes:
            return (await transport.send(request, seconds=60, limit=100)).body

        sending = asyncio.ensure_future(send())
        await eventually(lambda: len(server.requests) == 1, what="the request is under way")
        lease.run_out()
        with pytest.raises(BrokenOffError):
            await sending
        with pytest.raises(BrokenOffError):
            await send()
        assert (server.connections, len(server.requests)) == (1, 1)
        lease.held, server.script = True, says(answer(200, b"fine"))
        connecting = asyncio.ensure_future(send())
        await asyncio.sleep(0)
        lease.held = False
        with pytest.raises(BrokenOffError):
            await connecting
        lease.held = True
        assert [await send(), await send()] == [b"fine", b"fine"]
        assert len(server.requests) == 3
    await transport.close()


async def test_checks_and_lists(tmp_path: Path) -> None:
    """Nothing is recorded of them, the API is not suspected, and they are made at once when the lease is back."""
    clock, lease = FakeClock(), Lease()
    world = simple_world(clock, "linkedin-1", "linkedin-2")
    world.script.play(faults.hang())
    api = {"timeout": timedelta(minutes=5), "concurrency": 2}
    async with monitoring(tmp_path, world, clock, "linkedin-1", "linkedin-2", api=api, gate=lease.gate) as one:
        (checker,) = one.checkers
        for name in ("linkedin-1", "linkedin-2"):
            checker.check_now(one.connection(name))
        await checker.step()
        await eventually(lambda: one.server.journal.in_flight == 2, what="both ask")
        lease.run_out()
        await eventually(lambda: not checker.asking, what="both are broken off")
        # In the transaction after any that would record them.
        counted = await one.database.write(lambda store: store.rows(text("SELECT count(*) FROM checks")))
        assert counted[0][0] == 0
        assert one.fleet.api_suspect_since() is None
        world.script.play()
        lease.held = True
        assert checker.idle_seconds() == 0
        await one.run(timedelta(seconds=1))
        assert [one.state(name).health for name in ("linkedin-1", "linkedin-2")] == [Health.OK, Health.OK]
        assert await one.told() == []


async def test_deliveries(tmp_path: Path) -> None:
    """A message that was under way is no attempt: it is posted under its id when the lease is back, and the receiver counts as working."""
    lease = Lease()
    async with a_world(tmp_path) as world:
        await world.owe(1)
        world.sender = Sender(clock=world.clock, user_agent="postpost-monitor/test", gate=lease.gate)
        world.on_call.behave(faults.hang())
        deliverer = world.deliverer()
        deliverer._may_send = lease.gate.may_send
        running = asyncio.ensure_future(world.run(deliverer))
        await eventually(lambda: world.on_call.total, what="it is under way")
        lease.run_out()
        await running
        (row,) = await world.rows(DeliveryState.PENDING)
        assert (row.attempts, world.seen) == (0, [])
        lease.held = True
        world.on_call.behave()
        await world.run(deliverer)
        (row,) = await world.rows(DeliveryState.DELIVERED)
        assert row.attempts == 1
        assert len(world.on_call.by_id()) == 1
        await world.sender.close()
