"""The verb `export`: the whole history as CSV or JSON Lines."""

import argparse
import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from monitor.cli import Help, documents
from monitor.cli.incidents import names_of
from monitor.cli.options import add_config, duration, load_config
from monitor.clock import SystemClock
from monitor.db import CheckRow, reading
from monitor.domain.model import Connection
from monitor.errors import UsageError

_EPILOG = """\
examples:
  postpost-monitor export checks --since 30d > checks.csv
  postpost-monitor export checks --format jsonl --output checks.jsonl
  postpost-monitor export incidents --since 365d | mlr --icsv --opprint cat

Checks come connection by connection, each the newest first; incidents the newest first. Connections that are no longer
watched are among them. Reads in small pieces while the monitor runs: a million rows need no more memory than a thousand.
"""

PAGE = 5_000

Row = dict[str, Any]
_IDENTITY = ("account", "userId", "platform", "platformId", "name")
_CHECKS = (*_IDENTITY, "at", "outcome", "reason", "detail", "durationSeconds", "httpStatus", "tokenExpiresIn")
_INCIDENTS = (
    *("id", "topic", "scope", "subject", "account", "userId", "platform", "number", "level", "severity", "reason", "detail"),
    *("openedAt", "changedAt", "closedAt", "closedWhy"),
)
# What a spreadsheet would run as a formula.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


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
    parser.add_argument("--since", type=duration, metavar="TIME", help="only the last so long, such as 30d (default: all that is kept)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="file to write; it must not exist yet (default: standard output)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the rows; returns 0."""
    config, now = load_config(args), SystemClock().now()
    since = now - args.since if args.since is not None else None
    url = config.database.url.reveal()
    rows, columns = (checks(url, since), _CHECKS) if args.what == "checks" else (incidents(url, since), _INCIDENTS)
    with _output(args.output) as file:
        count = write(counted(rows), columns, file, args.format)
    if args.output is not None:
        print(f"{count:,} {args.what} written to {args.output}", file=sys.stderr)
    return 0


def checks(url: str, since: datetime | None) -> Iterator[Row]:
    """Every check since *since*; read in pieces, none of which keeps the database's past alive for long."""
    with reading(url) as reader:
        connections = list(names_of(reader).values())
    connections.sort(key=lambda one: (one.account_label, one.platform, one.platform_id))
    index, before = 0, None
    while index < len(connections):
        index, before, rows = _piece(url, connections, index, before, since)
        yield from rows


def _piece(
    url: str, connections: Sequence[Connection], index: int, before: datetime | None, since: datetime | None
) -> tuple[int, datetime | None, list[Row]]:
    """The next rows, `PAGE` or a few more of them, and where to go on: the connection's index and the moment before which."""
    rows: list[Row] = []
    with reading(url) as reader:
        while index < len(connections) and len(rows) < PAGE:
            connection = connections[index]
            page = reader.history(connection.id, PAGE, before)
            rows += [_check(connection, row) for row in page if since is None or row.at >= since]
            done = len(page) < PAGE or (since is not None and page[-1].at < since)
            index, before = (index + 1, None) if done else (index, page[-1].at)
    return index, before, rows


def _check(connection: Connection, row: CheckRow) -> Row:
    return {**documents.identity(connection), **documents.check(row)}


def incidents(url: str, since: datetime | None) -> Iterator[Row]:
    """Every incident that was open at *since* or later, newest first."""
    with reading(url) as reader:
        names = names_of(reader)
    before: int | None = None
    while True:
        with reading(url) as reader:
            page = reader.incidents(limit=PAGE, before_id=before)
        for row in page:
            if since is None or row.closed_at is None or row.closed_at >= since:
                yield {**documents.incident(row, names.get(row.connection_id))}
        if len(page) < PAGE:
            return
        before = page[-1].id


def counted(rows: Iterable[Row]) -> Iterator[Row]:
    """*rows*, telling a terminal on standard error now and then how many there were."""
    shown = sys.stderr.isatty()
    for number, row in enumerate(rows, start=1):
        if shown and number % PAGE == 0:
            print(f"\r\033[K{number:,} rows", end="", file=sys.stderr, flush=True)
        yield row
    if shown:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


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
def _output(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    try:
        file = path.open("x", encoding="utf-8", newline="")
    except FileExistsError:
        raise UsageError(f"{path} exists already") from None
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from None
    with file:
        yield file
