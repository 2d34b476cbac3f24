"""Open and past incidents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import quote, urlencode

from monitor.db import IncidentRow, NotificationRow
from monitor.domain.connections import Connection
from monitor.domain.events import IncidentRef, NotificationReason, Severity, Topic, incident_key
from monitor.domain.notifications.build import current_reason
from monitor.domain.routing.rules import matches
from monitor.domain.silencing.silences import Silence, SilenceState
from monitor.domain.states import ConnectionState
from monitor.domain.topics import clearing, fails
from monitor.domain.views.handling import handling_of_incident, incident_facts
from monitor.domain.views.snapshot import ConnectionView, IncidentView
from monitor.domain.views.status import TONES, Tone
from monitor.errors import Reason
from monitor.text.advice import reason_advice, topic_advice
from monitor.text.durations import brief
from monitor.text.format import count, label_of, platform_name, sentence, short_name, stamp, title_of
from monitor.text.links import connection_path
from monitor.text.reasons import reason_text
from monitor.text.sentences import NO_NAMES
from monitor.text.status import STORAGE_FAILED, closed_text, escalation_text
from monitor.web.pages import cli_hints
from monitor.web.pages.cli_hints import Command
from monitor.web.pages.history import StoredIncidents, SuppressedBy
from monitor.web.status.board import StatusBoard
from monitor.web.status.connection import incident_text, quoted_error


@dataclass(frozen=True, slots=True)
class Step:
    """One transition of an incident."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class IncidentSubject:
    """The connection of an incident: its name, its platform and its page."""

    name: str
    platform: str
    path: str


@dataclass(frozen=True, slots=True)
class IncidentPanel:
    """
    One incident.

    Attributes:
        key: unique on a page, and the same at every refresh.
        suppressed_by: its acknowledgement, and the silences of its notifications.
        action: the part of an address that names it, while it is open.
    """

    key: str
    title: str
    tone: Tone
    severity: Severity
    opened_at: datetime
    closed_at: datetime | None
    lasting: str
    why: str
    quoted: str
    advice: str = ""
    subject: IncidentSubject | None = None
    steps: tuple[Step, ...] = ()
    suppressed_by: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()
    action: str = ""
    acknowledged: bool = False


NOT_SUPPRESSED = SuppressedBy({}, ())


def closed_panel(
    row: IncidentRow,
    below: ConnectionView | None,
    notifications: Sequence[NotificationRow],
    now: datetime,
    users: Mapping[str, str] = NO_NAMES,
) -> IncidentPanel:
    """A stored incident, with its transitions as far as its *notifications* show them; *users* are names by id."""
    closed, reason, detail = row.closed_at is not None, row.reason, row.detail
    if not closed and below is not None:
        reason, detail = current_reason(below.state, row.incident, reason, detail)
    return IncidentPanel(
        key=_key(row.incident),
        title=_title(row.incident, row.level, users),
        tone=Tone.IDLE if closed else TONES[row.severity],
        severity=row.severity,
        opened_at=row.incident.opened_at,
        closed_at=row.closed_at,
        lasting=brief((row.closed_at or now) - row.incident.opened_at),
        why=_why(row.incident.topic, reason),
        quoted=detail if _speaks(row.incident.topic) or row.incident.topic is Topic.PUBLISHING else "",
        subject=_subject(below),
        steps=tuple(_steps(row, notifications)),
    )


