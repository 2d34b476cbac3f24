"""CPU of a whole check by the real daemon (ask, read, decide, store durably, export), against a probe by the blackbox exporter."""

import asyncio
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from monitor.simulator.presets import DEMO_KEY
from tests.bench.fleet import Measured, daemon, ids, simulated
from tests.bench.result import Result
from tests.e2e.processes import Simulator, fetch, free_port, running, wait_until
from tests.postgres import start_postgres

FLEET = 500
CHECKS = 4000
WARM_UP = 1000
ROUNDS = 3
IN_FLIGHT = 32
LATENCY = "60ms"
"""How long the simulated API takes for an answer, so that there are always so many in flight."""

WALKING = 300
"""So many connections are checked every fifteen seconds at a walking pace."""

_WALKING_SECONDS = 20.0

USUAL, FULL, FAILING, POSTGRES = "as in life", "every reply new", "1 % failing", "on PostgreSQL"
VARIANTS = {
    USUAL: "",
    FULL: "schedule: {{interval: 1s, recheck: 600ms, fast_path: false}}\n",
    FAILING: "",
    POSTGRES: 'database: {{url: "{url}"}}\n',
}
"""What is measured, and the settings that replace those of the benchmark's configuration. Full: evaluated and stored as if all were new."""

LIMITS = {USUAL: 0.45, FULL: 0.8}

_PROBER = "prometheus-blackbox-exporter"
_MODULES = """\
modules:
  test_connection:
    prober: http
    timeout: 30s
    http: {{method: POST, preferred_ip_protocol: ip4, headers: {{x-api-key: "{key}"}}}}
"""


def measure() -> Iterator[Result]:
    """CPU per check and per probe, user and system time as the kernel counts it: rounds of all in turn, the medians."""
    spent: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for name, settings in VARIANTS.items():
            with tempfile.TemporaryDirectory() as folder, simulated(Path(folder), FLEET) as api:
                api.do("api/latency", {"min": LATENCY})
                for platform_id in ids(api)[: FLEET // 100] if name == FAILING else ():
                    api.do(f"connections/{quote(platform_id, safe='')}/break", {})
                with (
                    _database(settings) as url,
                    daemon(Path(folder), api, in_flight=IN_FLIGHT, settings=settings.format(url=url)) as monitor,
                ):
                    spent[name].append(_checking(monitor, api))
                if name == USUAL and shutil.which(_PROBER):
                    spent[_PROBER].append(_probing(Path(folder), api))
    median = {name: statistics.median(values) for name, values in spent.items()}
    for name in VARIANTS:
        yield Result(f"CPU of a whole check, {name}", median[name] * 1e6, "us")
    yield from _walking()
    if _PROBER not in median:
        print(f"  {_PROBER} is not installed: nothing to compare with")
        return
    yield Result("CPU of a blackbox_exporter probe", median[_PROBER] * 1e6, "us")
    for name, limit in LIMITS.items():
        yield Result(f"a whole check, {name}, as a multiple of a probe", median[name] / median[_PROBER], "x", limit=limit)


def _walking() -> Iterator[Result]:
    """CPU at a walking pace, where fixed costs show, and with nothing due."""
    with tempfile.TemporaryDirectory() as folder, simulated(Path(folder), WALKING) as api:
        with daemon(Path(folder), api, in_flight=4, rate=50, interval="15s") as monitor:
            wait_until("checks", lambda: api.requests() > 2 * WALKING, alive=monitor.command, within=120)
            began, before = monitor.cpu_seconds(), api.requests()
            time.sleep(_WALKING_SECONDS)
            yield Result("CPU of a whole check at a walking pace", (monitor.cpu_seconds() - began) / (api.requests() - before) * 1e3, "ms")
            monitor.command.stop()
        with daemon(Path(folder), api, in_flight=4, interval="24h") as monitor:
            wait_until("the start", lambda: fetch(f"{monitor.url}/-/healthy"), alive=monitor.command)
            time.sleep(_WALKING_SECONDS)
            began = monitor.cpu_seconds()
            time.sleep(_WALKING_SECONDS)
            yield Result("CPU a second with nothing due", (monitor.cpu_seconds() - began) / _WALKING_SECONDS * 1e3, "ms")


@contextmanager
def _database(settings: str) -> Iterator[str]:
    """The address of a PostgreSQL database, if *settings* ask for one."""
    if "{url}" not in settings:
        yield ""
        return
    server = start_postgres()
    try:
        yield server.create_database()
    finally:
        server.stop()


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
