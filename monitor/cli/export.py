"""The verb `export`: the history as CSV or JSON Lines."""

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from monitor.cli.lookup import connections_by_number
from monitor.cli.options import CONFIG, load_config, past, resolved
from monitor.cli.output import Progress
from monitor.cli.verb import Verb, argument
from monitor.clock import SystemClock
from monitor.db import list_checks, list_incidents, reading
from monitor.domain.connections import Connection
from monitor.errors import UsageError
from monitor.schemas import facts

_EPILOG = """\
examples:
  postpost-monitor export checks --since 30d > checks.csv
  postpost-monitor export checks --since 2030-01-01 --until 2030-02-01 --format jsonl --output january.jsonl
  postpost-monitor export incidents --since 365d | mlr --icsv --opprint cat

Checks are sorted by connection, then newest first; incidents newest first. Retired connections are included. Reads in pages
beside a running daemon: memory does not grow with the number of rows.
"""

PAGE = 5_000
_PROGRESS_ROWS = 500

Row = Mapping[str, Any]
_IDENTITY = ("account", "userId", "platform", "platformId", "name")
_CHECKS = (*_IDENTITY, "at", "outcome", "reason", "detail", "durationSeconds", "httpStatus", "tokenExpiresIn")
_INCIDENTS = (
    *("id", "topic", "scope", "subject", "account", "userId", "platform", "number", "level", "severity", "reason", "detail"),
    *("openedAt", "changedAt", "closedAt", "closedWhy"),
)
# How texts begin that a spreadsheet takes for formulas.
_FORMULAS = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "\N{FULLWIDTH EQUALS SIGN}",
    "\N{FULLWIDTH PLUS SIGN}",
    "\N{FULLWIDTH HYPHEN-MINUS}",
    "\N{FULLWIDTH COMMERCIAL AT}",
)


def run(args: argparse.Namespace) -> int:
    """Write the rows; returns 0."""
    config, clock = load_config(args), SystemClock()
    span = ExportRange(resolved(args.since, clock.now()), resolved(args.until, clock.now()))
    url = config.database.url.reveal()
    rows, columns = (checks(url, span), _CHECKS) if args.what == "checks" else (incidents(url, span), _INCIDENTS)
    with output(args.output) as file, Progress(clock) as progress:
        count = write(counted(rows, progress), columns, file, args.format)
    if args.output is not None:
        print(f"{count:,} {args.what} written to {args.output}", file=sys.stderr)
    return 0


@dataclass(frozen=True, slots=True)
class ExportRange:
    """A time range, unlimited where None; *until* is outside."""

    since: datetime | None = None
    until: datetime | None = None

    def holds(self, begun: datetime, ended: datetime | None) -> bool:
        """Whether the time from *begun* to *ended* (None: not yet) overlaps."""
        return (self.until is None or begun < self.until) and (self.since is None or ended is None or ended >= self.since)


def checks(url: str, span: ExportRange) -> Iterator[Row]:
    """Every check within *span*; read in pages, so that no transaction stays open for long."""
    with reading(url) as reader:
        connections = sorted(connections_by_number(reader).values(), key=lambda each: (each.account_label, each.platform, each.platform_id))
    return _checks(url, span, connections)


def _checks(url: str, span: ExportRange, connections: Sequence[Connection]) -> Iterator[Row]:
    index, before = 0, span.until
    while index < len(connections):
        index, before, rows = _page(url, connections, index, before, span)
        yield from rows


def _page(
    url: str, connections: Sequence[Connection], index: int, before: datetime | None, span: ExportRange
) -> tuple[int, datetime | None, list[Row]]:
    """The next rows, at least `PAGE` if there are so many, and where to continue: index of the connection, and before which time."""
    rows: list[Row] = []
    with reading(url) as reader:
        while index < len(connections) and len(rows) < PAGE:
            connection = connections[index]
            page = list_checks(reader, connection.id, PAGE, before)
            rows += [{**facts.identity(connection), **facts.check(row)} for row in page if span.holds(row.at, row.at)]
            done = len(page) < PAGE or (span.since is not None and page[-1].at < span.since)
            index, before = (index + 1, span.until) if done else (index, page[-1].at)
    return index, before, rows


def incidents(url: str, span: ExportRange) -> Iterator[Row]:
    """Every incident that was open within *span*, newest first."""
    with reading(url) as reader:
        return _incidents(url, span, connections_by_number(reader))


def _incidents(url: str, span: ExportRange, connections: Mapping[int, Connection]) -> Iterator[Row]:
    before: int | None = None
    while True:
        with reading(url) as reader:
            page = list_incidents(reader, limit=PAGE, before_id=before)
        for row in page:
            if span.holds(row.incident.opened_at, row.closed_at):
                yield facts.incident(row, connections.get(row.connection_id or 0))
        if len(page) < PAGE:
            return
        before = page[-1].id


def counted(rows: Iterable[Row], progress: Progress) -> Iterator[Row]:
    """*rows*, with their number shown as *progress*."""
    for number, row in enumerate(rows, start=1):
        if number % _PROGRESS_ROWS == 0:
            progress.show(f"{number:,} rows")
        yield row


def write(rows: Iterable[Row], columns: Sequence[str], file: TextIO, form: str) -> int:
    """Write *columns* of *rows* to *file* as `csv` or `jsonl`; returns how many rows."""
    count = 0
    if form == "jsonl":
        for row in rows:
            file.write(json.dumps({name: row[name] for name in columns}, ensure_ascii=False, separators=(",", ":")) + "\n")
            count += 1
        return count
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in columns])
        count += 1
    return count


def _cell(value: object) -> object:
    """A value of CSV; a text that a spreadsheet takes for a formula is prefixed with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


@contextmanager
def output(path: Path | None) -> Iterator[TextIO]:
    """The file to write: standard output, or a new one at *path* that is removed if an error occurs."""
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        yield sys.stdout
        return
    try:
        file = path.open("x", encoding="utf-8", newline="")
    except FileExistsError:
        raise UsageError(f"{path} exists already") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    try:
        with file:
            yield file
    except BaseException:
        # A truncated file looks like a complete one.
        path.unlink(missing_ok=True)
        raise


VERB = Verb(
    "Write the history of checks or incidents as CSV or JSON Lines.",
    run,
    (
        CONFIG,
        argument("what", choices=("checks", "incidents"), help="what to write"),
        argument("--format", choices=("csv", "jsonl"), default="csv", help="CSV with a header, or one JSON object per line"),
        argument("--since", type=past, metavar="WHEN", help="only since then: 30d ago, or 2030-01-31 (default: all that is stored)"),
        argument("--until", type=past, metavar="WHEN", help="only before then (default: now)"),
        argument("--output", type=Path, metavar="FILE", help="file to write; it must not exist yet (default: standard output)"),
    ),
    epilog=_EPILOG,
)
