"""The way to the API: names, refused connections, certificates. Each trouble has its own reason and words; none gets the key."""

import asyncio
import contextlib
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from monitor.clock import SystemClock
from monitor.config.secrets import Secret
from monitor.config.sections.core import ApiSettings
from monitor.domain.replies.checks import Reply
from monitor.errors import ApiError, ConfigError, Reason
from monitor.postpost.api_transport import ApiTransport
from monitor.postpost.client import ApiClient
from tests.raw_server import KEY, PLATFORM_ID, RawServer, raw_server
from tests.waiting import patience, scaled

CA = trustme.CA()
OTHER_CA = trustme.CA()
Context = Callable[[], ssl.SSLContext]


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def expired() -> ssl.SSLContext:
    past = datetime.now(UTC) - timedelta(days=1)
    return server_context(CA.issue_cert("localhost", not_before=past - timedelta(days=1), not_after=past))


def not_yet() -> ssl.SSLContext:
    future = datetime.now(UTC) + timedelta(days=1)
    return server_context(CA.issue_cert("localhost", not_before=future, not_after=future + timedelta(days=1)))


def self_signed() -> ssl.SSLContext:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with authority.cert_pem.tempfile() as certificate, authority.private_key_pem.tempfile() as key:
        context.load_cert_chain(certificate, key)
    return context


