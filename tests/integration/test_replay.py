"""Lives of the working parts, by a virtual clock and in a real database, lived through again from their stored checks."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from monitor.cli.replay_history import ReplayResult, replay_history
from monitor.config import Config, DatabaseSettings, ScheduleSettings, Secret
from monitor.config.sections.policy import ConfirmSettings, ExpirySettings, PolicySettings
from monitor.domain.projections.replay import Change, ReplayEvent, compare
from monitor.simulator import faults
from tests.builders import DAY, HOUR, MINUTE
from tests.clock import FakeClock
from tests.sampling import sampled
from tests.virtual import Virtual, monitoring, simple_world

PAGES = [f"linkedin-page{number}" for number in range(1, 6)]
CHANNELS = [f"mastodon-{number}" for number in range(1, 7)]

Life = Callable[[Virtual], Awaitable[None]]


def stored(one: Virtual, tmp_path: Path, **changes: object) -> Config:
    """The configuration of *one* with its database."""
    return one.config.model_copy(update={"database": DatabaseSettings(url=Secret(f"sqlite:///{tmp_path}/monitor.db")), **changes})


def again(one: Virtual, tmp_path: Path, other: Config | None = None, since: datetime | None = None) -> ReplayResult:
    """The life of *one* lived through again."""
    config = stored(one, tmp_path)
    return replay_history(config, other or config, since or one.clock.now() - 1000 * DAY, one.clock.now(), lambda _at, _count: None)


def news(told: list[ReplayEvent]) -> list[tuple[str, str, str]]:
    """What was told about what, in order."""
    return [(one.subject, one.type.value, one.level) for one in told]


async def one_page(one: Virtual) -> None:
    """One page breaks and heals."""
    page = one.world.connection(PAGES[1])
    await one.run(20 * MINUTE)
    page.fail("Session has expired")
    await one.run(25 * MINUTE)
    page.heal()
    await one.run(20 * MINUTE)


async def outage(one: Virtual) -> None:
    """One page breaks; the API is away, and a second page breaks meanwhile."""
    await one.run(10 * MINUTE)
    one.world.connection(PAGES[0]).fail("Session has expired")
    await one.run(20 * MINUTE)
    one.world.script.play(faults.gateway_page())
    await one.run(30 * MINUTE)
    one.world.connection(PAGES[2]).fail("Error validating access token")
    one.world.script.play()
    await one.run(25 * MINUTE)
    one.world.connection(PAGES[0]).heal()
    await one.run(15 * MINUTE)


async def revoked(one: Virtual) -> None:
    """The key is refused for an hour."""
    await one.run(30 * MINUTE)
    one.world.accounts["main"].revoke()
    await one.run(HOUR)
    one.world.accounts["main"].restore()
    await one.run(30 * MINUTE)


async def platform(one: Virtual) -> None:
    """All channels of a platform break within minutes, and stay broken longer than that is told as one."""
    await one.run(30 * MINUTE)
    for name in CHANNELS:
        one.world.connection(name).fail("Status code 401: token revoked")
    await one.run(50 * MINUTE)
    for name in CHANNELS:
        one.world.connection(name).heal()
    await one.run(30 * MINUTE)


async def restless(one: Virtual) -> None:
    """One page goes back and forth, another one's test crashes until it is stale, a third vanishes."""
    page = one.world.connection(PAGES[3])
    await one.run(20 * MINUTE)
    one.world.connection(PAGES[0]).script.play(faults.answer(500, {"error": "Failed to test connection"}))
    one.world.connection(PAGES[4]).vanish()
    for _ in range(4):
        page.fail("Session has expired")
        await one.run(8 * MINUTE)
        page.heal()
        await one.run(8 * MINUTE)
    await one.run(HOUR)


async def stopped(one: Virtual) -> None:
    """The monitor is stopped for hours, in which one page breaks and another one heals."""
    await one.run(30 * MINUTE)
    one.world.connection(PAGES[0]).fail("Session has expired")
    await one.run(20 * MINUTE)
    await one.stop()
    await one.clock.advance(5 * HOUR)
    one.world.connection(PAGES[0]).heal()
    one.world.connection(PAGES[1]).fail("Session has expired")
    await one.start()
    await one.run(HOUR)


async def removed(one: Virtual) -> None:
    """A broken page leaves the configuration."""
    one.world.connection(PAGES[0]).fail("Session has expired")
    await one.run(30 * MINUTE)
    await one.reload(one.config.model_copy(update={"connections": one.config.connections[1:]}))
    await one.run(20 * MINUTE)


