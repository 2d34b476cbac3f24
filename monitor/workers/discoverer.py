"""
The discoverer of one account: which connections exist, and what the API's list knows of their tokens.

The list is the cheap heartbeat of an account: one request tells whether the key works and when every token ends.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog

from monitor.clock import Clock
from monitor.config import AccountSettings, Config
from monitor.db import Database, Store
from monitor.domain.checks import Observation, Verdict
from monitor.domain.connections import Connection
from monitor.domain.listings import Comparison, Inventory, ListedConnection, Listing, UserListing, diff_listing
from monitor.domain.reasons import Scope, meaning
from monitor.domain.scopes.key import ACCOUNT, USER, ScopeKey
from monitor.domain.scopes.state import closed
from monitor.errors import ApiError, Reason
from monitor.postpost.client import ApiClient, ApiResult
from monitor.postpost.rate_limit import RateLimiter
from monitor.state import connection_sync
from monitor.state.registry import Registry
from monitor.state.unit_of_work import unit_of_work

_log = structlog.get_logger(__name__)
_BATCH = 200
_WORKSPACE = "workspace"
_WIDE = frozenset({Scope.ACCOUNT, Scope.API})


@dataclass(frozen=True, slots=True)
class Parts:
    """What every discoverer needs of the program."""

    registry: Registry
    database: Database
    clock: Clock
    changed: Callable[[], None]


class Discoverer:
    """
    Reads the lists of one account when they are due.

    Effects of one step: a request per list; one transaction for connections that came or went, and one per batch of rows
    for what the list tells of tokens. A failed list changes nothing but the scopes above it.
    """

    def __init__(self, account: AccountSettings, config: Config, api: ApiClient, gate: RateLimiter, parts: Parts) -> None:
        self._account = account
        self._config = config
        self._api = api
        self._gate = gate
        self._parts = parts
        self._inventories: dict[str, Inventory] = {}
        self._users_known: Inventory | None = None
        self._inactive: tuple[str, ...] = ()
        self._failures = 0
        self._due = parts.clock.monotonic()

    async def step(self) -> bool:
        """Read the lists if they are due; never more to do afterwards."""
        if self._account.discover == "off" or self._parts.clock.monotonic() < self._due or self._gate.paused():
            return False
        if self._checks_go_on() and self._parts.registry.list_pause(self._account.name) is not None:
            # The checks' canaries find out when the trouble is over; lists would only add to the load.
            return False
        complete = await self._read_all()
        self._failures = 0 if complete else self._failures + 1
        self._due = self._parts.clock.monotonic() + self._pause().total_seconds()
        if not complete and self._checks_go_on() and self._parts.registry.list_pause(self._account.name) is not None:
            # Let a check find out more at once.
            self._parts.changed()
        return False

    def _checks_go_on(self) -> bool:
        return self._parts.registry.member_count(ScopeKey(ACCOUNT, self._account.name)) > 0

    def _pause(self) -> timedelta:
        schedule = self._config.schedule
        # Without connections nothing but the list tells whether the account and the API work.
        probe = None if self._checks_go_on() else self._parts.registry.list_pause(self._account.name)
        usual = schedule.discovery if probe is None else min(schedule.discovery, probe)
        return min(usual, schedule.recheck * (1 << min(self._failures - 1, 10))) if self._failures else usual

    async def _read_all(self) -> bool:
        """Read every list of the account; returns whether all could be had. Trouble of the whole account ends the round."""
        own = (self._account.user_id,)
        users: tuple[str, ...] = own
        complete = True
        if self._account.discover == _WORKSPACE:
            found = await self._users()
            if isinstance(found, ApiError) and meaning(found.reason).scope in _WIDE:
                return False
            complete = not isinstance(found, ApiError)
            users = own if isinstance(found, ApiError) else (*own, *(one for one in found if one not in own))
        for user_id in users:
            failed = await self._read(user_id)
            complete = complete and failed is None
            if failed is not None and meaning(failed.reason).scope in _WIDE:
                break
        return complete

    async def _users(self) -> tuple[str, ...] | ApiError:
        """The managed users, or why their list could not be had. Users that are gone for good take their connections along."""
        await self._gate.acquire()
        exchange = await self._api.users()
        await self._hear(_WORKSPACE, exchange)
        if isinstance(exchange.answer, ApiError):
            return exchange.answer
        self._note_users(exchange.answer)
        listed = tuple(user.id for user in exchange.answer.users)
        if self._users_known is None:
            self._users_known = Inventory(frozenset(one.user_id for one in self._everybody() if one.listed) - {self._account.user_id})
        # Rows that could not be read may be any of those that seem to lack.
        unread = self._users_known.platform_ids - set(exchange.answer.inactive) if exchange.answer.skipped else frozenset()
        result = self._compare(self._users_known, unread | set(listed))
        self._users_known = result.inventory
        for user_id in sorted(result.vanished):
            await self._lose(user_id)
        return listed

    def _note_users(self, listing: UserListing) -> None:
        """Say which users are left out, whenever that changes."""
        if listing.skipped:
            _log.warning("users.rows_skipped", account=self._account.name, rows=listing.skipped)
        if listing.inactive != self._inactive:
            self._inactive = listing.inactive
            hint = "the API calls these managed users inactive: their connections are not watched"
            _log.info("users.skipped", account=self._account.name, count=len(listing.inactive), ids=listing.inactive[:10], hint=hint)

    async def _lose(self, user_id: str) -> None:
        """A user is gone: so are the connections that only the list told of, and what was open about the user."""
        self._inventories.pop(user_id, None)
        gone = frozenset(one.platform_id for one in self._own(user_id) if one.listed)
        await self._change(user_id, frozenset(), gone)
        if not self._own(user_id):
            await self._parts.database.write(partial(self._write_loss, ScopeKey(USER, self._account.name, user_id)))

    async def _read(self, user_id: str) -> ApiError | None:
        """Read one list; returns why it could not be had."""
        await self._gate.acquire()
        exchange = await self._api.connections(user_id)
        await self._hear(user_id, exchange)
        if isinstance(exchange.answer, ApiError):
            return exchange.answer
        await self._take(user_id, exchange.answer, exchange.server_at)
        return None

    async def _hear(self, user_id: str, exchange: ApiResult[Any]) -> None:
        """Let the scopes above the list know how it went: with no connection yet, nobody else would notice a bad key."""
        failed = exchange.answer if isinstance(exchange.answer, ApiError) else None
        self._gate.record_response(exchange.http_status, exchange.retry_after)
        if failed is not None:
            _log.warning("listing.failed", account=self._account.name, user=user_id, reason=failed.reason, detail=failed.detail)
        verdict = Verdict(failed.reason, failed.detail) if failed is not None else Verdict(Reason.OK)
        observation = Observation(0, exchange.sent_at, exchange.at, verdict, http_status=exchange.http_status)
        await self._parts.database.write(partial(self._write_hearing, user_id, observation))

    async def _take(self, user_id: str, listing: Listing, server_at: datetime | None) -> None:
        rows = {row.platform_id: row for row in listing.rows}
        if user_id not in self._inventories:
            self._inventories[user_id] = Inventory(frozenset(one.platform_id for one in self._own(user_id) if one.listed))
        # Rows that could not be read may be any of those that seem to lack.
        present = rows if not listing.skipped else rows.keys() | self._inventories[user_id].platform_ids
        result = self._compare(self._inventories[user_id], present)
        self._inventories[user_id] = result.inventory
        if listing.skipped:
            _log.warning("listing.rows_skipped", account=self._account.name, user=user_id, rows=listing.skipped)
        if result.short:
            await self._parts.database.write(partial(self._write_doubt, user_id, len(rows), result))
        if result.appeared or result.vanished:
            await self._change(user_id, result.appeared, result.vanished)
        known = [(one, rows[one.platform_id]) for one in self._own(user_id) if one.platform_id in rows]
        for start in range(0, len(known), _BATCH):
            await self._parts.database.write(partial(self._write_rows, known[start : start + _BATCH], server_at))

    def _compare(self, inventory: Inventory, listed: Collection[str]) -> Comparison:
        # A little less than the pause between two lists: it varies.
        apart = self._config.schedule.discovery.total_seconds() * 0.9
        return diff_listing(inventory, listed, at=self._parts.clock.monotonic(), min_gap=apart)

    async def _change(self, user_id: str, appeared: frozenset[str], vanished: frozenset[str]) -> None:
        if appeared:
            _log.info("connections.appeared", account=self._account.name, user=user_id, count=len(appeared), ids=sorted(appeared)[:10])
        if vanished:
            _log.info("connections.vanished", account=self._account.name, user=user_id, count=len(vanished), ids=sorted(vanished)[:10])
        await connection_sync.sync(
            self._parts.database,
            self._parts.registry,
            self._config,
            appeared=[(self._account.name, user_id, one) for one in appeared],
            vanished=[(self._account.name, user_id, one) for one in vanished],
        )
        self._parts.changed()

    def _own(self, user_id: str) -> list[Connection]:
        return [one for one in self._everybody() if one.user_id == user_id]

    def _everybody(self) -> list[Connection]:
        return self._parts.registry.connections_of(self._account.name)

    def _write_hearing(self, user_id: str, observation: Observation, store: Store) -> None:
        unit_of_work(self._parts.registry, store).record_account_result(self._account.name, user_id, observation)

    def _write_doubt(self, user_id: str, count: int, result: Comparison, store: Store) -> None:
        staging = unit_of_work(self._parts.registry, store)
        staging.notify_short_listing(self._account.name, user_id, count, len(result.inventory.platform_ids))

    def _write_loss(self, key: ScopeKey, store: Store) -> None:
        staging = unit_of_work(self._parts.registry, store)
        now = staging.now()
        staging.change_scope(key, partial(closed, now=now), now)

    def _write_rows(self, known: list[tuple[Connection, ListedConnection]], server_at: datetime | None, store: Store) -> None:
        staging = unit_of_work(self._parts.registry, store)
        now = self._parts.clock.now()
        for connection, row in known:
            staging.apply_listing(connection, row, now, server_at)
