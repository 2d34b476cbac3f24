"""The incident of a receiver in trouble: its row and the notifications of the other receivers."""

from collections.abc import Collection, Sequence
from datetime import datetime

from monitor.db import Store
from monitor.db.renames import receivers
from monitor.domain import events
from monitor.domain.delivery import receiver_outages
from monitor.domain.delivery.retries import CircuitBreaker
from monitor.domain.events import Notification
from monitor.notify import payload
from monitor.notify.identity import MonitorIdentity


def record(notice: Notification, others: Sequence[str], identity: MonitorIdentity, store: Store) -> str:
    """Record the change of the incident that *notice* is about, and make it pending for the *others*; returns the incident's key."""
    store.apply_transitions([receiver_outages.transition(notice)])
    webhook_id = store.outbox.new_webhook_id()
    key = store.outbox.key_of(notice.incident) or events.incident_key(notice.incident, identity.instance)
    body = payload.render(webhook_id, notice, None, identity, key=key)
    store.outbox.add_notification(webhook_id, notice, key, body, others)
    return key


def close_removed(receiver: str, remaining: Collection[str], identity: MonitorIdentity, now: datetime, store: Store) -> str:
    """Close the incident of a *receiver* that is no longer configured at those *remaining* that know it; returns its key, empty without one."""
    breaker = receivers.known_breaker(store, receiver)
    if not breaker.notified:
        return ""
    notice = receiver_outages.removed(receiver, breaker, now)
    key = store.outbox.key_of(notice.incident)
    known = store.outbox.receivers_notified(key) if key is not None else ()
    return record(notice, [name for name in known if name in remaining], identity, store)


def save_breaker(receiver: str, breaker: CircuitBreaker, store: Store) -> None:
    """Save the circuit breaker of *receiver*."""
    disabled = breaker.disabled_at is not None
    store.outbox.put_receiver_state(receiver, breaker.dump(), disabled=disabled, failing_since=breaker.failing_since)
