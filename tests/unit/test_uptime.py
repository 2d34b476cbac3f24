import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.reasons import Health
from monitor.domain.silencing.silences import RecurringSilence, silenced_spans
from monitor.domain.states import SuppressionReason
from monitor.domain.time_spans import Span, difference, intersection, union
from monitor.domain.uptime import NOTHING, WINDOWS, Evidence, IncidentSpan, Uptime, UptimeInput, begin, by_hour, hour_of
from tests.builders import DAY, HOUR, MINUTE, START, a_connection, a_silence, at

OK, ERROR, UNSUPPORTED = Health.OK, Health.ERROR, Health.UNSUPPORTED
REACH = 45 * MINUTE


def minutes(*numbers: int) -> list[Span]:
    """Spans between pairs of minutes after `START`."""
    return [Span(at(one * MINUTE), at(other * MINUTE)) for one, other in zip(numbers[::2], numbers[1::2], strict=True)]


_spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: minutes(*pair)[0]), max_size=8)


def inside(spans: Sequence[Span]) -> set[int]:
    """The minutes after `START` that are in one of *spans*."""
    return {minute for minute in range(50) if any(span.start <= at(minute * MINUTE) < span.end for span in spans)}


@given(_spans, _spans)
def test_sets_of_time(one: list[Span], other: list[Span]) -> None:
    """Union, common part and difference hold exactly the minutes that they should, in order, and none touches the next."""
    first, second = union(one), union(other)
    for result, wanted in (
        (union(one + other), inside(one) | inside(other)),
        (intersection(first, second), inside(one) & inside(other)),
        (difference(first, second), inside(one) - inside(other)),
    ):
        assert inside(result) == wanted
        assert result == union(result)


def a_life(checks: Sequence[tuple[int, Health]], **overrides: object) -> UptimeInput:
    """The life of a connection with these checks: minutes after `START`, and what they told."""
    values: dict[str, object] = {
        "monitored": Span(START, at(10 * DAY)),
        "evidence": [Evidence(at(minute * MINUTE), health) for minute, health in checks],
        "incidents": (),
        "excluded": (),
        "reach": REACH,
    }
    return UptimeInput(**(values | overrides))  # type: ignore[arg-type]


