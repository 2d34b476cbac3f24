"""CPU of a whole check by the real daemon (ask, read, decide, store durably, export), against a probe by the blackbox exporter."""

import asyncio
import os
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

from monitor.simulator.presets import DEMO_KEY
from tests.bench.fleet import Measured, daemon, ids, simulated
from tests.bench.result import Result
from tests.e2e.processes import Simulator, fetch, free_port, running, wait_until
from tests.postgres import start_postgres

FLEET = 500
CHECKS = 4000
WARM_UP = 1000
ROUNDS = int(os.environ.get("ROUNDS", "3"))
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

LIMITS = {USUAL: 0.45, FULL: 0.8, FAILING: None, POSTGRES: None}

_PROBER = os.environ.get("BLACKBOX_EXPORTER", "prometheus-blackbox-exporter")
"""A newer one than the distribution's, where the variable names its binary."""

_GATUS = """\
web: {{port: {port}}}
storage: {{type: sqlite, path: "{folder}/gatus.db"}}
endpoints: [{targets}]
"""
_GATUS_TARGET = """\
{{name: "{name}", url: "{url}", method: POST, interval: 15s, headers: {{x-api-key: "{key}"}}, conditions: ["[STATUS] == 200"]}}"""
_CLOUDPROBER = """\
host: "127.0.0.1"
port: {port}
{targets}
"""
_CLOUDPROBER_TARGET = """\
probe {{ name: "{name}" type: HTTP interval: "15s" timeout: "10s" targets {{ host_names: "127.0.0.1" }}
  http_probe {{ port: {api_port} relative_url: "{path}" method: POST header {{ key: "x-api-key" value: "{key}" }} }} }}"""
OTHERS = {
    "GATUS": (_GATUS, _GATUS_TARGET, ", ", "GATUS_CONFIG_PATH", ()),
    "CLOUDPROBER": (_CLOUDPROBER, _CLOUDPROBER_TARGET, "\n", "", ("--config_file",)),
}
"""Variable that names a binary: its configuration, that of each target and what separates them, and where it looks for the file."""

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
    """CPU at a walking pace, where fixed costs show, and with nothing due; and that of others, as far as they are there."""
    with tempfile.TemporaryDirectory() as folder, simulated(Path(folder), WALKING) as api:
        with daemon(Path(folder), api, in_flight=4, rate=50, interval="15s") as monitor:
            yield Result("CPU of a whole check at a walking pace", _at_a_walk(monitor, api) * 1e3, "ms", limit=1)
            monitor.command.stop()
        for variable in OTHERS:
            if program := os.environ.get(variable):
                with _other(variable, program, Path(folder), api) as other:
                    yield Result(f"CPU of a probe by {variable.capitalize()} at a walking pace", _at_a_walk(other, api) * 1e3, "ms")
        if shutil.which(_PROBER):
            yield Result("CPU of a blackbox_exporter probe at a walking pace", _probing(Path(folder), api, walking=True) * 1e3, "ms")
        with daemon(Path(folder), api, in_flight=4, interval="24h") as monitor:
            wait_until("the start", lambda: fetch(f"{monitor.url}/-/healthy"), alive=monitor.command)
            time.sleep(_WALKING_SECONDS)
            began = monitor.cpu_seconds()
            time.sleep(_WALKING_SECONDS)
            yield Result("CPU a second with nothing due", (monitor.cpu_seconds() - began) / _WALKING_SECONDS * 1e3, "ms", limit=5)


def _at_a_walk(program: Measured, api: Simulator) -> float:
    """CPU seconds per request of a program that checks all connections every quarter of a minute."""
    first = api.requests() + 2 * WALKING
    wait_until("checks", lambda: api.requests() > first, alive=program.command, within=120)
    began, before = program.cpu_seconds(), api.requests()
    time.sleep(_WALKING_SECONDS)
    return (program.cpu_seconds() - began) / (api.requests() - before)


@contextmanager
def _other(variable: str, program: str, folder: Path, api: Simulator) -> Iterator[Measured]:
    """Another monitor that probes every connection of *api* every quarter of a minute."""
    template, target, separator, setting, option = OTHERS[variable]
    port, address = free_port(), urlsplit(api.url)
    paths = [f"/api/v1/test-connection/{quote(one, safe='')}" for one in ids(api)]
    targets = [
        target.format(name=f"c{number}", url=api.url + path, path=path, api_port=address.port, key=DEMO_KEY)
        for number, path in enumerate(paths)
    ]
    config = folder / f"{variable.lower()}.yaml"
    config.write_text(template.format(port=port, folder=folder, targets=separator.join(targets)))
    arguments = [*option, str(config)] if option else []
    environment = {setting: str(config)} if setting else {}
    with running(Path(program), *arguments, log=folder / f"{variable.lower()}.log", environment=environment) as command:
        yield Measured(command, f"http://127.0.0.1:{port}")


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


def _probing(folder: Path, api: Simulator, *, walking: bool = False) -> float:
    """CPU seconds per probe of the exporter, asked by as many clients as the daemon has checks in flight, or by one now and then."""
    port, config = free_port(), folder / "modules.yaml"
    config.write_text(_MODULES.format(key=DEMO_KEY))
    listen = f"--web.listen-address=127.0.0.1:{port}"
    with running(Path(_PROBER), f"--config.file={config}", listen, log=folder / "prober.log") as command:
        exporter = Measured(command, f"http://127.0.0.1:{port}")
        wait_until("the exporter", lambda: fetch(f"{exporter.url}/-/healthy"), alive=command)
        targets = [quote(f"{api.url}/api/v1/test-connection/{one}", safe="") for one in ids(api)]
        pause, count = (15 / WALKING, WALKING) if walking else (0.0, CHECKS)
        asyncio.run(_probe(port, targets, min(WARM_UP, count), pause))
        began = exporter.cpu_seconds()
        asyncio.run(_probe(port, targets, count, pause))
        return (exporter.cpu_seconds() - began) / count


async def _probe(port: int, targets: list[str], count: int, pause: float) -> None:
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
            await asyncio.sleep(pause)
        writer.close()

    await asyncio.gather(*(client() for _ in range(1 if pause else IN_FLIGHT)))


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
