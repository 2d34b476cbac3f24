"""The calendar of token expiry as an iCalendar feed. Needs the library `icalendar`, which is an extra."""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from icalendar import Alarm, Calendar, Event, vDuration

from monitor import __version__
from monitor.text.advice import RECONNECT_IN_TIME
from monitor.text.format import one_line, stamp
from monitor.web.pages.expiry import Ending

_REFRESH = timedelta(hours=1)
_LASTS = timedelta(minutes=30)
_AHEAD_OF_END = timedelta(days=1)
_LONGEST = 200
_AT_ONCE = 25
_END = b"END:VCALENDAR"


def pieces_of(endings: Iterable[Ending], instance: str, now: datetime, root: str) -> Iterator[bytes]:
    """
    The calendar of these ends, a few events at a time: thousands take seconds.

    *instance* tells the events of two monitors apart, *root* is the address of the status page.
    """
    head, end, _ = _calendar().to_ical().partition(_END)
    yield head
    waiting = iter(endings)
    while batch := list(islice(waiting, _AT_ONCE)):
        yield b"".join(_event(ending, instance, now, root).to_ical() for ending in batch)
    yield end + b"\r\n"


def _calendar() -> Calendar:
    calendar = Calendar()
    calendar.add("prodid", f"-//postpost-monitor//{__version__}//EN")
    calendar.add("version", "2.0")
    calendar.add("calscale", "GREGORIAN")
    calendar.add("name", "PostPost token expiry")
    calendar.add("x-wr-calname", "PostPost token expiry")
    calendar.add("refresh-interval", vDuration(_REFRESH), parameters={"VALUE": "DURATION"})
    calendar.add("x-published-ttl", vDuration(_REFRESH))
    return calendar


def _event(ending: Ending, instance: str, now: datetime, root: str) -> Event:
    connection, token = ending.view.connection, ending.view.state.token
    ends_at = ending.ends_at.astimezone(UTC).replace(microsecond=0)
    name = one_line(ending.title, _LONGEST)
    event = Event()
    event.add("uid", uid_of(connection.key, instance))
    event.add("dtstamp", (token.observed_at or now).astimezone(UTC).replace(microsecond=0))
    event.add("dtstart", ends_at)
    event.add("dtend", ends_at + _LASTS)
    event.add("summary", f"Token of {ending.platform} “{name}” {'is renewed' if ending.renews else 'expires'}")
    event.add("description", _description(ending))
    event.add("url", f"{root}{ending.path}")
    event.add("categories", ["postpost-monitor", ending.platform])
    # Free time.
    event.add("transp", "TRANSPARENT")
    alarm = Alarm()
    alarm.add("action", "DISPLAY")
    alarm.add("description", event["summary"])
    alarm.add("trigger", -_AHEAD_OF_END)
    event.add_component(alarm)
    return event


def _description(ending: Ending) -> str:
    connection = ending.view.connection
    about = f"{ending.platform}: {one_line(connection.platform_id, _LONGEST)}, account {one_line(connection.account_label, _LONGEST)}."
    when = f"The token expires on {stamp(ending.ends_at)}{', ' + ending.doubt if ending.doubt else ''}."
    advice = "It has been renewed automatically so far." if ending.renews else RECONNECT_IN_TIME
    return f"{about}\n{when}\n{advice}"


def uid_of(key: tuple[str, str, str], instance: str) -> str:
    """The UID of a connection's event."""
    digest = hashlib.sha256("\0".join((instance, *key)).encode(errors="replace")).hexdigest()
    return f"{digest[:32]}@postpost-monitor"