def total(life: UptimeInput, hours: int = 6) -> list[int]:
    """Minutes that were ok, down, excluded and unknown in the first *hours*."""
    uptime = sum(by_hour(life, START, at(hours * HOUR)).values(), NOTHING).within(hours * HOUR)
    return [part // MINUTE for part in (uptime.ok, uptime.down, uptime.excluded, uptime.unknown)]


def incident(opened: int, closed: int | None = None) -> IncidentSpan:
    """An incident between these minutes after `START`."""
    return IncidentSpan(at(opened * MINUTE), None if closed is None else at(closed * MINUTE))


QUARTERS = range(0, 361, 15)
STORIES: dict[str, tuple[UptimeInput, list[int]]] = {
    "always good": (a_life([(n, OK) for n in QUARTERS]), [360, 0, 0, 0]),
    "never checked": (a_life([]), [0, 0, 0, 360]),
    "a single check": (a_life([(30, OK)]), [30, 0, 0, 330]),
    "before its first check it was not watched": (
        a_life([(100, OK), (115, OK)], monitored=Span(at(100 * MINUTE), at(DAY))),
        [15, 0, 0, 345],
    ),
    "a gap: a check speaks for so much and no more": (a_life([(0, OK), (15, OK), (300, OK)]), [60, 0, 0, 300]),
    "a blip that was not confirmed costs nothing": (a_life([(n, ERROR if n == 60 else OK) for n in QUARTERS]), [360, 0, 0, 0]),
    "down since the first failure, not since its confirmation": (
        a_life([(n, ERROR if n in (60, 75, 90) else OK) for n in QUARTERS], incidents=[incident(75, 120)]),
        [315, 45, 0, 0],
    ),
    "still down": (a_life([(n, ERROR if n >= 300 else OK) for n in QUARTERS], incidents=[incident(315)]), [300, 60, 0, 0]),
    "a good check amid an incident ends nothing": (
        a_life([(n, ERROR if 60 <= n <= 120 and n != 90 else OK) for n in QUARTERS], incidents=[incident(75, 150)]),
        [285, 75, 0, 0],
    ),
    "nobody looked while it was down": (a_life([(0, OK), (15, ERROR), (300, ERROR)], incidents=[incident(15)]), [15, 45, 0, 300]),
    "not testable": (a_life([(n, UNSUPPORTED if n > 180 else OK) for n in QUARTERS]), [180, 0, 180, 0]),
    "silenced, also while it is down": (
        a_life(
            [(n, ERROR if n >= 60 else OK) for n in QUARTERS],
            incidents=[incident(75)],
            excluded=minutes(100, 200, 150, 220),
        ),
        [60, 180, 120, 0],
    ),
    "an outage counts also where nobody looked": (a_life([(0, OK), (300, OK), (360, OK)], excluded=minutes(30, 250)), [90, 0, 220, 50]),
    "nothing counts after it was retired": (
        a_life([(0, OK), (30, OK), (60, OK)], monitored=Span(START, at(50 * MINUTE)), excluded=minutes(45, 200)),
        [45, 0, 5, 310],
    ),
    "an incident that closed because it was no longer testable": (
        a_life([(0, OK), (30, ERROR), (60, ERROR), (90, UNSUPPORTED), (120, UNSUPPORTED)], incidents=[incident(60, 90)]),
        [30, 30, 60, 240],
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_stories(story: str) -> None:
    """What counts as ok, down, excluded and unknown, told by examples; the four are always the whole time."""
    life, wanted = STORIES[story]
    assert total(life) == wanted
    assert sum(wanted) == 360


def brute_force(life: UptimeInput, moment: datetime) -> str:
    """What *moment* counts as, by looking at it alone."""
    if not life.monitored.start <= moment < life.monitored.end:
        return "unknown"
    if any(span.start <= moment < span.end for span in life.excluded):
        return "excluded"
    following = next((one for one in life.evidence if one.at > moment), None)
    if following is None or following.at - moment > life.reach:
        return "unknown"
    if following.health is UNSUPPORTED:
        return "excluded"
    return "down" if any(_holds(life, one, moment) for one in life.incidents) else "ok"


def _holds(life: UptimeInput, one: IncidentSpan, moment: datetime) -> bool:
    begun = moment >= one.opened_at or _nothing_but(life, moment, one.opened_at, failed=True)
    ended = one.closed_at is not None and (moment >= one.closed_at or _nothing_but(life, moment, one.closed_at, failed=False))
    return begun and not ended


def _nothing_but(life: UptimeInput, moment: datetime, until: datetime, *, failed: bool) -> bool:
    """Whether the last check before *moment* failed (or not), and so did all that followed until *until*."""
    last = [one for one in life.evidence if one.at <= moment][-1:]
    following = [one for one in life.evidence if moment < one.at <= until]
    return bool(last) and all((one.health is ERROR) is failed for one in last + following)


def a_random_life(rng: random.Random) -> UptimeInput:
    """Ten hours of checks, incidents and excuses without much sense."""
    moments = sorted(rng.sample(range(600), rng.randrange(60)))
    checks = [(moment, rng.choice((OK, OK, ERROR, ERROR, UNSUPPORTED))) for moment in moments]
    cuts = sorted(rng.sample(range(600), 2 * rng.randrange(4)))
    incidents = [incident(one, other) for one, other in zip(cuts[::2], cuts[1::2], strict=True)]
    if incidents and rng.random() < 0.3:
        incidents[-1] = IncidentSpan(incidents[-1].opened_at)
    excused = [minutes(begin, begin + rng.randrange(90))[0] for begin in rng.sample(range(600), rng.randrange(4))]
    watched = Span(at((checks[0][0] if checks else 0) * MINUTE), at(rng.choice((300, 700)) * MINUTE))
    return a_life(checks, incidents=incidents, excluded=excused, monitored=watched, reach=rng.choice((10, 45, 600)) * MINUTE)


@pytest.mark.slow
def test_against_brute_force() -> None:
    """Four hundred random lives, minute by minute: the sums of every hour are exactly what looking at each minute gives."""
    for seed in range(400):
        life = a_random_life(random.Random(seed))
        found = by_hour(life, START, at(10 * HOUR))
        for hour in range(10):
            counted = [brute_force(life, at(hour * HOUR + minute * MINUTE)) for minute in range(60)]
            uptime = found.get(at(hour * HOUR), NOTHING).within(HOUR)
            parts = {"ok": uptime.ok, "down": uptime.down, "excluded": uptime.excluded, "unknown": uptime.unknown}
            assert parts == {kind: counted.count(kind) * MINUTE for kind in parts}, (seed, hour)
        assert set(found) <= {at(hour * HOUR) for hour in range(10)}


@given(st.integers(0, 599), st.integers(0, 10_000))
def test_pieces_make_the_whole(cut: int, seed: int) -> None:
    """It does not matter in how many pieces a life is added up, as long as each begins at a full hour."""
    life = a_random_life(random.Random(seed))
    middle = hour_of(at(cut * MINUTE))
    assert by_hour(life, START, middle) | by_hour(life, middle, at(10 * HOUR)) == by_hour(life, START, at(10 * HOUR))


def test_ratio() -> None:
    """The ratio is of the time that counts; where none does there is no ratio, not a hundred percent."""
    assert Uptime(3 * HOUR, HOUR, 5 * HOUR, 7 * HOUR).ratio == 0.75
    assert Uptime(excluded=HOUR, unknown=HOUR).ratio is None
    assert Uptime(ok=HOUR).ratio == 1


def test_windows() -> None:
    """A window begins at the full hour before, that of 90 days at midnight UTC: today and the 89 days before it."""
    now = at(100 * DAY + 5 * HOUR + 20 * MINUTE)
    local = now.astimezone(timezone(timedelta(hours=5, minutes=45)))
    for moment in (now, local):
        assert {name: begin(name, moment) for name in WINDOWS} == {
            "24h": at(99 * DAY + 5 * HOUR),
            "7d": at(93 * DAY + 5 * HOUR),
            "30d": at(70 * DAY + 5 * HOUR),
            "90d": at(11 * DAY),
        }
    assert begin("24h", local).tzinfo is UTC


def test_silenced() -> None:
    """Silences that match a failure of the connection excuse it until they end or are ended; quiet hours and others do not."""
    connection = a_connection(1, labels={"team": "social"})
    matching = a_silence(1, match={"team": "social"}, ends_at=at(2 * HOUR), expired_at=at(HOUR))
    other = a_silence(2, match={"platform": "threads"})
    of_expiry = a_silence(3, match={"type": "token.*"})
    recurring = RecurringSilence("deploy", {"platform": "linkedin"}, None, SuppressionReason.SILENCED)  # type: ignore[arg-type]
    night = RecurringSilence("night", {}, None, SuppressionReason.QUIET_HOURS)  # type: ignore[arg-type]
    windows = [(recurring, minutes(200, 210)), (night, minutes(300, 400))]
    assert list(silenced_spans(connection, (matching, other, of_expiry), windows)) == minutes(0, 60, 200, 210)
