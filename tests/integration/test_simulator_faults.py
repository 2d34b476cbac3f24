"""What the simulated API does when it is told to misbehave, seen on the wire."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import aiohttp
import pytest

from monitor.clock import SystemClock
from monitor.simulator import faults
from monitor.simulator.faults import Fault, Where
from monitor.simulator.presets import DEMO_KEY, demo_world
from monitor.simulator.server import SimulatorServer
from tests.waiting import eventually

LINKEDIN = "linkedin-Tz9W5i6ZYG"
MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture(name="simulator")
async def _simulator() -> AsyncIterator[SimulatorServer]:
    simulator = SimulatorServer(demo_world(SystemClock()))
    await simulator.start()
    yield simulator
    await simulator.close()


async def _ask(simulator: SimulatorServer, platform_id: str = LINKEDIN) -> tuple[int, bytes, dict[str, str]]:
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(
            f"{simulator.base_url}/test-connection/{platform_id}", headers={"x-api-key": DEMO_KEY}, allow_redirects=False
        ) as response,
    ):
        return response.status, await response.read(), dict(response.headers)


async def _raw(simulator: SimulatorServer, until: int = 1 << 20, within: float = 60.0) -> bytes:
    """The bytes of an answer as they come, until the server closes, *until* bytes are there, or time is up."""
    host, port = simulator.base_url.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /api/v1/test-connection/{LINKEDIN} HTTP/1.1\r\nHost: x\r\nx-api-key: {DEMO_KEY}\r\nContent-Length: 0\r\n\r\n".encode()
    )
    got = b""
    try:
        async with asyncio.timeout(within):
            while len(got) < until and (chunk := await reader.read(4096)):
                got += chunk
    except TimeoutError:
        pass
    finally:
        writer.close()
    return got


def _script(simulator: SimulatorServer, *steps: Fault) -> None:
    simulator.world.connection(LINKEDIN).script.play(*steps)


async def test_answers(simulator: SimulatorServer) -> None:
    """Fixed answers come with their status, body and headers, in turn, then the ordinary one."""
    _script(simulator, faults.answer(500, {"error": "x"}), faults.gateway_page(502), faults.normal())
    assert (await _ask(simulator))[:2] == (500, b'{"error": "x"}')
    status, body, headers = await _ask(simulator)
    assert (status, headers["Content-Type"]) == (502, "text/html")
    assert b"<html>" in body
    assert [(await _ask(simulator))[0] for _ in range(2)] == [200, 200]


async def test_times(simulator: SimulatorServer) -> None:
    """A step with a count is done so often; one without, standing last, for ever."""
    _script(simulator, faults.answer(503).only(2), faults.answer(500).only(1))
    assert [(await _ask(simulator))[0] for _ in range(4)] == [503, 503, 500, 200]
    _script(simulator, faults.answer(503))
    assert [(await _ask(simulator))[0] for _ in range(3)] == [503] * 3


async def test_throttle(simulator: SimulatorServer) -> None:
    """A throttled account is told how long to wait, in the header or in the body."""
    script = simulator.world.accounts["main"].script
    script.play(faults.throttle())
    status, body, headers = await _ask(simulator)
    assert (status, body, headers["Retry-After"]) == (429, b"", "30")
    script.play(faults.throttle(in_body=True))
    status, body, headers = await _ask(simulator)
    assert (status, "Retry-After" in headers) == (429, False)
    assert b'"retryAfter": 30' in body


async def test_redirect(simulator: SimulatorServer) -> None:
    """A redirect names its target."""
    _script(simulator, faults.redirect("https://evil.example/", 307))
    status, _, headers = await _ask(simulator)
    assert (status, headers["Location"]) == (307, "https://evil.example/")


async def test_widest_script_wins(simulator: SimulatorServer) -> None:
    """What is wrong with the API hides what is wrong with the account, and that what is wrong with the connection."""
    world = simulator.world
    scripts = [world.script, world.accounts["main"].script, world.accounts["main"].owner.script, world.connection(LINKEDIN).script]
    for number, script in enumerate(scripts):
        script.play(faults.answer(500 + number))
    told = []
    for script in scripts:
        told.append((await _ask(simulator))[0])
        script.play()
    assert told == [500, 501, 502, 503]


async def test_one_connection_only(simulator: SimulatorServer) -> None:
    """A connection's script is its own."""
    _script(simulator, faults.answer(500))
    assert (await _ask(simulator, "twitter-783214"))[0] == 200


async def test_slow(simulator: SimulatorServer) -> None:
    """A slow answer is the ordinary one, later; delays of several levels add up."""
    simulator.world.script.play(faults.slow(50 * MILLISECOND))
    _script(simulator, faults.slow(50 * MILLISECOND))
    assert (await _ask(simulator))[0] == 200
    assert simulator.journal.entries[-1].seconds >= 0.1


async def test_hang(simulator: SimulatorServer) -> None:
    """A hanging request gets no byte, and the connection stays open."""
    _script(simulator, faults.hang())
    assert await _raw(simulator, within=0.1) == b""
    await eventually(lambda: simulator.journal.in_flight == 0)
    assert simulator.journal.entries[-1].status == 0


async def test_drops(simulator: SimulatorServer) -> None:
    """The connection closes before the answer, within the headers, or in the middle of the body."""
    _script(simulator, faults.drop())
    assert await _raw(simulator) == b""
    _script(simulator, faults.drop(Where.HEADERS))
    got = await _raw(simulator)
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\n\r\n" not in got
    _script(simulator, faults.drop(Where.BODY))
    head, _, body = (await _raw(simulator)).partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert len(body) == length // 2
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)):
        await _ask(simulator)


async def test_drips(simulator: SimulatorServer) -> None:
    """Body or headers come byte by byte and in the end complete; the stream of 100s never ends."""
    for where in (Where.BODY, Where.HEADERS):
        _script(simulator, faults.drip(MILLISECOND / 10, where))
        status, body, _ = await _ask(simulator)
        assert (status, body[-1:]) == (200, b"}")
        _script(simulator, faults.drip(20 * MILLISECOND, where))
        started = await _raw(simulator, within=0.15)
        assert (b"\r\n\r\n" in started) == (where is Where.BODY)
        assert len(started.partition(b"\r\n\r\n")[2]) < 15
    _script(simulator, faults.drip(MILLISECOND, Where.START))
    assert (await _raw(simulator, until=500)).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")


@pytest.mark.parametrize("name", [name for name in faults.NAMES if name != faults.HUGE])
async def test_garbage(simulator: SimulatorServer, name: str) -> None:
    """Every garbage arrives with 200 and is not the ordinary body."""
    ordinary = (await _ask(simulator))[1]
    _script(simulator, faults.garbage(name))
    status, body, headers = await _ask(simulator)
    assert status == 200
    assert body != ordinary
    assert (headers.get("Content-Encoding") == "gzip") == (name == "gzip")


async def test_huge(simulator: SimulatorServer) -> None:
    """A huge body comes as a stream; a client that has enough may leave."""
    _script(simulator, faults.garbage(faults.HUGE))
    assert len(await _raw(simulator, until=200_000)) >= 200_000
    await eventually(lambda: simulator.journal.in_flight == 0)


async def test_recovers_from_everything(simulator: SimulatorServer) -> None:
    """After every fault the next request is answered as if nothing had been."""
    for step in (faults.drop(), faults.drop(Where.BODY), faults.garbage("gzip"), faults.answer(429), faults.hang()):
        _script(simulator, step)
        await _raw(simulator, within=0.05)
        _script(simulator)
        assert (await _ask(simulator))[0] == 200
