"""Whether a node is fit to work: not while its clock is wrong, nor while it alone can't reach the API, which it asks without a key."""

import asyncio
from datetime import timedelta

from monitor import __version__
from monitor.clock import Clock
from monitor.config import Config
from monitor.config.secrets import Secret
from monitor.domain.cluster.sharing import ClusterView
from monitor.postpost.client import ApiClient
from monitor.state.cluster import AccountRegistry

CLOCK_DIFFERS = "its clock differs from the database server's by more than 30 seconds"
API_OUT_OF_REACH = "it does not reach the API, which answers other nodes"

_CLOCK_DIFFERENCE = timedelta(seconds=30)
_ASKED_EVERY_SECONDS = 5.0
_ASKED_FOR_SECONDS = 3.0
# Before the first of its accounts would count as failing.
_SHARE_OF_OPEN_AFTER = 4
_SERVER_ERRORS = 500


class Fitness:
    """Why this node takes no work, looked at again once a second."""

    def __init__(self, config: Config, registry: AccountRegistry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._api = ApiClient(config.api, Secret("none"), clock=clock, user_agent=f"postpost-monitor/{__version__}")
        self._asked_at = float("-inf")
        self._reached = True

    async def unfit(self, view: ClusterView) -> str:
        """The reason; empty when this node is fit."""
        if abs(view.now - self._clock.now()) > _CLOCK_DIFFERENCE:
            return CLOCK_DIFFERS
        suspected = not self._reached or self._registry.fails_alone(self._registry.config.policy.scopes.open_after / _SHARE_OF_OPEN_AFTER)
        if suspected and self._clock.monotonic() - self._asked_at >= _ASKED_EVERY_SECONDS:
            self._asked_at = self._clock.monotonic()
            self._reached = await self._reaches_api()
            if self._reached:
                self._registry.failing_since = None
        return "" if self._reached else API_OUT_OF_REACH

    async def _reaches_api(self) -> bool:
        try:
            async with asyncio.timeout(_ASKED_FOR_SECONDS):
                result = await self._api.connections()
        except TimeoutError:
            return False
        return result.http_status is not None and result.http_status < _SERVER_ERRORS

    async def close(self) -> None:
        """Close the HTTP client; idempotent."""
        await self._api.close()
