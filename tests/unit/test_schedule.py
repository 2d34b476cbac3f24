"""When connections are checked: regular instants, fast re-checks, extra checks and slow ones."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from monitor.domain.connections import Connection
from monitor.domain.expiry.model import Rounding, TokenBelief
from monitor.domain.policy import ExpiryPolicy, Policy
from monitor.domain.reasons import Health
from monitor.domain.replies.token_life import TokenSays
from monitor.domain.schedule import FIRST_WITHIN, ORIGIN, first_due, next_check_in, pace, phase
from monitor.domain.states import ConnectionState, PendingHealth
from monitor.errors import Reason
from tests.builders import DAY, HOUR, MINUTE, SECOND, START, a_connection

POLICY = Policy()
CHECKED = ConnectionState(health=Health.OK, last_check_at=START - MINUTE)
QUARTER = 15 * MINUTE


def grid_offset(connection: Connection, moment: datetime) -> timedelta:
    """Where in the connection's interval *moment* falls."""
    return (moment - ORIGIN) % connection.interval


def a_regular_moment(connection: Connection, every: timedelta = QUARTER) -> datetime:
    """An instant of the connection's own grid, after the start."""
    return START + (ORIGIN + phase("\x1f".join(connection.key)) * every - START) % every


def after_check(
    state: ConnectionState, connection: Connection | None = None, reason: Reason = Reason.OK, policy: Policy = POLICY
) -> timedelta:
    """The wait after a regular check that left *state*."""
    connection = connection or a_connection()
    return next_check_in(connection, state, a_regular_moment(connection) + SECOND, policy, verdict_reason=reason)


def test_phase_is_stable() -> None:
    """A key has one phase for ever, in every process."""
    assert phase("linkedin-page1") == pytest.approx(0.8181838, abs=1e-7)
    assert 0 <= phase("") < 1


def test_the_load_is_even() -> None:
    """Ten thousand connections with one interval fill every hundredth of it about equally."""
    now = START + 7 * MINUTE
    buckets = Counter(
        int(next_check_in(a_connection(number), CHECKED, now, POLICY, verdict_reason=Reason.OK) / QUARTER * 100) % 100
        for number in range(10_000)
    )
    assert len(buckets) == 100
    assert max(buckets.values()) < 1.5 * 100
    assert min(buckets.values()) > 0.6 * 100


def test_no_drift() -> None:
    """After ten thousand rounds with late checks, the checks still fall on the same instants of the interval."""
    rng = random.Random(1)
    connection = a_connection()
    begun = now = a_regular_moment(connection)
    for _ in range(10_000):
        took = timedelta(seconds=rng.uniform(0.05, 20))
        now += took + next_check_in(connection, CHECKED, now + took, POLICY, verdict_reason=Reason.OK)
        assert grid_offset(connection, now) == grid_offset(connection, begun)
    assert now - begun == 10_000 * QUARTER


@pytest.mark.parametrize("down", [SECOND, MINUTE, 14 * MINUTE, 15 * MINUTE, 3 * HOUR, 4 * DAY])
@pytest.mark.parametrize("interval", [QUARTER, DAY])
def test_a_restart(down: timedelta, interval: timedelta) -> None:
    """After an absence what was missed is checked at once; everything else keeps its instant."""
    for number in range(200):
        connection = a_connection(number, interval=interval)
        last = a_regular_moment(connection, interval)
        back = last + down
        due = back + first_due(connection, replace(CHECKED, last_check_at=last), back, POLICY)
        # A check that is due at this very moment comes a second later, as every regular one at the earliest.
        assert due == (back if down > interval else max(last + interval, back + SECOND))


def test_never_checked() -> None:
    """What is new is checked within half a minute, spread over it."""
    waits = [first_due(a_connection(number), ConnectionState(), START, POLICY) for number in range(500)]
    assert max(waits) <= FIRST_WITHIN
    assert sum(wait < FIRST_WITHIN / 2 for wait in waits) == pytest.approx(250, abs=50)


def test_a_restart_while_something_waits_for_confirmation() -> None:
    """Confirmation does not wait for the regular instant after a restart."""
    state = replace(CHECKED, pending=PendingHealth(Health.ERROR, 1, START, START))
    assert max(first_due(a_connection(number), state, START, POLICY) for number in range(200)) <= MINUTE


