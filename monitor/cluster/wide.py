"""The wide scopes, decided on the node that tends `global` from what all nodes learn."""

from functools import partial

from monitor.clock import Clock
from monitor.db import Database, Reader, read_connections
from monitor.domain.connections import Connection
from monitor.errors import StoreUnavailable
from monitor.logs import get_logger
from monitor.state.cluster import GlobalRegistry, apply_findings, publish_board
from monitor.state.unit_of_work import evaluate_due

_log = get_logger(__name__)
_TOLD_SECONDS = 0.9


class WideScopes:
    """Takes in what the nodes learn, evaluates the wide scopes, and tells all nodes how these are."""

    def __init__(self, registry: GlobalRegistry, database: Database, clock: Clock) -> None:
        self._registry = registry
        self._database = database
        self._clock = clock
        self._tell_at = clock.monotonic()

    async def step(self) -> bool:
        """Do all that is due; returns whether more was found than fits into one transaction."""
        self._registry.beat()
        more = await self._database.write(partial(apply_findings, self._registry))
        await self._read_relisted()
        now = self._clock.now()
        due_at = self._registry.next_evaluation_at()
        if due_at is not None and due_at <= now:
            await self._database.write(partial(evaluate_due, self._registry, now))
        if self._clock.monotonic() >= self._tell_at:
            self._tell_at = self._clock.monotonic() + _TOLD_SECONDS
            await self._database.write(partial(publish_board, self._registry))
        return more

    async def _read_relisted(self) -> None:
        """Read the connections of accounts that have others now."""
        while self._registry.relisted:
            account = self._registry.relisted.pop()
            try:
                connections = await self._database.read(partial(_connections_of, account))
            except StoreUnavailable as error:
                self._registry.relisted.add(account)
                _log.debug("cluster.unavailable", problem=str(error))
                return
            self._registry.set_connections(connections, account=account)
            self._registry.find_unmatched()
            self._registry.find_loads()


def _connections_of(account: str, reader: Reader) -> list[Connection]:
    return read_connections(reader, account=account)
