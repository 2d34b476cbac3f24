"""The verb `history`: the checks of one connection."""

import argparse
from collections.abc import Iterator
from datetime import datetime

from monitor.cli import output
from monitor.cli.lookup import find
from monitor.cli.options import add_account, add_config, add_json, count, load_config, past, resolved
from monitor.cli.output import WIDE, coloured, fitted, stacked, terminal_width
from monitor.cli.verb import Help
from monitor.clock import SystemClock
from monitor.db import CheckRow, Reader, reading
from monitor.domain.reasons import outcome_of
from monitor.errors import Reason
from monitor.schemas import facts
from monitor.text.format import one_line
from monitor.text.reasons import reason_with_detail

_EPILOG = """\
examples:
  postpost-monitor history linkedin-Tz9W5i6ZYG               the last checks, the newest first
  postpost-monitor history linkedin-Tz9W5i6ZYG --since 24h --limit 1000
  postpost-monitor history linkedin-Tz9W5i6ZYG --json | jq '.checks[] | select(.outcome != "passed")'

`export` writes the whole history of all connections.
"""

_PAGE = 1000


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "history",
        help="list the checks of one connection",
        description="List the checks of one connection, the newest first. Times are UTC.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    add_config(parser)
    parser.add_argument("id", metavar="ID", help="platform id as the API lists it")
    add_account(parser)
    parser.add_argument("--since", type=past, metavar="WHEN", help="only checks since then: 24h ago, or 2030-01-31T08:00")
    parser.add_argument("--limit", type=count, default=50, metavar="N", help="at most so many (default: %(default)s)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the checks; returns 0."""
    config, now = load_config(args), SystemClock().now()
    since = resolved(args.since, now)
    with reading(config.database.url.reveal()) as reader:
        connection, _ = find(reader, args.id, args.account)
        rows = list(checks(reader, connection.id, since, args.limit))
    if args.json:
        output.put({"at": facts.iso(now), "connection": facts.identity(connection), "checks": [*map(facts.check, rows)]})
    else:
        print(as_text(rows, terminal_width()))
    return 0


def checks(reader: Reader, connection_id: int, since: datetime | None, limit: int) -> Iterator[CheckRow]:
    """The checks of one connection that ended at *since* or later, newest first, at most *limit*."""
    before: datetime | None = None
    while limit > 0:
        page = reader.history(connection_id, min(limit, _PAGE), before)
        for row in page:
            if since is not None and row.at < since:
                return
            yield row
        if len(page) < min(limit, _PAGE):
            return
        limit -= len(page)
        before = page[-1].at


def as_text(rows: list[CheckRow], width: int) -> str:
    """The checks for people."""
    if not rows:
        return "No checks."
    cells = [
        (
            f"{row.at:%Y-%m-%d %H:%M:%S}",
            coloured(outcome_of(row.reason).value, outcome_of(row.reason).value),
            f"{row.duration_ms} ms",
            "" if row.http_status is None else str(row.http_status),
            one_line(row.token or "", 64),
        )
        for row in rows
    ]
    header = ("AT", "OUTCOME", "TOOK", "HTTP", "TOKEN LEFT")
    if width >= WIDE:
        wide = [(*cell, words(row)) for cell, row in zip(cells, rows, strict=True)]
        return "\n".join(fitted((*header, "WHY"), wide, width, least={4: 10, 5: 20}, right={2}))
    lines = fitted(header, cells, width, least={4: 10}, right={2})
    return "\n".join(stacked(lines, ["" if row.reason is Reason.OK else words(row) for row in rows], width))


def words(row: CheckRow) -> str:
    """Why a check ended as it did."""
    return reason_with_detail(row.reason, one_line(row.detail, 300))