def test_recheck_pauses() -> None:
    """Contrary evidence is looked at again 30 to 60 s later, spread over that range, and never sooner than the spacing."""
    state = replace(CHECKED, pending=PendingHealth(Health.ERROR, 1, START, START))
    pauses = [after_check(state, a_connection(number)) for number in range(1000)]
    assert 30 * SECOND <= min(pauses) < 32 * SECOND
    assert 58 * SECOND < max(pauses) <= 60 * SECOND
    wide = replace(POLICY, spacing=50 * SECOND)
    assert min(after_check(state, a_connection(number), policy=wide) for number in range(100)) == 50 * SECOND


def test_recheck_with_a_short_interval() -> None:
    """With an interval shorter than the recheck pause, a failing connection is not checked more rarely than the spacing asks."""
    policy = replace(POLICY, recheck=3 * SECOND, spacing=2 * SECOND)
    state = replace(CHECKED, pending=PendingHealth(Health.ERROR, 1, START, START))
    assert 2 * SECOND <= after_check(state, a_connection(interval=2 * SECOND), policy=policy) <= 4 * SECOND


def test_missing_waits_for_its_time() -> None:
    """The last confirmation of a missing connection waits until the answers are spread widely enough."""
    connection = a_connection()
    now = a_regular_moment(connection) + SECOND
    second = replace(CHECKED, pending=PendingHealth(Health.MISSING, 2, now - MINUTE, now))
    assert next_check_in(connection, second, now, POLICY, verdict_reason=Reason.CONNECTION_MISSING) == 9 * MINUTE
    first = replace(CHECKED, pending=PendingHealth(Health.MISSING, 1, now, now))
    assert next_check_in(connection, first, now, POLICY, verdict_reason=Reason.CONNECTION_MISSING) <= MINUTE


@pytest.mark.parametrize(
    ("health", "interval", "expected"),
    [
        (Health.OK, QUARTER, QUARTER),
        (Health.ERROR, QUARTER, QUARTER),
        (Health.MISSING, QUARTER, 3 * HOUR),
        (Health.MISCONFIGURED, 5 * MINUTE, HOUR),
        (Health.MISSING, 6 * HOUR, DAY),
        (Health.MISSING, 2 * DAY, 2 * DAY),
        (Health.UNSUPPORTED, MINUTE, 4 * MINUTE),
        (Health.UNSUPPORTED, QUARTER, 30 * MINUTE),
    ],
)
def test_pace(health: Health, interval: timedelta, expected: timedelta) -> None:
    """What is gone is asked about twelve times more rarely, what cannot be tested up to four times."""
    connection = a_connection(interval=interval)
    state = replace(CHECKED, health=health)
    assert pace(connection, state, POLICY) == expected
    assert after_check(state, connection) <= expected + POLICY.recheck


@pytest.mark.parametrize("interval", [SECOND, 10 * SECOND, MINUTE, QUARTER, HOUR, DAY])
@pytest.mark.parametrize("stale_after", [None, 20 * MINUTE, 2 * HOUR])
def test_unsupported_never_becomes_stale(interval: timedelta, stale_after: timedelta | None) -> None:
    """The slower checks of what cannot be tested still come before staleness, wherever the regular ones would."""
    policy = replace(POLICY, stale_after=stale_after)
    connection = a_connection(interval=interval)
    every = pace(connection, replace(CHECKED, health=Health.UNSUPPORTED), policy)
    assert every < policy.stale_for(interval) or every == interval


def test_second_try() -> None:
    """An answer that told nothing is asked for once more soon, and only once between two regular checks."""
    connection = a_connection()
    now = a_regular_moment(connection) + SECOND
    waits = [after_check(CHECKED, a_connection(number), Reason.API_VALIDATOR_FAILED) for number in range(100)]
    assert 45 * SECOND <= min(waits) < max(waits) <= 60 * SECOND
    retried = now + 2 * MINUTE
    again = next_check_in(connection, CHECKED, retried, POLICY, verdict_reason=Reason.API_VALIDATOR_FAILED)
    assert grid_offset(connection, retried + again) == grid_offset(connection, now - SECOND)


def test_after_a_recovery() -> None:
    """A fresh recovery is looked at once more before the next regular check."""
    connection = a_connection()
    now = a_regular_moment(connection) + SECOND
    recovered = replace(CHECKED, changes=(now - HOUR, now - SECOND))
    assert next_check_in(connection, recovered, now, POLICY, verdict_reason=Reason.OK) <= 4 * MINUTE
    first_good = replace(CHECKED, changes=(now - SECOND,))
    assert next_check_in(connection, first_good, now, POLICY, verdict_reason=Reason.OK) > 14 * MINUTE


