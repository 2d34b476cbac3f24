"""Circuit breaker and outage notices of one receiver."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import structlog

from monitor.clock import Clock
from monitor.config import ReceiverSettings
from monitor.db import Database, Store, read_receiver_states
from monitor.domain import events
from monitor.domain.delivery import receiver_outages, retries
from monitor.domain.delivery.retries import AttemptResult, CircuitBreaker
from monitor.domain.events import Notification
from monitor.domain.policy import RetryPolicy
from monitor.errors import DeliveryReason
from monitor.notify import payload
from monitor.notify.base import fingerprint
from monitor.notify.payload import MonitorIdentity

OnAttempt = Callable[[str, DeliveryReason, float], None]
"""Called after each attempt with the receiver's name, the result, and its duration in seconds."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HealthChange:
    """
    The health of one receiver before and after an attempt that ended at *at* with *result*.

    Attributes:
        notice: the notification for the *others*, if any.
    """

    receiver: str
    before: CircuitBreaker
    after: CircuitBreaker
    result: AttemptResult
    at: datetime
    notice: Notification | None
    others: tuple[str, ...]
    identity: MonitorIdentity


class ReceiverHealth:
    """The circuit breaker of one receiver; its pauses run on the monotonic clock."""

    def __init__(
        self,
        database: Database,
        receiver: ReceiverSettings,
        *,
        others: Sequence[str],
        policy: RetryPolicy,
        identity: MonitorIdentity,
        clock: Clock,
        random: Callable[[], float],
        on_attempt: OnAttempt,
        on_disabled: Callable[[str, bool], None],
    ) -> None:
        self._database = database
        self._receiver = receiver
        self._others = tuple(name for name in others if name != receiver.name)
        self._policy = policy
        self._identity = identity
        self._clock = clock
        self._random = random
        self._on_attempt = on_attempt
        self._on_disabled = on_disabled
        self._breaker: CircuitBreaker | None = None
        self._paused_until = clock.monotonic()

    async def load(self) -> CircuitBreaker:
        """The circuit breaker, the first time from the database; a changed configuration enables a disabled receiver again."""
        if self._breaker is not None:
            return self._breaker
        documents = await self._database.read(read_receiver_states)
        breaker = retries.read_breaker(documents.get(self._receiver.name, b"{}"))
        if breaker.disabled_at is not None and breaker.fingerprint != fingerprint(self._receiver):
            breaker = replace(breaker, failures=1, disabled_at=None, retry_at=None)
            await self._database.write(partial(save_breaker, self._receiver.name, breaker))
        self._set(breaker)
        return breaker

    def paused(self) -> bool:
        """Whether nothing may be sent yet."""
        return self._clock.monotonic() < self._paused_until

    def after(self, breaker: CircuitBreaker, result: AttemptResult, now: datetime) -> HealthChange:
        """The health after an attempt, and the notification of the other receivers."""
        after, notice = breaker, None
        if result.sent:
            after = retries.after_attempt(breaker, result, now, self._policy, self._random(), fingerprint(self._receiver))
            after, notice = receiver_outages.update_outage(self._receiver.name, breaker, after, result, now)
        return HealthChange(self._receiver.name, breaker, after, result, now, notice, self._others, self._identity)

    def apply(self, change: HealthChange) -> None:
        """Take over the health after an attempt; count the attempt, and log a change of the receiver."""
        self._set(change.after)
        if not change.result.sent:
            return
        self._on_attempt(self._receiver.name, change.result.reason, change.result.took.total_seconds())
        log = log_of(self._receiver.name, change.result)
        if change.after.disabled_at is not None:
            log.error("receiver.disabled", advice="Nothing is sent to it until its configuration changes.")
        elif change.before.healthy and not change.after.healthy:
            log.warning("receiver.failed", retry_at=str(change.after.retry_at))
        elif change.after.healthy and not change.before.healthy:
            log.info("receiver.recovered", failing_since=str(change.before.failing_since))

    def _set(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._on_disabled(self._receiver.name, breaker.disabled_at is not None)
        self._paused_until = self._clock.monotonic() + breaker.wait(self._clock.now(), self._policy).total_seconds()


def record_health(change: HealthChange, store: Store) -> None:
    """Record the health after an attempt: the breaker, cancelled deliveries, and the notification of the other receivers."""
    if change.after != change.before:
        save_breaker(change.receiver, change.after, store)
    if change.after.disabled_at is not None:
        store.outbox.cancel_deliveries(change.receiver, change.at)
    if change.notice is not None and change.others:
        webhook_id = store.outbox.new_webhook_id()
        body = payload.render(webhook_id, change.notice, None, change.identity)
        key = events.incident_key(change.notice.incident, change.identity.instance)
        store.outbox.add_notification(webhook_id, change.notice, key, body, change.others)


def save_breaker(receiver: str, breaker: CircuitBreaker, store: Store) -> None:
    """Save the circuit breaker of *receiver*."""
    disabled = breaker.disabled_at is not None
    store.outbox.put_receiver_state(receiver, breaker.dump(), disabled=disabled, failing_since=breaker.failing_since)


def log_of(receiver: str, result: AttemptResult) -> structlog.typing.FilteringBoundLogger:
    """The log of one attempt."""
    log: structlog.typing.FilteringBoundLogger = _log.bind(receiver=receiver, reason=result.reason.value, detail=result.detail)
    return log
