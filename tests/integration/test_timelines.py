"""The checker, the discoverer and the evaluator together, by a virtual clock, against the simulated PostPost and a real database."""

from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from monitor.config import Secret
from monitor.db import list_deliveries
from monitor.domain.reasons import Health
from monitor.simulator import faults
from monitor.simulator.presets import connection_like
from tests import marked
from tests.builders import HOUR, MINUTE, SECOND
from tests.clock import FakeClock
from tests.sampling import sampled
from tests.virtual import Virtual, monitoring, simple_world, with_account

NOTHING: list[tuple[str, str]] = []


def ids(count: int, platform: str = "linkedin") -> list[str]:
    """The ids of so many connections."""
    return [f"{platform}-page{number}" for number in range(1, count + 1)]


async def test_api_down(tmp_path: Path) -> None:
    """F01: refused for ten minutes: one event and its end, nine in ten requests spared, everybody asked again, the oldest first."""
    clock = FakeClock()
    names = ids(50)
    async with monitoring(tmp_path, simple_world(clock, *names), clock, *names, schedule={"interval": MINUTE}) as one:
        await one.run(10 * MINUTE)
        assert one.server.journal.max_in_flight == 1
        one.world.script.play(faults.gateway_page())
        await one.until(lambda: one.fleet.scope(one.fleet.api_key).open, within=3 * MINUTE)
        opened = clock.monotonic()
        await one.run(5 * MINUTE)
        assert len(one.tests(opened)) <= 5 * 50 / 10
        evidence = {name: one.state(name).last_evidence_at for name in names}
        one.world.script.play()
        await one.until(lambda: not one.fleet.scope(one.fleet.api_key).open, within=3 * MINUTE)
        closed = clock.monotonic()
        await one.run(2 * SECOND)
        again = [name for _, name in one.tests(closed)]
        seen = {name for name in names if one.state(name).last_evidence_at != evidence[name]}
        assert seen == set(names)
        ages = [str(evidence[name]) for name in dict.fromkeys(again) if _is_first(one, name, closed)]
        assert ages == sorted(ages)
        await one.run(5 * MINUTE)
        assert [kind for _, kind in await one.told()] == ["api.failed", "api.recovered"]


def _is_first(one: Virtual, name: str, since: float) -> bool:
    """Whether the connection was not a canary just before *since*."""
    return not any(since - 180 <= came < since for came, asked in one.tests() if asked == name)


@pytest.mark.slow
async def test_next_check(tmp_path: Path) -> None:
    """When a connection is checked next is known from the start, and it is checked then: on schedule, and soon after a failure."""
    clock = FakeClock()
    names = ids(6)
    async with monitoring(tmp_path, simple_world(clock, *names), clock, *names, schedule={"interval": 15 * MINUTE}) as one:

        def promised() -> dict[str, datetime]:
            views = one.fleet.snapshot(clock.now()).connections
            return {view.connection.platform_id: view.next_check_at for view in views if view.next_check_at is not None}

        assert promised().keys() == set(names)
        for _ in range(3):
            await one.run(5 * MINUTE)
            promises = {name: at for name, at in promised().items() if at > clock.now()}
            await one.run(max(promises.values()) - clock.now() + 2 * SECOND)
            assert {
                name for name, at in promises.items() if not any(at <= _wall(clock, came) < at + 2 * SECOND for came in _asked(one, name))
            } == set()
        one.world.connection(names[0]).fail()
        await one.until(lambda: one.state(names[0]).failures == 1, within=20 * MINUTE)
        assert timedelta(0) < promised()[names[0]] - clock.now() < MINUTE


def _asked(one: Virtual, name: str) -> list[float]:
    return [came for came, asked in one.tests() if asked == name]


def _wall(clock: FakeClock, monotonic: float) -> datetime:
    return clock.now() - timedelta(seconds=clock.monotonic() - monotonic)


@pytest.mark.slow
async def test_one_of_two_accounts(tmp_path: Path) -> None:
    """An API that crashes for one account is asked little about it, told once, and no trouble of the other account or of itself."""
    clock = FakeClock()
    world = simple_world(clock, *ids(5))
    owner = world.add_account("other", "sk_other").owner
    for name in ids(6, "threads"):
        owner.connect(connection_like(world, name))
    async with monitoring(tmp_path, world, clock, *ids(5), schedule={"interval": 10 * MINUTE}, beat_seconds=5.0) as one:
        other = one.config.accounts[0].model_copy(update={"name": "other", "api_key": Secret("sk_other"), "discover": "connections"})
        await one.reload(one.config.model_copy(update={"accounts": (*one.config.accounts, other)}))
        await one.run(25 * MINUTE)
        world.accounts["other"].crashed = True
        await one.run(90 * MINUTE)
        assert await one.told() == [("service:other", "account.failed")]
        world.accounts["other"].crashed = False
        await one.run(10 * MINUTE)
        assert await one.told() == [("service:other", "account.failed"), ("service:other", "account.recovered")]
        assert {one.state(name, account="other").health for name in ids(6, "threads")} == {Health.OK}


