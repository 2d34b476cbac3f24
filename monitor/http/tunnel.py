"""
Through an HTTP proxy: a tunnel (CONNECT) for https, the absolute form of the target for http.

Source: RFC 9110, 9.3.6 (CONNECT), 11.7.1 (Proxy-Authorization); RFC 9112, 3.2.2 (absolute-form).
"""

import asyncio
import socket

from monitor.http.errors import Failure, HttpError
from monitor.http.proxy import Proxy

_HEAD_LIMIT = 16 * 1024
_END = b"\r\n\r\n"


def absolute_target(host: str, port: int, target: bytes) -> bytes:
    """Return *target*, a path with its query, as a proxy gets it for an http server."""
    return b"http://%b:%d%b" % (_bracketed(host), port, target)


async def open_tunnel(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Have *proxy*, to which *sock* is connected, connect to *host* and *port*. Raises HttpError: it does not."""
    loop = asyncio.get_running_loop()
    place = b"%b:%d" % (_bracketed(host), port)
    head = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (place, place)
    if proxy.credentials:
        head += b"Proxy-Authorization: %b\r\n" % proxy.credentials
    try:
        await loop.sock_sendall(sock, head + b"\r\n")
        answer = b""
        while _END not in answer:
            # The server says nothing before the handshake, so what comes is the proxy's answer alone.
            received = await loop.sock_recv(sock, 4096)
            answer += received
            if not received or len(answer) > _HEAD_LIMIT:
                raise HttpError(Failure.DISCONNECTED, "the proxy closed the connection, or is not an HTTP proxy")
    except OSError:
        raise HttpError(Failure.DISCONNECTED, "the connection to the proxy broke") from None
    version, _, rest = answer.partition(b" ")
    status = rest[:3]
    if not version.startswith(b"HTTP/1.") or not status.isdigit():
        raise HttpError(Failure.MALFORMED, "the answer of the proxy is not HTTP")
    if not status.startswith(b"2"):
        raise HttpError(Failure.UNREACHABLE, f"the proxy answered {status.decode()}")


def _bracketed(host: str) -> bytes:
    return f"[{host}]".encode("ascii") if ":" in host else host.encode("ascii")
