"""The verb `explain`: why a connection is believed to be as it is, and why somebody, or nobody, was told."""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from monitor.cli import output
from monitor.cli.lookup import OpenDatabase, find, opened
from monitor.cli.options import add_account, add_config, add_json, count, load_config
from monitor.cli.output import paint, terminal_width, wrapped
from monitor.cli.verb import Help
from monitor.clock import SystemClock
from monitor.db import AttemptRow, DeliveryRow, Reader
from monitor.domain.states import ConnectionState
from monitor.schemas import facts
from monitor.text.explain import ExplainSection, explain
from monitor.text.report import AttemptRecord, ConnectionReport, DeliveryRecord, NotificationRecord

_EPILOG = """\
examples:
  postpost-monitor explain linkedin-Tz9W5i6ZYG
  postpost-monitor explain linkedin-Tz9W5i6ZYG --account main     when several accounts have that id
  postpost-monitor explain linkedin-Tz9W5i6ZYG --json | jq .quiet

Reads the database while the monitor runs; nothing is tested and nobody is told. Times are UTC.
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "explain",
        help="say why somebody, or nobody, was told",
        description="Say in plain words which evidence led to the health of a connection, and why somebody was, or was not, told.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    add_config(parser)
    parser.add_argument("id", metavar="ID", help="platform id as the API lists it")
    add_account(parser)
    parser.add_argument("--limit", type=count, default=5, metavar="N", help="at most so many notifications (default: %(default)s)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the explanation; returns 0."""
    config, clock = load_config(args), SystemClock()
    with opened(config, clock) as found:
        case = case_of(found, args.id, args.account, args.limit)
    sections = explain(case, clock.now(), config.policy())
    if args.json:
        output.put(as_document(case, sections, clock.now()))
    else:
        print(as_text(sections, terminal_width()))
    return 0


def case_of(found: OpenDatabase, platform_id: str, account: str | None, limit: int) -> ConnectionReport:
    """All that the database knows of one connection, with its last *limit* notifications."""
    connection, retired = find(found.reader, platform_id, account)
    stored = found.reader.state(connection.id)
    return ConnectionReport(
        connection=connection,
        state=stored[1] if stored is not None else ConnectionState(),
        above=[found.fleet.scope(key) for key in found.fleet.scopes_above(connection).all if key in found.fleet.scope_versions],
        notifications=tellings(found.reader, connection.id, limit),
        controls=found.fleet.controls,
        instance=found.instance,
        retired=retired,
    )


def tellings(reader: Reader, connection_id: int, limit: int) -> list[NotificationRecord]:
    """The last notifications about one connection, newest first, with their deliveries and attempts."""
    notifications = reader.notifications(connection_id=connection_id, limit=limit)
    deliveries: dict[int, list[DeliveryRow]] = defaultdict(list)
    for delivery in reader.deliveries_about([row.id for row in notifications]):
        deliveries[delivery.notification_id].append(delivery)
    return [
        NotificationRecord(
            row.webhook_id,
            row.incident_key,
            row.notification,
            tuple(_owed(delivery, reader.attempts(delivery.id)) for delivery in deliveries[row.id]),
        )
        for row in notifications
    ]


def _owed(row: DeliveryRow, attempts: Sequence[AttemptRow]) -> DeliveryRecord:
    return DeliveryRecord(
        number=row.id,
        receiver=row.receiver,
        state=row.state.value,
        next_attempt_at=row.next_attempt_at,
        finished_at=row.finished_at,
        in_digest=row.digest_id is not None,
        superseded=row.overtaken,
        attempts=tuple(_try(attempt) for attempt in attempts),
    )


def _try(row: AttemptRow) -> AttemptRecord:
    return AttemptRecord(row.at, row.reason, timedelta(milliseconds=row.duration_ms), row.http_status, row.detail)


def as_text(sections: Sequence[ExplainSection], width: int) -> str:
    """The explanation for people, wrapped at *width*."""
    blocks = []
    for section in sections:
        lines = [paint(section.title, "1")] if section.title else []
        indent = "  " if section.title else ""
        for line in section.lines:
            own = indent + " " * (len(line) - len(line.lstrip()))
            lines.append(wrapped(line, width, own, f"{own}  "))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def as_document(case: ConnectionReport, sections: Sequence[ExplainSection], now: datetime) -> dict[str, object]:
    """The explanation for machines: the facts, and the same words."""
    state = case.state
    covered_by = next((scope.name for scope in case.above if scope.open and scope.kind != "rate"), None)
    return {
        "at": facts.iso(now),
        "connection": facts.connection(case.connection, state, suppressed_by=covered_by),
        "retired": case.retired,
        **facts.details(state),
        "notifications": [_notification(telling) for telling in case.notifications],
        "explanation": [{"title": section.title, "lines": list(section.lines)} for section in sections],
    }


def _notification(telling: NotificationRecord) -> dict[str, object]:
    told = telling.notification
    return {
        "id": telling.webhook_id,
        "incidentKey": telling.incident_key,
        "at": facts.iso(told.at),
        "type": told.type,
        "why": told.why,
        "severity": told.severity,
        "deliveries": [
            {
                "number": owed.number,
                "receiver": owed.receiver,
                "state": owed.state,
                "attempts": [
                    facts.attempt(one.at, one.reason, one.took.total_seconds(), one.http_status, one.detail) for one in owed.attempts
                ],
            }
            for owed in telling.deliveries
        ],
    }
