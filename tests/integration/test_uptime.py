"""How much of the time connections worked, added up from rows: exactly, whatever happens in between, on both databases."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from monitor.config import RetentionSettings
from monitor.db import CheckRow, Database, Reader, Store, list_checks, operator_session, read_connections
from monitor.db.tables import meta, uptime_days, uptime_hours
from monitor.db.uptime import daily_uptime, put_hours, put_until, to_uptime, uptime_until, uptimes
from monitor.domain.connections import ConnectionSpec
from monitor.domain.events import FINE, IncidentRef, Severity, Topic, Transition
from monitor.domain.reasons import Scope, meaning
from monitor.domain.recurrence import EVERY_DAY, Schedule
from monitor.domain.silencing.silences import RecurringSilence
from monitor.domain.states import SuppressionReason
from monitor.domain.time_spans import Span
from monitor.domain.uptime import NOTHING, WINDOWS, DayUptime, Evidence, IncidentSpan, Uptime, UptimeInput, begin, by_hour
from monitor.errors import Reason
from monitor.notify.identity import MonitorIdentity
from monitor.simulator import faults
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from monitor.workers.retention import RetentionWorker
from monitor.workers.uptime_rollup import UptimeRollup
from tests.builders import DAY, HOUR, MINUTE, SECOND, START, a_policy, at
from tests.clock import FakeClock
from tests.virtual import monitoring, simple_world

DEPLOYS = RecurringSilence(
    "deploys", {"platform": "threads"}, Schedule(EVERY_DAY, 3 * HOUR, 3 * HOUR + 20 * MINUTE, UTC), SuppressionReason.SILENCED
)
NIGHTS = RecurringSilence("nights", {}, Schedule(EVERY_DAY, 22 * HOUR, 6 * HOUR, UTC), SuppressionReason.QUIET_HOURS)

Work = tuple[datetime, str, object]


def a_fleet(clock: FakeClock) -> Registry:
    """A fleet with a recurring silence of Threads, and quiet hours."""
    identity = MonitorIdentity("test", "1", "")
    config = EvaluationConfig(policy=a_policy(), api_host="api.example", identity=identity, recurring_silences=(DEPLOYS, NIGHTS))
    return Registry(config, clock)


async def a_rollup(database: Database, clock: FakeClock) -> UptimeRollup:
    """As after a restart: it knows nothing but the rows."""
    registry = a_fleet(clock)
    registry.set_connections(await database.read(read_connections))
    return UptimeRollup(registry=registry, database=database, clock=clock, longest=730 * DAY)


async def add_up(database: Database, clock: FakeClock) -> int:
    """One whole pass, or as many as are needed; returns in how many steps."""
    rollup, steps = await a_rollup(database, clock), 1
    while await rollup.step():
        steps += 1
        assert steps < 2000
    return steps


@dataclass
class Past:
    """What happened to one connection, and the rows that tell of it, each with the moment at which it is written."""

    id: int
    platform: str
    account: str
    evidence: list[Evidence] = field(default_factory=list)
    incidents: list[IncidentSpan] = field(default_factory=list)
    interval: timedelta = 15 * MINUTE
    first: datetime | None = None
    rows: list[tuple[datetime, CheckRow | Transition]] = field(default_factory=list)

    def check(self, moment: datetime, reason: Reason) -> None:
        """A check that ended at *moment*."""
        self.rows.append((moment, CheckRow(self.id, moment, reason, 100)))
        self.first = self.first or moment
        health = meaning(reason).health
        if health is not None:
            self.evidence.append(Evidence(moment, health))

    def incident(self, opened: datetime, closed: datetime | None, level: str) -> None:
        """An incident of the connection."""
        number = len(self.incidents) + 1
        if level != "stale":
            self.incidents.append(IncidentSpan(opened, closed))
        ref = IncidentRef(Topic.CONNECTION, str(self.id), number, opened)
        for moment, now in ((opened, level), (closed, FINE)):
            if moment is not None:
                row = Transition(
                    ref, Scope.CONNECTION, self.id, now, moment, Severity.CRITICAL, None, "", None if now != FINE else "recovered"
                )
                self.rows.append((moment, row))

    def life(self, until: datetime, excused: list[Span]) -> UptimeInput:
        """All of it."""
        seen = [one for one in self.evidence if one.at < until]
        return UptimeInput(Span(self.first or until, until), seen, self.incidents, excused, min(3 * self.interval, DAY))


def live(past: Past, rng: random.Random, span: timedelta) -> None:
    """Days of checks: good times and bad ones, blips, gaps, checks that tell nothing; and an incident for each bad time."""
    now = at(timedelta(milliseconds=rng.randrange(10_000_000)))
    end, slow = at(span), past.interval / (15 * MINUTE)
    while now < end:
        kind = rng.choices(("good", "bad", "blind", "gap", "untestable"), (8, 3, 1, 1, 1))[0]
        moments = [now := now + timedelta(milliseconds=int(slow * rng.randrange(600_000, 900_000))) for _ in range(rng.randrange(2, 20))]
        if kind == "gap":
            continue
        reason = {"good": Reason.OK, "bad": Reason.TOKEN_EXPIRED, "blind": Reason.API_TIMEOUT, "untestable": Reason.KNOWN_FALSE_NEGATIVE}[
            kind
        ]
        for moment in moments:
            past.check(moment, reason)
        if kind == "good" and rng.random() < 0.3:
            past.check(now := now + 10 * MINUTE, Reason.RIGHTS_LOST)
            past.check(now := now + MINUTE, Reason.OK)
        if kind == "bad":
            past.check(now := now + 10 * MINUTE, Reason.OK)
            past.check(now := now + MINUTE, Reason.OK)
            past.incident(moments[1], now, rng.choice(("error", "missing", "flapping")))


def write(rows: list[CheckRow | Transition], store: Store) -> None:
    """Put each row where it belongs."""
    for row in rows:
        if isinstance(row, CheckRow):
            store.record_checks([row])
        else:
            store.apply_transitions([row])


async def begin_pasts(database: Database, rng: random.Random, span: timedelta) -> list[Past]:
    """Connections with random pasts of *span*, two of which are checked seldom."""
    wanted = [
        ConnectionSpec("main" if n % 2 else "other", "", f"{platform}-{n}", platform)
        for n, platform in enumerate(["linkedin", "threads"] * 2)
    ]
    ids = await database.write(lambda store: store.ensure_connections(wanted))
    pasts = [Past(ids[one.key], one.platform, one.account, interval=one.interval) for one in wanted]
    for past in pasts:
        live(past, rng, span)
    return pasts


def an_outage(name: str, opened: datetime, closed: datetime | None, number: int = 1) -> Iterator[Transition]:
    """A scope incident's rows."""
    ref = IncidentRef(Topic.SCOPE, name, number, opened)
    for level, moment in (("failed", opened), (FINE, closed)):
        if moment is not None:
            yield Transition(
                ref, Scope(name.partition(":")[0].replace("rate", "account")), None, level, moment, Severity.CRITICAL, None, ""
            )


