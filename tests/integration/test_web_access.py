"""Who is let in by the web port: passwords, certificates, and what a hostile client may try, over real sockets."""

import asyncio
import base64
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import median

import bcrypt
import pytest
from structlog.testing import capture_logs

from monitor.clock import SystemClock
from monitor.config import Secret, TlsServerSettings, WebConfig, WebSettings
from monitor.domain.views.snapshot import Snapshot
from monitor.errors import ConfigError
from monitor.metrics import Metrics
from monitor.web.auth import PasswordVerifier, TooManyAttempts, hash_password
from monitor.web.connection_limits import Limits
from monitor.web.server import SECURITY_HEADERS, WebServer
from tests import marked
from tests.builders import START
from tests.certificates import Authority
from tests.waiting import eventually, patience

PASSWORD, TOKEN = marked.PASSWORD, marked.TOKEN
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
PATHS = ("/", "/metrics", "/api/v1/summary", "/api/v1/connections", "/static/style.css", "/nothing", "/-/", "/-/healthy/", "//-/healthy")


def basic(user: str, password: str) -> str:
    """The `Authorization` that a browser sends."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Port:
    """A running web port and how to ask it."""

    def __init__(self, server: WebServer, number: int) -> None:
        self.server = server
        self.number = number

    async def send(self, request: bytes, tls: ssl.SSLContext | None = None) -> bytes:
        """These bytes, and what comes back until the server hangs up; nothing when it does so without a word."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.number, ssl=tls)
        except (ConnectionError, ssl.SSLError) as error:
            if isinstance(error, ssl.SSLCertVerificationError):
                raise
            return b""
        try:
            writer.write(request)
            async with asyncio.timeout(patience()):
                return await reader.read(-1)
        except (ConnectionError, ssl.SSLError):
            return b""
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def ask(self, path: str = "/metrics", tls: ssl.SSLContext | None = None, authorization: str = "") -> int:
        """The status of one request; 0 when there was no answer."""
        lines = f"Authorization: {authorization}\r\n" if authorization else ""
        answer = await self.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n".encode(), tls)
        return int(answer.split(b" ")[1]) if answer else 0


@asynccontextmanager
async def serving(
    file: WebConfig | None = None, *, limits: Limits | None = None, settings: WebSettings | None = None
) -> AsyncIterator[Port]:
    """The web port with such a file."""
    settings = settings or WebSettings(listen="127.0.0.1:0")
    server = WebServer(settings, Metrics(), lambda: Snapshot(START), SystemClock(), lambda: (True, "ready"), file=file, limits=limits)
    url = await server.start()
    assert url.startswith("http://" if file is None or file.tls_server_config is None else "https://")
    try:
        yield Port(server, int(url.rpartition(":")[2]))
    finally:
        await server.close()


def users(**hashes: str) -> WebConfig:
    """A file with these users."""
    return WebConfig(basic_auth_users={name: Secret(hashed) for name, hashed in hashes.items()})


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Has issued `web.crt` and `web.key`."""
    made = Authority(tmp_path)
    made.issue("web", "127.0.0.1")
    return made


def encrypted(authority: Authority, **settings: object) -> WebConfig:
    """A file with TLS."""
    values = {"cert_file": str(authority.folder / "web.crt"), "key_file": str(authority.folder / "web.key"), **settings}
    return WebConfig(tls_server_config=TlsServerSettings(**values))  # type: ignore[arg-type]


async def test_users() -> None:
    """With users everything but health asks for name and password, of whichever user; the right ones of another user do not do."""
    async with serving(users(anna=HASH, bert=hash_password("another", cost=4))) as port:
        for path in PATHS:
            assert await port.ask(path) == 401, path
        assert await port.ask(authorization=basic("anna", PASSWORD)) == 200
        assert await port.ask(authorization=basic("bert", "another")) == 200
        assert await port.ask("/-/healthy") == await port.ask("/-/ready") == 200
        for user, password in (
            ("anna", "another"), ("anna", PASSWORD + "x"), ("anna", ""), ("", PASSWORD), ("Anna", PASSWORD), ("anna\0", PASSWORD),
            ("anna", PASSWORD + "\0"), ("anna", "x" * 73), ("anna", HASH), ("carl", PASSWORD), ("carl", ""),
        ):  # fmt: skip
            assert await port.ask(authorization=basic(user, password)) == 401, (user, password)
        assert await port.ask(authorization=f"Bearer {PASSWORD}") == 401


async def test_users_and_token() -> None:
    """A token beside users opens the port too, as a bearer token and as anybody's password."""
    async with serving(users(anna=HASH), settings=WebSettings(listen="127.0.0.1:0", token=Secret(TOKEN))) as port:
        assert await port.ask(authorization=f"Bearer {TOKEN}") == 200
        assert await port.ask(authorization=basic("anna", PASSWORD)) == 200
        assert await port.ask(authorization=basic("anybody", TOKEN)) == 200
        assert await port.ask(authorization=basic("anna", TOKEN + "x")) == 401


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: {good}\r\nAuthorization: Basic YTpi\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Original-URL: /-/healthy\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n",
        b"GET /-/healthy/../../metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /-/healthy%2f..%2f..%2fmetrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /-/healthy;/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /metrics?/-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /metrics#/-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://localhost/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET \\metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization:\r\n Basic {good}\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization : {good}\r\n\r\n",
        b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /metrics\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=range(17),
)
async def test_ways_around(request_bytes: bytes) -> None:
    """No spelling of a path, no second header, no request behind another one and no foreign header leads past the password."""
    good = basic("anna", PASSWORD).encode()
    async with serving(users(anna=HASH)) as port:
        answer = await port.send(request_bytes.replace(b"{good}", good))
        assert b"postpost_" not in answer
        assert answer.count(b"HTTP/1.1") <= 1
        head = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
        assert all(f"{name}: {value}" in head for name, value in SECURITY_HEADERS.items()), head


