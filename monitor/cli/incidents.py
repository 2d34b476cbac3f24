"""The verb `incidents`: open and past incidents."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from monitor.cli import output
from monitor.cli.options import CONFIG, JSON, count, load_config, past, resolved
from monitor.cli.output import coloured, table, terminal_width
from monitor.cli.verb import Verb, argument
from monitor.clock import SystemClock
from monitor.config import Config
from monitor.db import (
    IncidentRow,
    Reader,
    acks_of_open,
    connections_by_id,
    list_incidents,
    notified_key,
    read_meta,
    read_scopes,
    read_state,
    reading,
    silences_since,
)
from monitor.db.codec import decode_scope
from monitor.domain.connections import Connection
from monitor.domain.events import Topic, incident_key
from monitor.domain.expiry.estimate import best_estimate
from monitor.domain.expiry.levels import EXPIRED
from monitor.domain.notifications.build import current_reason
from monitor.domain.notifications.timing import escalation_at
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.silencing.controls import Controls
from monitor.domain.states import ConnectionState
from monitor.domain.topics import fails
from monitor.domain.views.handling import NOT_HANDLED, Handling
from monitor.schemas import facts
from monitor.text.durations import brief
from monitor.text.format import label_of, one_line, scope_name, sentence, short_name, subject_name
from monitor.text.reasons import reason_text
from monitor.text.status import closed_text, handling_texts

_NOTHING_KNOWN = ConnectionState()

_EPILOG = """\
examples:
  postpost-monitor incidents                  the last incidents, newest first
  postpost-monitor incidents --open           open incidents, worst first, with the keys for `ack`
  postpost-monitor incidents --since 7d       those that were open at any time of the last week
  postpost-monitor incidents --json | jq '.incidents[] | select(.closedAt == null)'
"""


@dataclass(frozen=True, slots=True)
class IncidentLine:
    """One incident with its connection, None for a scope, and what operators did about it; *key* is what `ack` takes, *users* names by id."""

    row: IncidentRow
    key: str
    connection: Connection | None = None
    state: ConnectionState = _NOTHING_KNOWN
    handling: Handling = NOT_HANDLED
    users: Mapping[str, str] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether it is not closed."""
        return self.row.closed_at is None


def run(args: argparse.Namespace) -> int:
    """Print the incidents; returns 0."""
    config, now = load_config(args), SystemClock().now()
    since = resolved(args.since, now)
    with reading(config.database.url.reveal()) as reader:
        rows = list_incidents(reader, open_only=args.open, since=since, limit=args.limit)
        lines = lines_of(reader, rows, config, now)
    if args.open:
        lines.sort(key=worst_first)
    if args.json:
        output.put({"at": facts.iso(now), "incidents": [_document(line) for line in lines]})
    else:
        print(as_text(lines, now, terminal_width()))
    return 0


def lines_of(reader: Reader, rows: Sequence[IncidentRow], config: Config, now: datetime) -> list[IncidentLine]:
    """The incidents of *rows*."""
    ids = {row.connection_id for row in rows if row.connection_id is not None}
    connections = {connection.id: connection for connection in connections_by_id(reader, ids)}
    states = {number: state for number in ids if (state := read_state(reader, number)) is not None}
    instance = config.monitor.instance or read_meta(reader, "instance_id") or ""
    users = {user.id: user.name for user in config.users}
    controls = Controls(recurring=config.windows(), user_labels={user.id: user.labels for user in config.users}).with_requests(
        silences_since(reader, now), acks_of_open(reader)
    )
    scopes, policy = read_scopes(reader) if any(row.connection_id is None for row in rows) else {}, config.policy()

    def escalates_at(row: IncidentRow) -> datetime | None:
        ref, state = row.incident, states.get(row.connection_id or 0)
        if state is None and ref.subject not in scopes:
            return None
        value = state.topic(ref.topic) if state is not None else decode_scope(ref.subject, scopes[ref.subject][1]).topic
        return escalation_at(value, policy) if value.number == ref.number else None

    def as_it_is(row: IncidentRow) -> IncidentRow:
        """*row* with what explains an open incident now; as stored it has what did when it opened."""
        ref, state = row.incident, states.get(row.connection_id or 0)
        if row.closed_at is not None or (state is None and ref.subject not in scopes):
            return row
        if state is not None:
            reason, detail = current_reason(state, ref, row.reason, row.detail)
            return replace(row, reason=reason, detail=detail)
        scope = decode_scope(ref.subject, scopes[ref.subject][1])
        return replace(row, reason=scope.reason, detail=scope.detail) if scope.topic.number == ref.number and scope.reason else row

    return [
        IncidentLine(
            row,
            notified_key(reader, row.incident) or incident_key(row.incident, instance),
            connections.get(row.connection_id or 0),
            states.get(row.connection_id or 0, _NOTHING_KNOWN),
            facts.handling(row, connections.get(row.connection_id or 0), controls, now, escalates_at(row)),
            users,
        )
        for row in map(as_it_is, rows)
    ]