OUTAGES = (
    ("api:api.example", at(20 * HOUR + 7 * MINUTE), at(23 * HOUR)),
    ("api:another.example", at(1 * HOUR), at(9 * HOUR)),
    ("account:main", at(30 * HOUR), at(31 * HOUR + 30 * MINUTE)),
    ("platform:threads", at(40 * HOUR), at(47 * HOUR)),
    ("rate:main", at(5 * HOUR), at(50 * HOUR)),
    ("account:other", at(60 * HOUR), None),
)


def excused(past: Past, until: datetime) -> list[Span]:
    """What the outages, the recurring silence and the silence of an operator excuse, worked out by hand."""
    spans = [Span(OUTAGES[0][1], OUTAGES[0][2])]
    if past.account == "main":
        spans.append(Span(at(30 * HOUR), at(31 * HOUR + 30 * MINUTE)))
    else:
        spans.append(Span(at(60 * HOUR), until))
    if past.platform == "threads":
        spans.append(Span(at(40 * HOUR), at(47 * HOUR)))
        spans += [Span(at(n * DAY + 3 * HOUR), at(n * DAY + 3 * HOUR + 20 * MINUTE)) for n in range(5)]
    else:
        spans.append(Span(at(10 * HOUR), at(11 * HOUR + 45 * MINUTE)))
    return spans


def sums(table: object, reader: Reader) -> dict[tuple[int, int], Uptime]:
    """What is written, but for rows that tell nothing."""
    found = {(row.connection_id, row.at): to_uptime(row) for row in reader.rows(select(table))}  # type: ignore[call-overload]
    return {key: uptime for key, uptime in found.items() if uptime != NOTHING}


