"""The discoverer of one account: which connections exist, and what the API's list says of their tokens."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from monitor.clock import Clock
from monitor.config import AccountSettings, Config
from monitor.db import Database
from monitor.domain.connections import Connection
from monitor.domain.events import Severity
from monitor.domain.reasons import Scope, meaning
from monitor.domain.replies.checks import Observation, Verdict
from monitor.domain.replies.listings import Comparison, Inventory, Listing, UserListing, diff_listing, is_same_listing
from monitor.domain.scopes.key import ACCOUNT, USER, ScopeKey
from monitor.errors import ApiError, Reason
from monitor.http.errors import BrokenOffError
from monitor.logs import get_logger
from monitor.postpost.client import ApiClient, ApiResult
from monitor.postpost.rate_limit import RateLimiter
from monitor.state import connection_sync
from monitor.state.registry import Registry
from monitor.state.unit_of_work import apply_listing, close_scope, notify_inventory, record_account_result
from monitor.text import inventory as inventory_text

_log = get_logger(__name__)
_BATCH = 200
_APART_SECONDS = 0.1
_WORKSPACE = "workspace"
_WIDE = frozenset({Scope.ACCOUNT, Scope.API})


class Discoverer:
    """Reads the lists of one account when they are due; a failed list changes nothing but the scopes above it."""

    def __init__(
        self,
        account: AccountSettings,
        config: Config,
        api: ApiClient,
        rate_limiter: RateLimiter,
        *,
        registry: Registry,
        database: Database,
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        self._account = account
        self._config = config
        self._api = api
        self._rate_limiter = rate_limiter
        self._registry = registry
        self._database = database
        self._clock = clock
        self._on_change = on_change
        self._inventories: dict[str, Inventory] = {}
        self._user_inventory: Inventory | None = None
        self._short_users = False
        self._inactive: tuple[str, ...] = ()
        self._own_listing: Listing | None = None
        self._owners: frozenset[str] = frozenset()
        self._failures = 0
        # All lists at once would hold up the start, and where connections are known there is no hurry.
        self._due = clock.monotonic() + (config.accounts.index(account) * _APART_SECONDS if self._has_connections() else 0)

    async def step(self) -> bool:
        """Read the lists if they are due; returns False: there is never more to do at once."""
        if self._account.discover == "off" or self._clock.monotonic() < self._due or self._rate_limiter.paused():
            return False
        if self._has_connections() and self._registry.list_pause(self._account.name) is not None:
            # The checks' canaries notice the recovery; lists would only add to the load.
            return False
        try:
            complete = await self._read_all()
        except BrokenOffError:
            return False
        self._registry.note_listed(self._account.name, complete=complete)
        self._failures = 0 if complete else self._failures + 1
        self._due = self._clock.monotonic() + self._pause().total_seconds()
        if not complete and self._has_connections() and self._registry.list_pause(self._account.name) is not None:
            # A check of the suspected scope is due at once.
            self._on_change()
        return False

    def idle_seconds(self) -> float:
        """How long until the lists are due."""
        return self._due - self._clock.monotonic() if self._account.discover != "off" else float("inf")

    def _has_connections(self) -> bool:
        return self._registry.member_count(ScopeKey(ACCOUNT, self._account.name)) > 0

    def _pause(self) -> timedelta:
        schedule = self._config.schedule
        # Without connections only the list shows whether the account and the API work.
        probe = None if self._has_connections() else self._registry.list_pause(self._account.name)
        usual = schedule.discovery if probe is None else min(schedule.discovery, probe)
        return min(usual, schedule.recheck * (1 << min(self._failures - 1, 10))) if self._failures else usual

    async def _read_all(self) -> bool:
        """Read every list of the account; returns whether all succeeded. A failure of the whole account ends the round."""
        own = (self._account.user_id,)
        users: tuple[str, ...] = own
        complete = True
        if self._account.discover == _WORKSPACE:
            managed = await self._users()
            if isinstance(managed, ApiError) and meaning(managed.reason).scope in _WIDE:
                return False
            complete = not isinstance(managed, ApiError)
            users = own if isinstance(managed, ApiError) else (*own, *(user_id for user_id in managed if user_id not in own))
        for user_id in users:
            error = await self._read(user_id)
            complete = complete and error is None
            if error is not None and meaning(error.reason).scope in _WIDE:
                break
        return complete

    async def _users(self) -> tuple[str, ...] | ApiError:
        """The managed users, or the error of their list. Removes the connections of users that have vanished."""
        await self._rate_limiter.acquire()
        result = await self._api.users()
        await self._record(_WORKSPACE, result)
        if isinstance(result.answer, ApiError):
            return result.answer
        self._log_skipped_users(result.answer)
        listed = tuple(user.id for user in result.answer.users)
        if self._user_inventory is None:
            known = frozenset(connection.user_id for connection in self._connections() if connection.listed)
            self._user_inventory = Inventory(known - {self._account.user_id})
        # A row that could not be read may be any of the missing users.
        unread = self._user_inventory.platform_ids - set(result.answer.inactive) if result.answer.skipped else frozenset()
        comparison = self._compare(self._user_inventory, unread | set(listed))
        self._user_inventory = comparison.inventory
        # By the next list, checks have shown whether the API refuses the missing users: that is one incident, and no notice besides.
        if self._short_users and comparison.inventory.short_since is not None and not self._all_refused():
            still_listed = comparison.known - len(comparison.inventory.missing)
            await self._notify("", inventory_text.short_users(still_listed, comparison.known), len(comparison.inventory.missing))
        self._short_users = comparison.short
        await self._remove_users(sorted(comparison.vanished))
        return listed

    def _log_skipped_users(self, listing: UserListing) -> None:
        """Log which users are left out, whenever that changes."""
        if listing.skipped:
            _log.warning("users.rows_skipped", account=self._account.name, rows=listing.skipped)
        if listing.inactive != self._inactive:
            self._inactive = listing.inactive
            hint = "the API calls these managed users inactive: their connections are not watched"
            _log.info("users.skipped", account=self._account.name, count=len(listing.inactive), ids=listing.inactive[:10], hint=hint)

    async def _remove_users(self, user_ids: Sequence[str]) -> None:
        """Remove users that are no longer listed, and notify of those that had connections or an open incident."""
        known = self._all_refused()
        lost = {user_id: len(self._listed_ids(user_id)) for user_id in user_ids if self._is_watched(user_id) and not known}
        for user_id in user_ids:
            await self._remove_user(user_id)
        if lost:
            text = inventory_text.users_lost([self._user_name(user_id) for user_id in lost], sum(lost.values()))
            await self._notify("", text, sum(lost.values()), Severity.WARNING)

    def _user_name(self, user_id: str) -> str:
        return self._registry.config.users.get(user_id, user_id)

    def _is_watched(self, user_id: str) -> bool:
        return bool(self._listed_ids(user_id)) or self._registry.scope(ScopeKey(USER, self._account.name, user_id)).open

    def _all_refused(self) -> bool:
        """Whether the incident of all users of the account is open: its end says that they are no longer watched."""
        return self._registry.scope(ScopeKey(USER, self._account.name)).open

    async def _remove_user(self, user_id: str) -> None:
        """Remove the connections that only the list of this user had; without any left, close the user's scope too."""
        self._inventories.pop(user_id, None)
        await self._change(user_id, frozenset(), self._listed_ids(user_id))
        if not self._connections_of(user_id):
            await self._database.write(partial(close_scope, self._registry, ScopeKey(USER, self._account.name, user_id)))

    async def _read(self, user_id: str) -> ApiError | None:
        """Read one list; returns its error."""
        await self._rate_limiter.acquire()
        result = await self._api.connections(user_id)
        await self._record(user_id, result)
        if isinstance(result.answer, ApiError):
            return result.answer
        if user_id == self._account.user_id and self._account.discover == _WORKSPACE:
            self._own_listing = result.answer
        if self._is_owner(user_id, result.answer):
            await self._leave_out_owner(user_id)
        else:
            await self._apply(user_id, result.answer, result.server_at)
        return None

    def _is_owner(self, user_id: str, listing: Listing) -> bool:
        """Whether a managed user is the account's owner, whose connections are watched already; once known, while it has the same ids."""
        own = self._own_listing
        if user_id == self._account.user_id or own is None:
            return False
        if user_id in self._owners:
            return {row.platform_id for row in listing.rows} == {row.platform_id for row in own.rows}
        return is_same_listing(own, listing)

    async def _leave_out_owner(self, user_id: str) -> None:
        """Watch the connections of the owner, who is also listed as managed user *user_id*, only once."""
        doubled = self._listed_ids(user_id)
        if user_id not in self._owners:
            self._owners |= {user_id}
            hint = "this managed user is the owner of the account: its connections are watched once"
            _log.warning("users.owner_listed", account=self._account.name, user=user_id, hint=hint)
        self._inventories.pop(user_id, None)
        if doubled:
            await self._change(user_id, frozenset(), doubled)
            await self._notify(user_id, inventory_text.owner_listed(self._user_name(user_id), len(doubled)), len(doubled), Severity.INFO)

    async def _record(self, user_id: str, result: ApiResult[Any]) -> None:
        """Record the result for the scopes above the list: without connections, only lists show a rejected key."""
        error = result.answer if isinstance(result.answer, ApiError) else None
        self._rate_limiter.record_response(result.http_status, result.retry_after)
        if error is not None:
            _log.warning("listing.failed", account=self._account.name, user=user_id, reason=error.reason, detail=error.detail)
        verdict = Verdict(error.reason, error.detail) if error is not None else Verdict(Reason.OK)
        observation = Observation(0, result.sent_at, result.at, verdict, http_status=result.http_status)
        await self._database.write(partial(record_account_result, self._registry, self._account.name, user_id, observation))

    async def _apply(self, user_id: str, listing: Listing, server_at: datetime | None) -> None:
        rows = {row.platform_id: row for row in listing.rows}
        if user_id not in self._inventories:
            self._inventories[user_id] = Inventory(self._listed_ids(user_id))
        # A row that could not be read may be any of the missing connections.
        present = rows if not listing.skipped else rows.keys() | self._inventories[user_id].platform_ids
        comparison = self._compare(self._inventories[user_id], present)
        self._inventories[user_id] = comparison.inventory
        if listing.skipped:
            _log.warning("listing.rows_skipped", account=self._account.name, user=user_id, rows=listing.skipped)
        if comparison.short:
            await self._notify(user_id, inventory_text.short_list(len(rows), comparison.known), comparison.known - len(rows))
        if comparison.is_unusual(self._registry.config.policy.discovery):
            lost = len(comparison.vanished)
            await self._notify(user_id, inventory_text.connections_lost(lost, comparison.known), lost, Severity.WARNING)
        if comparison.appeared or comparison.vanished:
            await self._change(user_id, comparison.appeared, comparison.vanished)
        pairs = [(item, rows[item.platform_id]) for item in self._connections_of(user_id) if item.platform_id in rows]
        for start in range(0, len(pairs), _BATCH):
            await self._database.write(partial(apply_listing, self._registry, pairs[start : start + _BATCH], server_at))

    def _compare(self, inventory: Inventory, listed: Collection[str]) -> Comparison:
        # A little less than the interval between two lists, which varies.
        min_gap = self._config.schedule.discovery.total_seconds() * 0.9
        short_over = self._registry.config.policy.discovery.short_over.total_seconds()
        return diff_listing(inventory, listed, at=self._clock.monotonic(), min_gap=min_gap, short_over=short_over)

    async def _notify(self, user_id: str, text: str, affected: int, severity: Severity = Severity.INFO) -> None:
        work = partial(notify_inventory, self._registry, self._account.name, user_id, text, affected=affected, severity=severity)
        await self._database.write(work)

    async def _change(self, user_id: str, appeared: frozenset[str], vanished: frozenset[str]) -> None:
        if appeared:
            _log.info("connections.appeared", account=self._account.name, user=user_id, count=len(appeared), ids=sorted(appeared)[:10])
        if vanished:
            _log.info("connections.vanished", account=self._account.name, user=user_id, count=len(vanished), ids=sorted(vanished)[:10])
        await connection_sync.sync(
            self._database,
            self._registry,
            self._config,
            account=self._account.name,
            appeared=[(self._account.name, user_id, platform_id) for platform_id in appeared],
            vanished=[(self._account.name, user_id, platform_id) for platform_id in vanished],
        )
        self._on_change()

    def _connections(self) -> list[Connection]:
        return self._registry.connections_of(self._account.name)

    def _connections_of(self, user_id: str) -> list[Connection]:
        return [connection for connection in self._connections() if connection.user_id == user_id]

    def _listed_ids(self, user_id: str) -> frozenset[str]:
        return frozenset(connection.platform_id for connection in self._connections_of(user_id) if connection.listed)