async def test_headers() -> None:
    """The security headers are on every response, errors before any request included."""
    async with serving() as port:
        for request in (
            b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            b"nonsense\r\n\r\n",
            b"G" * 9000,
            b"GET / HTTP/1.1\r\nHost: evil\r\n\r\n",
        ):
            head = (await port.send(request)).partition(b"\r\n\r\n")[0].decode().split("\r\n")
            # A page is kept by who read it, and confirmed before it is shown again.
            expected = SECURITY_HEADERS | ({"Cache-Control": "private, no-cache"} if " 200 " in head[0] else {})
            assert {f"{name}: {value}" for name, value in expected.items()} <= set(head)
            assert "Content-Type: text/plain; charset=utf-8" in head or " 200 " in head[0]


async def test_dear_password_is_paid_once() -> None:
    """The right password costs its hash once, and then nothing; so does the wrong one of a scraper that goes on asking."""
    passwords = PasswordVerifier({"anna": hash_password(PASSWORD, cost=10)})
    for password, right in ((PASSWORD, True), ("wrong", False)):
        first = time.process_time()
        assert await passwords.verify("anna", password) is right
        again = time.process_time()
        for _ in range(100):
            assert await passwords.verify("anna", password) is right
        assert (time.process_time() - again) < (again - first), "a hundred more cost more than the first"
    passwords.close()


async def test_loop_goes_on() -> None:
    """While a password is looked at the loop goes on: it ticks many times during one hash."""
    passwords = PasswordVerifier({"anna": hash_password(PASSWORD, cost=10)})
    looking = asyncio.create_task(passwords.verify("anna", "wrong"))
    ticks = 0
    while not looking.done():
        ticks += 1
        await asyncio.sleep(0)
    assert ticks > 100
    passwords.close()


async def test_unknown_users_take_as_long() -> None:
    """A name that nobody has takes as long as one that somebody has, so that the time tells no names."""
    passwords = PasswordVerifier({"anna": hash_password(PASSWORD, cost=8)})

    async def took(user: str) -> float:
        times = []
        for number in range(7):
            begun = time.process_time()
            assert not await passwords.verify(user, f"wrong-{user}-{number}")
            times.append(time.process_time() - begun)
        return median(times)

    assert 0.5 < await took("anna") / await took("nobody") < 2
    passwords.close()


async def test_guesses_keep_nobody_out() -> None:
    """Whoever tries many passwords at once is told to wait, while those who have been let in before are served."""
    async with serving(users(anna=hash_password(PASSWORD, cost=9))) as port:
        assert await port.ask(authorization=basic("anna", PASSWORD)) == 200
        guessing = [asyncio.create_task(port.ask(authorization=basic("anna", f"guess-{number}"))) for number in range(40)]
        await eventually(lambda: any(guess.done() for guess in guessing))
        assert await port.ask(authorization=basic("anna", PASSWORD)) == 200
        answers = await asyncio.gather(*guessing)
    assert set(answers) == {401, 503}
    assert 8 <= answers.count(401) < 40


async def test_visitors_who_leave_while_waiting() -> None:
    """Whoever leaves before their password was looked at takes no place in the row."""
    passwords = PasswordVerifier({"anna": hash_password(PASSWORD, cost=8)}, most_pending=2)
    waiting = [asyncio.create_task(passwords.verify("anna", str(number))) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyAttempts):
        await passwords.verify("anna", "third")
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert await passwords.verify("anna", PASSWORD)
    passwords.close()


