"""
Tells receivers what they are owed: takes it from the outbox, sends it, records how it went.

One `Deliverer` per receiver, so that a dead one delays nobody else. Nothing marks a delivery as being sent: a crash
between the request and its record means that the same body goes out again under the same id, and that is the only
way in which a receiver can hear something twice.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from monitor.clock import Clock
from monitor.config import ReceiverSettings
from monitor.db import (
    AttemptRow,
    Database,
    DeliveryRow,
    DeliveryState,
    Reader,
    Store,
    WaitingRow,
    deliveries_by_id,
    last_delivered,
    open_alerts,
    pending_deliveries,
    read_receiver_states,
)
from monitor.domain import events
from monitor.domain.delivery import digests, receiver_outages, retries
from monitor.domain.delivery.digests import NextDelivery, PendingDelivery
from monitor.domain.delivery.retries import AttemptResult, CircuitBreaker, DeliveryOutcome
from monitor.domain.events import EventType, Notification
from monitor.domain.policy import Policy
from monitor.errors import DeliveryReason, StoreError, StoreUnavailable
from monitor.notify import RECEIVER_TYPES, payload
from monitor.notify.base import fingerprint
from monitor.notify.payload import MonitorIdentity
from monitor.notify.sender import Sender

Observe = Callable[[str, DeliveryReason, float], None]
"""Called after each attempt with the receiver's name, how it ended, and how many seconds it took."""

_log = structlog.get_logger(__name__)

# A receiver gets ten messages at once and then one a second; a storm becomes digests anyway.
_BURST = 10.0
_PER_SECOND = 1.0
_MERGES_AT_ONCE = 10
_RECORD_WITHIN = 5.0
_REPEATED_AT_ONCE = 200


