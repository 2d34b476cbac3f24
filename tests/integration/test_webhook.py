"""The way out to receivers, over real sockets: what is sent, what every answer means, where it never goes."""

import asyncio
import json
import logging
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from monitor.clock import SystemClock
from monitor.config import ReceiverSettings, Secret
from monitor.domain.delivery.retries import AttemptResult
from monitor.errors import DeliveryReason
from monitor.http.addresses import is_refused
from monitor.http.headers import retry_after
from monitor.notify.identity import MonitorIdentity
from monitor.notify.payload import render
from monitor.notify.sender import Sender
from monitor.simulator import faults
from monitor.simulator.faults import Fault, Where
from tests import marked
from tests.builders import a_connection, a_notification
from tests.receiving import ReceiverServer
from tests.waiting import patience, scaled

OLD = marked.signing("old")
NEW = marked.signing("new")
PATH = marked.PATH
HEADER = marked.HEADER
CANARIES = (PATH, HEADER, OLD[6:], NEW[6:])
BODY = render("msg_1", a_notification(), a_connection(), MonitorIdentity("test", "1"))


def a_receiver(url: str, **overrides: Any) -> ReceiverSettings:
    values: dict[str, Any] = {
        "name": "on-call",
        "url": Secret(url),
        "secrets": (Secret(NEW), Secret(OLD)),
        "headers": {"X-Team": Secret(HEADER)},
        "timeout": timedelta(seconds=scaled(2)),
    }
    return ReceiverSettings(**(values | overrides))


@pytest.fixture
async def server() -> AsyncIterator[ReceiverServer]:
    server = ReceiverServer(NEW)
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    sender = Sender(clock=SystemClock(), user_agent="postpost-monitor/9.9")
    yield sender
    await sender.close()


@pytest.fixture
def connects() -> Iterator[list[Any]]:
    """Every address that this process tries to connect to, from now on."""
    seen: list[Any] = []
    active = [True]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if active and event == "socket.connect":
            seen.append(arguments[1])

    sys.addaudithook(watch)
    yield seen
    active.clear()


async def test_what_is_sent(server: ReceiverServer, sender: Sender) -> None:
    """The stored bytes arrive unchanged, with the headers of Standard Webhooks, and verify with the new and the old secret."""
    result = await sender.send(a_receiver(f"{server.url}/{PATH}"), "msg_1", BODY)
    (got,) = server.received
    assert (result.reason, result.http_status, result.poison) == (DeliveryReason.DELIVERED, 204, False)
    assert got.body == BODY
    assert got.headers["user-agent"] == "postpost-monitor/9.9"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["x-team"] == HEADER
    assert got.headers["webhook-id"] == "msg_1"
    assert "accept-encoding" not in got.headers or got.headers["accept-encoding"] == "identity"
    for secret in (OLD, NEW):
        assert Webhook(secret).verify(got.body, got.headers) == json.loads(BODY)


async def test_unsigned(server: ReceiverServer, sender: Sender) -> None:
    """Without a secret there is no signature, and everything else is the same."""
    await sender.send(a_receiver(server.url, secrets=()), "msg_1", BODY)
    (got,) = server.received
    assert "webhook-signature" not in got.headers
    assert got.headers["webhook-timestamp"].isdecimal()


@pytest.mark.parametrize(
    ("status", "reason", "poison"),
    [
        (200, DeliveryReason.DELIVERED, False),
        (202, DeliveryReason.DELIVERED, False),
        (301, DeliveryReason.REDIRECTED, False),
        (307, DeliveryReason.REDIRECTED, False),
        (400, DeliveryReason.CLIENT_ERROR, True),
        (401, DeliveryReason.AUTH_ERROR, False),
        (403, DeliveryReason.AUTH_ERROR, False),
        (404, DeliveryReason.CLIENT_ERROR, False),
        (410, DeliveryReason.GONE, False),
        (413, DeliveryReason.CLIENT_ERROR, True),
        (422, DeliveryReason.CLIENT_ERROR, True),
        (429, DeliveryReason.RATE_LIMITED, False),
        (500, DeliveryReason.SERVER_ERROR, False),
        (503, DeliveryReason.SERVER_ERROR, False),
    ],
)
async def test_statuses(server: ReceiverServer, sender: Sender, status: int, reason: DeliveryReason, *, poison: bool) -> None:
    """Every status has its meaning, one request is made, and a redirect is not followed."""
    server.behave(faults.answer(status, {"why": "because"}, {"Location": server.url}))
    result = await sender.send(a_receiver(server.url), "msg_1", BODY)
    assert (result.reason, result.poison, result.http_status) == (reason, poison, status)
    assert server.total == 1
    assert result.detail == ("" if result.delivered else f'answered {status}: {{"why": "because"}}')


