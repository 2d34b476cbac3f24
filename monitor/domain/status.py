"""`DisplayStatus`, worst first; one filter for pages, API and command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import urlencode

from monitor.domain.events import Severity
from monitor.domain.reasons import Health
from monitor.domain.snapshot import ConnectionView, IncidentView


class Tone(StrEnum):
    """How much a thing asks for attention; each has a colour, and never only a colour."""

    BAD = "bad"
    WARN = "warn"
    IDLE = "idle"
    GOOD = "good"


TONES = {Severity.CRITICAL: Tone.BAD, Severity.WARNING: Tone.WARN, Severity.INFO: Tone.IDLE}


class DisplayStatus(StrEnum):
    """Where a connection stands, worst first: its health, or `attention` while it works but has an incident."""

    ERROR = "error"
    MISSING = "missing"
    MISCONFIGURED = "misconfigured"
    ATTENTION = "attention"
    UNKNOWN = "unknown"
    OK = "ok"
    UNSUPPORTED = "unsupported"


BROKEN = (DisplayStatus.ERROR, DisplayStatus.MISSING, DisplayStatus.MISCONFIGURED)
IN_TROUBLE = (*BROKEN, DisplayStatus.ATTENTION)
ORDER = {standing: place for place, standing in enumerate(DisplayStatus)}

_STANDING_TONES = {
    DisplayStatus.ERROR: Tone.BAD,
    DisplayStatus.MISSING: Tone.BAD,
    DisplayStatus.MISCONFIGURED: Tone.BAD,
    DisplayStatus.ATTENTION: Tone.WARN,
    DisplayStatus.UNKNOWN: Tone.IDLE,
    DisplayStatus.OK: Tone.GOOD,
    DisplayStatus.UNSUPPORTED: Tone.IDLE,
}
_BROKEN_HEALTH = {
    Health.ERROR: DisplayStatus.ERROR,
    Health.MISSING: DisplayStatus.MISSING,
    Health.MISCONFIGURED: DisplayStatus.MISCONFIGURED,
}
_OTHER_HEALTH = {Health.OK: DisplayStatus.OK, Health.UNSUPPORTED: DisplayStatus.UNSUPPORTED, Health.UNKNOWN: DisplayStatus.UNKNOWN}


def standing_of(view: ConnectionView, incidents: Sequence[IncidentView]) -> DisplayStatus:
    """Where a connection with these open incidents of its own stands; a mere information moves it nowhere."""
    broken = _BROKEN_HEALTH.get(view.state.health)
    if broken is not None:
        return broken
    if any(incident.severity is not Severity.INFO for incident in incidents):
        return DisplayStatus.ATTENTION
    return _OTHER_HEALTH[view.state.health]


def tone_of(standing: DisplayStatus, incidents: Sequence[IncidentView]) -> Tone:
    """The tone of a connection: a critical incident of one that still works is as bad as one that does not."""
    if standing is DisplayStatus.ATTENTION and any(incident.severity is Severity.CRITICAL for incident in incidents):
        return Tone.BAD
    return _STANDING_TONES[standing]


TROUBLE = "trouble"
"""Value of the filter `health` for everything that somebody should look at."""

_MOST_LETTERS = 200
_MOST_DIGITS = 6
_MOST_LABELS = 10

_TEXTS = ("health", "platform", "account", "q")


@dataclass(frozen=True, slots=True)
class Filters:
    """
    What is asked for in the address; an empty text asks for everything, `page` starts at 1.

    Attributes:
        labels: pairs such as `team=social`, of which a connection must have all.
    """

    health: str = ""
    platform: str = ""
    account: str = ""
    labels: tuple[str, ...] = ()
    q: str = ""
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Filters":
        """The filters of an address; what cannot be understood asks for nothing."""
        texts = {name: query.get(name, "").strip()[:_MOST_LETTERS] for name in _TEXTS}
        labels = [pair.strip()[:_MOST_LETTERS] for pair in _all(query, "label")[:_MOST_LABELS]]
        page = query.get("page", "")
        number = int(page) if page.isascii() and page.isdigit() and len(page) <= _MOST_DIGITS else 1
        return cls(**texts, labels=tuple(dict.fromkeys(filter(None, labels))), page=max(1, number))

    @property
    def narrowed(self) -> bool:
        """Whether something beside the standing is asked for."""
        return bool(self.q or self.platform or self.account or self.labels)

    def address(self, **changes: str | int | tuple[str, ...]) -> str:
        """The relative address of the page with these filters, and *changes* to them; a changed filter starts at page 1."""
        other = replace(self, **{"page": 1, **changes})  # type: ignore[arg-type]
        query = [(name, getattr(other, name)) for name in _TEXTS if getattr(other, name)]
        query += [("label", pair) for pair in other.labels]
        if other.page > 1:
            query.append(("page", str(other.page)))
        return f"?{urlencode(query, errors='replace')}" if query else "?"

    def api_address(self) -> str:
        """The query by which the API lists the same connections, worst first."""
        query = [("display_status" if name == "health" else name, getattr(self, name)) for name in _TEXTS if getattr(self, name)]
        query += [("label", pair) for pair in self.labels]
        return f"?{urlencode([*query, ('sort', 'worst')], errors='replace')}"

    def match(self, view: ConnectionView, standing: DisplayStatus) -> bool:
        """Whether a connection is among those asked for."""
        connection = view.connection
        if self.health and self.health != standing and not (self.health == TROUBLE and standing in IN_TROUBLE):
            return False
        if self.platform and self.platform != connection.platform:
            return False
        if self.account and self.account not in (connection.account, connection.account_label):
            return False
        if self.labels and not all(has_label(connection.labels, pair) for pair in self.labels):
            return False
        return not self.q or mentions(view, self.q)


def mentions(view: ConnectionView, text: str) -> bool:
    """Whether *text* occurs in what a connection is called; letters may be small or capital."""
    connection, state, searched = view.connection, view.state, text.casefold()
    texts = (connection.platform_id, connection.name, connection.account_label, state.username, state.display_name)
    return any(searched in one.casefold() for one in texts if one)


def _all(query: Mapping[str, str], name: str) -> list[str]:
    """Every value of *name*: an address may have several."""
    getall = getattr(query, "getall", None)
    return list(getall(name, ())) if getall is not None else [query[name]] if name in query else []


def has_label(labels: Mapping[str, str], pair: str) -> bool:
    """Whether *pair* is one of *labels*; a name alone asks for any value."""
    name, equals, value = pair.partition("=")
    return name in labels and (not equals or labels[name] == value)
