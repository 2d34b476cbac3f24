"""What is in trouble, and what was: the page of incidents."""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from monitor.db import IncidentRow
from monitor.domain.model import ConnectionState, Scope
from monitor.domain.silences import Silence, SilenceState
from monitor.domain.snapshot import ConnectionView
from monitor.web import commands
from monitor.web.archive import Incidents
from monitor.web.commands import Command
from monitor.web.standing import TONES, Tone
from monitor.web.stories import NOTHING_HELD, Story, open_story, past_story
from monitor.web.views import Board
from monitor.web.words import count

OPEN_SHOWN = 50
_WORST_FIRST = list(Tone)
_WIDEST_FIRST = list(Scope)[::-1]


@dataclass(frozen=True, slots=True)
class Hush:
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
    open: tuple[Story, ...]
    number: int
    pages: int
    newer: str
    older: str
    past: bool
    closed: tuple[Story, ...]
    closed_older: str
    later: bool
    silences: tuple[Hush, ...]


def incidents_page(board: Board, past: Incidents | None, number: int, before: int | None, instance: str, now: datetime) -> IncidentsPage:
    """The page of incidents, the worst, widest and newest first; *number* pages through the open ones, *before* through the others."""
    views = sorted(
        board.snapshot.incidents,
        key=lambda one: (_WORST_FIRST.index(TONES[one.severity]), _WIDEST_FIRST.index(one.scope), -one.incident.opened_at.timestamp()),
    )
    pages = max(1, -(-len(views) // OPEN_SHOWN))
    number = min(number, pages)
    below = board.numbered()
    held = past.held if past is not None else NOTHING_HELD
    shown = views[(number - 1) * OPEN_SHOWN : number * OPEN_SHOWN]
    closed = past.closed if past is not None else ()
    return IncidentsPage(
        words=count(len(views), "open incident") if views else "No incident is open.",
        open=tuple(open_story(one, below.get(one.connection_id or 0), held, instance, now) for one in shown),
        number=number,
        pages=pages,
        newer=f"?page={number - 1}" if number > 1 else "",
        older=f"?page={number + 1}" if number < pages else "",
        past=past is not None,
        closed=tuple(past_story(row, below.get(row.connection_id or 0) or _once(row, past), (), now) for row in closed),
        closed_older=f"?{urlencode({'before': closed[-1].id})}" if past is not None and past.more else "",
        later=before is not None,
        silences=tuple(
            _hush(silence)
            for silence in sorted(held.silences, key=lambda one: (one.over_at, one.id))
            if silence.state(now) is SilenceState.ACTIVE
        ),
    )


def _once(row: IncidentRow, past: Incidents | None) -> ConnectionView | None:
    """The connection of an incident that is over, when it is no longer watched."""
    connection = past.about.get(row.connection_id or 0) if past is not None else None
    return None if connection is None else ConnectionView(connection, ConnectionState())


def _hush(silence: Silence) -> Hush:
    match = " ".join(f"{name}={value}" for name, value in sorted(silence.match.items()))
    return Hush(silence.id, match, silence.over_at, silence.author, silence.reason, commands.expire_silence(silence.id))
