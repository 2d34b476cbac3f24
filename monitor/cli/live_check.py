"""Tests of connections made by a command: now, without a database, within each account's request budget."""

import asyncio
from types import TracebackType
from typing import Self

from monitor.clock import Clock
from monitor.config import Config
from monitor.domain.checks import Reply, Verdict
from monitor.domain.connections import Connection
from monitor.domain.listings import Listing
from monitor.domain.verdicts import judge
from monitor.errors import ApiError, UsageError
from monitor.postpost.client import ApiClient
from monitor.postpost.rate_limit import RateLimiter, RequestPacing
from monitor.state.evaluation_config import EvaluationConfig
from monitor.workers.group import USER_AGENT


class LiveChecker:
    """As many tests at a time as `api.concurrency` allows, for each account; closes what is open when the context ends."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._lies = EvaluationConfig.from_config(config, "").false_negatives
        self._accounts: dict[str, tuple[ApiClient, RateLimiter, asyncio.Semaphore]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for api, _, _ in self._accounts.values():
            await api.close()

    async def test(self, connection: Connection) -> tuple[Verdict, Reply | None]:
        """What the API says of *connection* now."""
        api, gate, room = self._account(connection.account)
        async with room:
            await gate.acquire()
            answer = (await api.test(connection.platform_id, connection.user_id)).answer
        return judge(answer, connection, self._lies), answer if isinstance(answer, Reply) else None

    async def listed(self, account: str, user_id: str) -> Listing | ApiError:
        """The list of an account's connections, or why it could not be had."""
        api, gate, room = self._account(account)
        async with room:
            await gate.acquire()
            return (await api.connections(user_id)).answer

    def _account(self, name: str) -> tuple[ApiClient, RateLimiter, asyncio.Semaphore]:
        if name not in self._accounts:
            settings = next((one for one in self._config.accounts if one.name == name), None)
            if settings is None:
                raise UsageError(f"the account {name} is no longer configured, so nothing can be tested in it")
            api = ApiClient(self._config.api, settings.api_key, clock=self._clock, user_agent=USER_AGENT)
            gate = RateLimiter(RequestPacing(rate=self._config.api.requests_per_second), self._clock)
            self._accounts[name] = (api, gate, asyncio.Semaphore(self._config.api.concurrency))
        return self._accounts[name]