@pytest.mark.slow
async def test_slow_api(tmp_path: Path) -> None:
    """F02: every answer takes 20 seconds: four in flight, never two of one id, nothing told, everybody checked in turn."""
    clock = FakeClock()
    names = ids(40)
    api = {"concurrency": 4, "timeout": timedelta(minutes=5)}
    async with monitoring(tmp_path, simple_world(clock, *names), clock, *names, api=api, schedule={"interval": MINUTE}) as one:
        one.world.latency = (20 * SECOND, 20 * SECOND)
        await one.run(30 * MINUTE)
        journal = one.server.journal
        assert journal.max_in_flight == 4
        assert journal.overlaps == 0
        assert 4 * 30 * 3 - 12 <= len(one.tests()) <= 4 * 30 * 3
        counts = Counter(name for _, name in one.tests())
        assert max(counts.values()) - min(counts.values()) <= 1
        assert await one.told() == NOTHING


@pytest.mark.slow
async def test_throttled(tmp_path: Path) -> None:
    """F09: after 429 with Retry-After nothing is asked for that long, and then at half the rate."""
    clock = FakeClock()
    names = ids(120)
    api = {"requests_per_second": 5.0, "concurrency": 4}
    async with monitoring(tmp_path, simple_world(clock, *names), clock, *names, api=api, schedule={"interval": 20 * SECOND}) as one:
        await one.run(40 * SECOND)
        one.world.script.play(faults.throttle(7 * SECOND).only(1))
        throttled = await one.until(lambda: one.server.journal.statuses[429], within=MINUTE)
        assert throttled <= 2 * SECOND
        refused = next(entry.came for entry in one.server.journal.asked() if entry.status == 429)
        await one.run(MINUTE)
        after = [came for came, _ in one.tests(refused + 0.8)]
        assert 7.0 <= after[0] - refused <= 8.5
        assert 0.95 * 2.5 * 30 <= sum(1 for came in after if came < after[0] + 30) <= 1.1 * 2.5 * 30
        assert await one.told() == NOTHING


@pytest.mark.slow
async def test_throttled_without_a_wait(tmp_path: Path) -> None:
    """F09: an hour of 429 that names no wait costs a handful of requests; it is told once, and so is its end."""
    clock = FakeClock()
    names = ids(30)
    beats = {"beat_seconds": 10.0, "review_seconds": 60.0}
    async with monitoring(tmp_path, simple_world(clock, *names), clock, *names, schedule={"interval": MINUTE}, **beats) as one:
        await one.run(2 * MINUTE)
        began = clock.monotonic()
        one.world.script.play(faults.throttle(None))
        await one.run(HOUR)
        requests = [came for came, _ in one.tests(began)]
        assert [round((later - earlier) / 60) for earlier, later in pairwise(requests)] == [1, 2, 4, 8, 15, 15]
        assert await one.told() == [("rate:main", "account.failed")]
        one.world.script.play()
        await one.run(30 * MINUTE)
        assert await one.told() == [("rate:main", "account.failed"), ("rate:main", "account.recovered")]


@pytest.mark.slow
async def test_revoked_key(tmp_path: Path) -> None:
    """F11: one event, at most 18 requests in the next hour, lists included; with a new key the first check comes within 5 s; no flips."""
    clock = FakeClock()
    names = ids(20)
    world = simple_world(clock, *names)
    async with monitoring(tmp_path, world, clock, schedule={"interval": 5 * MINUTE, "discovery": 10 * MINUTE}) as one:
        await one.reload(with_account(one.config, discover="connections"))
        await one.run(20 * MINUTE)
        assert len(one.fleet.ids()) == 20
        world.accounts["main"].revoke()
        await one.until(lambda: one.server.journal.statuses[401], within=2 * MINUTE)
        revoked = clock.monotonic() - 1
        await one.run(HOUR)
        assert sum(1 for entry in one.server.journal.asked() if entry.came >= revoked) <= 18
        assert await one.told() == [("account:main", "account.failed")]
        world.accounts["main"].keys.add(marked.SECOND_API_KEY)
        await one.reload(with_account(one.config, api_key=Secret(marked.SECOND_API_KEY)))
        swapped = clock.monotonic()
        await one.run(5 * SECOND)
        assert one.tests(swapped)
        await one.run(10 * MINUTE)
        assert await one.told() == [("account:main", "account.failed"), ("account:main", "account.recovered")]
        assert all(one.state(name).health is Health.OK and len(one.state(name).changes) == 0 for name in names)


