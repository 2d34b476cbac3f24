"""
HTTP/1.1 transport: DNS, TLS, connection pool, deadlines, capped bodies.

It follows no redirects, keeps no cookies, reads no proxies from the environment, decodes no bodies and logs nothing.

Source: reliability.md F07, F15, F16, 4.4 and 4.5.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, cast
from weakref import WeakKeyDictionary

import httpx
from aiohappyeyeballs import start_connection
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from monitor.domain.copies import quick_init
from monitor.errors import ConfigError, Problem
from monitor.http.deadlines import Deadlines
from monitor.http.errors import Failure, HttpError, connect_error, lookup_error, tls_error
from monitor.http.proxy import Proxy
from monitor.http.tunnel import absolute_target, open_tunnel

KEEP_ALIVE_SECONDS = 5.0
"""Idle connections are closed soon, so that a changed address is used soon."""

DNS_SECONDS = 10.0
"""How long the addresses of a name are used."""

DNS_THREADS = 8

CONNECT_SECONDS = 60.0
"""Limit for a lookup, and for TCP and TLS, where only the total deadline is configured."""

HAPPY_EYEBALLS_SECONDS = 0.25
"""How long one address may take before the next is tried beside it. Source: RFC 8305, 8."""

TLS_CLOSE_SECONDS = 1.0
"""How long the end of a TLS connection may take."""

HEAD_LIMIT = 64 * 1024
_SEPARATORS = 4  # colon, space, line end
_DISCARD = struct.pack("ii", 1, 0)  # SO_LINGER: at the close nothing is sent any more
_FRAMING = 8  # a body in chunks of one byte takes six times its size

HEADERS = {
    name.encode(): name
    for name in (
        "content-encoding",
        "content-length",
        "date",
        "location",
        "retry-after",
        "transfer-encoding",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
    )
}
"""The headers of a response that are ever looked at."""

_FRAMING_HEADERS = ("content-length", "transfer-encoding")
_PORTS = {b"http": 80, b"https": 443}
_SPACES = 2  # in the first line of a request

AddressInfo = tuple[Any, ...]
"""An address as `socket.getaddrinfo` returns it."""

Lookup = Callable[..., list[AddressInfo]]
Refuse = Callable[[str], bool]
Origin = tuple[bytes, str, int]


@quick_init
@dataclass(frozen=True, slots=True)
class Response:
    """
    A response whose headers are complete.

    Attributes:
        headers: those of `HEADERS` that it has, by lower-case name.
        body: its first bytes as they came, at most the limit of the request.
        truncated: whether it is longer than that.
        failure: why the body ended before; None if it did not.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    truncated: bool = False
    failure: HttpError | None = None


