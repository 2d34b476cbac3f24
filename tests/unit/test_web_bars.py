"""How much of the time a connection worked, and how long its checks took, as they are drawn."""

from datetime import date, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.db import LatencyRow
from monitor.domain.uptime import DayUptime, OpenOutage, Uptime
from monitor.domain.views.status import Tone
from monitor.errors import Reason
from monitor.text.format import clock, percent, short_day
from monitor.web.pages.charts import DAYS, PITCH, Bar, Spark, WindowUptime, bar_of, spark_of, windows_of
from monitor.web.pages.response import HEIGHT, MOST_CHECKS, RESPONSE_WINDOWS, ResponseBucket, buckets_of, chart_of
from tests.builders import DAY, HOUR, MINUTE, SECOND, START

NOW = START + 100 * DAY + HOUR
TODAY = date(2030, 4, 11)
GOOD = Uptime(ok=DAY)


def _days(*uptimes: Uptime) -> list[DayUptime]:
    """These days, the last of them today."""
    return [DayUptime(TODAY - n * DAY, uptime) for n, uptime in enumerate(reversed(uptimes))][::-1]


def _bar(*uptimes: Uptime) -> Bar:
    bar = bar_of(_days(*uptimes), NOW)
    assert bar is not None
    return bar


@pytest.mark.parametrize(
    ("uptime", "tone", "note"),
    [
        (GOOD, Tone.GOOD, "no downtime"),
        (Uptime(ok=HOUR, unknown=23 * HOUR), Tone.GOOD, "no downtime"),
        (Uptime(ok=DAY - HOUR, down=HOUR), Tone.WARN, "down for 1h, 95.83 %"),
        (Uptime(ok=12 * HOUR, down=12 * HOUR), Tone.BAD, "down for 12h, 50 %"),
        (Uptime(down=DAY), Tone.BAD, "down for 1d, 0 %"),
        (Uptime(excluded=DAY), Tone.IDLE, "excluded: not testable, silenced, or during a scope incident"),
        (Uptime(unknown=DAY), None, "no checks"),
    ],
)
def test_day(uptime: Uptime, tone: Tone | None, note: str) -> None:
    """A day is as bad as the share of it that counts and was down; what was not looked at is never called good."""
    slot = _bar(GOOD, uptime).slots[-1]

    assert (slot.tone, slot.note) == (tone, note)
    assert slot.text == f"Thu 11 Apr 2030: {note}"


def test_bar() -> None:
    """Ninety days end today, days without a row are unknown, and the troubled ones can be read one by one, newest first."""
    bar = _bar(GOOD, Uptime(ok=12 * HOUR, down=12 * HOUR), GOOD, Uptime(down=DAY), GOOD)

    assert (len(bar.slots), bar.slots[0].day, bar.slots[-1].day) == (DAYS, TODAY - 89 * DAY, TODAY)
    assert [slot.day for slot in bar.troubled] == [TODAY - DAY, TODAY - 3 * DAY]
    assert (bar.percent, bar.counted) == ("70 %", "of the 5d counted")
    assert bar.text == "Uptime 70 % of the 5d counted, 2 days with downtime."


def test_windows() -> None:
    """Every window has its share, also that of the last 24 hours; one of which nothing is known has none."""
    uptimes = {"24h": Uptime(ok=DAY), "7d": Uptime(ok=6 * DAY, down=DAY), "30d": Uptime(ok=9 * DAY, down=DAY)}
    assert windows_of(uptimes, NOW) == (
        WindowUptime("24 hours", "100 %", ""),
        WindowUptime("7 days", "85.71 %", ""),
        WindowUptime("30 days", "90 %", "of the 10d counted"),
        WindowUptime("90 days", "", ""),
    )


def test_short_history() -> None:
    """A share is never of more time than counts: 51 seconds are no 90 days, and are said once; silenced time is no part of them."""
    seen = Uptime(down=51 * SECOND)
    assert windows_of(dict.fromkeys(("24h", "7d", "30d", "90d"), seen), NOW) == (WindowUptime("24 hours", "0 %", "of the 51s counted"),)
    assert _bar(seen).counted == "of the 51s counted"
    assert _bar(Uptime(down=51 * SECOND, excluded=HOUR)).counted == "of the 51s counted"


