"""The verb `explain`: a connection's status and its notifications."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from monitor.cli import output
from monitor.cli.lookup import OpenDatabase, find, opened
from monitor.cli.options import ACCOUNT, CONFIG, JSON, count, load_config
from monitor.cli.output import paint, terminal_width, wrapped
from monitor.cli.verb import Verb, argument
from monitor.clock import SystemClock
from monitor.db import read_last_known
from monitor.domain.views.snapshot import ConnectionView
from monitor.schemas.explanation import as_document, notification_records, scope_deliveries
from monitor.text.explain import ExplainSection, explain
from monitor.text.report import ConnectionReport

_EPILOG = """\
examples:
  postpost-monitor explain linkedin-Tz9W5i6ZYG
  postpost-monitor explain linkedin-Tz9W5i6ZYG --account main     when several accounts have that id
  postpost-monitor explain linkedin-Tz9W5i6ZYG --json | jq .suppression

Reads the database beside a running daemon; nothing is tested or sent. Times are UTC.
"""


def run(args: argparse.Namespace) -> int:
    """Print the explanation; returns 0."""
    config, clock = load_config(args), SystemClock()
    with opened(config, clock) as database:
        report = report_of(database, args.id, args.account, args.limit, clock.now())
        entries = config.entries().applying(report.connection.key)
        report = replace(report, dashboard_url=config.monitor.dashboard_url, entries=entries)
    sections = explain(report, clock.now(), config.policy())
    if args.json:
        output.put(as_document(report, sections, clock.now()))
    else:
        print(as_text(sections, terminal_width()))
    return 0


def report_of(database: OpenDatabase, platform_id: str, account: str | None, limit: int, now: datetime) -> ConnectionReport:
    """What the database holds about one connection, with its last *limit* notifications."""
    connection, retired = find(database.reader, platform_id, account)
    registry = database.registry
    views = {} if retired else {view.connection.id: view for view in database.snapshot(now).connections}
    view = views.get(connection.id) or ConnectionView(connection, read_last_known(database.reader, connection.id))
    state = view.state
    above = () if retired else registry.scopes_explaining(connection, state)
    return ConnectionReport(
        connection=connection,
        state=state,
        above=above,
        scope_deliveries=scope_deliveries(database.reader, above),
        notifications=notification_records(database.reader, connection.id, limit),
        controls=registry.controls,
        instance=database.instance,
        storage=None if retired else database.storage,
        outdated=view.outdated,
        retired=retired,
    )


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
