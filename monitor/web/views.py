"""
What the status page and the JSON show, worked out from a snapshot and the time alone.

A `Board` is a snapshot sorted for people, worst first; it is made once per snapshot. Rows are made only for the page
that is asked for, so ten thousand connections cost little more than a hundred.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlencode

from monitor.domain.model import Scope, Severity
from monitor.domain.reasons import meaning
from monitor.domain.sentences import platform_name
from monitor.domain.snapshot import ConnectionView, IncidentView, Snapshot
from monitor.web.overall import Overall, overall_of
from monitor.web.rows import Row, row_of
from monitor.web.standing import BROKEN, LABELS, ORDER, Standing, Tone, standing_of, tone_of
from monitor.web.words import count, sentence, short

PAGE_SIZE = 100
TROUBLE = "trouble"
"""Value of the filter `health` for everything that somebody should look at."""

_IN_TROUBLE = (*BROKEN, Standing.ATTENTION)
_MOST_LETTERS = 200
_MOST_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Filters:
    """What is asked for in the address; an empty text asks for everything, `page` starts at 1."""

    health: str = ""
    platform: str = ""
    account: str = ""
    q: str = ""
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Filters":
        """The filters of an address; what cannot be understood asks for nothing."""
        texts = {name: query.get(name, "").strip()[:_MOST_LETTERS] for name in ("health", "platform", "account", "q")}
        page = query.get("page", "")
        number = int(page) if page.isascii() and page.isdigit() and len(page) <= _MOST_DIGITS else 1
        return cls(**texts, page=max(1, number))

    def address(self, **changes: str | int) -> str:
        """The relative address of the page with these filters, and *changes* to them; a changed filter starts at page 1."""
        other = replace(self, **{"page": 1, **changes})  # type: ignore[arg-type]
        pairs = [(name, getattr(other, name)) for name in ("health", "platform", "account", "q")]
        query = [(name, value) for name, value in pairs if value]
        if other.page > 1:
            query.append(("page", str(other.page)))
        return f"?{urlencode(query)}" if query else "?"

    def match(self, view: ConnectionView, standing: Standing) -> bool:
        """Whether a connection is among those asked for."""
        connection = view.connection
        if self.health and self.health != standing and not (self.health == TROUBLE and standing in _IN_TROUBLE):
            return False
        if self.platform and self.platform != connection.platform:
            return False
        if self.account and self.account not in (connection.account, connection.account_label):
            return False
        return not self.q or self._mentions(view)

    def _mentions(self, view: ConnectionView) -> bool:
        connection, state = view.connection, view.state
        texts = (connection.platform_id, connection.name, connection.account_label, state.username, state.display_name)
        return any(self.q.casefold() in text.casefold() for text in texts if text)


@dataclass(frozen=True, slots=True)
class Trouble:
    """An open incident that is wider than one connection, in words."""

    view: IncidentView
    tone: Tone
    title: str
    why: str
    quoted: str
    advice: str
    lasting: str


@dataclass(frozen=True, slots=True)
class Receiver:
    """What one receiver is owed, in words."""

    name: str
    tone: Tone
    words: str


@dataclass(frozen=True, slots=True)
class Account:
    """Whether the API accepts one account."""

    name: str
    tone: Tone
    words: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One filter to choose: what it says, how many it leaves, where it leads, and whether it is the present one."""

    words: str
    number: int
    address: str
    chosen: bool
    tone: Tone = Tone.IDLE


@dataclass(frozen=True, slots=True)
class Page:
    """The rows that are asked for: one page of them, and how many there are."""

    filters: Filters
    rows: tuple[Row, ...]
    total: int
    number: int
    pages: int

    @property
    def words(self) -> str:
        """Which rows these are."""
        if not self.total:
            return "No connection is like that."
        first = (self.number - 1) * PAGE_SIZE + 1
        if self.pages == 1:
            return count(self.total, "connection")
        return f"{first:,} to {first + len(self.rows) - 1:,} of {count(self.total, 'connection')}"


