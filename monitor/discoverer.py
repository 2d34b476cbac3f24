"""
The discoverer of one account: which connections exist, and what the API's list knows of their tokens.

The list is the cheap heartbeat of an account: one request tells whether the key works and when every token ends.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from monitor import roster
from monitor.api import Api, Exchange
from monitor.clock import Clock
from monitor.config import AccountSettings, Config
from monitor.db import Database, Store
from monitor.domain.inventory import Comparison, Inventory, compare
from monitor.domain.listing import Listing
from monitor.domain.model import Connection, ListedConnection, Observation, Verdict
from monitor.errors import ApiError, Reason
from monitor.fleet import Fleet
from monitor.gate import Gate
from monitor.staging import stage

_log = structlog.get_logger(__name__)
_BATCH = 200
_WORKSPACE = "workspace"


@dataclass(frozen=True, slots=True)
class Parts:
    """What every discoverer needs of the program."""

    fleet: Fleet
    database: Database
    clock: Clock
    changed: Callable[[], None]


class Discoverer:
    """
    Reads the lists of one account when they are due.

    Effects of one step: a request per list; one transaction for connections that came or went, and one per batch of rows
    for what the list tells of tokens. A failed list changes nothing but the scopes above it.
    """

    def __init__(self, account: AccountSettings, config: Config, api: Api, gate: Gate, parts: Parts) -> None:
        self._account = account
        self._config = config
        self._api = api
        self._gate = gate
        self._parts = parts
        self._inventories: dict[str, Inventory] = {}
        self._failures = 0
        self._due = parts.clock.monotonic()

    async def step(self) -> bool:
        """Read the lists if they are due; never more to do afterwards."""
        if self._account.discover == "off" or self._parts.clock.monotonic() < self._due or self._gate.paused():
            return False
        users = await self._users()
        complete = users is not None
        for user_id in users or (self._account.user_id,):
            complete = await self._read(user_id) and complete
        self._failures = 0 if complete else self._failures + 1
        self._due = self._parts.clock.monotonic() + self._pause().total_seconds()
        return False

    def _pause(self) -> timedelta:
        schedule = self._config.schedule
        if not self._failures:
            return schedule.discovery
        return min(schedule.discovery, schedule.recheck * (1 << min(self._failures - 1, 10)))

    async def _users(self) -> tuple[str, ...] | None:
        """The users whose lists are read, the owner first; None when the list of users could not be had."""
        own = (self._account.user_id,)
        if self._account.discover != _WORKSPACE:
            return own
        await self._gate.turn()
        exchange = await self._api.users()
        await self._hear(_WORKSPACE, exchange)
        if isinstance(exchange.answer, ApiError):
            return None
        return (*own, *(user.id for user in exchange.answer if user.id not in own))

    async def _read(self, user_id: str) -> bool:
        await self._gate.turn()
        exchange = await self._api.connections(user_id)
        await self._hear(user_id, exchange)
        if isinstance(exchange.answer, ApiError):
            return False
        await self._take(user_id, exchange.answer)
        return True

    async def _hear(self, user_id: str, exchange: Exchange[Any]) -> None:
        """Let the scopes above the list know how it went: with no connection yet, nobody else would notice a bad key."""
        failed = exchange.answer if isinstance(exchange.answer, ApiError) else None
        if exchange.retry_after is not None:
            self._gate.pause(exchange.retry_after, throttled=failed is not None and failed.reason is Reason.API_THROTTLED)
        if failed is not None:
            _log.warning("list.failed", account=self._account.name, user=user_id, reason=failed.reason, detail=failed.detail)
        verdict = Verdict(failed.reason, failed.detail) if failed is not None else Verdict(Reason.OK)
        observation = Observation(0, exchange.sent_at, exchange.at, verdict, http_status=exchange.http_status)
        await self._parts.database.write(partial(self._write_hearing, user_id, observation))

    def _write_hearing(self, user_id: str, observation: Observation, store: Store) -> None:
        stage(self._parts.fleet, store).hear(self._account.name, user_id, observation)

    async def _take(self, user_id: str, listing: Listing) -> None:
        rows = {row.platform_id: row for row in listing.rows}
        if user_id not in self._inventories:
            self._inventories[user_id] = Inventory(frozenset(one.platform_id for one in self._own(user_id) if one.listed))
        result = compare(self._inventories[user_id], rows)
        self._inventories[user_id] = result.inventory
        if listing.skipped:
            _log.warning("list.rows_skipped", account=self._account.name, user=user_id, rows=listing.skipped)
        if result.doubt:
            await self._parts.database.write(partial(self._write_doubt, user_id, len(rows), result))
        if result.appeared or result.vanished:
            await self._change(user_id, result)
        known = [(one, rows[one.platform_id]) for one in self._own(user_id) if one.platform_id in rows]
        for start in range(0, len(known), _BATCH):
            await self._parts.database.write(partial(self._write_rows, known[start : start + _BATCH]))

    async def _change(self, user_id: str, result: Comparison) -> None:
        for word, ids in (("appeared", result.appeared), ("vanished", result.vanished)):
            if ids:
                _log.info(f"connections.{word}", account=self._account.name, user=user_id, count=len(ids), ids=sorted(ids)[:10])
        await roster.sync(
            self._parts.database,
            self._parts.fleet,
            self._config,
            appeared=[(self._account.name, user_id, one) for one in result.appeared],
            vanished=[(self._account.name, user_id, one) for one in result.vanished],
        )
        self._parts.changed()

    def _own(self, user_id: str) -> list[Connection]:
        fleet = self._parts.fleet
        everyone: Iterable[Connection | None] = map(fleet.connection, fleet.ids())
        return [one for one in everyone if one is not None and one.account == self._account.name and one.user_id == user_id]

    def _write_doubt(self, user_id: str, count: int, result: Comparison, store: Store) -> None:
        staging = stage(self._parts.fleet, store)
        staging.tell_short_list(self._account.name, user_id, count, len(result.inventory.known))

    def _write_rows(self, known: list[tuple[Connection, ListedConnection]], store: Store) -> None:
        staging = stage(self._parts.fleet, store)
        now = self._parts.clock.now()
        for connection, row in known:
            staging.learn(connection, row, now)


