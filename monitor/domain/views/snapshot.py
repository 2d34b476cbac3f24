"""The immutable snapshot for metrics, pages and command line."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from monitor.domain.connections import Connection
from monitor.domain.copies import quick_init
from monitor.domain.events import FINE, IncidentRef, Notification, Severity, Topic
from monitor.domain.expiry.estimate import best_estimate
from monitor.domain.expiry.levels import EXPIRED
from monitor.domain.load import AccountLoad
from monitor.domain.notifications import build
from monitor.domain.notifications.timing import escalation_at
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health, Scope
from monitor.domain.routing.matchers import UnmatchedMatcher
from monitor.domain.scopes.key import API, GROUP, LIMIT, PLATFORM, RATE, SERVICE, STORAGE, ScopeKey
from monitor.domain.scopes.state import ScopeState
from monitor.domain.silencing.controls import NO_CONTROLS, Controls
from monitor.domain.states import ConnectionState, TopicState
from monitor.errors import Reason


@quick_init
@dataclass(frozen=True, slots=True)
class ConnectionView:
    """
    One connection with its state.

    Attributes:
        suppressed_by: the scope with an open incident above it, or None.
        outdated: there is no fresh evidence that it works (`as_known`).
    """

    connection: Connection
    state: ConnectionState
    suppressed_by: str | None = None
    next_check_at: datetime | None = None
    outdated: bool = False

    @property
    def frozen(self) -> bool:
        """Whether its state is not known now, because the scope above it cannot be used; below a failing platform it is."""
        return self.suppressed_by is not None and not self.suppressed_by.startswith(f"{PLATFORM}:")

    @property
    def unknown_now(self) -> bool:
        """Whether only its last known state can be shown: below a failing platform, and what is not testable, are known."""
        health = self.state.health
        return (self.frozen and health is not Health.UNSUPPORTED) or (self.outdated and health is Health.OK)

    def shows(self, other: "ConnectionView") -> bool:
        """Whether *other* is a view of the same values; states are compared as objects."""
        return (
            self.state is other.state
            and self.connection is other.connection
            and self.suppressed_by == other.suppressed_by
            and self.next_check_at == other.next_check_at
        )


@dataclass(frozen=True, slots=True)
class SuspectedScope:
    """
    A scope that seems to fail and has no incident yet.

    Attributes:
        subject: such as `api:api.postpost.dev`.
        since: the first failure; of an API when the first request that failed was sent.
        reason: of the last failure; None while only their number is known.
    """

    scope: Scope
    subject: str
    since: datetime
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class HeartbeatView:
    """Heartbeats: why the last one was not accepted or is withheld, empty if it was, and when one was accepted last, as far as is known."""

    problem: str = ""
    accepted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StorageFailure:
    """The database takes no writes: since when, its own message, and whether that has lasted until it is notified."""

    since: datetime
    problem: str = ""
    lasting: bool = False


@quick_init
@dataclass(frozen=True, slots=True)
class IncidentView:
    """
    One open incident.

    Attributes:
        notified: the level that the receivers were notified of, by itself; `fine` when they were not, or another incident said it.
        connection: the one that it is about, as far as it is in memory.
        escalates_at: when it is escalated next, unless it is acknowledged; None: never.
    """

    incident: IncidentRef
    scope: Scope
    connection_id: int | None
    level: str
    severity: Severity
    reason: Reason | None
    detail: str
    connection: Connection | None = field(default=None, compare=False, repr=False)
    notified: str = FINE
    escalates_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class OutboxView:
    """
    The pending deliveries of one receiver: their number, and when the oldest one was decided.

    Attributes:
        disabled: it answered HTTP 410 several times in a row.
        failing_since: when the first of the failures in a row ended.
        in_trouble: it can't be relied on: disabled, or its outage was reported.
    """

    pending: int = 0
    oldest_at: datetime | None = None
    disabled: bool = False
    failing_since: datetime | None = None
    refusing: bool = False
    in_trouble: bool = False


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """
    A node of a cluster, and the cluster as it sees it.

    Attributes:
        node, version, config: its name, release and the hash of its configuration.
        config_current: whether that is the configuration of the cluster.
        free: how many have no node; None where another one tends `global`.
        lease_remaining: for how many seconds it may send requests without another commit.
        queue_up: whether it waits for jobs.
        nodes_lost: how many leases it found to have run out.
    """

    node: str
    version: str
    config: str
    config_current: bool
    nodes: int
    shards: int
    free: int | None
    lease_remaining: float
    queue_up: bool
    nodes_lost: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    Everything at one moment.

    Attributes:
        connections: ordered by account label, platform and id.
        accounts: account name to whether the API accepts its key; None while unknown.
        api_up: whether the API answers; None while unknown.
        suspected: the scopes that seem to fail, without an incident yet.
        unmatched: matchers of routes and silences that match nothing known.
        unrouted: how many notifications no route matched, since the start.
        loads: what the checks of each account need, and may use.
        users: names of managed users by id.
        storage_failure: why the database takes no writes, and since when; None while it does.
        notices: what was lost lately, without an incident.
        untended: the shards of a cluster that no node tends.
        active: names the instance that is active while this one is a standby; "" otherwise.
        heartbeat: the heartbeats; None without, or before the first is due.
    """

    taken_at: datetime
    connections: tuple[ConnectionView, ...] = ()
    incidents: tuple[IncidentView, ...] = ()
    accounts: Mapping[str, bool | None] = field(default_factory=dict)
    api_up: bool | None = None
    storage_up: bool = True
    outbox: Mapping[str, OutboxView] = field(default_factory=dict)
    suspected: tuple[SuspectedScope, ...] = ()
    controls: Controls = NO_CONTROLS
    unmatched: tuple[UnmatchedMatcher, ...] = ()
    unrouted: int = 0
    loads: tuple[AccountLoad, ...] = ()
    users: Mapping[str, str] = field(default_factory=dict)
    storage_failure: StorageFailure | None = None
    notices: tuple[Notification, ...] = ()
    untended: tuple[str, ...] = ()
    active: str = ""
    heartbeat: HeartbeatView | None = None
    cluster: ClusterFacts | None = None

    @property
    def owns_global(self) -> bool:
        """Whether what exists once is exported of it: not of a node while another one tends `global`."""
        return self.cluster is None or self.cluster.free is not None

    @property
    def storage_problem(self) -> StorageFailure | None:
        """Why the database takes no writes; None while it does."""
        return None if self.storage_up else self.storage_failure or StorageFailure(self.taken_at)

    @property
    def evidence_at(self) -> datetime | None:
        """The newest conclusive check."""
        return max(filter(None, [view.state.last_evidence_at for view in self.connections]), default=None)

    @property
    def stale(self) -> bool:
        """Whether no check has given an answer for long."""
        evidence_at = self.evidence_at
        if evidence_at is None or self.taken_at - evidence_at <= _FRESH_MINIMUM:
            return False
        return self.taken_at - evidence_at > _FRESH_INTERVALS * min([view.connection.spec.interval for view in self.connections])

    def shows(self, other: "Snapshot") -> bool:
        """Whether *other* shows the same, but for the time; connections are compared as objects."""
        return self.connections is other.connections and replace(self, taken_at=other.taken_at, connections=()) == replace(
            other, connections=()
        )