@pytest.mark.slow
async def test_missing(tmp_path: Path) -> None:
    """F12: a proxy's 404 for everybody makes nobody missing; the API's own 404 of one id makes that one missing, once."""
    clock = FakeClock()
    names = ids(10)
    async with monitoring(tmp_path, simple_world(clock, *names), clock, *names, schedule={"interval": MINUTE}) as one:
        await one.run(5 * MINUTE)
        one.world.script.play(faults.answer(404, "<html><body>Not found</body></html>"))
        await one.run(20 * MINUTE)
        one.world.script.play()
        await one.run(10 * MINUTE)
        assert [kind for _, kind in await one.told()] == ["api.failed", "api.recovered"]
        one.world.connection(names[3]).vanish()
        await one.run(20 * MINUTE)
        assert (await one.told())[2:] == [(names[3], "connection.missing")]


@pytest.mark.slow
async def test_crashing_test(tmp_path: Path) -> None:
    """F13: one id answers 500 for two hours while 20 others are fine: stale, once, and nothing else."""
    clock = FakeClock()
    names = ids(21)
    async with monitoring(tmp_path, simple_world(clock, *names), clock, *names, schedule={"interval": 5 * MINUTE}, beat_seconds=5.0) as one:
        one.world.connection(names[0]).script.play(faults.answer(500, {"error": "Failed to test connection"}))
        await one.run(2 * HOUR)
        assert await one.told() == [(names[0], "connection.stale")]


@pytest.mark.slow
async def test_refused_id(tmp_path: Path) -> None:
    """F14: a day of 400 is told once, and costs a tenth of the requests at most."""
    clock = FakeClock()
    names = ids(2)
    async with monitoring(
        tmp_path, simple_world(clock, *names), clock, *names, schedule={"interval": 5 * MINUTE}, beat_seconds=20.0
    ) as one:
        one.world.connection(names[0]).script.play(faults.answer(400, {"error": "Invalid platformId format"}))
        await one.run(24 * HOUR)
        assert await one.told() == [(names[0], "connection.misconfigured")]
        counts = Counter(name for _, name in one.tests())
        assert counts[names[0]] <= counts[names[1]] / 10


@pytest.mark.parametrize("hours", sampled([1, -1, 24 * 3650, -24 * 3650], first=2))
async def test_clock_jump(tmp_path: Path, hours: int) -> None:
    """F17, F18: the wall clock jumps by hours or years: ten intervals have ten checks, nothing is told; a failure after it is."""
    clock = FakeClock()
    names = ids(10, "mastodon")
    world = simple_world(clock, *names)
    async with monitoring(tmp_path, world, clock, *names, schedule={"interval": 5 * MINUTE}, beat_seconds=5.0) as one:
        await one.run(17 * MINUTE)
        clock.jump(timedelta(hours=hours))
        world.clock.move(timedelta(hours=-hours))
        jumped = clock.monotonic()
        await one.run(50 * MINUTE)
        counts = Counter(name for _, name in one.tests(jumped))
        assert len(counts) == 10
        assert set(counts.values()) <= {9, 10, 11}
        assert await one.told() == NOTHING
        world.connection(names[0]).fail()
        await one.run(8 * MINUTE)
        assert await one.told() == [(names[0], "connection.failed")]


@pytest.mark.parametrize("hours", [1, -1])
async def test_clock_jump_within_an_interval(tmp_path: Path, hours: int) -> None:
    """With intervals longer than the jump: the check that is due comes when it was due, and each later one an interval after the last."""
    clock = FakeClock()
    names = ids(6, "mastodon")
    world = simple_world(clock, *names)
    async with monitoring(tmp_path, world, clock, *names, schedule={"interval": 2 * HOUR}, beat_seconds=60.0, review_seconds=60.0) as one:
        await one.run(5 * HOUR)
        clock.jump(timedelta(hours=hours))
        world.clock.move(timedelta(hours=-hours))
        await one.run(7 * HOUR)
        for name in names:
            moments = [came for came, each in one.tests(HOUR.total_seconds()) if each == name]
            gaps = [later - earlier for earlier, later in pairwise(moments)]
            assert len(moments) >= 4
            assert max(gaps) <= (2 * HOUR + 2 * MINUTE).total_seconds(), (name, moments)
        assert await one.told() == NOTHING


@pytest.mark.slow
async def test_suspend(tmp_path: Path) -> None:
    """F19: after two hours of sleep everybody is checked once in the first interval, and nothing is told."""
    clock = FakeClock()
    names = ids(50)
    async with monitoring(tmp_path, simple_world(clock, *names), clock, *names, schedule={"interval": 5 * MINUTE}) as one:
        await one.run(12 * MINUTE)
        clock.suspend(2 * HOUR)
        woken = clock.monotonic()
        await one.run(5 * MINUTE)
        assert set(Counter(name for _, name in one.tests(woken)).values()) <= {1, 2}
        assert len({name for _, name in one.tests(woken)}) == 50
        await one.run(30 * MINUTE)
        assert await one.told() == NOTHING