def open_panel(
    view: IncidentView,
    below: ConnectionView | None,
    suppressed_by: SuppressedBy,
    instance: str,
    now: datetime,
    users: Mapping[str, str] = NO_NAMES,
    notified_key: str | None = None,
) -> IncidentPanel:
    """An open incident with its commands, and the key that receivers have; *below* is its connection, None for a scope; *users* are names by id."""
    incident = view.incident
    connection = below.connection if below is not None else None
    text = incident_text(view, below.state, now) if below is not None else ""
    silence = cli_hints.silence_connection(connection) if connection is not None else cli_hints.silence_scope(view.scope, incident.subject)
    return IncidentPanel(
        key=_key(incident),
        title=_title(incident, view.level, users),
        tone=TONES[view.severity],
        severity=view.severity,
        opened_at=incident.opened_at,
        closed_at=None,
        lasting=brief(now - incident.opened_at),
        why=text or _why(incident.topic, view.reason),
        quoted=_quoted(view, below, text),
        advice=_advice(view, below),
        subject=_subject(below),
        suppressed_by=tuple(_suppressions(view, connection, suppressed_by, now)),
        commands=(cli_hints.acknowledge(notified_key or incident_key(incident, instance)), silence),
        action=_action(incident, instance),
        acknowledged=(incident.topic, incident.subject, incident.number) in suppressed_by.acks,
    )


def unacknowledged(board: StatusBoard, view: ConnectionView, instance: str, now: datetime) -> tuple[tuple[str, str], ...]:
    """The open incidents of a connection that nobody acknowledged: title, and the part of an address that names it."""
    controls, state = board.snapshot.controls, view.state
    return tuple(
        (_title(each.incident, each.level, NO_NAMES), _action(each.incident, instance))
        for each in board.incidents_of(view)
        if handling_of_incident(each, view.connection, state.topic(each.incident.topic), controls, now).ack is None
    )


def _action(incident: IncidentRef, instance: str) -> str:
    return quote(incident_key(incident, instance), safe="", errors="replace")


def _quoted(view: IncidentView, below: ConnectionView | None, text: str) -> str:
    """The platform's message: the error of a failed post, else that of the test unless there is a *text*."""
    if view.incident.topic is Topic.PUBLISHING:
        return quoted_error(below.state) if below is not None else ""
    return view.detail if view.reason is not None and _speaks(view.incident.topic) and not text else ""


def _advice(view: IncidentView, below: ConnectionView | None) -> str:
    topic = view.incident.topic
    if view.reason is not None and _speaks(topic):
        return reason_advice(view.reason)
    return "" if below is not None and clearing(below.state, topic) else topic_advice(topic, view.level)


def _subject(below: ConnectionView | None) -> IncidentSubject | None:
    if below is None:
        return None
    connection = below.connection
    return IncidentSubject(short_name(connection, below.state), platform_name(connection.platform), connection_path(connection))


def _key(incident: IncidentRef) -> str:
    return f"{incident.topic}-{incident.subject}-{incident.number}"


def _title(incident: IncidentRef, level: str, users: Mapping[str, str]) -> str:
    return title_of(incident.subject, users) if incident.topic is Topic.SCOPE else label_of(incident.topic, level) or level


def _speaks(topic: Topic) -> bool:
    """Whether an incident of this topic is about the reason of the last check."""
    return topic in (Topic.CONNECTION, Topic.SCOPE)


def _why(topic: Topic, reason: Reason | None) -> str:
    return sentence(reason_text(reason)) if reason is not None and _speaks(topic) else ""


def _steps(row: IncidentRow, rows: Sequence[NotificationRow]) -> list[Step]:
    steps = [Step(row.incident.opened_at, "Opened.")]
    changes = [stored.notification for stored in rows if stored.notification.why is NotificationReason.CHANGED]
    steps += [
        Step(change.at, f"Became “{label_of(change.incident.topic, change.level_to) or change.level_to}”.")
        for change in sorted(changes, key=lambda change: change.at)
    ]
    if row.closed_at is not None:
        steps.append(Step(row.closed_at, f"Closed. {closed_text(row.incident.topic, row.closed_why)}"))
    return steps


def _suppressions(view: IncidentView, connection: Connection | None, suppressed_by: SuppressedBy, now: datetime) -> list[str]:
    incident = view.incident
    texts = []
    ack = suppressed_by.acks.get((incident.topic, incident.subject, incident.number))
    if ack is not None:
        texts.append(f"Acknowledged by {ack.author} {brief(now - ack.at)} ago: {ack.reason}")
    elif view.escalates_at is not None:
        texts.append(escalation_text(view.escalates_at, now))
    facts = incident_facts(view, connection, suppressed_by.user_labels)
    texts += [
        f"Silenced until {stamp(silence.over_at)} by {silence.author}: {silence.reason}"
        for silence in suppressed_by.silences
        if silence.state(now) is SilenceState.ACTIVE and matches(silence.match, facts)
    ]
    return texts