def expected(pasts: list[Past], until: datetime) -> dict[tuple[int, int], Uptime]:
    """The hours that must be written: whole lives, added up in one go."""
    whole = {past.id: by_hour(past.life(until, excused(past, until)), START, until) for past in pasts}
    return {(number, int(hour.timestamp() * 1000)): uptime for number, hours in whole.items() for hour, uptime in hours.items()}


def of_days(hours: dict[tuple[int, int], Uptime]) -> dict[tuple[int, int], Uptime]:
    """Their sums by day."""
    days: dict[tuple[int, int], Uptime] = {}
    for (number, hour), uptime in hours.items():
        day = (number, hour - hour % 86_400_000)
        days[day] = days.get(day, NOTHING) + uptime
    return days


async def test_random_lives(database: Database, database_url: str) -> None:
    """
    Lives of four days, added up every now and then while they go on, by a rollup that is new each time, with outages,
    silences and a clock that is set back: the sums of hours and days are what whole lives give in one go, to the
    millisecond; so they are when they are forgotten and made anew from the rows.
    """
    rng = random.Random(7)
    clock, end = FakeClock(), at(4 * DAY)
    pasts = await begin_pasts(database, rng, 4 * DAY)
    rows = [row for past in pasts for row in past.rows]
    for name, opened, closed in OUTAGES:
        rows += [(row.at + (7 * MINUTE if row.level != FINE else timedelta()), row) for row in an_outage(name, opened, closed)]
    rows = sorted(((moment, row) for moment, row in rows if moment < end), key=lambda one: one[0])
    with operator_session(database_url) as operations:
        operations.add_silence(
            {"platform": "linkedin"}, starts_at=at(10 * HOUR), ends_at=at(12 * HOUR), author="anna", reason="", now=START
        )
    moments = sorted(at(rng.random() * 4 * DAY) for _ in range(40))
    for moment in [*moments, end]:
        written = [row for written_at, row in rows if written_at < moment]
        del rows[: len(written)]
        await database.write(partial(write, written))
        clock.jump(moment - clock.now())
        if moment > at(11 * HOUR + 45 * MINUTE):
            with operator_session(database_url) as operations:
                operations.expire_silence(1, at(11 * HOUR + 45 * MINUTE))
        await add_up(database, clock)
        if rng.random() < 0.1:
            # Nothing is written meanwhile.
            clock.jump(-5 * HOUR)
            await add_up(database, clock)

    wanted = expected(pasts, end)
    assert await database.read(partial(sums, uptime_hours)) == wanted
    assert await database.read(partial(sums, uptime_days)) == of_days(wanted)
    kinds = sum(wanted.values(), NOTHING)
    assert min(kinds.ok, kinds.down, kinds.excluded) > 20 * HOUR, "the lives are worth the test"

    await database.write(_forget)
    await add_up(database, clock)
    assert await database.read(partial(sums, uptime_hours)) == wanted
    assert await database.read(partial(sums, uptime_days)) == of_days(wanted)
    assert await database.read(uptime_until) == end


def _forget(store: Store) -> None:
    for statement in (delete(uptime_hours), delete(uptime_days), delete(meta).where(meta.c.key == "uptime_until")):
        store.change(statement, {})


