"""The verb `status`: every connection, worst first."""

import argparse
import asyncio
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from monitor.cli import output
from monitor.cli.lookup import opened, overdue_since
from monitor.cli.options import CONFIG, FILTERS, JSON, load_config
from monitor.cli.output import Screen, coloured, table, terminal_width, wrapped
from monitor.cli.verb import ExclusiveGroup, Verb, argument
from monitor.clock import Clock, SystemClock
from monitor.config import Config
from monitor.db import Reader, heartbeat_accepted_at, read_connections
from monitor.db.renames.receivers import latest_of_open
from monitor.domain.events import FINE, Severity, Topic
from monitor.domain.expiry.estimate import best_estimate
from monitor.domain.expiry.levels import auto_renewing
from monitor.domain.reasons import Health
from monitor.domain.routing.rules import is_unrouted
from monitor.domain.views.handling import Handling, handling_of
from monitor.domain.views.snapshot import ConnectionView, HeartbeatView, IncidentView, Snapshot
from monitor.domain.views.status import ConnectionFilter, DisplayStatus, Tone, status_of, to_handle, tone_of, urgency
from monitor.errors import StoreUnavailable, UsageError
from monitor.schemas import facts
from monitor.text.advice import storage_advice
from monitor.text.durations import brief
from monitor.text.format import STATUS_LABELS, count, one_line, sentence, short_name, subject_name, title_of
from monitor.text.heartbeats import problem_of
from monitor.text.reasons import reason_text, state_text
from monitor.text.status import NO_RECEIVER, Overall, handling_texts, overall_of, status_label, with_handling, worst_of
from monitor.text.token_expiry import token_left