_FRESH_INTERVALS = 3
_FRESH_MINIMUM = timedelta(minutes=30)


def as_known(snapshot: Snapshot) -> Snapshot:
    """
    *snapshot* as it is shown: with tokens that have ended since the last check, and every connection marked whose state is not known now.

    Nothing works without fresh evidence: while the database takes no writes, while a scope above it is suspected, and when no check has
    given an answer for long.
    """
    snapshot = _with_ended_tokens(snapshot)
    if not snapshot.storage_up:
        marked = [view if view.frozen else replace(view, suppressed_by=str(STORAGE)) for view in snapshot.connections]
    elif (stale := snapshot.stale) or snapshot.suspected:
        marked = [
            replace(view, outdated=True)
            if stale or any(is_above(scope.scope, scope.subject, view.connection) for scope in snapshot.suspected)
            else view
            for view in snapshot.connections
        ]
    else:
        return snapshot
    return replace(snapshot, connections=tuple(marked))


def _with_ended_tokens(snapshot: Snapshot) -> Snapshot:
    """*snapshot* with the level `expired` where the end of the token has passed since it was last evaluated."""
    ending = {each.connection_id for each in snapshot.incidents if each.incident.topic is Topic.EXPIRY and each.level != EXPIRED}
    ended = {view.connection.id: view for view in snapshot.connections if view.connection.id in ending and _has_ended(view, snapshot)}
    if not ended:
        return snapshot
    incidents = [
        replace(each, level=EXPIRED) if each.connection_id in ended and each.incident.topic is Topic.EXPIRY else each
        for each in snapshot.incidents
    ]
    views = [_with_ended_token(view) if view.connection.id in ended else view for view in snapshot.connections]
    return replace(snapshot, connections=tuple(views), incidents=tuple(incidents))


