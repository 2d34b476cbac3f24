"""The verb `deliveries`: list deliveries, or send them again."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime

from monitor.cli import output
from monitor.cli.lookup import named
from monitor.cli.options import CONFIG, JSON, count, load_config
from monitor.cli.output import WIDE, coloured, table, terminal_width
from monitor.cli.verb import Verb, argument
from monitor.clock import Clock, SystemClock
from monitor.config import Config
from monitor.db import (
    DeliveryRow,
    DeliveryState,
    Reader,
    connections_by_id,
    deliveries_by_id,
    list_deliveries,
    operator_session,
    read_outbox,
    reading,
)
from monitor.domain.connections import Connection
from monitor.errors import UsageError
from monitor.schemas import facts
from monitor.text.format import moment, one_line, subject_name
from monitor.text.reasons import RESPONSE_TEXTS

_EPILOG = """\
examples:
  postpost-monitor deliveries list                          the last ones, newest first
  postpost-monitor deliveries list --state dead             abandoned deliveries
  postpost-monitor deliveries retry 17 18                   send these again
  postpost-monitor deliveries retry --dead --receiver on-call

A delivery that is sent again keeps its webhook id, so that the receiver can recognise a duplicate.
"""

_PAGE = 500
_STATES = {
    DeliveryState.PENDING: ("pending", "warning"),
    DeliveryState.DELIVERED: ("delivered", "ok"),
    DeliveryState.DEAD: ("abandoned", "error"),
    DeliveryState.CANCELLED: ("not sent", "unknown"),
}


def show(args: argparse.Namespace) -> int:
    """Print the deliveries; returns 0."""
    config, now = load_config(args), SystemClock().now()
    state = DeliveryState(args.state) if args.state is not None else None
    with reading(config.database.url.reveal()) as reader:
        rows = list_deliveries(reader, receiver=args.receiver, state=state, limit=args.limit)
        connections = connections_of(reader, rows)
    if args.json:
        deliveries = [facts.delivery(row, connections.get(row.notification.connection_id)) for row in rows]
        output.put({"at": facts.iso(now), "deliveries": deliveries})
    else:
        print(as_text(rows, connections, now, terminal_width()))
    return 0


def connections_of(reader: Reader, rows: Sequence[DeliveryRow]) -> Mapping[int | None, Connection]:
    """The connections that *rows* are about, under the names that they are shown with."""
    ids = {row.notification.connection_id for row in rows} - {None}
    return {connection.id: named(reader, connection) for connection in connections_by_id(reader, [number for number in ids if number])}


def as_text(rows: Sequence[DeliveryRow], connections: Mapping[int | None, Connection], now: datetime, width: int) -> str:
    """The deliveries as a table."""
    if not rows:
        return "No deliveries."
    cells = [
        (
            str(row.id),
            f"{row.queued_at:%Y-%m-%d %H:%M}",
            one_line(row.receiver, 80),
            coloured(*_STATES[row.state]),
            str(row.attempts),
            row.type.value,
            _about(row, connections.get(row.notification.connection_id)),
            _result(row, now),
        )
        for row in rows
    ]
    header = ("NUMBER", "QUEUED (UTC)", "RECEIVER", "STATE", "TRIES", "TYPE", "ABOUT", "RESULT")
    least = {2: 8 if width >= WIDE else 7}
    return "\n".join(table(header, cells, width, least=least, right={0, 4}, texts=2))


def _about(row: DeliveryRow, connection: Connection | None) -> str:
    """The name, id and account of its connection, or the scope."""
    about = subject_name(row.subject, connection)
    return f"{one_line(connection.name, 60)} · {about}" if connection is not None and connection.name else about


def _result(row: DeliveryRow, now: datetime) -> str:
    if row.overtaken:
        return f"superseded by {row.digest_id}"
    if row.digest_id is not None:
        return f"part of digest {row.digest_id}"
    reason = "" if row.last_reason is None else RESPONSE_TEXTS[row.last_reason]
    status = f" ({row.last_status})" if row.last_status is not None else ""
    later = f"; next {moment(row.next_attempt_at)}" if row.state is DeliveryState.PENDING and row.next_attempt_at > now else ""
    return f"{reason}{status}{later}".lstrip("; ")


def retry(args: argparse.Namespace) -> int:
    """Put deliveries back into the outbox; returns 0."""
    if bool(args.numbers) == args.dead:
        raise UsageError("deliveries retry: give either the numbers of deliveries or --dead")
    if args.receiver is not None and not args.dead:
        raise UsageError("deliveries retry: --receiver needs --dead")
    config = load_config(args)
    url = config.database.url.reveal()
    with reading(url) as reader:
        rows = dead(reader, args.receiver) if args.dead else _numbered(reader, args.numbers)
        ensure_deliverable(config, reader, rows, args.receiver)
    requeued = send_again(url, [row.id for row in rows], SystemClock())
    if args.json:
        output.put({"retried": requeued, "numbers": [row.id for row in rows]})
    else:
        print(f"{requeued} {'delivery' if requeued == 1 else 'deliveries'} queued again; a running daemon sends them within seconds.")
    return 0


def dead(reader: Reader, receiver: str | None) -> list[DeliveryRow]:
    """All abandoned deliveries, oldest first, without those that a digest replaced."""
    rows: list[DeliveryRow] = []
    before: int | None = None
    while True:
        page = list_deliveries(reader, receiver=receiver, state=DeliveryState.DEAD, limit=_PAGE, before_id=before)
        rows += [row for row in page if row.digest_id is None]
        if len(page) < _PAGE:
            return rows[::-1]
        before = page[-1].id


def _numbered(reader: Reader, numbers: Sequence[int]) -> list[DeliveryRow]:
    rows = deliveries_by_id(reader, numbers)
    missing = sorted(set(numbers) - {row.id for row in rows})
    if missing:
        raise UsageError(f"unknown delivery {', '.join(map(str, missing))}; `postpost-monitor deliveries list` shows the numbers")
    pending = [str(row.id) for row in rows if row.state is DeliveryState.PENDING]
    if pending:
        raise UsageError(f"delivery {', '.join(pending)} is pending: the daemon sends it anyway")
    return rows


def ensure_deliverable(config: Config, reader: Reader, rows: Sequence[DeliveryRow], receiver: str | None) -> None:
    """Raises UsageError for receivers that are not configured, or disabled."""
    receivers = {row.receiver for row in rows} | ({receiver} if receiver is not None else set())
    unknown = sorted(receivers - {settings.name for settings in config.receivers})
    if unknown:
        raise UsageError(f"the configuration has no receiver {', '.join(unknown)}")
    outbox = read_outbox(reader)
    disabled = sorted(name for name in receivers if name in outbox and outbox[name].disabled)
    if disabled:
        raise UsageError(
            f"the receiver {', '.join(disabled)} is disabled (HTTP 410): correct its URL and reload, or run receivers enable first"
        )


def send_again(url: str, numbers: Sequence[int], clock: Clock) -> int:
    """Make these deliveries due now, in short transactions beside a running daemon; returns how many were changed."""
    changed = 0
    for first in range(0, len(numbers), _PAGE):
        with operator_session(url) as operations:
            changed += operations.redeliver(list(numbers[first : first + _PAGE]), clock.now())
    return changed


VERB = Verb(
    "List deliveries, or send them again.",
    verbs={
        "list": Verb(
            "List deliveries, newest first. Times are UTC.",
            show,
            (
                CONFIG,
                argument(
                    "--state",
                    choices=[state.value for state in DeliveryState],
                    metavar="STATE",
                    help=f"filter by state: {', '.join(DeliveryState)}",
                ),
                argument("--receiver", metavar="NAME", help="filter by receiver"),
                argument("--limit", type=count, default=50, metavar="N", help="maximum number of deliveries (default: %(default)s)"),
                JSON,
            ),
            help="list deliveries",
        ),
        "retry": Verb(
            "Send deliveries again under their webhook ids; a running daemon does so at once. Give either numbers or --dead.",
            retry,
            (
                CONFIG,
                argument("numbers", nargs="*", type=count, metavar="NUMBER", help="numbers, as `deliveries list` shows them"),
                argument("--dead", action="store_true", help="all abandoned deliveries"),
                argument("--receiver", metavar="NAME", help="with --dead: only those of this receiver"),
                JSON,
            ),
            help="send deliveries again",
        ),
    },
    epilog=_EPILOG,
)
