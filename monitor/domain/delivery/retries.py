"""
Delivery states, results, backoff, circuit breaker.

A *message* that its receiver refuses (400, 413, 422) is retried by itself and soon abandoned, so that it does not block others.
Every other failure is the *receiver's*: its circuit breaker holds back all of its deliveries and lets the oldest one through once
per pause of the schedule, so that a failing receiver costs one request per pause, not one per message. A receiver that refuses two
different messages, and none was accepted in between, is failing as well: then no message is at fault, and none is abandoned for it.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.domain.policy import RetryPolicy
from monitor.errors import DeliveryReason


class DeliveryState(StrEnum):
    """State of a delivery; `dead` means abandoned."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


MAX_RETRY_AFTER = timedelta(hours=1)
POISON_STATUSES = frozenset({400, 413, 422})
GONE_ATTEMPTS = 3
"""Answers 410 in a row that disable a receiver: one alone may come from a proxy or a deployment."""
_AUTH_STATUSES = frozenset({401, 403, 407})


class DeliveryOutcome(StrEnum):
    """The state of a delivery after an attempt."""

    DELIVERED = "delivered"
    PENDING = "pending"
    DEAD = "dead"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """
    How one attempt ended.

    Attributes:
        poison: the receiver works but refuses this very body.
        retry_after: the pause that the receiver requested, or None.
        detail: what happened, for people; never the receiver's address.
        sent: whether a request was sent: some receiver types skip some notifications.
        broken_off: whether it ended with the lease of this instance; then it counts as no attempt.
    """

    reason: DeliveryReason
    poison: bool = False
    http_status: int | None = None
    retry_after: timedelta | None = None
    detail: str = ""
    took: timedelta = timedelta(0)
    sent: bool = True
    broken_off: bool = False

    @property
    def delivered(self) -> bool:
        """Whether the receiver took the message."""
        return self.reason is DeliveryReason.DELIVERED

    @property
    def of_message(self) -> bool:
        """Whether the failure concerns this message alone, so that others may still be sent."""
        return self.poison or self.reason is DeliveryReason.INTERNAL


def is_of_message(reason: DeliveryReason, status: int | None) -> bool:
    """Whether an attempt that is on record with *reason* and *status* failed because of its message alone."""
    return reason is DeliveryReason.INTERNAL or (reason is DeliveryReason.CLIENT_ERROR and status in POISON_STATUSES)


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """
    The health of one receiver; stored as JSON.

    Attributes:
        failing_since: when the first of the failures in a row ended.
        retry_at: nothing is sent before that.
        disabled_at: when it answered 410 for the last of `GONE_ATTEMPTS` times; see `release`.
        notified: the other receivers were notified of the outage; `told` in JSON.
        number: counts the outages that were notified.
        fingerprint: of the configuration that was in force when the receiver was disabled.
        gone: answers 410 in a row.
        refused: the id of the message that was refused last, with none accepted since; empty without one.
        refusing: two different messages were refused, with none accepted since.
    """

    failures: int = 0
    failing_since: datetime | None = None
    retry_at: datetime | None = None
    disabled_at: datetime | None = None
    notified: bool = False
    number: int = 0
    fingerprint: str = ""
    gone: int = 0
    refused: str = ""
    refusing: bool = False

    def wait(self, now: datetime, policy: RetryPolicy) -> timedelta:
        """Return how long nothing is sent from *now* on; zero if *retry_at* is beyond every pause, because the clock was set back."""
        if self.retry_at is None:
            return timedelta(0)
        left = self.retry_at - now
        return left if timedelta(0) < left <= longest_pause(policy) else timedelta(0)

    @property
    def healthy(self) -> bool:
        """Whether the last attempt was not a failure of the receiver."""
        return self.failures == 0 and self.disabled_at is None

    @property
    def in_trouble(self) -> bool:
        """Whether the receiver can't be relied on: it is disabled, or its outage was reported."""
        return self.disabled_at is not None or (self.notified and not self.healthy)

    def dump(self) -> bytes:
        """Return the breaker as the JSON document that is stored."""
        document = {
            "failures": self.failures,
            "failingSince": _text(self.failing_since),
            "retryAt": _text(self.retry_at),
            "disabledAt": _text(self.disabled_at),
            "told": self.notified,
            "number": self.number,
            "fingerprint": self.fingerprint,
            "gone": self.gone,
            "refused": self.refused,
            "refusing": self.refusing,
        }
        return json.dumps(document).encode()


def read_breaker(body: bytes) -> CircuitBreaker:
    """Return the breaker that `dump` wrote; missing and invalid values count as healthy."""
    document = json.loads(body)
    return CircuitBreaker(
        failures=_count(document.get("failures")),
        failing_since=_time(document.get("failingSince")),
        retry_at=_time(document.get("retryAt")),
        disabled_at=_time(document.get("disabledAt")),
        notified=document.get("told") is True,
        number=_count(document.get("number")),
        fingerprint=str(document.get("fingerprint") or ""),
        gone=_count(document.get("gone")),
        refused=str(document.get("refused") or ""),
        refusing=document.get("refusing") is True,
    )


