"""How long a confirmed failure takes to leave as a POST, from the answer that confirms it to the receiver."""

import asyncio
import json
import math
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from tests.bench.fleet import daemon, ids, simulated
from tests.bench.result import Result
from tests.e2e.processes import Simulator, free_port, wait_until

FLEET = 200
BROKEN = 30
_PAUSE_SECONDS = 1.5
"""One failure after the other, slower than the one message a second that a receiver gets when a burst is over."""


def measure() -> Iterator[Result]:
    """Milliseconds between the end of the check that confirmed and the arrival of the webhook, while forty checks a second go on."""
    with tempfile.TemporaryDirectory() as name, simulated(Path(name), FLEET) as api:
        waits = sorted(asyncio.run(_waits(Path(name), api)))
    yield Result("confirmed failure to POST, median", waits[len(waits) // 2] * 1e3, "ms")
    yield Result("confirmed failure to POST, p99", waits[math.ceil(0.99 * len(waits)) - 1] * 1e3, "ms", limit=1000)


async def _waits(folder: Path, api: Simulator) -> list[float]:
    waits: list[float] = []

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-length:"))
        body = json.loads(await reader.readexactly(length))
        if body["type"] == "connection.failed":
            waits.append(time.time() - datetime.fromisoformat(body["timestamp"]).timestamp())
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    port = free_port()
    server = await asyncio.start_server(receive, "127.0.0.1", port)
    receivers = f'{{name: on-call, url: "http://127.0.0.1:{port}/hook"}}'
    async with server:
        await asyncio.to_thread(_break_one_by_one, folder, api, receivers, waits)
    return waits


def _break_one_by_one(folder: Path, api: Simulator, receivers: str, waits: list[float]) -> None:
    with daemon(folder, api, interval="5s", receivers=receivers) as monitor:
        wait_until("checks", lambda: api.requests() > 2 * FLEET, alive=monitor.command, within=120)
        names = [one for one in ids(api) if one.startswith(("linkedin", "threads", "facebook", "instagram"))][:BROKEN]
        for name in names:
            api.do(f"connections/{name}/break", {"message": "Session has expired"})
            time.sleep(_PAUSE_SECONDS)
        wait_until("the webhooks", lambda: len(waits) >= len(names), alive=monitor.command, within=120)
