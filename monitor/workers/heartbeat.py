"""The heartbeat: a ping to an outside service that alerts when the pings end; sent only while all of the work is done."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from functools import partial

from monitor.clock import Clock
from monitor.config import HeartbeatSettings, Secret
from monitor.db import HEARTBEAT_ACCEPTED, Database, Store, heartbeat_accepted_at, read_outbox
from monitor.domain.connections import Connection
from monitor.domain.states import ConnectionState
from monitor.domain.views.snapshot import HeartbeatView, OutboxView
from monitor.errors import StoreError
from monitor.logs import get_logger
from monitor.notify.sender import Sender
from monitor.state.registry import Registry
from monitor.text.heartbeats import NO_EVIDENCE_YET, is_news, problem_of

_WRITE_SECONDS = 10.0

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
        self._logged: tuple[str, datetime] | None = None
        self._last: datetime | None = None
        self._begun = False

    async def step(self) -> bool:
        """Send a ping unless there is a problem; returns False: there is never more to do at once."""
        problem = await self._find_problem()
        outcome = HeartbeatResult.WITHHELD if problem else HeartbeatResult.SENT
        if not problem:
            response = await self._sender.ping(self._url.reveal(), method=self._settings.method, within=self._settings.timeout)
            if not response.delivered:
                outcome, problem = HeartbeatResult.FAILED, f"the ping failed: {response.detail}"
        now = self._clock.now()
        self._registry.heartbeat = HeartbeatView(problem, await self._accepted_at(now, accepted=not problem))
        self._on_result(outcome, now)
        self._log(outcome, problem, now)
        return False

    async def _accepted_at(self, now: datetime, *, accepted: bool) -> datetime | None:
        """When one was accepted last, kept over a restart for `status`."""
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(_WRITE_SECONDS):
                if accepted:
                    await self._database.write(partial(_note_accepted, now))
                elif self._last is None:
                    self._last = await self._database.read(heartbeat_accepted_at)
        self._last = now if accepted else self._last
        return self._last

    def _log(self, outcome: HeartbeatResult, problem: str, now: datetime) -> None:
        """Log when heartbeats stop, when that has another cause, and once a day while they are stopped."""
        if not problem:
            if self._logged is not None:
                _log.info("heartbeat.resumed")
            self._logged = None
        elif not self._begun and problem in NO_EVIDENCE_YET:
            self._begun = True
        elif is_news(problem, self._logged, now):
            advice = "Try its address: postpost-monitor heartbeat test." if outcome is HeartbeatResult.FAILED else ""
            _log.warning("heartbeat.stopped", result=outcome.value, problem=problem, **({"advice": advice} if advice else {}))
            self._logged = problem, now

    async def _find_problem(self) -> str:
        """Why no ping may be sent; empty without a problem."""
        now, outbox, config = self._clock.now(), await self._outbox(), self._registry.config
        return problem_of(self._watched(), outbox, config.policy, config.receivers, now, self._settings.max_owed)

    async def _outbox(self) -> Mapping[str, OutboxView] | None:
        """What is pending; None when the database takes no writes."""
        if not self._database.storage_up:
            return None
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await self._database.write(partial(_write_heartbeat, self._clock.now()))
                return await self._database.read(read_outbox)
        except (StoreError, TimeoutError):
            return None

    def _watched(self) -> Iterable[tuple[Connection, ConnectionState]]:
        for connection_id in self._registry.ids():
            connection = self._registry.connection(connection_id)
            if connection is not None:
                yield connection, self._registry.state(connection_id)


def _write_heartbeat(now: datetime, store: Store) -> None:
    """A real write: an empty transaction would also succeed on a full disk."""
    store.put_meta("heartbeat_at", now.isoformat())


def _note_accepted(at: datetime, store: Store) -> None:
    store.put_meta(HEARTBEAT_ACCEPTED, at.isoformat())
