"""The verb `deliveries`: what receivers are owed, and sending again what was given up."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime

from monitor.cli import output
from monitor.cli.incidents import names_of
from monitor.cli.options import add_config, add_json, count, load_config
from monitor.cli.output import WIDE, coloured, fitted, stacked, terminal_width
from monitor.cli.verb import Help
from monitor.clock import Clock, SystemClock
from monitor.config import Config
from monitor.db import DeliveryRow, DeliveryState, Reader, operator_session, reading
from monitor.domain.connections import Connection
from monitor.errors import UsageError
from monitor.schemas import facts
from monitor.text.format import moment, one_line, subject_name

_EPILOG = """\
examples:
  postpost-monitor deliveries list                          the last ones, the newest first
  postpost-monitor deliveries list --state dead             what was given up
  postpost-monitor deliveries retry 17 18                   send these again
  postpost-monitor deliveries retry --dead --receiver on-call

A delivery that is sent again keeps its webhook id, so that a receiver can tell that it knows it already.
"""

_PAGE = 500
_COLOURS = {"pending": "warning", "delivered": "ok", "dead": "error", "cancelled": "unknown"}


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "deliveries",
        help="list what receivers were sent, or send it again",
        description="List what receivers were sent or are owed, or send it again.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="list deliveries", description="List deliveries, the newest first. Times are UTC.")
    add_config(listing)
    listing.add_argument("--state", choices=[state.value for state in DeliveryState], help="only these")
    listing.add_argument("--receiver", metavar="NAME", help="only those of this receiver")
    listing.add_argument("--limit", type=count, default=50, metavar="N", help="at most so many (default: %(default)s)")
    add_json(listing)
    listing.set_defaults(run=show)
    retrying = verbs.add_parser(
        "retry",
        help="send deliveries again",
        description="Send deliveries again, under their old webhook ids; the running monitor does so at once. Either numbers or --dead.",
    )
    add_config(retrying)
    retrying.add_argument("numbers", nargs="*", type=count, metavar="NUMBER", help="numbers, as `deliveries list` shows them")
    retrying.add_argument("--dead", action="store_true", help="all that were given up")
    retrying.add_argument("--receiver", metavar="NAME", help="with --dead: only those of this receiver")
    add_json(retrying)
    retrying.set_defaults(run=retry)


def show(args: argparse.Namespace) -> int:
    """Print the deliveries; returns 0."""
    config, now = load_config(args), SystemClock().now()
    state = DeliveryState(args.state) if args.state is not None else None
    with reading(config.database.url.reveal()) as reader:
        rows = reader.deliveries(receiver=args.receiver, state=state, limit=args.limit)
        names = names_of(reader)
    if args.json:
        found = [facts.delivery(row, names.get(row.notification.connection_id)) for row in rows]
        output.put({"at": facts.iso(now), "deliveries": found})
    else:
        print(as_text(rows, names, now, terminal_width()))
    return 0


def as_text(rows: Sequence[DeliveryRow], names: Mapping[int | None, Connection], now: datetime, width: int) -> str:
    """The deliveries for people."""
    if not rows:
        return "No deliveries."
    cells = [
        (
            str(row.id),
            f"{row.queued_at:%Y-%m-%d %H:%M}",
            one_line(row.receiver, 80),
            coloured(row.state.value, _COLOURS[row.state.value]),
            str(row.attempts),
            row.type.value,
            subject_name(row.subject, names.get(row.notification.connection_id)),
        )
        for row in rows
    ]
    header = ("NUMBER", "QUEUED", "RECEIVER", "STATE", "TRIES", "TYPE", "ABOUT")
    if width >= WIDE:
        wide = [(*cell, _outcome(row, now)) for cell, row in zip(cells, rows, strict=True)]
        return "\n".join(fitted((*header, "WHAT CAME BACK"), wide, width, least={2: 8, 6: 16, 7: 14}, right={0, 4}))
    below = [": ".join(part for part in (cell[-1], _outcome(row, now)) if part) for cell, row in zip(cells, rows, strict=True)]
    return "\n".join(stacked(fitted(header[:-1], [cell[:-1] for cell in cells], width, least={2: 7}, right={0, 4}), below, width))


def _outcome(row: DeliveryRow, now: datetime) -> str:
    if row.overtaken:
        return f"overtaken by {row.digest_id}"
    if row.digest_id is not None:
        return f"told within {row.digest_id}"
    answer = "" if row.last_reason is None else row.last_reason.value
    status = f" ({row.last_status})" if row.last_status is not None else ""
    later = f"; next {moment(row.next_attempt_at)}" if row.state is DeliveryState.PENDING and row.next_attempt_at > now else ""
    return f"{answer}{status}{later}".lstrip("; ")


def retry(args: argparse.Namespace) -> int:
    """Put deliveries back into the outbox; returns 0."""
    if bool(args.numbers) == args.dead:
        raise UsageError("deliveries retry: name the numbers of deliveries, or say --dead")
    if args.receiver is not None and not args.dead:
        raise UsageError("deliveries retry: --receiver goes with --dead")
    config = load_config(args)
    url = config.database.url.reveal()
    with reading(url) as reader:
        rows = dead(reader, args.receiver) if args.dead else _numbered(reader, args.numbers)
        ensure_deliverable(config, reader, rows, args.receiver)
    put_back = send_again(url, [row.id for row in rows], SystemClock())
    if args.json:
        output.put({"retried": put_back, "numbers": [row.id for row in rows]})
    else:
        print(f"{put_back} {'delivery' if put_back == 1 else 'deliveries'} put back; a running monitor sends what is due within seconds.")
    return 0


def dead(reader: Reader, receiver: str | None) -> list[DeliveryRow]:
    """All deliveries that were given up, oldest first; what a digest tells is not among them, for the digest is."""
    rows: list[DeliveryRow] = []
    before: int | None = None
    while True:
        page = reader.deliveries(receiver=receiver, state=DeliveryState.DEAD, limit=_PAGE, before_id=before)
        rows += [row for row in page if row.digest_id is None]
        if len(page) < _PAGE:
            return rows[::-1]
        before = page[-1].id


def _numbered(reader: Reader, numbers: Sequence[int]) -> list[DeliveryRow]:
    rows = reader.deliveries_of(numbers)
    missing = sorted(set(numbers) - {row.id for row in rows})
    if missing:
        raise UsageError(f"there is no delivery {', '.join(map(str, missing))}; `postpost-monitor deliveries list` shows the numbers")
    pending = [str(row.id) for row in rows if row.state is DeliveryState.PENDING]
    if pending:
        raise UsageError(f"delivery {', '.join(pending)} is pending: the monitor tries it by itself")
    return rows


def ensure_deliverable(config: Config, reader: Reader, rows: Sequence[DeliveryRow], receiver: str | None) -> None:
    """Raises UsageError for receivers that would not be sent anything: unknown to the configuration, or gone."""
    known = {one.name for one in config.receivers}
    wanted = {row.receiver for row in rows} | ({receiver} if receiver is not None else set())
    unknown = sorted(wanted - known)
    if unknown:
        raise UsageError(f"the configuration has no receiver {', '.join(unknown)}, so nobody would send that")
    views = reader.outbox()
    gone = sorted(name for name in wanted if name in views and views[name].disabled)
    if gone:
        raise UsageError(f"the receiver {', '.join(gone)} has said that it is gone (410): correct its address and reload first")


def send_again(url: str, numbers: Sequence[int], clock: Clock) -> int:
    """Put these deliveries back, due at once, in short transactions beside a running monitor; returns how many were put back."""
    done = 0
    for first in range(0, len(numbers), _PAGE):
        with operator_session(url) as operations:
            done += operations.redeliver(list(numbers[first : first + _PAGE]), clock.now())
    return done
