"""Circuit breaker and outage notices of one receiver."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import structlog

from monitor.clock import Clock
from monitor.config import ReceiverSettings
from monitor.db import Database, Store
from monitor.db.renames import receivers
from monitor.domain.delivery import receiver_outages, retries
from monitor.domain.delivery.retries import AttemptResult, CircuitBreaker
from monitor.domain.events import Notification
from monitor.domain.policy import RetryPolicy
from monitor.errors import DeliveryReason
from monitor.logs import get_logger
from monitor.notify.base import fingerprint
from monitor.notify.identity import MonitorIdentity
from monitor.state import receiver_incidents
from monitor.state.receiver_incidents import save_breaker

OnAttempt = Callable[[str, DeliveryReason, float], None]
"""Called after each attempt with the receiver's name, the result, and its duration in seconds."""

DISABLED_ADVICE = (
    "Correct its address and reload. A successful `receivers test`, `receivers enable` and every reload try it again;"
    " pending messages are kept until then, at most as long as policy.retry.give_up_after."
)

_TESTED = AttemptResult(DeliveryReason.DELIVERED)
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HealthChange:
    """The health of one receiver before and after an attempt that ended *at*, and the *notice* for the others, if any."""

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
        trial: bool = False,
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
        self._trial = trial
        self._stored: CircuitBreaker | None = None
        self._breaker: CircuitBreaker | None = None
        self._paused_until = clock.monotonic()

    async def load(self) -> CircuitBreaker:
        """The circuit breaker, read again while the receiver fails, and after a reload: a command may have ended a pause."""
        if self._breaker is not None and self._breaker.healthy:
            return self._breaker
        stored = await self._database.read(partial(receivers.known_breaker, name=self._receiver.name))
        if self._breaker is None:
            await self._begin(stored)
        elif stored != self._stored:
            self._stored = stored
            await self._adopt(stored)
        return self.breaker

    @property
    def breaker(self) -> CircuitBreaker:
        """The circuit breaker, healthy before it is loaded."""
        return self._breaker if self._breaker is not None else CircuitBreaker()

    async def _begin(self, stored: CircuitBreaker) -> None:
        self._stored = stored
        if stored.disabled_at is None:
            await self._adopt(stored)
        elif self._trial or stored.fingerprint != fingerprint(self._receiver):
            released = self._stored = retries.release(stored)
            await self._database.write(partial(save_breaker, self._receiver.name, released))
            await self._adopt(released)
        else:
            _log.error("receiver.disabled", receiver=self._receiver.name, since=str(stored.disabled_at), advice=DISABLED_ADVICE)
            self._set(stored)

    async def _adopt(self, stored: CircuitBreaker) -> None:
        """Take over what is stored, and notify the recovery of a receiver that accepted a test."""
        if stored.healthy and stored.notified:
            # After a reload only what is stored knows of the outage.
            known = self.breaker if not self.breaker.healthy else stored
            change = self.after(replace(known, notified=True, number=stored.number), _TESTED, self._clock.now())
            await self._database.write(partial(record_health, change))
            self._stored = stored = change.after
            _log.info("receiver.recovered", receiver=self._receiver.name)
        self._set(stored)

    def paused(self) -> bool:
        """Whether nothing may be sent yet."""
        return self._clock.monotonic() < self._paused_until

    def after(
        self,
        breaker: CircuitBreaker,
        result: AttemptResult,
        now: datetime,
        *,
        message: str = "",
        begun: CircuitBreaker | None = None,
        at_fault: bool = False,
    ) -> HealthChange:
        """
        The health after an attempt to deliver *message* that left at *begun*, and the notification of the other receivers.

        Whether a message is accepted that is *at_fault* itself says nothing about the receiver.
        """
        after, notice = breaker, None
        if result.sent and not at_fault:
            own = fingerprint(self._receiver)
            after = retries.after_attempt(breaker, result, now, self._policy, self._random(), own, message=message, begun=begun)
            after, notice = receiver_outages.update_outage(self._receiver.name, breaker, after, result, now)
        return HealthChange(self._receiver.name, breaker, after, result, now, notice, self._others, self._identity)

    def apply(self, change: HealthChange) -> None:
        """Take over the health after an attempt; count the attempt, and log a change of the receiver."""
        self._set(change.after)
        self._stored = change.after
        if not change.result.sent:
            return
        self._on_attempt(self._receiver.name, change.result.reason, change.result.took.total_seconds())
        log = log_of(self._receiver.name, change.result)
        if change.after.disabled_at is not None:
            log.error("receiver.disabled", advice=DISABLED_ADVICE)
        elif change.after.refusing and not change.before.refusing:
            log.error("receiver.refused", advice="It refused two different messages and none was accepted in between: see its answer.")
        elif change.before.healthy and not change.after.healthy:
            log.warning("receiver.failed", retry_at=str(change.after.retry_at))
        elif change.after.healthy and not change.before.healthy:
            log.info("receiver.recovered", failing_since=str(change.before.failing_since))

    def _set(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._on_disabled(self._receiver.name, breaker.disabled_at is not None)
        self._paused_until = self._clock.monotonic() + breaker.wait(self._clock.now(), self._policy).total_seconds()


def record_health(change: HealthChange, store: Store) -> None:
    """Record the health after an attempt: the breaker, and the notification of the other receivers."""
    if change.after != change.before:
        save_breaker(change.receiver, change.after, store)
    if change.notice is not None:
        receiver_incidents.record(change.notice, change.others, change.identity, store)


def log_of(receiver: str, result: AttemptResult) -> structlog.typing.FilteringBoundLogger:
    """The log of one attempt."""
    log: structlog.typing.FilteringBoundLogger = _log.bind(receiver=receiver, reason=result.reason.value, detail=result.detail)
    return log