def test_open_outage() -> None:
    """An open incident counts from its first failed check on, in every window and in today's slot, before it is added up."""
    opened_at = NOW - 4 * MINUTE
    before = OpenOutage(opened_at - MINUTE, opened_at, until=opened_at - 30 * SECOND)
    known = OpenOutage(opened_at - MINUTE, opened_at, until=NOW - MINUTE)

    assert before.counted_in(Uptime(ok=HOUR), NOW - HOUR, NOW) == Uptime(ok=HOUR - 30 * SECOND, down=5 * MINUTE)
    assert known.counted_in(Uptime(ok=HOUR, down=4 * MINUTE), NOW - HOUR, NOW) == Uptime(ok=HOUR, down=5 * MINUTE)
    assert before.counted_in(Uptime(ok=HOUR), NOW - 2 * HOUR, NOW - HOUR) == Uptime(ok=HOUR)
    assert OpenOutage(opened_at, opened_at).counted_in(Uptime(unknown=HOUR), NOW - HOUR, NOW) == Uptime(
        down=4 * MINUTE, unknown=56 * MINUTE
    )
    bar = bar_of(_days(GOOD, Uptime(ok=HOUR)), NOW, before)
    assert bar is not None
    assert bar.slots[-1].tone is Tone.BAD
    assert next(window.share for window in windows_of({"24h": Uptime(ok=DAY)}, NOW, before)) == "99.65 %"


def test_calm_bar_is_one_run() -> None:
    """Days of which the same is to be said are drawn as one, so that a calm connection costs a page next to nothing."""
    bar = _bar(*[GOOD] * 90)

    assert [(run.x, run.width, run.text) for run in bar.runs] == [(0, 90 * PITCH, "Sat 12 Jan 2030 to Thu 11 Apr 2030: no downtime")]
    assert bar.text == "Uptime 100 % in the last 90 days, no downtime."


def test_nothing_known() -> None:
    """There is no bar of a connection of which nothing was ever added up."""
    assert bar_of([], NOW) is None
    assert bar_of(_days(Uptime(unknown=DAY)), NOW) is None


def test_nothing_counts() -> None:
    """A connection that can't be tested has no share, neither good nor bad."""
    bar = _bar(*[Uptime(excluded=DAY)] * 90)

    assert (bar.percent, bar.text) == ("", "All of the last 90 days is excluded.")


def test_many_troubled_days() -> None:
    """Of a connection that has trouble every day, ten days are told and the others counted."""
    bar = _bar(*[Uptime(ok=20 * HOUR, down=4 * HOUR)] * 90)

    assert (len(bar.troubled), bar.more) == (10, 80)


@given(st.lists(st.builds(Uptime, *[st.timedeltas(timedelta(0), 6 * HOUR)] * 4), max_size=120))
def test_runs_cover_the_bar(uptimes: list[Uptime]) -> None:
    """Whatever the days are like, the runs cover the bar from end to end without a gap, and each carries words."""
    bar = bar_of(_days(*uptimes), NOW)

    if bar is not None:
        assert [run.x for run in bar.runs] == [sum(run.width for run in bar.runs[:n]) for n in range(len(bar.runs))]
        assert sum(run.width for run in bar.runs) == DAYS * PITCH
        assert all(run.text for run in bar.runs)


@given(st.floats(0, 1))
@example(0.99999)
def test_percent(ratio: float) -> None:
    """A share is cut off, not rounded up: what is not all of it never reads as 100 %."""
    assert (percent(ratio) == "100 %") == (ratio >= 1 - 1e-9)


def _spark(*took: int) -> Spark:
    spark = spark_of([LatencyRow(START + n * MINUTE, one, Reason.OK) for n, one in enumerate(took)])
    assert spark is not None
    return spark


def test_spark() -> None:
    """The line goes from the first to the last check, slow ones up, inside of its box; the words say it all again."""
    spark = _spark(100, 100, 200, 100, 100)
    points = [tuple(float(one) for one in pair.split(",")) for pair in spark.points.split()]

    assert [points[0][0], points[2][0], points[4][0]] == [1.0, spark.width / 2, spark.width - 1.0]
    assert points[2][1] < points[0][1] == points[4][1]
    assert (spark.last, spark.text) == ("100 ms", "Response time of the last 5 checks: 100 ms median, 100 ms to 200 ms.")
    assert (spark.top, spark.since, spark.until, spark.legend) == ("200 ms", START, START + 4 * MINUTE, "")


def test_marks() -> None:
    """Failed checks, of which inconclusive ones are none, and clipped peaks are marked; the legend says what the marks mean."""
    took = [100, 100, 30_000, 100, 100, 100]
    reasons = [Reason.OK, Reason.API_TIMEOUT, Reason.OK, Reason.CREDENTIAL_REJECTED, Reason.OK, Reason.OK]
    spark = spark_of([LatencyRow(START + n * MINUTE, took[n], reasons[n]) for n in range(6)])
    assert spark is not None
    assert (len(spark.failed), len(spark.clipped)) == (1, 1)
    assert spark.legend == "Marked: 1 failed check, 1 slower than 400 ms."


def test_spark_with_a_time_out() -> None:
    """One check that took half a minute does not press all the others flat."""
    spark = _spark(100, 30_000, 150, 50, 100)
    heights = [float(pair.split(",")[1]) for pair in spark.points.split()]

    assert heights[1] == 1.0
    assert heights[3] - heights[2] > spark.height / 10


