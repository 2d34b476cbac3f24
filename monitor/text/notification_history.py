"""Who was notified of a connection, who was not, and why."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from monitor.domain.events import FINE, IncidentRef, Topic, incident_key
from monitor.domain.notifications.build import NotificationContext, build_notification
from monitor.domain.notifications.timing import escalations, reminder_at
from monitor.domain.policy import Policy
from monitor.domain.states import SuppressionReason, TopicState
from monitor.text.format import capital, count, moment, one_line, when
from monitor.text.report import ConnectionReport, DeliveryRecord, NotificationRecord

SUPPRESSION_TEXTS = {
    SuppressionReason.NOTHING_NEW: "Receivers are up to date.",
    SuppressionReason.COVERED_BY_SCOPE: "Notifications wait while the incident of a wider scope is open, or may be about to open.",
    SuppressionReason.REMINDER_NOT_DUE: "Receivers are up to date; the next reminder is not due yet.",
    SuppressionReason.AWAITING_CHECK: "A reminder is due; it is sent when the next check fails, too.",
    SuppressionReason.SILENCED: "A silence suppresses the notifications of this connection.",
    SuppressionReason.QUIET_HOURS: "Quiet hours suppress the notifications of this severity.",
    SuppressionReason.UNCERTAIN: (
        "The pending notification is older than the last result, or than the incident of a wider scope; it is sent once that is decided."
    ),
    SuppressionReason.NOT_LASTING: "Trouble of the platform itself is notified when it has lasted, after one more check.",
    SuppressionReason.ACKNOWLEDGED: "Receivers are up to date; the incident is acknowledged, so there are no reminders.",
}

SCOPE_TEXTS = {
    "delivered": "notified {}, once for all connections below it.",
    "pending": "decided {}, once for all connections below it; not delivered yet.",
    "none": "decided {}, but no receiver has it: no route takes it, or its deliveries were abandoned.",
}
_QUOTED = 200
_UP_TO_DATE = {SuppressionReason.NOTHING_NEW, SuppressionReason.REMINDER_NOT_DUE, SuppressionReason.ACKNOWLEDGED}


def topic_lines(report: ConnectionReport, now: datetime, policy: Policy) -> Iterator[str]:
    """For every topic that ever had an incident: its level, what receivers know, and what comes next."""
    scopes = [scope for scope in report.above if scope.open]
    for scope in scopes:
        notified = scope.topic.notified
        if notified.level == FINE or notified.at is None:
            yield f"{capital(report.scope_text(scope))}: no notification yet."
        else:
            text = SCOPE_TEXTS[report.scope_deliveries.get(scope.key, "delivered")]
            yield f"{capital(report.scope_text(scope))}: {text.format(when(notified.at, now))}"
    for topic in Topic:
        if topic in report.state.topics:
            yield from _topic(topic, report, now, policy)
    if not report.state.topics:
        yield "This connection itself has no incident." if scopes else "There has never been an incident."
        return
    suppression = report.state.suppression
    reminded = any(reminder_at(topic, value, policy) is not None for topic, value in report.state.topics.items())
    if reminded and suppression is SuppressionReason.NOTHING_NEW:
        suppression = SuppressionReason.REMINDER_NOT_DUE
    behind = [line for topic in report.state.topics for line in _not_delivered(topic, report)] if suppression in _UP_TO_DATE else []
    yield from behind or [SUPPRESSION_TEXTS[suppression]]


def _not_delivered(topic: Topic, report: ConnectionReport) -> Iterator[str]:
    """Which receivers do not have what was last sent to them of the incident last notified about *topic*, and why; nothing if all have it."""
    records = _records_of(topic, report)
    if not records:
        return
    newest: dict[str, DeliveryRecord] = {}
    for record in records:
        for delivery in record.deliveries:
            if not delivery.superseded:
                newest.setdefault(delivery.receiver, delivery)
    have = [one_line(name, 80) for name, delivery in newest.items() if delivery.state == "delivered"]
    have_not = [f"{one_line(name, 80)} ({_failure(delivery)})" for name, delivery in newest.items() if delivery.state != "delivered"]
    if not newest:
        yield "No receiver has the latest notification: no route matches it, or its receivers are not in the configuration."
    elif not have:
        yield f"No receiver has the latest notification about {topic}: {', '.join(have_not)}."
    elif have_not:
        yield f"Of {topic}, {', '.join(have)} {'has' if len(have) == 1 else 'have'} the latest notification, but not {', '.join(have_not)}."


def _failure(delivery: DeliveryRecord) -> str:
    """Why a delivery has not arrived: its state, its attempts and the last response."""
    state = "abandoned" if delivery.state == "dead" else delivery.state
    text = f"{state} after {count(len(delivery.attempts), 'attempt')}"
    if not delivery.attempts:
        return text
    last = delivery.attempts[-1]
    return f"{text}: {last.reason}" + (f" {last.http_status}" if last.http_status is not None else "")


def _records_of(topic: Topic, report: ConnectionReport) -> list[NotificationRecord]:
    """The notifications of the incident last notified about *topic* that are known here, newest first."""
    incident = (topic, report.state.topic(topic).notified.number)
    return [one for one in report.notifications if (one.notification.incident.topic, one.notification.incident.number) == incident]


def _receivers_of(topic: Topic, report: ConnectionReport) -> tuple[str, ...] | None:
    """The receivers that have or get the latest notification about *topic*; None when it is not among those that are known here."""
    for record in _records_of(topic, report):
        return tuple(delivery.receiver for delivery in record.deliveries if delivery.state in {"pending", "delivered"})
    return None


def _delivered(topic: Topic, report: ConnectionReport) -> bool:
    """Whether some receiver has a notification of the incident last notified about *topic*, as far as is known here."""
    records = _records_of(topic, report)
    return not records or any(delivery.state == "delivered" for record in records for delivery in record.deliveries)


def _topic(topic: Topic, report: ConnectionReport, now: datetime, policy: Policy) -> Iterator[str]:
    value = report.state.topic(topic)
    yield f"{topic}: {_level(value, now)} {_notified(topic, value, report, now)}"
    if value.level != value.notified.level:
        yield f"{topic}: the notification “{value.level}” is pending; {_pending_because(topic, report, now, policy)}"
        return
    yield from _escalation(topic, value, report, now, policy)
    ack = report.controls.acknowledged(topic, str(report.connection.id), value)
    due = reminder_at(topic, value, policy)
    if ack is not None:
        yield f"{topic}: acknowledged by {one_line(ack.author, 80)} {when(ack.at, now)} (“{one_line(ack.reason, _QUOTED)}”): no reminders."
    elif due is not None:
        yield f"{topic}: reminder {value.notified.reminders + 1} is due {when(due, now)}, if the incident is still open then."
    elif value.notified.level != FINE:
        yield f"{topic}: no reminders."


def _escalation(topic: Topic, value: TopicState, report: ConnectionReport, now: datetime, policy: Policy) -> Iterator[str]:
    """Whom the incident was or will be escalated to."""
    for route in policy.routes_named(value.notified.escalated):
        yield f"{topic}: escalated by the route {one_line(route.key, _QUOTED)}."
    if report.controls.acknowledged(topic, str(report.connection.id), value) is not None:
        return
    for at, route in escalations(value, policy):
        names = ", ".join(one_line(name, 80) for name in route.escalation.receivers) if route.escalation is not None else ""
        yield f"{topic}: escalated to {names} {when(at, now)}, if the incident is open and not acknowledged then."


def _level(value: TopicState, now: datetime) -> str:
    since = f" since {when(value.since, now)}" if value.since is not None else ""
    if value.level == FINE:
        return f"fine{since}." if value.number else "fine."
    return f"“{value.level}”{since}, incident {value.number}."


def _notified(topic: Topic, value: TopicState, report: ConnectionReport, now: datetime) -> str:
    notified = value.notified
    if notified.at is None:
        return "Never notified." if value.level == FINE else "Not notified yet."
    if notified.level == FINE:
        return f"Last notified {when(notified.at, now)}: closed."
    if notified.merged:
        return f"Notified {when(notified.at, now)}, as part of the notification of the broken connection."
    incident = IncidentRef(topic, str(report.connection.id), notified.number, notified.opened_at or notified.at)
    # The key stays when the instance gets another name.
    key = next((record.incident_key for record in _records_of(topic, report)), incident_key(incident, report.instance))
    reminded = f", reminder {notified.reminders}" if notified.reminders else ""
    if _delivered(topic, report):
        return f"Last notified {when(notified.at, now)}: “{notified.level}”{reminded}, incident key {key}."
    receivers = _receivers_of(topic, report)
    waiting = f"not delivered yet to {', '.join(one_line(name, 80) for name in receivers)}" if receivers else "but no receiver has it"
    return f"Last decided {when(notified.at, now)}: “{notified.level}”{reminded}, {waiting}, incident key {key}."


def _pending_because(topic: Topic, report: ConnectionReport, now: datetime, policy: Policy) -> str:
    open_scopes = [report.scope_text(scope) for scope in report.above if scope.open and scope.kind != "rate"]
    if open_scopes:
        return f"it waits until the incident of {open_scopes[0]} is closed."
    if report.state.suppression is SuppressionReason.COVERED_BY_SCOPE:
        return "it waits a little, to see whether other connections fail with it."
    if report.state.suppression is SuppressionReason.NOT_LASTING:
        return "it is sent when the platform's trouble has lasted, after one more check."
    notification = build_notification(report.connection, report.state, topic, NotificationContext(now), policy)
    routes = report.controls.routes(notification, report.connection, report.state.topic(topic).notified.routes, policy)
    suppression = report.controls.suppression(notification, report.connection, now, routes)
    if suppression is None:
        return "it is sent at the next evaluation."
    silence = next((silence for silence in report.controls.silences if suppression.by == f"silence {silence.id}"), None)
    why = f" ({one_line(silence.author, 80)}: “{one_line(silence.reason, _QUOTED)}”)" if silence is not None else ""
    quiet = "the quiet hours of " if suppression.by.startswith("route ") else ""
    return f"it is suppressed by {quiet}{one_line(suppression.by, 80)}{why} until {when(suppression.until, now)}."


def notification_lines(records: Sequence[NotificationRecord], now: datetime) -> Iterator[str]:
    """Each notification with its deliveries, their attempts and the receivers' responses."""
    for record in records:
        notification = record.notification
        before, after = notification.level_from, notification.level_to
        change = f"{before} → {after}" if before != after else after
        kind = f"{notification.type} ({notification.why}, {notification.severity})"
        yield f"{when(notification.at, now)}: {kind}, {notification.incident.topic} {change}"
        yield f"  id {record.webhook_id}, incident key {record.incident_key}"
        if not record.deliveries:
            yield "  no delivery: no route matches, or the receivers take no closing notifications"
        for delivery in record.deliveries:
            yield from _delivery(delivery, now)


