"""`DisplayStatus`, worst first; one filter for pages, API and command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from monitor.domain.events import Severity, Topic
from monitor.domain.expiry.levels import EXPIRED
from monitor.domain.reasons import Health

if TYPE_CHECKING:
    from monitor.domain.views.snapshot import ConnectionView, IncidentView


class Tone(StrEnum):
    """How much a thing asks for attention; each has a colour, and never only a colour."""

    BAD = "bad"
    WARN = "warn"
    IDLE = "idle"
    GOOD = "good"


TONES = {Severity.CRITICAL: Tone.BAD, Severity.WARNING: Tone.WARN, Severity.INFO: Tone.IDLE}


class OverallState(StrEnum):
    """The overall state as one word, the same on pages, badges, in JSON and on the command line."""

    UNAVAILABLE = "unavailable"
    """The API, an account or the database cannot be used: the state of its connections is not known now."""
    BROKEN = "broken"
    UNDELIVERED = "undelivered"
    """A receiver accepts no messages."""
    SUSPECTED = "suspected"
    """The API or an account seems to fail, which is not confirmed yet."""
    ATTENTION = "attention"
    EXPIRING = "expiring"
    UNKNOWN = "unknown"
    OK = "ok"


class DisplayStatus(StrEnum):
    """
    What a connection is shown as, worst first: its health, unless it works and has an incident, or is not known now.

    `attention`: it works but has an incident; `expiring`: that of a token that ends soon; `unknown`: also while only its last state is known.
    """

    ERROR = "error"
    MISSING = "missing"
    MISCONFIGURED = "misconfigured"
    ATTENTION = "attention"
    EXPIRING = "expiring"
    UNKNOWN = "unknown"
    OK = "ok"
    UNSUPPORTED = "unsupported"

    @property
    def rank(self) -> int:
        """The smaller, the worse."""
        return _STATUS_RANKS[self]

    @property
    def broken(self) -> bool:
        """Whether it is the status of a connection that does not work."""
        return self in (DisplayStatus.ERROR, DisplayStatus.MISSING, DisplayStatus.MISCONFIGURED)

    @property
    def in_trouble(self) -> bool:
        """Whether it calls for attention."""
        return self.broken or self is DisplayStatus.ATTENTION

    @property
    def tone(self) -> Tone:
        """The tone of a connection without a critical incident."""
        return Tone.BAD if self.broken else _OTHER_TONES.get(self, Tone.IDLE)


_STATUS_RANKS = {status: rank for rank, status in enumerate(DisplayStatus)}
_OTHER_TONES = {DisplayStatus.ATTENTION: Tone.WARN, DisplayStatus.EXPIRING: Tone.WARN, DisplayStatus.OK: Tone.GOOD}


def status_of(view: "ConnectionView", incidents: "Sequence[IncidentView]") -> DisplayStatus:
    """
    The status of a connection with these open incidents of its own; one of severity `info` changes nothing.

    While the scope above it cannot be used, what was known of its health counts no longer; the end of its token comes all the same,
    unless the connection was broken already.
    """
    health = view.state.health
    if health.broken:
        return DisplayStatus.UNKNOWN if view.unknown_now else DisplayStatus(health.value)
    serious = [incident for incident in counting(view, incidents) if incident.severity is not Severity.INFO]
    if any(incident.incident.topic is not Topic.EXPIRY or incident.level == EXPIRED for incident in serious):
        return DisplayStatus.ATTENTION
    if serious:
        return DisplayStatus.EXPIRING
    return DisplayStatus.UNKNOWN if view.unknown_now else DisplayStatus(health.value)


def counting(view: "ConnectionView", incidents: "Sequence[IncidentView]") -> "Sequence[IncidentView]":
    """The incidents that say something about a connection now: while the scope above it cannot be used, none of its health."""
    if not view.frozen or view.state.health is Health.UNSUPPORTED:
        return incidents
    return [incident for incident in incidents if incident.incident.topic is not Topic.CONNECTION]


def to_handle(status: DisplayStatus, incidents: "Sequence[IncidentView]") -> bool:
    """Whether a connection is in trouble, has a token that ends soon, or had either when it was last known."""
    if status is DisplayStatus.UNKNOWN:
        return any(incident.severity is not Severity.INFO for incident in incidents)
    return status.in_trouble or status is DisplayStatus.EXPIRING


def tone_of(status: DisplayStatus, incidents: "Sequence[IncidentView]") -> Tone:
    """The tone of a connection: with a critical incident it is as bad as one that does not work."""
    serious = status in (DisplayStatus.ATTENTION, DisplayStatus.EXPIRING)
    if serious and any(incident.severity is Severity.CRITICAL for incident in incidents):
        return Tone.BAD
    return status.tone


def urgency(status: DisplayStatus, incidents: "Sequence[IncidentView]") -> int:
    """Sorts connections worst first: by status, and within it the critical ones first; of those not known now, those that were broken."""
    was_broken = status is DisplayStatus.UNKNOWN and any(incident.severity is Severity.CRITICAL for incident in incidents)
    return 2 * status.rank + (not was_broken and tone_of(status, incidents) is not Tone.BAD)


@dataclass(frozen=True, slots=True)
class ConnectionFilter:
    """
    The connections that pages, API and command line select; an empty field selects all.

    Attributes:
        labels: pairs such as `team=social`, of which a connection must have all; a name alone asks for any value.
        text: must occur in a name of the connection.
    """

    health: frozenset[str] = frozenset()
    statuses: frozenset[str] = frozenset()
    platforms: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    text: str = ""

    def match(self, view: "ConnectionView", status: DisplayStatus) -> bool:
        """Whether a connection with this display status is among them."""
        connection = view.connection
        return (
            (not self.health or view.state.health in self.health)
            and (not self.statuses or status in self.statuses or (TROUBLE in self.statuses and status.in_trouble))
            and (not self.platforms or connection.platform in self.platforms)
            and (not self.accounts or not self.accounts.isdisjoint((connection.account, connection.account_label)))
            and all(_has_label(connection.labels, pair) for pair in self.labels)
            and (not self.text or _mentions(view, self.text))
        )


TROUBLE = "trouble"
"""Value of the filter by status: every connection whose status calls for attention."""

_MOST_LETTERS = 200
_MOST_DIGITS = 6
_MOST_LABELS = 10

_SELECTING = {"displayStatus": "status", "platform": "platform", "account": "account", "q": "q"}
_TEXTS = {**_SELECTING, "sort": "sort", "group": "group", "at": "at"}
"""Parameter, as the API spells it, to the field of `Filters`."""
SORTS = ("", "name", "state", "token", "checked")
"""How a list may be sorted: the worst first, by name, since when, by the token that ends first, by the oldest check."""


@dataclass(frozen=True, slots=True)
class Filters:
    """
    The filter in a page's address; an empty text selects everything, `page` starts at 1.

    Attributes:
        status: a display status, or `TROUBLE`.
        labels: pairs such as `team=social`, of which a connection must have all.
        sort: one of `SORTS`.
        group: `platform`, `account`, or the name of a label.
        at: the moment of which the list is shown; empty: now.
    """

    status: str = ""
    platform: str = ""
    account: str = ""
    labels: tuple[str, ...] = ()
    q: str = ""
    sort: str = ""
    group: str = ""
    at: str = ""
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Filters":
        """The filters of an address; what cannot be understood asks for nothing."""
        texts = {name: _visible(query.get(parameter, ""))[:_MOST_LETTERS] for parameter, name in _TEXTS.items()}
        texts["sort"] = texts["sort"] if texts["sort"] in SORTS else ""
        labels = [_visible(pair)[:_MOST_LETTERS] for pair in _all(query, "label")[:_MOST_LABELS]]
        page = query.get("page", "")
        number = int(page) if page.isascii() and page.isdigit() and len(page) <= _MOST_DIGITS else 1
        return cls(**texts, labels=tuple(dict.fromkeys(filter(None, labels))), page=max(1, number))

    @property
    def narrowed(self) -> bool:
        """Whether it filters by anything besides the status."""
        return bool(self.q or self.platform or self.account or self.labels)

    @property
    def text(self) -> str:
        """The filter in words, as in the address; empty when it keeps everything."""
        pairs = [f"{parameter}={getattr(self, name)}" for parameter, name in _SELECTING.items() if getattr(self, name)]
        pairs += [f"label={pair}" for pair in self.labels]
        return f"the filter {', '.join(pairs)}" if pairs else ""

    def address(self, **changes: str | int | tuple[str, ...]) -> str:
        """The relative address of the page with these filters, and *changes* to them; a changed filter starts at page 1."""
        other = replace(self, **{"page": 1, **changes})  # type: ignore[arg-type]
        query = [(parameter, getattr(other, name)) for parameter, name in _TEXTS.items() if getattr(other, name)]
        query += [("label", pair) for pair in other.labels]
        if other.page > 1:
            query.append(("page", str(other.page)))
        return f"?{urlencode(query, errors='replace')}" if query else "?"

    def api_address(self, sort: str = "worst") -> str:
        """The query by which the API takes the same connections; a list of them sorted so, the worst first."""
        query = [(parameter, getattr(self, name)) for parameter, name in _SELECTING.items() if getattr(self, name)]
        query += [("label", pair) for pair in self.labels]
        query += [("sort", sort)] if sort else []
        return f"?{urlencode(query, errors='replace')}" if query else ""

    @property
    def criteria(self) -> ConnectionFilter:
        """Which connections these filters ask for."""
        statuses, platforms, accounts = (frozenset(filter(None, [text])) for text in (self.status, self.platform, self.account))
        return ConnectionFilter(frozenset(), statuses, platforms, accounts, frozenset(self.labels), self.q)


def _visible(text: str) -> str:
    """*text* without marks of direction and control characters, which no name is shown with; joiners stay."""
    return "".join(letter for letter in text if letter.isprintable() or letter in "\u200c\u200d").strip()


def _mentions(view: "ConnectionView", text: str) -> bool:
    """Whether *text* occurs in a name of the connection, in small or capital letters."""
    connection, state, searched = view.connection, view.state, text.casefold()
    texts = (connection.platform_id, connection.name, connection.account_label, state.username, state.display_name)
    return any(searched in name.casefold() for name in texts if name)


def _all(query: Mapping[str, str], name: str) -> list[str]:
    """Every value of *name*: an address may have several."""
    getall = getattr(query, "getall", None)
    return list(getall(name, ())) if getall is not None else [query[name]] if name in query else []


def _has_label(labels: Mapping[str, str], pair: str) -> bool:
    """Whether *pair* is one of *labels*; a name alone asks for any value."""
    name, equals, value = pair.partition("=")
    return name in labels and (not equals or labels[name] == value)
