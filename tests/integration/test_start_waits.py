"""A start while the database or the web port is unavailable: nothing gives up that a person would have to start again."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from monitor.app import App
from monitor.clock import SystemClock
from monitor.config import Config, load
from monitor.db import Database
from monitor.errors import EXIT_CONFIG, EXIT_UNEXPECTED, PortUnavailable, UnsuitableServer
from monitor.notify import templates
from monitor.runtime.signals import Signals
from monitor.runtime.systemd import ServiceManager
from tests import marked
from tests.deploy.notify import NotifySocket
from tests.e2e.processes import free_port
from tests.postgres import PostgresServer
from tests.waiting import eventually, patience

CONFIG = """\
api: {{base_url: "http://127.0.0.1:9/api/v1"}}
accounts: [{{name: main, api_key: {key}, discover: "off"}}]
connections: [linkedin-page1]
database: {{url: "{url}"}}
web: {{listen: "127.0.0.1:{port}"}}
shutdown: {{drain: 2s}}
"""


def _config(folder: Path, url: str, port: int = 0) -> Config:
    path = folder / "config.yaml"
    path.touch(mode=0o600)
    path.write_text(CONFIG.format(key=marked.API_KEY, url=url, port=port))
    return load(path, check_template=templates.problems)


@asynccontextmanager
async def _forwarding(port: int, target: int) -> AsyncIterator[None]:
    """A way from *port* to the *target* port."""
    served: list[asyncio.Task[None] | None] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()
        await writer.wait_closed()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        back, forth = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(pump(reader, forth), pump(back, writer), return_exceptions=True)

    async with await asyncio.start_server(serve, "127.0.0.1", port):
        yield
        await asyncio.gather(*filter(None, served))


async def test_database_comes_later(postgres_url: str, tmp_path: Path) -> None:
    """READY is withheld, the status tells why, the time-out of the start is extended; the service is up once the server is."""
    port, server = free_port(), make_url(postgres_url)
    url = server.set(port=port).render_as_string(hide_password=False)
    notify, signals = NotifySocket(tmp_path / "notify"), Signals()
    config = _config(tmp_path, url)
    app = App(config, clock=SystemClock(), signals=signals, reread=lambda: config, manager=ServiceManager(str(tmp_path / "notify")))
    running = asyncio.create_task(app.run())
    try:
        await eventually(lambda: running.done() or len(notify.seen("EXTEND_TIMEOUT_USEC")) >= 2, what="two postponed starts")
        assert "Waiting for the database: " in notify.last_status()
        assert notify.seen("READY") == []
        async with _forwarding(port, server.port or 0):
            await eventually(lambda: running.done() or notify.seen("READY"), what="READY")
            assert app.ready.is_set()
            signals.request_stop()
            async with asyncio.timeout(patience()):
                await running
    finally:
        running.cancel()
        notify.close()


async def test_role_without_rights(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """A role that may not make tables is waited for, with what to grant it; the service is up once it may."""
    url = postgres_server.create_database()
    postgres_server.run("CREATE ROLE reader LOGIN")
    database, signals = make_url(url).database, Signals()
    config = _config(tmp_path, url.replace("//postgres:", "//reader:"))
    app = App(config, clock=SystemClock(), signals=signals, reread=lambda: config)
    with capture_logs() as logged:
        running = asyncio.create_task(app.run())
        await eventually(lambda: running.done() or any("GRANT" in str(one.get("advice")) for one in logged), what="a postponed start")
        assert not running.done()
        postgres_server.run(f"ALTER DATABASE {database} OWNER TO reader")
        await eventually(lambda: running.done() or app.ready.is_set(), what="a start")
        assert app.ready.is_set()
        signals.request_stop()
        async with asyncio.timeout(patience()):
            await running


async def test_stop_while_waiting(tmp_path: Path) -> None:
    """A stop ends the wait, and the program without an error."""
    config, signals = _config(tmp_path, f"postgresql://monitor:{marked.PASSWORD}@127.0.0.1:{free_port()}/monitor"), Signals()
    app = App(config, clock=SystemClock(), signals=signals, reread=lambda: config)
    running = asyncio.create_task(app.run())
    await asyncio.sleep(0)
    signals.request_stop()
    async with asyncio.timeout(patience()):
        await running
    assert not app.ready.is_set()


@pytest.mark.parametrize("wrong", ["sslmode=requir", "port=99999", "conect_timeout=3", "keepalives=q", "gssencmode=x"])
async def test_address_that_libpq_refuses(wrong: str) -> None:
    """What no later try can change is not waited for: such an address ends the start as a wrong configuration does."""
    with pytest.raises(UnsuitableServer, match=r"invalid.*correct database\.url") as refused:
        await Database(f"postgresql://127.0.0.1/monitor?{wrong}", clock=SystemClock(), owner="test").start()
    assert refused.value.exit_code == EXIT_CONFIG


async def test_port_in_use(tmp_path: Path) -> None:
    """The exit code is one after which the service manager starts the program again."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        config, signals = _config(tmp_path, f"sqlite:///{tmp_path}/monitor.db", other.getsockname()[1]), Signals()
        app = App(config, clock=SystemClock(), signals=signals, reread=lambda: config)
        with pytest.raises(PortUnavailable, match="Address already in use") as raised:
            await app.run()
    assert raised.value.exit_code == EXIT_UNEXPECTED
