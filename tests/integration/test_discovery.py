"""What the API's lists bring and lose, by a virtual clock: belief comes slowly, and a fault of the list deletes nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from monitor.config import ConnectionSettings, Secret, UserSettings
from monitor.config.sections.core import ConnectionMatch
from monitor.db import list_deliveries, read_connections
from monitor.domain.connections import ConnectionSpec
from monitor.domain.events import Severity, Topic
from monitor.domain.expiry.model import Rounding
from monitor.domain.reasons import Health
from monitor.domain.replies.listings import ListedConnection, Listing, is_same_listing
from monitor.domain.views.status import DisplayStatus
from monitor.metrics import Metrics
from monitor.simulator import faults
from monitor.simulator import state as simulated
from monitor.simulator.presets import connection_like
from monitor.simulator.state import SimulatedApi
from monitor.state import connection_sync
from monitor.state.registry import Registry
from monitor.state.unit_of_work import notify_inventory
from monitor.text.status import overall_of
from tests import marked
from tests.builders import DAY, HOUR, MINUTE, START
from tests.clock import FakeClock
from tests.integration.test_timelines import ids
from tests.sampling import sampled
from tests.virtual import Virtual, add_user, monitoring, simple_world, with_account

USER, OTHER = "a" * 24, "b" * 24
LOST = ("list:main", "inventory.changed")
SLOW = {"interval": 30 * MINUTE, "discovery": HOUR}


@asynccontextmanager
async def watching(
    tmp_path: Path, world: SimulatedApi, clock: FakeClock, discover: str = "connections", **overrides: Any
) -> AsyncIterator[Virtual]:
    """A monitor that discovers what it watches."""
    async with monitoring(tmp_path, world, clock, **({"schedule": SLOW, "beat_seconds": 20.0} | overrides)) as one:
        await one.reload(with_account(one.config, discover=discover))
        yield one


def watched(one: Virtual) -> set[str]:
    """The ids that are watched."""
    return {connection.platform_id for number in one.fleet.ids() if (connection := one.fleet.connection(number)) is not None}


async def test_new(tmp_path: Path) -> None:
    """What the list brings is watched and checked at once."""
    clock = FakeClock()
    world = simple_world(clock, *ids(3))
    async with watching(tmp_path, world, clock) as one:
        await one.run(5 * MINUTE)
        assert watched(one) == set(ids(3))
        world.accounts["main"].owner.connect(connection_like(world, "threads-new"))
        await one.run(62 * MINUTE)
        assert one.state("threads-new").health is Health.OK
        assert await one.told() == []


async def test_vanished(tmp_path: Path) -> None:
    """One that two lists in a row lack is watched no more; what was told of it is closed."""
    clock = FakeClock()
    world = simple_world(clock, *ids(5))
    async with watching(tmp_path, world, clock) as one:
        await one.run(30 * MINUTE)
        one.world.connection(ids(5)[0]).fail()
        await one.run(30 * MINUTE)
        one.world.connection(ids(5)[0]).vanish(only_listing=True)
        await one.run(59 * MINUTE)
        assert watched(one) == set(ids(5))
        await one.run(65 * MINUTE)
        assert watched(one) == set(ids(5)[1:])
        assert [kind for _, kind in await one.told()] == ["connection.failed", "connection.closed"]


@pytest.mark.slow
async def test_short_list(tmp_path: Path) -> None:
    """A list that lost more than half is doubted, told once, and believed at the third; one that comes back is forgotten."""
    clock = FakeClock()
    world = simple_world(clock, *ids(10))
    async with watching(tmp_path, world, clock) as one:
        await one.run(5 * MINUTE)
        for platform_id in ids(10)[:6]:
            one.world.connection(platform_id).vanish(only_listing=True)
        await one.run(2 * HOUR)
        assert len(watched(one)) == 10
        for platform_id in ids(10)[:6]:
            one.world.connection(platform_id).appear()
        await one.run(2 * HOUR)
        assert len(watched(one)) == 10
        assert [kind for _, kind in await one.told()] == ["inventory.changed"]


async def test_empty_list(tmp_path: Path) -> None:
    """An empty list is told at once and believed at the third."""
    clock = FakeClock()
    world = simple_world(clock, *ids(3))
    async with watching(tmp_path, world, clock) as one:
        await one.run(5 * MINUTE)
        for platform_id in ids(3):
            one.world.connection(platform_id).vanish(only_listing=True)
        await one.run(2 * HOUR)
        assert len(watched(one)) == 3
        await one.run(HOUR + 5 * MINUTE)
        assert watched(one) == set()
        assert [kind for _, kind in await one.told()] == ["inventory.changed", "inventory.changed"], "doubted, then removed"


@pytest.mark.parametrize(
    "body", sampled([{"connections": [None, {}]}, {"success": True}, {"connections": None}, {"connections": {}}, "<html>"])
)
async def test_malformed_list(tmp_path: Path, body: Any) -> None:
    """A list that is not of the documented form, or whose rows are not, never means that there are no connections."""
    clock = FakeClock()
    world = simple_world(clock, *ids(3))
    async with watching(tmp_path, world, clock, schedule={"interval": 7 * DAY, "discovery": HOUR}) as one:
        await one.run(30 * MINUTE)
        for _ in range(4):
            world.accounts["main"].owner.script.play(faults.answer(200, body).only(1))
            await one.run(61 * MINUTE)
            assert not world.accounts["main"].owner.script.steps
        assert watched(one) == set(ids(3))
        assert await one.told() == []


async def test_workspace(tmp_path: Path) -> None:
    """Managed users' connections are watched; the same id under two users is two connections."""
    clock = FakeClock()
    world = simple_world(clock, "linkedin-own")
    add_user(world, USER, "linkedin-shared", "threads-1")
    add_user(world, OTHER, "linkedin-shared")
    async with watching(tmp_path, world, clock, "workspace") as one:
        await one.run(40 * MINUTE)
        assert len(one.fleet.ids()) == 4
        world.accounts["main"].users[USER].connections["linkedin-shared"].fail()
        await one.run(40 * MINUTE)
        assert one.state("linkedin-shared", USER).health is Health.ERROR
        assert one.state("linkedin-shared", OTHER).health is Health.OK
        assert await one.told() == [("linkedin-shared", "connection.failed")]


