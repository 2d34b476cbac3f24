"""
Sessions, TLS, deadlines, capped bodies.

The texts of the libraries' exceptions are never used: one of them quotes the header that holds the key.

Source: reliability.md F07, F15, F16, 4.4 and 4.5.
"""

import asyncio
import contextlib
import contextvars
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult

from monitor.errors import ConfigError, Problem
from monitor.http.addresses import is_refused
from monitor.http.errors import _LookupFailed

# Set by the guard when it refuses an address on behalf of the attempt of this context.
_refused: contextvars.ContextVar[list[str]] = contextvars.ContextVar("refused")


class AddressRefusedError(OSError):
    """The receiver's name leads to an address that is never connected to."""


def _open_socket(address: Any, *, deny_private: bool) -> socket.socket:
    """The socket for one resolved *address*; what is vetted here is what is connected to, whatever the name says next time."""
    family, kind, protocol, _, where = address
    if is_refused(str(where[0]), deny_private=deny_private):
        _refused.get([]).append("refused")
        raise AddressRefusedError("the address is not allowed")
    return socket.socket(family, kind, protocol)


KEEP_ALIVE_SECONDS = 5.0
"""Idle connections are dropped soon, so that a changed address is used soon."""

DNS_SECONDS = 10
"""How long a looked-up address is used."""

DNS_THREADS = 8

Lookup = Callable[..., list[tuple[Any, ...]]]
"""Resolves a host name and port as `socket.getaddrinfo` does; blocks."""


def tls_context(base: str, ca_file: str | None) -> ssl.SSLContext:
    """
    What the server's certificate is checked against; there is no way to not check it.

    Raises:
        ConfigError: *ca_file* can't be used.
    """
    if not base.startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is None:
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        words = "there is no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        problem = Problem("api.ca_file", f"{ca_file} can't be used: {words}", "name a readable PEM file")
        raise ConfigError((problem,)) from None


def new_session(tls: ssl.SSLContext, lookup: Lookup, connect_seconds: float) -> aiohttp.ClientSession:
    """Connections that are kept alive: HTTP/1.1, no cookies, no decoding, nothing from the environment."""
    # No limit of its own: the caller bounds what is in flight, and slots that are not counted can't be lost.
    connector = aiohttp.TCPConnector(
        limit=0,
        ssl=tls,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        ttl_dns_cache=DNS_SECONDS,
        resolver=_Resolver(lookup, connect_seconds),
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("Content-Type",),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(sock_connect=connect_seconds),
        trust_env=False,
    )


class _Resolver(AbstractResolver):
    """
    Looks names up in a few threads of its own.

    The threads are daemons: one that hangs in the C library delays neither other work in the default pool nor the end of the program.
    """

    def __init__(self, lookup: Lookup, seconds: float) -> None:
        self._lookup = lookup
        self._seconds = seconds
        self._free = asyncio.Semaphore(DNS_THREADS)

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        """The addresses of *host* in *family*; usually of both."""
        try:
            async with asyncio.timeout(self._seconds):
                found = await self._in_thread(host, port, family)
        except TimeoutError:
            raise _LookupFailed(f"no answer from the name servers within {self._seconds:g} s") from None
        except socket.gaierror as error:
            unknown = error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
            raise _LookupFailed("the name does not exist" if unknown else "the name servers do not answer") from None
        except (OSError, UnicodeError):
            raise _LookupFailed("the name cannot be looked up") from None
        return [
            ResolveResult(hostname=host, host=address[0], port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST)
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Nothing to close."""

    async def _in_thread(self, host: str, port: int, family: socket.AddressFamily) -> list[tuple[Any, ...]]:
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[tuple[Any, ...]]] = loop.create_future()

        def finish(found: list[tuple[Any, ...]], error: Exception | None) -> None:
            self._free.release()
            if done.done():
                return
            if error is None:
                done.set_result(found)
            else:
                done.set_exception(error)

        def work() -> None:
            found: list[tuple[Any, ...]] = []
            error: Exception | None = None
            try:
                found = self._lookup(host, port, family=family, type=socket.SOCK_STREAM)
            except Exception as raised:  # noqa: BLE001 - handed to the waiting request
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is gone: so is whoever waited
                loop.call_soon_threadsafe(finish, found, error)

        try:
            threading.Thread(target=work, name="lookup", daemon=True).start()
        except RuntimeError:  # the machine has no thread left
            self._free.release()
            raise
        return await done
