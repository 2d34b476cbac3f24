"""What the pages of a node show: everything, from rows, whichever node has written them."""

from collections.abc import Callable
from functools import partial

from monitor.clock import Clock
from monitor.config import Config
from monitor.db import Database
from monitor.errors import StoreError
from monitor.logs import get_logger
from monitor.state.registry import Registry

_log = get_logger(__name__)

_FRESH_SECONDS = 5.0
_SHARE_OF_TIME = 20
_LOOKED_AT_SECONDS = 60.0


class ShownRows:
    """All rows as a registry that evaluates nothing, read again every few seconds while pages are asked for."""

    def __init__(self, database: Database, config: Callable[[], Config], clock: Clock) -> None:
        self._database = database
        self._config = config
        self._clock = clock
        self._registry: Registry | None = None
        self._asked_at = clock.monotonic()
        self._due = float("-inf")

    def registry(self) -> Registry | None:
        """What was read last; None before the first time."""
        self._asked_at = self._clock.monotonic()
        return self._registry

    async def step(self) -> bool:
        """Read the rows if that is due; there is never more to do at once."""
        begun = self._clock.monotonic()
        if begun < self._due or begun - self._asked_at > _LOOKED_AT_SECONDS:
            return False
        try:
            self._registry = await self._database.read(partial(Registry.of_rows, config=self._config(), clock=self._clock))
        except StoreError as error:
            _log.debug("snapshot.read_failed", error=str(error))
        took = self._clock.monotonic() - begun
        self._due = begun + max(_FRESH_SECONDS, _SHARE_OF_TIME * took)
        return False
