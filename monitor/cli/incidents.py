"""The verb `incidents`: open and past incidents."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime

from monitor.cli import output
from monitor.cli.options import CONFIG, JSON, count, load_config, past, resolved
from monitor.cli.output import coloured, table, terminal_width
from monitor.cli.verb import Verb, argument
from monitor.clock import SystemClock
from monitor.db import IncidentRow, Reader, list_incidents, read_connections, reading
from monitor.domain.connections import Connection
from monitor.domain.events import Topic
from monitor.schemas import facts
from monitor.text.durations import brief
from monitor.text.format import one_line, subject_name
from monitor.text.reasons import reason_text

_EPILOG = """\
examples:
  postpost-monitor incidents                  the last incidents, newest first
  postpost-monitor incidents --open           open incidents
  postpost-monitor incidents --since 7d       those that were open at any time of the last week
  postpost-monitor incidents --json | jq '.incidents[] | select(.closedAt == null)'
"""


def run(args: argparse.Namespace) -> int:
    """Print the incidents; returns 0."""
    config, now = load_config(args), SystemClock().now()
    since = resolved(args.since, now)
    with reading(config.database.url.reveal()) as reader:
        connections = connections_by_number(reader)
        rows = list_incidents(reader, open_only=args.open, since=since, limit=args.limit)
    if args.json:
        incidents = [facts.incident(row, connections.get(row.connection_id)) for row in rows]
        output.put({"at": facts.iso(now), "incidents": incidents})
    else:
        print(as_text(rows, connections, now, terminal_width()))
    return 0


def connections_by_number(reader: Reader) -> Mapping[int | None, Connection]:
    """Every connection, retired ones included."""
    return {connection.id: connection for retired in (True, False) for connection in read_connections(reader, retired=retired)}


def as_text(rows: Sequence[IncidentRow], connections: Mapping[int | None, Connection], now: datetime, width: int) -> str:
    """The incidents as a table."""
    if not rows:
        return "No incidents."
    cells = [
        (
            f"{row.incident.opened_at:%Y-%m-%d %H:%M}",
            brief((row.closed_at or now) - row.incident.opened_at) + ("" if row.closed_at is not None else ", open"),
            coloured(row.severity.value, row.severity.value),
            f"{row.incident.topic} {row.level}",
            subject_name(row.incident.subject, connections.get(row.connection_id)),
            _explanation(row),
        )
        for row in rows
    ]
    header = ("OPENED", "LASTED", "SEVERITY", "LEVEL", "ABOUT", "WHY")
    return "\n".join(table(header, cells, width, least={3: 16, 4: 14, 5: 12}))


def _explanation(row: IncidentRow) -> str:
    # The reason is that of the last check, which says something of health and scopes only.
    topic, from_check = row.incident.topic, row.incident.topic in (Topic.CONNECTION, Topic.SCOPE)
    text = reason_text(row.reason) if row.reason is not None and from_check else ""
    closed = f" (closed: {row.closed_why})" if row.closed_why not in (None, "", "recovered") else ""
    detail = one_line(row.detail, 300) if from_check or topic in (Topic.PUBLISHING, Topic.PERMISSIONS) else ""
    return ": ".join(filter(None, (text, detail))) + closed


VERB = Verb(
    "List incidents, open and closed, newest first. Times are UTC.",
    run,
    (
        CONFIG,
        argument("--open", action="store_true", help="only open incidents"),
        argument("--since", type=past, metavar="WHEN", help="only those that were open since then: 7d ago, or 2030-01-31"),
        argument("--limit", type=count, default=50, metavar="N", help="maximum number of incidents (default: %(default)s)"),
        JSON,
    ),
    epilog=_EPILOG,
)