@pytest.mark.slow
async def test_failed_list(tmp_path: Path) -> None:
    """Vector 55: a list that fails for half a day, while tests are answered, changes nothing of what is watched, and is no outage."""
    clock = FakeClock()
    world = simple_world(clock, *ids(3))
    async with watching(tmp_path, world, clock) as one:
        await one.run(30 * MINUTE)
        for _ in range(4):
            world.accounts["main"].owner.script.play(faults.answer(500, {"error": "Failed to fetch platform connections"}).only(1))
            await one.run(HOUR)
        assert watched(one) == set(ids(3))
        assert await one.told() == []


@pytest.mark.slow
async def test_workspace_refused(tmp_path: Path) -> None:
    """Vector 118: an account without workspaces is told so once; its own connections are watched as ever, what breaks is told."""
    clock = FakeClock()
    world = simple_world(clock, *ids(3))
    world.accounts["main"].workspaces = False
    async with watching(tmp_path, world, clock, "workspace") as one:
        await one.run(6 * HOUR)
        assert watched(one) == set(ids(3))
        assert [kind for _, kind in await one.told()] == ["account.failed"]
        world.connection("linkedin-page2").fail()
        await one.run(HOUR)
        assert [kind for _, kind in await one.told()] == ["account.failed", "connection.failed"]
        world.accounts["main"].workspaces = True
        await one.run(3 * HOUR)
        assert [kind for _, kind in await one.told()] == ["account.failed", "connection.failed", "account.recovered"]


