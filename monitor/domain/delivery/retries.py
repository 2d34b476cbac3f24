"""
Delivery states, results, backoff, circuit breaker.

Trouble has an owner. A *message* that its receiver refuses (400, 413, 422) waits by itself and soon becomes a dead
letter, so that it blocks nobody. Everything else is the *receiver's* trouble: its breaker holds back all of its
deliveries, lets the oldest through once per pause of the schedule, and so a dead receiver costs one request per
pause, not one per message.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.domain.policy import RetryPolicy
from monitor.errors import DeliveryReason


class DeliveryState(StrEnum):
    """Where a delivery stands. Only `pending` ones are still owed."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


MAX_RETRY_AFTER = timedelta(hours=1)
POISON_STATUSES = frozenset({400, 413, 422})
_AUTH_STATUSES = frozenset({401, 403, 407})


class DeliveryOutcome(StrEnum):
    """What becomes of a delivery after an attempt; the state its row is left in."""

    DELIVERED = "delivered"
    PENDING = "pending"
    DEAD = "dead"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """
    How one attempt ended.

    Attributes:
        reason: from the closed enum.
        poison: the receiver works but refuses this very body.
        http_status: None when no answer arrived.
        retry_after: how long the receiver asked us to wait, or None.
        detail: what happened, for people; never the receiver's address.
        took: how long the attempt lasted.
        sent: whether there was a request at all: some types have nothing to say about some messages.
    """

    reason: DeliveryReason
    poison: bool = False
    http_status: int | None = None
    retry_after: timedelta | None = None
    detail: str = ""
    took: timedelta = timedelta(0)
    sent: bool = True

    @property
    def delivered(self) -> bool:
        """Whether the receiver took the message."""
        return self.reason is DeliveryReason.DELIVERED

    @property
    def of_message(self) -> bool:
        """Whether the trouble is this message's alone, so that others may still be sent."""
        return self.poison or self.reason is DeliveryReason.INTERNAL


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """
    The health of one receiver; kept in the database.

    Attributes:
        failures: failed attempts in a row.
        failing_since: when the first of them ended.
        retry_at: nothing is sent before that.
        disabled_at: when the receiver said that it is gone (410); only a changed configuration enables it again.
        told: the other receivers know of it.
        number: counts the times that they were told.
        fingerprint: of the configuration that was in force when the receiver was disabled.
    """

    failures: int = 0
    failing_since: datetime | None = None
    retry_at: datetime | None = None
    disabled_at: datetime | None = None
    told: bool = False
    number: int = 0
    fingerprint: str = ""

    def wait(self, now: datetime, policy: RetryPolicy) -> timedelta:
        """How long nothing may be sent from *now* on. A time beyond every possible pause (the clock was set back) does not count."""
        if self.retry_at is None:
            return timedelta(0)
        left = self.retry_at - now
        return left if timedelta(0) < left <= longest_pause(policy) else timedelta(0)

    @property
    def healthy(self) -> bool:
        """Whether the last attempt met no trouble of the receiver's own."""
        return self.failures == 0 and self.disabled_at is None

    def dump(self) -> bytes:
        """The breaker as the JSON document that is stored."""
        document = {
            "failures": self.failures,
            "failingSince": _text(self.failing_since),
            "retryAt": _text(self.retry_at),
            "disabledAt": _text(self.disabled_at),
            "told": self.told,
            "number": self.number,
            "fingerprint": self.fingerprint,
        }
        return json.dumps(document).encode()


def read_breaker(body: bytes) -> CircuitBreaker:
    """The breaker that `dump` wrote; whatever is missing or odd counts as healthy."""
    document = json.loads(body)
    return CircuitBreaker(
        failures=_count(document.get("failures")),
        failing_since=_time(document.get("failingSince")),
        retry_at=_time(document.get("retryAt")),
        disabled_at=_time(document.get("disabledAt")),
        told=document.get("told") is True,
        number=_count(document.get("number")),
        fingerprint=str(document.get("fingerprint") or ""),
    )


