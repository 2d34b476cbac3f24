"""Who was told of a connection, who was not, and why, in plain words."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from monitor.domain.events import FINE, IncidentRef, Topic, incident_key
from monitor.domain.notifications.build import NotificationContext, build_notification
from monitor.domain.notifications.timing import reminder_at
from monitor.domain.policy import Policy
from monitor.domain.states import SuppressionReason, TopicState
from monitor.text.format import moment, one_line, when
from monitor.text.report import ConnectionReport, DeliveryRecord, NotificationRecord

QUIET_WORDS = {
    SuppressionReason.NOTHING_NEW: "Nothing is owed to anybody: the receivers know everything.",
    SuppressionReason.COVERED_BY_SCOPE: "News of this connection wait while wider trouble is told in its place, or may be about to be.",
    SuppressionReason.REMINDER_NOT_DUE: "The receivers know everything; the next reminder is not due yet.",
    SuppressionReason.SILENCED: "A silence holds back the news of this connection.",
    SuppressionReason.QUIET_HOURS: "It is not urgent, and these are quiet hours.",
    SuppressionReason.UNCERTAIN: "What is owed is older than what the last check told, or than wider trouble; it is told once that is settled.",
    SuppressionReason.ACKNOWLEDGED: "The receivers know everything; somebody has acknowledged the incident, so there are no reminders.",
}

_QUOTED = 200


def topic_lines(case: ConnectionReport, now: datetime, policy: Policy) -> Iterator[str]:
    """For every kind of trouble that was ever seen: its level, what the receivers know, and what comes next."""
    wider = [scope for scope in case.above if scope.open]
    for scope in wider:
        told = scope.topic.notified
        if told.level == FINE or told.at is None:
            yield f"{scope.name}: nobody was told of it yet."
        else:
            yield f"{scope.name}: the receivers were told of it {when(told.at, now)}, once for all connections below it."
    for topic in Topic:
        if topic in case.state.topics:
            yield from _topic(topic, case, now, policy)
    if not case.state.topics:
        yield "Of this connection itself there is nothing to tell." if wider else "There never was any trouble to tell of."
        return
    quiet = case.state.suppression
    reminded = any(reminder_at(topic, value, policy) is not None for topic, value in case.state.topics.items())
    yield QUIET_WORDS[SuppressionReason.REMINDER_NOT_DUE if reminded and quiet is SuppressionReason.NOTHING_NEW else quiet]


def _topic(topic: Topic, case: ConnectionReport, now: datetime, policy: Policy) -> Iterator[str]:
    value = case.state.topic(topic)
    yield f"{topic}: {_level(value, now)} {_known(topic, value, case, now)}"
    if value.level != value.notified.level:
        yield f"{topic}: the receivers are still to be told “{value.level}”; {_held_back(topic, case, now, policy)}"
        return
    ack = case.controls.acknowledged(topic, str(case.connection.id), value)
    due = reminder_at(topic, value, policy)
    if ack is not None:
        yield f"{topic}: {one_line(ack.author, 80)} acknowledged it {when(ack.at, now)} (“{one_line(ack.reason, _QUOTED)}”): no reminders."
    elif due is not None:
        yield f"{topic}: reminder {value.notified.reminders + 1} is due {when(due, now)}, if it lasts until then."
    elif value.notified.level != FINE:
        yield f"{topic}: there are no reminders of this."


def _level(value: TopicState, now: datetime) -> str:
    since = f" since {when(value.since, now)}" if value.since is not None else ""
    if value.level == FINE:
        return f"fine{since}." if value.number else "fine."
    return f"“{value.level}”{since}, incident {value.number}."


def _known(topic: Topic, value: TopicState, case: ConnectionReport, now: datetime) -> str:
    told = value.notified
    if told.at is None:
        return "Nobody was ever told." if value.level == FINE else "Nobody was told yet."
    if told.level == FINE:
        return f"The receivers last heard of it {when(told.at, now)}: that it was over."
    if told.merged:
        return f"The notification of the broken connection told it along, {when(told.at, now)}."
    key = incident_key(IncidentRef(topic, str(case.connection.id), told.number, told.opened_at or told.at), case.instance)
    again = f", last reminded ({told.reminders}) " if told.reminders else " "
    return f"The receivers were told “{told.level}”{again}{when(told.at, now)} under the incident key {key}."


def _held_back(topic: Topic, case: ConnectionReport, now: datetime, policy: Policy) -> str:
    covers = [scope.name for scope in case.above if scope.open and scope.kind != "rate"]
    if covers:
        return f"that waits until {covers[0]} is over."
    if case.state.suppression is SuppressionReason.COVERED_BY_SCOPE:
        return "that waits a little, to see whether the whole platform is in trouble."
    news = build_notification(case.connection, case.state, topic, NotificationContext(now), policy)
    held = case.controls.suppression(news, case.connection, now)
    if held is None:
        return "that is done at the next look."
    asked = next((one for one in case.controls.silences if held.by == f"silence {one.id}"), None)
    why = f" ({one_line(asked.author, 80)}: “{one_line(asked.reason, _QUOTED)}”)" if asked is not None else ""
    return f"{one_line(held.by, 80)}{why} holds that back until {when(held.until, now)}."


def tellings_lines(tellings: Sequence[NotificationRecord], now: datetime) -> Iterator[str]:
    """Each notification with its deliveries, their attempts and the receivers' answers."""
    for telling in tellings:
        told = telling.notification
        change = f"{told.level_from} → {told.level_to}" if told.level_from != told.level_to else told.level_to
        yield f"{when(told.at, now)}: {told.type} ({told.why}, {told.severity}), {told.incident.topic} {change}"
        yield f"  id {telling.webhook_id}, incident key {telling.incident_key}"
        if not telling.deliveries:
            yield "  nobody: no route leads to a receiver, or none wants to hear the end of it"
        for delivery in telling.deliveries:
            yield from _delivery(delivery, now)


def _delivery(delivery: DeliveryRecord, now: datetime) -> Iterator[str]:
    attempts = len(delivery.tries)
    count = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    digest = " within a digest" if delivery.in_digest else ""
    finished = f" {when(delivery.finished_at, now)}" if delivery.finished_at is not None else ""
    match delivery.state:
        case "delivered":
            words = f"delivered{digest}{finished}" + ("" if delivery.in_digest else f", {count}")
        case "pending":
            words = (
                f"pending{digest}" if delivery.in_digest else f"pending after {count}, next not before {moment(delivery.next_attempt_at)}"
            )
        case "dead":
            words = f"given up{digest}{finished} after {count}"
        case _ if delivery.overtaken:
            words = f"cancelled{finished}: newer word took the place of this reminder"
        case _:
            words = f"cancelled{finished}: the receiver had said that it is gone"
    yield f"  {delivery.receiver}: {words} (number {delivery.number})"
    for attempt in delivery.tries:
        detail = f": {one_line(attempt.detail, _QUOTED)}" if attempt.detail else ""
        status = f" {attempt.http_status}" if attempt.http_status is not None and not attempt.detail.startswith("answered") else ""
        seconds = f" ({attempt.took.total_seconds():.1f}s)"
        yield f"    {attempt.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} {attempt.reason}{status}{seconds}{detail}"
