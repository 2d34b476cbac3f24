"""The verb `status`: every connection at a glance, the worst first."""

import argparse
import asyncio
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.cli import output
from monitor.cli.lookup import opened
from monitor.cli.options import add_config, add_json, load_config
from monitor.cli.output import WIDE, Screen, coloured, fitted, indented, stacked, terminal_width, wrapped
from monitor.cli.verb import Help
from monitor.clock import Clock, SystemClock
from monitor.config import Config
from monitor.domain.events import FINE, Topic
from monitor.domain.reasons import Health
from monitor.domain.snapshot import ConnectionView, IncidentView, Snapshot
from monitor.domain.status import ConnectionFilter, DisplayStatus, status_of, urgency
from monitor.errors import StoreUnavailable, UsageError
from monitor.schemas import facts
from monitor.text.durations import brief
from monitor.text.format import one_line
from monitor.text.reasons import reason_text, state_text
from monitor.text.token_expiry import token_left

_EPILOG = """\
examples:
  postpost-monitor status                        everything, the worst first
  postpost-monitor status --health error         what is broken
  postpost-monitor status --platform linkedin --label team=social
  postpost-monitor status --watch                stay, and redraw every five seconds
  postpost-monitor status --json | jq '.connections[] | select(.health == "error") | .platformId'

Reads the database while the monitor runs; nothing is tested (that is `check`). Exit code 0 whatever the health.
"""

_WATCH_SECONDS = 5.0
_SILENT_ROUNDS = 3
_SILENT_LEAST = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One connection with its own open incidents, and why it is as it is."""

    view: ConnectionView
    incidents: Sequence[IncidentView]
    why: str


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "status",
        help="show every connection, the worst first",
        description="Show what the monitor knows of every connection, the worst first.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    add_config(parser)
    parser.add_argument("--health", action="append", choices=[health.value for health in Health], help="only these; may be repeated")
    parser.add_argument("--platform", action="append", metavar="NAME", help="only this platform; may be repeated")
    parser.add_argument("--account", action="append", metavar="NAME", help="only this account, or account/user; may be repeated")
    parser.add_argument("--label", action="append", metavar="NAME=VALUE", help="only those with this label; all of several must fit")
    shown = parser.add_mutually_exclusive_group()
    add_json(shown)
    shown.add_argument(
        "--watch", nargs="?", type=_pause, const=_WATCH_SECONDS, metavar="SECONDS", help="redraw every so many seconds (default: 5)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table, once or again and again; returns 0."""
    config, filters, clock = load_config(args), _filters(args), SystemClock()
    if args.watch is not None:
        return asyncio.run(_watch(config, filters, args.watch, clock))
    snapshot = load(config, clock)
    if args.json:
        output.put(as_document(snapshot, filters))
    else:
        print(as_text(snapshot, filters, terminal_width()))
    return 0


def load(config: Config, clock: Clock) -> Snapshot:
    """What the database holds now."""
    with opened(config, clock) as found:
        return found.fleet.snapshot(clock.now())


async def _watch(config: Config, filters: ConnectionFilter, pause: float, clock: Clock) -> int:
    with Screen(clock) as screen:
        while True:
            try:
                text = as_text(load(config, clock), filters, terminal_width(), height=_height())
            except StoreUnavailable as error:
                text = wrapped(f"{clock.now():%H:%M:%S}  {error}", terminal_width())
            screen.draw(text)
            if not await screen.wait(pause):
                return 0


def _height() -> int | None:
    return shutil.get_terminal_size().lines - 1 if sys.stdout.isatty() else None


def _pause(text: str) -> float:
    try:
        pause = float(text)
    except ValueError:
        pause = 0.0
    if not 0.1 <= pause <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds between 0.1 and 3600")
    return pause


def _filters(args: argparse.Namespace) -> ConnectionFilter:
    labels = []
    for label in args.label or ():
        name, equals, _ = label.partition("=")
        if not equals or not name:
            raise UsageError(f"--label {label}: write a name and a value, such as team=social")
        labels.append(label)
    return ConnectionFilter(
        health=frozenset(args.health or ()),
        platforms=frozenset(args.platform or ()),
        accounts=frozenset(args.account or ()),
        labels=frozenset(labels),
    )


def rows_of(snapshot: Snapshot, filters: ConnectionFilter) -> list[StatusRow]:
    """The connections that are asked for, the worst first."""
    own: Mapping[int, list[IncidentView]] = defaultdict(list)
    for incident in snapshot.incidents:
        if incident.connection_id is not None:
            own[incident.connection_id].append(incident)
    entries = [(view, own.get(view.connection.id, [])) for view in snapshot.connections]
    return sorted((_row(view, incidents) for view, incidents in entries if filters.match(view, status_of(view, incidents))), key=_place)


def _row(view: ConnectionView, incidents: Sequence[IncidentView]) -> StatusRow:
    level = next((incident.level for incident in incidents if incident.incident.topic is Topic.CONNECTION), FINE)
    return StatusRow(
        view, incidents, state_text(view.state, [incident.incident.topic for incident in incidents], view.suppressed_by, level=level)
    )