async def test_forgetting() -> None:
    """A flood of wrong passwords neither grows without end nor drives out what was found right."""
    passwords = PasswordVerifier({"anna": HASH})
    assert await passwords.verify("anna", PASSWORD)
    for number in range(300):
        assert not await passwords.verify("anna", str(number))
    assert (len(passwords._right), len(passwords._wrong)) == (1, 256)
    assert not any(PASSWORD.encode() in digest for digest in passwords._right)
    passwords.close()


async def test_tls(authority: Authority) -> None:
    """With TLS who trusts the authority is served; plain HTTP, an old version and a stranger to the authority are not."""
    async with serving(encrypted(authority)) as port:
        assert await port.ask(tls=authority.client()) == 200
        assert await port.ask() == 0
        old = authority.client()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert await port.ask(tls=old) == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            await port.ask(tls=ssl.create_default_context())
        assert await port.ask(tls=authority.client()) == 200


async def test_versions(authority: Authority) -> None:
    """The oldest and newest version are those of the file; without it clients below TLS 1.2 are refused."""
    old = authority.client()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(encrypted(authority, min_version="TLS13")) as port:
        assert await port.ask(tls=old) == 0
        assert await port.ask(tls=authority.client()) == 200
    async with serving(encrypted(authority, max_version="TLS12")) as port:
        assert await port.ask(tls=old) == 200


async def test_clients_certificates(authority: Authority, tmp_path: Path) -> None:
    """Where clients must show a certificate nobody else's will do, and with a list of names none but those."""
    (tmp_path / "foreign").mkdir()
    foreign = Authority(tmp_path / "foreign")
    ours, theirs = authority.issue("client", "prometheus.example.com"), foreign.issue("client", "prometheus.example.com")
    other = authority.issue("other", "grafana.example.com")
    wants = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": str(authority.file)}
    async with serving(encrypted(authority, **wants)) as port:
        assert await port.ask(tls=authority.client(*ours)) == await port.ask(tls=authority.client(*other)) == 200
        assert await port.ask(tls=authority.client(*theirs)) == 0
        assert await port.ask(tls=authority.client()) == 0
    async with serving(encrypted(authority, **wants, client_allowed_sans=("prometheus.example.com",))) as port:
        assert await port.ask(tls=authority.client(*ours)) == 200
        assert await port.ask("/-/healthy", tls=authority.client(*other)) == 403
    async with serving(encrypted(authority, **(wants | {"client_auth_type": "VerifyClientCertIfGiven"}))) as port:
        assert await port.ask(tls=authority.client()) == 200
        assert await port.ask(tls=authority.client(*theirs)) == 0


async def test_new_certificate(authority: Authority) -> None:
    """A certificate that was replaced is shown to the next client; one that can't be used leaves the old one in force until it is repaired."""

    async def shown() -> bytes:
        _, writer = await asyncio.open_connection("127.0.0.1", port.number, ssl=authority.client())
        certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        return certificate

    async with serving(encrypted(authority)) as port:
        first = await shown()
        await port.server.renew()
        assert await shown() == first
        old_key = (authority.folder / "web.key").read_bytes()
        authority.issue("web", "127.0.0.1")
        new_key = (authority.folder / "web.key").read_bytes()
        (authority.folder / "web.key").write_bytes(old_key)
        await port.server.renew()
        assert await shown() == first
        (authority.folder / "web.key").write_bytes(new_key)
        await port.server.renew()
        assert await shown() != first
        (authority.folder / "web.crt").unlink()
        await port.server.renew()
        assert await shown() != first


async def test_new_authority(authority: Authority, tmp_path: Path) -> None:
    """When the authority of the clients is replaced, certificates of the old one are no longer accepted."""
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    ours, theirs = authority.issue("client", "a.example.com"), other.issue("client", "b.example.com")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.file.read_bytes())
    async with serving(encrypted(authority, client_auth_type="RequireAndVerifyClientCert", client_ca_file=str(trusted))) as port:
        assert await port.ask(tls=authority.client(*ours)) == 200
        trusted.write_bytes(other.file.read_bytes())
        await port.server.renew()
        assert await port.ask(tls=authority.client(*ours)) == 0
        assert await port.ask(tls=authority.client(*theirs)) == 200


