"""The forecast in words; the same on the page and at the command line."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from monitor.domain.projections.forecast import ForecastEvent
from monitor.text.format import count, moment, one_line
from monitor.text.sentences import NO_NAMES, sentence


def forecast_text(messages: Sequence[Sequence[ForecastEvent]], until: datetime) -> str:
    """How many messages there are, about how many connections."""
    concerned = len({connection.id for events in messages for event in events for connection in event.connections})
    about = f" about {count(concerned, 'connection')}" if messages else ""
    return f"{count(len(messages), 'message')}{about} until {moment(until)}."


def message_text(events: Sequence[ForecastEvent], limit: int, users: Mapping[str, str] = NO_NAMES) -> str:
    """What a message says, in one line of *limit* characters at most; *users* are names of managed users by id."""
    first = events[0]
    text = one_line(sentence(first.notification, first.connection, first.connections, users), limit)
    return text if len(events) == 1 else f"{count(len(events), 'notification')} in one message, among them: {text}"


def receivers_text(events: Sequence[ForecastEvent]) -> str:
    """Who gets a message."""
    return ", ".join(events[0].receivers) or "nobody: no route matches"