def _delivery(delivery: DeliveryRecord, now: datetime) -> Iterator[str]:
    attempts = count(len(delivery.attempts), "attempt")
    digest = " within a digest" if delivery.in_digest else ""
    finished = f" {when(delivery.finished_at, now)}" if delivery.finished_at is not None else ""
    match delivery.state:
        case "delivered":
            state = f"delivered{digest}{finished}" + ("" if delivery.in_digest else f", {attempts}")
        case "pending" if delivery.in_digest:
            state = "pending within a digest"
        case "pending":
            state = f"pending after {attempts}, next not before {moment(delivery.next_attempt_at)}"
        case "dead":
            state = f"abandoned{digest}{finished} after {attempts}"
        case _ if delivery.superseded:
            state = f"cancelled{finished}: a newer notification replaced this reminder"
        case _:
            state = f"cancelled{finished}: the receiver is disabled (HTTP 410)"
    yield f"  {delivery.receiver}: {state} (number {delivery.number})"
    for attempt in delivery.attempts:
        detail = f": {one_line(attempt.detail, _QUOTED)}" if attempt.detail else ""
        status = f" {attempt.http_status}" if attempt.http_status is not None and not attempt.detail.startswith("answered") else ""
        seconds = f" ({attempt.took.total_seconds():.1f}s)"
        yield f"    {attempt.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC {attempt.reason}{status}{seconds}{detail}"
