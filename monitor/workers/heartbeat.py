"""
The heartbeat: a ping to an outside service that alerts when the pings end.

It is sent only while the monitor does its whole work: checks are conclusive, the database takes a write, no receiver has had a
pending delivery for too long, and a critical notification could reach some receiver. A process that merely runs is not enough.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from monitor.clock import Clock
from monitor.config import HeartbeatSettings, Secret
from monitor.db import Database, Store, read_outbox
from monitor.domain.connections import Connection
from monitor.domain.events import Severity
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health
from monitor.domain.routes import Route
from monitor.domain.routing import rules as routing
from monitor.domain.routing.rules import ReceiverRule
from monitor.domain.schedule import MISSING_AT_MOST, MISSING_FACTOR
from monitor.domain.states import ConnectionState
from monitor.domain.views.snapshot import OutboxView
from monitor.errors import StoreError
from monitor.logs import get_logger
from monitor.notify.sender import Sender
from monitor.state.registry import Registry
from monitor.text.durations import span

_WRITE_SECONDS = 10.0
_MISSED_ROUNDS = 3
_LOGGED_AGAIN_AFTER = timedelta(days=1)

_log = get_logger(__name__)


class HeartbeatResult(StrEnum):
    """The result of one heartbeat; the `result` label of its counter."""

    SENT = "sent"
    FAILED = "failed"
    WITHHELD = "withheld"


OnResult = Callable[[HeartbeatResult, datetime], None]


class Heartbeat:
    """Sends one ping per step, or withholds it and logs why."""

    def __init__(
        self,
        settings: HeartbeatSettings,
        url: Secret,
        *,
        registry: Registry,
        database: Database,
        sender: Sender,
        clock: Clock,
        on_result: OnResult,
    ) -> None:
        self._settings = settings
        self._url = url
        self._registry = registry
        self._database = database
        self._sender = sender
        self._clock = clock
        self._on_result = on_result
        self._logged: tuple[HeartbeatResult, datetime] | None = None

    async def step(self) -> bool:
        """Send a ping unless there is a problem; returns False: there is never more to do at once."""
        problem = await self._find_problem()
        outcome = HeartbeatResult.WITHHELD if problem else HeartbeatResult.SENT
        if not problem:
            response = await self._sender.ping(self._url.reveal(), method=self._settings.method, within=self._settings.timeout)
            if not response.delivered:
                outcome, problem = HeartbeatResult.FAILED, f"the ping failed: {response.detail}"
        now = self._clock.now()
        self._on_result(outcome, now)
        self._log(outcome, problem, now)
        return False

    def _log(self, outcome: HeartbeatResult, problem: str, now: datetime) -> None:
        """Log when heartbeats stop, when that has another cause, and once a day while they are stopped."""
        if not problem:
            if self._logged is not None:
                _log.info("heartbeat.resumed")
            self._logged = None
        elif is_news(outcome, self._logged, now):
            advice = "Try its address: postpost-monitor heartbeat test." if outcome is HeartbeatResult.FAILED else ""
            _log.warning("heartbeat.stopped", result=outcome.value, problem=problem, **({"advice": advice} if advice else {}))
            self._logged = outcome, now

    async def _find_problem(self) -> str:
        """Why no ping may be sent; empty without a problem."""
        now = self._clock.now()
        if problem := has_no_recent_evidence(self._watched(), now, self._registry.config.policy):
            return problem
        if not self._database.storage_up:
            return "the database takes no writes"
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await self._database.write(partial(_write_heartbeat, now))
                outbox = await self._database.read(read_outbox)
        except (StoreError, TimeoutError):
            return "the database takes no writes"
        config = self._registry.config
        return is_unreachable(outbox, config.routes, config.receivers) or is_late(outbox, config.receivers, now, self._settings.max_owed)

    def _watched(self) -> Iterable[tuple[Connection, ConnectionState]]:
        for connection_id in self._registry.ids():
            connection = self._registry.connection(connection_id)
            if connection is not None:
                yield connection, self._registry.state(connection_id)


def has_no_recent_evidence(watched: Iterable[tuple[Connection, ConnectionState]], now: datetime, policy: Policy) -> str:
    """Why there is no recent evidence; empty while a check of some connection was conclusive lately."""
    newest: datetime | None = None
    count = 0
    for connection, state in watched:
        count += 1
        evidence_at = state.last_evidence_at
        if evidence_at is None:
            continue
        if now - evidence_at <= _recent_for(connection, state, policy):
            return ""
        newest = evidence_at if newest is None else max(newest, evidence_at)
    if not count:
        return "no connection is watched"
    return "no check was ever conclusive" if newest is None else f"no check was conclusive for {span(now - newest)}"


def is_unreachable(outbox: Mapping[str, OutboxView], routes: Sequence[Route], receivers: Sequence[ReceiverRule]) -> str:
    """
    Why no receiver of critical notifications accepts messages; empty while one does, or when no receiver is configured.

    Receivers of narrower routes do not count, and a receiver fails when its outage is reported: a single failed attempt is no outage.
    What it accepts next, a delivery or a test, ends that.
    """
    if not receivers:
        return ""
    names = routing.of_any(Severity.CRITICAL, routes, receivers)
    if not names:
        return "no route sends critical notifications to any receiver"
    views = [outbox[name] for name in names if name in outbox]
    if len(views) == len(names) and all(view.in_trouble for view in views):
        return f"no receiver of critical notifications works: {', '.join(sorted(names))}"
    return ""


def is_news(outcome: HeartbeatResult, logged: tuple[HeartbeatResult, datetime] | None, now: datetime) -> bool:
    """Whether it is logged that heartbeats are stopped, when *logged* is what was logged last, and when."""
    return logged is None or logged[0] is not outcome or now - logged[1] >= _LOGGED_AGAIN_AFTER


def is_late(outbox: Mapping[str, OutboxView], receivers: Sequence[ReceiverRule], now: datetime, longest: timedelta) -> str:
    """Which receivers have had a pending delivery for longer than *longest*; not disabled ones: the others were notified of them."""
    views = {rule.name: outbox[rule.name] for rule in receivers if rule.name in outbox}
    late = [name for name, view in views.items() if view.oldest_at is not None and not view.disabled and now - view.oldest_at > longest]
    return f"pending for longer than {span(longest)}: {', '.join(sorted(late))}" if late else ""


def _recent_for(connection: Connection, state: ConnectionState, policy: Policy) -> timedelta:
    """For how long a conclusive check counts as recent: missing connections are checked rarely."""
    usual = policy.stale_for(connection.interval)
    if state.health not in {Health.MISSING, Health.MISCONFIGURED}:
        return usual
    return max(usual, _MISSED_ROUNDS * min(MISSING_FACTOR * connection.interval, MISSING_AT_MOST))


def _write_heartbeat(now: datetime, store: Store) -> None:
    """A real write: an empty transaction would also succeed on a full disk."""
    store.put_meta("heartbeat_at", now.isoformat())
