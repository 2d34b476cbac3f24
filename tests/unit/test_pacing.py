"""The request budget: how many requests start in any span of time."""

import heapq
import random
from bisect import bisect_left
from itertools import pairwise

import pytest

from monitor.postpost.rate_limit import SLOW_FOR_SECONDS, RequestPacing


def starts(pacer: RequestPacing, count: int, now: float = 0.0) -> list[float]:
    """When *count* requests start that all wait at *now*."""
    times = []
    for _ in range(count):
        pacer, wait = pacer.reserve(now)
        times.append(now + wait)
    return times


def most_in_a_window(times: list[float], span: float) -> int:
    """The largest number of starts in any half-open span."""
    return max(bisect_left(times, first + span - 1e-9) - index for index, first in enumerate(times))


def test_steady_rate() -> None:
    """Waiting requests start one spacing apart, after the burst."""
    assert starts(RequestPacing(rate=5, burst=2), 5) == pytest.approx([0, 0, 0.2, 0.4, 0.6])
    assert starts(RequestPacing(rate=5, burst=1), 4) == pytest.approx([0, 0.2, 0.4, 0.6])


def simulate(rng: random.Random, pacer: RequestPacing) -> tuple[list[float], list[tuple[float, float]]]:
    """When requests start that arrive in lumps and wait together while pauses come in; and those pauses."""
    arrivals = [rng.choice((0.0, rng.uniform(0, 60))) for _ in range(100)]
    events = [(at, order, "asks") for order, at in enumerate(arrivals)]
    events += [(rng.uniform(0, 60), order + 100, "pause") for order in range(3)]
    heapq.heapify(events)
    times, pauses = [], []
    while events:
        now, order, what = heapq.heappop(events)
        if what == "pause":
            pauses.append((now, now + rng.uniform(0, 20)))
            pacer = pacer.pause(pauses[-1][1], throttled=rng.random() < 0.5)
        elif what == "asks" or pacer.paused(now):
            pacer, wait = pacer.reserve(now)
            heapq.heappush(events, (now + wait, order, "starts"))
        else:
            times.append(now)
    return times, pauses


def test_never_more_than_the_budget() -> None:
    """In no span do more than rate x span + burst requests start, and none in a pause, however requests and pauses come."""
    rng = random.Random(20300101)
    for _ in range(300):
        rate, burst = rng.uniform(0.5, 20), rng.randint(1, 4)
        times, pauses = simulate(rng, RequestPacing(rate, burst))
        assert len(times) == 100
        for span in (0.1, 1 / rate, 1.0, 3.3, 20.0):
            assert most_in_a_window(times, span) <= rate * span + burst
        assert not [start for start in times for begin, end in pauses if begin < start < end]


def test_nothing_starts_during_a_pause() -> None:
    """A pause of seven seconds means no start for seven seconds, and no burst at its end."""
    pacer = RequestPacing(rate=5, burst=2).pause(107.0)
    assert pacer.paused(106.9)
    assert not pacer.paused(107.0)
    assert starts(pacer, 3, now=100.0) == pytest.approx([107.0, 107.4, 107.8])


def test_half_rate_after_throttling() -> None:
    """For a minute after the pause starts are twice as far apart; then the rate is whole again."""
    times = starts(RequestPacing(rate=5, burst=1).pause(10.0), 400)
    slow = [after - before for before, after in pairwise(times) if before < 10.0 + SLOW_FOR_SECONDS - 1e-9]
    fast = [after - before for before, after in pairwise(times) if before >= 10.0 + SLOW_FOR_SECONDS + 1e-9]
    assert slow == pytest.approx([0.4] * len(slow))
    assert fast == pytest.approx([0.2] * len(fast))
    assert len(slow) >= 149


def test_a_pause_that_is_no_throttling() -> None:
    """A pause taken for another reason leaves the rate alone."""
    assert starts(RequestPacing(rate=5, burst=1).pause(10.0, throttled=False), 3) == pytest.approx([10.0, 10.2, 10.4])


def untold_pauses(pacer: RequestPacing, count: int, now: float = 0.0) -> tuple[RequestPacing, list[float]]:
    """The pauses after so many 429s in a row that name none, each request sent as soon as it may be."""
    pauses = []
    for _ in range(count):
        pacer = pacer.throttle(now, None)
        pauses.append(pacer.paused_until - now)
        now = pacer.paused_until
    return pacer, pauses


def test_throttled_without_a_wait() -> None:
    """A 429 that does not say how long pauses for a minute, the next ones twice as long each, up to a quarter of an hour."""
    pacer, pauses = untold_pauses(RequestPacing(), 2000)
    assert pauses[:6] == [60.0, 120.0, 240.0, 480.0, 900.0, 900.0]
    assert set(pauses[6:]) == {900.0}
    assert pacer.slow_until == pacer.paused_until + SLOW_FOR_SECONDS


def test_refusals_of_one_burst() -> None:
    """429s of requests that were under way together are one refusal; good answers of theirs do not end it."""
    pacer = RequestPacing().throttle(0.0, None).throttle(0.1, None).answered(0.2).throttle(0.3, None)
    assert pacer.paused_until == 60.0
    assert pacer.throttle(60.0, None).paused_until == 180.0


def test_an_answer_ends_the_doubling() -> None:
    """After an answer that does not throttle the next pause is a minute again."""
    pacer, _ = untold_pauses(RequestPacing(), 3)
    now = pacer.paused_until + 1
    assert pacer.answered(now).throttle(now, None).paused_until == now + 60.0


def test_a_wait_that_is_asked_for() -> None:
    """A pause that the API names is kept as it is, also among others; a shorter one ends no longer one."""
    pacer, _ = untold_pauses(RequestPacing(), 2)
    now = pacer.paused_until
    assert pacer.throttle(now, 7.0).paused_until == now + 7.0
    assert pacer.throttle(now, None).throttle(now + 1, 7.0).paused_until == now + 240.0


def test_pauses_only_grow() -> None:
    """A shorter pause never ends a longer one."""
    assert RequestPacing().pause(60.0).pause(5.0).paused(59.0)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (5, 0)])
def test_impossible_budget(rate: float, burst: int) -> None:
    """A budget that would never let anything start is refused."""
    with pytest.raises(ValueError, match="rate above zero"):
        RequestPacing(rate, burst)