@pytest.mark.parametrize(
    ("header", "expected"),
    [("120", 120), ("0", 0), ("soon", None), ("-5", 0), ("9" * 15, 10**6), ("9" * 16, None), ("", None), ("١٢", None)],
)
async def test_retry_after(server: ReceiverServer, sender: Sender, header: str, expected: int | None) -> None:
    """`Retry-After` in seconds is understood, nonsense is not."""
    server.behave(faults.answer(429, "", {"Retry-After": header}))
    result = await sender.send(a_receiver(server.url), "msg_1", BODY)
    assert result.retry_after == (None if expected is None else timedelta(seconds=expected))


async def test_retry_after_date(server: ReceiverServer, sender: Sender) -> None:
    """`Retry-After` as a date counts from now; one in the past asks for nothing."""
    from email.utils import format_datetime

    soon = SystemClock().now().astimezone(UTC) + timedelta(minutes=2)
    server.behave(faults.answer(503, "", {"Retry-After": format_datetime(soon, usegmt=True)}).only(1))
    result = await sender.send(a_receiver(server.url), "msg_1", BODY)
    assert result.retry_after is not None
    assert timedelta(seconds=110) < result.retry_after <= timedelta(minutes=2)
    server.behave(faults.answer(503, "", {"Retry-After": "Mon, 01 Jan 2001 00:00:00 GMT"}))
    assert (await sender.send(a_receiver(server.url), "msg_1", BODY)).retry_after == timedelta(0)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (faults.hang(), DeliveryReason.TIMEOUT),
        (faults.drip(timedelta(milliseconds=50), Where.HEADERS), DeliveryReason.TIMEOUT),
        (faults.drip(timedelta(milliseconds=50), Where.START), DeliveryReason.TIMEOUT),
        (faults.drop(), DeliveryReason.DISCONNECTED),
        (faults.drop(Where.HEADERS), DeliveryReason.DISCONNECTED),
    ],
)
async def test_no_answer(server: ReceiverServer, sender: Sender, step: Fault, reason: DeliveryReason) -> None:
    """Whatever a receiver does in place of answering, the attempt ends within its deadline and says what happened."""
    server.behave(step)
    receiver = a_receiver(f"{server.url}/{PATH}", timeout=timedelta(milliseconds=500))
    async with asyncio.timeout(patience()):
        result = await sender.send(receiver, "msg_1", BODY)
    assert result.reason is reason
    assert result.http_status is None
    assert result.took < 10 * receiver.timeout


async def test_endless_answer(server: ReceiverServer, sender: Sender) -> None:
    """Once the status is known the rest of the answer cannot undo it: a megabyte or a dripping body is still a delivery."""
    server.behave(faults.answer(200, "x" * 1_000_000).only(1), faults.drip(timedelta(milliseconds=100), Where.BODY))
    receiver = a_receiver(server.url, timeout=timedelta(milliseconds=500))
    assert (await sender.send(receiver, "msg_1", BODY)).delivered
    async with asyncio.timeout(patience()):
        assert (await sender.send(receiver, "msg_2", BODY)).delivered


async def test_stalled_answer(sender: Sender) -> None:
    """A body that never ends within the deadline is a delivery too when the status said so, and a failure when not."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {statuses.pop(0)} Whatever\r\nContent-Length: 100\r\n\r\npartial".encode())
        await reader.read()
        writer.close()

    statuses = [200, 503]
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    receiver = a_receiver(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", timeout=timedelta(milliseconds=300))
    good, bad = [await sender.send(receiver, "msg_1", BODY) for _ in range(2)]
    server.close()
    assert (good.reason, bad.reason, bad.detail) == (DeliveryReason.DELIVERED, DeliveryReason.SERVER_ERROR, "answered 503: partial")
    assert all(receiver.timeout <= result.took < 10 * receiver.timeout for result in (good, bad))


async def test_nobody_there(sender: Sender) -> None:
    """A closed port and a name that does not exist are told apart."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/{PATH}"
        result = await sender.send(a_receiver(url), "msg_1", BODY)
    assert (result.reason, result.detail) == (DeliveryReason.UNREACHABLE, "Connection refused")
    result = await sender.send(a_receiver(f"http://nosuchname.invalid/{PATH}"), "msg_1", BODY)
    assert (result.reason, result.detail) == (DeliveryReason.UNREACHABLE, "the name does not exist")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for another name, with its key."""
    file = tmp_path_factory.mktemp("tls") / "pair.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=elsewhere.test"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=DNS:elsewhere.test", "-keyout", file, "-out", f"{file}.crt"],
        check=True,
        capture_output=True,
    )
    return file


@pytest.mark.parametrize("trusted", [True, False])
async def test_bad_certificate(certificate: Path, *, trusted: bool) -> None:
    """A certificate that is not trusted, or for another name, ends the attempt before a byte of the body or a header leaves."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(100))
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{certificate}.crt", certificate)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    client = ssl.create_default_context(cafile=f"{certificate}.crt" if trusted else None)
    sender = Sender(clock=SystemClock(), user_agent="x", tls=client)
    result = await sender.send(a_receiver(f"https://127.0.0.1:{port}/{PATH}"), "msg_1", BODY)
    await sender.close()
    server.close()
    assert result.reason is DeliveryReason.UNREACHABLE
    assert result.detail == ("its certificate is for another address" if trusted else "its certificate is self-signed")
    assert b"".join(seen) == b""