@pytest.mark.slow
async def test_windows_and_days(database: Database) -> None:
    """
    The windows of every watched connection and its days are sums of exactly their hours, with the rest as unknown, also
    after the sums of old hours are deleted; for many connections as for one.
    """
    rng = random.Random(3)
    now = at(120 * DAY + 7 * HOUR + 41 * MINUTE)
    wanted = [ConnectionSpec("main", "", f"x-{n}", "x") for n in range(4)]
    ids = list((await database.write(lambda store: store.ensure_connections(wanted))).values())
    await database.write(lambda store: store.retire([ids[3]], START))
    hours = {
        (number, at(hour * HOUR)): Uptime(*(rng.randrange(20) * MINUTE for _ in range(3)))
        for number in (ids[0], ids[1], ids[3])
        for hour in rng.sample(range(120 * 24 + 8), 1500)
    }
    await database.write(partial(put_hours, changed=hours))
    until = now - 3 * MINUTE
    await database.write(partial(put_until, until=until))

    def windows(number: int) -> dict[str, Uptime]:
        since = {name: begin(name, now) for name in WINDOWS}
        return {
            name: sum((hours[key] for key in hours if key[0] == number and key[1] >= since[name]), NOTHING).within(now - since[name])
            for name in WINDOWS
        }

    def days(number: int, first: datetime, count: int) -> list[DayUptime]:
        starts = [first + n * DAY for n in range(count)]
        known = [sum((hours.get((number, day + n * HOUR), NOTHING) for n in range(24)), NOTHING) for day in starts]
        lengths = [min(day + DAY, until) - day for day in starts]
        return [DayUptime(day.date(), one.within(length)) for day, one, length in zip(starts, known, lengths, strict=True)]

    async def check() -> None:
        assert await database.read(lambda reader: uptimes(reader, now)) == {number: windows(number) for number in ids[:3]}
        assert await database.read(lambda reader: uptimes(reader, now, ids[0])) == {ids[0]: windows(ids[0])}
        first = at(31 * DAY)
        found = await database.read(lambda reader: daily_uptime(reader, [ids[0], ids[2]], first + 5 * HOUR))
        assert found == {number: days(number, first, 90) for number in (ids[0], ids[2])}
        many = [*ids, *range(1000, 1400)]
        assert (await database.read(lambda reader: daily_uptime(reader, many, first)))[ids[1]] == days(ids[1], first, 90)

    await check()
    assert windows(ids[0])["90d"].ratio not in (None, 0, 1)
    assert windows(ids[2])["24h"] == Uptime(unknown=DAY + 41 * MINUTE)
    before = await database.read(lambda reader: len(sums(uptime_hours, reader)))
    retention = RetentionWorker(database, FakeClock(now), RetentionSettings(hourly=32 * DAY))
    while await retention.step():
        pass
    assert before > 2 * await database.read(lambda reader: len(sums(uptime_hours, reader))) > 0
    await check()


async def test_nothing_is_known_at_first(database: Database) -> None:
    """Of an empty database there are no days yet, and all of every window is unknown."""
    ids = await database.write(lambda store: store.ensure_connections([ConnectionSpec("main", "", "x-1", "x")]))
    (number,) = ids.values()
    found = await database.read(lambda reader: uptimes(reader, START))
    assert {name: uptime.ratio for name, uptime in found[number].items()} == dict.fromkeys(WINDOWS)
    assert await database.read(lambda reader: daily_uptime(reader, [number], START)) == {number: []}
    assert await database.read(lambda reader: daily_uptime(reader, [], START)) == {}


async def test_a_history_that_has_just_begun(database: Database) -> None:
    """The first checks are added up within seconds, the next whenever there are twice as many, and old ones in their turn."""
    clock = FakeClock(START)
    ids = await database.write(lambda store: store.ensure_connections([ConnectionSpec("main", "", "x-1", "x")]))
    (number,) = ids.values()
    rollup = await a_rollup(database, clock)
    waits: list[float] = []
    soon: Sequence[DayUptime] = ()
    while math.inf not in waits and len(waits) < 20:
        while await rollup.step():
            pass
        waits.append(rollup.idle())
        if len(waits) == 1:
            checks = [CheckRow(number, clock.now() + n * SECOND, Reason.OK, 100) for n in (1, 9)]
            await database.write(partial(Store.record_checks, rows=checks))
        if len(waits) == 2:
            soon = (await database.read(lambda reader: daily_uptime(reader, [number], START)))[number]
        await clock.advance(timedelta(seconds=min(waits[-1], 1000.0)))

    assert [day.uptime.ok for day in soon] == [8 * SECOND]
    assert (waits[:2], waits[-1], len(waits)) == ([15.0, 15.0], math.inf, 8)
    assert all(later <= 2 * max(15.0, sooner) for sooner, later in pairwise(waits[:-1]))


async def test_checks_are_kept_until_added_up(database: Database) -> None:
    """Retention deletes no check before it is in the sums, nor those that the next pass still needs."""
    clock = FakeClock(at(30 * DAY))
    ids = await database.write(lambda store: store.ensure_connections([ConnectionSpec("main", "", "x-1", "x")]))
    (number,) = ids.values()
    rows = [CheckRow(number, at(n * 15 * MINUTE), Reason.OK, 5) for n in range(5 * 96)]
    await database.write(lambda store: store.record_checks(rows))
    settings = RetentionSettings(checks=HOUR)

    async def left() -> int:
        retention = RetentionWorker(database, clock, settings)
        while await retention.step():
            pass
        return len(await database.read(lambda reader: list_checks(reader, number, 1000)))

    assert await left() == 5 * 96
    clock.jump(-26 * DAY)
    await add_up(database, clock)
    assert await left() == 4 * 96
    # Else retention would take it for a jump of the clock.
    await database.write(lambda store: store.record_checks([CheckRow(number, at(29 * DAY), Reason.OK, 5)]))
    clock.jump(26 * DAY)
    await add_up(database, clock)
    assert await left() == 1
    found = await database.read(partial(sums, uptime_hours))
    assert sum(found.values(), NOTHING).ok == 5 * DAY - 15 * MINUTE + 45 * MINUTE


