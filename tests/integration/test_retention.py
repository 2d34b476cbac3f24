from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from monitor.config import RetentionSettings
from monitor.db import (
    AttemptRow,
    CheckRow,
    Database,
    DeliveryState,
    Store,
    database_size,
    list_checks,
    list_deliveries,
    list_notifications,
    uptime,
)
from monitor.db.tables import attempts, checks, deliveries, incidents, messages, notifications
from monitor.domain.connections import ConnectionSpec
from monitor.domain.events import FINE, EventType, IncidentRef, Notification, NotificationReason, Severity, Topic, Transition
from monitor.domain.reasons import Scope
from monitor.domain.uptime import Uptime
from monitor.errors import DeliveryReason, Reason
from monitor.workers.retention import RetentionWorker
from tests.builders import DAY, HOUR, MINUTE, START, at
from tests.clock import FakeClock

SETTINGS = RetentionSettings(checks=10 * DAY, incidents=100 * DAY, deliveries=30 * DAY, dead_deliveries=90 * DAY)


def count(store: Store) -> dict[str, int]:
    return {
        table.name: store.rows(select(func.count()).select_from(table))[0][0]
        for table in (checks, messages, incidents, notifications, deliveries, attempts)
    }


async def work_off(retention: RetentionWorker) -> int:
    steps = 1
    while await retention.step():
        steps += 1
        assert steps < 1000
    return steps


def retention_at(database: Database, after: timedelta) -> RetentionWorker:
    return RetentionWorker(database, FakeClock(at(after)), SETTINGS)


async def fill_checks(database: Database, connections: int, each: int, apart: timedelta) -> list[int]:
    """Checks that are added up already."""
    wanted = [ConnectionSpec("main", "", f"x-{n:04}", "x") for n in range(connections)]
    ids = list((await database.write(lambda store: store.ensure_connections(wanted))).values())
    rows = [CheckRow(one, at(n * apart), Reason.OK, 5, 200, "59d 3h", f"text {n // 85}") for one in ids for n in range(each)]
    await database.write(partial(uptime.put_until, until=at(1000 * DAY)))
    for start in range(0, len(rows), 50_000):
        await database.write(lambda store, part=rows[start : start + 50_000]: store.record_checks(part))  # type: ignore[misc]
    return ids


