"""
What operators ask for while the monitor runs: silences and acknowledgements, which their commands write into the database.

They are read anew at every beat, so that a command takes effect within seconds, without a signal and without a port.
"""

import structlog

from monitor.clock import Clock
from monitor.db import Database, Reader, acks_of_open, silences_since
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.silences import Silence
from monitor.errors import StoreUnavailable
from monitor.state.registry import Registry

_log = structlog.get_logger(__name__)


class ControlsSync:
    """Hands the registry what is asked for; while the database is out of reach, what was asked for before holds on."""

    def __init__(self, *, registry: Registry, database: Database, clock: Clock) -> None:
        self._registry = registry
        self._database = database
        self._clock = clock

    async def step(self) -> bool:
        """Read what is asked for once; never more to do."""
        try:
            silences, acks = await self._database.read(self._read)
        except StoreUnavailable as error:
            _log.debug("controls.unavailable", problem=str(error))
            return False
        before = self._registry.controls_version
        self._registry.set_requests(silences, acks)
        if self._registry.controls_version != before:
            _log.info("controls.changed", silences=[silence.id for silence in silences], acknowledged=len(acks))
        return False

    def _read(self, reader: Reader) -> tuple[list[Silence], list[Ack]]:
        return silences_since(reader, self._clock.now()), acks_of_open(reader)
