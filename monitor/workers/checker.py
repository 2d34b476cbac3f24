"""Checks the connections of one account: takes the one that is due, tests it at the API, records the result."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from monitor.clock import Clock
from monitor.db import Database
from monitor.domain.check_queue import CheckQueue
from monitor.domain.connections import Connection
from monitor.domain.evaluation import Evaluation
from monitor.domain.reasons import Health, Outcome, outcome_of
from monitor.domain.replies.checks import Observation, Reply
from monitor.domain.replies.verdicts import judge
from monitor.errors import AnotherInstance, Reason, StoreError
from monitor.http.errors import BrokenOffError
from monitor.logs import get_logger
from monitor.metrics import Metrics
from monitor.postpost.client import ApiClient
from monitor.postpost.rate_limit import RateLimiter
from monitor.state.registry import Registry
from monitor.state.unit_of_work import record_check

_log = get_logger(__name__)

# Longer than a slow disk takes, shorter than what would be missed: when the database is stuck, the writer keeps
# the observation and records it as soon as it can, and the checks go on.
_PATIENCE_SECONDS = 2.0

# The longest time that a check waits to share a commit: about a few flushes to disk where it may lead to a notification; where the
# connection works as before, long enough for others to come at a low rate, but a small share of its interval.
_NEWS_SECONDS = 0.02
_USUAL_SECONDS = 1.0
_USUAL_SHARE = 1 / 5

# Checks begin at multiples of so many seconds, or of a small share of the interval, together with those of other accounts: one wake-up
# for several.
_GRID_SECONDS = 0.25
_GRID_SHARE = 1 / 50

# Checks under way and waiting for the database, as a multiple of those that may be under way, and how many may be in any case: at a
# walking pace as many as share a commit.
_RECORDING_SHARE = 4
_RECORDING_LEAST = 64

# After so long a database that was busy may be so no more.
_BUSY_SECONDS = 0.25

# A pause that the API asked for may be made longer meanwhile.
_LONGEST_WAIT_SECONDS = 1.0


class Checker:
    """Checks the connections of one account, *concurrency* at a time: at most one request and one transaction for each check."""

    def __init__(
        self,
        account: str,
        api: ApiClient,
        rate_limiter: RateLimiter,
        *,
        concurrency: int,
        registry: Registry,
        database: Database,
        metrics: Metrics,
        clock: Clock,
        on_notification: Callable[[], None],
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.account = account
        self.name = f"checker-{account}"
        self._api = api
        self._rate_limiter = rate_limiter
        self._concurrency = concurrency
        self._most_recording = max(_RECORDING_SHARE * concurrency, _RECORDING_LEAST)
        self._registry = registry
        self._database = database
        self._metrics = metrics
        self._clock = clock
        self._on_notification = on_notification
        self._queue = CheckQueue(account, registry, registry.set_next_check)
        self._wake = wake
        self._waiting = False
        self._slots_taken = False
        self._tasks: asyncio.TaskGroup | None = None
        self._asking: dict[int, float] = {}
        self._recording: dict[int, float] = {}
        self._stepped_at = clock.monotonic()

    @property
    def last_step(self) -> float:
        """When the last step ended, in seconds of the monotonic clock; not later than the start of the longest running request."""
        return min(self._stepped_at, next(iter(self._asking.values()), self._stepped_at))

    @property
    def asking(self) -> int:
        """How many requests are under way."""
        return len(self._asking)

    def refresh(self) -> None:
        """Take up connections that are new and drop those that are no longer monitored."""
        self._queue.refresh(self._clock.now(), self._clock.monotonic())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While this is entered checks are started; at the end those under way are finished, or cancelled with the caller."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                yield
            finally:
                self._tasks = None

    def check_now(self, connection: Connection) -> None:
        """Check *connection* next, through the rate limiter, and often for two minutes."""
        self._queue.check_now(connection.id, self._clock.monotonic())

    async def step(self) -> bool:
        """Start the checks that are due, the longest overdue first; returns whether to look again at once."""
        self._slots_taken = False
        wait_seconds = self._start_due()
        self._waiting = wait_seconds > 0
        if self._waiting:
            await self._clock.sleep(min(wait_seconds, _LONGEST_WAIT_SECONDS))
        self._stepped_at = self._clock.monotonic()
        return self._waiting

    def idle_seconds(self) -> float:
        """How long there will be nothing to start: until the next connection is due; without a free slot until a check ends."""
        now = self._clock.monotonic()
        if self._database.is_busy():
            return _BUSY_SECONDS
        if not self._has_slot(now):
            oldest = next(iter(self._recording.values()), None)
            if oldest is None or len(self._asking) >= self._concurrency:
                return math.inf
            return max(0.0, oldest + _PATIENCE_SECONDS - now)
        if self._queue.is_due(now):
            return 0.0
        due = self._queue.next_due()
        grid = min(_GRID_SECONDS, _GRID_SHARE * self._registry.config.policy.interval.total_seconds())
        return math.inf if due is None else math.ceil(due / grid) * grid - now

    def _start_due(self) -> float:
        """Start what is due while there are free slots; returns how long the account's budget allows no further start."""
        now = self._clock.monotonic()
        while self._tasks is not None and self._has_slot(now) and self._queue.is_due(now):
            wait_seconds = self._rate_limiter.seconds_to_wait()
            if wait_seconds > 0:
                return wait_seconds
            taken = self._queue.take(now)
            if taken is not None and taken[0] is not None:
                self._rate_limiter.start()
                self._start(self._tasks, taken[0], taken[1], now)
        return 0.0

    def _start(self, tasks: asyncio.TaskGroup, connection: Connection, due: float, now: float) -> None:
        self._note_lag(connection, now - due)
        self._asking[connection.id] = now
        tasks.create_task(self._check(connection), name=self.name)

    def _has_slot(self, now: float) -> bool:
        """Whether a check may start: not while too many wait for the database, unless its own have waited for too long."""
        if len(self._asking) >= self._concurrency or self._database.is_busy():
            self._slots_taken = True
            return False
        while len(self._asking) + len(self._recording) >= self._most_recording:
            oldest = next(iter(self._recording), None)
            if oldest is None or now - self._recording[oldest] < _PATIENCE_SECONDS:
                self._slots_taken = True
                return False
            del self._recording[oldest]
        return True

    async def _check(self, connection: Connection) -> None:
        try:
            observation = await self._test(connection)
            # The regular next check stands until the evaluation names a better one: a stuck database must not end the checks.
            self._queue.checked(connection, self._clock.monotonic())
        except BrokenOffError:
            self._queue.broken_off(connection, self._clock.monotonic())
            return
        finally:
            self._asking.pop(connection.id, None)
            self._queue.finished(connection)
        self._count(connection, observation)
        self._record(connection, observation)
        self._start_next()

    def _record(self, connection: Connection, observation: Observation) -> None:
        work = partial(record_check, self._registry, observation)
        future = self._database.submit(work, within_seconds=self._may_wait_seconds(connection, observation))
        self._recording[connection.id] = self._clock.monotonic()
        future.add_done_callback(partial(self._on_recorded, connection))

    def _may_wait_seconds(self, connection: Connection, observation: Observation) -> float:
        """How long the record of a check may wait for others: not long where an operator waits for it, or checks wait for a slot."""
        passed_again = observation.verdict.reason is Reason.OK and self._registry.state(connection.id).health is Health.OK
        if not passed_again or not self._registry.all_quiet or self._queue.is_checked_often(connection.id):
            return _NEWS_SECONDS
        if len(self._recording) >= self._most_recording // 2:
            return _NEWS_SECONDS
        return min(_USUAL_SECONDS, _USUAL_SHARE * connection.interval.total_seconds())

    def _start_next(self) -> None:
        """Start what is due in the slot that is free now, if the loop found none: otherwise it knows when to start the next."""
        if self._slots_taken and not self._waiting and self._start_due() > 0:
            self._wake()

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
        ended_at = self._recording.pop(connection.id, self._clock.monotonic())
        if not future.cancelled():
            self._schedule_next(connection, future, ended_at)
        self._start_next()

    def _schedule_next(self, connection: Connection, future: asyncio.Future[Evaluation | None], ended_at: float) -> None:
        error = future.exception()
        if error is not None:
            # An instance that was replaced ends, and says so.
            if not isinstance(error, AnotherInstance):
                exc_info = None if isinstance(error, StoreError) else error
                _log.error("check.lost", connection=connection.platform_id, problem=str(error), exc_info=exc_info)
            return
        evaluation = future.result()
        if evaluation is None:
            return
        if evaluation.notifications:
            self._on_notification()
        self._queue.recorded(connection, evaluation, ended_at)

    def _note_lag(self, connection: Connection, lag_seconds: float) -> None:
        self._metrics.check_lagged(lag_seconds)
        interval_seconds = connection.interval.total_seconds()
        if lag_seconds >= interval_seconds:
            self._metrics.checks_missed(int(lag_seconds // interval_seconds))

    def _count(self, connection: Connection, observation: Observation) -> None:
        reason = observation.verdict.reason
        self._metrics.check_concluded(connection.account, connection.platform, reason, observation.duration_seconds)
        if outcome_of(reason) is Outcome.INCONCLUSIVE:
            _log.debug("check.inconclusive", connection=connection.platform_id, reason=reason, detail=observation.verdict.detail)
