"""Delivers what is pending for one receiver: takes it from the outbox, sends it, records the result; after a crash in between, again."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from monitor.clock import Clock
from monitor.config import ReceiverSettings
from monitor.db import (
    AttemptRow,
    Database,
    DeliveryRow,
    DeliveryState,
    PendingRow,
    Reader,
    Store,
    deliveries_by_id,
    last_delivered,
    open_alerts,
    pending_deliveries,
)
from monitor.domain import events
from monitor.domain.delivery import digests, retries
from monitor.domain.delivery.digests import NextDelivery, PendingDelivery
from monitor.domain.delivery.retries import AttemptResult, CircuitBreaker, DeliveryOutcome
from monitor.domain.events import EventType
from monitor.domain.policy import Policy
from monitor.errors import DeliveryReason, StaleStateError, StoreError, StoreUnavailable
from monitor.logs import get_logger
from monitor.notify import payload
from monitor.notify.identity import MonitorIdentity
from monitor.notify.receiver_types import RECEIVER_TYPES
from monitor.notify.sender import Sender
from monitor.workers.receiver_health import HealthChange, OnAttempt, ReceiverHealth, log_of, record_health

_log = get_logger(__name__)

# Messages in flight: one at first and after a failure, then twice as many after each flight without one.
_MOST_IN_FLIGHT = 8
# Messages that left together also end together: waiting a moment for the others saves commits.
_COMPANY_SECONDS = 0.02
# A receiver with a limit gets ten messages at once and then only so many a second.
_BURST = 10.0
_MERGES_AT_ONCE = 10
_RECORD_WITHIN_SECONDS = 5.0
_RESENT_AT_ONCE = 200
_RESENT = "resent"


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
        trial: bool = False,
        may_send: Callable[[], bool] = lambda: True,
    ) -> None:
        self._database = database
        self._may_send = may_send
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
            trial=trial,
        )
        self._records: list[Callable[[Store], None]] = []
        self._recording: asyncio.Future[list[str]] | None = None
        self._recording_count = 0
        self._most_in_flight = 1
        self._sent_singly: deque[float] = deque(maxlen=max(1, policy.digest.after))
        self._collecting = False
        self._due: dict[int, float] = {}
        self._refused: set[int] = set()
        self._at_fault: set[int] = set()
        self._tokens = _BURST
        self._filled_at = clock.monotonic()
        self._type = RECEIVER_TYPES.get(receiver.type)
        self._per_second = messages_per_second(receiver)
        self._resent_up_to = 0
        self._resend_at = clock.monotonic()
        self._resent_last = False

    async def step(self) -> bool:
        """
        Send the messages of one flight; returns whether there may be more to do at once.

        1. Finish recording the last attempts; nothing is sent before that.
        2. One transaction: replace pending deliveries by digests; or else
        3. send, with no transaction open, and
        4. one transaction: the attempts that have ended, their deliveries, the receiver's health, and the notification of the others.

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
            await self._give_up_old()
            return False
        room = self._room(breaker)
        if self._health.paused() or not room:
            return False
        if breaker.healthy and self._resend_due() and not self._resent_last:
            return await self._resend(breaker)
        upcoming, rows, previous = await self._database.read(partial(self._next_deliveries, breaker, room))
        self._collecting = upcoming.wait is not None
        if upcoming.groups:
            groups = upcoming.groups[:_MERGES_AT_ONCE]
            await self._database.write(partial(merge, self._receiver.name, self._identity, groups, self._clock.now()))
            return True
        if rows:
            return await self._fly(rows, previous, upcoming.counted)
        # A failing receiver is probed with what is pending; with its open alerts only when nothing is.
        return self._resend_due() and await self._resend(breaker)

    async def _give_up_old(self) -> None:
        """What is pending for a disabled receiver is kept, but no longer than for one that only fails."""
        name, now = self._receiver.name, self._clock.now()
        before = now - self._policy.retry.give_up_after
        oldest = await self._database.read(lambda reader: pending_deliveries(reader, name, 1))
        if oldest and oldest[0].queued_at <= before:
            count = await self._database.write(lambda store: store.outbox.cancel_deliveries(name, now, queued_before=before))
            _log.error("delivery.abandoned", receiver=name, deliveries=count, reason=DeliveryReason.GONE.value)

    def _room(self, breaker: CircuitBreaker) -> int:
        """How many messages may be sent at the same time now."""
        room = self._most_in_flight if breaker.healthy else 1
        if self._per_second is None:
            return room
        now = self._clock.monotonic()
        self._tokens = min(_BURST, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        return min(room, int(self._tokens))

    # ---- what is sent next

    def _next_deliveries(
        self, breaker: CircuitBreaker, room: int, reader: Reader
    ) -> tuple[NextDelivery, list[DeliveryRow], dict[int, bytes | None]]:
        """What to do next, the deliveries to send, and what was last delivered about the incident of each, where the type needs it."""
        now = self._clock.now()
        pending = [self._pending(row, breaker, now) for row in pending_deliveries(reader, self._receiver.name)]
        room = len(pending) if breaker.refusing else room
        upcoming = digests.plan(pending, self._recently_sent(), now, self._policy.digest, collecting=self._collecting, room=room)
        chosen = upcoming.now
        if breaker.refusing and chosen:
            # Each time another message: if two in a row were at fault themselves, the third is accepted.
            chosen = (min(chosen, key=lambda delivery: (delivery.attempts, delivery.id)),)
        rows = deliveries_by_id(reader, [delivery.id for delivery in chosen]) if chosen else []
        previous: dict[int, bytes | None] = {}
        if self._type is not None and self._type.repeat is not None:
            previous = {row.id: last_delivered(reader, self._receiver.name, row.incident_key) for row in rows}
        return upcoming, rows, previous

    def _pending(self, row: PendingRow, breaker: CircuitBreaker, now: datetime) -> PendingDelivery:
        left = row.next_attempt_at - now
        # A time beyond every possible pause means that the clock was set back.
        due = not timedelta(0) < left <= retries.longest_pause(self._policy.retry)
        if row.id in self._due:
            due = self._due[row.id] <= self._clock.monotonic()
        # Only a message that was refused itself has a pause of its own; all others wait for the receiver.
        due = due or breaker.refusing or not row.refused
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

    async def _fly(self, rows: Sequence[DeliveryRow], previous: Mapping[int, bytes | None], counted: Collection[int]) -> bool:
        """Send *rows* at the same time and record each result soon after it is known; returns whether the receiver works."""
        # Asked last: while the rows were read, the lease of this node may have run out.
        if not self._may_send():
            return False
        self._resent_last = False
        begun = self._health.breaker
        flight = {
            asyncio.ensure_future(self._sender.send(self._receiver, row.webhook_id, row.body, previous.get(row.id))): row for row in rows
        }
        flying, refused = set(flight), []
        try:
            while flying:
                await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
                ended, flying = await asyncio.wait(flying, timeout=_COMPANY_SECONDS if len(flying) > 1 else None)
                for attempt in sorted(ended, key=lambda one: flight[one].id):
                    if attempt.result().of_message:
                        refused.append(attempt)
                    else:
                        self._apply_result(flight[attempt], attempt.result(), begun, counted=flight[attempt].id in counted)
                if flying:
                    await self._record_meanwhile()
            # Last: what another message of the same flight met says whether the receiver or the message is at fault.
            for attempt in refused:
                self._apply_result(flight[attempt], attempt.result(), begun, counted=flight[attempt].id in counted)
        finally:
            for attempt in flying:
                attempt.cancel()
            await asyncio.gather(*flying, return_exceptions=True)
        healthy = self._health.breaker.healthy
        self._most_in_flight = min(2 * self._most_in_flight, _MOST_IN_FLIGHT) if healthy else 1
        return await self._recorded() and healthy

    def _apply_result(self, row: DeliveryRow, result: AttemptResult, begun: CircuitBreaker, *, counted: bool) -> None:
        """What follows from one attempt; it is recorded later. One that was broken off is none, and its delivery stays pending."""
        if result.broken_off:
            return
        if result.sent:
            self._tokens -= 1
            # After a digest nothing is sent singly for a while: as long as a burst lasts there are digests and nothing else.
            digest = row.type is EventType.DIGEST
            self._sent_singly.extend([self._clock.monotonic()] * (self._policy.digest.after if digest else int(counted)))
        now, attempts, policy = self._clock.now(), row.attempts + 1, self._policy.retry
        at_fault = self._is_at_fault(row.id, result)
        change = self._health.after(self._health.breaker, result, now, message=row.webhook_id, begun=begun, at_fault=at_fault)
        refusing = change.after.refusing and not at_fault
        outcome = retries.delivery_outcome(result, attempts, row.queued_at, now, policy, refusing=refusing)
        retry_at = change.after.retry_at
        if result.of_message and not refusing:
            retry_at = retries.next_attempt(result, attempts, row.queued_at, now, policy, self._random())
        attempt = AttemptRow(now, result.reason, round(result.took.total_seconds() * 1000), result.http_status, result.detail)
        self._records.append(partial(record_delivery, row, attempt, outcome, retry_at, change))
        self._due.pop(row.id, None)
        if outcome is not DeliveryOutcome.PENDING:
            self._refused.discard(row.id)
            self._at_fault.discard(row.id)
        if result.of_message and retry_at is not None and outcome is DeliveryOutcome.PENDING:
            self._due[row.id] = self._clock.monotonic() + (retry_at - now).total_seconds()
        if outcome is DeliveryOutcome.DEAD:
            log_of(self._receiver.name, result).error(
                "delivery.abandoned", webhook_id=row.webhook_id, type=row.type.value, attempts=attempts
            )
        self._health.apply(change)

    def _is_at_fault(self, number: int, result: AttemptResult) -> bool:
        """Whether a refused message is known to be at fault itself: another one was accepted after it was refused before."""
        if result.delivered:
            self._at_fault |= self._refused
            self._refused.clear()
        if not result.of_message:
            return False
        self._refused.add(number)
        return number in self._at_fault

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
        if not rows or not self._may_send():
            return not rows
        result = await self._sender.repeat(self._receiver, [body for _, body in rows])
        if result.broken_off:
            return False
        change = self._health.after(breaker, result, self._clock.now(), message=_RESENT)
        if change.after != breaker:
            self._records.append(partial(record_health, change))
        self._health.apply(change)
        if result.of_message:
            log_of(self._receiver.name, result).warning("resend.rejected")
        return await self._recorded() and change.after.healthy

    async def _record_meanwhile(self) -> None:
        """Record what has ended while other messages are in flight; what can't be recorded yet is left for `_recorded`."""
        try:
            await self._recorded()
        except StoreUnavailable as error:
            _log.debug("outbox.unavailable", receiver=self._receiver.name, error=str(error))

    async def _recorded(self) -> bool:
        """Whether all attempts are recorded; recording outlives this call, cancelled or late. Raises StoreUnavailable when not queued."""
        while self._records:
            if self._recording is None:
                self._recording_count = len(self._records)
                self._recording = self._database.submit(partial(record_all, tuple(self._records)))
            try:
                async with asyncio.timeout(_RECORD_WITHIN_SECONDS):
                    errors = await asyncio.shield(self._recording)
            except TimeoutError:
                return False
            except StoreUnavailable:
                self._recording = None
                raise
            except StoreError as error:
                errors = [str(error)]
            for text in errors:
                # An operator has settled the delivery by a command meanwhile.
                _log.warning("attempt.not_recorded", receiver=self._receiver.name, error=text)
            del self._records[: self._recording_count]
            self._recording = None
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


def record_all(records: Sequence[Callable[[Store], None]], store: Store) -> list[str]:
    """Make all *records* in one transaction; returns why some could not be made."""
    errors = []
    for record in records:
        try:
            record(store)
        except StaleStateError as error:
            errors.append(str(error))
    return errors


def record_delivery(
    row: DeliveryRow, attempt: AttemptRow, outcome: DeliveryOutcome, retry_at: datetime | None, change: HealthChange, store: Store
) -> None:
    """Record the receiver's health after one attempt, and the attempt."""
    record_health(change, store)
    store.outbox.record_attempt(row, attempt, outcome, retry_at)


def messages_per_second(receiver: ReceiverSettings) -> float | None:
    """How many messages a second *receiver* gets at most, after ten at once; None without a limit."""
    receiver_type = RECEIVER_TYPES.get(receiver.type)
    own = receiver.messages_per_second
    limit = receiver_type.per_second if own is None and receiver_type is not None else own
    return limit or None