def worst_first(line: IncidentLine) -> tuple[int, bool, bool, int, float]:
    """Sorts the severest first, then what fails already, then what is not handled, then the widest, then the newest."""
    row = line.row
    return (
        -row.severity.rank,
        not fails(row.incident.topic, row.level),
        line.handling.handled,
        -row.scope.width,
        -row.incident.opened_at.timestamp(),
    )


def as_text(lines: Sequence[IncidentLine], now: datetime, width: int) -> str:
    """The incidents as a table."""
    if not lines:
        return "No incidents."
    cells = [
        (
            _name(line),
            f"{line.row.incident.opened_at:%Y-%m-%d %H:%M}",
            brief((line.row.closed_at or now) - line.row.incident.opened_at) + (", open" if line.open else ""),
            coloured(line.row.severity.value, line.row.severity.value),
            _state(line, now),
            subject_name(line.row.incident.subject, line.connection) if line.connection is not None else "",
            line.key if line.open else "",
            _explanation(line, now),
        )
        for line in lines
    ]
    header = ("NAME", "OPENED (UTC)", "LASTED", "SEVERITY", "STATE", "CONNECTION", "KEY", "WHY")
    return "\n".join(table(header, cells, width, least={0: 12, 4: 18}, texts=3, named={6: "key "}))


def _name(line: IncidentLine) -> str:
    if line.connection is not None:
        return one_line(short_name(line.connection, line.state), 60)
    key = ScopeKey.parse(line.row.incident.subject)
    name = scope_name(key, line.users) if key.user in line.users else key.path
    return one_line(f"{key.kind} {name}".strip(), 60)


def _state(line: IncidentLine, now: datetime) -> str:
    """The state in the words of the page; of a token that ends, when."""
    topic, ends_at = line.row.incident.topic, best_estimate(line.state.token)
    if topic is Topic.EXPIRY and line.open and ends_at is not None and ends_at > now:
        return f"token ends in {brief(ends_at - now)}"
    if topic is Topic.EXPIRY and line.open and ends_at is not None:
        return label_of(topic, EXPIRED).lower()
    return "failing" if topic is Topic.SCOPE else (label_of(topic, line.row.level) or line.row.level).lower()


def _explanation(line: IncidentLine, now: datetime) -> str:
    # The reason is that of the last check, which says something of health and scopes only.
    row = line.row
    topic, from_check = row.incident.topic, row.incident.topic in (Topic.CONNECTION, Topic.SCOPE)
    text = reason_text(row.reason) if row.reason is not None and from_check else ""
    ended = closed_text(topic, row.closed_why) if row.closed_why not in (None, "", "recovered") else ""
    detail = one_line(row.detail, 300) if from_check or topic in (Topic.PUBLISHING, Topic.PERMISSIONS) else ""
    why = ": ".join(filter(None, (text, detail)))
    rest = " ".join(filter(None, (ended, *map(sentence, handling_texts(line.handling, now)))))
    return f"{why}. {rest}" if why and rest else why or rest


def _document(line: IncidentLine) -> dict[str, object]:
    return {
        **facts.handled_incident(line.row, line.connection, line.key, line.handling),
        "name": short_name(line.connection, line.state) if line.connection is not None else None,
    }


VERB = Verb(
    "List incidents, open and closed, newest first; with --open the worst first. Times are UTC.",
    run,
    (
        CONFIG,
        argument("--open", action="store_true", help="only open incidents"),
        argument("--since", type=past, metavar="WHEN", help="only those that were open since then: 7d ago, or 2030-01-31"),
        argument("--limit", type=count, default=50, metavar="N", help="maximum number of incidents (default: %(default)s)"),
        JSON,
    ),
    epilog=_EPILOG,
)
