"""
The real daemon in this process, with what it needs around it: a simulated PostPost with a connection of every kind, a receiver, and ninety days of history.

What the pages show of the present is checked and decided by the daemon itself; only the days before it started are written
down beforehand, as a daemon would have written them.
"""

import asyncio
import base64
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from monitor.app import App
from monitor.clock import Clock, SystemClock
from monitor.config import Config, load
from monitor.db import CheckRow, Database, Store
from monitor.domain.connections import ConnectionSpec
from monitor.domain.events import FINE, IncidentRef, Severity, Topic, Transition
from monitor.domain.reasons import Health, Scope
from monitor.domain.states import LastNotified, TopicState
from monitor.errors import Reason
from monitor.notify import templates
from monitor.runtime.signals import Signals
from monitor.simulator.presets import DEMO_KEY, demo_world
from monitor.simulator.server import SimulatorServer
from monitor.simulator.state import SimulatedApi
from tests.builders import DAY, HOUR, MINUTE, a_state
from tests.databases import migrated_sqlite
from tests.receiving import ReceiverServer
from tests.waiting import eventually

BROKEN = "threads-17841412345678"
AGEING = "linkedin-Tz9W5i6ZYG"
SHAKY = "instagram-17841412345678"
QUIET = "mastodon-109876543210"

_CONFIG = """\
api: {{base_url: "{api}", requests_per_second: 100}}
accounts:
  - {{name: main, api_key: "{key}", discover: connections}}
connections:
  - {{id: {ageing}, account: main, name: Company page, labels: {{team: social, market: de}}}}
  - {{id: {broken}, account: main, labels: {{team: social}}}}
  - {{id: {quiet}, account: main, labels: {{team: press}}}}
schedule: {{interval: {interval}, recheck: 1s, discovery: 5s}}
receivers:
  - {{name: on-call, type: webhook, url: "{hook}", secret: "{secret}"}}
database: {{url: "sqlite:///{folder}/monitor.db"}}
web: {{listen: "127.0.0.1:0"}}
logging: {{level: warning}}
shutdown: {{drain: 2s}}
"""
_OUTAGES = {
    BROKEN: ((61.3, 26.0), (12.4, 3.5)),
    SHAKY: ((80.1, 2.0), (44.6, 51.0), (43.9, 1.0), (9.2, 7.5)),
    "facebook-104857600123": ((30.5, 9.0),),
}
"""Connection to its outages of the past: how many days ago, and for how many hours."""

_UNTESTABLE = ("bluesky-did:plc:ewvi7nxzyoun6zhxrhs64oiz", "pinterest-abc123", "telegram-1234567890")


@dataclass
class RunningDaemon:
    """A running daemon and the world around it."""

    app: App
    world: SimulatedApi
    receiver: ReceiverServer
    config: Config

    @property
    def url(self) -> str:
        """The address of the status page."""
        return self.app.url

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the pages."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0

    def health(self, platform_id: str) -> Health:
        """What the daemon believes of a connection."""
        return next(view.state.health for view in self.app.snapshot().connections if view.connection.platform_id == platform_id)

    async def until(self, platform_id: str, health: Health) -> None:
        """Wait until the daemon believes this of a connection."""
        await eventually(lambda: self.health(platform_id) is health, what=f"{platform_id} is {health}")