@pytest.mark.slow
async def test_unread_user(tmp_path: Path) -> None:
    """A row of the list of users that cannot be read may be the one that lacks: nobody is lost for it, as often as it comes."""
    clock = FakeClock()
    world = simple_world(clock, "linkedin-x3")
    add_user(world, USER, "linkedin-x1")
    add_user(world, OTHER, "linkedin-x2")
    async with watching(tmp_path, world, clock, "workspace", schedule={"interval": 7 * DAY, "discovery": HOUR}) as one:
        await one.run(30 * MINUTE)
        for _ in range(4):
            world.accounts["main"].script.play(faults.answer(200, {"users": [{"_id": OTHER}, {"_id": 7}]}).only(1))
            await one.run(61 * MINUTE)
            assert not world.accounts["main"].script.steps
        assert one.tests(2000) == [], "a test would have had the answer that was meant for the list"
        assert watched(one) == {"linkedin-x3", "linkedin-x1", "linkedin-x2"}


@pytest.mark.slow
async def test_inactive_user(tmp_path: Path) -> None:
    """A user whom the API calls inactive is left out, and that is said once, by name of the id; back again, they are watched again."""
    clock = FakeClock()
    world = simple_world(clock, "linkedin-x3")
    add_user(world, USER, "linkedin-x1")
    add_user(world, OTHER, "linkedin-x2")
    idle = faults.answer(200, {"users": [{"_id": USER, "isActive": False}, {"_id": OTHER, "isActive": True}]}).only(1)
    async with watching(tmp_path, world, clock, "workspace", schedule={"interval": 7 * DAY, "discovery": HOUR}) as one:
        await one.run(30 * MINUTE)
        with capture_logs() as logs:
            for _ in range(4):
                world.accounts["main"].script.play(idle)
                await one.run(61 * MINUTE)
        assert one.tests(2000) == [], "a test would have had the answer that was meant for the list"
        said = [entry for entry in logs if entry["event"] == "users.skipped"]
        assert [entry["ids"] for entry in said] == [(USER,)]
        assert watched(one) == {"linkedin-x3", "linkedin-x2"}
        await one.run(61 * MINUTE)
        assert watched(one) == {"linkedin-x3", "linkedin-x1", "linkedin-x2"}


@pytest.mark.slow
async def test_lost_user(tmp_path: Path) -> None:
    """A user who is detached: refused first, told once; when the list of users lacks them for good, all of it is closed."""
    clock = FakeClock()
    world = simple_world(clock, "linkedin-own")
    add_user(world, USER, "linkedin-a", "threads-a")
    add_user(world, OTHER, "linkedin-b")
    async with watching(tmp_path, world, clock, "workspace") as one:
        await one.run(40 * MINUTE)
        world.accounts["main"].users[USER].attached = False
        await one.run(5 * HOUR)
        assert watched(one) == {"linkedin-own", "linkedin-b"}
        told = await one.told()
        assert told == [(f"user:main/{USER}", "account.failed"), (f"user:main/{USER}", "account.closed"), LOST]
        rows = await one.database.read(lambda reader: list_deliveries(reader, limit=10))
        closed = next(row.notification for row in rows if row.notification.type == "account.closed")
        assert closed.facts.closed_why == "removed", "it was detached, nothing works again"
        await one.run(3 * HOUR)
        assert len(await one.told()) == 3


@pytest.mark.slow
async def test_lost_users_together(tmp_path: Path) -> None:
    """Users who are all detached together are one incident of the workspace, which ends when their list lacks them for good."""
    clock = FakeClock()
    world = simple_world(clock, "linkedin-own")
    add_user(world, USER, "linkedin-a", "threads-a")
    add_user(world, OTHER, "linkedin-b")
    async with watching(tmp_path, world, clock, "workspace") as one:
        await one.run(40 * MINUTE)
        for user_id in (USER, OTHER):
            world.accounts["main"].users[user_id].attached = False
        await one.run(6 * HOUR)
        assert watched(one) == {"linkedin-own"}
        assert await one.told() == [("user:main", "account.failed"), ("user:main", "account.closed")]


