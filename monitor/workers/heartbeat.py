"""
The heartbeat: a sign of life to somebody outside, who is worried when it ends.

It is given only while the monitor does its whole work: it learns (checks are conclusive), it remembers (the database
takes a write) and it tells (no receiver has been owed anything for long). A process that merely runs is not enough.
"""

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from enum import StrEnum

import structlog

from monitor.clock import Clock
from monitor.config import HeartbeatSettings, Secret
from monitor.db import Database, Reader, Store, read_outbox
from monitor.domain.connections import Connection
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health
from monitor.domain.schedule import MISSING_AT_MOST, MISSING_FACTOR
from monitor.domain.states import ConnectionState
from monitor.errors import StoreError
from monitor.notify.sender import Sender
from monitor.state.registry import Registry
from monitor.text.durations import span

_WRITE_SECONDS = 10.0
_MISSED_ROUNDS = 3

_log = structlog.get_logger(__name__)


class HeartbeatResult(StrEnum):
    """How a sign of life went; the `result` label of its counter."""

    SENT = "sent"
    FAILED = "failed"
    WITHHELD = "withheld"


Observe = Callable[[HeartbeatResult, datetime], None]


class Heartbeat:
    """Gives one sign of life per step, or withholds it and logs why."""

    def __init__(
        self,
        settings: HeartbeatSettings,
        url: Secret,
        *,
        registry: Registry,
        database: Database,
        sender: Sender,
        clock: Clock,
        observe: Observe,
    ) -> None:
        self._settings = settings
        self._url = url
        self._registry = registry
        self._database = database
        self._sender = sender
        self._clock = clock
        self._observe = observe
        self._trouble = ""

    async def step(self) -> bool:
        """Look whether all is well, and say so outside; never more to do."""
        trouble = await self._find_trouble()
        beat = HeartbeatResult.WITHHELD if trouble else HeartbeatResult.SENT
        if not trouble:
            result = await self._sender.ping(self._url.reveal(), method=self._settings.method, within=self._settings.timeout)
            if not result.delivered:
                beat, trouble = HeartbeatResult.FAILED, f"nobody took it: {result.detail}"
        self._observe(beat, self._clock.now())
        if trouble and not self._trouble:
            _log.warning("heartbeat.stopped", result=beat.value, problem=trouble)
        if self._trouble and not trouble:
            _log.info("heartbeat.resumed")
        self._trouble = trouble
        return False

    async def _find_trouble(self) -> str:
        """Why there is no sign of life, in words; empty when all is well."""
        now = self._clock.now()
        if trouble := blind(self._watched(), now, self._registry.config.policy):
            return trouble
        if not self._database.storage_up:
            return "the database takes no writes"
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await self._database.write(lambda store: _note(store, now))
                outbox = await self._database.read(_oldest_owed)
        except (StoreError, TimeoutError):
            return "the database takes no writes"
        # What a receiver is owed that left the configuration is nobody's any more: it would stop the heart for ever.
        known = {rule.name for rule in self._registry.config.receivers}
        late = sorted(name for name, oldest_at in outbox.items() if name in known and now - oldest_at > self._settings.max_owed)
        return f"owed for longer than {span(self._settings.max_owed)}: {', '.join(late)}" if late else ""

    def _watched(self) -> Iterable[tuple[Connection, ConnectionState]]:
        for number in self._registry.ids():
            connection = self._registry.connection(number)
            if connection is not None:
                yield connection, self._registry.state(number)


def blind(watched: Iterable[tuple[Connection, ConnectionState]], now: datetime, policy: Policy) -> str:
    """Why nothing is learned any more, in words; empty while the check of some connection was conclusive lately."""
    newest: datetime | None = None
    count = 0
    for connection, state in watched:
        count += 1
        seen = state.last_evidence_at
        if seen is None:
            continue
        if now - seen <= _patience(connection, state, policy):
            return ""
        newest = seen if newest is None else max(newest, seen)
    if not count:
        return "no connection is watched"
    return "no check was ever conclusive" if newest is None else f"no check was conclusive for {span(now - newest)}"


def _patience(connection: Connection, state: ConnectionState, policy: Policy) -> timedelta:
    """For how long a conclusive check is a recent one: what is gone is asked about rarely."""
    usual = policy.stale_for(connection.interval)
    if state.health not in {Health.MISSING, Health.MISCONFIGURED}:
        return usual
    return max(usual, _MISSED_ROUNDS * min(MISSING_FACTOR * connection.interval, MISSING_AT_MOST))


def _note(store: Store, now: datetime) -> None:
    """A real write: an empty transaction would also succeed on a full disk."""
    store.put_meta("heartbeat_at", now.isoformat())


def _oldest_owed(reader: Reader) -> dict[str, datetime]:
    return {name: view.oldest_at for name, view in read_outbox(reader).items() if view.oldest_at is not None}
