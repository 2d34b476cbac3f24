"""
Delivers what is pending for one receiver: takes it from the outbox, sends it, records the result.

One `Deliverer` per receiver, so that a failing one delays no other. Nothing marks a delivery as being sent: a crash between the
request and its record means that the same body is sent again under the same id, and that is the only way in which a receiver
gets a message twice.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

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
)
from monitor.domain import events
from monitor.domain.delivery import digests, retries
from monitor.domain.delivery.digests import NextDelivery, PendingDelivery
from monitor.domain.delivery.retries import CircuitBreaker, DeliveryOutcome
from monitor.domain.events import EventType
from monitor.domain.policy import Policy
from monitor.errors import StoreError, StoreUnavailable
from monitor.notify import RECEIVER_TYPES, payload
from monitor.notify.payload import MonitorIdentity
from monitor.notify.sender import Sender
from monitor.workers.receiver_health import HealthChange, OnAttempt, ReceiverHealth, log_of, record_health

_log = structlog.get_logger(__name__)

# A receiver gets ten messages at once and then one a second; a storm becomes digests anyway.
_BURST = 10.0
_PER_SECOND = 1.0
_MERGES_AT_ONCE = 10
_RECORD_WITHIN_SECONDS = 5.0
_RESENT_AT_ONCE = 200


class Deliverer:
    """Delivers the outbox of one receiver; call `step()` until it returns False."""

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
        on_attempt: OnAttempt = lambda *_: None,
        on_disabled: Callable[[str, bool], None] = lambda *_: None,
    ) -> None:
        self._database = database
        self._sender = sender
        self._receiver = receiver
        self._policy = policy
        self._identity = identity
        self._clock = clock
        self._random = random
        self._health = ReceiverHealth(
            database,
            receiver,
            others=others,
            policy=policy.retry,
            identity=identity,
            clock=clock,
            random=random,
            on_attempt=on_attempt,
            on_disabled=on_disabled,
        )
        self._record: Callable[[Store], None] | None = None
        self._recording: asyncio.Future[None] | None = None
        self._sent_singly: deque[float] = deque(maxlen=max(1, policy.digest.after))
        self._collecting = False
        self._due: dict[int, float] = {}
        self._tokens = _BURST
        self._filled_at = clock.monotonic()
        self._type = RECEIVER_TYPES.get(receiver.type)
        self._resent_up_to = 0
        self._resend_at = clock.monotonic()
        self._resent_last = False

    async def step(self) -> bool:
        """
        Send at most one message; returns whether there may be more to do at once.

        1. Finish recording the last attempt; nothing is sent before that.
        2. One transaction: replace pending deliveries by digests; or else
        3. send, with no transaction open, and
        4. one transaction: the attempt, the delivery, the receiver's health, and the notification of the other receivers.

        A receiver that forgets gets its open alerts again, alternating with new messages: sent one after the other, neither can
        contradict the last one.

        While the database takes no writes nothing is sent, because it could not be recorded.
        """
        try:
            return await self._recorded() and await self._next()
        except StoreUnavailable as error:
            _log.debug("outbox.unavailable", receiver=self._receiver.name, error=str(error))
            return False

    async def _next(self) -> bool:
        breaker = await self._health.load()
        if breaker.disabled_at is not None:
            await self._cancel_pending()
            return False
        if self._health.paused() or not self._may_send():
            return False
        if breaker.healthy and self._resend_due() and not self._resent_last:
            return await self._resend(breaker)
        following, row = await self._database.read(self._next_delivery)
        self._collecting = following.wait is not None
        if following.groups:
            groups = following.groups[:_MERGES_AT_ONCE]
            await self._database.write(partial(merge, self._receiver.name, self._identity, groups, self._clock.now()))
            return True
        if row is not None:
            return await self._deliver(row, breaker, counts=following.counts)
        # A failing receiver is probed with what is pending; with its open alerts only when nothing is.
        return self._resend_due() and await self._resend(breaker)

    async def _cancel_pending(self) -> None:
        if await self._database.read(lambda reader: pending_deliveries(reader, self._receiver.name, 1)):
            name, now = self._receiver.name, self._clock.now()
            await self._database.write(lambda store: store.outbox.cancel_deliveries(name, now))

    def _may_send(self) -> bool:
        now = self._clock.monotonic()
        self._tokens = min(_BURST, self._tokens + (now - self._filled_at) * _PER_SECOND)
        self._filled_at = now
        return self._tokens >= 1

    # ---- what is sent next

    def _next_delivery(self, reader: Reader) -> tuple[NextDelivery, DeliveryRow | None]:
        now = self._clock.now()
        pending = [self._pending(row, now) for row in pending_deliveries(reader, self._receiver.name)]
        following = digests.plan(pending, self._recently_sent(), now, self._policy.digest, collecting=self._collecting)
        rows = deliveries_by_id(reader, [following.next.id]) if following.next is not None else []
        return following, rows[0] if rows else None

    def _pending(self, row: WaitingRow, now: datetime) -> PendingDelivery:
        left = row.next_attempt_at - now
        # A time beyond every possible pause means that the clock was set back; a first attempt is always due.
        due = row.attempts == 0 or not timedelta(0) < left <= retries.longest_pause(self._policy.retry)
        if row.id in self._due:
            due = self._due[row.id] <= self._clock.monotonic()
        return PendingDelivery(
            id=row.id,
            subject=row.subject,
            decided_at=row.queued_at,
            attempts=row.attempts,
            due=due,
            mergeable=self._type is not None and self._type.digests and row.connection_id is not None,
            digest=row.type is EventType.DIGEST,
        )

    def _recently_sent(self) -> int:
        horizon = self._clock.monotonic() - self._policy.digest.wait.total_seconds()
        return sum(sent > horizon for sent in self._sent_singly)

    # ---- sending and recording

    async def _deliver(self, row: DeliveryRow, breaker: CircuitBreaker, *, counts: bool) -> bool:
        self._resent_last = False
        result = await self._sender.send(self._receiver, row.webhook_id, row.body, await self._previous(row))
        if result.sent:
            self._tokens -= 1
            # After a digest nothing is sent singly for a while: as long as a burst lasts there are digests and nothing else.
            digest = row.type is EventType.DIGEST
            self._sent_singly.extend([self._clock.monotonic()] * (self._policy.digest.after if digest else int(counts)))
        now, attempts = self._clock.now(), row.attempts + 1
        change = self._health.after(breaker, result, now)
        outcome = retries.delivery_outcome(result, attempts, row.queued_at, now, self._policy.retry)
        own_retry_at = retries.next_attempt(result, attempts, row.queued_at, now, self._policy.retry, self._random())
        retry_at = own_retry_at if result.of_message else change.after.retry_at
        attempt = AttemptRow(now, result.reason, round(result.took.total_seconds() * 1000), result.http_status, result.detail)
        self._record = partial(record_delivery, row, attempt, outcome, retry_at, change)
        self._health.apply(change)
        self._due.pop(row.id, None)
        if retry_at is not None and outcome is DeliveryOutcome.PENDING:
            self._due[row.id] = self._clock.monotonic() + (retry_at - now).total_seconds()
        if outcome is DeliveryOutcome.DEAD:
            log_of(self._receiver.name, result).error(
                "delivery.abandoned", webhook_id=row.webhook_id, type=row.type.value, attempts=attempts
            )
        return await self._recorded() and change.after.healthy

    async def _previous(self, row: DeliveryRow) -> bytes | None:
        """The body last delivered about the same incident, for the receiver types that need it."""
        if self._type is None or self._type.repeat is None:
            return None
        return await self._database.read(lambda reader: last_delivered(reader, self._receiver.name, row.incident_key))

    def _resend_due(self) -> bool:
        return self._type is not None and self._type.repeat is not None and self._clock.monotonic() >= self._resend_at

    async def _resend(self, breaker: CircuitBreaker) -> bool:
        """Send a batch of the open alerts again; read for each batch, so that none is sent that has ended meanwhile."""
        rows = await self._database.read(lambda reader: open_alerts(reader, self._receiver.name, self._resent_up_to, _RESENT_AT_ONCE))
        full = len(rows) == _RESENT_AT_ONCE
        self._resent_up_to = rows[-1][0] if full else 0
        if not full and self._type is not None and self._type.repeat is not None:
            self._resend_at = self._clock.monotonic() + self._type.repeat.every.total_seconds()
        self._resent_last = True
        if not rows:
            return True
        result = await self._sender.repeat(self._receiver, [body for _, body in rows])
        change = self._health.after(breaker, result, self._clock.now())
        if change.after != breaker:
            self._record = partial(record_health, change)
        self._health.apply(change)
        if result.of_message:
            log_of(self._receiver.name, result).warning("resend.rejected")
        return await self._recorded() and change.after.healthy

    async def _recorded(self) -> bool:
        """
        Whether the last attempt is recorded. Recording outlives this call: cancelled or late, it is still written.

        Raises:
            StoreUnavailable: it could not be queued; the next step tries again.
        """
        if self._record is None:
            return True
        if self._recording is None:
            self._recording = self._database.submit(self._record)
        try:
            async with asyncio.timeout(_RECORD_WITHIN_SECONDS):
                await asyncio.shield(self._recording)
        except TimeoutError:
            return False
        except StoreUnavailable:
            self._recording = None
            raise
        except StoreError as error:
            # An operator has settled the delivery by a command meanwhile.
            _log.warning("attempt.not_recorded", receiver=self._receiver.name, error=str(error))
        self._record = self._recording = None
        return True


def merge(receiver: str, identity: MonitorIdentity, groups: Sequence[Sequence[PendingDelivery]], now: datetime, store: Store) -> None:
    """Replace each of *groups* by a digest, or by several where one would be too large."""
    for group in groups:
        rows = deliveries_by_id(store, [delivery.id for delivery in group])
        parts = [[row for row in rows if row.state is DeliveryState.PENDING and row.digest_id is None]]
        while parts:
            parts[:1] = _replace_by_digest(receiver, identity, parts[0], now, store)


def _replace_by_digest(
    receiver: str, identity: MonitorIdentity, rows: Sequence[DeliveryRow], now: datetime, store: Store
) -> list[list[DeliveryRow]]:
    """Replace *rows* by one digest and return nothing; or return the halves of them that must become one each."""
    if not rows:
        return []
    webhook_id = store.outbox.new_webhook_id()
    body = payload.render_digest(webhook_id, now, [row.body for row in rows], identity)
    subjects = list(dict.fromkeys(row.subject for row in rows))
    if len(body) > payload.MAX_BODY and len(subjects) > 1:
        half = set(subjects[: len(subjects) // 2])
        return [[row for row in rows if row.subject in half], [row for row in rows if row.subject not in half]]
    notification = digests.build_digest(receiver, [row.notification for row in rows], now)
    key = events.incident_key(notification.incident, identity.instance)
    store.outbox.replace_by_digest(webhook_id, notification, key, body, receiver, [row.id for row in rows])
    return []


def record_delivery(
    row: DeliveryRow, attempt: AttemptRow, outcome: DeliveryOutcome, retry_at: datetime | None, change: HealthChange, store: Store
) -> None:
    """Record one attempt and the receiver's health after it."""
    store.outbox.record_attempt(row, attempt, outcome, retry_at)
    record_health(change, store)