class Deliverer:
    """Works off the outbox of one receiver; call `step()` until it says that there is nothing more to do now."""

    def __init__(
        self,
        database: Database,
        sender: Sender,
        receiver: ReceiverSettings,
        *,
        others: Sequence[str],
        policy: Policy,
        identity: MonitorIdentity,
        clock: Clock,
        random: Callable[[], float],
        observe: Observe = lambda *_: None,
        gone: Callable[[str, bool], None] = lambda *_: None,
    ) -> None:
        self._database = database
        self._sender = sender
        self._receiver = receiver
        self._others = tuple(name for name in others if name != receiver.name)
        self._policy = policy
        self._identity = identity
        self._clock = clock
        self._random = random
        self._observe = observe
        self._gone = gone
        self._breaker: CircuitBreaker | None = None
        self._record: Callable[[Store], None] | None = None
        self._recording: asyncio.Future[None] | None = None
        self._singles: deque[float] = deque(maxlen=max(1, policy.digest.after))
        self._collecting = False
        self._due: dict[int, float] = {}
        self._held_until = clock.monotonic()
        self._tokens = _BURST
        self._filled_at = clock.monotonic()
        self._kind = RECEIVER_TYPES.get(receiver.type)
        self._repeated = 0
        self._repeat_at = clock.monotonic()
        self._repeated_last = False

    async def step(self) -> bool:
        """
        Send at most one message; returns whether there may be more to do at once.

        1. Finish recording the last attempt; nothing is sent while that is open.
        2. One transaction: replace what is ripe by digests; or else
        3. send, with no transaction open, and
        4. one transaction: the attempt, the delivery, the receiver's health, and what the others are told of it.

        A receiver that forgets is told again what stands, in turns with what is new: sent one after the other, neither
        can contradict what the other one said last.

        While storage is out of order nothing is sent, for it could not be recorded.
        """
        try:
            return await self._recorded() and await self._next()
        except StoreUnavailable as error:
            _log.debug("outbox.unavailable", receiver=self._receiver.name, error=str(error))
            return False

    async def _next(self) -> bool:
        breaker = await self._health()
        if breaker.disabled_at is not None:
            await self._cancel_owed()
            return False
        if self._clock.monotonic() < self._held_until or not self._may_send():
            return False
        if breaker.healthy and self._repeat_due() and not self._repeated_last:
            return await self._repeat(breaker)
        plan, row = await self._database.read(self._look)
        self._collecting = plan.wait is not None
        if plan.groups:
            await self._database.write(lambda store: self._merge(store, plan.groups[:_MERGES_AT_ONCE]))
            return True
        if row is not None:
            return await self._deliver(row, breaker, counts=plan.counts)
        # Whether a failing receiver works again is tried with what it is owed, and only without any with this.
        return self._repeat_due() and await self._repeat(breaker)

    async def _health(self) -> CircuitBreaker:
        """The receiver's health, the first time from the database; a changed configuration enables again what was gone."""
        if self._breaker is not None:
            return self._breaker
        documents = await self._database.read(read_receiver_states)
        breaker = retries.read_breaker(documents.get(self._receiver.name, b"{}"))
        if breaker.disabled_at is not None and breaker.fingerprint != fingerprint(self._receiver):
            breaker = replace(breaker, failures=1, disabled_at=None, retry_at=None)
            await self._database.write(lambda store: self._keep(store, breaker))
        self._believe(breaker)
        return breaker

    def _believe(self, breaker: CircuitBreaker) -> None:
        """Take over the receiver's health; from now on its pause runs on a clock that nobody sets."""
        self._breaker = breaker
        self._gone(self._receiver.name, breaker.disabled_at is not None)
        self._held_until = self._clock.monotonic() + breaker.wait(self._clock.now(), self._policy.retry).total_seconds()

    async def _cancel_owed(self) -> None:
        if await self._database.read(lambda reader: pending_deliveries(reader, self._receiver.name, 1)):
            await self._database.write(lambda store: store.outbox.cancel_deliveries(self._receiver.name, self._clock.now()))

    def _may_send(self) -> bool:
        now = self._clock.monotonic()
        self._tokens = min(_BURST, self._tokens + (now - self._filled_at) * _PER_SECOND)
        self._filled_at = now
        return self._tokens >= 1

    # what goes out next

    def _look(self, reader: Reader) -> tuple[NextDelivery, DeliveryRow | None]:
        now = self._clock.now()
        pending = [self._waiting(row, now) for row in pending_deliveries(reader, self._receiver.name)]
        plan = digests.plan(pending, self._recent(), now, self._policy.digest, collecting=self._collecting)
        rows = deliveries_by_id(reader, [plan.next.id]) if plan.next is not None else []
        return plan, rows[0] if rows else None

    def _waiting(self, row: WaitingRow, now: datetime) -> PendingDelivery:
        left = row.next_attempt_at - now
        # A time further away than any pause means that the clock was set back; a first attempt is due whatever the clock says.
        due = row.attempts == 0 or not timedelta(0) < left <= retries.longest_pause(self._policy.retry)
        if row.id in self._due:
            due = self._due[row.id] <= self._clock.monotonic()
        return PendingDelivery(
            id=row.id,
            subject=row.subject,
            decided_at=row.queued_at,
            attempts=row.attempts,
            due=due,
            mergeable=self._kind is not None and self._kind.digests and row.connection_id is not None,
            digest=row.type is EventType.DIGEST,
        )

    def _recent(self) -> int:
        horizon = self._clock.monotonic() - self._policy.digest.wait.total_seconds()
        return sum(sent > horizon for sent in self._singles)

    def _merge(self, store: Store, groups: Sequence[Sequence[PendingDelivery]]) -> None:
        """Replace each of *groups* by a digest, or by several where one would grow too large."""
        for group in groups:
            rows = deliveries_by_id(store, [one.id for one in group])
            parts = [[row for row in rows if row.state is DeliveryState.PENDING and row.digest_id is None]]
            while parts:
                parts[:1] = self._replace(store, parts[0])

    def _replace(self, store: Store, rows: Sequence[DeliveryRow]) -> list[list[DeliveryRow]]:
        """Replace *rows* by one digest and return nothing; or return the halves of them that must become one each."""
        if not rows:
            return []
        now, webhook_id = self._clock.now(), store.outbox.new_webhook_id()
        body = payload.render_digest(webhook_id, now, [row.body for row in rows], self._identity)
        subjects = list(dict.fromkeys(row.subject for row in rows))
        if len(body) > payload.MAX_BODY and len(subjects) > 1:
            half = set(subjects[: len(subjects) // 2])
            return [[row for row in rows if row.subject in half], [row for row in rows if row.subject not in half]]
        notification = digests.build_digest(self._receiver.name, [row.notification for row in rows], now)
        key = events.incident_key(notification.incident, self._identity.instance)
        store.outbox.replace_by_digest(webhook_id, notification, key, body, self._receiver.name, [row.id for row in rows])
        return []

    # sending and recording

    async def _deliver(self, row: DeliveryRow, breaker: CircuitBreaker, *, counts: bool) -> bool:
        self._repeated_last = False
        result = await self._sender.send(self._receiver, row.webhook_id, row.body, await self._previous(row))
        if result.sent:
            self._tokens -= 1
            # After a digest nothing goes out singly for a while: as long as a storm lasts there are digests and nothing else.
            digest = row.type is EventType.DIGEST
            self._singles.extend([self._clock.monotonic()] * (self._policy.digest.after if digest else int(counts)))
        now = self._clock.now()
        after, told = self._health_after(breaker, result, now)
        fate = retries.delivery_outcome(result, row.attempts + 1, row.queued_at, now, self._policy.retry)
        own = retries.next_attempt(result, row.attempts + 1, row.queued_at, now, self._policy.retry, self._random())
        again = own if result.of_message else after.retry_at
        attempt = AttemptRow(now, result.reason, round(result.took.total_seconds() * 1000), result.http_status, result.detail)

        def record(store: Store) -> None:
            store.outbox.record_attempt(row, attempt, fate, again)
            self._record_health(store, breaker, after, told, now)

        self._believe(after)
        self._due.pop(row.id, None)
        if again is not None and fate is DeliveryOutcome.PENDING:
            self._due[row.id] = self._clock.monotonic() + (again - now).total_seconds()
        self._record = record
        self._report(result, before=breaker, after=after)
        if fate is DeliveryOutcome.DEAD:
            self._log_of(result).error("delivery.abandoned", webhook_id=row.webhook_id, type=row.type.value, attempts=row.attempts + 1)
        return await self._recorded() and after.healthy

    async def _previous(self, row: DeliveryRow) -> bytes | None:
        """What was last delivered about the same incident, for the types that want to know."""
        if self._kind is None or self._kind.repeat is None:
            return None
        return await self._database.read(lambda reader: last_delivered(reader, self._receiver.name, row.incident_key))

    def _repeat_due(self) -> bool:
        return self._kind is not None and self._kind.repeat is not None and self._clock.monotonic() >= self._repeat_at

    async def _repeat(self, breaker: CircuitBreaker) -> bool:
        """Tell again a batch of what stands; read anew for each, so that nothing is told that has ended meanwhile."""
        rows = await self._database.read(lambda reader: open_alerts(reader, self._receiver.name, self._repeated, _REPEATED_AT_ONCE))
        full = len(rows) == _REPEATED_AT_ONCE
        self._repeated = rows[-1][0] if full else 0
        if not full and self._kind is not None and self._kind.repeat is not None:
            self._repeat_at = self._clock.monotonic() + self._kind.repeat.every.total_seconds()
        self._repeated_last = True
        if not rows:
            return True
        result = await self._sender.repeat(self._receiver, [body for _, body in rows])
        now = self._clock.now()
        after, told = self._health_after(breaker, result, now)
        if after != breaker:
            self._record = lambda store: self._record_health(store, breaker, after, told, now)
        self._believe(after)
        self._report(result, before=breaker, after=after)
        if result.of_message:
            self._log_of(result).warning("resend.rejected")
        return await self._recorded() and after.healthy

    def _health_after(self, breaker: CircuitBreaker, result: AttemptResult, now: datetime) -> tuple[CircuitBreaker, Notification | None]:
        """The receiver's health after an attempt, and what the others are told of it."""
        if not result.sent:
            return breaker, None
        after = retries.after_attempt(breaker, result, now, self._policy.retry, self._random(), fingerprint(self._receiver))
        return receiver_outages.update_outage(self._receiver.name, breaker, after, result, now)

    def _record_health(self, store: Store, before: CircuitBreaker, after: CircuitBreaker, told: Notification | None, now: datetime) -> None:
        if after != before:
            self._keep(store, after)
        if after.disabled_at is not None:
            store.outbox.cancel_deliveries(self._receiver.name, now)
        if told is not None and self._others:
            self._announce(store, told)

    async def _recorded(self) -> bool:
        """
        Whether nothing is left to record. The record outlives this call: cancelled or late, it is still written.

        Raises:
            StoreUnavailable: it could not even be queued; the next step tries again.
        """
        if self._record is None:
            return True
        if self._recording is None:
            self._recording = self._database.submit(self._record)
        try:
            async with asyncio.timeout(_RECORD_WITHIN):
                await asyncio.shield(self._recording)
        except TimeoutError:
            return False
        except StoreUnavailable:
            self._recording = None
            raise
        except StoreError as error:
            # Somebody has settled the delivery by hand meanwhile; what was sent was sent.
            _log.warning("attempt.not_recorded", receiver=self._receiver.name, error=str(error))
        self._record = self._recording = None
        return True

    def _keep(self, store: Store, breaker: CircuitBreaker) -> None:
        disabled = breaker.disabled_at is not None
        store.outbox.put_receiver_state(self._receiver.name, breaker.dump(), disabled=disabled, failing_since=breaker.failing_since)

    def _announce(self, store: Store, notification: Notification) -> None:
        webhook_id = store.outbox.new_webhook_id()
        body = payload.render(webhook_id, notification, None, self._identity)
        key = events.incident_key(notification.incident, self._identity.instance)
        store.outbox.add_notification(webhook_id, notification, key, body, self._others)

    def _report(self, result: AttemptResult, *, before: CircuitBreaker, after: CircuitBreaker) -> None:
        """The metrics, and one log line per change of the receiver."""
        if not result.sent:
            return
        self._observe(self._receiver.name, result.reason, result.took.total_seconds())
        log = self._log_of(result)
        if after.disabled_at is not None:
            log.error("receiver.disabled", advice="Nothing is sent to it until its configuration changes.")
        elif before.healthy and not after.healthy:
            log.warning("receiver.failed", retry_at=str(after.retry_at))
        elif after.healthy and not before.healthy:
            log.info("receiver.recovered", failing_since=str(before.failing_since))

    def _log_of(self, result: AttemptResult) -> structlog.typing.FilteringBoundLogger:
        log: structlog.typing.FilteringBoundLogger = _log.bind(
            receiver=self._receiver.name, reason=result.reason.value, detail=result.detail
        )
        return log
