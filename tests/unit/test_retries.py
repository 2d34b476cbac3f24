"""Retries: when a delivery is tried again, and when it is over."""

import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.delivery.retries import (
    AttemptResult,
    CircuitBreaker,
    DeliveryOutcome,
    after_attempt,
    delivery_outcome,
    longest_pause,
    next_attempt,
    pause,
    read_breaker,
    reason_of_status,
    release,
    result_of_status,
)
from monitor.domain.policy import RetryPolicy
from monitor.errors import DeliveryReason
from tests.builders import DAY, HOUR, MINUTE, SECOND, START, at

POLICY = RetryPolicy()
DOWN = result_of_status(503)
POISON = result_of_status(400)
GOOD = result_of_status(204)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (200, DeliveryReason.DELIVERED),
        (204, DeliveryReason.DELIVERED),
        (299, DeliveryReason.DELIVERED),
        (301, DeliveryReason.REDIRECTED),
        (304, DeliveryReason.REDIRECTED),
        (400, DeliveryReason.CLIENT_ERROR),
        (401, DeliveryReason.AUTH_ERROR),
        (403, DeliveryReason.AUTH_ERROR),
        (404, DeliveryReason.CLIENT_ERROR),
        (407, DeliveryReason.AUTH_ERROR),
        (408, DeliveryReason.TIMEOUT),
        (410, DeliveryReason.GONE),
        (413, DeliveryReason.CLIENT_ERROR),
        (422, DeliveryReason.CLIENT_ERROR),
        (429, DeliveryReason.RATE_LIMITED),
        (500, DeliveryReason.SERVER_ERROR),
        (599, DeliveryReason.SERVER_ERROR),
        (999, DeliveryReason.SERVER_ERROR),
        (101, DeliveryReason.REDIRECTED),
    ],
)
def test_status_matrix(status: int, reason: DeliveryReason) -> None:
    """Only 2xx is success; every other status has one meaning, and only 400, 413 and 422 blame the message."""
    assert reason_of_status(status) is reason
    assert result_of_status(status).poison == (status in {400, 413, 422})


@pytest.mark.parametrize(
    ("failures", "expected"), [(1, 5 * SECOND), (2, 15 * SECOND), (3, 45 * SECOND), (4, 2 * MINUTE), (5, 5 * MINUTE), (500, 5 * MINUTE)]
)
def test_schedule(failures: int, expected: timedelta) -> None:
    """The pauses follow the schedule, and the last one repeats."""
    assert pause(failures, POLICY, 0.5) == expected


@pytest.mark.parametrize(("jitter", "expected"), [(0.0, 4.0), (0.5, 5.0), (1.0, 6.0)])
def test_jitter(jitter: float, expected: float) -> None:
    """Chance moves a pause by a fifth at most, to either side."""
    assert pause(1, POLICY, jitter) == timedelta(seconds=expected)


@pytest.mark.parametrize(
    ("asked", "expected"), [(1 * SECOND, 5 * SECOND), (2 * MINUTE, 2 * MINUTE), (HOUR, HOUR), (30 * DAY, HOUR), (None, 5 * SECOND)]
)
def test_retry_after(asked: timedelta | None, expected: timedelta) -> None:
    """A receiver can ask for a longer pause, up to an hour, but not for a shorter one."""
    assert pause(1, POLICY, 0.5, retry_after=asked) == expected


@given(st.integers(1, 10_000), st.floats(0, 1), st.timedeltas(min_value=timedelta(0)), st.booleans())
def test_pauses_are_bounded(failures: int, jitter: float, asked: timedelta, slow: bool) -> None:
    """No pause is shorter than four fifths of the first step or longer than the longest there can be."""
    assert 4 * SECOND <= pause(failures, POLICY, jitter, retry_after=asked, slow=slow) <= longest_pause(POLICY)


def test_dead_receiver_in_72_hours() -> None:
    """A receiver that is dead for two hours costs at most 40 requests; after a day it is probed twice an hour."""
    breaker, now, attempts = CircuitBreaker(), START, []
    while now < START + 3 * DAY:
        attempts.append(now)
        breaker = after_attempt(breaker, DOWN, now, POLICY, 0.5)
        now += breaker.wait(now, POLICY)
    assert sum(moment < at(2 * HOUR) for moment in attempts) <= 40
    late = [moment for moment in attempts if moment >= at(DAY + HOUR)]
    assert {b - a for a, b in itertools.pairwise(late)} == {30 * MINUTE}
    assert breaker.failing_since == START


def test_poison() -> None:
    """A body that its receiver refuses is dead after the third refusal, and the receiver counts as healthy."""
    assert [delivery_outcome(POISON, attempts, START, at(MINUTE), POLICY) for attempts in (1, 2, 3)] == [
        DeliveryOutcome.PENDING,
        DeliveryOutcome.PENDING,
        DeliveryOutcome.DEAD,
    ]
    assert after_attempt(CircuitBreaker(), POISON, START, POLICY, 0.5).healthy
    assert next_attempt(POISON, 1, START, at(MINUTE), POLICY, 0.5) == at(MINUTE + 5 * SECOND)
    assert next_attempt(POISON, 3, START, at(MINUTE), POLICY, 0.5) is None


def test_our_own_fault() -> None:
    """What we fail to render waits by itself without being thrown away soon, and says nothing about the receiver."""
    ours = AttemptResult(DeliveryReason.INTERNAL)
    assert delivery_outcome(ours, 50, START, at(DAY), POLICY) is DeliveryOutcome.PENDING
    assert delivery_outcome(ours, 50, START, at(3 * DAY), POLICY) is DeliveryOutcome.DEAD
    failing = after_attempt(CircuitBreaker(), DOWN, START, POLICY, 0.5)
    assert after_attempt(failing, ours, at(MINUTE), POLICY, 0.5) == failing


