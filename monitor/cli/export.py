"""The verb `export`: the whole history as CSV or JSON Lines."""

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

from monitor.cli.incidents import names_of
from monitor.cli.options import add_config, load_config, past, resolved
from monitor.cli.output import Progress
from monitor.cli.verb import Help
from monitor.clock import SystemClock
from monitor.db import CheckRow, list_checks, list_incidents, reading
from monitor.domain.connections import Connection
from monitor.errors import UsageError
from monitor.schemas import facts

_EPILOG = """\
examples:
  postpost-monitor export checks --since 30d > checks.csv
  postpost-monitor export checks --since 2030-01-01 --until 2030-02-01 --format jsonl --output january.jsonl
  postpost-monitor export incidents --since 365d | mlr --icsv --opprint cat

Checks come connection by connection, each the newest first; incidents the newest first. Connections that are no longer
watched are among them. Reads in small pieces while the monitor runs: a million rows need no more memory than a thousand.
"""

PAGE = 5_000
_SOME = 500

Row = Mapping[str, Any]
_IDENTITY = ("account", "userId", "platform", "platformId", "name")
_CHECKS = (*_IDENTITY, "at", "outcome", "reason", "detail", "durationSeconds", "httpStatus", "tokenExpiresIn")
_INCIDENTS = (
    *("id", "topic", "scope", "subject", "account", "userId", "platform", "number", "level", "severity", "reason", "detail"),
    *("openedAt", "changedAt", "closedAt", "closedWhy"),
)
# What a spreadsheet would run as a formula.
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


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "export",
        help="write the history as CSV or JSON Lines",
        description="Write the history of checks or incidents as CSV or JSON Lines.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    add_config(parser)
    parser.add_argument("what", choices=("checks", "incidents"), help="what to write")
    parser.add_argument("--format", choices=("csv", "jsonl"), default="csv", help="CSV with a header, or one JSON object a line")
    parser.add_argument("--since", type=past, metavar="WHEN", help="only since then: 30d ago, or 2030-01-31 (default: all that is kept)")
    parser.add_argument("--until", type=past, metavar="WHEN", help="only before then (default: now)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="file to write; it must not exist yet (default: standard output)")
    parser.set_defaults(run=run)


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
    """A time, open on either side where that is None; *until* is not within."""

    since: datetime | None = None
    until: datetime | None = None

    def holds(self, begun: datetime, ended: datetime | None) -> bool:
        """Whether what began at *begun* and *ended* (None: not yet) was within at any time."""
        return (self.until is None or begun < self.until) and (self.since is None or ended is None or ended >= self.since)


def checks(url: str, span: ExportRange) -> Iterator[Row]:
    """Every check within *span*; read in pieces, none of which keeps the database's past alive for long."""
    with reading(url) as reader:
        connections = sorted(names_of(reader).values(), key=lambda one: (one.account_label, one.platform, one.platform_id))
    return _checks(url, span, connections)


def _checks(url: str, span: ExportRange, connections: Sequence[Connection]) -> Iterator[Row]:
    index, before = 0, span.until
    while index < len(connections):
        index, before, rows = _piece(url, connections, index, before, span)
        yield from rows


def _piece(
    url: str, connections: Sequence[Connection], index: int, before: datetime | None, span: ExportRange
) -> tuple[int, datetime | None, list[Row]]:
    """The next rows, `PAGE` or a few more of them, and where to go on: the connection's index and the moment before which."""
    rows: list[Row] = []
    with reading(url) as reader:
        while index < len(connections) and len(rows) < PAGE:
            connection = connections[index]
            page = list_checks(reader, connection.id, PAGE, before)
            rows += [_check(connection, row) for row in page if span.holds(row.at, row.at)]
            done = len(page) < PAGE or (span.since is not None and page[-1].at < span.since)
            index, before = (index + 1, span.until) if done else (index, page[-1].at)
    return index, before, rows


def _check(connection: Connection, row: CheckRow) -> Row:
    return {**facts.identity(connection), **facts.check(row)}


def incidents(url: str, span: ExportRange) -> Iterator[Row]:
    """Every incident that was open within *span*, newest first."""
    with reading(url) as reader:
        return _incidents(url, span, names_of(reader))


def _incidents(url: str, span: ExportRange, names: Mapping[int | None, Connection]) -> Iterator[Row]:
    before: int | None = None
    while True:
        with reading(url) as reader:
            page = list_incidents(reader, limit=PAGE, before_id=before)
        for row in page:
            if span.holds(row.incident.opened_at, row.closed_at):
                yield facts.incident(row, names.get(row.connection_id) if row.connection_id is not None else None)
        if len(page) < PAGE:
            return
        before = page[-1].id


def counted(rows: Iterable[Row], progress: Progress) -> Iterator[Row]:
    """*rows*, telling *progress* now and then how many there were."""
    for number, row in enumerate(rows, start=1):
        if number % _SOME == 0:
            progress.tell(f"{number:,} rows")
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
    """A value for a spreadsheet: a text that it would take for a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


@contextmanager
def output(path: Path | None) -> Iterator[TextIO]:
    """Where to write: a new file at *path*, which is gone when it could not be written to its end, or standard output."""
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
        raise UsageError(f"{path} can't be written: {error.strerror}") from None
    try:
        with file:
            yield file
    except BaseException:
        # Half a file looks like a whole one.
        path.unlink(missing_ok=True)
        raise