def reason_of_status(status: int) -> DeliveryReason:
    """
    What an HTTP status says about an attempt: only 2xx is success, and a redirect is a failure.

    Source: Standard Webhooks, "Responses"; reliability F31, F34.
    """
    if 200 <= status < 300:
        return DeliveryReason.DELIVERED
    if status < 400:
        return DeliveryReason.REDIRECTED
    if status in _AUTH_STATUSES:
        return DeliveryReason.AUTH_ERROR
    if status >= 500:
        return DeliveryReason.SERVER_ERROR
    special = {408: DeliveryReason.TIMEOUT, 410: DeliveryReason.GONE, 429: DeliveryReason.RATE_LIMITED}
    return special.get(status, DeliveryReason.CLIENT_ERROR)


def result_of_status(status: int) -> AttemptResult:
    """The result of an attempt that was answered with *status*."""
    return AttemptResult(reason_of_status(status), poison=status in POISON_STATUSES, http_status=status)


def pause(failures: int, policy: RetryPolicy, jitter: float, *, retry_after: timedelta | None = None, slow: bool = False) -> timedelta:
    """
    How long to wait after the *failures*-th failure in a row (1 = the first).

    *jitter* is chance in 0..1; 0.5 leaves the schedule as it is. *retry_after*, what the receiver asked for, can
    lengthen the pause up to an hour. *slow* says that the trouble is so old that it is only probed now and then.
    """
    steps = policy.schedule or (policy.slow_every,)
    base = policy.slow_every if slow else steps[min(max(failures, 1), len(steps)) - 1]
    varied = base * (1 + policy.jitter * (2 * jitter - 1))
    asked = min(retry_after, MAX_RETRY_AFTER) if retry_after is not None else timedelta(0)
    return max(varied, asked)


def longest_pause(policy: RetryPolicy) -> timedelta:
    """The longest pause that can ever come of *policy*; a due time further away than that is an error of the clock."""
    return max(MAX_RETRY_AFTER, *(step * (1 + policy.jitter) for step in (*policy.schedule, policy.slow_every)))


def after_attempt(
    breaker: CircuitBreaker, result: AttemptResult, now: datetime, policy: RetryPolicy, jitter: float, fingerprint: str = ""
) -> CircuitBreaker:
    """The receiver's health after one attempt: healthy again by any answer that is not the receiver's own trouble."""
    if result.reason is DeliveryReason.GONE:
        since = breaker.failing_since or now
        return replace(breaker, failures=breaker.failures + 1, failing_since=since, retry_at=None, disabled_at=now, fingerprint=fingerprint)
    if result.reason is DeliveryReason.INTERNAL:
        return breaker
    if result.delivered or result.poison:
        return CircuitBreaker(number=breaker.number)
    since = breaker.failing_since or now
    failures = breaker.failures + 1
    slow = now - since >= policy.slow_after
    wait = pause(failures, policy, jitter, retry_after=result.retry_after, slow=slow)
    return replace(breaker, failures=failures, failing_since=since, retry_at=now + wait)


def fate(result: AttemptResult, attempts: int, decided_at: datetime, now: datetime, policy: RetryPolicy) -> DeliveryOutcome:
    """
    What becomes of a delivery after *attempts* attempts, this one included.

    Its age counts from *decided_at*, when it was decided.
    """
    if result.delivered:
        return DeliveryOutcome.DELIVERED
    if result.reason is DeliveryReason.GONE:
        return DeliveryOutcome.CANCELLED
    if result.poison and attempts >= policy.poison_attempts:
        return DeliveryOutcome.DEAD
    return DeliveryOutcome.DEAD if now - decided_at >= policy.give_up_after else DeliveryOutcome.PENDING


def next_attempt(
    result: AttemptResult, attempts: int, decided_at: datetime, now: datetime, policy: RetryPolicy, jitter: float
) -> datetime | None:
    """When the same delivery is tried again, or None when it is over, one way or the other."""
    if fate(result, attempts, decided_at, now, policy) is not DeliveryOutcome.PENDING:
        return None
    slow = now - decided_at >= policy.slow_after
    return now + pause(attempts, policy, jitter, retry_after=result.retry_after, slow=slow)


def _text(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None


def _time(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
