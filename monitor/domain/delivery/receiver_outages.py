"""When the other receivers hear that one of them takes no messages, and that it does again. Pure."""

from datetime import datetime, timedelta

from monitor.domain.copies import replace
from monitor.domain.delivery.retries import AttemptResult, CircuitBreaker
from monitor.domain.events import FINE, EventType, IncidentRef, Notification, NotificationFacts, NotificationReason, Severity, Topic
from monitor.domain.reasons import Scope
from monitor.errors import DeliveryReason

FAILING = "failing"
GONE = "gone"
PATIENCE = timedelta(minutes=5)

# Time does not heal these: somebody has to correct an address, a password or a certificate.
_MISTAKES = frozenset(
    {
        DeliveryReason.AUTH_ERROR,
        DeliveryReason.CLIENT_ERROR,
        DeliveryReason.REDIRECTED,
        DeliveryReason.ADDRESS_REFUSED,
        DeliveryReason.GONE,
    }
)


def news(
    receiver: str, before: CircuitBreaker, after: CircuitBreaker, result: AttemptResult, now: datetime
) -> tuple[CircuitBreaker, Notification | None]:
    """
    What the others are told of *receiver* after an attempt that changed its health from *before* to *after*.

    A mistake of the address or the credentials is told at the second failure, other trouble after five minutes, and
    the end of what was told at once. Returns the health with that noted, and the notification or None.
    """
    if after.healthy:
        if not before.told:
            return after, None
        return after, _notification(receiver, EventType.RECEIVER_RECOVERED, before, now, FAILING, FINE, "")
    if after.told or not _worth_telling(after, result, now):
        return after, None
    told = replace(after, told=True, number=after.number + 1)
    level = GONE if after.disabled_at is not None else FAILING
    detail = f"{result.reason.value}: {result.detail}" if result.detail else result.reason.value
    return told, _notification(receiver, EventType.RECEIVER_FAILING, told, now, FINE, level, detail)


def _worth_telling(breaker: CircuitBreaker, result: AttemptResult, now: datetime) -> bool:
    if breaker.disabled_at is not None:
        return True
    if result.reason in _MISTAKES:
        return breaker.failures >= 2
    return breaker.failing_since is not None and now - breaker.failing_since >= PATIENCE


def _notification(
    receiver: str, kind: EventType, breaker: CircuitBreaker, now: datetime, before: str, after: str, detail: str
) -> Notification:
    opened_at = breaker.failing_since or now
    closing = after == FINE
    return Notification(
        type=kind,
        why=NotificationReason.CLOSED if closing else NotificationReason.OPENED,
        severity=Severity.CRITICAL if after == GONE else Severity.WARNING,
        at=now,
        incident=IncidentRef(Topic.SCOPE, f"receiver:{receiver}", breaker.number, opened_at),
        scope=Scope.RECEIVER,
        connection_id=None,
        level_from=before,
        level_to=after,
        reason=None,
        detail=detail,
        seq=2 * breaker.number - (0 if closing else 1),
        facts=NotificationFacts(duration=now - opened_at if closing else None),
    )