@pytest.mark.slow
async def test_users_vanish_at_once(tmp_path: Path) -> None:
    """A list of users that shrinks to nothing is doubted, told, and believed only when it lasts, however often lists are read."""
    clock = FakeClock()
    world = simple_world(clock, "linkedin-own")
    users = [f"{number:024x}" for number in range(0xA01, 0xA0D)]
    for number, user_id in enumerate(users):
        add_user(world, user_id, f"linkedin-u{number}")
    often = {"interval": HOUR, "discovery": MINUTE}
    async with watching(tmp_path, world, clock, "workspace", schedule=often) as one:
        await one.run(10 * MINUTE)
        assert watched(one) == {"linkedin-own", *(f"linkedin-u{number}" for number in range(12))}
        world.accounts["main"].users[users[0]].connections["linkedin-u0"].fail()
        await one.until(lambda: one.state("linkedin-u0", users[0]).health is Health.ERROR, within=2 * HOUR)
        for user_id in users:
            world.accounts["main"].users[user_id].attached = False
        await one.run(30 * MINUTE)
        assert len(watched(one)) == 13
        assert ("list:main", "inventory.changed") in await one.told()
        assert "connection.recovered" not in [kind for _, kind in await one.told()]


@pytest.mark.slow
async def test_owner_as_managed_user(tmp_path: Path) -> None:
    """An owner who is one of his managed users has each connection once: those watched twice are removed, what breaks is told once."""
    clock = FakeClock()
    world = simple_world(clock, "linkedin-own", "threads-own")
    account = world.accounts["main"]
    add_user(world, OTHER, "linkedin-b")
    async with watching(tmp_path, world, clock, "workspace") as one:
        await one.run(5 * MINUTE)
        add_user(world, USER).connections = account.owner.connections
        doubled = [("main", USER, platform_id) for platform_id in account.owner.connections]
        await connection_sync.sync(one.database, one.fleet, one.config, appeared=doubled)
        assert len(one.fleet.ids()) == 5
        with capture_logs() as logs:
            await one.run(3 * HOUR)
        assert len(one.fleet.ids()) == 3
        assert await one.told() == [(f"list:main/{USER}", "inventory.changed")]
        assert [entry["user"] for entry in logs if entry["event"] == "users.owner_listed"] == [USER]
        account.owner.connections["linkedin-own"].fail()
        await one.run(2 * HOUR)
        assert (await one.told())[1:] == [("linkedin-own", "connection.failed")]


def test_the_same_listing() -> None:
    """Two listings are of one user when their rows are the same and a date shows that it is no chance."""
    dated = ListedConnection("linkedin-a", token_expires_at=START)
    undated = ListedConnection("twitter-1")
    one = Listing((dated, undated))
    assert is_same_listing(one, Listing((undated, dated)))
    assert not is_same_listing(one, Listing((dated,)))
    assert not is_same_listing(one, Listing((undated, replace(dated, token_expires_at=START + DAY))))
    assert not is_same_listing(Listing((undated,)), Listing((undated,)))
    assert not is_same_listing(Listing(()), Listing(()))


async def test_publishing_and_expiry_from_the_list(tmp_path: Path) -> None:
    """What cannot be tested is judged by its row: posts that fail are told."""
    clock = FakeClock()
    world = simple_world(clock, "bluesky-did:plc:abc", "linkedin-a")
    async with watching(tmp_path, world, clock) as one:
        await one.run(40 * MINUTE)
        world.connection("bluesky-did:plc:abc").post_failed()
        await one.run(2 * HOUR)
        assert one.state("bluesky-did:plc:abc").health is Health.UNSUPPORTED
        assert await one.told() == [("bluesky-did:plc:abc", "publishing.failing")]
        assert one.state("bluesky-did:plc:abc").topic(Topic.PUBLISHING).level == "failing"


