"""The verb `explain`: a connection's status and its notifications."""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from monitor.cli import output
from monitor.cli.lookup import OpenDatabase, find, opened
from monitor.cli.options import ACCOUNT, CONFIG, JSON, count, load_config
from monitor.cli.output import paint, terminal_width, wrapped
from monitor.cli.verb import Verb, argument
from monitor.clock import SystemClock
from monitor.db import AttemptRow, DeliveryRow, Reader, attempts_of, deliveries_of_notifications, list_notifications, read_state
from monitor.domain.states import ConnectionState
from monitor.schemas import facts
from monitor.text.explain import ExplainSection, explain
from monitor.text.report import AttemptRecord, ConnectionReport, DeliveryRecord, NotificationRecord

_EPILOG = """\
examples:
  postpost-monitor explain linkedin-Tz9W5i6ZYG
  postpost-monitor explain linkedin-Tz9W5i6ZYG --account main     when several accounts have that id
  postpost-monitor explain linkedin-Tz9W5i6ZYG --json | jq .quiet

Reads the database beside a running daemon; nothing is tested or sent. Times are UTC.
"""


def run(args: argparse.Namespace) -> int:
    """Print the explanation; returns 0."""
    config, clock = load_config(args), SystemClock()
    with opened(config, clock) as database:
        report = replace(report_of(database, args.id, args.account, args.limit), dashboard_url=config.monitor.dashboard_url)
    sections = explain(report, clock.now(), config.policy())
    if args.json:
        output.put(as_document(report, sections, clock.now()))
    else:
        print(as_text(sections, terminal_width()))
    return 0


def report_of(database: OpenDatabase, platform_id: str, account: str | None, limit: int) -> ConnectionReport:
    """What the database holds about one connection, with its last *limit* notifications."""
    connection, retired = find(database.reader, platform_id, account)
    registry = database.registry
    stored = read_state(database.reader, connection.id)
    state = stored[1] if stored is not None else ConnectionState()
    return ConnectionReport(
        connection=connection,
        state=state,
        above=registry.scopes_explaining(connection, state),
        notifications=notification_records(database.reader, connection.id, limit),
        controls=registry.controls,
        instance=database.instance,
        retired=retired,
    )


def notification_records(reader: Reader, connection_id: int, limit: int) -> list[NotificationRecord]:
    """The last notifications about one connection, newest first, with their deliveries and attempts."""
    notifications = list_notifications(reader, connection_id=connection_id, limit=limit)
    deliveries: dict[int, list[DeliveryRow]] = defaultdict(list)
    for delivery in deliveries_of_notifications(reader, [row.id for row in notifications]):
        deliveries[delivery.notification_id].append(delivery)
    return [
        NotificationRecord(
            row.webhook_id,
            row.incident_key,
            row.notification,
            tuple(_delivery_record(delivery, attempts_of(reader, [delivery.id])[delivery.id]) for delivery in deliveries[row.id]),
        )
        for row in notifications
    ]


def _delivery_record(row: DeliveryRow, attempts: Sequence[AttemptRow]) -> DeliveryRecord:
    return DeliveryRecord(
        number=row.id,
        receiver=row.receiver,
        state=row.state.value,
        next_attempt_at=row.next_attempt_at,
        finished_at=row.finished_at,
        in_digest=row.digest_id is not None,
        superseded=row.overtaken,
        attempts=tuple(_attempt_record(attempt) for attempt in attempts),
    )


def _attempt_record(row: AttemptRow) -> AttemptRecord:
    return AttemptRecord(row.at, row.reason, timedelta(milliseconds=row.duration_ms), row.http_status, row.detail)


def as_text(sections: Sequence[ExplainSection], width: int) -> str:
    """The explanation as text, wrapped at *width*."""
    blocks = []
    for section in sections:
        lines = [paint(section.title, "1")] if section.title else []
        base = "  " if section.title else ""
        for line in section.lines:
            indent = base + " " * (len(line) - len(line.lstrip()))
            lines.append(wrapped(line, width, indent, f"{indent}  "))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def as_document(report: ConnectionReport, sections: Sequence[ExplainSection], now: datetime) -> dict[str, object]:
    """The explanation as JSON: the facts, and the same sentences."""
    state = report.state
    suppressed_by = next((scope.name for scope in report.above if scope.open and scope.kind != "rate" and scope.hides_state), None)
    return {
        "at": facts.iso(now),
        "connection": facts.connection(report.connection, state, suppressed_by=suppressed_by),
        "retired": report.retired,
        **facts.details(state),
        "notifications": [_notification(record) for record in report.notifications],
        "explanation": [{"title": section.title, "lines": list(section.lines)} for section in sections],
    }


def _notification(record: NotificationRecord) -> dict[str, object]:
    notification = record.notification
    return {
        "id": record.webhook_id,
        "incidentKey": record.incident_key,
        "at": facts.iso(notification.at),
        "type": notification.type,
        "why": notification.why,
        "severity": notification.severity,
        "deliveries": [_delivery(delivery) for delivery in record.deliveries],
    }


def _delivery(record: DeliveryRecord) -> dict[str, object]:
    attempts = [facts.attempt(each.at, each.reason, each.took.total_seconds(), each.http_status, each.detail) for each in record.attempts]
    return {"number": record.number, "receiver": record.receiver, "state": record.state, "attempts": attempts}


VERB = Verb(
    "Explain a connection: the evidence behind its status, and which notifications were sent or suppressed, and why.",
    run,
    (
        CONFIG,
        argument("id", metavar="ID", help="platform id as the API lists it"),
        ACCOUNT,
        argument("--limit", type=count, default=5, metavar="N", help="maximum number of notifications (default: %(default)s)"),
        JSON,
    ),
    epilog=_EPILOG,
)
