"""
A database as a monitor that has run for a while leaves it, for tests of what is read from it.

Everything goes through `monitor.state.unit_of_work`, as in the running program: checks in, rows out. All of it lies in the past,
for the command line reads the real clock.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from monitor.clock import Clock, SystemClock
from monitor.config import Config, load
from monitor.db import Database
from monitor.domain.connections import Connection
from monitor.domain.replies.checks import Observation, Reply, Verdict
from monitor.errors import Reason
from monitor.notify import templates
from monitor.state import connection_sync
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from monitor.state.unit_of_work import unit_of_work
from tests import marked
from tests.builders import a_reply
from tests.story import core_reply

CONFIG = """\
monitor: {{instance: here}}
api: {{base_url: "{api}"}}
accounts:
  - {{name: main, api_key: {key}, discover: "off"}}
  - {{name: second, api_key: {second}, discover: "off"}}
connections:
  - {{id: linkedin-page1, name: Company page, labels: {{team: social}}}}
  - {{id: threads-1784, labels: {{team: growth}}}}
  - facebook-104857
  - {{id: telegram-42, name: Channel}}
  - {{id: linkedin-page1, account: second}}
receivers:
  - {{name: on-call, url: "{hook}"}}
  - {{name: desk, url: "{hook}"}}
routes:
  - {{match: {{severity: critical}}, receivers: [on-call]}}
  - {{receivers: [desk]}}
# Between two checks of one connection nothing looks at the others.
policy: {{scopes: {{sweep: 1s}}}}
database: {{url: "{url}"}}
"""


@dataclass(slots=True)
class Watched:
    """An open database, the fleet over it, and the time at which its story ends."""

    config: Config
    database: Database
    fleet: Registry
    now: datetime

    def connection(self, platform_id: str, account: str = "main") -> Connection:
        """One of the connections of the configuration."""
        found = self.fleet.find((account, "", platform_id))
        assert found is not None
        return found

    async def check(self, connection: Connection, reason: Reason, ago: timedelta, reply: Reply | None = None, detail: str = "") -> None:
        """One check that ended *ago* before now."""
        at = self.now - ago
        if reply is None and core_reply(reason):
            reply = a_reply(passed=reason is Reason.OK, platform=connection.platform, platform_id=connection.platform_id, permissions=())
        observation = Observation(connection.id, at - timedelta(milliseconds=120), at, Verdict(reason, detail), reply, http_status=200)
        await self.database.write(lambda store: unit_of_work(self.fleet, store).record_check(observation))

    async def checks(self, connection: Connection, reasons: Sequence[Reason], first: timedelta, every: timedelta, detail: str = "") -> None:
        """One check after the other, the first one *first* before now."""
        for number, reason in enumerate(reasons):
            await self.check(connection, reason, first - number * every, detail=detail)


def write_config(
    folder: Path, url: str, *, api: str = "http://127.0.0.1:9/api/v1", hook: str = f"http://127.0.0.1:9/{marked.PATH}"
) -> Path:
    """A configuration file for the database at *url*."""
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(api=api, hook=hook, url=url, key=marked.API_KEY, second=marked.SECOND_API_KEY))
    return path


@asynccontextmanager
async def watched(path: Path, clock: Clock | None = None) -> AsyncIterator[Watched]:
    """The database of the configuration at *path*, its connections known, held as a running monitor holds it."""
    config = load(path, check_template=templates.problems)
    clock = clock or SystemClock()
    database = Database(config.database.url.reveal(), clock=clock, owner="test")
    await database.start()
    try:
        fleet = Registry(EvaluationConfig.from_config(config, database.instance_id), clock)
        await database.read(fleet.load)
        await connection_sync.sync(database, fleet, config)
        yield Watched(config, database, fleet, clock.now())
    finally:
        await database.close()


async def tell_a_story(world: Watched) -> None:
    """A page that broke, one that works, one whose token nears its end, one that can't be tested, one never checked."""
    minute = timedelta(minutes=1)
    page, threads, facebook, telegram = (
        world.connection(name) for name in ("linkedin-page1", "threads-1784", "facebook-104857", "telegram-42")
    )
    await world.checks(threads, [Reason.OK] * 4, 40 * minute, 10 * minute)
    await world.checks(facebook, [Reason.OK] * 2, 31 * minute, 15 * minute)
    await world.check(facebook, Reason.API_TIMEOUT, minute)
    await world.checks(page, [Reason.OK] * 3, 60 * minute, 15 * minute)
    await world.checks(page, [Reason.CREDENTIAL_REJECTED] * 2, 12 * minute, minute, "Session has expired")
    await world.check(telegram, Reason.VALIDATOR_LACKS_MTPROTO, 5 * minute)