@asynccontextmanager
async def running_daemon(
    folder: Path, *, interval: str = "2s", past: timedelta = timedelta(0), prepare: Callable[[SimulatedApi], None] = lambda _: None
) -> AsyncIterator[RunningDaemon]:
    """The daemon with the connections of the demo, changed by *prepare*; *past* is how much history there is before it starts."""
    clock = SystemClock()
    world = demo_world(clock)
    prepare(world)
    simulator = SimulatorServer(world)
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    receiver = ReceiverServer(secret, clock=clock, on_event=lambda _: None)
    path = folder / "config.yaml"
    path.touch(mode=0o600)
    migrated_sqlite(folder / "monitor.db")
    try:
        api, hook = await simulator.start(), await receiver.start()
        names = {"ageing": AGEING, "broken": BROKEN, "quiet": QUIET, "interval": interval}
        path.write_text(_CONFIG.format(api=api, hook=hook, secret=secret, key=DEMO_KEY, folder=folder, **names))
        config = load(path, check_template=templates.problems)
        if past:
            testable = [one for one in world.accounts["main"].owner.connections if one not in _UNTESTABLE]
            await write_past(config.database.url.reveal(), clock, testable, past)
        signals = Signals()
        app = App(config, clock=clock, signals=signals, reread=lambda: config)
        running = asyncio.create_task(app.run())
        try:
            await eventually(lambda: app.ready.is_set() or running.done(), what="the daemon is ready")
            await eventually(lambda: len(app.snapshot().connections) == len(world.accounts["main"].owner.connections))
            yield RunningDaemon(app, world, receiver, config)
        finally:
            signals.request_stop()
            await running
    finally:
        await receiver.close()
        await simulator.close()


async def write_past(url: str, clock: Clock, platform_ids: list[str], past: timedelta) -> None:
    """Write the history of these connections of the account `main` until now."""
    database = Database(url, clock=clock, owner="the past")
    await database.start()
    try:
        now = clock.now()
        for platform_id in platform_ids:
            await database.write(lambda store, one=platform_id: _write(store, one, now, past))  # type: ignore[misc]
    finally:
        await database.close()


def _write(store: Store, platform_id: str, now: datetime, past: timedelta) -> None:
    platform = platform_id.partition("-")[0]
    connection_id = store.ensure_connections([ConnectionSpec("main", "", platform_id, platform, listed=True)])["main", "", platform_id]
    outages = [(now - days * DAY, now - days * DAY + hours * HOUR) for days, hours in _OUTAGES.get(platform_id, ()) if days * DAY < past]
    # The same past every time, so that a screenshot changes only when the page does.
    dice = random.Random(platform_id)
    store.record_checks(list(_checks(connection_id, outages, now, past, dice)))
    _believe(store, connection_id, outages, now, past)
    for number, (opened_at, closed_at) in enumerate(outages, start=1):
        incident = IncidentRef(Topic.CONNECTION, str(connection_id), number, opened_at)
        words = (Severity.CRITICAL, Reason.CREDENTIAL_REJECTED, "Error validating access token: Session has expired")
        store.apply_transitions([Transition(incident, Scope.CONNECTION, connection_id, "error", opened_at, *words)])
        store.apply_transitions([Transition(incident, Scope.CONNECTION, connection_id, FINE, closed_at, *words, closed_why="recovered")])


def _believe(store: Store, connection_id: int, outages: list[tuple[datetime, datetime]], now: datetime, past: timedelta) -> None:
    """What the daemon would remember at the end of this past: the connection works, and had so many incidents."""
    since = max((closed_at for _, closed_at in outages), default=now - past)
    last = TopicState(since=since, number=len(outages), notified=LastNotified(number=len(outages), at=since))
    topics = {Topic.CONNECTION: last} if outages else {}
    at = now - 15 * MINUTE
    state = a_state(since=since, last_check_at=at, last_evidence_at=at, last_passed_at=at, topics=topics)
    store.save_states({connection_id: (0, state)})


def _checks(
    connection_id: int, outages: list[tuple[datetime, datetime]], now: datetime, past: timedelta, dice: random.Random
) -> Iterator[CheckRow]:
    at = now - past
    usual = dice.randint(60, 400)
    while at < now - MINUTE:
        down = any(opened_at <= at < closed_at for opened_at, closed_at in outages)
        took = round(usual * dice.lognormvariate(0, 0.25) * (6 if dice.random() < 0.03 else 1))
        reason = Reason.CREDENTIAL_REJECTED if down else Reason.OK
        yield CheckRow(connection_id, at, reason, took, 200, detail="Error validating access token: Session has expired" if down else "")
        at += 15 * MINUTE if now - at < 3 * DAY else 30 * MINUTE