@pytest.mark.parametrize(
    ("mode", "learned"),
    sampled([(simulated.SimulatedRounding.FLOOR, Rounding.FLOOR), (simulated.SimulatedRounding.NEAREST, Rounding.ROUND)]),
)
async def test_rounding(tmp_path: Path, mode: simulated.SimulatedRounding, learned: Rounding) -> None:
    """Lists that carry text and date teach how the API rounds; that is known after a restart, and narrows what texts tell."""
    clock = FakeClock()
    names = ids(12)
    world = simple_world(clock, *names)
    for number, name in enumerate(names):
        world.connection(name).ends_at = world.clock.now() + 20 * DAY + number * timedelta(minutes=5) + timedelta(minutes=2)
    world.rounding = mode
    async with watching(tmp_path, world, clock) as one:
        await one.run(MINUTE)
        assert one.fleet.rounding_evidence.mode is learned
        await one.stop()
        await one.start()
        assert one.fleet.rounding_evidence.mode is learned
        await one.run(3 * HOUR)
        for name in names:
            belief = one.state(name).token
            assert belief.rounding is learned
            ends_at = world.connection(name).ends_at
            assert ends_at is not None
            assert (belief.earliest_at or ends_at + DAY) <= ends_at <= (belief.latest_at or ends_at - DAY)


async def test_no_connections_and_a_bad_key(tmp_path: Path) -> None:
    """With nothing to check yet the list alone tells that the key is refused, and that it works again."""
    clock = FakeClock()
    world = simple_world(clock)
    world.accounts["main"].revoke()
    async with watching(tmp_path, world, clock) as one:
        await one.run(2 * HOUR)
        assert await one.told() == [("account:main", "account.failed")]
        assert len(one.server.journal.asked()) <= 30
        world.accounts["main"].restore()
        await one.run(6 * MINUTE)
        assert await one.told() == [("account:main", "account.failed"), ("account:main", "account.recovered")]


async def test_unreachable_from_the_start(tmp_path: Path) -> None:
    """With nothing to check yet an API that is down is told within minutes all the same."""
    clock = FakeClock()
    world = simple_world(clock)
    world.script.play(faults.gateway_page())
    async with watching(tmp_path, world, clock, beat_seconds=1.0) as one:
        await one.run(13 * MINUTE)
        assert [kind for _, kind in await one.told()] == ["api.failed"]
        world.script.play()
        await one.run(5 * MINUTE)
        assert [kind for _, kind in await one.told()] == ["api.failed", "api.recovered"]


@pytest.mark.slow
async def test_account_that_left(tmp_path: Path) -> None:
    """An account that leaves the configuration while it is refused takes its incident along."""
    clock = FakeClock()
    world = simple_world(clock, *ids(2))
    world.add_account("other", marked.SECOND_API_KEY).owner.connect(connection_like(world, "threads-x"))
    async with monitoring(tmp_path, world, clock, *ids(2), beat_seconds=10.0) as one:
        main = one.config.accounts[0]
        other = main.model_copy(update={"name": "other", "api_key": Secret(marked.SECOND_API_KEY), "discover": "connections"})
        both = one.config.model_copy(update={"accounts": (main, other)})
        await one.reload(both)
        await one.run(20 * MINUTE)
        world.accounts["other"].revoke()
        await one.run(40 * MINUTE)
        assert await one.told() == [("account:other", "account.failed")]
        await one.reload(one.config.model_copy(update={"accounts": (main,)}))
        await one.run(26 * HOUR)
        assert await one.told() == [("account:other", "account.failed"), ("account:other", "account.closed")]


