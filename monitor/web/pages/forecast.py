"""The page "If nobody does anything": the forecast of the next days, worded."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from monitor.domain.connections import Connection
from monitor.domain.projections.forecast import Forecast, ForecastEvent
from monitor.domain.views.snapshot import ConnectionView
from monitor.domain.views.status import TONES, Filters, Tone
from monitor.text.forecast import forecast_text, message_text, receivers_text, restrictions
from monitor.text.format import clock, day, platform_name, short_name
from monitor.text.links import connection_path
from monitor.web.status.board import StatusBoard

_MOST_A_DAY = 25
_MOST_LISTED = 50
_LETTERS = 400


@dataclass(frozen=True, slots=True)
class ForecastSubject:
    """A connection that is notified of: its name, its platform and its page."""

    title: str
    platform: str
    path: str


@dataclass(frozen=True, slots=True)
class ForecastView:
    """One message that is expected. *subjects*: the first connections that it is about; *number* is how many there are."""

    at: datetime
    time: str
    subjects: tuple[ForecastSubject, ...]
    number: int
    tone: Tone
    text: str
    receivers: str


@dataclass(frozen=True, slots=True)
class ForecastDay:
    """The first messages of one day, and how many are not shown."""

    anchor: str
    title: str
    messages: tuple[ForecastView, ...]
    more: int


@dataclass(frozen=True, slots=True)
class ForecastPage:
    """The forecast by day."""

    filters: Filters
    text: str
    days: tuple[ForecastDay, ...]
    restrictions: tuple[str, ...]


def forecast_page(board: StatusBoard, forecast: Forecast, filters: Filters) -> ForecastPage:
    """The forecast of the connections that *filters* keep."""
    views = {view.connection.id: view for view in board.matching(filters)}
    messages = forecast.about(lambda connection: connection.id in views)
    by_day: dict[date, list[tuple[ForecastEvent, ...]]] = defaultdict(list)
    for events in messages:
        by_day[events[0].at.astimezone(UTC).date()].append(events)
    known = board.numbered() if messages else {}
    days = tuple(
        ForecastDay(
            at.isoformat(),
            day(at),
            tuple(_view(events, known, board.snapshot.users) for events in expected[:_MOST_A_DAY]),
            max(0, len(expected) - _MOST_A_DAY),
        )
        for at, expected in sorted(by_day.items())
    )
    which = f"Connections that match {filters.text}: " if filters.text else ""
    restricted = tuple(restrictions(board.snapshot, views.keys() & forecast.frozen))
    return ForecastPage(filters, which + forecast_text(messages, forecast.until), days, restricted)


def _view(events: Sequence[ForecastEvent], known: Mapping[int, ConnectionView], users: Mapping[str, str]) -> ForecastView:
    first = events[0]
    connections = {connection.id: connection for event in events for connection in event.connections}
    return ForecastView(
        at=first.at,
        time=clock(first.at),
        subjects=tuple(_subject(connection, known) for connection in list(connections.values())[:_MOST_LISTED]),
        number=len(connections),
        tone=TONES[max((event.notification.severity for event in events), key=lambda severity: severity.rank)],
        text=message_text(events, _LETTERS, users),
        receivers=receivers_text(events),
    )


def _subject(connection: Connection, known: Mapping[int, ConnectionView]) -> ForecastSubject:
    view = known.get(connection.id)
    title = short_name(connection, view.state) if view is not None else connection.name or connection.platform_id
    return ForecastSubject(title, platform_name(connection.platform), connection_path(connection))