OPEN_SHOWN = 50


@dataclass(frozen=True, slots=True)
class ActiveSilence:
    """An active silence, and the command that ends it."""

    number: int
    match: str
    until: datetime
    author: str
    reason: str
    command: Command


@dataclass(frozen=True, slots=True)
class IncidentsPage:
    """
    The page of incidents.

    Attributes:
        newer, older: addresses of the neighbouring pages; empty where there are none.
        past: whether the database could be read; without it no closed incident is shown.
        later: whether this is a later page of closed incidents, which shows no open ones.
    """

    text: str
    open: tuple[IncidentPanel, ...]
    number: int
    pages: int
    newer: str
    older: str
    past: bool
    closed: tuple[IncidentPanel, ...]
    closed_older: str
    later: bool
    silences: tuple[ActiveSilence, ...]


def shown_open(board: StatusBoard, number: int) -> list[IncidentView]:
    """The open incidents of page *number*, or of the last one."""
    views = sorted(
        board.snapshot.incidents,
        key=lambda view: (
            -view.severity.rank,
            not fails(view.incident.topic, view.level),
            -view.scope.width,
            -view.incident.opened_at.timestamp(),
        ),
    )
    number = min(number, _pages(board))
    return views[(number - 1) * OPEN_SHOWN : number * OPEN_SHOWN]


def _pages(board: StatusBoard) -> int:
    return max(1, -(-len(board.snapshot.incidents) // OPEN_SHOWN))


def incidents_page(
    board: StatusBoard, past: StoredIncidents | None, number: int, before: int | None, instance: str, now: datetime
) -> IncidentsPage:
    """The page of incidents, the worst, those that fail already, the widest and newest first; *number* pages through the open ones, *before* through the closed ones."""
    shown, pages = shown_open(board, number), _pages(board)
    number = min(number, pages)
    below, users = board.numbered(), board.snapshot.users
    suppressed_by = past.suppressed_by if past is not None else NOT_SUPPRESSED
    suppressed_by = replace(suppressed_by, user_labels=board.snapshot.controls.user_labels)
    opened = count(len(board.snapshot.incidents), "open incident") if shown else "No open incidents." if board.snapshot.storage_up else ""
    keys = past.keys if past is not None else {}
    closed = past.closed if past is not None else ()
    return IncidentsPage(
        text=" ".join(filter(None, (opened, STORAGE_FAILED if not board.snapshot.storage_up else ""))),
        open=tuple(
            open_panel(view, below.get(view.connection_id or 0), suppressed_by, instance, now, users, keys.get(view.incident))
            for view in shown
        ),
        number=number,
        pages=pages,
        newer=f"?page={number - 1}" if number > 1 else "",
        older=f"?page={number + 1}" if number < pages else "",
        past=past is not None,
        closed=tuple(closed_panel(row, below.get(row.connection_id or 0) or _retired(row, past), (), now, users) for row in closed),
        closed_older=f"?{urlencode({'before': closed[-1].id})}" if past is not None and past.more else "",
        later=before is not None,
        silences=tuple(
            _active(silence)
            for silence in sorted(suppressed_by.silences, key=lambda silence: (silence.over_at, silence.id))
            if silence.state(now) is SilenceState.ACTIVE
        ),
    )


def _retired(row: IncidentRow, past: StoredIncidents | None) -> ConnectionView | None:
    """The retired connection of a closed incident."""
    connection = past.connections.get(row.connection_id or 0) if past is not None else None
    return None if connection is None else ConnectionView(connection, ConnectionState())


def _active(silence: Silence) -> ActiveSilence:
    match = " ".join(f"{name}={value}" for name, value in sorted(silence.match.items()))
    return ActiveSilence(silence.id, match, silence.over_at, silence.author, silence.reason, cli_hints.expire_silence(silence.id))