async def test_a_clock_set_back(database: Database) -> None:
    """Checks from before the moment up to which all is added up count at once, and go on to count as the clock comes back to it."""
    clock = FakeClock(at(10 * DAY))
    ids = await database.write(lambda store: store.ensure_connections([ConnectionSpec("main", "", "x-1", "x")]))
    (number,) = ids.values()
    await add_up(database, clock)
    clock.jump(-5 * DAY)
    for hours, ok in ((0, 30), (1, 90), (30, 165)):
        clock.jump(hours * HOUR)
        rows = [CheckRow(number, clock.now() - n * 15 * MINUTE, Reason.OK, 5) for n in range(1, 4)]
        await database.write(lambda store, rows=rows: store.record_checks(rows))  # type: ignore[misc]
        await add_up(database, clock)
        assert sum((await database.read(partial(sums, uptime_hours))).values(), NOTHING).ok == ok * MINUTE
    assert await database.read(uptime_until) == clock.now()


async def test_a_long_stop(database: Database) -> None:
    """A stop of a year, or a leap of the clock by ten, is not gone through day by day, and costs nothing of what was before and after."""
    clock = FakeClock(START)
    ids = await database.write(lambda store: store.ensure_connections([ConnectionSpec("main", "", "x-1", "x")]))
    (number,) = ids.values()
    for stop in (timedelta(), 365 * DAY, 3650 * DAY):
        clock.jump(stop)
        rows = [CheckRow(number, clock.now() + n * 15 * MINUTE, Reason.OK, 5) for n in range(97)]
        await database.write(lambda store, rows=rows: store.record_checks(rows))  # type: ignore[misc]
        clock.jump(DAY + HOUR)
        assert await add_up(database, clock) <= 10
    found = await database.read(partial(sums, uptime_hours))
    assert sum(found.values(), NOTHING).ok == 3 * DAY + 2 * 45 * MINUTE


@pytest.mark.slow
async def test_in_the_daemon(tmp_path: Path) -> None:
    """
    What the daemon's own checks, incidents and outages add up to: half an hour in which a connection was broken is its
    alone, half an hour without the API is nobody's, a restart costs nothing.
    """
    clock = FakeClock()
    names = ("linkedin-a", "linkedin-b", "threads-c")
    async with monitoring(
        tmp_path, simple_world(clock, *names), clock, *names, schedule={"interval": 5 * MINUTE}, beat_seconds=30.0
    ) as one:
        rollup = UptimeRollup(registry=one.fleet, database=one.database, clock=clock, longest=92 * DAY)

        async def go_on(span: timedelta) -> None:
            await one.run(span)
            while await rollup.step():
                pass

        await one.run(MINUTE)
        # By the daemon itself, which need not be asked.
        assert await one.database.read(lambda reader: daily_uptime(reader, one.fleet.ids(), START))
        await go_on(29 * MINUTE)
        one.world.connection("linkedin-a").fail()
        await go_on(30 * MINUTE)
        one.world.connection("linkedin-a").heal()
        await go_on(30 * MINUTE)
        one.world.script.play(faults.gateway_page())
        await go_on(30 * MINUTE)
        one.world.script.play()
        await one.stop()
        await one.start()
        await go_on(30 * MINUTE)
        found = await one.database.read(lambda reader: uptimes(reader, clock.now()))
        today = await one.database.read(lambda reader: daily_uptime(reader, one.fleet.ids(), START))
        around = timedelta(minutes=7)
        for name in names:
            number = one.connection(name).id
            uptime = found[number]["24h"]
            assert uptime.within(24 * HOUR + 30 * MINUTE) == uptime
            assert [day.uptime.down for day in today[number]] == [uptime.down]
            assert abs(uptime.down - (30 * MINUTE if name == "linkedin-a" else timedelta())) <= around
            assert abs(uptime.excluded - 30 * MINUTE) <= around
            assert abs(uptime.ok - (90 if name == "linkedin-a" else 120) * MINUTE) <= 2 * around
            assert abs(uptime.unknown - 22 * HOUR) <= 2 * around
        assert found[one.connection("linkedin-b").id]["90d"].ratio == 1
