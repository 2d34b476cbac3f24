"""The HTTP transport to the watched API: one for all accounts, whose requests share connections, and replaced after internal errors."""

import asyncio
import socket
from collections.abc import Callable

from monitor.clock import Clock
from monitor.config.sections.core import ApiSettings
from monitor.errors import ApiError, Reason
from monitor.http.gate import Gate
from monitor.http.transport import KEEP_ALIVE_SECONDS, Lookup, Transport, tls_context


class ApiTransport:
    """
    The transport of the moment.

    Args:
        lookup: resolves a host name and port, as `socket.getaddrinfo` does; blocks, so it runs in a thread.
        rebuilt: called whenever it was replaced.
        gate: lets requests out; always open unless given.

    Raises:
        ConfigError: the file with certificate authorities can't be used.
    """

    def __init__(
        self,
        settings: ApiSettings,
        *,
        clock: Clock,
        lookup: Lookup = socket.getaddrinfo,
        rebuilt: Callable[[], None] = lambda: None,
        gate: Gate | None = None,
    ) -> None:
        self._gate = gate
        self._clock = clock
        self._deadline = settings.timeout.total_seconds()
        self._connect_seconds = settings.connect_timeout.total_seconds()
        self._tls = tls_context(settings.base_url, settings.ca_file)
        self._lookup = lookup
        self._rebuilt = rebuilt
        self._transport: Transport | None = None
        self._retired: set[asyncio.Task[None]] = set()
        self._closed = False

    def current(self) -> Transport:
        """What the next request goes through; raises ApiError when it is closed."""
        if self._transport is None:
            if self._closed:
                raise ApiError(Reason.MONITOR_INTERNAL, "the client of this account is closed")
            self._transport = Transport(
                self._tls,
                lookup=self._lookup,
                connect_seconds=self._connect_seconds,
                keep_alive_seconds=KEEP_ALIVE_SECONDS,
                gate=self._gate,
            )
        return self._transport

    def rebuild(self) -> None:
        """Use a new transport from now on; the old one is closed after the deadline of its requests."""
        if self._closed:
            return
        transport, self._transport = self._transport, None
        self._rebuilt()
        if transport is not None:
            task = asyncio.get_running_loop().create_task(self._retire(transport), name="retire-http-transport")
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)

    async def close(self) -> None:
        """Close all connections. Requests under way end as inconclusive; safe to call twice."""
        self._closed = True
        transport, self._transport = self._transport, None
        for task in self._retired:
            task.cancel()
        await asyncio.gather(*self._retired, return_exceptions=True)
        if transport is not None:
            await transport.close()

    async def _retire(self, transport: Transport) -> None:
        try:
            await self._clock.sleep(self._deadline)
        finally:
            await transport.close()