def _place(row: StatusRow) -> tuple[int, bool, str, str, str]:
    """Worst first, as on the status page; of those that work the doubtful ones first; then by account, platform and id."""
    connection, status = row.view.connection, status_of(row.view, row.incidents)
    certain = status is DisplayStatus.OK and not row.why
    return urgency(status, row.incidents), certain, connection.account_label, connection.platform, connection.platform_id


def as_text(snapshot: Snapshot, filters: ConnectionFilter, width: int, *, height: int | None = None) -> str:
    """The table for people, at most *width* columns wide and, with *height*, at most so many lines high."""
    rows, now = rows_of(snapshot, filters), snapshot.taken_at
    foot = [*_wide_trouble(snapshot, now, width), *(part for line in summary(snapshot, rows) for part in wrapped(line, width).splitlines())]
    if not rows:
        return "\n".join(foot)
    table = _wide_table(rows, now, width) if width >= WIDE else _narrow_table(rows, now, width)
    room = None if height is None else height - len(foot) - 1
    if room is not None and len(table) > room:
        table = [*table[: max(1, room - 1)], f"… {len(table) - max(1, room - 1)} more lines"]
    return "\n".join([*table, "", *foot])


def _wide_table(rows: Sequence[StatusRow], now: datetime, width: int) -> list[str]:
    header = ("HEALTH", "SINCE", "CONNECTION", "ACCOUNT", "TOKEN LEFT", "CHECKED", "WHY")
    cells = [(*_cells(row, now), row.why) for row in rows]
    return fitted(header, cells, width, least={2: 16, 3: 8, 6: 20})


def _narrow_table(rows: Sequence[StatusRow], now: datetime, width: int) -> list[str]:
    """The why has a line of its own below each connection that has one."""
    header = ("HEALTH", "SINCE", "CONNECTION", "ACCOUNT", "TOKEN LEFT", "CHECKED")
    lines = fitted(header, [_cells(row, now) for row in rows], width, least={2: 10, 3: 4})
    return stacked(lines, [row.why for row in rows], width)


def _cells(row: StatusRow, now: datetime) -> tuple[str, ...]:
    connection, state = row.view.connection, row.view.state
    return (
        coloured(state.health.value, state.health.value),
        "" if state.since is None else brief(now - state.since),
        one_line(connection.platform_id, 120),
        one_line(connection.account_label, 120),
        token_left(state.token, now),
        "never" if state.last_check_at is None else brief(now - state.last_check_at),
    )


def _wide_trouble(snapshot: Snapshot, now: datetime, width: int) -> list[str]:
    lines = []
    for incident in snapshot.incidents:
        if incident.connection_id is None:
            why = reason_text(incident.reason) if incident.reason is not None else incident.level
            since = brief(now - incident.incident.opened_at)
            lines.append(indented(f"! {incident.incident.subject} in trouble for {since}: {why}", 0, width))
    for name, owed in snapshot.outbox.items():
        if owed.disabled or owed.failing_since is not None:
            words = "is gone" if owed.disabled or owed.failing_since is None else f"fails for {brief(now - owed.failing_since)}"
            lines.append(indented(f"! receiver {name} {words}; it is owed {owed.pending}", 0, width))
    checked = max((view.state.last_check_at for view in snapshot.connections if view.state.last_check_at is not None), default=None)
    pace = min((view.connection.interval for view in snapshot.connections), default=timedelta(0))
    if checked is not None and now - checked > max(_SILENT_ROUNDS * pace, _SILENT_LEAST):
        lines.append(indented(f"! nothing was checked for {brief(now - checked)}: is the monitor running?", 0, width))
    return lines


def summary(snapshot: Snapshot, rows: Sequence[StatusRow]) -> list[str]:
    """How it all stands, in a line or two."""
    total = len(snapshot.connections)
    noun = "connection" if total == 1 else "connections"
    if not total:
        return ["No connections are watched yet."]
    if not rows:
        return [f"None of {total} {noun} is like that."]
    counts = Counter(row.view.state.health for row in rows)
    order = sorted(Health, key=lambda health: DisplayStatus(health.value).rank)
    words = ", ".join(f"{counts[health]} {coloured(health.value, health.value)}" for health in order if counts[health])
    shown = f"{len(rows)} of {total}" if len(rows) < total else str(total)
    troubled = sum(1 for row in rows if row.incidents and not row.view.state.health.broken)
    more = [f"{troubled} of those that are not broken {'has' if troubled == 1 else 'have'} an open incident."] if troubled else []
    return [f"{shown} {noun}: {words}.", *more]


def as_document(snapshot: Snapshot, filters: ConnectionFilter) -> dict[str, object]:
    """The table for machines."""
    rows = rows_of(snapshot, filters)
    counts = Counter(row.view.state.health.value for row in rows)
    return {
        "at": facts.iso(snapshot.taken_at),
        "counts": {health.value: counts[health.value] for health in Health},
        "apiUp": snapshot.api_up,
        "accounts": dict(snapshot.accounts),
        "scopeIncidents": [facts.scope_incident(one) for one in snapshot.incidents if one.connection_id is None],
        "receivers": {name: facts.receiver(owed) for name, owed in snapshot.outbox.items()},
        "connections": [facts.connection(row.view.connection, row.view.state, suppressed_by=row.view.suppressed_by) for row in rows],
    }
