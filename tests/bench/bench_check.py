"""CPU of a whole check by the real daemon (ask, read, decide, store durably, export), against a probe by the blackbox exporter."""

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from monitor.simulator.presets import DEMO_KEY
from tests.bench.fleet import Measured, daemon, ids, simulated
from tests.bench.result import Result
from tests.e2e.processes import Simulator, fetch, free_port, running, wait_until

FLEET = 500
CHECKS = 4000
WARM_UP = 1000
ROUNDS = 3
IN_FLIGHT = 32
LATENCY = "60ms"
"""How long the simulated API takes for an answer, so that there are always so many in flight."""

_PROBER = "prometheus-blackbox-exporter"
_MODULES = """\
modules:
  test_connection:
    prober: http
    timeout: 30s
    http: {{method: POST, preferred_ip_protocol: ip4, headers: {{x-api-key: "{key}"}}}}
"""


def measure() -> Iterator[Result]:
    """CPU per check and per probe, user and system time as the kernel counts it: rounds of both in turn, the medians."""
    checks, probes = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder, simulated(Path(folder), FLEET) as api:
            api.do("api/latency", {"min": LATENCY})
            with daemon(Path(folder), api, in_flight=IN_FLIGHT) as monitor:
                checks.append(_checking(monitor, api))
            if shutil.which(_PROBER):
                probes.append(_probing(Path(folder), api))
    ours = statistics.median(checks)
    yield Result("CPU of a whole check", ours * 1e6, "us")
    if not probes:
        print(f"  {_PROBER} is not installed: nothing to compare with")
        return
    theirs = statistics.median(probes)
    yield Result("CPU of a blackbox_exporter probe", theirs * 1e6, "us")
    yield Result("a whole check, as a multiple of a probe", ours / theirs, "x", limit=0.75)
    yield Result("the same, the farther goal", ours / theirs, "x", limit=0.5)


def _checking(monitor: Measured, api: Simulator) -> float:
    """CPU seconds per check of a daemon at work; scraped once per round of the fleet, as a probe exports once per probe."""
    wait_until("checks", lambda: api.requests() > WARM_UP, alive=monitor.command, within=120)
    fetch(f"{monitor.url}/metrics")
    began, before = monitor.cpu_seconds(), api.requests()
    scraped = before
    while (now := api.requests()) < before + CHECKS:
        if now >= scraped + FLEET:
            scraped += FLEET
            fetch(f"{monitor.url}/metrics")
        time.sleep(0.05)
    return (monitor.cpu_seconds() - began) / (api.requests() - before)


def _probing(folder: Path, api: Simulator) -> float:
    """CPU seconds per probe of the exporter, asked by as many clients as the daemon has checks in flight."""
    port, config = free_port(), folder / "modules.yaml"
    config.write_text(_MODULES.format(key=DEMO_KEY))
    listen = f"--web.listen-address=127.0.0.1:{port}"
    with running(Path(_PROBER), f"--config.file={config}", listen, log=folder / "prober.log") as command:
        exporter = Measured(command, f"http://127.0.0.1:{port}")
        wait_until("the exporter", lambda: fetch(f"{exporter.url}/-/healthy"), alive=command)
        targets = [quote(f"{api.url}/api/v1/test-connection/{one}", safe="") for one in ids(api)]
        asyncio.run(_probe(port, targets, WARM_UP))
        began = exporter.cpu_seconds()
        asyncio.run(_probe(port, targets, CHECKS))
        return (exporter.cpu_seconds() - began) / CHECKS


async def _probe(port: int, targets: list[str], count: int) -> None:
    numbers = iter(range(count))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            target = targets[number % len(targets)]
            writer.write(f"GET /probe?module=test_connection&target={target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head.splitlines()[0], head
            body = await _rest(reader, head)
            assert b"\nprobe_success 1" in body, body
        writer.close()

    await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))


async def _rest(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """The body that follows *head*."""
    lengths = [int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-length:")]
    if lengths:
        return await reader.readexactly(lengths[0])
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body