def reason_of_status(status: int) -> DeliveryReason:
    """
    Return the reason for an HTTP status: only 2xx is success, and a redirect is a failure.

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
    """Return the result of an attempt that was answered with *status*."""
    return AttemptResult(reason_of_status(status), poison=status in POISON_STATUSES, http_status=status)


def pause(failures: int, policy: RetryPolicy, jitter: float, *, retry_after: timedelta | None = None, slow: bool = False) -> timedelta:
    """
    Return the pause after the *failures*-th failure in a row (1 = the first).

    *jitter* is a random number in 0..1; 0.5 leaves the schedule as it is. *retry_after*, as requested by the receiver, can
    lengthen the pause up to an hour. *slow*: the failure is so old that it is retried every `slow_every` only.
    """
    steps = policy.schedule or (policy.slow_every,)
    base = policy.slow_every if slow else steps[min(max(failures, 1), len(steps)) - 1]
    varied = base * (1 + policy.jitter * (2 * jitter - 1))
    requested = min(retry_after, MAX_RETRY_AFTER) if retry_after is not None else timedelta(0)
    return max(varied, requested)


def longest_pause(policy: RetryPolicy) -> timedelta:
    """Return the longest pause that *policy* allows; a due time further away than that is a clock error."""
    return max(MAX_RETRY_AFTER, *(step * (1 + policy.jitter) for step in (*policy.schedule, policy.slow_every)))


def after_attempt(
    breaker: CircuitBreaker,
    result: AttemptResult,
    now: datetime,
    policy: RetryPolicy,
    jitter: float,
    fingerprint: str = "",
    *,
    message: str = "",
    begun: CircuitBreaker | None = None,
) -> CircuitBreaker:
    """Return the breaker after one attempt to deliver *message*, which left at *begun*; of one flight only the first failure counts."""
    if result.delivered:
        return CircuitBreaker(number=breaker.number)
    if begun is not None and breaker.failures > begun.failures:
        return breaker
    refusing = breaker.refusing
    if result.of_message:
        refusing = refusing or breaker.refused not in {"", message}
        if not refusing:
            # The receiver answers, so another message need not wait; whether it takes one is not known yet.
            retry_at = None if result.poison else breaker.retry_at
            return replace(breaker, refused=message, retry_at=retry_at)
    failing = replace(
        breaker,
        failures=breaker.failures + 1,
        failing_since=breaker.failing_since or now,
        gone=breaker.gone + 1 if result.reason is DeliveryReason.GONE else 0,
        refused=message if result.of_message else breaker.refused,
        refusing=refusing,
    )
    if failing.gone >= GONE_ATTEMPTS:
        return replace(failing, retry_at=None, disabled_at=now, fingerprint=fingerprint)
    slow = now - (breaker.failing_since or now) >= policy.slow_after
    return replace(failing, retry_at=now + pause(failing.failures, policy, jitter, retry_after=result.retry_after, slow=slow))


def release(breaker: CircuitBreaker) -> CircuitBreaker:
    """Return *breaker* with its pause over and not disabled; the next delivery shows whether the receiver works."""
    return replace(breaker, failures=min(breaker.failures, 1), retry_at=None, disabled_at=None, gone=0)


def after_test(breaker: CircuitBreaker) -> CircuitBreaker:
    """Return *breaker* after the receiver accepted a test: healthy, and still `notified`, with its outage, until its recovery is."""
    if not breaker.notified:
        return CircuitBreaker(number=breaker.number)
    return replace(breaker, failures=0, retry_at=None, disabled_at=None, refused="")


def delivery_outcome(
    result: AttemptResult, attempts: int, decided_at: datetime, now: datetime, policy: RetryPolicy, *, refusing: bool = False
) -> DeliveryOutcome:
    """Return the state of a delivery *decided_at* after *attempts* attempts; *refusing*: its receiver refuses other messages too."""
    if result.delivered:
        return DeliveryOutcome.DELIVERED
    if result.reason is DeliveryReason.NOT_SENT:
        return DeliveryOutcome.CANCELLED
    if result.poison and attempts >= policy.poison_attempts and not refusing:
        return DeliveryOutcome.DEAD
    return DeliveryOutcome.DEAD if now - decided_at >= policy.give_up_after else DeliveryOutcome.PENDING


def next_attempt(
    result: AttemptResult, attempts: int, decided_at: datetime, now: datetime, policy: RetryPolicy, jitter: float
) -> datetime | None:
    """Return when the delivery is tried again; None when it is delivered or abandoned."""
    if delivery_outcome(result, attempts, decided_at, now, policy) is not DeliveryOutcome.PENDING:
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
