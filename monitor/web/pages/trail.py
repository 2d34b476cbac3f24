"""What operators did about one connection, newest first: its audit trail."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from monitor.domain.connections import Connection
from monitor.domain.routing.matchers import covers
from monitor.domain.silencing.acceptance import Acceptance
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.silences import Silence
from monitor.text.format import moment
from monitor.web.actions import Performed

_MOST_SHOWN = 30
_PERFORMED = {"check": "had it tested", "reconnect": "went to reconnect it, and had it tested for two minutes"}


@dataclass(frozen=True, slots=True)
class TrailEntry:
    """One action: when, by whom, what, and the reason that was given."""

    at: datetime
    author: str
    text: str
    reason: str = ""


def trail_of(
    connection: Connection,
    acks: Iterable[Ack],
    silences: Iterable[Silence],
    performed: Iterable[Performed],
    now: datetime,
    accepted: Iterable[Acceptance] = (),
) -> tuple[TrailEntry, ...]:
    """The actions about *connection*: those of the database, made at the command line too, and those of this run of the monitor."""
    entries = [*_silenced(connection, silences, now)]
    entries += [TrailEntry(each.at, each.author, f"acknowledged incident {each.number} of its {each.topic}", each.reason) for each in acks]
    entries += [TrailEntry(each.at, each.author, _PERFORMED[each.action]) for each in performed]
    entries += [TrailEntry(each.at, each.author, f"accepted that it lacks {', '.join(each.permissions)}", each.reason) for each in accepted]
    return tuple(sorted(entries, key=lambda entry: entry.at, reverse=True)[:_MOST_SHOWN])


def _silenced(connection: Connection, silences: Iterable[Silence], now: datetime) -> Iterator[TrailEntry]:
    for silence in silences:
        if covers(silence.match, connection):
            ended = silence.expired_at is not None and silence.expired_at <= now
            until = f"until {moment(silence.over_at)}{', ended early' if ended else ''}"
            yield TrailEntry(silence.created_at, silence.author, f"silenced it {until} (silence {silence.id})", silence.reason)