async def test_selectors(tmp_path: Path) -> None:
    """Entries and names of users apply to what is discovered; a reload applies others to known connections, whose state stays."""
    clock = FakeClock()
    world = simple_world(clock, "linkedin-own")
    add_user(world, USER, "linkedin-1", "threads-1")
    everything = ConnectionSettings(match=ConnectionMatch(), interval=20 * MINUTE)
    of_user = ConnectionSettings(match=ConnectionMatch(user_id="Acme", id="linkedin-*"), labels={"network": "b"}, interval=10 * MINUTE)
    users = (UserSettings(id=USER, name="Acme", labels={"customer": "acme"}),)
    async with watching(tmp_path, world, clock, "workspace", connections=(everything, of_user), users=users) as one:
        await one.run(40 * MINUTE)

        def spec(platform_id: str) -> ConnectionSpec:
            return next(each.spec for each in one.fleet.connections_of("main") if each.platform_id == platform_id)

        page = spec("linkedin-1")
        assert (page.account_label, page.labels, page.interval) == ("main/Acme", {"customer": "acme", "network": "b"}, 10 * MINUTE)
        assert (spec("threads-1").labels, spec("threads-1").interval) == ({"customer": "acme"}, 20 * MINUTE)
        assert (spec("linkedin-own").labels, spec("linkedin-own").user_name) == ({}, None)
        assert await one.database.read(read_connections) == one.fleet.connections_of("main")
        world.accounts["main"].users[USER].connections["linkedin-1"].fail()
        await one.run(30 * MINUTE)
        state = one.state("linkedin-1", USER)
        assert state.health is Health.ERROR
        await one.reload(one.config.model_copy(update={"connections": (), "users": ()}))
        assert spec("linkedin-1") == ConnectionSpec("main", USER, "linkedin-1", "linkedin", interval=30 * MINUTE, listed=True)
        assert one.state("linkedin-1", USER).topics == state.topics
        assert [kind for _, kind in await one.told()] == ["connection.failed"]


async def test_too_many_checks(tmp_path: Path) -> None:
    """More checks than the account may send are logged once, and shown, until longer intervals apply."""
    clock = FakeClock()
    world = simple_world(clock, *ids(5))
    with capture_logs() as logs:
        async with watching(tmp_path, world, clock, schedule={"interval": 30 * MINUTE, "discovery": HOUR}) as one:
            await one.run(2 * MINUTE)
            slow = one.config.api.model_copy(update={"requests_per_second": 0.002})
            for _ in range(2):
                await one.reload(one.config.model_copy(update={"api": slow}))
            (warning,) = (entry for entry in logs if entry["event"] == "account.overloaded")
            assert (warning["account"], warning["advice"]) == ("main", "Use longer intervals: 46m for all of them would fit.")
            assert (
                "46m for all of them would fit"
                in overall_of(one.fleet.snapshot(clock.now()), dict.fromkeys(DisplayStatus, 0), urgent=False).more
            )
            rare = one.config.schedule.model_copy(update={"interval": 46 * MINUTE})
            await one.reload(one.config.model_copy(update={"schedule": rare}))
            assert not [load for load in one.fleet.loads if load.too_many]


async def test_selector_without_a_match(tmp_path: Path) -> None:
    """A selector that matches nothing known is warned of once everything is discovered, with its place."""
    clock = FakeClock()
    selector = ConnectionSettings(match=ConnectionMatch(id="threads-*")).placed("config.yaml:7")
    async with watching(tmp_path, simple_world(clock, *ids(2, "linkedin")), clock, connections=(selector,)) as one:
        await one.run(5 * MINUTE)
        assert [(each.where, each.name, each.pattern) for each in one.fleet.unmatched] == [
            ("connections (config.yaml:7)", "connection", "threads-*")
        ]


async def test_loss_is_an_alert_for_an_hour(tmp_path: Path) -> None:
    """A lost user is exported as the alert of the rules, also after a restart, until an hour has passed; a mere remark is not."""
    clock = FakeClock()
    async with watching(tmp_path, simple_world(clock, "linkedin-own"), clock, "workspace") as one:
        for account, severity in (("main", Severity.WARNING), ("other", Severity.INFO)):
            work = partial(notify_inventory, one.fleet, account, "", "gone", affected=1, severity=severity)
            await one.database.write(work)
        restarted = Registry(one.fleet.config, clock)
        await one.database.read(restarted.load)
        for registry in (one.fleet, restarted):
            (notice,) = registry.snapshot(clock.now()).notices
            text = Metrics().render(registry.snapshot(clock.now()), clock.now()).decode()
            (line,) = [line for line in text.splitlines() if line.startswith("postpost_incident_notified{")]
            assert all(label in line for label in ('kind="list"', 'level="changed"', 'severity="warning"', 'account="main"'))
            assert registry.snapshot(notice.at + HOUR).notices == ()
