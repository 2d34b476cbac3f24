"""The calendar of token expiry as an iCalendar feed. Needs the library `icalendar`, which is an extra."""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice

from icalendar import Calendar, vDuration, vText
from icalendar.parser import Contentline

from monitor import __version__
from monitor.text.advice import RECONNECT_IN_TIME
from monitor.text.format import one_line, stamp
from monitor.web.pages.expiry import Ending

_REFRESH = timedelta(hours=1)
_LASTS = timedelta(minutes=30)
_LONGEST = 200
_AT_ONCE = 25
_MOST_KEPT = 10_000
_LINE = 75
_UNSTAMPED = b"DTSTAMP:"
_END = b"END:VCALENDAR"

# As the library writes it, in an eighth of the time. Transparent: free time.
_EVENT = """\
BEGIN:VEVENT
SUMMARY:{summary}
DTSTART:{start:%Y%m%dT%H%M%SZ}
DTEND:{end:%Y%m%dT%H%M%SZ}
DTSTAMP:
UID:{uid}
CATEGORIES:postpost-monitor,{platform}
DESCRIPTION:{description}
TRANSP:TRANSPARENT
URL:{url}
BEGIN:VALARM
ACTION:DISPLAY
DESCRIPTION:{summary}
TRIGGER:-P1D
END:VALARM
END:VEVENT
"""


def pieces_of(endings: Iterable[Ending], instance: str, now: datetime, root: str) -> Iterator[bytes]:
    """The calendar of these ends, a few events at a time; *instance* makes ids unique, *root* is the address of the status page."""
    head, end, _ = _calendar().to_ical().partition(_END)
    yield head
    waiting = iter(endings)
    while batch := list(islice(waiting, _AT_ONCE)):
        yield b"".join(_event(ending, instance, now, root) for ending in batch)
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


def _event(ending: Ending, instance: str, now: datetime, root: str) -> bytes:
    ends_at = ending.ends_at.astimezone(UTC).replace(microsecond=0)
    name = one_line(ending.title, _LONGEST)
    summary = f"Token of {ending.platform} “{name}” {'is renewed' if ending.renews else 'expires'}"
    uid = uid_of(ending.view.connection.key, instance)
    text = _text(uid, ends_at, summary, _description(ending), f"{root}{ending.path}", ending.platform)
    stamped = (ending.view.state.token.observed_at or now).astimezone(UTC)
    return text.replace(_UNSTAMPED, f"DTSTAMP:{stamped:%Y%m%dT%H%M%SZ}".encode(), 1)


@lru_cache(_MOST_KEPT)
def _text(uid: str, ends_at: datetime, summary: str, description: str, url: str, platform: str) -> bytes:
    """One event with its alarm, not yet stamped; kept, since little else changes with a check."""
    summary, description, platform = (vText(text).to_ical().decode() for text in (summary, description, platform))
    end = ends_at + _LASTS
    event = _EVENT.format(uid=uid, start=ends_at, end=end, summary=summary, description=description, url=url, platform=platform)
    return b"\r\n".join([line.encode() if len(line.encode()) < _LINE else _folded(line) for line in event.split("\n")])


def _folded(line: str) -> bytes:
    """A *line* that is too long, in several; the library looks at every character."""
    folded: bytes = Contentline(line).to_ical()  # type: ignore[no-untyped-call]
    return folded


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
