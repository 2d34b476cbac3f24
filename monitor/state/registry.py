"""`Registry`: the engine with versions of rows, outbox view and snapshots; a cache of the rows, changed after commits only."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

from monitor.clock import Clock, Continuity
from monitor.config import Config
from monitor.config.matchers import with_platform
from monitor.config.problems import nearest
from monitor.db import (
    Reader,
    accepted_losses,
    acks_of_open,
    last_notifications,
    read_connections,
    read_meta,
    read_outbox,
    read_scopes,
    read_states,
    silences_since,
)
from monitor.db.codec import decode_rounding, decode_scope
from monitor.domain.connections import Connection
from monitor.domain.engine import ChangeSet, Engine
from monitor.domain.evaluation import hiding_scope, scope_context
from monitor.domain.events import EventType, Notification, Severity
from monitor.domain.load import AccountLoad, account_loads
from monitor.domain.routing.matchers import UnmatchedMatcher, known_values, unmatched
from monitor.domain.routing.names import named_connections, shown_names, words_for_connections
from monitor.domain.scopes.key import ACCOUNT, ScopeKey
from monitor.domain.states import ConnectionState
from monitor.domain.views.snapshot import (
    ConnectionView,
    HeartbeatView,
    IncidentView,
    OutboxView,
    Snapshot,
    StorageFailure,
    incidents_of,
    scope_incidents,
    suspected_scope,
)
from monitor.logs import get_logger
from monitor.state.evaluation_config import EvaluationConfig
from monitor.text.format import sentence
from monitor.text.load import interval_advice, load_text

if TYPE_CHECKING:
    from monitor.db import Store

# How long the alert about a loss lasts, which belongs to no incident.
NOTICE_STANDS = timedelta(hours=1)
_log = get_logger(__name__)
LONGEST_PAUSE_SECONDS = 90.0
FIRST_LIST_WITHIN_SECONDS = 900.0


class Registry(Engine):
    """
    Every connection, its state and the scopes above it, with the versions of their rows; only the writer thread commits.

    Attributes:
        versions, scope_versions: version of the row of a connection's state, or of a scope; 0 without a row.
        unrouted: how many notifications no route matched, since the start.
        on_unrouted: called for each of them, on the writer thread.
        make_unit: makes the unit of work of a transaction, where it is another one than usual.
        storage_failure: why the database takes no writes, and since when; None while it does.
        heartbeat: the heartbeats, as the worker found them.
    """

    config: EvaluationConfig

    def __init__(self, config: EvaluationConfig, clock: Clock) -> None:
        super().__init__(config, clock.now())
        self.clock = clock
        self._written = config
        self._words: frozenset[str] = frozenset()
        self._names: Mapping[str, Sequence[str]] = {}
        self._renamed = True
        self.versions: dict[int, int] = {}
        self.scope_versions: dict[ScopeKey, int] = {}
        self.outbox: Mapping[str, OutboxView] = {}
        self.storage_up = True
        self.unmatched: tuple[UnmatchedMatcher, ...] = ()
        self.loads: tuple[AccountLoad, ...] = ()
        self.unrouted = 0
        self.on_unrouted: Callable[[], None] = lambda: None
        self.make_unit: Callable[[Store], Any] | None = None
        self.storage_failure: StorageFailure | None = None
        self.heartbeat: HeartbeatView | None = None
        self._continuity = Continuity(clock)
        self._next_checks: dict[int, float] = {}
        self._listed: set[str] = set()
        self._unlisted_since: dict[str, float] = {}
        self._viewed = _Viewed()
        self._changed: set[int] = set()
        self._notices: dict[str, Notification] = {}

    def load(self, reader: Reader) -> None:
        """Fill memory from the rows of a database."""
        states = dict(read_states(reader))
        scopes = {key: (version, decode_scope(key, document)) for key, (version, document) in read_scopes(reader).items()}
        self.versions = {connection_id: version for connection_id, (version, _) in states.items()}
        self.scope_versions = {scope.key: version for version, scope in scopes.values()}
        self.restore({number: state for number, (_, state) in states.items()}, [scope for _, scope in scopes.values()])
        self._load_settings(reader)
        for notification in last_notifications(reader, EventType.INVENTORY_CHANGED):
            self.add_notice(notification)

    def _load_settings(self, reader: Reader) -> None:
        self.rounding_evidence = decode_rounding(read_meta(reader, self.rounding_key()))
        self.set_requests(silences_since(reader, self.clock.now()), acks_of_open(reader), accepted_losses(reader))

    @classmethod
    def of_rows(cls, reader: Reader, config: Config, clock: Clock) -> "Registry":
        """All that another instance with the configuration *config* has stored, to show it; nothing of it is evaluated."""
        registry = cls(EvaluationConfig.from_config(config, read_meta(reader, "instance_id") or ""), clock)
        registry.load(reader)
        registry.set_connections(read_connections(reader))
        registry.set_outbox(read_outbox(reader))
        registry.find_names()
        return registry

    def set_connections(self, connections: Iterable[Connection], *, account: str | None = None) -> None:
        """Replace the monitored connections; states of others stay in the database only."""
        super().set_connections(connections, account=account)
        self._next_checks = {number: at for number, at in self._next_checks.items() if number in self._connections}

    def commit(self, changes: ChangeSet) -> None:
        """Make the values of *changes* visible."""
        if self._words and any(_names_in(state) != _names_in(self.state(number)) for number, state in changes.states.items()):
            self._renamed = True
        super().commit(changes)
        # Behind the values: what is viewed between the two is viewed again.
        self._changed.update(changes.states)

    def note_listed(self, account: str, *, complete: bool) -> None:
        """The lists of *account* were read, *complete* or in part; they may be empty."""
        if complete:
            self._listed.add(account)
        if self.find_names() or self._unlisted_since:
            self.find_unmatched()

    def use_config(self, config: EvaluationConfig) -> None:
        """Replace the configuration, as a reload does; names of the API in it are looked up."""
        self._written, self._names, self.heartbeat = config, {}, None
        self.set_config(config)
        self.find_names()

    def find_names(self) -> bool:
        """Look up the connections that routes and recurring silences call by a name of the API; returns whether they stand for others now."""
        self._renamed = False
        self._words = words_for_connections(match for _, match in self._written.matches())
        known = ((one.platform_id, self._names_of(one)) for one in self.connections())
        names = named_connections(self._words, known) if self._words else {}
        if names == self._names:
            return False
        self._names = names
        self.set_config(self._written.with_names(names))
        return True

    def _has_names(self, account: str) -> bool:
        """Whether names of its connections are known: they follow the first list a moment later."""
        return any(any(_names_in(self.state(one.id))) for one in self.connections_of(account))

    def _names_of(self, connection: Connection) -> set[str]:
        return shown_names(connection, self.state(connection.id))

    def find_unmatched(self) -> None:
        """Find the matchers that match nothing known, and log new ones; an account that was never listed is waited for, but not for long."""
        self.find_names()
        now, unlisted = self.clock.monotonic(), {name for name in self.config.discovering - self._listed if not self._has_names(name)}
        self._unlisted_since = {account: self._unlisted_since.get(account, now) for account in unlisted}
        if any(now - since < FIRST_LIST_WITHIN_SECONDS for since in self._unlisted_since.values()):
            return
        before = set(self.unmatched)
        self.unmatched = self.unmatched_now()
        for matcher in self.unmatched:
            if matcher not in before:
                fix = f"did you mean {matcher.meant}?" if matcher.meant else "correct it, or remove it."
                advice = f"It matches nothing that is known: {fix}"
                _log.warning("matcher.unmatched", where=matcher.where, matcher=matcher.name, pattern=matcher.pattern, advice=advice)

    def unmatched_now(self) -> tuple[UnmatchedMatcher, ...]:
        """The matchers that match none of the present connections."""
        found = unmatched(self.config.matches(), self.connections())
        return tuple(replace(matcher, meant=self._meant(matcher), **self._as_written(matcher)) for matcher in found)

    def _as_written(self, matcher: UnmatchedMatcher) -> Mapping[str, str]:
        """Key and pattern as the configuration has them: names of users, and the keys of selectors."""
        if matcher.name != "user":
            return {}
        users = self.config.users
        pattern = "|".join(users.get(choice, choice) for choice in matcher.pattern.split("|"))
        return {"pattern": pattern, "name": "user_id" if matcher.where.startswith("connections ") else "user"}

    def _meant(self, matcher: UnmatchedMatcher) -> str:
        """What to write instead: the id of what the API or the configuration calls so, or the nearest known value; empty if none is near."""
        known = known_values(self.connections())
        words = {value: value for value in known.get(matcher.name, ())}
        if matcher.name == "user":
            words |= {name: name for name in self.config.users.values()}
        if matcher.name == "connection":
            for connection in self.connections():
                for name in self._names_of(connection):
                    words[name] = f"{words[name]}|{connection.platform_id}" if name in words else connection.platform_id
        choices = [choice.strip() for choice in matcher.pattern.split("|")]
        close = {choice: nearest(choice, sorted(filter(None, words))) for choice in choices}
        right = {choice: words[word] for choice, word in close.items() if word is not None}
        if matcher.name == "connection":
            platforms = known["platform"]
            right = {choice: other for choice in choices if (other := with_platform(choice, platforms)) is not None} | right
        return "|".join(dict.fromkeys(right.get(choice, choice) for choice in choices)) if right else ""

    def find_loads(self) -> None:
        """Add up the checks of each account, and log when an account newly has more than it may send."""
        before = {load.account for load in self.loads if load.too_many}
        specs = (connection.spec for connection in self._connections.values())
        self.loads = tuple(account_loads(specs, self.config.requests_per_second))
        for load in self.loads:
            if load.too_many and load.account not in before:
                advice = sentence(interval_advice(load))
                _log.warning("account.overloaded", account=load.account, problem=load_text(load), advice=advice)

    def add_notice(self, notification: Notification) -> None:
        """Keep a notice that something was lost for as long as its alert lasts; called after its commit."""
        lost = notification.type is EventType.INVENTORY_CHANGED and notification.severity is not Severity.INFO
        now = self.clock.now()
        self._notices = {subject: notice for subject, notice in self._notices.items() if now - notice.at < NOTICE_STANDS}
        if lost and now - notification.at < NOTICE_STANDS:
            self._notices[notification.incident.subject] = notification

    def count_unrouted(self) -> None:
        """Count a notification that no route matches; called after its commit."""
        self.unrouted += 1
        self.on_unrouted()

    def set_outbox(self, outbox: Mapping[str, OutboxView]) -> None:
        """Remember what every receiver has pending."""
        self.outbox = outbox

    def set_next_check(self, connection_id: int, due: float) -> None:
        """Remember when a connection is checked next, in seconds of the monotonic clock, for people."""
        self._next_checks[connection_id] = due
        self._changed.add(connection_id)

    def _next_check_at(self, connection_id: int) -> datetime | None:
        due = self._next_checks.get(connection_id)
        return None if due is None else self.clock.now() + timedelta(seconds=due - self.clock.monotonic())

    def notice_clock_jump(self) -> None:
        """Watch afresh from now if the wall clock was set, the machine was suspended, or the process stood still."""
        self.watching_since = self._continuity.since(self._longest_pause())

    def beat(self) -> None:
        """The process runs; called every second or so."""
        if self._renamed and self.find_names():
            self.find_unmatched()
        self.watching_since = self._continuity.beat(self._longest_pause())

    def _longest_pause(self) -> float:
        """After how many seconds without a beat the process stood still: a small part of the time that makes evidence stale."""
        return min(LONGEST_PAUSE_SECONDS, self.config.policy.stale_for(self.config.policy.interval).total_seconds() / 3)

    def rounding_key(self) -> str:
        """Under which name the database keeps what is known of the API's rounding."""
        return f"rounding:{self.config.api_host}"

    def find(self, key: tuple[str, str, str]) -> Connection | None:
        """The monitored connection with this account, managed user and platform id."""
        return next((connection for connection in self.connections_of(key[0]) if connection.key == key), None)

    def open_incidents(self) -> int:
        """How many incidents are open."""
        self._view(self.clock.now())
        return sum(map(len, self._viewed.incidents.values())) + len(self._viewed.open_scopes)

    def snapshot(self, now: datetime) -> Snapshot:
        """The whole picture at *now*; its cost grows with what has changed since the last one."""
        self._view(now)
        viewed = self._viewed
        incidents = list(chain.from_iterable(viewed.incidents.values()))
        incidents += [incident for key in viewed.open_scopes for incident in scope_incidents(self.scope(key), self.config.policy)]
        incidents.sort(key=lambda item: item.incident.opened_at)
        return Snapshot(
            taken_at=now,
            connections=viewed.in_order(),
            incidents=tuple(incidents),
            accounts={name: self._account_up(name, known=name in viewed.proven) for name in self.config.accounts},
            api_up=self._api_up(known=bool(viewed.proven)),
            storage_up=self.storage_up,
            outbox={rule.name: self.outbox.get(rule.name, OutboxView()) for rule in self.config.receivers},
            unmatched=self.unmatched,
            unrouted=self.unrouted,
            loads=self.loads,
            users=self.config.users,
            suspected=tuple(view for scope in self.scopes().values() if (view := suspected_scope(scope)) is not None),
            controls=self.controls,
            storage_failure=self._storage_failure(now),
            heartbeat=self.heartbeat,
            notices=tuple(notice for notice in self._notices.copy().values() if now - notice.at < NOTICE_STANDS),
        )

    def _storage_failure(self, now: datetime) -> StorageFailure | None:
        failure = self.storage_failure
        return failure and replace(failure, lasting=now - failure.since >= self.config.policy.scopes.open_after)

    def _view(self, now: datetime) -> None:
        """Bring the views in line with what is known: those that changed, or all when something above them changed."""
        viewed, changed = self._viewed, self._changed.copy()
        # Before the values are read: what changes meanwhile is viewed again.
        self._changed.difference_update(changed)
        open_scopes = frozenset(key for key in self._unsettled.copy() if self.scope(key).open)
        known: Mapping[int, ConnectionView] = viewed.views
        ids: Collection[int] = changed
        if viewed.order is not self._order or viewed.config is not self.config:
            self._viewed = viewed = _Viewed(self._order, self.config)
            ids = viewed.order
        elif open_scopes != viewed.open_scopes:
            ids = viewed.order
        viewed.open_scopes = open_scopes
        suppressing: dict[ScopeKey, str | None] = {}
        for connection_id in ids:
            connection = self._connections.get(connection_id)
            if connection is not None:
                suppressed_by = self._suppressed_by(connection, suppressing, now) if open_scopes else None
                view = ConnectionView(connection, self.state(connection_id), suppressed_by, self._next_check_at(connection_id))
                viewed.put(view, known.get(connection_id))
        if ids:
            viewed.connections = None

    def _suppressed_by(self, connection: Connection, known: dict[ScopeKey, str | None], now: datetime) -> str | None:
        """The scope whose incident hides the state of *connection*; *known* remembers it for those that have the same scopes."""
        above, policy = self.scopes_above(connection), self.config.policy
        if above.group not in known or self.scope(above.platform).open or self.scope(above.group).open:
            state, since = self.state(connection.id), self.watching_since_of(connection.account)
            context = scope_context(connection, state, above, self._scopes, since, now, policy, policy.api_window)
            key = hiding_scope(context, self._scopes)
            known[above.group] = str(key) if key is not None else None
        return known[above.group]

    def _account_up(self, name: str, *, known: bool) -> bool | None:
        state = self.scope(ScopeKey(ACCOUNT, name))
        if state.open:
            return False
        return True if known and state.suspect_at is None else None

    def _api_up(self, *, known: bool) -> bool | None:
        if self.scope(self.api_key).open:
            return False
        return True if known else None