@pytest.mark.parametrize("result", [DOWN, AttemptResult(DeliveryReason.TIMEOUT), AttemptResult(DeliveryReason.AUTH_ERROR)])
def test_giving_up(result: AttemptResult) -> None:
    """A delivery is tried for 72 hours, however often, and then is dead."""
    assert delivery_outcome(result, 1000, START, at(3 * DAY - SECOND), POLICY) is DeliveryOutcome.PENDING
    assert delivery_outcome(result, 1, START, at(3 * DAY), POLICY) is DeliveryOutcome.DEAD


def test_gone() -> None:
    """410 disables the receiver when it was answered three times in a row, and its messages are kept."""
    gone, breaker = result_of_status(410), CircuitBreaker()
    for minute in range(2):
        breaker = after_attempt(breaker, gone, at(minute * MINUTE), POLICY, 0.5, "abc")
        assert (breaker.disabled_at, breaker.healthy) == (None, False)
        assert breaker.wait(at(minute * MINUTE), POLICY) > timedelta(0)
    assert after_attempt(after_attempt(breaker, DOWN, START, POLICY, 0.5), gone, START, POLICY, 0.5).disabled_at is None
    assert after_attempt(breaker, GOOD, START, POLICY, 0.5) == CircuitBreaker()
    breaker = after_attempt(breaker, gone, at(HOUR), POLICY, 0.5, "abc")
    assert (breaker.disabled_at, breaker.fingerprint, breaker.healthy) == (at(HOUR), "abc", False)
    assert delivery_outcome(gone, 3, START, at(HOUR), POLICY) is DeliveryOutcome.PENDING
    released = release(breaker)
    assert (released.disabled_at, released.healthy) == (None, False)
    assert after_attempt(released, gone, at(HOUR), POLICY, 0.5).disabled_at is None


def test_refuses_everything() -> None:
    """A receiver that refuses two different messages, with none accepted in between, fails; no message is abandoned for that."""
    breaker = after_attempt(CircuitBreaker(), POISON, START, POLICY, 0.5, message="a")
    again = after_attempt(breaker, POISON, at(SECOND), POLICY, 0.5, message="a")
    assert (again.healthy, again.refusing) == (True, False)
    assert not after_attempt(after_attempt(again, GOOD, START, POLICY, 0.5), POISON, START, POLICY, 0.5, message="b").refusing
    refusing = after_attempt(again, POISON, at(MINUTE), POLICY, 0.5, message="b")
    assert (refusing.healthy, refusing.refusing, refusing.failing_since) == (False, True, at(MINUTE))
    assert refusing.wait(at(MINUTE), POLICY) == 5 * SECOND
    assert delivery_outcome(POISON, 9, START, at(MINUTE), POLICY, refusing=True) is DeliveryOutcome.PENDING
    assert after_attempt(refusing, GOOD, at(HOUR), POLICY, 0.5) == CircuitBreaker()
    internal = AttemptResult(DeliveryReason.INTERNAL)
    assert after_attempt(breaker, internal, START, POLICY, 0.5, message="b").refusing


def test_refusal_after_an_outage() -> None:
    """A receiver that fails and then refuses a message is asked with another one at once, and does not count as recovered."""
    failing = after_attempt(CircuitBreaker(), DOWN, START, POLICY, 0.5, message="a")
    refused = after_attempt(failing, POISON, at(MINUTE), POLICY, 0.5, message="a")
    assert (refused.healthy, refused.retry_at, refused.refusing) == (False, None, False)


def test_failures_in_flight_together() -> None:
    """Several messages that were in flight together and failed are one failure; a success among them is one too."""
    begun = CircuitBreaker()
    breaker = after_attempt(begun, DOWN, START, POLICY, 0.5, begun=begun)
    assert after_attempt(breaker, DOWN, START, POLICY, 0.5, begun=begun) == breaker
    assert after_attempt(breaker, DOWN, START, POLICY, 0.5, begun=breaker).failures == 2
    assert after_attempt(breaker, GOOD, START, POLICY, 0.5, begun=begun).healthy


def test_recovery() -> None:
    """One success makes the receiver healthy, and remembers only how often the others were told."""
    failing = CircuitBreaker(failures=7, failing_since=START, retry_at=at(MINUTE), notified=True, number=3)
    assert after_attempt(failing, GOOD, at(MINUTE), POLICY, 0.5) == CircuitBreaker(number=3)


@pytest.mark.parametrize("jump", [-HOUR, -365 * DAY, -3650 * DAY])
def test_clock_set_back(jump: timedelta) -> None:
    """A pause that no schedule can have made, because the clock was set back, does not hold anything up."""
    breaker = after_attempt(CircuitBreaker(), DOWN, START, POLICY, 0.5)
    assert breaker.wait(START, POLICY) == 5 * SECOND
    assert breaker.wait(START + jump - MINUTE, POLICY) == timedelta(0)


def test_breaker_is_stored() -> None:
    """A receiver's health survives being stored; damage counts as healthy."""
    breaker = CircuitBreaker(3, START, at(MINUTE), at(HOUR), notified=True, number=2, fingerprint="f", gone=3, refused="m", refusing=True)
    assert read_breaker(breaker.dump()) == breaker
    assert read_breaker(b"{}") == CircuitBreaker()
    assert read_breaker(b'{"failures": "x", "failingSince": 3, "retryAt": "soon", "disabledAt": "2030-01-01"}') == CircuitBreaker()
