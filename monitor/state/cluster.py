"""What a node of a cluster holds in memory: the accounts that it tends, and, if it tends `global`, a replica of everything."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import cast

from monitor.clock import Clock
from monitor.db import Reader, Store, last_notifications, read_connections, read_states
from monitor.db.cluster.findings import FindingsRow, put_board, put_findings, read_board, read_scope_rows, take_findings
from monitor.domain.cluster.findings import Board, Finding
from monitor.domain.connections import Connection
from monitor.domain.evaluation import Evaluation
from monitor.domain.events import REMOVED, EventType, IncidentRef, Topic
from monitor.domain.replies.checks import Observation, Verdict
from monitor.domain.scopes import platform as platform_scope
from monitor.domain.scopes.api import is_bad
from monitor.domain.scopes.key import ACCOUNT_KINDS, API, GROUP, PLATFORM, STORAGE, ScopeKey, ScopesAbove
from monitor.domain.scopes.state import ScopeState, clear, closed
from monitor.domain.states import ConnectionState
from monitor.domain.usual_case import resumed
from monitor.domain.views.snapshot import IncidentView, scope_incidents
from monitor.errors import Reason
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from monitor.state.unit_of_work import UnitOfWork, unit_of_work

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_COUNTED = frozenset({API, PLATFORM})
_STALE_SECONDS = 5.0
_APPLIED_KEPT = 100
_SERVED_KEPT = 2
_HELD_LONGER = timedelta(seconds=15)


def node_config(config: EvaluationConfig, lease: timedelta) -> EvaluationConfig:
    """*config* for a node: it holds notifications of a suspected platform until `global` has decided, also through a takeover."""
    scopes = config.policy.scopes
    scopes = replace(scopes, sweep=scopes.sweep + (lease + _HELD_LONGER) / 2)
    return replace(config, policy=replace(config.policy, scopes=scopes))


class AccountRegistry(Registry):
    """
    The accounts that a node tends.

    Attributes:
        holder: this process, as others know it.
        signs: the platforms with a first failure here, each with the number of the findings with it.
        sent: the number of the last findings.
        failing_since: since when the API has answered none of the accounts; None while it answers.
    """

    def __init__(self, config: EvaluationConfig, clock: Clock, holder: str) -> None:
        super().__init__(config, clock)
        self.holder = holder
        self.board = Board()
        self.signs: dict[ScopeKey, int] = {}
        self.sent = 0
        self.failing_since: datetime | None = None
        self.make_unit = partial(NodeUnit, self)
        self._started = self.watching_since
        self._tended: dict[str, datetime] = {}
        self._board_at = clock.monotonic()

    def load(self, reader: Reader) -> None:
        """Take in the wide scopes; the accounts are loaded when they are taken."""
        self.restore({}, [scope for key, (_, scope) in read_scope_rows(reader).items() if not self.decides(key) or key == STORAGE])
        self._load_settings(reader)
        self.board = read_board(reader)

    def decides(self, key: ScopeKey) -> bool:
        """Whether the scope belongs to an account."""
        return (key.kind in ACCOUNT_KINDS and key.kind != GROUP) or key == STORAGE

    def followed(self, above: ScopesAbove) -> frozenset[ScopeKey]:
        """The wide scopes above a connection."""
        return frozenset((above.api, above.platform, above.group))

    def served_elsewhere_at(self, account: str, _scope: Callable[[ScopeKey], ScopeState]) -> datetime | None:
        """When another account was last answered, as the node of `global` tells."""
        return max((at for other, at in self.board.served.items() if other != account), default=None)

    def member_count(self, key: ScopeKey) -> int:
        """How many monitored connections are below a scope; of a wide one as the node of `global` tells."""
        own = super().member_count(key)
        return max(own, self.board.counts.get(str(key), 0)) if key.kind in _COUNTED else own

    def watching_since_of(self, account: str) -> datetime:
        """Since when the account is tended without a gap, by this node or the ones before it."""
        jumped = self.watching_since if self.watching_since > self._started else _LONG_AGO
        return max(self._tended.get(account, self.watching_since), jumped)

    def find_unmatched(self) -> None:
        """Nothing: the node of `global` knows all connections."""

    def tend(self, account: str, rows: "AccountRows", since: datetime) -> None:
        """Take in an account that is tended without a gap *since* then."""
        self._tended[account] = since
        self._states |= {number: state for number, (_, state) in rows.states.items()}
        self.versions |= {number: version for number, (version, _) in rows.states.items()}
        self.scope_versions |= {key: version for key, (version, _) in rows.scopes.items()}
        self._commit_scopes({key: scope for key, (_, scope) in rows.scopes.items()})
        self._evaluated_version = -1
        for notice in rows.notices:
            self.add_notice(notice)
        self.set_connections(rows.connections, account=account)

    def forget(self, account: str) -> None:
        """Drop an account that is tended no longer."""
        numbers = [connection.id for connection in self.connections_of(account)]
        self.set_connections((), account=account)
        for number in numbers:
            self._states.pop(number, None)
            self.versions.pop(number, None)
        for key in [key for key in self.scopes() if key.account == account]:
            del self._scopes[key]
            self.scope_versions.pop(key, None)
            self._unsettled.discard(key)
            self._unquiet.discard(key)
        self._tended.pop(account, None)

    def note_answers(self, entries: Iterable[Finding]) -> None:
        """Note which of *entries* show that the API answers, and which that it does not."""
        for finding in entries:
            if finding.at is not None and finding.reason is not None:
                self.failing_since = (self.failing_since or finding.at) if is_bad(finding.reason) else None

    def fails_alone(self, longer_than: timedelta) -> bool:
        """Whether the API has answered none of the accounts for long, but accounts of other nodes meanwhile."""
        since = self.failing_since
        if since is None or not self._tended or self.clock.now() - since < longer_than:
            return False
        return any(at > since for account, at in self.board.served.items() if account not in self._tended)

    def differs_from(self, board: Board) -> bool:
        """Whether *board* has something new of scopes, or nothing was published for so long that the API counts as suspected."""
        if board.number == self.board.number:
            return self._is_stale() and not self._api_suspected()
        published = {scope.key: scope for scope in board.scopes}
        return any(self.scope(key) != scope for key, scope in published.items()) or not published.keys() >= self._open_wide()

    def note_board(self, board: Board) -> None:
        """Remember *board* when it is new."""
        if board.number != self.board.number:
            self.board, self._board_at = board, self.clock.monotonic()

    def _is_stale(self) -> bool:
        longest = min(_STALE_SECONDS, self.config.policy.scopes.open_after.total_seconds() / 2)
        return self.clock.monotonic() - self._board_at > longest

    def _api_suspected(self) -> bool:
        scope = self.scope(self.api_key)
        return scope.open or scope.suspect_at is not None

    def _open_wide(self) -> set[ScopeKey]:
        """The wide scopes that are not quiet here."""
        return {key for key in self.unquiet() if not self.decides(key)}

    def to_follow(self, board: Board, reader: Reader) -> Mapping[ScopeKey, ScopeState]:
        """
        The wide scopes that change with *board*; those that are quiet again are read from their rows.

        A platform that is suspected for a failure seen here stays so until that was applied. While nothing is published, the API counts as
        suspected: a narrower cause must not overtake it.
        """
        if board.number == self.board.number:
            api = self.scope(self.api_key)
            # Without a reason: no check of the API failed, so none is made to find out.
            assumed = replace(api, suspect_at=self.clock.now(), reason=None, detail="")
            return {self.api_key: assumed} if self._is_stale() and not self._api_suspected() else {}
        published = {scope.key: scope for scope in board.scopes}
        quiet = self._open_wide() - published.keys()
        rows = read_scope_rows(reader) if quiet else {}
        published |= {key: rows[key][1] if key in rows else clear(key) for key in quiet}
        applied = board.applied.get(self.holder, -1)
        self.signs = {key: number for key, number in self.signs.items() if number > applied}
        return {key: scope for key, scope in published.items() if key not in self.signs and scope != self.scope(key)}


class AccountRows:
    """The rows of one account: its connections, states and scopes with their versions, and notices."""

    def __init__(self, reader: Reader, account: str) -> None:
        self.connections = read_connections(reader, account=account)
        self.states = read_states(reader, account)
        self.scopes = {key: row for key, row in read_scope_rows(reader).items() if key.account == account and key.kind != GROUP}
        last = last_notifications(reader, EventType.INVENTORY_CHANGED)
        self.notices = [one for one in last if ScopeKey.parse(one.incident.subject).account == account]


def follow(registry: AccountRegistry, board: Board, store: Store) -> None:
    """Take over the wide scopes from *board*."""
    cast("NodeUnit", unit_of_work(registry, store)).follow(board)


class NodeUnit(UnitOfWork):
    """One write transaction of a node over its accounts; what it finds is sent to the node of `global` in the same transaction."""

    def __init__(self, registry: AccountRegistry, store: Store) -> None:
        super().__init__(registry, store)
        self._node = registry
        self._findings: list[Finding] = []
        self._signs: set[ScopeKey] = set()
        self._number = 0
        store.before_commit(self._tell)

    def publish(self) -> None:
        """Hand the committed changes to the registry."""
        self._node.signs |= dict.fromkeys(self._signs, self._number)
        self._node.note_answers(self._findings)
        super().publish()

    def record_check(self, observation: Observation) -> Evaluation | None:
        """Record one check and all that follows, and tell of it."""
        connection = self._node.connection(observation.connection_id)
        before = self._changes.state(observation.connection_id)
        evaluation = super().record_check(observation)
        if evaluation is None or connection is None or evaluation.state is None:
            return evaluation
        platform = ScopeKey(PLATFORM, connection.platform)
        suspected = self._changes.scope(platform).suspect_at is not None
        sign = suspected and not evaluation.usual and platform_scope.is_sign(before, evaluation.state)
        if sign:
            self._signs.add(platform)
        verdict = observation.verdict
        finding = Finding(connection.id, connection.account, "", observation.at, verdict.reason, verdict.detail, sign=sign)
        self._findings.append(finding)
        return evaluation

    def record_account_result(self, account: str, user_id: str, observation: Observation) -> None:
        """Record the result of an account-level request, and tell of it."""
        super().record_account_result(account, user_id, observation)
        verdict = observation.verdict
        self._findings.append(Finding(0, account, user_id, observation.at, verdict.reason, verdict.detail))

    def record_outage(self, outage: ScopeState, notified: Collection[str]) -> None:
        """Record an incident of the storage; of one that another node has recorded, the receivers *notified* get the end that it did not tell."""
        self._scope_versions[STORAGE], stored = read_scope_rows(self._store).get(STORAGE, (0, clear(STORAGE)))
        if stored.topic.number == outage.topic.number:
            outbox = self._store.outbox
            incident = IncidentRef(Topic.SCOPE, str(STORAGE), stored.topic.number, self.now())
            notified = set(notified).difference(outbox.receivers_notified(outbox.key_of(incident) or ""))
            if not notified:
                return
        super().record_outage(outage, notified)

    def note_relisted(self, account: str) -> None:
        """Tell that other connections of *account* are watched."""
        self._findings.append(Finding(account=account, relisted=True))

    def follow(self, board: Board) -> None:
        """Take over the wide scopes from *board*."""
        for key, scope in self._node.to_follow(board, self._store).items():
            self._changes.apply(Evaluation(None, None, {key: scope}))

    def _save_state(self, connection_id: int, version: int, state: ConnectionState) -> None:
        super()._save_state(connection_id, version, state)
        self._findings.append(Finding(connection_id, state=state))

    def _save_scope(self, key: ScopeKey, state: ScopeState) -> None:
        super()._save_scope(key, state)
        self._findings.append(Finding(scope=state))

    def _tell(self) -> None:
        if self._findings:
            self._node.sent += 1
            self._number = self._node.sent
            put_findings(self._store, FindingsRow(self._node.holder, self._number, self._findings))


class GlobalRegistry(Registry):
    """
    A replica of everything, by which the wide scopes are decided.

    Attributes:
        board: what was published last.
        relisted: accounts whose connections are to be read again.
        retired: accounts that left the configuration, and that no node tends.
    """

    def __init__(self, config: EvaluationConfig, clock: Clock, since: datetime) -> None:
        super().__init__(config, clock)
        self.board = Board()
        self.relisted: set[str] = set()
        self.retired: set[str] = set()
        self.make_unit = partial(GlobalUnit, self)
        self._started, self._since = self.watching_since, since
        self.watching_since = since

    def load(self, reader: Reader) -> None:
        """Fill memory from all rows."""
        super().load(reader)
        self.set_connections(read_connections(reader))
        self.board = read_board(reader)

    def notice_clock_jump(self) -> None:
        """Watch afresh from now if the wall clock was set, the machine was suspended, or the process stood still."""
        super().notice_clock_jump()
        self._continue()

    def beat(self) -> None:
        """The process runs; called every second or so."""
        super().beat()
        self._continue()

    def _continue(self) -> None:
        if self.watching_since <= self._started:
            self.watching_since = self._since

    def decides(self, key: ScopeKey) -> bool:
        """Whether the scope is wide, or of a retired account."""
        if key.kind in ACCOUNT_KINDS and key.kind != GROUP:
            return key.account in self.retired
        return key != STORAGE

    def followed(self, above: ScopesAbove) -> frozenset[ScopeKey]:
        """The scopes of the account above a connection."""
        return frozenset(key for key in above.all if not self.decides(key))

    def served_elsewhere_at(self, account: str, _scope: Callable[[ScopeKey], ScopeState]) -> datetime | None:
        """When another account was last answered."""
        return max((at for other, at in self.board.served.items() if other != account), default=None)

    def next_evaluation_at(self) -> datetime | None:
        """When the passing of time may next change a wide scope."""
        return self._scopes_due_at()

    def due_connections(self, _now: datetime, _limit: int | None = None) -> list[Connection]:
        """None: the nodes of the accounts evaluate them."""
        return []

    def wide_incidents(self) -> Iterable[IncidentView]:
        """The open incidents of wide scopes."""
        return [
            incident for key, scope in self.scopes().items() if self.decides(key) for incident in scope_incidents(scope, self.config.policy)
        ]

    def api_answers(self) -> bool | None:
        """Whether the API answers; None while unknown."""
        return self._api_up(known=bool(self.board.served))

    def next_board(self, applied: Mapping[str, int], served: Mapping[str, datetime]) -> Board:
        """The next board."""
        platforms = (ScopeKey(PLATFORM, name) for name in self._indexes.by_platform)
        counts = {str(key): self.member_count(key) for key in (self.api_key, *platforms)}
        wide = (self.scope(key) for key in sorted(self.unquiet()) if key.kind == GROUP or not key.account)
        scopes = tuple(replace(scope, buckets=()) for scope in wide if self.decides(scope.key))
        return Board(self.board.number + 1, applied, served, counts, scopes)


def apply_findings(registry: GlobalRegistry, store: Store) -> bool:
    """Apply what the nodes found; returns whether there may be more."""
    unit = cast("GlobalUnit", unit_of_work(registry, store))
    rows, more = take_findings(store)
    for row in rows:
        unit.apply_findings(row)
    return more


def publish_board(registry: GlobalRegistry, store: Store) -> None:
    """Publish to all nodes how the wide scopes are."""
    board = registry.next_board(registry.board.applied, registry.board.served)
    put_board(store, board)
    store.after_commit(lambda: setattr(registry, "board", board))


def retire_account(registry: GlobalRegistry, account: str, store: Store) -> None:
    """Stop monitoring an account that left the configuration, and that no node tends."""
    registry.retired.add(account)
    cast("GlobalUnit", unit_of_work(registry, store)).retire_account(account)


class GlobalUnit(UnitOfWork):
    """One write transaction over the replica."""

    def __init__(self, registry: GlobalRegistry, store: Store) -> None:
        super().__init__(registry, store)
        self._replica = registry
        self._applied: dict[str, int] = {}
        self._served: dict[str, datetime] = dict(registry.board.served)
        self._relisted: set[str] = set()

    def publish(self) -> None:
        """Hand the committed changes to the registry."""
        board = self._replica.board
        applied = {**{member: number for member, number in board.applied.items() if member not in self._applied}, **self._applied}
        latest = sorted(self._served.items(), key=lambda item: item[1])[-_SERVED_KEPT:]
        self._replica.board = replace(board, applied=dict(list(applied.items())[-_APPLIED_KEPT:]), served=dict(latest))
        self._replica.relisted |= self._relisted
        super().publish()

    def apply_findings(self, row: FindingsRow) -> None:
        """Apply what one transaction of a node found."""
        self._applied[row.member] = row.number
        for finding in row.entries:
            self._apply_finding(finding)

    def _apply_finding(self, finding: Finding) -> None:
        if finding.relisted:
            self._relisted.add(finding.account)
        if finding.scope is not None:
            self._changes.apply(Evaluation(None, None, {finding.scope.key: finding.scope}))
        if finding.state is not None:
            self._changes.states[finding.connection_id] = finding.state
        if finding.at is None or finding.reason is None:
            return
        if finding.connection_id:
            before = self._changes.state(finding.connection_id)
            self._changes.states[finding.connection_id] = resumed(before, finding.at, finding.detail)
        observation = Observation(finding.connection_id, finding.at, finding.at, Verdict(finding.reason, finding.detail))
        self._save(self._changes.account_result(finding.account, finding.user_id, observation))
        if not is_bad(finding.reason) and finding.reason is not Reason.API_VALIDATOR_FAILED:
            self._served[finding.account] = max(finding.at, self._served.get(finding.account, finding.at))
        if finding.sign:
            self._suspect(observation)

    def _suspect(self, sign: Observation) -> None:
        """A connection fails for the first time: its platform is looked at."""
        connection, policy, at = self._replica.connection(sign.connection_id), self._replica.config.policy, sign.at
        if connection is None:
            return
        key = ScopeKey(PLATFORM, connection.platform)
        if self._replica.member_count(key) >= policy.scopes.platform_count:
            self.change_scope(key, lambda state: platform_scope.suspected(state, sign.verdict, at, policy.scopes, policy.api_window), at)

    def retire_account(self, account: str) -> None:
        """Stop monitoring the connections of *account*: what is open about it and them closes."""
        rows, now = AccountRows(self._store, account), self.now()
        self._versions |= {number: version for number, (version, _) in rows.states.items()}
        self._scope_versions |= {key: version for key, (version, _) in rows.scopes.items()}
        self._changes.states |= {number: state for number, (_, state) in rows.states.items()}
        for key, (_, scope) in rows.scopes.items():
            self._changes.apply(Evaluation(None, None, {key: scope}))
            self.change_scope(key, partial(closed, now=now, why=REMOVED), now)
        for connection in rows.connections:
            self.retire(connection, now)
        self._store.retire([connection.id for connection in rows.connections], now)
