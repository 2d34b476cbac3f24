"""
Checks the connections of one account: takes the one that is due, tests it at the API, records the result.

`step` takes what is due, `_test` gets the answer (no transaction open) and its verdict, `state.unit_of_work` evaluates
and writes everything in one transaction, and the next due time follows from the evaluation.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import structlog

from monitor.clock import Clock
from monitor.db import Database
from monitor.domain.check_queue import CheckQueue
from monitor.domain.checks import Observation, Reply
from monitor.domain.connections import Connection
from monitor.domain.evaluation import Evaluation
from monitor.domain.reasons import Outcome, outcome_of
from monitor.domain.verdicts import judge
from monitor.errors import StoreError
from monitor.metrics import Metrics
from monitor.postpost.client import ApiClient
from monitor.postpost.rate_limit import RateLimiter
from monitor.state.registry import Registry
from monitor.state.unit_of_work import record_check

_log = structlog.get_logger(__name__)

# Longer than a slow disk takes, shorter than what would be missed: when the database is stuck, the writer keeps
# the observation and records it as soon as it can, and the checks go on.
_PATIENCE_SECONDS = 2.0


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
        self._queue = CheckQueue(account, registry, self._publish_next_check)

    def refresh(self) -> None:
        """Take up connections that are new and drop those that are no longer monitored."""
        self._queue.refresh(self._clock.now(), self._clock.monotonic())

    def check_now(self, connection: Connection) -> None:
        """Check *connection* next, through the rate limiter, and often for two minutes."""
        self._queue.check_now(connection.id, self._clock.monotonic())

    async def step(self) -> bool:
        """Check the connection that is due longest; returns whether to look again at once."""
        if self._rate_limiter.paused():
            return False
        taken = self._queue.take(self._clock.monotonic())
        if taken is None:
            return False
        connection, due = taken
        if connection is None:
            return True
        try:
            if not await self._rate_limiter.try_acquire():
                self._queue.put_back(connection, due)
                return False
            self._note_lag(connection, self._clock.monotonic() - due)
            await self._check(connection)
        finally:
            self._queue.finished(connection)
        return True

    def idle_seconds(self) -> float:
        """How long there will be nothing to do: until the next connection is due."""
        due = self._queue.next_due()
        return float("inf") if due is None else max(0.0, due - self._clock.monotonic())

    async def _check(self, connection: Connection) -> None:
        observation = await self._test(connection)
        # The regular next check stands until the evaluation names a better one: a stuck database must not end the checks.
        self._queue.checked(connection, self._clock.monotonic())
        self._count(connection, observation)
        try:
            future = self._database.submit(partial(record_check, self._registry, observation))
        except StoreError as error:
            _log.error("check.lost", connection=connection.platform_id, problem=str(error))
            return
        future.add_done_callback(partial(self._on_recorded, connection))
        await asyncio.wait({future}, timeout=_PATIENCE_SECONDS)

    async def _test(self, connection: Connection) -> Observation:
        result = await self._api.test(connection.platform_id, connection.user_id)
        config = self._registry.config
        self._rate_limiter.record_response(result.http_status, result.retry_after)
        return Observation(
            connection_id=connection.id,
            sent_at=result.sent_at,
            at=result.at,
            verdict=judge(result.answer, connection, config.false_negatives, config.platform_texts),
            reply=result.answer if isinstance(result.answer, Reply) else None,
            server_at=result.server_at,
            http_status=result.http_status,
        )

    def _on_recorded(self, connection: Connection, future: asyncio.Future[Evaluation | None]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is not None:
            _log.error("check.lost", connection=connection.platform_id, problem=str(error), exc_info=error)
            return
        evaluation = future.result()
        if evaluation is None:
            return
        for notification in evaluation.notifications:
            _log.info(
                "notification.decided",
                type=notification.type,
                why=notification.why,
                account=connection.account_label,
                connection=connection.platform_id,
                reason=notification.reason,
            )
        if evaluation.notifications:
            self._on_notification()
        self._queue.recorded(connection, evaluation, self._clock.monotonic())

    def _publish_next_check(self, connection_id: int, due: float) -> None:
        self._registry.set_next_check(connection_id, self._clock.now() + timedelta(seconds=due - self._clock.monotonic()))

    def _note_lag(self, connection: Connection, lag_seconds: float) -> None:
        self._metrics.check_lagged(max(0.0, lag_seconds))
        missed = int(lag_seconds // connection.interval.total_seconds())
        if missed > 0:
            self._metrics.checks_missed(missed)

    def _count(self, connection: Connection, observation: Observation) -> None:
        reason = observation.verdict.reason
        self._metrics.check_concluded(connection.account, connection.platform, reason, observation.duration_seconds)
        if outcome_of(reason) is Outcome.INCONCLUSIVE:
            _log.debug("check.inconclusive", connection=connection.platform_id, reason=reason, detail=observation.verdict.detail)