if TYPE_CHECKING:
    from monitor.state.evaluation_config import EvaluationConfig
    from monitor.state.registry import Registry

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
_SOON = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One connection with its own open incidents, what operators did about them, and what explains its status."""

    view: ConnectionView
    incidents: Sequence[IncidentView]
    handling: Handling
    explanation: str

    @property
    def status(self) -> DisplayStatus:
        """What it is shown as."""
        return status_of(self.view, self.incidents)


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
        registry, now = database.registry, clock.now()
        return replace(
            database.snapshot(now),
            unmatched=registry.unmatched_now() if registry.ids() else (),
            unrouted=_unrouted(database.reader, registry.config),
            untended=_untended(config, database.reader),
            heartbeat=_heartbeat(config, database.reader, registry, now),
        )


def _untended(config: Config, reader: Reader) -> tuple[str, ...]:
    if config.cluster is None or config.cluster.mode != "shared":
        return ()
    from monitor.db.cluster.members import read_cluster  # noqa: PLC0415 - only with a cluster

    return read_cluster(reader).untended()


def _unrouted(reader: Reader, config: "EvaluationConfig") -> int:
    """How many open incidents no route takes, so that no receiver has them."""
    if not config.routes:
        return 0
    connections = {connection.id: connection for connection in read_connections(reader)}
    return sum(
        not latest.holders
        and is_unrouted(
            latest.notification,
            connections.get(latest.notification.connection_id or 0),
            config.routes,
            [connections[member] for member in latest.notification.facts.members if member in connections],
            config.user_labels,
        )
        for latest in latest_of_open(reader)
    )


def _heartbeat(config: Config, reader: Reader, registry: "Registry", now: datetime) -> HeartbeatView | None:
    if config.heartbeat.url is None:
        return None
    return HeartbeatView(heartbeat_problem(config, registry, now), heartbeat_accepted_at(reader))


def heartbeat_problem(config: Config, registry: "Registry", now: datetime) -> str:
    """Why heartbeats are withheld at *now*; empty while they are not, or when none are configured."""
    if config.heartbeat.url is None:
        return ""
    watched = ((connection, registry.state(connection.id)) for connection in registry.connections())
    known = registry.config
    return problem_of(watched, registry.outbox, known.policy, known.receivers, now, config.heartbeat.max_owed)


async def _watch(config: Config, filters: ConnectionFilter, pause: float, clock: Clock) -> int:
    with Screen(clock) as screen:
        while True:
            try:
                height = shutil.get_terminal_size().lines - 1 if sys.stdout.isatty() else None
                text = as_text(load(config, clock), filters, terminal_width(), height=height)
            except StoreUnavailable as error:
                text = wrapped(f"{clock.now():%H:%M:%S} UTC  {error}", terminal_width())
            screen.draw(text)
            if not await screen.wait(pause):
                return 0


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
    """The matching connections of a snapshot as it is known, worst first."""
    own: Mapping[int, list[IncidentView]] = defaultdict(list)
    for incident in snapshot.incidents:
        if incident.connection_id is not None:
            own[incident.connection_id].append(incident)
    entries = [(view, own.get(view.connection.id, [])) for view in snapshot.connections]
    return sorted(
        (_row(view, incidents, snapshot) for view, incidents in entries if filters.match(view, status_of(view, incidents))), key=_rank
    )


def _row(view: ConnectionView, incidents: Sequence[IncidentView], snapshot: Snapshot) -> StatusRow:
    level = next((incident.level for incident in incidents if incident.incident.topic is Topic.CONNECTION), FINE)
    topics = [incident.incident.topic for incident in incidents]
    handling = handling_of(view, incidents, snapshot.controls, snapshot.taken_at)
    return StatusRow(view, incidents, handling, state_text(view.state, topics, view.suppressed_by, level=level, users=snapshot.users))


def _rank(row: StatusRow) -> tuple[int, bool, bool, str, str, str]:
    """Worst first, the unhandled before the handled, of the ok ones those with a remark first; then by account, platform and id."""
    connection, status = row.view.connection, row.status
    no_remark = status is DisplayStatus.OK and not row.explanation
    handled = bool(row.incidents) and row.handling.handled
    return urgency(status, row.incidents), handled, no_remark, connection.account_label, connection.platform, connection.platform_id


def as_text(snapshot: Snapshot, filters: ConnectionFilter, width: int, *, height: int | None = None) -> str:
    """The table, at most *width* columns wide and, with *height*, at most so many lines high."""
    rows, now = rows_of(snapshot, filters), snapshot.taken_at
    foot = [line for text in _warnings(snapshot, now) for line in wrapped(text, width, "", "  ").splitlines()]
    foot += [line for text in summary(snapshot, rows) for line in wrapped(text, width).splitlines()]
    if not rows:
        return "\n".join(foot)
    header = ("NAME", "STATE", "SINCE", "TOKEN LEFT", "CHECKED", "CONNECTION", "WHY")
    lines = table(header, [_cells(row, now) for row in rows], width, least={0: 12}, texts=2)
    room = None if height is None else max(2, height - len(foot) - 1)
    if room is not None and len(lines) > room:
        lines = [*lines[: room - 1], f"… {len(lines) - room + 1} more lines"]
    return "\n".join([*lines, "", *foot])


def _cells(row: StatusRow, now: datetime) -> tuple[str, ...]:
    connection, state, status = row.view.connection, row.view.state, row.status
    since = _since(row)
    # The page names the scope once; so do the warnings below the table.
    why = "" if status is DisplayStatus.UNKNOWN and row.view.unknown_now else row.explanation
    handled = [sentence(text) for text in handling_texts(row.handling, now)]
    explanation = [f"{why}." if why and handled else why, *handled]
    return (
        one_line(short_name(connection, state), 60),
        coloured(status_label(row.view, status, row.incidents), status.value),
        "" if since is None else brief(now - since),
        _token(row, now),
        "never" if state.last_check_at is None else brief(now - state.last_check_at),
        subject_name(connection.platform_id, connection),
        " ".join(filter(None, explanation)),
    )


def _since(row: StatusRow) -> datetime | None:
    """Since when it has the state that is shown; of one that is not known now, when it was last known."""
    if row.status is DisplayStatus.UNKNOWN and row.view.unknown_now:
        return row.view.state.last_evidence_at
    worst = worst_of(row.view, row.incidents)
    if row.status in (DisplayStatus.ATTENTION, DisplayStatus.EXPIRING) and worst is not None:
        return worst.incident.opened_at
    return row.view.state.since


def _token(row: StatusRow, now: datetime) -> str:
    """The remaining life of the token, in the colour of its incident; with hours left it is a warning even without one."""
    text = token_left(row.view.state, now)
    if text == "expired":
        return coloured(text, text)
    ends_at = best_estimate(row.view.state.token)
    ending = any(incident.incident.topic is Topic.EXPIRY and incident.severity is not Severity.INFO for incident in row.incidents)
    soon = ends_at is not None and ends_at - now < _SOON and not auto_renewing(row.view.state.token)
    return coloured(text, "warning") if ending or soon else text


def _warnings(snapshot: Snapshot, now: datetime) -> list[str]:
    """Scope incidents, receivers that fail, heartbeats that are withheld, and why nothing is checked or written."""
    lines = []
    for incident in snapshot.incidents:
        if incident.connection_id is None:
            why = f": {reason_text(incident.reason)}" if incident.reason is not None else ""
            title = title_of(incident.incident.subject, snapshot.users)
            lines.append(f"! {title} for {brief(now - incident.incident.opened_at)}{why}")
    if not snapshot.outbox:
        lines.append(f"! {NO_RECEIVER}")
    for name, receiver in snapshot.outbox.items():
        if receiver.disabled:
            lines.append(f"! receiver {name} is disabled (HTTP 410); {receiver.pending} pending")
        elif receiver.failing_since is not None:
            lines.append(
                f"! receiver {name} {'refuses every message' if receiver.refusing else 'failing'} for {brief(now - receiver.failing_since)}; {receiver.pending} pending"
            )
    if snapshot.heartbeat is not None and snapshot.heartbeat.problem:
        accepted_at = snapshot.heartbeat.accepted_at
        last = f"; the last one was accepted {brief(now - accepted_at)} ago" if accepted_at is not None else ""
        lines.append(f"! heartbeats are withheld: {snapshot.heartbeat.problem}{last}")
    failure = snapshot.storage_problem
    checked = overdue_since([(view.connection.interval, view.state.last_check_at) for view in snapshot.connections], now)
    if failure is not None:
        lines.append(f"! {title_of('storage', {})}: {failure.problem}. {storage_advice(failure.problem)}")
    elif checked is not None:
        lines.append(f"! the last check was {brief(now - checked)} ago: is the daemon running, and can it write to its database?")
    return lines


def summary(snapshot: Snapshot, rows: Sequence[StatusRow]) -> list[str]:
    """The sentence at the top of the status page, and the counts."""
    total = len(snapshot.connections)
    if not total:
        return ["No connections yet."]
    if not rows:
        return [f"None of {count(total, 'connection')} matches."]
    counts = Counter(row.status for row in rows)
    unknown = Counter(status_label(row.view, row.status, ()) for row in rows if row.status is DisplayStatus.UNKNOWN)
    labels = {status: {STATUS_LABELS[status]: counts[status]} for status in DisplayStatus} | {DisplayStatus.UNKNOWN: unknown}
    states = ", ".join(
        f"{number:,} {coloured(label.lower(), status.value)}"
        for status in DisplayStatus
        for label, number in labels[status].items()
        if number
    )
    if len(rows) < total:
        return [f"{len(rows)} of {count(total, 'connection')}: {states}."]
    overall = _overall(snapshot, rows)
    return [f"{count(total, 'connection')}: {states}.", " ".join(filter(None, (overall.text, overall.more)))]


def _overall(snapshot: Snapshot, rows: Sequence[StatusRow]) -> Overall:
    """The overall state; *rows* are all connections."""
    urgent = any(not row.status.broken and tone_of(row.status, row.incidents) is Tone.BAD for row in rows)
    overall = overall_of(snapshot, Counter(row.status for row in rows), urgent)
    return with_handling(
        overall,
        [(len(row.incidents), row.handling) for row in rows if to_handle(row.status, row.incidents)],
        [row.handling for row in rows if not to_handle(row.status, row.incidents)],
    )


def as_document(snapshot: Snapshot, filters: ConnectionFilter) -> dict[str, object]:
    """The table as JSON."""
    rows = rows_of(snapshot, filters)
    counts = Counter(row.view.state.health.value for row in rows)
    overall = _overall(snapshot, rows_of(snapshot, ConnectionFilter()))
    return {
        "at": facts.iso(snapshot.taken_at),
        "state": overall.state,
        "summary": " ".join(filter(None, (overall.text, overall.more))),
        "counts": {health.value: counts[health.value] for health in Health},
        "apiUp": facts.api_up(snapshot),
        "accounts": dict(snapshot.accounts),
        "scopeIncidents": [facts.scope_incident(incident) for incident in snapshot.incidents if incident.connection_id is None],
        "suspectedScopes": [facts.suspected_scope(scope) for scope in snapshot.suspected],
        "receivers": {name: facts.receiver(receiver) for name, receiver in snapshot.outbox.items()},
        "heartbeat": facts.heartbeat(snapshot.heartbeat),
        "connections": [_document(row) for row in rows],
    }


def _document(row: StatusRow) -> dict[str, object]:
    silence = row.handling.silence
    return {
        **facts.connection(row.view.connection, row.view.state, suppressed_by=row.view.suppressed_by),
        "displayStatus": row.status,
        "ackedBy": facts.acked_by(row.handling.ack),
        "silencedUntil": facts.iso(silence.until) if silence is not None else None,
        "escalatesAt": facts.iso(row.handling.escalates_at),
    }


VERB = Verb(
    "List every connection with its status, worst first.",
    run,
    (
        CONFIG,
        argument(
            "--health",
            action="append",
            choices=[health.value for health in Health],
            metavar="HEALTH",
            help=f"filter by health: {', '.join(Health)}; may be repeated",
        ),
        *FILTERS,
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