def _has_ended(view: ConnectionView, snapshot: Snapshot) -> bool:
    ends_at = best_estimate(view.state.token)
    return ends_at is not None and ends_at <= snapshot.taken_at


def _with_ended_token(view: ConnectionView) -> ConnectionView:
    topics = view.state.topics
    expiry = replace(view.state.topic(Topic.EXPIRY), level=EXPIRED)
    return replace(view, state=replace(view.state, topics={**topics, Topic.EXPIRY: expiry}))


def is_above(scope: Scope, subject: str, connection: Connection) -> bool:
    """Whether the scope, an incident's *subject*, is one of those that the state of *connection* depends on."""
    names = {connection.account, f"{connection.account}/{connection.user_id}"}
    return (
        scope is Scope.API
        or subject == f"{PLATFORM}:{connection.platform}"
        or (scope in (Scope.ACCOUNT, Scope.USER) and ScopeKey.parse(subject).path in names)
    )


def incidents_of(view: ConnectionView, policy: Policy) -> list[IncidentView]:
    """Return the open incidents of one connection."""
    state, connection = view.state, view.connection
    return [
        IncidentView(
            IncidentRef(topic, str(connection.id), value.number, value.opened_at),
            Scope.CONNECTION,
            connection.id,
            value.level,
            build.severity_of(connection, state, topic, policy),
            *build.reason_and_detail(state, topic),
            connection,
            _notified(value),
            escalation_at(value, policy),
        )
        for topic, value in state.topics.items()
        if value.level != FINE and value.opened_at is not None
    ]


def scope_incidents(state: ScopeState, policy: Policy) -> list[IncidentView]:
    """Return the open incident of one scope, if any."""
    topic = state.topic
    if not state.open or topic.opened_at is None:
        return []
    incident = IncidentRef(Topic.SCOPE, str(state.key), topic.number, topic.opened_at)
    severity = build.severity(state)
    view = IncidentView(incident, state.scope, None, topic.level, severity, state.reason, state.detail, notified=_notified(topic))
    return [replace(view, escalates_at=escalation_at(topic, policy))]


def _notified(value: TopicState) -> str:
    return FINE if value.notified.merged else value.notified.level


_FAILURES_IN_A_ROW = 2


def suspected_scope(state: ScopeState) -> SuspectedScope | None:
    """The scope as suspected; None when it is not, or its incident is open. An API counts after the second failure in a row."""
    if state.open or state.kind in (PLATFORM, GROUP, RATE, LIMIT):
        return None
    streak = state.streak
    if state.suspect_at is not None:
        asked_at = streak.sent_at if streak is not None and state.kind in (API, SERVICE) else None
        return SuspectedScope(state.scope, state.name, min(asked_at or state.suspect_at, state.suspect_at), state.reason)
    if state.kind == API and streak is not None and streak.count >= _FAILURES_IN_A_ROW:
        return SuspectedScope(state.scope, state.name, streak.sent_at or streak.since)
    return None
