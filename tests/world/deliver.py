"""
The one receiver of a world: what it gets, when, and in how many requests.

Digests, pauses after failures and the notice to other receivers are decided by the program's own functions; the outbox is a list,
which like the stored one outlives the process.
"""

from collections import deque
from dataclasses import dataclass, field
from random import Random

from monitor.clock import Clock
from monitor.domain.delivery import digests, retries
from monitor.domain.delivery.digests import PendingDelivery
from monitor.domain.delivery.receiver_outages import update_outage
from monitor.domain.delivery.retries import CircuitBreaker
from monitor.domain.events import Notification, NotificationReason
from monitor.domain.notifications.timing import overtakes_reminders
from monitor.domain.policy import Policy

NAME = "on-call"
_ACCEPTED, _FAILING = 204, 503


@dataclass(slots=True)
class _Waiting:
    """One pending request: its notifications, by their places among all that were decided."""

    delivery: PendingDelivery
    places: list[int]
    notification: Notification


@dataclass(slots=True)
class Receiver:
    """
    The receiver `on-call`.

    Attributes:
        requests: accepted ones, in order: when (as the caller counts time), and which notifications.
        dropped: reminders that a newer message of their incident replaced.
    """

    policy: Policy
    clock: Clock
    random: Random
    requests: list[tuple[float, tuple[int, ...]]] = field(default_factory=list)
    dropped: set[int] = field(default_factory=set)
    _pending: list[_Waiting] = field(default_factory=list)
    _breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    _paused_until: float = float("-inf")
    _sent_singly: deque[float] = field(default_factory=deque)
    _collecting: bool = False
    _number: int = 0

    def add(self, place: int, sent: Notification) -> None:
        """Put a notification into the outbox."""
        if overtakes_reminders(sent.why):
            for each in list(self._pending):
                old = each.notification
                reminder = old.why is NotificationReason.REMINDER and not each.delivery.attempts
                if reminder and (old.incident.topic, old.incident.subject) == (sent.incident.topic, sent.incident.subject):
                    self.dropped.update(each.places)
                    self._pending.remove(each)
        self._queue([place], sent, mergeable=sent.connection_id is not None)

    def _queue(self, places: list[int], sent: Notification, *, mergeable: bool = False, digest: bool = False) -> None:
        self._number += 1
        delivery = PendingDelivery(self._number, sent.incident.subject, self.clock.now(), mergeable=mergeable, digest=digest)
        self._pending.append(_Waiting(delivery, places, sent))

    def due_in(self) -> float:
        """In how many seconds there is something to send; infinity while nothing waits."""
        return max(0.0, self._paused_until - self.clock.monotonic()) if self._pending else float("inf")

    def step(self, elapsed: float, *, works: bool) -> Notification | None:
        """Send what may be sent, or merge it into digests; returns the notice for other receivers, if any."""
        now, monotonic = self.clock.now(), self.clock.monotonic()
        horizon = monotonic - self.policy.digest.wait.total_seconds()
        recent = sum(sent > horizon for sent in self._sent_singly)
        waiting = {each.delivery.id: each for each in self._pending}
        following = digests.plan([each.delivery for each in self._pending], recent, now, self.policy.digest, collecting=self._collecting)
        self._collecting = following.wait is not None
        for group in following.groups:
            members = [waiting[delivery.id] for delivery in group]
            self._pending = [each for each in self._pending if each not in members]
            digest = digests.build_digest(NAME, [each.notification for each in members], now)
            self._queue([place for each in members for place in each.places], digest, digest=True)
        for delivery in following.now:
            notice = self._send(waiting[delivery.id], elapsed, works=works, counts=delivery.id in following.counted)
            if notice is not None or not works:
                return notice
        return None

    def _send(self, each: _Waiting, elapsed: float, *, works: bool, counts: bool) -> Notification | None:
        now = self.clock.now()
        result = retries.result_of_status(_ACCEPTED if works else _FAILING)
        before = self._breaker
        after = retries.after_attempt(before, result, now, self.policy.retry, self.random.random())
        self._breaker, notice = update_outage(NAME, before, after, result, now)
        if self._breaker.retry_at is not None:
            self._paused_until = self.clock.monotonic() + (self._breaker.retry_at - now).total_seconds()
        if works:
            self._pending.remove(each)
            self.requests.append((elapsed, tuple(each.places)))
            self._sent_singly.extend([self.clock.monotonic()] * (self.policy.digest.after if each.delivery.digest else int(counts)))
        else:
            each.delivery = PendingDelivery(
                each.delivery.id,
                each.delivery.subject,
                each.delivery.decided_at,
                attempts=each.delivery.attempts + 1,
                mergeable=each.delivery.mergeable,
                digest=each.delivery.digest,
            )
        return notice