@pytest.mark.parametrize("threshold", POLICY.expiry.thresholds)
def test_crossing_a_threshold(threshold: timedelta) -> None:
    """A check comes right after the token's life falls below a threshold."""
    connection = a_connection()
    now = a_regular_moment(connection) + SECOND
    token = TokenBelief(says=TokenSays.LEFT, exact_at=now + threshold + 5 * MINUTE)
    wait = next_check_in(connection, replace(CHECKED, token=token), now, POLICY, verdict_reason=Reason.OK)
    assert 5 * MINUTE < wait < 5 * MINUTE + 10 * SECOND


def test_no_extra_checks_for_tokens_that_nobody_counts_down() -> None:
    """Where no threshold is set, no check is spent on knowing the end better."""
    connection = a_connection()
    now = a_regular_moment(connection) + SECOND
    edge = now + 20 * DAY + 5 * MINUTE
    token = TokenBelief(says=TokenSays.LEFT, earliest_at=edge - 2 * MINUTE, latest_at=edge + 2 * MINUTE, unit=HOUR, rounding=Rounding.FLOOR)
    state = replace(CHECKED, token=token)
    quiet = replace(POLICY, platforms={"linkedin": ExpiryPolicy(thresholds=())})
    assert next_check_in(connection, state, now, POLICY, verdict_reason=Reason.OK) == 5 * MINUTE
    assert next_check_in(connection, state, now, quiet, verdict_reason=Reason.OK) > 14 * MINUTE


def a_random_state(rng: random.Random, now: datetime) -> ConnectionState:
    """Anything a connection may be in."""
    end = now + timedelta(seconds=rng.uniform(-1e6, 1e7))
    token = TokenBelief(
        says=rng.choice(list(TokenSays)),
        earliest_at=end,
        latest_at=end + timedelta(seconds=rng.uniform(0, 9000)),
        unit=rng.choice((None, MINUTE, HOUR, DAY)),
        rounding=rng.choice(list(Rounding)),
    )
    pending = PendingHealth(rng.choice(list(Health)), rng.randint(1, 3), now - timedelta(seconds=rng.uniform(0, 900)), now)
    return ConnectionState(
        health=rng.choice(list(Health)),
        pending=rng.choice((None, pending)),
        last_check_at=rng.choice((None, now - timedelta(seconds=rng.uniform(-1e6, 1e6)))),
        token=token,
        changes=rng.choice(((), (now, now))),
    )


@pytest.mark.parametrize("begin", [first_due, None], ids=["first", "next"])
def test_bounds(begin: Callable[..., timedelta] | None) -> None:
    """Whatever the state, a wait is at least a second, but for what was missed before the start, and at most the pace of the checks and one gap."""
    rng = random.Random(3)
    for _ in range(2000):
        now = START + timedelta(seconds=rng.uniform(0, 1e6))
        state = a_random_state(rng, now)
        connection = a_connection(rng.randint(1, 10**6), interval=rng.choice((SECOND, MINUTE, QUARTER, 6 * HOUR)))
        if begin is not None:
            wait = begin(connection, state, now, POLICY)
        else:
            wait = next_check_in(connection, state, now, POLICY, verdict_reason=rng.choice((None, *Reason)))
        assert (
            (timedelta(0) if wait == timedelta(0) and begin is not None else SECOND)
            <= wait
            <= pace(connection, state, POLICY) + POLICY.recheck
        )


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 365 * DAY, -365 * DAY])
def test_clock_jumps(jump: timedelta) -> None:
    """A jump of the wall clock neither stops the checks nor makes a burst: ten intervals hold ten checks, give or take one."""
    rng = random.Random(f"jump {jump}")
    for number in range(100):
        connection = a_connection(number)
        jump_after = timedelta(seconds=rng.uniform(0, 9000))
        elapsed, checked = timedelta(0), []
        while elapsed < 10 * QUARTER:
            wall = START + elapsed + (jump if elapsed > jump_after else timedelta(0))
            elapsed += next_check_in(connection, CHECKED, wall, POLICY, verdict_reason=Reason.OK)
            checked.append(elapsed)
        assert abs(sum(moment < 10 * QUARTER for moment in checked) - 10) <= 1
        assert min((later - earlier for earlier, later in pairwise(checked)), default=QUARTER) >= POLICY.recheck
