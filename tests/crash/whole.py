"""
The whole daemon under kill -9: what `child.py` puts together by hand is put together by the program itself.

A connection changes once the receiver knows how it is, so that each change is one that must be told. Time flies, since the
daemon's shortest interval is a second.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from monitor.app import App
from monitor.config import load
from monitor.notify import templates
from monitor.runtime.loop import WatchdogLimits
from monitor.runtime.signals import Signals
from monitor.simulator.presets import DEMO_KEY, empty_world
from monitor.simulator.server import SimulatorServer
from monitor.simulator.state import SimulatedConnection
from tests.crash.fast_clock import FastClock
from tests.crash.kill_points import KillPoint
from tests.crash.truth import CONNECTIONS, FAILED, Receipt, World
from tests.waiting import eventually

FACTOR = 20.0
_CHANGES_EVERY = 0.01
_REST_SECONDS = 2.0
_CONFIG = """\
api: {{base_url: "{api}", requests_per_second: 200, timeout: 5s}}
accounts: [{{name: main, api_key_file: api-key, discover: "off"}}]
connections: {connections}
schedule: {{interval: 1s, recheck: 1s}}
policy:
  reminders: off
  stale_after: 240h
  scopes: {{platform_count: 1000}}
  flap: {{changes: 100000}}
  digest: {{after: 100000}}
  retry: {{schedule: [1s, 2s, 3s], jitter: 0.5}}
receivers: [{{name: on-call, url: "{hook}", secret_file: signing-secret, timeout: 150ms}}]
database: {{url: "{database}"}}
web: {{listen: "127.0.0.1:0"}}
shutdown: {{drain: 5s}}
"""


class Whole:
    """What one forked process does until it is killed, or until it is asked to settle and the world is at rest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def run(self, errand: str, _number: float, report: int) -> None:
        """Run the daemon; each statement that it writes is a step."""
        KillPoint(0, report)
        config, signals = load(self._folder / "config.yaml", check_template=templates.problems), Signals()
        clock = FastClock(float((self._folder / "origin").read_text()), FACTOR)
        app = App(config, clock=clock, signals=signals, reread=lambda: config, limits=WatchdogLimits(rest=_REST_SECONDS))
        async with asyncio.TaskGroup() as group:
            group.create_task(app.run())
            if errand == "settle":
                group.create_task(self._stop_at_rest(app, signals))

    async def _stop_at_rest(self, app: App, signals: Signals) -> None:
        await app.ready.wait()
        await eventually((self._folder / "rest").exists)
        signals.request_stop()


class Outside:
    """The API whose connections break and heal, and what the receiver is known to believe of them."""

    def __init__(self, folder: Path, clock: FastClock, receipts: Sequence[Receipt], dice: random.Random) -> None:
        self._folder, self._receipts, self._dice = folder, receipts, dice
        self.world = World(folder)
        self.api = SimulatorServer(empty_world(clock), journal_limit=100)
        owner = self.api.world.accounts["main"].owner
        self._connections = {number: SimulatedConnection(_id(number), owner.clock, _id(number)) for number in CONNECTIONS}
        for connection in self._connections.values():
            owner.connect(connection)

    def write_configuration(self, hook: str, database: str, secret: str, origin: float) -> None:
        """All that the daemon reads."""
        values: dict[str, Any] = {"api": self.api.base_url, "hook": hook, "database": database}
        text = _CONFIG.format(connections=json.dumps([_id(number) for number in CONNECTIONS]), **values)
        for name, content in (("config.yaml", text), ("api-key", DEMO_KEY), ("signing-secret", secret), ("origin", repr(origin))):
            path = self._folder / name
            path.touch(mode=0o600)
            path.write_text(content)

    def surprises(self) -> list[int]:
        """The connections of which the receiver does not know how they are."""
        told = {one.connection: one.type == FAILED for one in self._receipts if one.processed}
        return [number for number, one in self._connections.items() if told.get(number, False) is not (one.dead is not None)]

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """Inside of it connections change."""
        turning = asyncio.create_task(self._change())
        try:
            yield
        finally:
            turning.cancel()
            await asyncio.wait([turning])

    async def _change(self) -> None:
        while True:
            await asyncio.sleep(_CHANGES_EVERY)
            known = sorted(self._connections.keys() - set(self.surprises()))
            if known and self._dice.random() < 0.3:
                self._turn(self._dice.choice(known))

    def _turn(self, number: int) -> None:
        self.world.change(number)
        connection = self._connections[number]
        if connection.dead is None:
            connection.fail("The access token was revoked")
        else:
            connection.heal()

    async def rest(self) -> None:
        """Wait until the receiver knows everything, and let the last life end."""
        # Whatever it does not know by then is for the judgement to tell.
        with contextlib.suppress(AssertionError):
            await eventually(lambda: not self.surprises())
        (self._folder / "rest").touch()


def _id(number: int) -> str:
    return f"mastodon-10{number}"
