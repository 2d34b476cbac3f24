from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.recurrence import EVERY_DAY, Schedule, instant
from tests.builders import HOUR, MINUTE

BERLIN, SAO_PAULO, LORD_HOWE = "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe"
# The nights on which the clocks are changed: zone, the day, the moment in UTC, the time before and after on the wall.
SPRING = {
    BERLIN: (date(2030, 3, 31), datetime(2030, 3, 31, 1, 0, tzinfo=UTC)),  # 02:00 -> 03:00
    SAO_PAULO: (date(2018, 11, 4), datetime(2018, 11, 4, 3, 0, tzinfo=UTC)),  # 00:00 -> 01:00
    LORD_HOWE: (date(2030, 10, 6), datetime(2030, 10, 5, 15, 30, tzinfo=UTC)),  # 02:00 -> 02:30
}
AUTUMN = {
    BERLIN: (date(2030, 10, 27), datetime(2030, 10, 27, 1, 0, tzinfo=UTC)),  # 03:00 -> 02:00
    SAO_PAULO: (date(2018, 2, 17), datetime(2018, 2, 18, 2, 0, tzinfo=UTC)),  # 24:00 -> 23:00
    LORD_HOWE: (date(2030, 4, 7), datetime(2030, 4, 6, 15, 0, tzinfo=UTC)),  # 02:00 -> 01:30
}


def clock(text: str) -> timedelta:
    hours, _, minutes = text.partition(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


def weekly(start: str, end: str, zone: str = BERLIN, days: frozenset[int] = EVERY_DAY) -> Schedule:
    return Schedule(days, clock(start), clock(end), ZoneInfo(zone))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "ends"),
    [
        ("2030-01-15 20:59:59", None),
        ("2030-01-15 21:00", "2030-01-16 05:00"),
        ("2030-01-16 04:59:59", "2030-01-16 05:00"),
        ("2030-01-16 05:00", None),
        ("2030-07-15 20:00", "2030-07-16 04:00"),  # summer: an hour earlier in UTC
    ],
)
def test_over_midnight(now: str, ends: str | None) -> None:
    """A window from 22:00 to 06:00 holds from its first second until its last, on the wall of its zone."""
    assert weekly("22:00", "06:00").ends_at(utc(now)) == (utc(ends) if ends else None)


def test_days_are_those_of_the_beginning() -> None:
    """Saturday's night belongs to Saturday, also after midnight; Sunday's does not, unless it is asked for."""
    saturday = weekly("22:00", "06:00", days=frozenset({5}))
    assert saturday.ends_at(utc("2030-01-19 22:00")) == utc("2030-01-20 05:00")
    assert saturday.ends_at(utc("2030-01-20 04:00")) == utc("2030-01-20 05:00")
    assert saturday.ends_at(utc("2030-01-20 22:00")) is None
    assert saturday.ends_at(utc("2030-01-19 04:00")) is None
    assert saturday.starts_at(utc("2030-01-19 21:00")) == utc("2030-01-26 21:00")


def test_whole_days() -> None:
    """From 00:00 to 24:00 is the whole day, and two such days leave no gap between them."""
    weekend = weekly("00:00", "24:00", days=frozenset({5, 6}))
    moment = utc("2030-01-18 23:00")
    while moment < utc("2030-01-20 23:00"):
        assert weekend.ends_at(moment) is not None, moment
        moment += 7 * MINUTE
    assert weekend.ends_at(utc("2030-01-20 23:00")) is None
    assert weekend.ends_at(utc("2030-01-18 22:59:59")) is None


@pytest.mark.parametrize("zone", [BERLIN, SAO_PAULO, LORD_HOWE])
def test_time_that_is_left_out(zone: str) -> None:
    """A time of day that the clocks jump over is the moment of the jump, as a beginning and as an end."""
    day, jump = SPRING[zone]
    local = (jump - timedelta(minutes=1)).astimezone(ZoneInfo(zone))
    wall = timedelta(hours=local.hour, minutes=local.minute) + timedelta(minutes=10)
    if local.date() != day:
        wall -= timedelta(days=1)
    assert instant(day, wall, ZoneInfo(zone), last=False) == jump
    assert instant(day, wall, ZoneInfo(zone), last=True) == jump