def tls_context(base: str, ca_file: str | None) -> ssl.SSLContext:
    """
    Return what the server's certificate is checked against; there is no way to not check it.

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
        why = "there is no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        problem = Problem("api.ca_file", f"{ca_file} can't be used: {why}", "name a readable PEM file")
        raise ConfigError((problem,)) from None


class Transport:
    """
    Sends requests, each with a total deadline.

    Args:
        tls: what servers' certificates are checked against; the system's authorities unless given.
        lookup: resolves a host name and port, as `socket.getaddrinfo` does; blocks, so it runs in a thread.
        connect_seconds: limit for the lookup, and for TCP and TLS together.
        keep_alive_seconds: how long an idle connection is kept; 0 for one connection per request.
        proxy: what requests go through; then its address is vetted, and it looks the servers' names up.
    """

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        *,
        lookup: Lookup = socket.getaddrinfo,
        connect_seconds: float = CONNECT_SECONDS,
        keep_alive_seconds: float = 0.0,
        proxy: Proxy | None = None,
    ) -> None:
        self._tls = tls
        self._proxy = proxy
        self._connect_seconds = connect_seconds
        self._keep_alive_seconds = keep_alive_seconds
        self._resolver = _Resolver(lookup, min(DNS_SECONDS, 2 * keep_alive_seconds))
        self._idle: dict[Origin, list[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._deadlines = Deadlines()
        self._shared: WeakKeyDictionary[httpx.Request, tuple[Origin, bytes]] = WeakKeyDictionary()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    async def send(
        self, request: httpx.Request, *, seconds: float, limit: int, refuse: Refuse | None = None, target: bytes | None = None
    ) -> Response:
        """
        Send *request* and return its response, whatever its status; once more when its kept connection proves closed.

        Args:
            limit: how many bytes of the body are read.
            refuse: says of an IP address whether it must not be connected to.
            target: stands for path and query, so that one *request*, whose headers are written once, serves for many.

        Raises:
            HttpError: the headers of a response were not complete in time.
        """
        connection: _Connection | None = None
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            origin, message = self._rendered(request, target)
            connection = self._take(origin)
            if connection is not None:
                with contextlib.suppress(_StaleConnectionError):
                    return self._release(origin, connection, await connection.exchange(message, limit, deadline))
            async with asyncio.timeout_at(deadline):
                connection = await self._connect(origin, refuse)
            return self._release(origin, connection, await connection.exchange(message, limit, deadline))
        except TimeoutError:
            error = HttpError(Failure.TIMEOUT, f"no complete answer within {seconds:g} s")
            response = connection.interrupted(error) if connection is not None else None
            if response is None:
                raise error from None
            return response

    def _rendered(self, request: httpx.Request, target: bytes | None) -> tuple[Origin, bytes]:
        """Return where *request* goes, and its bytes."""
        keep_alive = self._keep_alive_seconds > 0
        if target is None:
            origin, path = _origin(request), request.url.raw_path
            plain = self._proxy if origin[0] == b"http" else None
            credentials = plain.credentials if plain is not None else b""
            path = path if plain is None else absolute_target(origin[1], origin[2], path)
            return origin, _message(request, path, _rest(request, keep_alive=keep_alive, credentials=credentials))
        known = self._shared.get(request)
        if known is None:
            known = self._shared[request] = (_origin(request), _rest(request, keep_alive=keep_alive))
        return known[0], _message(request, target, known[1])

    async def close(self) -> None:
        """Close every connection; requests under way fail. Safe to call twice."""
        self._closed = True
        self._idle.clear()
        if self._sweep is not None:
            self._sweep.cancel()
        self._deadlines.close()
        connections = list(self._open)
        for connection in connections:
            connection.abort()
        await asyncio.gather(*(connection.lost.wait() for connection in connections))

    def _take(self, origin: Origin) -> "_Connection | None":
        """Return the idle connection to *origin* that was used last."""
        if self._closed:
            raise RuntimeError("the transport is closed")
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.reusable:
                return connection
        return None

    def _release(self, origin: Origin, connection: "_Connection", response: Response) -> Response:
        """Keep *connection* for the next request, or close it."""
        if response.truncated or response.failure is not None:
            connection.abort()
            return response
        if not self._keep_alive_seconds or self._closed or not connection.reusable:
            connection.close()
            return response
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.setdefault(origin, []).append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(self._keep_alive_seconds, self._close_idle)
        return response

    def _close_idle(self) -> None:
        """Close the connections that have been idle for too long."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._keep_alive_seconds
        for idle in self._idle.values():
            for connection in idle:
                if connection.idle_since <= oldest:
                    connection.close()
        kept = {origin: [connection for connection in idle if connection.reusable] for origin, idle in self._idle.items()}
        self._idle = {origin: idle for origin, idle in kept.items() if idle}
        self._sweep = loop.call_later(self._keep_alive_seconds / 2, self._close_idle) if self._idle else None

    async def _connect(self, origin: Origin, refuse: Refuse | None) -> "_Connection":
        """Open a connection. What is vetted here is what is connected to, whatever the name says next time."""
        scheme, host, port = origin
        first = (host, port) if self._proxy is None else (self._proxy.host, self._proxy.port)
        addresses = await self._resolver.resolve(*first, self._connect_seconds)
        allowed = [address for address in addresses if refuse is None or not refuse(str(address[4][0]))]
        if not allowed:
            raise HttpError(Failure.ADDRESS_REFUSED, "its name leads to a link-local, cloud-metadata or denied private address")
        try:
            async with asyncio.timeout(self._connect_seconds):
                sock = await _open_socket(allowed)
                if self._proxy is not None and scheme == b"https":
                    await _tunnelled(sock, self._proxy, host, port)
                return await self._start(sock, host if scheme == b"https" else None)
        except TimeoutError:
            raise HttpError(Failure.TIMEOUT, f"no connection within {self._connect_seconds:g} s") from None

    async def _start(self, sock: socket.socket, tls_host: str | None) -> "_Connection":
        """Make a connection of a connected socket, with TLS if *tls_host* is a name that the certificate has to bear."""
        if tls_host is None:
            options = dict[str, Any]()
        else:
            self._tls = self._tls or ssl.create_default_context()
            options = {"ssl": self._tls, "server_hostname": tls_host.rstrip("."), "ssl_shutdown_timeout": TLS_CLOSE_SECONDS}
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                partial(_Connection, self._open, self._deadlines), sock=sock, **options
            )
        except OSError as error:
            raise tls_error(error) from None
        return connection