async def test_checks_by_age(database: Database) -> None:
    """Old checks go, a thousand at most in a step, and with them the texts that no check has any more."""
    ids = await fill_checks(database, 7, 1000, HOUR)
    retention = retention_at(database, 20 * DAY + 12 * HOUR)
    before = (await database.write(count))["checks"]
    assert await retention.step()
    assert 0 < before - (await database.write(count))["checks"] <= 1000

    await work_off(retention)
    for one in ids:
        history = await database.read(lambda reader, one=one: list_checks(reader, one, 2000))  # type: ignore[misc]
        assert [row.at for row in history] == [at(n * HOUR) for n in range(999, 251, -1)]
        assert {row.detail for row in history} == {f"text {n // 85}" for n in range(252, 1000)}, "no check lost its text"
    assert (await database.write(count))["messages"] == len({n // 85 for n in range(252, 1000)})
    assert not await retention.step(), "nothing more to do"


async def test_what_is_owed_stays(database: Database) -> None:
    """Pending deliveries, and those of open incidents, outlive every limit; the rest goes with its attempts."""
    opened = [_transition("closed", FINE), _transition("open", "error"), _transition("recent", "error")]
    await database.write(lambda store: store.apply_transitions(opened))
    ends = {"pending": None, "delivered": DeliveryState.DELIVERED, "dead": DeliveryState.DEAD, "open": DeliveryState.DELIVERED}
    for subject, end in ends.items():
        await database.write(partial(_tell, subject, end))
    assert (await database.write(count))["attempts"] == 4

    async def left(after: timedelta) -> set[str]:
        await work_off(retention_at(database, after))
        rows = await database.read(list_deliveries)
        assert {row.body.decode() for row in rows} == {row.notification.incident.subject for row in await database.read(list_notifications)}
        return {row.subject for row in rows}

    assert await left(29 * DAY) == {"pending", "delivered", "dead", "open"}
    assert await left(31 * DAY) == {"pending", "dead", "open"}
    assert await left(99 * DAY) == {"pending", "open"}
    assert (await database.write(count))["incidents"] == 3
    assert await left(2000 * DAY) == {"pending", "open"}
    assert await database.write(count) == {
        "checks": 0,
        "messages": 0,
        "incidents": 2,
        "notifications": 2,
        "deliveries": 2,
        "attempts": 2,
    }

    await database.write(lambda store: store.apply_transitions([_transition("open", FINE)]))
    assert await left(2000 * DAY) == {"pending"}


async def test_who_was_told_is_known_at_the_end(database: Database) -> None:
    """
    Who heard of an incident is remembered until its end can have been told, also when it ended long after they heard, and when they
    know it by the number of one that ended unheard.
    """

    async def happens(number: int, level: str, moment: timedelta) -> None:
        one = replace(_transition("it", level), incident=replace(_incident("it"), number=number), at=at(moment))
        await database.write(lambda store: store.apply_transitions([one]))

    async def remembered(after: timedelta) -> tuple[str, ...]:
        await work_off(retention_at(database, after))
        return await database.write(lambda store: store.outbox.receivers_notified("key"))

    await happens(1, "error", timedelta(0))
    await database.write(partial(_tell, "it", DeliveryState.DELIVERED))
    await happens(1, FINE, 40 * DAY)
    assert await remembered(41 * DAY) == ("on-call",)
    await happens(2, "error", 42 * DAY)
    assert await remembered(90 * DAY) == ("on-call",)
    await happens(2, FINE, 91 * DAY)
    assert await remembered(120 * DAY) == ("on-call",)
    assert await remembered(122 * DAY) == ()


@pytest.mark.slow
async def test_the_file_shrinks(sqlite_url: str) -> None:
    """After retention the file is small again and the write-ahead log empty."""
    clock = FakeClock(at(DAY))
    database = Database(sqlite_url, clock=clock, owner="test")
    await database.start()
    await fill_checks(database, 100, 1000, MINUTE)
    await database.tidy()
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    full = _size(path)

    clock.jump(100 * DAY)
    await work_off(RetentionWorker(database, clock, SETTINGS))
    assert _size(path) < full / 5
    assert _size(path.with_name("monitor.db-wal")) == 0
    await database.close()


@pytest.mark.slow
async def test_checks_by_size(database: Database) -> None:
    """
    Of a database that is too large the oldest checks of all connections go, until it is not, and nothing else: not the sums made
    of them, not what is owed, nor what belongs to open incidents; those of the last three days stay however large it is.
    """
    empty = await _settled_size(database)
    ids = await fill_checks(database, 20, 1500, HOUR)
    await database.write(lambda store: store.apply_transitions([_transition("open", "error")]))
    await database.write(partial(_tell, "open", DeliveryState.DELIVERED))
    await database.write(partial(_tell, "pending", None))
    known = {(ids[0], at(hours * HOUR)): Uptime(ok=HOUR) for hours in (0, 1450)}
    await database.write(partial(uptime.put_hours, changed=known))
    now = at(1500 * HOUR)
    await database.write(partial(uptime.put_until, until=now))
    full = await _settled_size(database)

    async def keep(size: int) -> tuple[int, list[datetime]]:
        settings = RetentionSettings(max_size=max(size, 1_000_000))
        retention = RetentionWorker(database, FakeClock(now), settings)
        # The test's data is smaller than anybody's limit.
        retention._settings = settings.model_copy(update={"max_size": size})
        steps = 1
        while await retention.step():
            steps += 1
            assert steps < 2000
            await _settled_size(database)
        histories = [await database.read(lambda reader, one=one: list_checks(reader, one, 5000)) for one in ids]  # type: ignore[misc]
        assert all(history[0].at == at(1499 * HOUR) for history in histories), "the newest stay"
        return await _settled_size(database), [history[-1].at for history in histories]

    limit = empty + (full - empty) * 6 // 10
    size, oldest = await keep(limit)
    # PostgreSQL estimates, and its own tables grow and shrink a little meanwhile.
    about = 200_000 if "sqlite" in type(database._backend).__name__.lower() else limit // 6
    assert empty + (full - empty) // 3 < size <= limit + about
    assert max(oldest) - min(oldest) <= HOUR, "of all connections alike"
    assert at(10 * DAY) < oldest[0] < at(50 * DAY)
    assert (await keep(limit + 300_000 + about))[1] == oldest, "nothing more goes"
    _, oldest = await keep(1000)
    assert set(oldest) == {now - 3 * DAY}
    assert {row.subject for row in await database.read(list_deliveries)} == {"open", "pending"}
    assert (await database.write(count))["incidents"] == 1
    days = await database.read(lambda reader: uptime.daily_uptime(reader, ids[:1], START))
    assert days[ids[0]][0].uptime.ok == HOUR


async def _settled_size(database: Database) -> int:
    """The size, once PostgreSQL's counters know of the last changes."""

    def analyze(store: Store) -> None:
        if store.dialect == "postgresql":
            store.change(text("ANALYZE checks"), {})

    await database.write(analyze)
    return await database.read(database_size)


async def test_a_clock_that_leaps(database: Database) -> None:
    """A clock that leaps ten years ahead deletes nothing for a day; set right within it, it did no harm. If it stays, it is believed."""
    ids = await fill_checks(database, 2, 300, HOUR)
    clock = FakeClock(at(300 * HOUR))
    await database.write(partial(uptime.put_hours, changed={(ids[0], at(240 * HOUR)): Uptime(ok=HOUR)}))
    retention = RetentionWorker(database, clock, SETTINGS)
    await work_off(retention)
    kept = (await database.write(count))["checks"]
    assert 0 < kept < 600

    clock.jump(3650 * DAY)
    await database.write(partial(uptime.put_until, until=clock.now()))
    for _ in range(23):
        assert not await retention.step()
        await clock.advance(HOUR)
    assert (await database.write(count))["checks"] == kept
    clock.jump(-3650 * DAY)
    await retention.step()
    assert (await database.write(count))["checks"] > 0.8 * kept

    clock.jump(3650 * DAY)
    assert not await retention.step()
    await clock.advance(DAY + HOUR)
    await work_off(retention)
    assert (await database.write(count))["checks"] == 0


def _tell(subject: str, end: DeliveryState | None, store: Store) -> None:
    store.outbox.add_notification(f"msg_{subject}", _notification(subject), "key", subject.encode(), ["on-call"])
    (row,) = list_deliveries(store, subject=subject)
    attempt = AttemptRow(START, DeliveryReason.DELIVERED, 5, 200)
    store.outbox.record_attempt(row, attempt, end or DeliveryState.PENDING, None if end else at(HOUR))


def _size(path: Path) -> int:
    return path.stat().st_size


def _incident(subject: str) -> IncidentRef:
    return IncidentRef(Topic.CONNECTION, subject, 1, START)


def _transition(subject: str, level: str) -> Transition:
    why = "recovered" if level == FINE else None
    return Transition(_incident(subject), Scope.CONNECTION, None, level, START, Severity.CRITICAL, Reason.TOKEN_EXPIRED, "", why)


def _notification(subject: str) -> Notification:
    return Notification(
        type=EventType.CONNECTION_FAILED,
        why=NotificationReason.OPENED,
        severity=Severity.CRITICAL,
        at=START,
        incident=_incident(subject),
        scope=Scope.CONNECTION,
        connection_id=None,
        level_from=FINE,
        level_to="error",
        reason=Reason.TOKEN_EXPIRED,
        detail="expired",
        seq=1,
    )
