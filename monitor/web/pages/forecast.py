"""The page "If nobody does anything": the forecast of the next days, worded."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime

from monitor.domain.forecast import Forecast, ForecastEvent
from monitor.domain.status import TONES, Filters, Tone
from monitor.text.format import clock, count, day, moment, one_line, platform_name, short_name
from monitor.text.links import connection_path
from monitor.text.sentences import sentence
from monitor.web.status.board import StatusBoard

_MOST_A_DAY = 25
_LETTERS = 140


@dataclass(frozen=True, slots=True)
class ForecastView:
    """One notification that is expected."""

    at: datetime
    time: str
    title: str
    platform: str
    path: str
    tone: Tone
    text: str
    receivers: str


@dataclass(frozen=True, slots=True)
class ForecastDay:
    """The first notifications of one day, and how many are not shown."""

    anchor: str
    title: str
    events: tuple[ForecastView, ...]
    more: int


@dataclass(frozen=True, slots=True)
class ForecastPage:
    """The forecast by day."""

    filters: Filters
    text: str
    days: tuple[ForecastDay, ...]


def forecast_page(board: StatusBoard, forecast: Forecast, filters: Filters) -> ForecastPage:
    """The forecast of the connections that *filters* keep."""
    views = {view.connection.id: view for view in board.matching(filters)}
    by_day: dict[date, list[ForecastEvent]] = defaultdict(list)
    events = [event for event in forecast.notifications if event.connection.id in views]
    for event in events:
        by_day[event.at.astimezone(UTC).date()].append(event)

    def view_of(event: ForecastEvent) -> ForecastView:
        view = views[event.connection.id]
        return ForecastView(
            at=event.at,
            time=clock(event.at),
            title=short_name(view.connection, view.state),
            platform=platform_name(view.connection.platform),
            path=connection_path(view.connection),
            tone=TONES[event.notification.severity],
            text=one_line(sentence(event.notification, event.connection), _LETTERS),
            receivers=", ".join(event.receivers) or "nobody: no route matches",
        )

    days = tuple(
        ForecastDay(at.isoformat(), day(at), tuple(map(view_of, expected[:_MOST_A_DAY])), max(0, len(expected) - _MOST_A_DAY))
        for at, expected in sorted(by_day.items())
    )
    concerned = len({event.connection.id for event in events})
    about = f" about {count(concerned, 'connection')}" if events else ""
    return ForecastPage(filters, f"{count(len(events), 'notification')}{about} until {moment(forecast.until)}.", days)