@pytest.mark.parametrize(
    "life", sampled([one_page, stopped, outage, revoked, platform, restless, removed], first=2), ids=lambda life: life.__name__
)
async def test_same_policy(tmp_path: Path, life: Life) -> None:
    """Under the policy it was lived by, a life tells again exactly what it told: the same news of the same subjects in the same order."""
    clock = FakeClock()
    names = CHANNELS if life is platform else PAGES
    async with monitoring(
        tmp_path, simple_world(clock, *names), clock, *names, schedule={"interval": 5 * MINUTE}, beat_seconds=15.0, review_seconds=15.0
    ) as one:
        await life(one)
        lives = again(one, tmp_path)
        assert lives.sent, "a life in which nothing is told proves nothing"
        # What was missed while the monitor was stopped is checked at one moment, and has no order.
        in_order = sorted if life is stopped else list
        assert in_order(news(lives.before)) == in_order(news(lives.sent))
        assert compare(lives.before, lives.after) == []
        assert lives.stops == (1 if life is stopped else 0)


@pytest.mark.slow
async def test_same_policy_expiry(tmp_path: Path) -> None:
    """The end of a token is told again at every threshold, with its end and the reminders of that."""
    clock = FakeClock()
    names = PAGES[:2]
    async with monitoring(
        tmp_path, simple_world(clock, *names), clock, *names, schedule={"interval": 6 * HOUR}, beat_seconds=7200.0, review_seconds=7200.0
    ) as one:
        one.world.connection(PAGES[0]).expire_in(16 * DAY)
        await one.run(19 * DAY)
        one.world.connection(PAGES[0]).renew(60 * DAY)
        await one.run(2 * DAY)
        lives = again(one, tmp_path)
        assert [kind for _, kind, _ in news(lives.sent)][:2] == ["token.expiring", "token.expiring"]
        assert news(lives.before) == news(lives.sent)
        thresholds = PolicySettings(expiry=ExpirySettings(thresholds=(10 * DAY,)))
        other = stored(one, tmp_path, policy_settings=thresholds)
        found = compare(lives.before, again(one, tmp_path, other).after)
        changed = [(difference.change, difference.shown.level) for difference in found if difference.shown.type == "token.expiring"]
        assert changed == [(Change.DROPPED, "14d"), (Change.ADDED, "10d"), (Change.DROPPED, "3d"), (Change.DROPPED, "1d")]


async def test_other_policy(tmp_path: Path) -> None:
    """With more failures to confirm, what broke is told later, and what was short not at all; what is older than asked for is left out."""
    clock = FakeClock()
    async with monitoring(
        tmp_path, simple_world(clock, *PAGES), clock, *PAGES, schedule={"interval": 5 * MINUTE}, beat_seconds=15.0, review_seconds=15.0
    ) as one:
        await one.run(20 * MINUTE)
        one.world.connection(PAGES[0]).fail("Session has expired")
        await one.run(4 * MINUTE + timedelta(seconds=30))
        one.world.connection(PAGES[0]).heal()
        await one.run(20 * MINUTE)
        between = clock.now()
        one.world.connection(PAGES[1]).fail("Session has expired")
        await one.run(HOUR)
        slow = PolicySettings(confirm=ConfirmSettings(failures=6))
        other = stored(one, tmp_path, policy_settings=slow, schedule=ScheduleSettings(interval=5 * MINUTE))
        lives = again(one, tmp_path, other)
        found = compare(lives.before, lives.after)
        assert [(each.change, each.shown.type.value) for each in found] == [
            (Change.DROPPED, "connection.failed"),
            (Change.DROPPED, "connection.recovered"),
            (Change.MOVED, "connection.failed"),
        ]
        moved = found[-1]
        assert moved.before is not None
        assert moved.after is not None
        assert moved.after.at > moved.before.at
        later = again(one, tmp_path, other, since=between)
        assert [one.type.value for one in later.before] == [one.type.value for one in later.sent] == ["connection.failed"]
        assert 0 < later.checks < lives.checks


async def test_new_keys(tmp_path: Path) -> None:
    """Trouble of the platform is told later, and a short outage of the API at all, under a policy that says so."""
    clock = FakeClock()
    async with monitoring(
        tmp_path, simple_world(clock, *PAGES), clock, *PAGES, schedule={"interval": 5 * MINUTE}, beat_seconds=15.0, review_seconds=15.0
    ) as one:
        await one.run(10 * MINUTE)
        one.world.connection(PAGES[0]).fail("Request failed with status code 503")
        await one.run(45 * MINUTE)
        one.world.connection(PAGES[0]).heal()
        await one.run(10 * MINUTE)
        found = {}
        for name, keys in (("upstream_after", {"upstream_after": 3 * HOUR}), ("reminders", {"reminders": 5 * MINUTE})):
            other = stored(one, tmp_path, policy_settings=PolicySettings(**keys), schedule=ScheduleSettings(interval=5 * MINUTE))
            lives = again(one, tmp_path, other)
            found[name] = {(each.change, each.shown.type.value) for each in compare(lives.before, lives.after)}
        assert found["upstream_after"] == {(Change.DROPPED, "connection.failed"), (Change.DROPPED, "connection.recovered")}
        assert found["reminders"] == {(Change.ADDED, "reminder")}