def _names_in(state: ConnectionState) -> tuple[str | None, str | None]:
    return state.display_name, state.username


class _Viewed:
    """
    The views of the last snapshot; the object of a connection stays the same until something about it changes.

    Attributes:
        order, config: of which connections and policy.
        views: connection id -> view, in this order.
        incidents: connection id -> its open incidents; without those that have none.
        open_scopes: the scopes with an open incident.
        proven: the accounts of which a check was conclusive.
    """

    def __init__(self, order: Sequence[int] = (), config: EvaluationConfig | None = None) -> None:
        self.order = order
        self.config = config
        self.views: dict[int, ConnectionView] = {}
        self.connections: tuple[ConnectionView, ...] | None = None
        self.incidents: dict[int, list[IncidentView]] = {}
        self.open_scopes: frozenset[ScopeKey] = frozenset()
        self.proven: set[str] = set()

    def in_order(self) -> tuple[ConnectionView, ...]:
        """The views; the same object until one of them changes."""
        if self.connections is None:
            self.connections = tuple(self.views.values())
        return self.connections

    def put(self, view: ConnectionView, before: ConnectionView | None) -> None:
        """Take over *view*, or the one *before* it when both show the same."""
        connection, state = view.connection, view.state
        if before is None or not before.shows(view):
            before = view
        self.views[connection.id] = before
        incidents = incidents_of(view, self.config.policy) if state.topics and self.config is not None else []
        if incidents:
            self.incidents[connection.id] = incidents
        else:
            self.incidents.pop(connection.id, None)
        if state.last_evidence_at is not None:
            self.proven.add(connection.spec.account)
