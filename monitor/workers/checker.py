"""
The checker of one account: takes the connection that is due, asks the API, concludes.

`step` takes what is due, `_ask` gets the answer (no transaction open), `domain.verdicts` reads it,
`staging.conclude` decides and writes everything in one transaction, and the next due time follows from
the new state.
"""

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial

import structlog

from monitor.clock import Clock
from monitor.db import Database, Store
from monitor.domain import schedule
from monitor.domain.checks import Observation, Reply
from monitor.domain.connections import Connection
from monitor.domain.evaluation import Evaluation
from monitor.domain.reasons import Outcome, outcome_of
from monitor.domain.schedule import DueQueue
from monitor.domain.verdicts import judge
from monitor.errors import StoreError
from monitor.metrics import Metrics
from monitor.postpost.client import ApiClient
from monitor.postpost.rate_limit import RateLimiter
from monitor.state.registry import Registry
from monitor.state.unit_of_work import unit_of_work

_log = structlog.get_logger(__name__)

# Longer than a slow disk takes, shorter than what would be missed: when the database is stuck, the writer keeps
# the observation and concludes it as soon as it can, and the checks go on.
_PATIENCE_SECONDS = 2.0

# Scopes that let only canaries through while their incident is open.
_FREEZING = frozenset({"api", "account", "user", "service"})


