"""Checks made by a command: now, without a database, within each account's request budget."""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from monitor.clock import Clock
from monitor.config import Config
from monitor.domain.connections import Connection
from monitor.domain.replies.checks import Reply, Verdict
from monitor.domain.replies.listings import Listing
from monitor.domain.replies.verdicts import judge
from monitor.errors import ApiError, UsageError
from monitor.postpost.client import ApiClient
from monitor.postpost.rate_limit import RateLimiter, RequestPacing
from monitor.state.evaluation_config import EvaluationConfig
from monitor.workers.group import USER_AGENT


@dataclass(frozen=True, slots=True)
class _Account:
    """The client of one account, and what limits its requests."""

    client: ApiClient
    limiter: RateLimiter
    concurrency: asyncio.Semaphore


class LiveChecker:
    """Tests connections, up to `api.concurrency` at a time in each account; the context closes its clients."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._evaluation_config = EvaluationConfig.from_config(config, "")
        self._accounts: dict[str, _Account] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for account in self._accounts.values():
            await account.client.close()

    async def test(self, connection: Connection) -> tuple[Verdict, Reply | None]:
        """Test *connection* now."""
        account = self._account(connection.account)
        async with account.concurrency:
            await account.limiter.acquire()
            answer = (await account.client.test(connection.platform_id, connection.user_id)).answer
        rules, texts = self._evaluation_config.false_negatives, self._evaluation_config.platform_texts
        return judge(answer, connection, rules, texts), answer if isinstance(answer, Reply) else None

    async def listing(self, name: str, user_id: str) -> Listing | ApiError:
        """The listing of an account, or why it could not be read."""
        account = self._account(name)
        async with account.concurrency:
            await account.limiter.acquire()
            return (await account.client.connections(user_id)).answer

    def _account(self, name: str) -> _Account:
        if name not in self._accounts:
            settings = next((each for each in self._config.accounts if each.name == name), None)
            if settings is None:
                raise UsageError(f"the account {name} is no longer configured, so its connections cannot be tested")
            api = self._config.api
            self._accounts[name] = _Account(
                ApiClient(api, settings.api_key, clock=self._clock, user_agent=USER_AGENT),
                RateLimiter(RequestPacing(rate=api.requests_per_second), self._clock),
                asyncio.Semaphore(api.concurrency),
            )
        return self._accounts[name]
