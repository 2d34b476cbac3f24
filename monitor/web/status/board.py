"""
The snapshot made ready for showing, at most once a second.

A `Board` is a snapshot sorted for people, worst first; it is made once per snapshot. Rows are made only for the page
that is asked for, so ten thousand connections cost little more than a hundred.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from monitor.clock import Clock
from monitor.domain.events import Severity
from monitor.domain.reasons import Scope
from monitor.domain.snapshot import ConnectionView, IncidentView, Snapshot
from monitor.domain.status import TROUBLE, DisplayStatus, Filters, Tone, status_of, tone_of, urgency
from monitor.metrics import Metrics
from monitor.text.format import STATUS_LABELS, count, platform_name
from monitor.web.status.connection import ConnectionRow, row_of
from monitor.web.status.sidebar import Account, ReceiverView, Trouble, accounts_of, receivers_of, troubles_of
from monitor.web.status.summary import Overall, overall_of

PAGE_SIZE = 50
Key = tuple[str, str, str]

_MOST_OFFERED = 200


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
    rows: tuple[ConnectionRow, ...]
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


class StatusBoard:
    """A snapshot sorted for people."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._incidents: dict[int, list[IncidentView]] = defaultdict(list)
        for incident in snapshot.incidents:
            if incident.connection_id is not None and incident.scope is Scope.CONNECTION:
                self._incidents[incident.connection_id].append(incident)
        standings = tuple((status_of(view, self._of(view)), view) for view in snapshot.connections)
        self.ordered: Sequence[tuple[DisplayStatus, ConnectionView]] = standings
        # Stable: within a standing, the urgent first, then by account, platform and id.
        self._sorted = sorted(standings, key=lambda entry: urgency(entry[0], self._of(entry[1])))
        self.counts: Mapping[DisplayStatus, int] = Counter(standing for standing, _ in standings)
        self._in_trouble = sum(self.counts[status] for status in DisplayStatus if status.in_trouble)
        self.platforms = Counter(view.connection.platform for view in snapshot.connections)
        self.accounts = Counter(view.connection.account for view in snapshot.connections)
        self._keys: dict[Key, ConnectionView] = {}

    @property
    def ranked(self) -> Sequence[tuple[DisplayStatus, ConnectionView]]:
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

    def row(self, view: ConnectionView, now: datetime) -> ConnectionRow:
        """One connection."""
        return row_of(view, self._of(view), now)

    def incidents_of(self, view: ConnectionView) -> Sequence[IncidentView]:
        """The open incidents of one connection."""
        return self._of(view)

    def matching(self, filters: Filters) -> list[ConnectionView]:
        """Every connection that is asked for, worst first."""
        criteria = filters.criteria
        return [view for status, view in self._sorted if criteria.match(view, status)]

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

    def receivers(self, now: datetime) -> tuple[ReceiverView, ...]:
        """Everybody who is told, those in trouble first."""
        return receivers_of(self.snapshot, now)

    def accounts_seen(self) -> tuple[Account, ...]:
        """Every account and whether the API accepts it."""
        return accounts_of(self.snapshot, self.accounts)

    def choices(self, filters: Filters) -> tuple[Choice, ...]:
        """The ways to narrow the list by standing; those that would leave nothing are not offered."""
        offers = [("", "All", len(self._sorted), Tone.IDLE)]
        offers += [(TROUBLE, "Trouble", self._in_trouble, Tone.BAD)]
        offers += [(status.value, STATUS_LABELS[status], self.counts[status], status.tone) for status in DisplayStatus]
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
        return any(tone_of(status, self._of(view)) is Tone.BAD for status, view in self._sorted[: self._in_trouble])


class SnapshotCache:
    """The latest picture, at most *fresh_seconds* old, and its renderings."""

    def __init__(self, source: Callable[[], Snapshot], metrics: Metrics, clock: Clock, fresh_seconds: float) -> None:
        self._source = source
        self._metrics = metrics
        self._clock = clock
        self._fresh_seconds = fresh_seconds
        self._snapshot: tuple[float, Snapshot] | None = None
        self._board: StatusBoard | None = None
        self._texts: dict[bool, tuple[float, tuple[bytes, ...]]] = {}
        self._rendering = {False: asyncio.Lock(), True: asyncio.Lock()}

    def snapshot(self) -> Snapshot:
        """The picture."""
        if self._snapshot is None or not self._is_fresh(self._snapshot[0]):
            self._snapshot = (self._clock.monotonic(), self._source())
        return self._snapshot[1]

    def board(self) -> StatusBoard:
        """The picture, sorted for people."""
        snapshot = self.snapshot()
        if self._board is None or self._board.snapshot is not snapshot:
            self._board = StatusBoard(snapshot)
        return self._board

    async def text(self, *, openmetrics: bool) -> tuple[bytes, ...]:
        """The metrics in pieces. Others run between the pieces; who asks meanwhile gets the same."""
        async with self._rendering[openmetrics]:
            made = self._texts.get(openmetrics)
            if made is not None and self._is_fresh(made[0]):
                return made[1]
            at, pieces = self._clock.monotonic(), []
            for piece in self._metrics.chunks(self.snapshot(), self._clock.now(), openmetrics=openmetrics):
                pieces.append(piece)
                await self._clock.sleep(0)
            text = (at, tuple(pieces))
            self._texts[openmetrics] = text
            # Tens of megabytes: not to be kept until somebody asks again.
            asyncio.get_running_loop().call_later(self._fresh_seconds, self._forget, openmetrics, text)
            return text[1]

    def _forget(self, openmetrics: bool, text: tuple[float, tuple[bytes, ...]]) -> None:
        if self._texts.get(openmetrics) is text:
            del self._texts[openmetrics]

    def _is_fresh(self, at: float) -> bool:
        return self._clock.monotonic() - at < self._fresh_seconds
