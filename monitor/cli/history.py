"""The verb `history`: the checks of one connection."""

import argparse
from collections.abc import Iterator
from datetime import datetime

from monitor.cli import output
from monitor.cli.lookup import find, named
from monitor.cli.options import ACCOUNT, CONFIG, JSON, count, load_config, past, resolved
from monitor.cli.output import coloured, table, terminal_width, wrapped
from monitor.cli.verb import Verb, argument
from monitor.clock import SystemClock
from monitor.db import CheckRow, Reader, list_checks, reading
from monitor.domain.connections import Connection
from monitor.domain.reasons import outcome_of
from monitor.errors import Reason
from monitor.schemas import facts
from monitor.text.format import full_name, one_line
from monitor.text.reasons import OUTCOME_TEXTS, reason_with_detail

_EPILOG = """\
examples:
  postpost-monitor history linkedin-Tz9W5i6ZYG               the last checks, newest first
  postpost-monitor history linkedin-Tz9W5i6ZYG --since 24h --limit 1000
  postpost-monitor history linkedin-Tz9W5i6ZYG --json | jq '.checks[] | select(.outcome != "passed")'

`export` writes the whole history of all connections.
"""

_PAGE = 1000


def run(args: argparse.Namespace) -> int:
    """Print the checks; returns 0."""
    config, now = load_config(args), SystemClock().now()
    since = resolved(args.since, now)
    with reading(config.database.url.reveal()) as reader:
        connection = named(reader, find(reader, args.id, args.account)[0])
        rows = list(checks(reader, connection.id, since, args.limit))
    if args.json:
        output.put({"at": facts.iso(now), "connection": facts.identity(connection), "checks": [*map(facts.check, rows)]})
    else:
        print(as_text(connection, rows, terminal_width()))
    return 0


def checks(reader: Reader, connection_id: int, since: datetime | None, limit: int) -> Iterator[CheckRow]:
    """The checks of one connection that ended at *since* or later, newest first, at most *limit*."""
    before: datetime | None = None
    while limit > 0:
        page = list_checks(reader, connection_id, min(limit, _PAGE), before)
        for row in page:
            if since is not None and row.at < since:
                return
            yield row
        if len(page) < min(limit, _PAGE):
            return
        limit -= len(page)
        before = page[-1].at


def as_text(connection: Connection, rows: list[CheckRow], width: int) -> str:
    """The connection, and its checks as a table."""
    about = wrapped(full_name(connection, None), width)
    if not rows:
        return f"{about}\n\nNo checks."
    cells = [
        (
            f"{row.at:%Y-%m-%d %H:%M:%S}",
            coloured(OUTCOME_TEXTS[outcome_of(row.reason)], outcome_of(row.reason).value),
            f"{row.duration_ms} ms",
            "" if row.http_status is None else str(row.http_status),
            one_line(row.token or "", 64),
            explanation(row),
        )
        for row in rows
    ]
    header, notable = ("AT (UTC)", "OUTCOME", "TOOK", "HTTP", "TOKEN LEFT", "WHY"), [row.reason is not Reason.OK for row in rows]
    return "\n".join([about, "", *table(header, cells, width, least={4: 10}, right={2}, notable=notable)])


def explanation(row: CheckRow) -> str:
    """Why a check ended as it did."""
    return reason_with_detail(row.reason, one_line(row.detail, 300))


VERB = Verb(
    "List the checks of one connection, newest first. Times are UTC.",
    run,
    (
        CONFIG,
        argument("id", metavar="ID", help="platform id as the API lists it"),
        ACCOUNT,
        argument("--since", type=past, metavar="WHEN", help="only checks since then: 24h ago, or 2030-01-31T08:00"),
        argument("--limit", type=count, default=50, metavar="N", help="maximum number of checks (default: %(default)s)"),
        JSON,
    ),
    epilog=_EPILOG,
)
