"""The verb `incidents`: what was, or is, in trouble."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime

from monitor.cli import output
from monitor.cli.options import add_config, add_json, count, load_config, past, resolved
from monitor.cli.output import WIDE, coloured, fitted, stacked, terminal_width
from monitor.cli.verb import Help
from monitor.clock import SystemClock
from monitor.db import IncidentRow, Reader, reading
from monitor.domain.connections import Connection
from monitor.domain.events import Topic
from monitor.schemas import facts
from monitor.text.durations import brief
from monitor.text.format import one_line, subject_name
from monitor.text.reasons import reason_text

_EPILOG = """\
examples:
  postpost-monitor incidents                  the last incidents, the newest first
  postpost-monitor incidents --open           what is in trouble now
  postpost-monitor incidents --since 7d       what was in trouble at any time of the last week
  postpost-monitor incidents --json | jq '.incidents[] | select(.closedAt == null)'
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "incidents",
        help="list what was, or is, in trouble",
        description="List incidents, open and closed, the newest first. Times are UTC.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    add_config(parser)
    parser.add_argument("--open", action="store_true", help="only those that are open")
    parser.add_argument("--since", type=past, metavar="WHEN", help="only those that were open since then: 7d ago, or 2030-01-31")
    parser.add_argument("--limit", type=count, default=50, metavar="N", help="at most so many (default: %(default)s)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the incidents; returns 0."""
    config, now = load_config(args), SystemClock().now()
    since = resolved(args.since, now)
    with reading(config.database.url.reveal()) as reader:
        names = names_of(reader)
        rows = reader.incidents(open_only=args.open, since=since, limit=args.limit)
    if args.json:
        found = [facts.incident(row, names.get(row.connection_id)) for row in rows]
        output.put({"at": facts.iso(now), "incidents": found})
    else:
        print(as_text(rows, names, now, terminal_width()))
    return 0


def names_of(reader: Reader) -> Mapping[int | None, Connection]:
    """Number to connection, retired ones included."""
    return {connection.id: connection for retired in (True, False) for connection in reader.connections(retired=retired)}


def as_text(rows: Sequence[IncidentRow], names: Mapping[int | None, Connection], now: datetime, width: int) -> str:
    """The incidents for people."""
    if not rows:
        return "No incidents."
    cells = [
        (
            f"{row.incident.opened_at:%Y-%m-%d %H:%M}",
            brief((row.closed_at or now) - row.incident.opened_at) + ("" if row.closed_at is not None else ", open"),
            coloured(row.severity.value, row.severity.value),
            f"{row.incident.topic} {row.level}",
            subject_name(row.incident.subject, names.get(row.connection_id)),
        )
        for row in rows
    ]
    header = ("OPENED", "LASTED", "SEVERITY", "LEVEL", "ABOUT")
    if width >= WIDE:
        wide = [(*cell, _why(row)) for cell, row in zip(cells, rows, strict=True)]
        return "\n".join(fitted((*header, "WHY"), wide, width, least={3: 16, 4: 20, 5: 12}))
    return "\n".join(stacked(fitted(header, cells, width, least={3: 16, 4: 14}), [_why(row) for row in rows], width))


def _why(row: IncidentRow) -> str:
    # The last test's answer is what the health, or a wider cause, is about; a token's end or a post is not.
    topic, tested = row.incident.topic, row.incident.topic in (Topic.CONNECTION, Topic.SCOPE)
    words = reason_text(row.reason) if row.reason is not None and tested else ""
    closed = f" (closed: {row.closed_why})" if row.closed_why not in (None, "", "recovered") else ""
    detail = one_line(row.detail, 300) if tested or topic in (Topic.PUBLISHING, Topic.PERMISSIONS) else ""
    return (f"{words}: {detail}" if words and detail else words or detail) + closed
