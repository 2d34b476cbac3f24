"""Who is told what, from the check to the row of the outbox, by the routes of a configuration file."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from monitor.clock import SystemClock
from monitor.db import list_deliveries, list_incidents, list_notifications
from monitor.domain.connections import Connection
from monitor.domain.routes import Route
from monitor.errors import Reason
from monitor.text.notification_history import topic_lines
from monitor.text.report import ConnectionReport, NotificationRecord
from monitor.text.sentences import sentence
from monitor.text.status import overall_of
from monitor.workers.evaluator import Evaluator
from tests import marked
from tests.builders import SECOND, a_reply
from tests.watched import Watched, watched

OK, BAD, MISSING = Reason.OK, Reason.CREDENTIAL_REJECTED, Reason.CONNECTION_MISSING
MINUTE = timedelta(minutes=1)

CONFIG = """\
monitor: {{instance: here}}
accounts:
  - {{name: main, api_key: {key}, discover: "off"}}
  - {{name: second, api_key: {second}, discover: "off"}}
connections:
  - {{id: linkedin-page1, labels: {{team: social}}}}
  - linkedin-page2
  - threads-1
  - {{id: linkedin-page1, account: second}}
policy: {{flap: {{changes: 100}}, scopes: {{sweep: 1s}}}}
receivers:
  - {{name: pager, url: "http://127.0.0.1:9/{hook}/a", send_resolved: false}}
  - {{name: social, url: "http://127.0.0.1:9/{hook}/b"}}
  - {{name: agency, url: "http://127.0.0.1:9/{hook}/c"}}
  - {{name: meta, url: "http://127.0.0.1:9/{hook}/d"}}
  - {{name: desk, url: "http://127.0.0.1:9/{hook}/e"}}
routes:
  - {{match: {{account: second}}, receivers: [agency]}}
  - {{match: {{team: "social|sales"}}, receivers: [social, pager]}}
  - {{match: {{platform: threads}}, receivers: [meta]}}
  - {{match: {{severity: critical}}, receivers: [pager]}}
  - {{receivers: [desk]}}
database: {{url: "{url}"}}
"""


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[Watched]:
    """Four connections of two accounts, nothing known yet."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(url=database_url, key=marked.API_KEY, second=marked.SECOND_API_KEY, hook=marked.PATH))
    async with watched(path) as found:
        yield found


async def owed(world: Watched) -> list[tuple[str, str]]:
    """Type and receiver of everything in the outbox, oldest first."""
    rows = await world.database.read(list_deliveries)
    return [(row.type.value, row.receiver) for row in rows[::-1]]


@pytest.mark.parametrize(
    ("platform_id", "account", "receivers", "hears_the_end"),
    [
        ("linkedin-page1", "second", ["agency"], ["agency"]),  # by account
        ("linkedin-page1", "main", ["pager", "social"], ["social"]),  # by label; the pager does not hear of ends
        ("threads-1", "main", ["meta"], ["meta"]),  # by platform
        ("linkedin-page2", "main", ["pager"], []),  # by severity
    ],
)
async def test_failures_and_recoveries(
    world: Watched, platform_id: str, account: str, receivers: list[str], hears_the_end: list[str]
) -> None:
    """The first route that matches names who hears of a failure; exactly they hear of its end, if they want to."""
    await world.checks(world.connection(platform_id, account), [OK, BAD, BAD, OK, OK], 20 * MINUTE, MINUTE)
    expected = [("connection.failed", name) for name in receivers] + [("connection.recovered", name) for name in hears_the_end]
    assert sorted(await owed(world)) == sorted(expected)


async def test_the_rest(world: Watched) -> None:
    """What is not critical and nobody else's goes to the last route, also when it becomes critical later, and then to both."""
    connection = world.connection("linkedin-page2")
    await world.checks(connection, [OK, *[MISSING] * 12], 40 * MINUTE, MINUTE)
    assert await owed(world) == [("connection.missing", "desk")]
    await world.checks(connection, [BAD, BAD], 20 * MINUTE, MINUTE)
    assert sorted((await owed(world))[1:]) == [("connection.failed", "desk"), ("connection.failed", "pager")]


@pytest.mark.parametrize(("account", "receiver"), [("second", "agency"), ("main", "pager")])
async def test_trouble_of_an_account(world: Watched, account: str, receiver: str) -> None:
    """A refused key is routed by the account that it belongs to."""
    connection = world.connection("linkedin-page1", account)
    await world.checks(connection, [OK, *[Reason.API_UNAUTHORIZED] * 3], 20 * MINUTE, MINUTE)
    assert await owed(world) == [("account.failed", receiver)]