REFUSED = [
    "169.254.169.254",
    "169.254.0.1",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "[fd00:ec2::254]",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "0.0.0.0",
    "[::]",
    "224.0.0.1",
    "[ff02::1]",
    "255.255.255.255",
    "240.0.0.1",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::1]",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
]
PRIVATE = [
    "127.0.0.1",
    "localhost",
    "127.8.8.8",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "0x7f000001",
    "2130706433",
    "127.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "192.0.2.1",
    "[fc00::1]",
    "[fec0::1]",
    "[2001:db8::1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::1]",
]


@pytest.mark.parametrize("host", REFUSED)
async def test_link_local_and_metadata(sender: Sender, connects: list[Any], host: str) -> None:
    """Link-local, cloud-metadata and meaningless addresses are refused in every spelling, without a single connect."""
    result = await sender.send(a_receiver(f"http://{host}:9/{PATH}"), "msg_1", BODY)
    assert result.reason is DeliveryReason.ADDRESS_REFUSED
    assert connects == []


@pytest.mark.parametrize("host", [*REFUSED, *PRIVATE])
async def test_private_addresses(sender: Sender, connects: list[Any], host: str) -> None:
    """With `deny_private` nothing but public addresses is connected to."""
    result = await sender.send(a_receiver(f"http://{host}:9/{PATH}", deny_private=True), "msg_1", BODY)
    assert result.reason is DeliveryReason.ADDRESS_REFUSED
    assert connects == []


class Rebinding:
    """Looks up a public address first and *then* ever after."""

    def __init__(self, then: str) -> None:
        self.answers = ["93.184.216.34"]
        self.then = then

    def __call__(self, host: str, port: int, **kind: Any) -> list[tuple[int, int, int, str, Any]]:
        """The next address."""
        address = self.answers.pop() if self.answers else self.then
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))]


async def test_rebinding(connects: list[Any]) -> None:
    """Each attempt vets the very address it connects to: a name that was fine a moment ago does not help."""
    lookup = Rebinding("169.254.169.254")
    sender = Sender(clock=SystemClock(), user_agent="x", lookup=lookup)
    assert lookup("hooks.example", 80) != []
    for _ in range(3):
        result = await sender.send(a_receiver("http://hooks.example/x"), "msg_1", BODY)
        assert result.reason is DeliveryReason.ADDRESS_REFUSED
    await sender.close()
    assert connects == []


async def test_kept_connection(server: ReceiverServer) -> None:
    """The next message finds the connection of the last one: one look-up for several. What other receivers may reach does not serve."""
    looked_up = []

    def lookup(host: str, port: int, **kind: Any) -> list[Any]:
        looked_up.append(host)
        return socket.getaddrinfo("127.0.0.1", port, **kind)

    sender = Sender(clock=SystemClock(), user_agent="x", lookup=lookup)
    url = server.url.replace("127.0.0.1", "hooks.example")
    for number in range(4):
        assert (await sender.send(a_receiver(url), f"msg_{number}", BODY)).delivered
    assert looked_up == ["hooks.example"]
    refused = await sender.send(a_receiver(url, deny_private=True), "msg_5", BODY)
    assert refused.reason is DeliveryReason.ADDRESS_REFUSED
    await sender.close()


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    """Public addresses are fine, also in disguise."""
    assert not is_refused(address, deny_private=True)


def test_loopback_is_fine() -> None:
    """An Alertmanager on this machine or in this network can be told."""
    assert not any(is_refused(address) for address in ("127.0.0.1", "::1", "10.1.2.3", "192.168.0.9", "fd12::1"))


def test_no_address() -> None:
    """What is no IP address is refused."""
    assert is_refused("hooks.example")


