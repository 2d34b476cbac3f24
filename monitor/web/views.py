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
from monitor.domain.sentences import platform_name
from monitor.domain.snapshot import ConnectionView, IncidentView, Snapshot
from monitor.web.overall import Overall, overall_of
from monitor.web.parties import Account, Receiver, Trouble, accounts_of, receivers_of, troubles_of
from monitor.web.rows import Row, row_of
from monitor.web.standing import BROKEN, IN_TROUBLE, LABELS, ORDER, Standing, Tone, standing_of, tone_of
from monitor.web.words import count

PAGE_SIZE = 50
Key = tuple[str, str, str]
TROUBLE = "trouble"
"""Value of the filter `health` for everything that somebody should look at."""

_MOST_LETTERS = 200
_MOST_DIGITS = 6
_MOST_LABELS = 10
_MOST_OFFERED = 200
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
        query = [("standing" if name == "health" else name, getattr(self, name)) for name in _TEXTS if getattr(self, name)]
        query += [("label", pair) for pair in self.labels]
        return f"?{urlencode([*query, ('sort', 'worst')], errors='replace')}"

    def match(self, view: ConnectionView, standing: Standing) -> bool:
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
            asked = self.filters.narrowed or self.filters.health
            return (
                "No connection is like that."
                if asked
                else "Connections appear here once the configuration names them or the API lists them."
            )
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
        standings = tuple((standing_of(view, self._of(view)), view) for view in snapshot.connections)
        self.ordered: Sequence[tuple[Standing, ConnectionView]] = standings
        # Stable: within a standing, the urgent first, then by account, platform and id.
        self._sorted = sorted(standings, key=lambda one: (ORDER[one[0]], tone_of(one[0], self._of(one[1])) is not Tone.BAD))
        self.counts: Mapping[Standing, int] = Counter(standing for standing, _ in standings)
        self.platforms = Counter(view.connection.platform for view in snapshot.connections)
        self.accounts = Counter(view.connection.account for view in snapshot.connections)
        self._keys: dict[Key, ConnectionView] = {}

    @property
    def ranked(self) -> Sequence[tuple[Standing, ConnectionView]]:
        """Every connection and where it stands, worst first; `ordered` has them by account, platform and id."""
        return self._sorted

    @property
    def overall(self) -> Overall:
        """How it all stands, in one sentence."""
        return overall_of(self.snapshot, self.counts, self._urgent())

    def find(self, key: Key) -> ConnectionView | None:
        """The connection of this account, managed user and platform id."""
        if not self._keys:
            self._keys = {view.connection.key: view for view in self.snapshot.connections}
        return self._keys.get(key)

    def numbered(self) -> Mapping[int, ConnectionView]:
        """Number to connection."""
        return {view.connection.id: view for view in self.snapshot.connections}

    def row(self, view: ConnectionView, now: datetime) -> Row:
        """One connection."""
        return row_of(view, self._of(view), now)

    def incidents_of(self, view: ConnectionView) -> Sequence[IncidentView]:
        """The open incidents of one connection."""
        return self._of(view)

    def matching(self, filters: Filters) -> list[ConnectionView]:
        """Every connection that is asked for, worst first."""
        return [view for standing, view in self._sorted if filters.match(view, standing)]

    def page(self, filters: Filters, now: datetime) -> Page:
        """One page of the connections that are asked for, worst first; beyond the last page: the last."""
        found = self.matching(filters)
        pages = max(1, -(-len(found) // PAGE_SIZE))
        number = min(filters.page, pages)
        shown = found[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
        rows = tuple(row_of(view, self._of(view), now) for view in shown)
        return Page(replace(filters, page=number), rows, len(found), number, pages)

    def troubles(self, now: datetime) -> tuple[Trouble, ...]:
        """The open incidents that are wider than one connection, the most urgent and then the widest first."""
        return troubles_of(self.snapshot, now)

    def receivers(self, now: datetime) -> tuple[Receiver, ...]:
        """Everybody who is told, those in trouble first."""
        return receivers_of(self.snapshot, now)

    def accounts_seen(self) -> tuple[Account, ...]:
        """Every account and whether the API accepts it."""
        return accounts_of(self.snapshot, self.accounts)

    def choices(self, filters: Filters) -> tuple[Choice, ...]:
        """The ways to narrow the list by standing; those that would leave nothing are not offered."""
        trouble = sum(self.counts[standing] for standing in IN_TROUBLE)
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

    def account_choices(self) -> tuple[tuple[str, str], ...]:
        """Accounts to choose from, value and name, with those of managed users while these are few; one alone is no choice."""
        labels = {view.connection.account_label for view in self.snapshot.connections} | set(self.accounts)
        found = labels if len(labels) <= _MOST_OFFERED else set(self.accounts)
        return tuple((name, name) for name in sorted(found)) if len(found) > 1 else ()

    def label_choices(self) -> Mapping[str, tuple[tuple[str, str], ...]]:
        """Labels to choose from: name to pairs such as `team=social` and their values; those with more than anybody reads are left out."""
        values: dict[str, set[str]] = defaultdict(set)
        for view in self.snapshot.connections:
            for name, value in view.connection.labels.items():
                values[name].add(value)
        return {
            name: tuple((f"{name}={value}", value) for value in sorted(found))
            for name, found in sorted(values.items())
            if len(found) <= _MOST_OFFERED
        }

    def incident_counts(self) -> Mapping[Severity, int]:
        """How many incidents are open, by how urgent they are."""
        return Counter(incident.severity for incident in self.snapshot.incidents)

    def _of(self, view: ConnectionView) -> Sequence[IncidentView]:
        return self._incidents.get(view.connection.id, ())

    def _urgent(self) -> bool:
        return any(
            tone_of(standing, self._of(view)) is Tone.BAD for standing, view in self._sorted[: sum(self.counts[one] for one in IN_TROUBLE)]
        )