async def test_an_account_that_leaves(world: Watched) -> None:
    """The trouble of an account that left the configuration ends for those who heard of it, and not as a recovery."""
    connection = world.connection("linkedin-page1", "second")
    await world.checks(connection, [OK, Reason.API_UNAUTHORIZED, Reason.API_UNAUTHORIZED], 20 * MINUTE, MINUTE)
    world.fleet.config = replace(world.fleet.config, accounts=("main",))
    evaluator = Evaluator(registry=world.fleet, database=world.database, clock=SystemClock())
    with capture_logs() as logged:
        while await evaluator.step():
            pass
    assert await owed(world) == [("account.failed", "agency"), ("account.closed", "agency")]
    decided = [event for event in logged if event["event"] == "notification.decided"]
    assert [(event["type"], event["subject"]) for event in decided] == [("account.closed", "account:second")]
    (told, *_) = await world.database.read(list_notifications)
    assert sentence(told.notification, None) == "The account second is no longer watched: it was removed from the configuration."
    (incident,) = await world.database.read(list_incidents)
    assert incident.closed_why == "removed"


async def test_name_of_the_api(world: Watched) -> None:
    """A route takes a name that the API gives a connection, from when it is known; its key stays, and a name that two have is neither's."""
    config = world.fleet.config
    routes = (Route({"connection": "Company page", "severity": "*"}, ("meta",)), Route({}, ("desk",)))
    world.fleet.use_config(replace(config, policy=replace(config.policy, routes=routes)))
    page, other = world.connection("linkedin-page2"), world.connection("threads-1")

    async def check(one: Connection, reason: Reason, ago: timedelta) -> None:
        reply = a_reply(passed=reason is OK, platform=one.platform, platform_id=one.platform_id, username="Company page")
        await world.check(one, reason, ago, reply)
        world.fleet.beat()

    await check(page, OK, 60 * MINUTE)
    assert world.fleet.config.routes[0].match["connection"] == "linkedin-page2"
    assert world.fleet.config.routes[0].key == "connection=Company page severity=*"
    assert world.fleet.unmatched == ()
    await check(page, BAD, 40 * MINUTE)
    await check(page, BAD, 39 * MINUTE)
    assert await owed(world) == [("connection.failed", "meta")]
    with capture_logs() as logged:
        await check(other, OK, 30 * MINUTE)
    (warning,) = [event for event in logged if event["event"] == "matcher.unmatched"]
    assert warning["pattern"] == "Company page"
    assert "did you mean linkedin-page2|threads-1?" in warning["advice"]
    await check(other, BAD, 20 * MINUTE)
    await check(other, BAD, 19 * MINUTE)
    assert (await owed(world))[1:] == [("connection.failed", "desk")]


async def test_unrouted(world: Watched) -> None:
    """What no route matches is counted, logged and shown, and is nowhere said to be notified."""
    counted: list[None] = []
    world.fleet.on_unrouted = lambda: counted.append(None)
    route = Route({"severity": "warning", "team": "social|sales"}, ("desk",))
    routes, config = (route, Route({"team": "sales"}, ("desk",)), Route({"connection": "a name of the API"}, ("desk",))), world.fleet.config
    world.fleet.config = replace(config, policy=replace(config.policy, routes=routes))
    connection = world.connection("linkedin-page2")
    with capture_logs() as logged:
        await world.checks(connection, [OK, BAD, BAD], 20 * MINUTE, MINUTE)
        reply = a_reply(platform_id="linkedin-page2", username="A name of the API")
        await world.check(connection, OK, SECOND, reply)
        world.fleet.find_unmatched()
    snapshot = world.fleet.snapshot(world.now)
    assert (len(counted), snapshot.unrouted) == (1, 1)
    assert [("config.yaml:" in one.where, one.name) for one in snapshot.unmatched] == [(True, "team"), (True, "connection")]
    assert [one.meant for one in snapshot.unmatched] == ["", "linkedin-page2"]
    overall = overall_of(snapshot, Counter(), urgent=False)
    assert "1 notification reached no receiver: no route matches." in f"{overall.text} {overall.more}"
    (unrouted,) = [event for event in logged if event["event"] == "notification.unrouted"]
    assert (unrouted["account"], unrouted["connection"]) == ("main", "linkedin-page2")
    assert "matcher.unmatched" in {event["event"] for event in logged}
    (row,) = await world.database.read(list_notifications)
    record = NotificationRecord(row.webhook_id, row.incident_key, row.notification)
    report = ConnectionReport(connection, world.fleet.state(connection.id), notifications=(record,), instance="here")
    lines = "\n".join(topic_lines(report, world.now, world.fleet.config.policy))
    assert "but no receiver has it" in lines
    assert "No receiver has the latest notification" in lines
    assert "Last notified" not in lines
    assert "up to date" not in lines