def old_protocol() -> ssl.SSLContext:
    context = server_context(CA.issue_cert("localhost"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


BAD_TLS: list[tuple[str, Context, Reason, str]] = [
    ("expired", expired, Reason.API_TLS_EXPIRED, "its certificate has expired"),
    ("not yet valid", not_yet, Reason.API_TLS_FAILED, "its certificate is not valid yet"),
    (
        "other host",
        lambda: server_context(CA.issue_cert("other.example")),
        Reason.API_TLS_FAILED,
        "its certificate is for another host name",
    ),
    (
        "unknown authority",
        lambda: server_context(OTHER_CA.issue_cert("localhost")),
        Reason.API_TLS_FAILED,
        "its certificate comes from an unknown authority",
    ),
    ("self-signed", self_signed, Reason.API_TLS_FAILED, "its certificate is self-signed"),
]


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    CA.cert_pem.write_to_path(str(path))
    return str(path)


async def refused(api: ApiClient) -> ApiError:
    exchange = await api.test(PLATFORM_ID)
    await api.close()
    assert isinstance(exchange.answer, ApiError)
    assert KEY not in repr(exchange) + str(exchange.answer)
    return exchange.answer


@pytest.mark.parametrize(("name", "context", "reason", "words"), BAD_TLS, ids=[row[0] for row in BAD_TLS])
async def test_bad_certificate(name: str, context: Context, reason: Reason, words: str, ca_file: str) -> None:
    """A certificate that can't be trusted ends the check with its own words, before a byte of the request is sent."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # the server's side of a refused handshake
    async with raw_server(tls=context()) as server:
        error = await refused(server.api("localhost", ca_file=ca_file))
        assert (error.reason, error.detail) == (reason, words)
        assert server.requests == []


async def test_old_protocol(ca_file: str) -> None:
    """A server that only speaks protocols of old is refused; whether it says so or just hangs up first is up to its TLS library."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with raw_server(tls=old_protocol()) as server:
        error = await refused(server.api("localhost", ca_file=ca_file))
        assert error.reason is Reason.API_TLS_FAILED
        assert error.detail in ("the TLS handshake was broken off", "no TLS connection (handshake failed)")
        assert server.requests == []


async def test_good_certificate(ca_file: str) -> None:
    """A certificate of the configured authority is trusted; the default authorities do not vouch for it."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with raw_server(tls=server_context(CA.issue_cert("localhost"))) as server:
        api = server.api("localhost", ca_file=ca_file)
        assert isinstance((await api.test(PLATFORM_ID)).answer, Reply)
        await api.close()
        assert (await refused(server.api("localhost"))).reason is Reason.API_TLS_FAILED
        assert len(server.requests) == 1


async def test_not_tls(ca_file: str) -> None:
    """A server that does not speak TLS is told so, and gets no request."""
    async with raw_server() as server:
        server.scheme = "https"
        error = await refused(
            server.api("localhost", ca_file=ca_file, timeout=timedelta(seconds=scaled(2)), connect_timeout=timedelta(seconds=scaled(1)))
        )
        assert error.reason in (Reason.API_TLS_FAILED, Reason.API_TIMEOUT)
        assert server.requests == []


async def test_stalled_handshake(ca_file: str) -> None:
    """A handshake that never ends is a timeout after the connect timeout, not after the whole deadline."""

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            writer.close()

    listener = await asyncio.start_server(stall, "127.0.0.1", 0)
    server = RawServer(port=listener.sockets[0].getsockname()[1], scheme="https")
    started = time.monotonic()
    error = await refused(
        server.api("localhost", ca_file=ca_file, timeout=timedelta(seconds=5), connect_timeout=timedelta(milliseconds=300))
    )
    assert (error.reason, error.detail) == (Reason.API_TIMEOUT, "no connection within 0.3 s")
    assert time.monotonic() - started < scaled(5)
    listener.close()


async def test_ca_file_missing(tmp_path: Path) -> None:
    """A file of authorities that can't be used is a mistake in the configuration, told at once."""
    server = RawServer(scheme="https", port=1)
    (tmp_path / "empty.pem").write_text("")
    for name, words in (("none.pem", "No such file"), ("empty.pem", "no certificate in it")):
        with pytest.raises(ConfigError, match=words):
            server.api("localhost", ca_file=str(tmp_path / name))


async def test_refused() -> None:
    """Nobody listening is "unreachable", which is not a DNS trouble."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = await refused(RawServer(port=taken.getsockname()[1]).api())
    assert (error.reason, error.detail) == (Reason.API_UNREACHABLE, "Connection refused")


LOOKUPS: list[tuple[str, OSError | UnicodeError, str]] = [
    ("unknown", socket.gaierror(socket.EAI_NONAME, "x"), "the name does not exist"),
    ("servers down", socket.gaierror(socket.EAI_AGAIN, "x"), "the name servers do not answer"),
    ("odd", UnicodeError("label too long"), "the name cannot be looked up"),
]


@pytest.mark.parametrize(("name", "failure", "words"), LOOKUPS, ids=[row[0] for row in LOOKUPS])
async def test_lookup_fails(name: str, failure: Exception, words: str) -> None:
    """A name that can't be resolved is told as such, with the difference between "no such name" and "no answer"."""

    def lookup(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
        raise failure

    error = await refused(RawServer(port=1).api("localhost", lookup=lookup))
    assert (error.reason, error.detail) == (Reason.API_DNS_FAILED, words)


async def test_lookup_hangs() -> None:
    """Hanging name servers hold eight threads at most however long they hang, end each check in time, and spare the loop."""
    release = threading.Event()
    before = threading.active_count()

    def lookup(host: str, port: int, **kind: Any) -> list[tuple[Any, ...]]:
        release.wait(patience())
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async with raw_server() as server:
        api = server.api("localhost", lookup=lookup, connect_timeout=timedelta(milliseconds=100))
        for _ in range(12):
            started = time.monotonic()
            exchanges = await asyncio.gather(*(api.test(PLATFORM_ID) for _ in range(20)))
            assert time.monotonic() - started < scaled(20)
            assert {(e.answer.reason, e.answer.detail) for e in exchanges if isinstance(e.answer, ApiError)} == {
                (Reason.API_DNS_FAILED, "no answer from the name servers within 0.1 s")
            }
        assert threading.active_count() - before <= 8

        release.set()
        await asyncio.sleep(0.1)
        assert isinstance((await api.test(PLATFORM_ID)).answer, Reply)
        await api.close()


async def test_address_changes() -> None:
    """A name is looked up and its address used; the next lookup may give another one."""
    async with raw_server() as server:
        asked = []

        def lookup(host: str, port: int, **kind: Any) -> list[tuple[Any, ...]]:
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        # The name is reserved for tests and never exists; only our own lookup knows it.
        settings = ApiSettings.model_construct(base_url=f"http://api.test:{server.port}/api/v1")
        transport = ApiTransport(settings, clock=SystemClock(), lookup=lookup)
        api = ApiClient(settings, Secret(KEY), clock=SystemClock(), user_agent="t/1", transport=transport)
        assert isinstance((await api.test(PLATFORM_ID)).answer, Reply)
        assert asked == ["api.test"]
        await api.close()


async def test_out_of_descriptors() -> None:
    """No file descriptors left is our own trouble, not the API's."""

    def lookup(host: str, port: int, **kind: Any) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    api = RawServer(port=1).api("localhost", lookup=lookup)
    sockets: list[socket.socket] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        with contextlib.suppress(OSError):
            while True:
                sockets.append(socket.socket())
        exchange = await api.test(PLATFORM_ID)
    finally:
        for one in sockets:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert isinstance(exchange.answer, ApiError)
    assert (exchange.answer.reason, exchange.answer.detail) == (Reason.MONITOR_INTERNAL, "Too many open files")
    await api.close()
