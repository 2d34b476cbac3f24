"""Delivers open incidents to the receivers that routes name now: after a start, a reload, and when a name of the API is found."""

from datetime import datetime
from functools import partial

from monitor.clock import Clock
from monitor.db import Database
from monitor.logs import get_logger
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.receiver_sync import deliver_open
from monitor.state.registry import Registry

_log = get_logger(__name__)


class Rerouter:
    """Routes the open incidents anew whenever the configuration, or what its names stand for, is another one, or a suppression may end."""

    def __init__(self, *, registry: Registry, database: Database, clock: Clock) -> None:
        self._registry = registry
        self._database = database
        self._clock = clock
        self._routed_by: EvaluationConfig | None = None
        self._suppressed_until: datetime | None = None
        self._controls_version = 0

    async def step(self) -> bool:
        """Route them if that is due; returns False: there is never more to do at once."""
        config, version = self._registry.config, self._registry.controls_version
        if self._is_due(config, version) and self._database.storage_up:
            sent, self._suppressed_until = await self._database.write(partial(deliver_open, config, (), self._clock.now()))
            for receiver, count in sent.items():
                _log.info("receiver.updated", receiver=receiver, sent=count)
            self._routed_by, self._controls_version = config, version
        return False

    def _is_due(self, config: EvaluationConfig, controls_version: int) -> bool:
        if config is not self._routed_by:
            return True
        until = self._suppressed_until
        return until is not None and (self._clock.now() >= until or controls_version != self._controls_version)
