"""The forecast in words; the same on the page and at the command line."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from monitor.domain.projections.forecast import ForecastEvent
from monitor.domain.views.snapshot import Snapshot
from monitor.text.format import count, moment, one_line
from monitor.text.sentences import NO_NAMES, sentence
from monitor.text.status import STORAGE_FAILED


def forecast_text(messages: Sequence[Sequence[ForecastEvent]], until: datetime) -> str:
    """How many messages there are, about how many connections."""
    concerned = len({connection.id for events in messages for event in events for connection in event.connections})
    about = f" about {count(concerned, 'connection')}" if messages else ""
    return f"{count(len(messages), 'message')}{about} until {moment(until)}."


def restrictions(snapshot: Snapshot, frozen: Collection[int]) -> Iterator[str]:
    """What keeps the forecast from coming true, one sentence each; *frozen*: the connections below open scopes."""
    if not snapshot.storage_up:
        yield STORAGE_FAILED
    if frozen:
        yield (
            f"{count(len(frozen), 'connection')} cannot be checked while a wider incident is open: "
            "of what their checks would find nothing is forecast until it ends."
        )


def scope_text(event: ForecastEvent) -> str:
    """The scope that a message is about."""
    return one_line(event.notification.incident.subject, 60)


def message_text(events: Sequence[ForecastEvent], limit: int, users: Mapping[str, str] = NO_NAMES) -> str:
    """What a message says, in one line of *limit* characters at most; *users* are names of managed users by id."""
    first = events[0]
    text = one_line(sentence(first.notification, first.connection, first.connections, users), 4 * limit)
    if len(text) > limit:
        text = f"{text[:limit].rpartition(' ')[0].rstrip(' ,;:')} …"
    return text if len(events) == 1 else f"{count(len(events), 'notification')} in one message, among them: {text}"


def receivers_text(events: Sequence[ForecastEvent]) -> str:
    """Who gets a message."""
    return ", ".join(events[0].receivers) or "nobody: no route matches"