class Board:
    """A snapshot sorted for people."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._incidents: dict[int, list[IncidentView]] = defaultdict(list)
        for incident in snapshot.incidents:
            if incident.connection_id is not None and incident.scope is Scope.CONNECTION:
                self._incidents[incident.connection_id].append(incident)
        standings = [(standing_of(view, self._of(view)), view) for view in snapshot.connections]
        # Stable: within a standing, the urgent first, then by account, platform and id.
        self._sorted = sorted(standings, key=lambda one: (ORDER[one[0]], tone_of(one[0], self._of(one[1])) is not Tone.BAD))
        self.counts: Mapping[Standing, int] = Counter(standing for standing, _ in standings)
        self.platforms = Counter(view.connection.platform for view in snapshot.connections)
        self.accounts = Counter(view.connection.account for view in snapshot.connections)

    @property
    def overall(self) -> Overall:
        """How it all stands, in one sentence."""
        return overall_of(self.snapshot, self.counts, self._urgent())

    def page(self, filters: Filters, now: datetime) -> Page:
        """One page of the connections that are asked for, worst first; beyond the last page: the last."""
        found = [view for standing, view in self._sorted if filters.match(view, standing)]
        pages = max(1, -(-len(found) // PAGE_SIZE))
        number = min(filters.page, pages)
        shown = found[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
        rows = tuple(row_of(view, self._of(view), now) for view in shown)
        return Page(replace(filters, page=number), rows, len(found), number, pages)

    def troubles(self, now: datetime) -> tuple[Trouble, ...]:
        """The open incidents that are wider than one connection, the widest first."""
        wide = [incident for incident in self.snapshot.incidents if incident.scope is not Scope.CONNECTION]
        widest_first = list(Scope)[::-1]
        wide.sort(key=lambda incident: widest_first.index(incident.scope))
        return tuple(_trouble(incident, now) for incident in wide)

    def receivers(self, now: datetime) -> tuple[Receiver, ...]:
        """Everybody who is told, those in trouble first."""
        receivers = []
        for name, owed in self.snapshot.outbox.items():
            waiting = f"{count(owed.pending, 'message')} waiting" if owed.pending else "nothing waiting"
            since = f", the oldest for {short(now - owed.oldest_at)}" if owed.oldest_at is not None else ""
            if owed.disabled:
                receivers.append(Receiver(name, Tone.BAD, f"gone: told nothing more until its configuration changes; {waiting}"))
            elif owed.failing_since is not None:
                receivers.append(Receiver(name, Tone.BAD, f"takes no messages for {short(now - owed.failing_since)} now; {waiting}{since}"))
            else:
                receivers.append(Receiver(name, Tone.GOOD, f"{waiting}{since}"))
        return tuple(sorted(receivers, key=lambda one: (one.tone is not Tone.BAD, one.name)))

    def accounts_seen(self) -> tuple[Account, ...]:
        """Every account and whether the API accepts it."""
        words = {True: (Tone.GOOD, "accepted"), False: (Tone.BAD, "refused"), None: (Tone.IDLE, "not known yet")}
        return tuple(
            Account(name, words[up][0], f"{words[up][1]}, {count(self.accounts[name], 'connection')}")
            for name, up in sorted(self.snapshot.accounts.items())
        )

    def choices(self, filters: Filters) -> tuple[Choice, ...]:
        """The ways to narrow the list by standing; those that would leave nothing are not offered."""
        trouble = sum(self.counts[standing] for standing in _IN_TROUBLE)
        tones = {Standing.ATTENTION: Tone.WARN, Standing.OK: Tone.GOOD, **dict.fromkeys(BROKEN, Tone.BAD)}
        offers = [("", "All", len(self._sorted), Tone.IDLE)]
        offers += [(TROUBLE, "Trouble", trouble, Tone.BAD)]
        offers += [(standing.value, LABELS[standing], self.counts[standing], tones.get(standing, Tone.IDLE)) for standing in Standing]
        return tuple(
            Choice(words, number, filters.address(health=value), filters.health == value, tone)
            for value, words, number, tone in offers
            if number or not value or filters.health == value
        )

    def platform_choices(self) -> tuple[tuple[str, str], ...]:
        """Platforms to choose from: value and name."""
        return tuple((platform, platform_name(platform)) for platform in sorted(self.platforms))

    def incident_counts(self) -> Mapping[Severity, int]:
        """How many incidents are open, by how urgent they are."""
        return Counter(incident.severity for incident in self.snapshot.incidents)

    def _of(self, view: ConnectionView) -> Sequence[IncidentView]:
        return self._incidents.get(view.connection.id, ())

    def _urgent(self) -> bool:
        return any(
            tone_of(standing, self._of(view)) is Tone.BAD for standing, view in self._sorted[: sum(self.counts[one] for one in _IN_TROUBLE)]
        )


_TITLES = {
    Scope.API: "The PostPost API gives no answers",
    Scope.ACCOUNT: "The API refuses the account {name}",
    Scope.USER: "The API refuses the managed user {name}",
    Scope.PLATFORM: "Many connections of {name} broke together",
    Scope.STORAGE: "The monitor cannot use its own storage",
    Scope.RECEIVER: "The receiver {name} takes no messages",
}


def _trouble(incident: IncidentView, now: datetime) -> Trouble:
    kind, _, name = incident.incident.subject.partition(":")
    if incident.scope is Scope.PLATFORM:
        name = platform_name(name)
    title = "The API limits the requests of the account {name}" if kind == "rate" else _TITLES.get(incident.scope, "{name}")
    known = meaning(incident.reason) if incident.reason is not None else None
    return Trouble(
        view=incident,
        tone={Severity.CRITICAL: Tone.BAD, Severity.WARNING: Tone.WARN}.get(incident.severity, Tone.IDLE),
        title=title.format(name=name),
        why=sentence(known.words) if known is not None else "",
        quoted=incident.detail,
        advice=known.advice if known is not None else "",
        lasting=short(now - incident.incident.opened_at),
    )