def test_too_few_checks() -> None:
    """Two checks are no trend."""
    assert spark_of([LatencyRow(START, 5, Reason.OK)] * 2) is None
    assert spark_of([]) is None


@given(st.lists(st.integers(0, 2**31 - 1), min_size=5, max_size=60))
def test_spark_stays_inside(took: list[int]) -> None:
    """Whatever checks took, also no time at all, the line stays inside of its box."""
    spark = _spark(*took)

    for pair in spark.points.split():
        x, y = (float(one) for one in pair.split(","))
        assert 0 <= x <= spark.width
        assert 0 <= y <= spark.height


def _checks(took: list[int], every: timedelta, reason: Reason = Reason.OK) -> list[LatencyRow]:
    """Checks that took so long, the last of them now."""
    return [LatencyRow(NOW - (len(took) - 1 - n) * every, one, reason) for n, one in enumerate(took)]


def test_buckets() -> None:
    """Each bucket has the median and the worst of its own checks, and how many failed; one without checks is left out."""
    rows = [LatencyRow(START + n * MINUTE, took, Reason.OK) for n, took in ((0, 10), (59, 30), (59.5, 500), (180, 7))]
    rows += [LatencyRow(START + (181 + n) * MINUTE, 9, reason) for n, reason in enumerate((Reason.CREDENTIAL_REJECTED, Reason.API_TIMEOUT))]

    assert buckets_of(rows, HOUR) == (ResponseBucket(START, 30, 500, 0), ResponseBucket(START + 3 * HOUR, 9, 9, 1))
    assert buckets_of([], HOUR) == ()


@pytest.mark.parametrize(("name", "every"), [("24h", MINUTE), ("7d", 5 * MINUTE), ("30d", 5 * MINUTE)])
def test_response_points(name: str, every: timedelta) -> None:
    """Of thousands of checks at most 300 points are drawn, in one line, and no peak and no failure is lost."""
    window = RESPONSE_WINDOWS[name]
    rows = _checks([100] * (window.length // every), every)
    rows[len(rows) // 2] = LatencyRow(rows[len(rows) // 2].at, 30_000, Reason.CREDENTIAL_REJECTED)
    chart = chart_of(rows, window, NOW)
    assert chart is not None
    points = chart.line.count("L") + chart.line.count("M") + chart.stems.count("V")

    assert 150 <= points <= 300
    assert chart.line.count("M") == 1
    assert (len(chart.failed), chart.failed) == (1, chart.clipped)
    assert (chart.top, chart.half) == ("400 ms", "200 ms")
    assert chart.legend == "Marked: at the bottom 1 failed check, at the top 1 peak above 400 ms."
    assert f"{len(rows):,} checks in the last {window.name}: 100 ms median, 100 ms to 30.0 s." in chart.text


def test_response_gaps() -> None:
    """The line is interrupted where checks are missing, but not between checks that are further apart than buckets; few are no line."""
    week, day = RESPONSE_WINDOWS["7d"], RESPONSE_WINDOWS["24h"]
    rows = [row for row in _checks([50] * 168, HOUR) if not 2 * DAY < NOW - row.at < 3 * DAY]
    seldom = chart_of(_checks([50] * 24, HOUR), day, NOW)
    gap = chart_of(rows, week, NOW)
    assert gap is not None
    assert seldom is not None

    assert (gap.line.count("M"), seldom.line.count("M")) == (2, 1)
    assert (gap.ticks[0], len(gap.ticks), gap.legend) == ((NOW - 7 * DAY, short_day(NOW - 7 * DAY)), 7, "")
    assert [text for _, text in seldom.ticks] == [clock(NOW - hours * HOUR) for hours in (24, 18, 12, 6)]
    assert chart_of(_checks([50] * 2, DAY), week, NOW) is None
    assert chart_of(_checks([50] * 100, SECOND), week, NOW) is None
    assert chart_of([], week, NOW) is None


def test_response_of_very_many_checks() -> None:
    """Where not all checks of the window are read, the chart says that it is of the last ones."""
    chart = chart_of(_checks([5] * MOST_CHECKS, MINUTE), RESPONSE_WINDOWS["30d"], NOW)
    assert chart is not None
    assert chart.text.startswith("Response time of the last 10,000 checks in the last 30 days: ")


@given(st.lists(st.integers(0, 2**31 - 1), min_size=5, max_size=60))
def test_response_stays_inside(took: list[int]) -> None:
    """Whatever checks took, also no time at all, the chart stays inside of its box."""
    chart = chart_of(_checks(took, 6 * HOUR), RESPONSE_WINDOWS["30d"], NOW)
    assert chart is not None
    heights = [float(point.split(" ")[1].removesuffix("h0")) for point in chart.line.replace("M", "L").split("L")[1:]]
    assert all(0 <= height <= HEIGHT for height in heights)
