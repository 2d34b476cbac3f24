"""How narrow the window of a token's end becomes, against simulated servers, on our own schedule."""

import random
import statistics
from dataclasses import replace
from datetime import timedelta
from math import floor

import pytest

from monitor.domain.expiry.estimate import apply, uncertainty, window
from monitor.domain.expiry.model import Rounding
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health
from monitor.domain.replies.token_life import parse_token_life
from monitor.domain.schedule import first_due, next_check_in
from monitor.domain.states import ConnectionState
from monitor.errors import Reason
from tests.builders import DAY, HOUR, START, a_connection
from tests.sampling import sampled

POLICY = Policy()


def prints(left_seconds: float, rounding: Rounding) -> str:
    """The text of a server that cuts off or rounds to whole hours."""
    hours = left_seconds / 3600
    whole = floor(hours + 0.5) if rounding is Rounding.ROUND else floor(hours)
    if left_seconds <= 0:
        return "expired"
    if whole < 1:
        return "< 1h"
    return f"{whole // 24}d {whole % 24}h" if whole >= 24 else f"{whole}h"


def watch(rng: random.Random, server: Rounding, mode: Rounding, hours: int, *, with_date: bool = True) -> tuple[float, int]:
    """
    Watch one token for *hours*, on the real schedule; returns the seconds the last window is wide, and the number of checks.

    The truth must lie in the window after every single check.
    """
    connection = a_connection(rng.randrange(10**9))
    ends_at = START + rng.uniform(20, 60) * DAY
    drift = timedelta(seconds=rng.uniform(-300, 300)) if with_date else timedelta(0)
    state = ConnectionState(health=Health.OK)
    now = START + first_due(connection, state, START, POLICY)
    checks = 0
    while now < START + hours * HOUR:
        took = timedelta(seconds=rng.uniform(0.05, 3))
        printed_at = now + took * rng.random()
        replied_at = printed_at + (now + took - printed_at) * rng.random()
        text = prints((ends_at - printed_at - drift).total_seconds(), server)
        server_at = (replied_at + drift).replace(microsecond=0) if with_date else None
        at = now + took
        belief, change = apply(
            state.token,
            parse_token_life(text),
            passed=True,
            sent_at=now,
            at=at,
            server_at=server_at,
            policy=POLICY.expiry,
            rounding=mode,
        )
        assert change is None
        ends = window(belief)
        assert ends is not None
        assert ends[0] <= ends_at < ends[1]
        state = replace(state, token=belief, last_check_at=at)
        checks += 1
        lag = timedelta(seconds=rng.expovariate(2))
        now = at + next_check_in(connection, state, at, POLICY, verdict_reason=Reason.OK) + lag
    off = uncertainty(state.token)
    assert off is not None
    return 2 * off.total_seconds(), checks


@pytest.mark.parametrize("runs", sampled([30, 300]))
@pytest.mark.parametrize("rounding", [Rounding.FLOOR, Rounding.ROUND])
def test_known_rounding(rounding: Rounding, runs: int) -> None:
    """After 48 hours the end is known to the minute, was never missed, and cost about one extra check an hour."""
    rng = random.Random(f"narrowing {rounding}")
    results = [watch(rng, rounding, rounding, 48) for _ in range(runs)]
    assert statistics.median(width for width, _ in results) < 60
    assert max(width for width, _ in results) < 120
    assert max(checks for _, checks in results) <= 48 * 5
    assert statistics.median(checks for _, checks in results) < 48 * 4 + 12


@pytest.mark.parametrize("runs", sampled([10, 100]))
@pytest.mark.parametrize("with_date", [True, False])
@pytest.mark.parametrize("server", [Rounding.FLOOR, Rounding.ROUND])
def test_unknown_rounding(server: Rounding, with_date: bool, runs: int) -> None:
    """While the rounding is not known the window keeps room for both, half an hour, and holds the truth."""
    rng = random.Random(f"unknown {server}")
    results = [watch(rng, server, Rounding.UNKNOWN, 48, with_date=with_date) for _ in range(runs)]
    assert max(width for width, _ in results) <= 32 * 60
    assert statistics.median(width for width, _ in results) <= 31 * 60
