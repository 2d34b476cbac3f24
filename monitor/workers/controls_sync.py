"""Silences, acknowledgements and accepted losses, which operators' commands write into the database; read at every wake."""

from monitor.clock import Clock
from monitor.db import Database, Reader, accepted_losses, acks_of_open, silences_since
from monitor.domain.silencing.acceptance import Acceptance
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.silences import Silence
from monitor.errors import StoreUnavailable
from monitor.logs import get_logger
from monitor.state.registry import Registry

_log = get_logger(__name__)


class ControlsSync:
    """Updates the controls of the registry; while the database is unavailable, the last ones stay in force."""

    def __init__(self, *, registry: Registry, database: Database, clock: Clock) -> None:
        self._registry = registry
        self._database = database
        self._clock = clock

    async def step(self) -> bool:
        """Read the controls once; returns False: there is never more to do at once."""
        try:
            silences, acks, accepted = await self._database.read(self._read)
        except StoreUnavailable as error:
            _log.debug("controls.unavailable", problem=str(error))
            return False
        before = self._registry.controls_version
        self._registry.set_requests(silences, acks, accepted)
        if self._registry.controls_version != before:
            _log.info("controls.changed", silences=[silence.id for silence in silences], acknowledged=len(acks), accepted=len(accepted))
        return False

    def _read(self, reader: Reader) -> tuple[list[Silence], list[Ack], list[Acceptance]]:
        return silences_since(reader, self._clock.now()), acks_of_open(reader), accepted_losses(reader)