@pytest.mark.slow
@pytest.mark.parametrize("hours", sampled([2, 1, 8, 72], first=1))
async def test_freeze(tmp_path: Path, hours: int) -> None:
    """
    F19: a process that stood still for longer than evidence lasts says nothing: it did not look. A failure of meanwhile is found.

    All its clocks go on while it stands: a paused container, SIGSTOP.
    """
    clock = FakeClock()
    names = ids(10)
    async with monitoring(tmp_path, simple_world(clock, *names), clock, *names, schedule={"interval": 5 * MINUTE}) as one:
        await one.run(12 * MINUTE)
        clock.freeze(hours * HOUR)
        one.world.connection(names[0]).fail()
        woken = clock.monotonic()
        await one.run(8 * MINUTE)
        assert set(Counter(name for _, name in one.tests(woken) if name != names[0]).values()) <= {1, 2, 3, 4}
        await one.run(HOUR)
        assert await one.told() == [(names[0], "connection.failed")]


@pytest.mark.slow
async def test_silence_after_a_freeze(tmp_path: Path) -> None:
    """A connection whose tests say nothing more after the freeze becomes stale, counted from the freeze's end."""
    clock = FakeClock()
    names = ids(3)
    async with monitoring(tmp_path, simple_world(clock, *names), clock, *names, schedule={"interval": 5 * MINUTE}) as one:
        await one.run(12 * MINUTE)
        clock.freeze(2 * HOUR)
        one.world.connection(names[0]).script.play(*[faults.answer(500, {"error": "Failed to test connection"})] * 1000)
        await one.run(25 * MINUTE)
        assert await one.told() == NOTHING
        await one.run(15 * MINUTE)
        assert await one.told() == [(names[0], "connection.stale")]


@pytest.mark.slow
async def test_adaptive(tmp_path: Path) -> None:
    """After the first failure the second look comes within a minute, and so does the second after the first pass."""
    clock = FakeClock()
    names = ids(2)
    async with monitoring(tmp_path, simple_world(clock, *names), clock, *names, schedule={"interval": 15 * MINUTE}) as one:
        await one.run(30 * MINUTE)
        one.world.connection(names[0]).fail()
        await one.until(lambda: one.state(names[0]).failures == 1, within=16 * MINUTE)
        assert await one.until(lambda: one.state(names[0]).health is Health.ERROR, within=2 * MINUTE) <= 61 * SECOND
        one.world.connection(names[0]).heal()
        await one.until(lambda: one.state(names[0]).failures == 0, within=16 * MINUTE)
        assert await one.until(lambda: one.state(names[0]).health is Health.OK, within=2 * MINUTE) <= 61 * SECOND


@pytest.mark.slow
async def test_removed(tmp_path: Path) -> None:
    """F40: removed while broken: closed once, asked no more; added again it starts afresh, with the next incident's number."""
    clock = FakeClock()
    names = ids(3)
    async with monitoring(tmp_path, simple_world(clock, *names), clock, *names, schedule={"interval": 2 * MINUTE}) as one:
        one.world.connection(names[0]).fail()
        await one.run(10 * MINUTE)
        full = one.config
        await one.reload(full.model_copy(update={"connections": full.connections[1:]}))
        removed = clock.monotonic() + 0.001
        await one.run(10 * MINUTE)
        assert names[0] not in {name for _, name in one.tests(removed)}
        await one.reload(full)
        await one.run(10 * MINUTE)
        assert await one.told() == [(names[0], "connection.failed"), (names[0], "connection.closed"), (names[0], "connection.failed")]
        rows = await one.database.read(list_deliveries)
        assert [row.notification.incident.number for row in rows] == [2, 1, 1]
        assert [row.notification.seq for row in rows] == [3, 2, 1]


@pytest.mark.slow
async def test_restart_meanwhile(tmp_path: Path) -> None:
    """A stop and a start within an outage change nothing of what is told."""
    clock = FakeClock()
    names = ids(10)
    async with monitoring(tmp_path, simple_world(clock, *names), clock, *names, schedule={"interval": MINUTE}) as one:
        await one.run(5 * MINUTE)
        one.world.script.play(faults.gateway_page())
        for pause in (MINUTE, 4 * MINUTE, 2 * MINUTE):
            await one.run(pause)
            await one.stop()
            await one.start()
        one.world.script.play()
        await one.run(MINUTE)
        await one.stop()
        await one.start()
        await one.run(10 * MINUTE)
        assert [kind for _, kind in await one.told()] == ["api.failed", "api.recovered"]
