"""The verb `status`: every connection, worst first."""

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
from monitor.cli.options import CONFIG, JSON, load_config
from monitor.cli.output import Screen, coloured, indented, table, terminal_width, wrapped
from monitor.cli.verb import ExclusiveGroup, Verb, argument
from monitor.clock import Clock, SystemClock
from monitor.config import Config
from monitor.domain.events import FINE, Topic
from monitor.domain.reasons import Health
from monitor.domain.snapshot import ConnectionView, IncidentView, Snapshot
from monitor.domain.status import ConnectionFilter, DisplayStatus, status_of, urgency
from monitor.errors import StoreUnavailable, UsageError
from monitor.schemas import facts
from monitor.text.durations import brief
from monitor.text.format import count, one_line
from monitor.text.reasons import reason_text, state_text
from monitor.text.token_expiry import token_left

_EPILOG = """\
examples:
  postpost-monitor status                        every connection, worst first
  postpost-monitor status --health error         connections that fail
  postpost-monitor status --platform linkedin --label team=social
  postpost-monitor status --watch                redraw every five seconds
  postpost-monitor status --json | jq '.connections[] | select(.health == "error") | .platformId'

Reads the database beside a running daemon; nothing is tested (use `check`). Exit code 0 whatever the health.
"""

_WATCH_SECONDS = 5.0
_OVERDUE_INTERVALS = 3
_OVERDUE_MINIMUM = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One connection with its own open incidents, and what explains its status."""

    view: ConnectionView
    incidents: Sequence[IncidentView]
    explanation: str


def run(args: argparse.Namespace) -> int:
    """Print the table, once or repeatedly; returns 0."""
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
    """The snapshot of the database now."""
    with opened(config, clock) as database:
        return database.registry.snapshot(clock.now())


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
    """The matching connections, worst first."""
    own: Mapping[int, list[IncidentView]] = defaultdict(list)
    for incident in snapshot.incidents:
        if incident.connection_id is not None:
            own[incident.connection_id].append(incident)
    entries = [(view, own.get(view.connection.id, [])) for view in snapshot.connections]
    return sorted((_row(view, incidents) for view, incidents in entries if filters.match(view, status_of(view, incidents))), key=_rank)


def _row(view: ConnectionView, incidents: Sequence[IncidentView]) -> StatusRow:
    level = next((incident.level for incident in incidents if incident.incident.topic is Topic.CONNECTION), FINE)
    topics = [incident.incident.topic for incident in incidents]
    return StatusRow(view, incidents, state_text(view.state, topics, view.suppressed_by, level=level))


def _rank(row: StatusRow) -> tuple[int, bool, str, str, str]:
    """Worst first, as on the status page; of those that are ok the ones with a remark first; then by account, platform and id."""
    connection, status = row.view.connection, status_of(row.view, row.incidents)
    no_remark = status is DisplayStatus.OK and not row.explanation
    return urgency(status, row.incidents), no_remark, connection.account_label, connection.platform, connection.platform_id


def as_text(snapshot: Snapshot, filters: ConnectionFilter, width: int, *, height: int | None = None) -> str:
    """The table, at most *width* columns wide and, with *height*, at most so many lines high."""
    rows, now = rows_of(snapshot, filters), snapshot.taken_at
    foot = [indented(line, 0, width) for line in _warnings(snapshot, now)]
    foot += [line for text in summary(snapshot, rows) for line in wrapped(text, width).splitlines()]
    if not rows:
        return "\n".join(foot)
    header = ("HEALTH", "SINCE", "CONNECTION", "ACCOUNT", "TOKEN LEFT", "CHECKED", "WHY")
    lines = table(header, [(*_cells(row, now), row.explanation) for row in rows], width, least={2: 10, 3: 4, 6: 20})
    room = None if height is None else max(2, height - len(foot) - 1)
    if room is not None and len(lines) > room:
        lines = [*lines[: room - 1], f"… {len(lines) - room + 1} more lines"]
    return "\n".join([*lines, "", *foot])


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


def _warnings(snapshot: Snapshot, now: datetime) -> list[str]:
    """Scope incidents, receivers that fail, and checks that are overdue."""
    lines = []
    for incident in snapshot.incidents:
        if incident.connection_id is None:
            why = reason_text(incident.reason) if incident.reason is not None else incident.level
            lines.append(f"! {incident.incident.subject} failing for {brief(now - incident.incident.opened_at)}: {why}")
    for name, receiver in snapshot.outbox.items():
        if receiver.disabled:
            lines.append(f"! receiver {name} is disabled (HTTP 410); {receiver.pending} pending")
        elif receiver.failing_since is not None:
            lines.append(
                f"! receiver {name} {'refuses every message' if receiver.refusing else 'failing'} for {brief(now - receiver.failing_since)}; {receiver.pending} pending"
            )
    checked = max((view.state.last_check_at for view in snapshot.connections if view.state.last_check_at is not None), default=None)
    interval = min((view.connection.interval for view in snapshot.connections), default=timedelta(0))
    if checked is not None and now - checked > max(_OVERDUE_INTERVALS * interval, _OVERDUE_MINIMUM):
        lines.append(f"! the last check was {brief(now - checked)} ago: is the daemon running?")
    return lines


def summary(snapshot: Snapshot, rows: Sequence[StatusRow]) -> list[str]:
    """The counts, in one or two sentences."""
    total = len(snapshot.connections)
    if not total:
        return ["No connections yet."]
    if not rows:
        return [f"None of {count(total, 'connection')} matches."]
    counts = Counter(row.view.state.health for row in rows)
    order = sorted(Health, key=lambda health: DisplayStatus(health.value).rank)
    healths = ", ".join(f"{counts[health]} {coloured(health.value, health.value)}" for health in order if counts[health])
    shown = f"{len(rows)} of {count(total, 'connection')}" if len(rows) < total else count(total, "connection")
    others = sum(1 for row in rows if row.incidents and not row.view.state.health.broken)
    more = [f"{count(others, 'other')} {'has' if others == 1 else 'have'} an open incident."] if others else []
    return [f"{shown}: {healths}.", *more]


def as_document(snapshot: Snapshot, filters: ConnectionFilter) -> dict[str, object]:
    """The table as JSON."""
    rows = rows_of(snapshot, filters)
    counts = Counter(row.view.state.health.value for row in rows)
    return {
        "at": facts.iso(snapshot.taken_at),
        "counts": {health.value: counts[health.value] for health in Health},
        "apiUp": snapshot.api_up,
        "accounts": dict(snapshot.accounts),
        "scopeIncidents": [facts.scope_incident(incident) for incident in snapshot.incidents if incident.connection_id is None],
        "receivers": {name: facts.receiver(receiver) for name, receiver in snapshot.outbox.items()},
        "connections": [facts.connection(row.view.connection, row.view.state, suppressed_by=row.view.suppressed_by) for row in rows],
    }


VERB = Verb(
    "List every connection with its status, worst first.",
    run,
    (
        CONFIG,
        argument("--health", action="append", choices=[health.value for health in Health], help="filter by health; may be repeated"),
        argument("--platform", action="append", metavar="NAME", help="filter by platform; may be repeated"),
        argument("--account", action="append", metavar="NAME", help="filter by account, or account/user; may be repeated"),
        argument("--label", action="append", metavar="NAME=VALUE", help="filter by label; if repeated, all must match"),
        ExclusiveGroup(
            (
                JSON,
                argument(
                    "--watch",
                    nargs="?",
                    type=_pause,
                    const=_WATCH_SECONDS,
                    metavar="SECONDS",
                    help="redraw at this interval until Ctrl-C (default: 5)",
                ),
            )
        ),
    ),
    epilog=_EPILOG,
)
