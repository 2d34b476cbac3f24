"""Delivers open incidents to the receivers that routes name now: after a start, a reload, and when a name of the API is found."""

from functools import partial

from monitor.clock import Clock
from monitor.db import Database
from monitor.logs import get_logger
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.receiver_sync import deliver_open
from monitor.state.registry import Registry

_log = get_logger(__name__)


class Rerouter:
    """Routes the open incidents anew whenever the configuration, or what its names stand for, is another one."""

    def __init__(self, *, registry: Registry, database: Database, clock: Clock) -> None:
        self._registry = registry
        self._database = database
        self._clock = clock
        self._routed_by: EvaluationConfig | None = None

    async def step(self) -> bool:
        """Route them if that is due; returns False: there is never more to do at once."""
        config = self._registry.config
        if config is not self._routed_by and self._database.storage_up:
            for receiver, sent in (await self._database.write(partial(deliver_open, config, (), self._clock.now()))).items():
                _log.info("receiver.updated", receiver=receiver, sent=sent)
            self._routed_by = config
        return False
