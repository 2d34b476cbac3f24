"""The snapshot made ready for showing, at most once a second; rows are made only for the page that is shown."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from monitor.domain.expiry.estimate import best_estimate
from monitor.domain.reasons import Health, Scope
from monitor.domain.scopes.key import scopes_above
from monitor.domain.uptime import OpenOutage
from monitor.domain.views.handling import Handling, handling_of, open_outage
from monitor.domain.views.snapshot import ConnectionView, IncidentView, Snapshot, as_known
from monitor.domain.views.status import TROUBLE, ConnectionFilter, DisplayStatus, Filters, Tone, status_of, to_handle, tone_of, urgency
from monitor.text.format import STATUS_LABELS, count, platform_name, short_name
from monitor.text.status import Overall, overall_of, unknown_label, with_handling
from monitor.web.status.connection import ConnectionRow, row_of
from monitor.web.status.sidebar import Card, cards_of

PAGE_SIZE = 50
Key = tuple[str, str, str]

_MOST_OFFERED = 200


@dataclass(frozen=True, slots=True)
class Choice:
    """One filter to choose: its label, how many connections it keeps, its address, and whether it is in use."""

    label: str
    number: int
    address: str
    chosen: bool
    tone: Tone = Tone.IDLE


@dataclass(frozen=True, slots=True)
class Group:
    """The connections with one value of what a list is grouped by: how many match, and how many of them are in trouble."""

    name: str
    total: int
    trouble: int


@dataclass(frozen=True, slots=True)
class Page:
    """One page of rows, and how many rows there are. *groups*: connection number to the group that begins with it on this page."""

    filters: Filters
    rows: tuple[ConnectionRow, ...]
    total: int
    number: int
    pages: int
    groups: Mapping[int, Group] = field(default_factory=dict)

    @property
    def numbers(self) -> tuple[int | None, ...]:
        """The pages to lead to: the first, the last, and those around this one; None where some are left out."""
        shown = sorted({1, self.pages, *range(max(1, self.number - 2), min(self.pages, self.number + 2) + 1)})
        numbers: list[int | None] = []
        for number in shown:
            if numbers and numbers[-1] is not None and number - numbers[-1] > 1:
                numbers.append(None)
            numbers.append(number)
        return tuple(numbers)

    @property
    def caption(self) -> str:
        """Which rows these are."""
        if not self.total:
            if not self.filters.text:
                return "Connections appear here once the configuration names them or the API lists them."
            return f"No connection matches {self.filters.text}."
        first = (self.number - 1) * PAGE_SIZE + 1
        if self.pages == 1:
            return count(self.total, "connection")
        return f"{first:,} to {first + len(self.rows) - 1:,} of {count(self.total, 'connection')}"


_CALM_PLACES = {status: (urgency(status, ()), False, 0.0) for status in DisplayStatus}
"""Where connections without incidents are shown."""


class StatusBoard:
    """A snapshot, as far as it is known, sorted for showing; *source* is the snapshot as it was given."""

    def __init__(self, source: Snapshot) -> None:
        self.source = source
        self.snapshot = snapshot = as_known(source)
        self._incidents: dict[int, list[IncidentView]] = defaultdict(list)
        for incident in snapshot.incidents:
            if incident.connection_id is not None and incident.scope is Scope.CONNECTION:
                self._incidents[incident.connection_id].append(incident)
        calm: dict[tuple[Health, str | None, bool], DisplayStatus] = {}
        statuses = tuple([(self._status_of(view, calm), view) for view in snapshot.connections])
        self.ordered: Sequence[tuple[DisplayStatus, ConnectionView]] = statuses
        self._handling: dict[int, Handling] = {}
        self._sorted = sorted(statuses, key=self._place)
        self.counts: Mapping[DisplayStatus, int] = Counter([status for status, _ in statuses])
        self._in_trouble = sum(self.counts[status] for status in DisplayStatus if status.in_trouble)
        self.platforms = Counter([view.connection.spec.platform for view in snapshot.connections])
        self.accounts = Counter([view.connection.spec.account for view in snapshot.connections])
        self._keys: dict[Key, ConnectionView] = {}

    def ranked(self, filters: Filters | None = None) -> Sequence[tuple[DisplayStatus, ConnectionView]]:
        """Every connection that *filters* keep, and its display status, worst first; `ordered` has all by account, platform and id."""
        criteria = filters.criteria if filters is not None else ConnectionFilter()
        if criteria == ConnectionFilter():
            return self._sorted
        return [(status, view) for status, view in self._sorted if criteria.match(view, status)]

    def _status_of(self, view: ConnectionView, calm: dict[tuple[Health, str | None, bool], DisplayStatus]) -> DisplayStatus:
        """The status of a connection; *calm* remembers those without incidents, which are nearly all."""
        incidents = self._incidents.get(view.connection.id)
        if incidents is not None:
            return status_of(view, incidents)
        known = (view.state.health, view.suppressed_by, view.outdated)
        status = calm.get(known)
        if status is None:
            status = calm[known] = status_of(view, ())
        return status

    def _place(self, entry: tuple[DisplayStatus, ConnectionView]) -> tuple[int, bool, float]:
        """Worst first; of those in trouble, the unhandled and then the newest; the others stay by account, platform and id."""
        status, view = entry
        incidents = self._incidents.get(view.connection.id)
        if incidents is None:
            return _CALM_PLACES[status]
        if status in (DisplayStatus.OK, DisplayStatus.UNSUPPORTED):
            return urgency(status, incidents), False, 0.0
        newest = max(incident.incident.opened_at for incident in incidents)
        return urgency(status, incidents), self.handling_of(view).handled, -newest.timestamp()

    def rank(self, entry: tuple[DisplayStatus, ConnectionView]) -> int:
        """The smaller, the worse; of those in trouble, the unhandled first."""
        urgent, handled, _ = self._place(entry)
        return 2 * urgent + handled

    @cached_property
    def overall(self) -> Overall:
        """The overall state in one sentence."""
        urgent = any(tone_of(status, self.incidents_of(view)) is Tone.BAD for status, view in self._troubled())
        overall = overall_of(self.snapshot, self.counts, urgent)
        controls = self.snapshot.controls
        silencing = bool(controls.silences or controls.recurring)
        entries = [(status, self.incidents_of(view), view) for status, view in self._sorted]
        return with_handling(
            overall,
            [(len(incidents), self.handling_of(view)) for status, incidents, view in entries if to_handle(status, incidents)],
            [self.handling_of(view) for status, incidents, view in entries if silencing and not to_handle(status, incidents)],
        )

    def handling_of(self, view: ConnectionView) -> Handling:
        """What operators did about a connection."""
        number = view.connection.id
        if number not in self._handling:
            snapshot = self.snapshot
            self._handling[number] = handling_of(view, self.incidents_of(view), snapshot.controls, snapshot.taken_at)
        return self._handling[number]

    def find(self, key: Key) -> ConnectionView | None:
        """The connection of this account, managed user and platform id."""
        if not self._keys:
            self._keys = {view.connection.key: view for view in self.snapshot.connections}
        return self._keys.get(key)

    def numbered(self) -> Mapping[int, ConnectionView]:
        """Number to connection."""
        return {view.connection.id: view for view in self.snapshot.connections}

    def outage_of(self, view: ConnectionView, until: datetime | None) -> OpenOutage | None:
        """The open incident that counts as downtime of a connection; the uptime has been added up until *until*."""
        return open_outage(view, self.handling_of(view), until)

    def row(self, view: ConnectionView, now: datetime) -> ConnectionRow:
        """One connection."""
        return row_of(view, self.incidents_of(view), now, self.handling_of(view))

    def incidents_of(self, view: ConnectionView) -> Sequence[IncidentView]:
        """The open incidents of one connection."""
        return self._incidents.get(view.connection.id, ())

    def matching(self, filters: Filters) -> list[ConnectionView]:
        """Every connection that *filters* keep, worst first."""
        return [view for _, view in self.ranked(filters)]

    def page(self, filters: Filters, now: datetime) -> Page:
        """One page of the connections that *filters* keep, grouped and sorted as they say; beyond the last page: the last."""
        matching = self._arranged(self.matching(filters), filters)
        pages = max(1, -(-len(matching) // PAGE_SIZE))
        number = min(filters.page, pages)
        shown = matching[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
        shared = {card.subject: card for card in cards_of(self.snapshot, now) if card.scope in (Scope.GROUP, Scope.PLATFORM)}
        rows = tuple(_without_shared(self.row(view, now), shared) for view in shown)
        groups = self._groups(matching, shown, filters.group) if filters.group else {}
        return Page(replace(filters, page=number), rows, len(matching), number, pages, groups)

    def _arranged(self, views: list[ConnectionView], filters: Filters) -> list[ConnectionView]:
        """*views*, which come worst first, sorted and then grouped; both keep the order of what is equal."""
        if filters.sort:
            views = sorted(views, key=_SORT_KEYS[filters.sort])
        return sorted(views, key=lambda view: group_key(view, filters.group)) if filters.group else views

    def _groups(self, matching: Sequence[ConnectionView], shown: Sequence[ConnectionView], by: str) -> dict[int, Group]:
        totals, trouble = Counter(group_key(view, by) for view in matching), Counter[tuple[bool, str]]()
        for view in matching:
            trouble[group_key(view, by)] += status_of(view, self.incidents_of(view)).in_trouble
        groups: dict[int, Group] = {}
        last: tuple[bool, str] | None = None
        for view in shown:
            key = group_key(view, by)
            if key != last:
                name = platform_name(key[1]) if by == "platform" else key[1]
                groups[view.connection.id] = Group(name or f"without {by}", totals[key], trouble[key])
            last = key
        return groups

    def group_choices(self) -> tuple[tuple[str, str], ...]:
        """What the list may be grouped by: value and name."""
        names = [("platform", "platform")] if len(self.platforms) > 1 else []
        names += [("account", "account")] if self.account_choices else []
        return (*names, *((name, name) for name in self.label_choices if name not in ("platform", "account")))

    def banner_and_cards(self, now: datetime) -> tuple[Card | None, Sequence[Card]]:
        """The card of what the sentence of the overall state says already, and the others."""
        cards, snapshot = cards_of(self.snapshot, now), self.snapshot
        rejected = [f"account:{name}" for name, up in snapshot.accounts.items() if up is False]
        if not snapshot.storage_up:
            said = [card for card in cards if card.subject == "storage"]
        elif snapshot.api_up is False:
            said = [card for card in cards if card.scope is Scope.API]
        else:
            said = [card for card in cards if rejected == [card.subject]]
        return said[0] if said else None, [card for card in cards if card not in said[:1]]

    def scope_incidents(self) -> tuple[IncidentView, ...]:
        """The open scope incidents, the most urgent and then the widest first."""
        incidents = [incident for incident in self.snapshot.incidents if incident.scope is not Scope.CONNECTION]
        return tuple(sorted(incidents, key=lambda incident: (-incident.severity.rank, -incident.scope.width)))

    def choices(self, filters: Filters) -> tuple[Choice, ...]:
        """The filters by display status; those that would keep nothing are not offered."""
        offers = [("", "All connections", len(self._sorted), Tone.IDLE)]
        offers += [(TROUBLE, "Trouble", self._in_trouble, Tone.BAD)]
        urgent = {status for status, view in self._troubled() if tone_of(status, self.incidents_of(view)) is Tone.BAD}
        for status in DisplayStatus:
            label = STATUS_LABELS[status]
            if status is DisplayStatus.UNKNOWN:
                label = unknown_label([view for each, view in self.ordered if each is status])
            offers.append((status.value, label, self.counts[status], Tone.BAD if status in urgent else status.tone))
        # One kind of trouble is all of it: two choices for the same connections would not add up.
        several = sum(bool(self.counts[status]) for status in DisplayStatus if status.in_trouble) > 1
        return tuple(
            Choice(label, number, filters.address(status=value), filters.status == value, tone)
            for value, label, number, tone in offers
            if filters.status == value or not value or (number and (value != TROUBLE or several))
        )

    @property
    def platform_choices(self) -> tuple[tuple[str, str], ...]:
        """Platforms to choose from: value and name."""
        return tuple((platform, platform_name(platform)) for platform in sorted(self.platforms))

    @cached_property
    def account_choices(self) -> tuple[tuple[str, str], ...]:
        """Accounts to choose from, value and name, with those of managed users while these are few; one alone is no choice."""
        owners = {(view.connection.spec.account, view.connection.spec.user_id): view.connection for view in self.snapshot.connections}
        labels = {connection.account_label for connection in owners.values()} | set(self.accounts)
        offered = labels if len(labels) <= _MOST_OFFERED else set(self.accounts)
        return tuple((name, name) for name in sorted(offered)) if len(offered) > 1 else ()

    @cached_property
    def label_choices(self) -> Mapping[str, tuple[tuple[str, str], ...]]:
        """Labels to choose from: name to pairs such as `team=social` and their values; those with too many values are left out."""
        return {
            name: tuple((f"{name}={value}", value) for value in sorted(known))
            for name, known in sorted(self.label_values.items())
            if len(known) <= _MOST_OFFERED
        }

    @cached_property
    def label_values(self) -> Mapping[str, set[str]]:
        """Name of a label to its values."""
        values: dict[str, set[str]] = defaultdict(set)
        for labels in filter(None, [view.connection.spec.labels for view in self.snapshot.connections]):
            for name, value in labels.items():
                values[name].add(value)
        return values

    @cached_property
    def account_names(self) -> frozenset[str]:
        """Every account, and every account/user that has a connection."""
        return frozenset({*self.snapshot.accounts, *self.accounts, *(view.connection.account_label for view in self.snapshot.connections)})

    def _troubled(self) -> Sequence[tuple[DisplayStatus, ConnectionView]]:
        """Those in trouble and those whose tokens end soon."""
        return self._sorted[: self._in_trouble + self.counts[DisplayStatus.EXPIRING]]


def _without_shared(row: ConnectionRow, shared: Mapping[str, Card]) -> ConnectionRow:
    """*row* without the cause that the card of its group or platform, one of *shared*, gives for all of them."""
    above = scopes_above(row.view.connection, "")
    card = shared.get(str(above.group)) or shared.get(str(above.platform))
    if card is None:
        return row
    return replace(row, notes=tuple(note for note in row.notes if (note.text, note.quoted) != (card.why, card.quoted)))


_LATEST = datetime.max.replace(tzinfo=UTC)
_SORT_KEYS: Mapping[str, Callable[[ConnectionView], Any]] = {
    "name": lambda view: short_name(view.connection, view.state).casefold(),
    "state": lambda view: view.state.since or _LATEST,
    "token": lambda view: best_estimate(view.state.token) or _LATEST,
    "checked": lambda view: view.state.last_check_at or datetime.min.replace(tzinfo=UTC),
}


def group_key(view: ConnectionView, by: str) -> tuple[bool, str]:
    """The group of a connection; those that have none come last."""
    connection = view.connection
    if by == "platform":
        value = connection.platform
    elif by == "account":
        value = connection.account_label
    else:
        value = connection.labels.get(by, "")
    return not value, value
