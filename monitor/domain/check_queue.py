"""Which connection of an account is checked next: by its schedule, as a canary, as a probe. Due times are monotonic seconds."""

import math
from collections.abc import Callable, Collection, Iterator
from datetime import datetime

from monitor.domain import schedule
from monitor.domain.connections import Connection
from monitor.domain.engine import Engine
from monitor.domain.evaluation import Evaluation
from monitor.domain.notifications.timing import needs_evaluation
from monitor.domain.schedule import DueQueue
from monitor.domain.scopes.key import ACCOUNT, API, SERVICE, USER, ScopeKey

# Scopes that let only canaries through while their incident is open.
_FREEZING = frozenset({API, ACCOUNT, USER, SERVICE})

CHECKED_OFTEN_SECONDS = 120.0
OFTEN_PAUSE_SECONDS = 5.0
"""How long, and how far apart, a connection is checked after an operator asked for it."""


class CheckQueue:
    """The due connections of one account."""

    def __init__(self, account: str, engine: Engine, on_scheduled: Callable[[int, float], None] = lambda _id, _due: None) -> None:
        self._account = account
        self._engine = engine
        self._on_scheduled = on_scheduled
        self._queue = DueQueue()
        self._in_flight: set[int] = set()
        self._canaries: dict[ScopeKey, float] = {}
        self._closures = engine.scope_closures
        self._sweeps = 0
        self._watching_since = engine.watching_since
        self._probed_suspicion: datetime | None = None
        self._often_until: dict[int, float] = {}
        self._brought_forward: tuple[object, ...] = ()

    def check_now(self, connection_id: int, now: float) -> None:
        """Check a connection next, and often for a while: an operator watches it."""
        self._often_until[connection_id] = now + CHECKED_OFTEN_SECONDS
        self._queue.hasten((connection_id,), now)
        self._on_scheduled(connection_id, now)

    def refresh(self, wall: datetime, now: float) -> None:
        """Schedule connections that are new and drop those that are no longer monitored."""
        # What was missed is due at the same moment: the longest unchecked goes first.
        own = {connection.id: connection for connection in sorted(self._connections(), key=self._last_check)}
        for connection in own.values():
            if connection.id not in self._queue and connection.id not in self._in_flight:
                state = self._engine.state(connection.id)
                first = schedule.first_due(connection, state, wall, self._engine.config.policy)
                self._put(connection.id, now + first.total_seconds())
        self._queue.keep(own)
        # An incident that was open before, perhaps until this very reload: find out at once whether it still is.
        probed: set[ScopeKey] = set()
        for connection in {(known.user_id, known.platform): known for known in own.values()}.values():
            probe = self._engine.probe_interval(connection)
            if probe is not None and probe[0] not in probed:
                probed.add(probe[0])
                self._probe(probe[0], connection, now)

    def take(self, now: float) -> tuple[Connection | None, float] | None:
        """The connection to check now (None: a scope lets only canaries through) and when it was due; None when nothing is due."""
        self._bring_forward(now)
        taken = self._queue.take(now)
        if taken is None:
            return None
        connection_id, due = taken
        connection = self._engine.connection(connection_id)
        admitted = self._admit(connection, now) if connection is not None else None
        if admitted is not None:
            self._in_flight.add(admitted.id)
        return admitted, due

    def is_due(self, now: float) -> bool:
        """Whether `take` has a connection at *now*."""
        self._bring_forward(now)
        due = self._queue.next_due()
        return due is not None and due <= now

    def checked(self, connection: Connection, now: float) -> None:
        """Schedule the regular next check of a taken connection: it stands until `recorded` knows better."""
        self._put(connection.id, now + connection.interval.total_seconds())

    def broken_off(self, connection: Connection, now: float) -> None:
        """A taken connection was not checked: it stays due."""
        self._put(connection.id, now)

    def finished(self, connection: Connection) -> None:
        """A taken connection is no longer in flight."""
        self._in_flight.discard(connection.id)

    def recorded(self, connection: Connection, evaluation: Evaluation, now: float) -> None:
        """Schedule what follows from the evaluation of a check."""
        if connection.id not in self._queue or evaluation.next_check is None:
            return
        self._put(connection.id, now + min(evaluation.next_check.total_seconds(), self._pause_while_often(connection.id, now)))
        if evaluation.canary is not None:
            self._canaries[evaluation.canary[0]] = now
        if evaluation.probe is not None:
            self._probe(evaluation.probe[0], connection, now + evaluation.probe[1].total_seconds())

    def is_checked_often(self, connection_id: int) -> bool:
        """Whether an operator watches the connection."""
        return connection_id in self._often_until

    def _pause_while_often(self, connection_id: int, now: float) -> float:
        """How soon an operator who watches the connection wants it checked again; infinite when none does."""
        until = self._often_until.get(connection_id)
        if until is not None and now < until:
            return OFTEN_PAUSE_SECONDS
        self._often_until.pop(connection_id, None)
        return math.inf

    def next_due(self) -> float | None:
        """When the first connection is due; None when none waits."""
        return self._queue.next_due()

    def _admit(self, connection: Connection, now: float) -> Connection | None:
        """The connection to check: *connection*, or as the scope's canary the least recently checked one; None if it is too early."""
        canary = self._engine.canary_interval(connection)
        if canary is None:
            return connection
        key, interval = canary
        last = self._canaries.get(key)
        if last is not None and now < last + interval.total_seconds():
            self._put(connection.id, last + interval.total_seconds())
            return None
        self._canaries[key] = now
        self._put(connection.id, now + interval.total_seconds())
        chosen = self._least_recently_checked(key, connection) or connection
        self._queue.discard(chosen.id)
        return chosen

    def _probe(self, key: ScopeKey, connection: Connection, due: float) -> None:
        """Schedule a probe of the scope *key* above *connection* at *due*, if none of its connections is due before."""
        other = self._least_recently_checked(key, connection)
        if other is not None and (self._queue.due_of(other.id) or due) > due:
            self._put(other.id, due)

    def _least_recently_checked(self, key: ScopeKey, connection: Connection) -> Connection | None:
        """Of the connections that wait below the scope *key* above *connection*, and that no other scope holds back."""
        user_id = connection.user_id if key.kind == USER else None
        below = (other for other in self._connections() if other.id in self._queue and user_id in (None, other.user_id))
        # Connections of one user and platform have the same scopes above them.
        held: dict[tuple[str, str], bool] = {}

        def is_held(other: Connection) -> bool:
            group = (other.spec.user_id, other.spec.platform)
            if group not in held:
                held[group] = (self._engine.canary_interval(other) or (key,))[0] != key
            return held[group]

        return min((other for other in below if not is_held(other)), key=self._last_check_mixed, default=None)

    def _recheck_after_scope_recovery(self, now: float) -> None:
        """After a scope incident closed: check everything below it again, the oldest evidence first, at the account's rate."""
        if self._closures == self._engine.scope_closures:
            return
        closures, self._closures = self._closures, self._engine.scope_closures
        closed = self._engine.closed_scopes_since(closures)
        frozen = {key for key in closed if key.kind in _FREEZING}
        platforms = {key for key in closed if key.platform}
        for key in frozen:
            self._canaries.pop(key, None)
        below = [other for other in self._connections() if self._is_rechecked(other, frozen, platforms)]
        below.sort(key=lambda one: _seconds(self._engine.state(one.id).last_evidence_at))
        self._queue.hasten((connection.id for connection in below), now)
        for connection in below:
            self._on_scheduled(connection.id, now)

    def _is_rechecked(self, connection: Connection, frozen: Collection[ScopeKey], platforms: Collection[ScopeKey]) -> bool:
        """Whether the connection is below a scope that froze it, or is broken below a platform or group."""
        above = self._engine.scopes_above(connection)
        if any(key in frozen for key in above.all):
            return True
        return (above.platform in platforms or above.group in platforms) and self._engine.state(connection.id).health.broken

    def _recheck_after_pause(self, now: float) -> None:
        """After the process or the machine stood still: check at once where a notification waits for that."""
        if self._watching_since == self._engine.watching_since:
            return
        self._watching_since = self._engine.watching_since
        waiting = [one.id for one in self._connections() if needs_evaluation(self._engine.state(one.id))]
        self._queue.hasten(waiting, now)
        for connection_id in waiting:
            self._on_scheduled(connection_id, now)

    def _bring_forward(self, now: float) -> None:
        engine = self._engine
        asked_for = (engine.watching_since, engine.scope_closures, engine.scope_sweeps, engine.api_suspect_since())
        if asked_for == self._brought_forward:
            return
        self._brought_forward = asked_for
        self._recheck_after_pause(now)
        self._recheck_after_scope_recovery(now)
        self._probe_suspected_api(now)
        self._sweep(now)

    def _sweep(self, now: float) -> None:
        """Look at the connections of a platform when failures there make it suspected, and before its end or a reminder is notified."""
        sweeps, self._sweeps = self._sweeps, self._engine.scope_sweeps
        if sweeps == self._sweeps:
            return
        for key in self._engine.swept_scopes_since(sweeps):
            ids = self._engine.to_look_at(key, self._account)
            self._queue.hasten(ids, now)
            for connection_id in ids:
                self._on_scheduled(connection_id, now)

    def _probe_suspected_api(self, now: float) -> None:
        """When another account's checks made the API suspected, probe it with one of this account's connections at once."""
        suspect_since = self._engine.api_suspect_since()
        if suspect_since == self._probed_suspicion:
            return
        self._probed_suspicion = suspect_since
        connection = next(self._connections(), None)
        if suspect_since is None or connection is None:
            return
        # Also when this account is refused, and hardly checked any more: a refusal is an answer.
        canary = self._engine.canary_interval(connection)
        key = canary[0] if canary is not None else self._engine.api_key
        self._canaries.pop(key, None)
        self._probe(key, connection, now)

    def _put(self, connection_id: int, due: float) -> None:
        self._queue.put(connection_id, due)
        self._on_scheduled(connection_id, due)

    def _last_check(self, connection: Connection) -> float:
        return _seconds(self._engine.state(connection.id).last_check_at)

    def _last_check_mixed(self, connection: Connection) -> tuple[float, float]:
        """Those that were never checked are mixed: neighbours in the list may share a cause of their own."""
        return self._last_check(connection), schedule.phase_of(connection)

    def _connections(self) -> Iterator[Connection]:
        return iter(self._engine.connections_of(self._account))


def _seconds(at: datetime | None) -> float:
    return at.timestamp() if at is not None else 0.0