class Checker:
    """
    Checks the connections of one account, as many at a time as there are loops calling `step`.

    Effects of one step: at most one request, and one transaction that holds the check and all that follows from it.
    """

    def __init__(
        self,
        account: str,
        api: ApiClient,
        rate_limiter: RateLimiter,
        *,
        registry: Registry,
        database: Database,
        metrics: Metrics,
        clock: Clock,
        on_notification: Callable[[], None],
    ) -> None:
        self.account = account
        self._api = api
        self._rate_limiter = rate_limiter
        self._registry = registry
        self._database = database
        self._metrics = metrics
        self._clock = clock
        self._on_notification = on_notification
        self._queue = DueQueue()
        self._in_flight: set[int] = set()
        self._canaries: dict[str, float] = {}
        self._scope_closures = registry.scope_closures
        self._probed_api_suspicion: datetime | None = None

    def refresh(self) -> None:
        """Take up connections that are new in the fleet and drop those that left it."""
        wall = self._clock.now()
        own = {one.id: one for one in self._own_connections()}
        for connection in own.values():
            if connection.id not in self._queue and connection.id not in self._in_flight:
                state = self._registry.state(connection.id)[1]
                self._schedule(connection, schedule.first_due(connection, state, wall, self._registry.config.policy).total_seconds())
        self._queue.keep(own)
        # An incident that was open before, perhaps until this very reload: learn at once whether it still is.
        doubted = {probe[0]: connection for connection in own.values() if (probe := self._registry.probe_interval(connection)) is not None}
        for name, connection in doubted.items():
            self._probe_scope(name, connection, 0.0)

    async def step(self) -> bool:
        """Check the connection that is due longest; returns whether there was one."""
        self._recheck_after_scope_recovery()
        self._probe_suspected_api()
        now = self._clock.monotonic()
        if self._rate_limiter.paused():
            return False
        taken = self._queue.take(now)
        if taken is None:
            return False
        connection_id, due = taken
        found = self._registry.connection(connection_id)
        connection = self._canary_for(found, now) if found is not None else None
        if connection is None:
            return True
        self._in_flight.add(connection.id)
        try:
            if not await self._rate_limiter.try_acquire():
                self._schedule_at(connection.id, due)
                return False
            self._note_lag(connection, self._clock.monotonic() - due)
            await self._check(connection)
        finally:
            self._in_flight.discard(connection.id)
        return True

    def idle_seconds(self) -> float:
        """How long there will be nothing to do: until the next connection is due."""
        due = self._queue.next_due()
        return float("inf") if due is None else max(0.0, due - self._clock.monotonic())

    async def _check(self, connection: Connection) -> None:
        observation = await self._test(connection)
        # The regular next check stands until the conclusion names a better one: a stuck database must not end the checks.
        self._schedule(connection, connection.interval.total_seconds())
        self._count(connection, observation)
        try:
            future = self._database.submit(partial(self._record, connection, observation))
        except StoreError as error:
            _log.error("check.lost", connection=connection.platform_id, problem=str(error))
            return
        future.add_done_callback(partial(self._on_recorded, connection, observation))
        await asyncio.wait({future}, timeout=_PATIENCE_SECONDS)

    async def _test(self, connection: Connection) -> Observation:
        exchange = await self._api.test(connection.platform_id, connection.user_id)
        self._rate_limiter.record_response(exchange.http_status, exchange.retry_after)
        verdict = judge(exchange.answer, connection, self._registry.config.false_negatives)
        return Observation(
            connection_id=connection.id,
            sent_at=exchange.sent_at,
            at=exchange.at,
            verdict=verdict,
            reply=exchange.answer if isinstance(exchange.answer, Reply) else None,
            server_at=exchange.server_at,
            http_status=exchange.http_status,
            retry_after=exchange.retry_after,
        )

    def _record(self, connection: Connection, observation: Observation, store: Store) -> Evaluation | None:
        return unit_of_work(self._registry, store).record_check(connection, observation)

    def _on_recorded(self, connection: Connection, observation: Observation, future: asyncio.Future[Evaluation | None]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is not None:
            _log.error("check.lost", connection=connection.platform_id, problem=str(error), exc_info=error)
            return
        conclusion = future.result()
        if conclusion is None:
            return
        for notification in conclusion.notifications:
            _log.info(
                "notification.decided",
                type=notification.type,
                why=notification.why,
                account=connection.account_label,
                connection=connection.platform_id,
                reason=notification.reason,
            )
        if conclusion.notifications:
            self._on_notification()
        if connection.id not in self._queue:
            return
        policy = self._registry.config.policy
        reason = observation.verdict.reason
        wait = schedule.next_due(connection, conclusion.state, observation.at, policy, verdict_reason=reason).total_seconds()
        self._schedule(connection, wait)
        held = self._registry.canary_interval(connection)
        if held is not None:
            self._canaries[held[0]] = self._clock.monotonic()
        probe = self._registry.probe_interval(connection)
        if probe is not None:
            self._probe_scope(probe[0], connection, probe[1].total_seconds())

    def _probe_scope(self, name: str, connection: Connection, wait_seconds: float) -> None:
        """Have somebody below the doubted scope *name*, as *connection* is, asked so soon, however long the intervals are."""
        other = self._least_recently_checked(name, connection)
        due = self._clock.monotonic() + wait_seconds
        if other is not None and (self._queue.due_of(other.id) or due) > due:
            self._schedule_at(other.id, due)

    def _least_recently_checked(self, name: str, connection: Connection) -> Connection | None:
        """Who of those that wait below the scope *name*, as *connection* is, and that no other scope holds back, was asked the longest ago."""
        user_id = connection.user_id if name.startswith("user:") else None
        below = (one for one in self._own_connections() if one.id in self._queue and user_id in (None, one.user_id))
        waiting = (one for one in below if (self._registry.canary_interval(one) or (name,))[0] == name)
        return min(waiting, key=self._by_last_check, default=None)

    def _schedule(self, connection: Connection, wait_seconds: float) -> None:
        self._schedule_at(connection.id, self._clock.monotonic() + wait_seconds)

    def _schedule_at(self, connection_id: int, due: float) -> None:
        """Have a connection checked at *due*, on the monotonic clock, and say so to people by theirs."""
        self._queue.put(connection_id, due)
        self._publish_next_check(connection_id, due)

    def _publish_next_check(self, connection_id: int, due: float) -> None:
        self._registry.set_next_check(connection_id, self._clock.now() + timedelta(seconds=due - self._clock.monotonic()))

    def _canary_for(self, connection: Connection, now: float) -> Connection | None:
        """
        Who is asked now that *connection* is due: itself, unless a scope lets only canaries through.

        Then the one that waits longest is the canary, and only once per pause; None when it is too early for one.
        """
        hold = self._registry.canary_interval(connection)
        if hold is None:
            return connection
        name, pause = hold
        last = self._canaries.get(name)
        if last is not None and now < last + pause.total_seconds():
            self._schedule_at(connection.id, last + pause.total_seconds())
            return None
        self._canaries[name] = now
        self._schedule_at(connection.id, now + pause.total_seconds())
        canary = self._least_recently_checked(name, connection) or connection
        self._queue.discard(canary.id)
        return canary

    def _recheck_after_scope_recovery(self) -> None:
        """After a scope incident closed: check everything below it again, the oldest evidence first, at the account's pace."""
        if self._scope_closures == self._registry.scope_closures:
            return
        names = {name for name in self._registry.closed_scopes_since(self._scope_closures) if name.partition(":")[0] in _FREEZING}
        self._scope_closures = self._registry.scope_closures
        if not names:
            return
        for name in names:
            self._canaries.pop(name, None)
        below = (one for one in self._own_connections() if not names.isdisjoint(self._registry.scopes_of(one).all()))
        oldest_first = sorted(below, key=self._by_last_evidence)
        now = self._clock.monotonic()
        self._queue.hasten((connection.id for connection in oldest_first), now)
        for connection in oldest_first:
            self._publish_next_check(connection.id, now)

    def _probe_suspected_api(self) -> None:
        """When other accounts put the API in doubt, somebody of this one is asked at once: does it serve anybody?"""
        doubted_at = self._registry.api_suspect_since()
        if doubted_at == self._probed_api_suspicion:
            return
        self._probed_api_suspicion = doubted_at
        connection = next(iter(self._own_connections()), None)
        if doubted_at is None or connection is None:
            return
        # Also when this account is refused, and hardly asked any more: a refusal is an answer.
        hold = self._registry.canary_interval(connection)
        name = hold[0] if hold is not None else self._registry.scopes_of(connection).api
        self._canaries.pop(name, None)
        self._probe_scope(name, connection, 0.0)

    def _by_last_evidence(self, connection: Connection) -> float:
        seen = self._registry.state(connection.id)[1].last_evidence_at
        return seen.timestamp() if seen is not None else 0.0

    def _by_last_check(self, connection: Connection) -> float:
        asked = self._registry.state(connection.id)[1].last_check_at
        return asked.timestamp() if asked is not None else 0.0

    def _own_connections(self) -> Iterable[Connection]:
        return (one for one in map(self._registry.connection, self._registry.ids()) if one is not None and one.account == self.account)

    def _note_lag(self, connection: Connection, lag_seconds: float) -> None:
        self._metrics.check_lagged(max(0.0, lag_seconds))
        missed = int(lag_seconds // connection.interval.total_seconds())
        if missed > 0:
            self._metrics.checks_missed(missed)

    def _count(self, connection: Connection, observation: Observation) -> None:
        reason = observation.verdict.reason
        self._metrics.check_concluded(connection.platform, reason, observation.duration_seconds)
        if outcome_of(reason) is Outcome.INCONCLUSIVE:
            _log.debug("check.inconclusive", connection=connection.platform_id, reason=reason, detail=observation.verdict.detail)
