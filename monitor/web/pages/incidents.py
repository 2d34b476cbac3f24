"""Open and past incidents."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from monitor.db import IncidentRow, NotificationRow
from monitor.domain.connections import Connection
from monitor.domain.events import IncidentRef, NotificationReason, Severity, Topic
from monitor.domain.reasons import Scope
from monitor.domain.routing import matches, scope_facts
from monitor.domain.silencing.silences import Silence, SilenceState
from monitor.domain.snapshot import ConnectionView, IncidentView
from monitor.domain.states import ConnectionState
from monitor.domain.status import TONES, Tone
from monitor.domain.topics import clearing
from monitor.errors import Reason
from monitor.text.advice import reason_advice, topic_advice
from monitor.text.durations import brief
from monitor.text.format import count, label_of, platform_name, sentence, short_name, stamp
from monitor.text.reasons import reason_text
from monitor.web.pages import cli_hints
from monitor.web.pages.cli_hints import Command
from monitor.web.pages.history import StoredIncidents, SuppressedBy
from monitor.web.status.board import StatusBoard
from monitor.web.status.connection import incident_words, quoted_error
from monitor.web.status.sidebar import title_of
from monitor.web.urls import connection_path

_ENDS = {
    Topic.CONNECTION: "It works again.",
    Topic.EXPIRY: "The token was renewed.",
    Topic.RENEWAL: "The token was renewed.",
    Topic.PUBLISHING: "Posts go out again.",
    Topic.PERMISSIONS: "The permissions are back.",
    Topic.SCOPE: "It is over.",
}
_OTHER_ENDS = {
    "unsupported": "The API cannot test it any more.",
    "removed": "It is no longer watched.",
    "told_singly": "Those that still failed were told one by one from then on.",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One transition of an incident."""

    at: datetime
    words: str


@dataclass(frozen=True, slots=True)
class IncidentSubject:
    """The connection that an incident is about: what it is called, its platform, and its page."""

    name: str
    platform: str
    path: str


@dataclass(frozen=True, slots=True)
class IncidentPanel:
    """
    One incident.

    Attributes:
        key: names it among others on a page, and stays the same from look to look.
        about: None for wider causes.
        held: who has seen it, or what holds back its news.
        commands: what can be done about the telling of it.
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
    about: IncidentSubject | None = None
    steps: tuple[Step, ...] = ()
    held: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()


NOTHING_HELD = SuppressedBy({}, ())


def closed_panel(row: IncidentRow, below: ConnectionView | None, tellings: Sequence[NotificationRow], now: datetime) -> IncidentPanel:
    """An incident of the history, with its transitions as far as *tellings*, those about it, show them."""
    closed = row.closed_at is not None
    return IncidentPanel(
        key=_key(row.incident),
        title=_title(row.scope, row.incident, row.level),
        tone=Tone.IDLE if closed else TONES[row.severity],
        severity=row.severity,
        opened_at=row.incident.opened_at,
        closed_at=row.closed_at,
        lasting=brief((row.closed_at or now) - row.incident.opened_at),
        why=_why(row.incident.topic, row.reason),
        quoted=row.detail if _speaks(row.incident.topic) or row.incident.topic is Topic.PUBLISHING else "",
        about=_about(below),
        steps=tuple(_steps(row, tellings)),
    )


def open_panel(view: IncidentView, below: ConnectionView | None, held: SuppressedBy, instance: str, now: datetime) -> IncidentPanel:
    """An open incident, with what can be done about it; *below* is the connection that it is about, if it is about one."""
    incident = view.incident
    connection = below.connection if below is not None else None
    said = incident_words(view, below.state, now) if below is not None else ""
    silence = cli_hints.silence_connection(connection) if connection is not None else cli_hints.silence_scope(view.scope, incident.subject)
    return IncidentPanel(
        key=_key(incident),
        title=_title(view.scope, incident, view.level),
        tone=TONES[view.severity],
        severity=view.severity,
        opened_at=incident.opened_at,
        closed_at=None,
        lasting=brief(now - incident.opened_at),
        why=said or _why(incident.topic, view.reason),
        quoted=_quoted(view, below, said),
        advice=_advice(view, below),
        about=_about(below),
        held=tuple(_held(view, connection, held, now)),
        commands=(cli_hints.acknowledge(incident, instance), silence),
    )


def _quoted(view: IncidentView, below: ConnectionView | None, said: str) -> str:
    """What the platform said: of a post that failed its error, else the answer to the test where nothing else was said."""
    if view.incident.topic is Topic.PUBLISHING:
        return quoted_error(below.state) if below is not None else ""
    return view.detail if view.reason is not None and _speaks(view.incident.topic) and not said else ""


def _advice(view: IncidentView, below: ConnectionView | None) -> str:
    topic = view.incident.topic
    if view.reason is not None and _speaks(topic):
        return reason_advice(view.reason)
    return "" if below is not None and clearing(below.state, topic) else topic_advice(topic, view.level)


def _about(below: ConnectionView | None) -> IncidentSubject | None:
    if below is None:
        return None
    connection = below.connection
    return IncidentSubject(short_name(connection, below.state), platform_name(connection.platform), connection_path(connection))


def _key(incident: IncidentRef) -> str:
    return f"{incident.topic}-{incident.subject}-{incident.number}"


def _title(scope: Scope, incident: IncidentRef, level: str) -> str:
    return title_of(scope, incident.subject) if incident.topic is Topic.SCOPE else label_of(incident.topic, level) or level


def _speaks(topic: Topic) -> bool:
    """Whether the reason of the last check is what this incident is about; a token's end has nothing to do with it."""
    return topic in (Topic.CONNECTION, Topic.SCOPE)


