"""When the other receivers are notified that one of them fails, and that it works again."""

from datetime import datetime, timedelta

from monitor.domain.copies import replace
from monitor.domain.delivery.retries import GONE_ATTEMPTS, AttemptResult, CircuitBreaker
from monitor.domain.events import (
    FINE,
    REMOVED,
    EventType,
    IncidentRef,
    Notification,
    NotificationFacts,
    NotificationReason,
    Severity,
    Topic,
    Transition,
)
from monitor.domain.reasons import Scope
from monitor.errors import DeliveryReason

FAILING = "failing"
REFUSING = "refusing"
DISABLED = "disabled"
PATIENCE = timedelta(minutes=5)

# Retries do not help: an address, a password or a certificate has to be corrected.
_PERMANENT = frozenset(
    {
        DeliveryReason.AUTH_ERROR,
        DeliveryReason.CLIENT_ERROR,
        DeliveryReason.REDIRECTED,
        DeliveryReason.ADDRESS_REFUSED,
    }
)


def update_outage(
    receiver: str, before: CircuitBreaker, after: CircuitBreaker, result: AttemptResult, now: datetime
) -> tuple[CircuitBreaker, Notification | None]:
    """
    Return *after* with the outage noted, and the notification about *receiver*, if any.

    *before* and *after* are the breaker before and after the attempt. A wrong address or wrong credentials are notified at the second
    failure, a receiver that refuses every message or is disabled at once, other failures after five minutes, and the recovery at once
    if the outage was.
    """
    if after.healthy:
        if not before.notified:
            return after, None
        return after, _notification(receiver, EventType.RECEIVER_RECOVERED, before, now, _level(before), FINE, "")
    level = _level(after)
    if after.notified:
        changed = level == DISABLED and before.disabled_at is None
        return after, _notification(
            receiver, EventType.RECEIVER_FAILING, after, now, _level(before), DISABLED, _detail(result)
        ) if changed else None
    if not _is_reportable(after, result, now):
        return after, None
    reported = replace(after, notified=True, number=after.number + 1)
    return reported, _notification(receiver, EventType.RECEIVER_FAILING, reported, now, FINE, level, _detail(result))


def removed(receiver: str, breaker: CircuitBreaker, now: datetime) -> Notification:
    """Return the end of the incident of a *receiver* that is no longer configured."""
    notice = _notification(receiver, EventType.RECEIVER_CLOSED, breaker, now, _level(breaker), FINE, "")
    return replace(notice, facts=replace(notice.facts, closed_why=REMOVED))


def transition(notice: Notification) -> Transition:
    """Return the transition of the incident of a receiver to the level that *notice* reports."""
    return Transition(
        incident=notice.incident,
        scope=notice.scope,
        connection_id=None,
        level=notice.level_to,
        at=notice.at,
        severity=notice.severity,
        reason=None,
        detail=notice.detail,
        closed_why=(notice.facts.closed_why or "recovered") if notice.level_to == FINE else None,
    )


def level_of(*, disabled: bool, refusing: bool) -> str:
    """Return the level of a receiver in trouble."""
    if disabled:
        return DISABLED
    return REFUSING if refusing else FAILING


def severity_of(level: str) -> Severity:
    """Return the severity of a receiver in trouble."""
    return Severity.CRITICAL if level == DISABLED else Severity.WARNING


def _level(breaker: CircuitBreaker) -> str:
    return level_of(disabled=breaker.disabled_at is not None or breaker.gone >= GONE_ATTEMPTS, refusing=breaker.refusing)


def _detail(result: AttemptResult) -> str:
    return f"{result.reason.value}: {result.detail}" if result.detail else result.reason.value


def _is_reportable(breaker: CircuitBreaker, result: AttemptResult, now: datetime) -> bool:
    if breaker.disabled_at is not None or breaker.refusing:
        return True
    if result.reason in _PERMANENT and not result.of_message:
        return breaker.failures >= 2
    return breaker.failing_since is not None and now - breaker.failing_since >= PATIENCE


def _notification(
    receiver: str, kind: EventType, breaker: CircuitBreaker, now: datetime, before: str, after: str, detail: str
) -> Notification:
    opened_at = breaker.failing_since or now
    closing, opening = after == FINE, before == FINE
    return Notification(
        type=kind,
        why=NotificationReason.CLOSED if closing else NotificationReason.OPENED if opening else NotificationReason.CHANGED,
        severity=severity_of(before if closing else after),
        at=now,
        incident=IncidentRef(Topic.SCOPE, f"receiver:{receiver}", breaker.number, opened_at),
        scope=Scope.RECEIVER,
        connection_id=None,
        level_from=before,
        level_to=after,
        reason=None,
        detail=detail,
        # Three for each outage: opened, changed, closed.
        seq=3 * breaker.number - (0 if closing else 2 if opening else 1),
        facts=NotificationFacts(duration=now - opened_at if closing else None),
    )
