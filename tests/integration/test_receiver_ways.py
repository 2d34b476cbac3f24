"""The way to a receiver: proxies for http and https, authorities of its own; no credentials in any text."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from monitor.clock import SystemClock
from monitor.config import ReceiverSettings, Secret
from monitor.domain.delivery.retries import AttemptResult
from monitor.errors import DeliveryReason
from monitor.http.proxy import Proxy, proxy_of
from monitor.notify.payload import render
from monitor.notify.sender import Sender
from tests import marked
from tests.builders import a_connection, a_notification
from tests.outbox import IDENTITY
from tests.raw_server import RawServer, answer, raw_server, says

BODY = render("msg_1", a_notification(), a_connection(), IDENTITY)
TAKEN = says(answer(204))
REFUSAL = b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n"


@dataclass
class Tunnels:
    """A proxy on loopback: it tunnels, and passes requests in absolute form on; or it gives one answer to everything."""

    answer: bytes = b""
    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.tasks.append(asyncio.create_task(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self.answer:
            writer.write(self.answer)
            writer.close()
            await writer.wait_closed()
            return
        method, target, _ = head.split(b" ", 2)
        place = target if method == b"CONNECT" else target.split(b"/")[2]
        host, port = place.decode().rsplit(":", 1)
        other_reader, other_writer = await asyncio.open_connection(host, int(port))
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            other_writer.write(head)
        await asyncio.gather(pump(reader, other_writer), pump(other_reader, writer))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass everything on."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@asynccontextmanager
async def a_proxy(given: bytes = b"") -> AsyncIterator[Tunnels]:
    proxy = Tunnels(given)
    listener = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    yield proxy
    listener.close()
    await asyncio.gather(*proxy.tasks)
    await asyncio.sleep(0)


async def send(server: RawServer, **overrides: Any) -> AttemptResult:
    sender = Sender(clock=SystemClock(), user_agent="postpost-monitor/test")
    url = f"{server.scheme}://127.0.0.1:{server.port}/{marked.PATH}"
    values: dict[str, Any] = {"name": "team", "url": Secret(url)}
    result = await sender.send(ReceiverSettings(**(values | overrides)), "msg_1", BODY)
    await sender.close()
    return result


def through(proxy: Tunnels) -> Secret:
    return Secret(f"http://ann:{marked.PASSWORD}%40x@127.0.0.1:{proxy.port}")


CREDENTIALS = b"Basic " + base64.b64encode(f"ann:{marked.PASSWORD}@x".encode())


@pytest.fixture
def authority(tmp_path: Path) -> tuple[trustme.CA, str]:
    """An authority, and the file with its certificate."""
    ca, path = trustme.CA(), tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return ca, str(path)


def tls_of(ca: trustme.CA) -> ssl.SSLContext:

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def test_absolute_form() -> None:
    """An http receiver gets its request through the proxy, which gets the whole address and its credentials."""
    async with raw_server(TAKEN) as server, a_proxy() as proxy:
        result = await send(server, proxy=through(proxy))
        assert result.delivered
        (head,) = proxy.heads
        assert head.startswith(f"POST http://127.0.0.1:{server.port}/{marked.PATH} HTTP/1.1\r\n".encode())
        assert b"proxy-authorization: " + CREDENTIALS in head


async def test_tunnel(authority: tuple[trustme.CA, str]) -> None:
    """An https receiver is reached through a tunnel: the proxy sees its host alone, and its certificate is checked."""
    ca, ca_file = authority
    async with raw_server(TAKEN, tls_of(ca)) as server, a_proxy() as proxy:
        assert (await send(server, proxy=through(proxy), ca_file=ca_file)).delivered
        refused = await send(server, proxy=through(proxy))
        (head, _) = proxy.heads
        assert head.startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n".encode())
        assert b"Proxy-Authorization: " + CREDENTIALS in head
        assert marked.PATH.encode() not in head
    assert (refused.reason, refused.detail) == (DeliveryReason.UNREACHABLE, "its certificate comes from an unknown authority")


async def test_authorities(authority: tuple[trustme.CA, str]) -> None:
    """A receiver's own authorities count for it, and for no other receiver of the same sender."""
    ca, ca_file = authority
    async with raw_server(TAKEN, tls_of(ca)) as server:
        assert (await send(server, ca_file=ca_file)).delivered
        assert not (await send(server)).delivered


@pytest.mark.parametrize(
    ("given", "reason", "detail"),
    [
        (REFUSAL, DeliveryReason.UNREACHABLE, "the proxy answered 407"),
        (b"nonsense\r\n\r\n", DeliveryReason.DISCONNECTED, "the answer of the proxy is not HTTP"),
        (b"HTTP/1.1 200" + b"x" * 20_000, DeliveryReason.DISCONNECTED, "the proxy closed the connection, or is not an HTTP proxy"),
        (b"HTTP/1.1", DeliveryReason.DISCONNECTED, "the proxy closed the connection, or is not an HTTP proxy"),
    ],
)
async def test_bad_proxies(authority: tuple[trustme.CA, str], given: bytes, reason: DeliveryReason, detail: str) -> None:
    """What a proxy answers instead of a tunnel is a failure of the way, with its reason and without its credentials."""
    ca, ca_file = authority
    async with raw_server(TAKEN, tls_of(ca)) as server, a_proxy(given) as proxy:
        result = await send(server, proxy=through(proxy), ca_file=ca_file)
    assert (result.reason, result.detail) == (reason, detail)
    assert marked.MARK not in repr(result)


async def test_proxy_that_is_down() -> None:
    """A proxy that does not answer is a failure; nothing goes around it."""
    async with raw_server(TAKEN) as server:
        result = await send(server, proxy=Secret("http://127.0.0.1:9"))
        assert (result.reason, server.connections) == (DeliveryReason.UNREACHABLE, 0)


@pytest.mark.parametrize(
    "url", ["https://proxy:1", "http://", "http://proxy:99999", "socks5://proxy:1", "http://proxy/path", "http://[::1"]
)
def test_no_proxies(url: str) -> None:
    """What is not an address of an HTTP proxy is refused without a word of it."""
    with pytest.raises(ValueError, match=r"is not") as error:
        proxy_of(url)
    assert "proxy:" not in str(error.value)


def test_proxy_shows_nothing() -> None:
    """The credentials of a proxy are in no repr."""
    assert repr(proxy_of(f"http://ann:{marked.PASSWORD}@proxy:3128")) == repr(Proxy("proxy", 3128))