async def test_environment(server: ReceiverServer, sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is not asked."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await sender.send(a_receiver(server.url), "msg_1", BODY)).delivered


async def test_no_cookies(server: ReceiverServer, sender: Sender) -> None:
    """What a receiver asks us to remember is forgotten."""
    server.behave(faults.answer(200, "", {"Set-Cookie": "a=b; Path=/"}))
    named = a_receiver(server.url.replace("127.0.0.1", "localhost"))
    await sender.send(named, "msg_1", BODY)
    await sender.send(named, "msg_2", BODY)
    assert "cookie" not in server.received[-1].headers


Case = Callable[[ReceiverServer], tuple[str, Fault]]
LEAKS: dict[str, Case] = {
    "redirect": lambda server: (server.url, faults.answer(302, "", {"Location": f"http://127.0.0.1:9/{PATH}"})),
    "echo": lambda server: (server.url, faults.answer(400, f"bad: {server.url}/{PATH} {HEADER} {OLD} {NEW}")),
    "drop": lambda server: (server.url, faults.drop()),
    "hang": lambda server: (server.url, faults.hang()),
    "refused": lambda _: ("http://127.0.0.1:9", faults.normal()),
    "metadata": lambda _: ("http://169.254.169.254", faults.normal()),
    "dns": lambda _: (f"http://{PATH}.invalid", faults.normal()),
    "odd": lambda _: ("http://127.0.0.1:99999", faults.normal()),
    "scheme": lambda _: ("ftp://127.0.0.1", faults.normal()),
    "number": lambda _: ("http://2852039166", faults.normal()),
}


@pytest.mark.parametrize("case", LEAKS)
async def test_no_secret_leaks(server: ReceiverServer, sender: Sender, caplog: pytest.LogCaptureFixture, case: str) -> None:
    """No part of the address, the headers or the secrets is in any result or log line, whatever goes wrong."""
    caplog.set_level(logging.DEBUG)
    url, step = LEAKS[case](server)
    server.behave(step)
    receiver = a_receiver(f"{url}/{PATH}?sig={PATH}", timeout=timedelta(milliseconds=300))
    result = await sender.send(receiver, "msg_1", BODY)
    said = f"{result!r} {result.detail} {receiver!r} {caplog.text} {[vars(record) for record in caplog.records]}"
    assert not result.delivered
    for canary in CANARIES:
        assert canary not in said


@pytest.mark.parametrize("form", ["Canary/Path+91827364", "Canary%2FPath%2B91827364", "Canary-bearer-91827364"])
async def test_no_secret_leaks_in_another_form(server: ReceiverServer, sender: Sender, form: str) -> None:
    """A refusal that quotes part of an address or a header, decoded, encoded or without its scheme, does not show it."""
    server.behave(faults.answer(403, f"no access with {form} here"))
    headers = {"Authorization": Secret("Bearer Canary-bearer-91827364")}
    receiver = a_receiver(f"{server.url}/hook?sig=Canary%2FPath%2B91827364", headers=headers)
    result = await sender.send(receiver, "msg_1", BODY)
    assert result.detail == "answered 403: no access with <redacted> here"


@pytest.mark.parametrize("header", ["Ünicode-canary-header-91827364", "line\nbreak-canary-header-91827364"])
async def test_bad_header(server: ReceiverServer, sender: Sender, header: str) -> None:
    """A header that cannot be sent fails the attempt as our own fault, without showing it."""
    result = await sender.send(a_receiver(server.url, headers={"X-Team": Secret(header)}), "msg_1", BODY)
    assert result.reason is DeliveryReason.INTERNAL
    assert HEADER not in repr(result)
    assert server.total == 0


async def test_unrenderable(server: ReceiverServer, sender: Sender) -> None:
    """A body that cannot be told is our own fault and costs no request."""
    result = await sender.send(a_receiver(server.url), "msg_1", b"\xff\xfe")
    assert result == AttemptResult(
        DeliveryReason.INTERNAL, detail="cannot be rendered for a receiver of type webhook (UnicodeDecodeError)", took=result.took
    )
    assert server.total == 0


async def test_cancelled(server: ReceiverServer, sender: Sender) -> None:
    """Cancelling an attempt is not mistaken for a failure of the receiver."""
    server.behave(faults.hang())
    task = asyncio.create_task(sender.send(a_receiver(server.url), "msg_1", BODY))
    await server.wait_for(lambda _: True)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "text", ["9" * 5_000, "Mon, 01 Jan 99999999999999 00:00:00 GMT", "Mon, 01 Jan 2030 00:00:00 +99999999999999999999", "x" * 900]
)
def test_absurd_waits(text: str) -> None:
    """No `Retry-After`, however absurd, is more than a failed attempt."""
    wait = retry_after(text, datetime(2030, 1, 1, tzinfo=UTC))
    assert wait is None or timedelta(0) <= wait <= timedelta(seconds=10**6)