async def test_key_from_systemd(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that systemd hands over is used with the rights that it gave it; anywhere else such a key is refused."""
    (authority.folder / "web.key").chmod(0o440)
    with pytest.raises(ConfigError, match="open to others"):
        async with serving(encrypted(authority)):
            pass
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(authority.folder))
    async with serving(encrypted(authority)) as port:
        assert await port.ask(tls=authority.client()) == 200


async def test_adopting() -> None:
    """Another configuration holds from the next request on: users, token, names and the status page; where to listen stays."""
    async with serving(users(anna=HASH)) as port:
        admitted = WebSettings(listen="0.0.0.0:1", token=Secret(TOKEN), status_page=False, allowed_hosts=("monitor.example.com",))
        port.server.adopt(admitted, await port.server.prepare(admitted, WebConfig()))
        assert await port.ask(authorization=basic("anna", PASSWORD)) == 401
        assert await port.ask(authorization=f"Bearer {TOKEN}") == 200
        assert await port.ask("/", authorization=f"Bearer {TOKEN}") == 404
        assert b" 200 " in await port.send(b"GET /-/healthy HTTP/1.1\r\nHost: monitor.example.com\r\nConnection: close\r\n\r\n")
        anything = await port.send(b"GET /-/healthy HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert b" 421 " in anything, "the port is still on loopback: any name would let a web page in"


async def test_adopting_tls(authority: Authority) -> None:
    """TLS can come and go while the port is open, and a certificate that can't be used changes nothing."""
    async with serving() as port:
        settings = WebSettings(listen="127.0.0.1:0")
        port.server.adopt(settings, await port.server.prepare(settings, encrypted(authority)))
        assert await port.ask() == 0
        assert await port.ask(tls=authority.client()) == 200
        with pytest.raises(ConfigError, match=r"gone\.key can't be read"):
            await port.server.prepare(settings, encrypted(authority, key_file=str(authority.folder / "gone.key")))
        assert await port.ask(tls=authority.client()) == 200


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], ids=["silence", "half a hello"])
async def test_a_thousand_half_open_handshakes(authority: Authority, said: bytes) -> None:
    """A thousand clients that never finish the handshake keep nobody out, and hold few files."""
    async with serving(encrypted(authority)) as port:
        crowd = []
        loop = asyncio.get_running_loop()
        try:
            for _ in range(1000):
                client = socket.socket()
                client.setblocking(False)
                crowd.append(client)
                await loop.sock_connect(client, ("127.0.0.1", port.number))
                with suppress(ConnectionError):
                    await loop.sock_sendall(client, said)
            assert await port.ask(tls=authority.client()) == 200
            assert open_files() - len(crowd) < 256
            assert len(port.server.limiter) <= 64
        finally:
            for client in crowd:
                client.close()
        await eventually(lambda: len(port.server.limiter) == 0)


async def test_slow_handshakes(authority: Authority) -> None:
    """Who does not finish the handshake in time is hung up on."""
    async with serving(encrypted(authority), limits=Limits(head_seconds=0.2)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
        writer.write(b"\x16\x03\x01\x02\x00")
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), patience()) == b""
        writer.close()
        await eventually(lambda: len(port.server.limiter) == 0)


@pytest.mark.parametrize(
    "said",
    [
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x16\x03\x03\xff\xff" + b"\x00" * 70_000,
        bytes(range(256)) * 40,
    ],
    ids=range(6),
)
async def test_broken_handshakes(authority: Authority, said: bytes) -> None:
    """What is no handshake ends that connection, says nothing of the inside, and the next client is served."""
    async with serving(encrypted(authority), limits=Limits(head_seconds=0.5)) as port:
        answer = await port.send(said)
        assert b"postpost" not in answer
        assert b"HTTP" not in answer
        await eventually(lambda: len(port.server.limiter) == 0)
        assert await port.ask(tls=authority.client()) == 200


async def test_closing_during_a_handshake(authority: Authority) -> None:
    """Closing hangs up on who is in the middle of a handshake, and leaves nothing open."""
    async with serving(encrypted(authority)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
        writer.write(b"\x16\x03\x01\x02\x00")
        await eventually(lambda: len(port.server.limiter) == 1)
        await port.server.close()
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), patience()) == b""
        writer.close()


async def test_no_files_left() -> None:
    """When no more files can be opened, no connection is accepted, which is logged, and afterwards they are accepted again."""
    with capture_logs() as logged:
        async with serving() as port:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            client = socket.socket()
            client.setblocking(False)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port.number))
                await eventually(lambda: any(entry["event"] == "web.accept_failed" for entry in logged), what="it is logged")
                assert len(port.server.limiter) == 0
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            client.close()
            assert await port.ask() == 200


@pytest.mark.parametrize(
    "said",
    [
        b"\r\n\r\n",
        b"\n\n\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b" GET / HTTP/1.1\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"get / HTTP/1.1\r\n\r\n",
    ],
    ids=range(6),
)
async def test_places_are_not_held(said: bytes) -> None:
    """What looks like a head and is none is refused at once: nobody holds a place by it."""
    async with serving(limits=Limits(connections=2)) as port:
        for _ in range(3):
            assert (await port.send(said)).startswith(b"HTTP/1.1 400 ")
        await eventually(lambda: len(port.server.limiter) == 0)
        assert await port.ask() == 200