async def _open_socket(addresses: list[AddressInfo]) -> socket.socket:
    """Connect to the first of *addresses* that answers."""
    try:
        return await start_connection(addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_SECONDS)
    except OSError as error:
        raise connect_error(error) from None


async def _tunnelled(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Open a tunnel through *sock*; closes it when that fails."""
    try:
        await open_tunnel(sock, proxy, host, port)
    except BaseException:
        sock.close()
        raise


def _origin(request: httpx.Request) -> Origin:
    url = request.url
    scheme = url.raw_scheme
    if scheme not in _PORTS:
        raise httpx.UnsupportedProtocol("neither http nor https")
    host = url.raw_host.decode("ascii").replace("%25", "%")  # the zone of an IPv6 address
    return scheme, host, url.port or _PORTS[scheme]


def _rest(request: httpx.Request, *, keep_alive: bool, credentials: bytes = b"") -> bytes:
    """Return the bytes of *request* after its first line, with *credentials* for a proxy."""
    lines = [b"%b: %b" % header for header in request.headers.raw]
    lines += [b"proxy-authorization: %b" % credentials] if credentials else []
    if not keep_alive:
        lines.append(b"connection: close")
    head = b"\r\n".join(lines)
    breaks = len(lines) - 1
    if head.count(b"\r") != breaks or head.count(b"\n") != breaks or b"\0" in head:
        raise ValueError("a header holds a character that ends it")
    return b"%b\r\n\r\n%b" % (head, request.read())


def _message(request: httpx.Request, target: bytes, rest: bytes) -> bytes:
    """Return the bytes of *request* for *target*, with the *rest* after the first line."""
    first = b"%b %b HTTP/1.1" % (request.method.encode(), target)
    if first.count(b" ") != _SPACES or b"\r" in first or b"\n" in first or b"\0" in first:
        raise ValueError("the target holds a character that ends it")
    return b"%b\r\n%b" % (first, rest)


def _head_too_large() -> HttpError:
    return HttpError(Failure.TOO_LARGE, "the answer's headers are too large")


class _StaleConnectionError(Exception):
    """The server closed a kept connection without an answer."""


class _Connection(asyncio.Protocol):
    """
    One connection; one request at a time.

    Attributes:
        reusable: whether another request may be sent on it.
        idle_since: when it became idle, time of the loop.
        lost: set when it is closed.
    """

    _transport: asyncio.Transport

    def __init__(self, connections: "set[_Connection]", deadlines: Deadlines) -> None:
        self.reusable = True
        self.idle_since = 0.0
        self.lost = asyncio.Event()
        self._connections = connections
        self._deadlines = deadlines
        self._parser = HttpResponseParser(self)
        self._waiter: asyncio.Future[Response] | None = None
        self._requests = 0
        self._limit = 0
        self._silent = True
        self._reset()

    def _reset(self) -> None:
        self._received = 0
        self._head = 0
        self._size = 0
        self._status = 0
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []

    async def exchange(self, message: bytes, limit: int, deadline: float) -> Response:
        """Send *message* and return its response; raises TimeoutError at the *deadline*, in seconds of the loop's clock."""
        self._limit = limit
        self._requests += 1
        self._silent = True
        self._reset()
        waiter: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        self._deadlines.add(waiter, deadline)
        try:
            self._transport.write(message)
            return await waiter
        except BaseException:
            self.abort()
            raise
        finally:
            self._deadlines.discard(waiter)

    def interrupted(self, failure: HttpError) -> Response | None:
        """Return what there is of a response that *failure* has ended; None if its headers are not complete."""
        if not self._status:
            return None
        return Response(self._status, self._headers, b"".join(self._chunks)[: self._limit], failure=failure)

    def close(self) -> None:
        """Close the connection after a complete response."""
        self.reusable = False
        self._transport.close()

    def abort(self) -> None:
        """Close the connection whatever is under way on it; what is not sent yet is never sent, not even when a lost network is back."""
        self.reusable = False
        # Asked first: a TLS connection that is closed has no socket to ask for.
        if not self._transport.is_closing() and (sock := self._transport.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD)
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of `asyncio.Protocol`."""
        self.reusable = False
        self.lost.set()
        self._connections.discard(self)
        if self._waiter is None:
            return
        if self._status:
            if exc is None and self._headers.keys().isdisjoint(_FRAMING_HEADERS):
                self._finish()  # the end of the connection is the end of the body
            else:
                self._fail(HttpError(Failure.DISCONNECTED, "the connection broke in the middle of the answer"))
        elif self._silent and self._requests > 1:
            self._fail(_StaleConnectionError())
        else:
            self._fail(HttpError(Failure.DISCONNECTED, "the connection broke before an answer came"))

    def data_received(self, data: bytes) -> None:
        """Part of `asyncio.Protocol`."""
        if self._waiter is None:
            self.abort()  # an answer to no request
            return
        self._silent = False
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self.reusable = False
            self._finish()
        except HttpParserError:
            self._fail(HttpError(Failure.MALFORMED, "the answer is not HTTP"))
        if not self._status and self._received > HEAD_LIMIT:
            self._fail(_head_too_large())
        elif self._received > HEAD_LIMIT + _FRAMING * self._limit:
            self._fail(HttpError(Failure.TOO_LARGE, "the answer has far more bytes than its body"))

    def on_message_begin(self) -> None:
        """Part of `httptools.HTTPProtocol`."""
        if self._waiter is None:
            self.reusable = False  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        """Part of `httptools.HTTPProtocol`; called for trailers too."""
        self._head += len(name) + len(value) + _SEPARATORS
        if self._head > HEAD_LIMIT:
            self._fail(_head_too_large())
        known = HEADERS.get(name.lower())
        if known is not None and not self._status:
            self._headers[known] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Part of `httptools.HTTPProtocol`."""
        status = self._parser.get_status_code()
        if self._waiter is not None and (status >= HTTPStatus.OK or status == HTTPStatus.SWITCHING_PROTOCOLS):
            self._status = status

    def on_body(self, body: bytes) -> None:
        """Part of `httptools.HTTPProtocol`."""
        if self._waiter is None:
            return
        self._size += len(body)
        self._chunks.append(body)
        if self._size > self._limit:
            self.reusable = False
            self._finish(truncated=True)

    def on_message_complete(self) -> None:
        """Part of `httptools.HTTPProtocol`."""
        if self._waiter is None:
            return
        if not self._status:
            self._reset()  # 100 Continue and its like
            return
        if not self._parser.should_keep_alive():
            self.reusable = False
        self._finish()

    def _finish(self, *, truncated: bool = False) -> None:
        """Hand over the response."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(Response(self._status, self._headers, b"".join(self._chunks)[: self._limit], truncated=truncated))

    def _fail(self, error: Exception) -> None:
        """Hand over what there is of the response with the reason, or the reason alone; nothing if the response was complete."""
        self.reusable = False
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        response = self.interrupted(error) if isinstance(error, HttpError) else None
        if response is None:
            waiter.set_exception(error)
        else:
            waiter.set_result(response)


class _Resolver:
    """Looks names up in a few daemon threads, and keeps their addresses for a while: a lookup that hangs delays nothing else."""

    def __init__(self, lookup: Lookup, keep_seconds: float) -> None:
        self._lookup = lookup
        self._keep_seconds = keep_seconds
        self._known: dict[tuple[str, int], tuple[float, list[AddressInfo]]] = {}
        self._free = asyncio.Semaphore(DNS_THREADS)

    async def resolve(self, host: str, port: int, seconds: float) -> list[AddressInfo]:
        """Return the addresses of *host*."""
        try:
            async with asyncio.timeout(seconds):
                return await self._resolve(host, port)
        except TimeoutError:
            raise HttpError(Failure.LOOKUP, f"no answer from the name servers within {seconds:g} s") from None
        except (OSError, UnicodeError) as error:
            raise lookup_error(error) from None

    async def _resolve(self, host: str, port: int) -> list[AddressInfo]:
        loop = asyncio.get_running_loop()
        await self._free.acquire()
        known = self._known.get((host, port))
        if known is not None and known[0] > loop.time():
            self._free.release()
            return known[1]
        done: asyncio.Future[list[AddressInfo] | Exception] = loop.create_future()

        def finish(result: list[AddressInfo] | Exception) -> None:
            self._free.release()
            if not done.done():
                done.set_result(result)

        def work() -> None:
            result: list[AddressInfo] | Exception
            try:
                result = self._lookup(host, port, type=socket.SOCK_STREAM)
            except Exception as error:  # noqa: BLE001 - handed to the waiting request
                result = error
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(finish, result)

        try:
            threading.Thread(target=work, name="lookup", daemon=True).start()
        except RuntimeError:  # the machine has no thread left
            self._free.release()
            raise
        result = await done
        if isinstance(result, Exception):
            raise result
        if self._keep_seconds:
            self._known[host, port] = (loop.time() + self._keep_seconds, result)
        return result
