"""Token expiry: the agenda, the months and the feed."""

from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from icalendar import Calendar

from monitor.domain.events import IncidentRef, Severity, Topic
from monitor.domain.reasons import Scope
from monitor.domain.replies.token_life import TokenSays
from monitor.domain.views.snapshot import ConnectionView, IncidentView, Snapshot
from monitor.domain.views.status import Filters, Tone
from monitor.text.links import connection_path
from monitor.web.pages.expiry import Agenda, agenda_of, endings_of
from monitor.web.pages.feed import pieces_of
from monitor.web.status.board import StatusBoard
from tests.builders import DAY, HOUR, START, a_connection, a_state, a_token_belief

NOW = START + 10 * HOUR
ROOT = "https://monitor.example/"


def _view(number: int, left: timedelta | None, **overrides: object) -> ConnectionView:
    token = a_token_belief(None if left is None else NOW + left, **overrides)
    return ConnectionView(a_connection(number), a_state(token=token))


def _agenda(*views: ConnectionView, **query: str) -> Agenda:
    return agenda_of(StatusBoard(Snapshot(NOW, views)), Filters.of(query), NOW)


def _parsed(feed: bytes) -> list[Any]:
    """The events of a feed, as the library of calendar programs reads them."""
    return Calendar.from_ical(feed).walk("VEVENT")


def _events(*views: ConnectionView, now: datetime = NOW, instance: str = "one") -> dict[str, Any]:
    feed = b"".join(pieces_of(endings_of(StatusBoard(Snapshot(now, views)), Filters(), now), instance, now, ROOT))
    return {str(event["uid"]): event for event in _parsed(feed)}


def test_agenda() -> None:
    """Ends are listed by day and time; what is further away than 90 days, or never ends, is not."""
    agenda = _agenda(_view(1, 3 * DAY), _view(2, 2 * HOUR), _view(3, 3 * DAY - HOUR), _view(4, 91 * DAY), _view(5, None))

    assert agenda.text == "3 tokens expire within the next 90 days."
    assert [(day.title, day.distance) for day in agenda.days] == [("Tue 1 Jan 2030", "today"), ("Fri 4 Jan 2030", "in 3 days")]
    assert [one.view.connection.id for day in agenda.days for one in day.endings] == [2, 3, 1]


def test_feed_leads_to_the_page_and_warns() -> None:
    """Each event has the address of its connection's page, and an alarm a day ahead."""
    view = _view(1, 3 * DAY)
    (event,) = _events(view).values()
    (alarm,) = event.walk("VALARM")

    assert event["url"] == f"{ROOT}{connection_path(view.connection)}"
    assert (alarm["action"], alarm["trigger"].dt, alarm["description"]) == ("DISPLAY", -DAY, event["summary"])


def test_ended() -> None:
    """What ended within 30 days and was not renewed stands apart, the latest first."""
    agenda = _agenda(_view(1, -3 * DAY), _view(2, -HOUR), _view(3, -31 * DAY))

    assert [(one.view.connection.id, one.left) for one in agenda.ended] == [(2, "1h ago"), (1, "3d ago")]
    assert agenda.text == "No token expires within the next 90 days."


def test_renewing() -> None:
    """A token that renews itself is listed as such, not as something to do."""
    agenda = _agenda(_view(1, DAY, renewal_points=(2 * HOUR, 2 * HOUR)), _view(2, DAY))

    assert [one.renews for one in agenda.days[0].endings] == [True, False]
    assert agenda.text == "2 tokens expire within the next 90 days; 1 of them renews automatically."


def test_filters() -> None:
    """The calendar takes the filters of the list."""
    assert len(_agenda(_view(1, DAY), _view(2, DAY), q="page2").days[0].endings) == 1


def test_crowded_day() -> None:
    """A day with hundreds of ends shows some and counts the others."""
    (day,) = _agenda(*(_view(number, DAY) for number in range(1, 301))).days

    assert (len(day.endings), day.more) == (10, 290)


def test_months() -> None:
    """Every month of the next 90 days, each day once and under its weekday; days with ends lead to them."""
    agenda = _agenda(_view(1, 3 * DAY), _view(2, 40 * DAY))
    january = agenda.months[0]
    cells = [cell for week in january.weeks for cell in week if cell is not None]
    weekday = {cell.number: place for week in january.weeks for place, cell in enumerate(week) if cell is not None}

    assert [month.title for month in agenda.months] == ["January 2030", "February 2030", "March 2030", "April 2030"]
    assert [cell.number for cell in cells] == list(range(1, 32))
    assert (weekday[1], weekday[6]) == (1, 6)
    assert {cell.anchor for month in agenda.months for week in month.weeks for cell in week if cell and cell.ends} == {
        day.anchor for day in agenda.days
    }
    assert [(cell.number, cell.ends, cell.tone) for cell in cells if cell.ends] == [(4, 1, Tone.IDLE)]


def test_feed() -> None:
    """Each end is one event at the right moment, in UTC, that keeps nobody busy."""
    events = _events(_view(1, 3 * DAY), _view(2, 5 * DAY), _view(3, None))
    first, _ = sorted(events.values(), key=lambda event: event["dtstart"].dt)

    assert first["dtstart"].dt == NOW + 3 * DAY
    assert first["dtend"].dt > first["dtstart"].dt
    assert first["transp"] == "TRANSPARENT"
    assert "linkedin-page1" in first["description"]


def test_renewal_moves_the_event() -> None:
    """An event keeps its UID when the token is renewed and when time passes; two monitors have different ones."""
    before, renewed = _events(_view(1, 3 * DAY)), _events(_view(1, 60 * DAY), now=NOW + DAY)

    assert before.keys() == renewed.keys()
    assert before.keys().isdisjoint(_events(_view(1, 3 * DAY), instance="another").keys())


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_arrives(name: str, account: str) -> None:
    """Whatever a connection is called, the feed is as the library would write it, with no line that is longer than the format allows."""
    connection = a_connection(1, name=name, account=account)
    view = ConnectionView(connection, a_state(token=a_token_belief(NOW + DAY)))
    feed = b"".join(pieces_of(endings_of(StatusBoard(Snapshot(NOW, (view,))), Filters(), NOW), "one", NOW, ROOT))

    (event,) = _parsed(feed)
    assert event["dtstart"].dt == NOW + DAY
    assert event.to_ical() in feed
    assert all(len(line) <= 75 for line in feed.split(b"\r\n"))


def test_doubt() -> None:
    """How exact the end is known is said where it matters."""
    token = a_token_belief(NOW + DAY, says=TokenSays.LEFT, exact_at=None, earliest_at=NOW + DAY, latest_at=NOW + DAY + 2 * HOUR)
    (day,) = _agenda(ConnectionView(a_connection(1), a_state(token=token))).days

    assert day.endings[0].doubt == "± 1h"


def test_urgency() -> None:
    """An end has the tone that it has in the list: that of its incident."""
    views = [_view(number, number * DAY) for number in range(1, 5)]
    severities = {1: Severity.CRITICAL, 2: Severity.WARNING, 3: Severity.INFO}
    incidents = tuple(
        IncidentView(IncidentRef(Topic.EXPIRY, str(number), 1, START), Scope.CONNECTION, number, "7d", severity, None, "")
        for number, severity in severities.items()
    )
    agenda = agenda_of(StatusBoard(Snapshot(NOW, tuple(views), incidents)), Filters(), NOW)

    assert [day.endings[0].tone for day in agenda.days] == [Tone.BAD, Tone.WARN, Tone.IDLE, Tone.IDLE]