def _why(topic: Topic, reason: Reason | None) -> str:
    return sentence(reason_text(reason)) if reason is not None and _speaks(topic) else ""


def _steps(row: IncidentRow, tellings: Sequence[NotificationRow]) -> list[Step]:
    steps = [Step(row.incident.opened_at, "Opened.")]
    changes = sorted(
        (told.notification for told in tellings if told.notification.why is NotificationReason.CHANGED), key=lambda told: told.at
    )
    steps += [Step(one.at, f"Became “{label_of(one.incident.topic, one.level_to) or one.level_to}”.") for one in changes]
    if row.closed_at is not None:
        steps.append(Step(row.closed_at, f"Closed. {_OTHER_ENDS.get(row.closed_why or '') or _ENDS[row.incident.topic]}"))
    return steps


def _held(view: IncidentView, connection: Connection | None, held: SuppressedBy, now: datetime) -> list[str]:
    incident = view.incident
    found = []
    ack = held.acks.get((incident.topic, incident.subject, incident.number))
    if ack is not None:
        found.append(f"Acknowledged by {ack.author} {brief(now - ack.at)} ago: {ack.reason}")
    facts = _facts(view, connection)
    found += [
        f"Silenced until {stamp(silence.over_at)} by {silence.author}: {silence.reason}"
        for silence in held.silences
        if silence.state(now) is SilenceState.ACTIVE and matches(silence.match, facts)
    ]
    return found


def _facts(view: IncidentView, connection: Connection | None) -> dict[str, str]:
    """What a silence can match of an incident as such; what only a notification has stays unknown."""
    facts = dict(connection.labels) if connection is not None else {}
    facts |= {"severity": view.severity.value, "topic": view.incident.topic.value, "scope": view.scope.value}
    facts["reason"] = view.reason.value if view.reason is not None else ""
    if connection is not None:
        return facts | {
            "account": connection.account,
            "user": connection.user_id,
            "platform": connection.platform,
            "connection": connection.platform_id,
        }
    return facts | scope_facts(view.incident.subject)


OPEN_SHOWN = 50


@dataclass(frozen=True, slots=True)
class ActiveSilence:
    """A silence in force: what it holds back, in the words by which it was made, until when, by whom and why, and how to end it."""

    number: int
    match: str
    until: datetime
    author: str
    reason: str
    command: Command


@dataclass(frozen=True, slots=True)
class IncidentsPage:
    """
    Attributes:
        past: whether the database could be read; without it nothing that is over is shown.
        newer, older: addresses of the neighbouring pages; empty where there are none.
        silences: what is in force now, the first to end first.
        later: whether this is a later page of what is over: then what is open is not shown again.
    """

    words: str
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


def incidents_page(
    board: StatusBoard, past: StoredIncidents | None, number: int, before: int | None, instance: str, now: datetime
) -> IncidentsPage:
    """The page of incidents, the worst, widest and newest first; *number* pages through the open ones, *before* through the others."""
    views = sorted(
        board.snapshot.incidents,
        key=lambda view: (-view.severity.rank, -view.scope.width, -view.incident.opened_at.timestamp()),
    )
    pages = max(1, -(-len(views) // OPEN_SHOWN))
    number = min(number, pages)
    below = board.numbered()
    held = past.held if past is not None else NOTHING_HELD
    shown = views[(number - 1) * OPEN_SHOWN : number * OPEN_SHOWN]
    closed = past.closed if past is not None else ()
    return IncidentsPage(
        words=count(len(views), "open incident") if views else "No incident is open.",
        open=tuple(open_panel(one, below.get(one.connection_id or 0), held, instance, now) for one in shown),
        number=number,
        pages=pages,
        newer=f"?page={number - 1}" if number > 1 else "",
        older=f"?page={number + 1}" if number < pages else "",
        past=past is not None,
        closed=tuple(closed_panel(row, below.get(row.connection_id or 0) or _once(row, past), (), now) for row in closed),
        closed_older=f"?{urlencode({'before': closed[-1].id})}" if past is not None and past.more else "",
        later=before is not None,
        silences=tuple(
            _hush(silence)
            for silence in sorted(held.silences, key=lambda one: (one.over_at, one.id))
            if silence.state(now) is SilenceState.ACTIVE
        ),
    )


def _once(row: IncidentRow, past: StoredIncidents | None) -> ConnectionView | None:
    """The connection of an incident that is over, when it is no longer watched."""
    connection = past.about.get(row.connection_id or 0) if past is not None else None
    return None if connection is None else ConnectionView(connection, ConnectionState())


def _hush(silence: Silence) -> ActiveSilence:
    match = " ".join(f"{name}={value}" for name, value in sorted(silence.match.items()))
    return ActiveSilence(silence.id, match, silence.over_at, silence.author, silence.reason, cli_hints.expire_silence(silence.id))