@pytest.mark.parametrize("zone", [BERLIN, SAO_PAULO, LORD_HOWE])
def test_time_that_comes_twice(zone: str) -> None:
    """Of a time of day that comes twice, a beginning is the first and an end is the second."""
    day, back = AUTUMN[zone]
    local = (back + timedelta(minutes=10)).astimezone(ZoneInfo(zone))
    wall = timedelta(hours=local.hour, minutes=local.minute)
    twice = timedelta(minutes=30 if zone == LORD_HOWE else 60)
    assert instant(day, wall, ZoneInfo(zone), last=True) == back + timedelta(minutes=10)
    assert instant(day, wall, ZoneInfo(zone), last=False) == back + timedelta(minutes=10) - twice


@pytest.mark.parametrize(
    ("zone", "night", "hours"),
    [
        (BERLIN, "2030-03-30", 7.0),
        (BERLIN, "2030-10-26", 9.0),
        (SAO_PAULO, "2018-11-03", 7.0),
        (SAO_PAULO, "2018-02-17", 9.0),
        (LORD_HOWE, "2030-10-05", 7.5),
        (LORD_HOWE, "2030-04-06", 8.5),
        (BERLIN, "2030-05-05", 8.0),
    ],
)
def test_quiet_nights(zone: str, night: str, hours: float) -> None:
    """On the nights on which the clocks change, 22:00 to 06:00 is one window without a hole, as long as on the wall."""
    window = weekly("22:00", "06:00", zone)
    moment = datetime.fromisoformat(f"{night} 12:00").replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    start = window.starts_at(moment)
    end = window.ends_at(start)
    assert end is not None
    assert end - start == timedelta(hours=hours)
    held = [window.ends_at(moment + step * MINUTE) is not None for step in range(24 * 60)]
    assert sum(held) == hours * 60
    assert sum(one != other for one, other in pairwise(held)) == 2


@pytest.mark.parametrize(("zone", "spring"), [(zone, season) for zone in (BERLIN, SAO_PAULO, LORD_HOWE) for season in (True, False)])
def test_windows_within_the_change(zone: str, spring: bool) -> None:
    """A window that begins and ends within the change holds over the time that comes twice, and not at all over one left out."""
    _, change = (SPRING if spring else AUTUMN)[zone]
    wall = change.astimezone(ZoneInfo(zone))
    start = timedelta(hours=wall.hour, minutes=wall.minute)
    shift = timedelta(minutes=30 if zone == LORD_HOWE else 60)
    if spring:
        window = Schedule(
            EVERY_DAY, (start - shift + 5 * MINUTE) % (24 * HOUR), (start - shift + 20 * MINUTE) % (24 * HOUR), ZoneInfo(zone)
        )
        assert not any(window.ends_at(change + step * MINUTE) for step in range(-30, 30))
        return
    window = Schedule(EVERY_DAY, start + 5 * MINUTE, start + 20 * MINUTE, ZoneInfo(zone))
    held = [step for step in range(-90, 90) if window.ends_at(change + step * MINUTE) is not None]
    assert held == list(range(5 - shift // MINUTE, 20))


@given(
    start=st.integers(0, 1439),
    end=st.integers(1, 1440),
    zone=st.sampled_from([BERLIN, SAO_PAULO, LORD_HOWE, "America/St_Johns", "Africa/Casablanca", "UTC"]),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    offset=st.integers(0, 60 * 24 * 365),
)
def test_beginning_and_end_agree(start: int, end: int, zone: str, days: frozenset[int], offset: int) -> None:
    """Whatever the window and the zone: what begins later than now ends after its beginning, and then it is over."""
    window = Schedule(days, start * MINUTE, end * MINUTE, ZoneInfo(zone))
    now = utc("2018-01-01 00:00") + offset * MINUTE
    begins = window.starts_at(now)
    assert begins > now
    ends = window.ends_at(begins)
    assert ends is not None
    assert begins < ends <= begins + 26 * HOUR
    running = window.ends_at(now)
    assert running is None or running > now


def test_a_week_left_out() -> None:
    """A window that the jump of the clocks swallows is followed by the one a week later."""
    window = weekly("02:05", "02:20", BERLIN, days=frozenset({6}))
    assert window.starts_at(utc("2030-03-25 00:00")) == utc("2030-04-07 00:05")
