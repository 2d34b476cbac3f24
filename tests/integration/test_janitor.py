from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select

from monitor.config import RetentionSettings
from monitor.db import AttemptRow, CheckRow, Database, DeliveryState, NewConnection, Store, bookkeeping
from monitor.db.tables import attempts, checks, deliveries, incidents, messages, notifications
from monitor.domain.model import FINE, EventType, IncidentRef, Notification, Scope, Severity, Topic, Transition, Why
from monitor.errors import DeliveryReason, Reason
from monitor.janitor import Janitor
from monitor.simulator.clock import FakeClock
from tests.builders import DAY, HOUR, MINUTE, START, at

SETTINGS = RetentionSettings(checks=10 * DAY, incidents=100 * DAY, deliveries=30 * DAY, dead_deliveries=90 * DAY)


def count(store: Store) -> dict[str, int]:
    return {
        table.name: store._rows(select(func.count()).select_from(table))[0][0]
        for table in (checks, messages, incidents, notifications, deliveries, attempts)
    }


async def work_off(janitor: Janitor) -> int:
    steps = 1
    while await janitor.step():
        steps += 1
        assert steps < 1000
    return steps


def janitor_at(database: Database, after: timedelta) -> Janitor:
    return Janitor(database, FakeClock(at(after)), SETTINGS)


async def fill_checks(database: Database, connections: int, each: int, apart: timedelta) -> list[int]:
    """Checks that are added up already."""
    wanted = [NewConnection("main", "", f"x-{n:04}", "x") for n in range(connections)]
    ids = list((await database.write(lambda store: store.ensure_connections(wanted))).values())
    rows = [CheckRow(one, at(n * apart), Reason.OK, 5, 200, "59d 3h", f"text {n // 85}") for one in ids for n in range(each)]
    await database.write(partial(bookkeeping.put_until, until=at(1000 * DAY)))
    for start in range(0, len(rows), 50_000):
        await database.write(lambda store, part=rows[start : start + 50_000]: store.record_checks(part))  # type: ignore[misc]
    return ids


async def test_checks_by_age(database: Database) -> None:
    """Old checks go, a thousand at most in a step, and with them the texts that no check has any more."""
    ids = await fill_checks(database, 7, 1000, HOUR)
    janitor = janitor_at(database, 20 * DAY + 12 * HOUR)
    before = (await database.write(count))["checks"]
    assert await janitor.step()
    assert 0 < before - (await database.write(count))["checks"] <= 1000

    await work_off(janitor)
    for one in ids:
        history = await database.read(lambda reader, one=one: reader.history(one, 2000))  # type: ignore[misc]
        assert [row.at for row in history] == [at(n * HOUR) for n in range(999, 251, -1)]
        assert {row.detail for row in history} == {f"text {n // 85}" for n in range(252, 1000)}, "no check lost its text"
    assert (await database.write(count))["messages"] == len({n // 85 for n in range(252, 1000)})
    assert not await janitor.step(), "nothing more to do"


async def test_what_is_owed_stays(database: Database) -> None:
    """Pending deliveries, and those of open incidents, outlive every limit; the rest goes with its attempts."""
    opened = [_transition("closed", FINE), _transition("open", "error"), _transition("recent", "error")]
    await database.write(lambda store: store.apply_transitions(opened))
    ends = {"pending": None, "delivered": DeliveryState.DELIVERED, "dead": DeliveryState.DEAD, "open": DeliveryState.DELIVERED}
    for subject, end in ends.items():
        await database.write(partial(_tell, subject, end))
    assert (await database.write(count))["attempts"] == 4

    async def left(after: timedelta) -> set[str]:
        await work_off(janitor_at(database, after))
        rows = await database.read(lambda reader: reader.deliveries())
        assert {row.body.decode() for row in rows} == {
            row.notification.incident.subject for row in await database.read(lambda reader: reader.notifications())
        }
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
    await work_off(Janitor(database, clock, SETTINGS))
    assert _size(path) < full / 5
    assert _size(path.with_name("monitor.db-wal")) == 0
    await database.close()


def _tell(subject: str, end: DeliveryState | None, store: Store) -> None:
    store.add_notification(f"msg_{subject}", _notification(subject), "key", subject.encode(), ["on-call"])
    (row,) = store.deliveries(subject=subject)
    attempt = AttemptRow(START, DeliveryReason.DELIVERED, 5, 200)
    store.record_attempt(row, attempt, end or DeliveryState.PENDING, None if end else at(HOUR))


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
        why=Why.OPENED,
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
