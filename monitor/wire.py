"""
The way to a server: name lookup, certificates, connections, and the libraries' exceptions in our own words.

The texts of the libraries' exceptions are never used: one of them quotes the header that holds the key.

Source: reliability.md F07, F15, F16, 4.4 and 4.5.
"""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import threading
import traceback
from collections.abc import Callable
from typing import Any

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import LineTooLong

from monitor.errors import ApiError, ConfigError, Problem, Reason

KEEP_ALIVE_SECONDS = 5.0
"""Idle connections are dropped soon, so that a changed address is used soon."""

DNS_SECONDS = 10
"""How long a looked-up address is used."""

DNS_THREADS = 8

Lookup = Callable[..., list[tuple[Any, ...]]]
"""Resolves a host name and port as `socket.getaddrinfo` does; blocks."""

_OUR_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})

# OpenSSL's X509_V_ERR_ numbers.
_EXPIRED = 10
_CERTIFICATE_WORDS = {
    9: "its certificate is not valid yet",
    18: "its certificate is self-signed",
    19: "its certificate comes from an unknown authority",
    20: "its certificate comes from an unknown authority",
    62: "its certificate is for another host name",
    64: "its certificate is for another address",
}


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


def make_session(tls: ssl.SSLContext, lookup: Lookup, connect_seconds: float) -> aiohttp.ClientSession:
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


def explain(error: Exception, deadline: float, connect_seconds: float) -> ApiError:
    """A library's exception as one of ours; *deadline* and *connect_seconds* are the limits that may have passed."""
    if isinstance(error, ApiError):
        return error
    causes = _causes(error)
    for kinds, words in _EXPLANATIONS:
        for cause in causes:
            if isinstance(cause, kinds):
                return words(cause)
    if any(isinstance(cause, aiohttp.ServerTimeoutError) for cause in causes):
        return ApiError(Reason.API_TIMEOUT, f"no connection within {connect_seconds:g} s")
    if isinstance(error, TimeoutError):
        return ApiError(Reason.API_TIMEOUT, f"no complete answer within {deadline:g} s")
    return ApiError(Reason.MONITOR_INTERNAL, _place(causes[-1]))


def was_stale(error: Exception) -> bool:
    """Whether the server had closed the connection before it answered anything on it."""
    causes = _causes(error)
    return not any(isinstance(cause, aiohttp.ClientConnectorError) for cause in causes) and any(
        isinstance(cause, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError) for cause in causes
    )


class _LookupFailed(OSError):
    """A host name could not be resolved; `words` says why."""

    def __init__(self, words: str) -> None:
        super().__init__(None, words)
        self.words = words


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


def _causes(error: BaseException) -> list[BaseException]:
    """An exception and what it was raised from, outermost first."""
    causes: list[BaseException] = []
    while error not in causes and len(causes) < 8:
        causes.append(error)
        error = error.__cause__ or error
    return causes


def _place(error: BaseException) -> str:
    """What went wrong and where, without the exception's text."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


def _unreachable(error: BaseException) -> ApiError:
    if isinstance(getattr(error, "os_error", None), ConnectionResetError | ConnectionAbortedError):
        # The connection was there: only a TLS handshake comes between that and the request.
        return ApiError(Reason.API_TLS_FAILED, "the TLS handshake was broken off")
    number = error.errno if isinstance(error, OSError) else None
    if number in _OUR_ERRNOS:
        return ApiError(Reason.MONITOR_INTERNAL, os.strerror(number))
    return ApiError(Reason.API_UNREACHABLE, os.strerror(number) if number else "no address answers")


def _certificate(error: BaseException) -> ApiError:
    cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error
    code = getattr(cause, "verify_code", 0)
    if code == _EXPIRED:
        return ApiError(Reason.API_TLS_EXPIRED, "its certificate has expired")
    return ApiError(Reason.API_TLS_FAILED, _CERTIFICATE_WORDS.get(code, f"its certificate is refused (code {code})"))


def _handshake(error: BaseException) -> ApiError:
    reason = getattr(getattr(error, "os_error", None), "reason", None)
    return ApiError(Reason.API_TLS_FAILED, f"no TLS connection ({reason or 'handshake failed'})")


def _malformed(error: BaseException) -> ApiError:
    if any(isinstance(cause, LineTooLong) for cause in _causes(error)):
        return ApiError(Reason.REPLY_TOO_LARGE, "the answer's headers are too large")
    return ApiError(Reason.REPLY_INVALID, "the answer is not HTTP")


def _lookup_failed(error: BaseException) -> ApiError:
    return ApiError(Reason.API_DNS_FAILED, error.words if isinstance(error, _LookupFailed) else "the name cannot be looked up")


def _broken(_: BaseException) -> ApiError:
    return ApiError(Reason.API_DISCONNECTED, "the connection broke before an answer came")


def _broken_off(_: BaseException) -> ApiError:
    return ApiError(Reason.API_DISCONNECTED, "the connection broke in the middle of the answer")


_EXPLANATIONS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Callable[[BaseException], ApiError]], ...] = (
    (_LookupFailed, _lookup_failed),
    (aiohttp.ClientConnectorDNSError, _lookup_failed),
    (aiohttp.ClientConnectorCertificateError, _certificate),
    (aiohttp.ClientConnectorSSLError, _handshake),
    (aiohttp.ClientConnectorError, _unreachable),
    (aiohttp.ClientPayloadError, _broken_off),
    (aiohttp.ClientResponseError, _malformed),
    ((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError), _broken),
)
"""The narrower kind first."""
