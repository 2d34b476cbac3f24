"""Outages of receivers: when the others hear of them."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from monitor.db.codec import dump_notification, load_notification
from monitor.domain.delivery.receiver_outages import PATIENCE, update_outage
from monitor.domain.delivery.retries import AttemptResult, CircuitBreaker, after_attempt, result_of_status
from monitor.domain.events import EventType, Notification, NotificationReason, Severity
from monitor.domain.policy import RetryPolicy
from monitor.errors import DeliveryReason
from tests.builders import HOUR, MINUTE, SECOND, START, at

POLICY = RetryPolicy()
HEALTHY = CircuitBreaker()


def attempts(*results: tuple[AttemptResult, timedelta], breaker: CircuitBreaker = HEALTHY) -> tuple[CircuitBreaker, list[Notification]]:
    told = []
    for result, offset in results:
        now: datetime = at(offset)
        after, notification = update_outage("on-call", breaker, after_attempt(breaker, result, now, POLICY, 0.5), result, now)
        breaker = after
        if notification is not None:
            told.append(notification)
    return breaker, told


def test_short_outage() -> None:
    """A receiver that is back within five minutes is nobody's business."""
    down, up = result_of_status(503), result_of_status(200)
    assert attempts((down, 0 * SECOND), (down, MINUTE), (up, 4 * MINUTE)) == (CircuitBreaker(), [])


def test_long_outage() -> None:
    """After five minutes it is told once, and its end once, under the same incident and in order."""
    down, up = result_of_status(503), result_of_status(200)
    breaker, told = attempts((down, 0 * SECOND), (down, PATIENCE), (down, HOUR), (up, 2 * HOUR), (up, 3 * HOUR))
    assert [one.type for one in told] == [EventType.RECEIVER_FAILING, EventType.RECEIVER_RECOVERED]
    assert [(one.why, one.seq) for one in told] == [(NotificationReason.OPENED, 1), (NotificationReason.CLOSED, 3)]
    assert told[0].incident == told[1].incident
    assert told[0].incident.opened_at == START
    assert told[1].facts.duration == 2 * HOUR
    assert breaker == CircuitBreaker(number=1)
    _, again = attempts((down, 4 * HOUR), (down, 5 * HOUR), breaker=breaker)
    assert [(one.incident.number, one.seq) for one in again] == [(2, 4)]


@pytest.mark.parametrize(
    "reason", [DeliveryReason.AUTH_ERROR, DeliveryReason.CLIENT_ERROR, DeliveryReason.REDIRECTED, DeliveryReason.ADDRESS_REFUSED]
)
def test_mistakes(reason: DeliveryReason) -> None:
    """What time does not heal is told at the second failure; one alone may have been chance."""
    result = AttemptResult(reason, detail="answered 403")
    assert attempts((result, 0 * SECOND))[1] == []
    (told,) = attempts((result, 0 * SECOND), (result, 5 * SECOND))[1]
    assert told.detail == f"{reason}: answered 403"
    assert told.severity is Severity.WARNING


def test_gone() -> None:
    """A receiver that says three times in a row that it is gone is notified once, and critical; one 410 is no outage."""
    gone = result_of_status(410)
    assert attempts((gone, 0 * SECOND), (gone, 5 * SECOND))[1] == []
    (told,) = attempts((gone, 0 * SECOND), (gone, 5 * SECOND), (gone, 20 * SECOND))[1]
    assert (told.level_to, told.severity) == ("disabled", Severity.CRITICAL)
    stored = dump_notification(told)
    assert load_notification(stored.replace('"disabled"', '"gone"'), "as release 0.1 wrote it") == load_notification(stored, "") == told


def test_gone_after_an_outage() -> None:
    """A receiver whose outage was notified and that is then gone is notified again, in order, and its recovery from there."""
    down, gone, up = result_of_status(503), result_of_status(410), result_of_status(200)
    results = [down, down, gone, gone, gone, up]
    _, told = attempts(*((result, number * PATIENCE) for number, result in enumerate(results)))
    assert [(one.level_from, one.level_to, one.seq) for one in told] == [
        ("fine", "failing", 1),
        ("failing", "disabled", 2),
        ("disabled", "fine", 3),
    ]
    assert len({one.incident for one in told}) == 1


def test_poison_is_no_outage() -> None:
    """A receiver that refuses one message, however often, is not failing."""
    _, told = attempts(*[(result_of_status(400), minute * MINUTE) for minute in range(20)])
    assert told == []


def test_refuses_everything() -> None:
    """A receiver that refuses two different messages in a row is notified at once, with its answer."""
    refused, up = replace(result_of_status(400), detail="answered 400: no such channel"), result_of_status(200)
    breaker = after_attempt(HEALTHY, refused, START, POLICY, 0.5, message="a")
    after = after_attempt(breaker, refused, START, POLICY, 0.5, message="b")
    reported, told = update_outage("chat", breaker, after, refused, START)
    assert told is not None
    assert (told.level_to, told.detail) == ("refusing", "client_error: answered 400: no such channel")
    _, recovered = update_outage("chat", reported, after_attempt(reported, up, at(HOUR), POLICY, 0.5), up, at(HOUR))
    assert recovered is not None
    assert recovered.type is EventType.RECEIVER_RECOVERED
