"""A standby: it waits, shows what the active instance stores, and takes over; a restart of the server is no takeover."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from structlog.testing import capture_logs

from monitor.app import App
from monitor.clock import SystemClock
from monitor.config import Config, load
from monitor.db import Database
from monitor.errors import AnotherInstance, ConfigError
from monitor.notify import templates
from monitor.runtime.signals import Signals
from monitor.runtime.systemd import ServiceManager
from monitor.simulator.presets import DEMO_KEY, demo_world
from monitor.simulator.server import SimulatorServer
from tests.deploy.notify import NotifySocket
from tests.e2e.processes import fetch
from tests.waiting import eventually, patience

CONFIG = """\
api: {{base_url: "{api}", requests_per_second: 100}}
accounts: [{{name: main, api_key: "{key}"}}]
database: {{url: "{url}"}}
cluster: {{mode: standby, lease: {lease}}}
web: {{listen: "127.0.0.1:0"}}
shutdown: {{drain: 2s}}
"""


class SetClock(SystemClock):
    """Its time since boot is set by hand."""

    boot = 0.0

    def boottime(self) -> float:
        """The time that was set."""
        return self.boot


@dataclass
class Instance:
    """One of several instances on a database."""

    app: App
    signals: Signals
    running: "asyncio.Task[None]"

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for *condition*; raises what ended the instance."""
        await eventually(lambda: self.running.done() or condition(), what=what)
        if self.running.done():
            self.running.result()
        assert condition(), what

    async def get(self, path: str) -> str:
        """A page of it."""
        return (await asyncio.to_thread(fetch, f"{self.app.url}{path}")).decode()

    async def get_with(self, path: str, text: str) -> str:
        """A page of it, once it has *text*."""
        page = ""
        for _ in range(int(patience() / 0.1)):
            if text in (page := await self.get(path)):
                return page
            await asyncio.sleep(0.1)
        raise AssertionError(page)

    async def stop(self) -> None:
        """Request the stop and wait for it."""
        self.signals.request_stop()
        async with asyncio.timeout(patience()):
            await self.running


@asynccontextmanager
async def _instance(
    config: Config, manager: ServiceManager | None = None, reread: Callable[[], Config] | None = None
) -> AsyncIterator[Instance]:
    signals = Signals()
    app = App(config, clock=SystemClock(), signals=signals, reread=reread or (lambda: config), manager=manager)
    instance = Instance(app, signals, asyncio.create_task(app.run()))
    try:
        yield instance
    finally:
        signals.request_stop()
        await asyncio.wait([instance.running])


@asynccontextmanager
async def _simulator() -> AsyncIterator[str]:
    server = SimulatorServer(demo_world(SystemClock()))
    try:
        yield await server.start()
    finally:
        await server.close()


def _written(folder: Path, url: str, api: str, lease: str = "15s") -> Path:
    path = folder / "config.yaml"
    path.touch(mode=0o600)
    path.write_text(CONFIG.format(api=api, url=url, key=DEMO_KEY, lease=lease))
    return path


def _config(folder: Path, url: str, api: str = "http://127.0.0.1:9/api/v1") -> Config:
    return load(_written(folder, url, api), check_template=templates.problems)


async def test_waits_and_takes_over(postgres_url: str, tmp_path: Path) -> None:
    """It is ready and shows everything while it waits, exports nothing twice, and is active as soon as the other one has stopped."""
    notify = NotifySocket(tmp_path / "notify")
    async with _simulator() as api:
        config = _config(tmp_path, postgres_url, api)
        async with _instance(config) as first:
            await first.until(first.app.ready.is_set, "the first is active")
            await first.until(lambda: any(view.state.last_check_at for view in first.app.snapshot().connections), "a check")
            async with _instance(config, ServiceManager(str(tmp_path / "notify"))) as second:
                await second.until(lambda: notify.seen("READY"), "the second is ready")
                assert not second.app.ready.is_set()
                assert notify.last_status().startswith("Standby: another instance holds the database: pid ")
                assert (await second.get("/-/ready")).strip() == "standby"
                page = await second.get("/")
                assert "This instance is a standby" in page
                assert "threads-17841412345678" in page
                metrics = await second.get("/metrics")
                assert "postpost_monitor_active 0" in metrics
                assert "postpost_connection_" not in metrics
                assert "postpost_monitor_storage_up 1" not in metrics
                assert "postpost_monitor_active 1" in await first.get("/metrics")

                with capture_logs() as logs:
                    await first.stop()
                    await second.until(second.app.ready.is_set, "the second is active")
                assert [entry["event"] for entry in logs if entry["event"].startswith("standby.")] == ["standby.activated"]
                assert (await second.get("/-/ready")).strip() == "ready"
                # What is exported and shown may be a second old.
                metrics = await second.get_with("/metrics", "postpost_monitor_active 1")
                assert 'postpost_connection_up{account="main"' in metrics
                assert "This instance is a standby" not in await second.get("/?sort=name")
    notify.close()


async def test_reload_of_a_standby(postgres_url: str, tmp_path: Path) -> None:
    """A standby reads its configuration again: a refused one changes nothing, a good one is in force at the takeover."""
    config = _config(tmp_path, postgres_url)
    changed = config.model_copy(update={"logging": config.logging.model_copy(update={"level": "debug"})})
    answers: list[Config | None] = [None, changed]

    def reread() -> Config:
        answer = answers.pop(0)
        if answer is None:
            raise ConfigError(())
        return answer

    async with _instance(config) as first:
        await first.until(first.app.ready.is_set, "the first is active")
        async with _instance(config, reread=reread) as second:
            await second.until(lambda: second.app.url, "the second waits")
            for answer in tuple(answers):
                second.signals.reload.set()
                await second.until(lambda answer=answer: answer not in answers, "it was read again")  # type: ignore[misc]
            await second.until(lambda: second.app.config is changed, "the new configuration")
            await first.stop()
            await second.until(second.app.ready.is_set, "the second is active")
            assert second.app.config is changed


async def test_stop_of_a_standby(postgres_url: str, tmp_path: Path) -> None:
    """It ends without an error, and the active one does not notice."""
    config = _config(tmp_path, postgres_url)
    async with _instance(config) as first:
        await first.until(first.app.ready.is_set, "the first is active")
        async with _instance(config) as second:
            await second.until(lambda: second.app.url, "the second waits")
            await second.stop()
        assert not first.running.done()


async def test_silent_holder(postgres_url: str) -> None:
    """One whose lease has run out, as when its machine is gone, is replaced; it writes nothing more."""
    first, second = _database(postgres_url, "first"), _database(postgres_url, "second")
    await first.start()
    with pytest.raises(AnotherInstance, match="first"):
        await second.start()
    await asyncio.to_thread(_execute, postgres_url, "UPDATE lease SET expires_at = 0")
    await second.start()
    with pytest.raises(AnotherInstance):
        await first.write(lambda store: store.put_meta("late", "1"))
    await first.close()
    await second.close()


@pytest.mark.parametrize("expires_in", ["1 hour", "-1 hour"], ids=["short", "long"])
async def test_restart_of_the_server(postgres_url: str, expires_in: str) -> None:
    """After a restart of the server the lock is left to the active instance for the length of a lease, however long the server was away."""
    # As if the server had been started within the lease, whenever the tests' server was.
    first, second = _database(postgres_url, "first", hours=1000), _database(postgres_url, "second", hours=1000)
    await first.start()
    expires_at = f"(EXTRACT(EPOCH FROM now() + INTERVAL '{expires_in}') * 1000)::bigint"
    await asyncio.to_thread(_execute, postgres_url, f"UPDATE lease SET expires_at = {expires_at}")
    ended = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid() AND database = "
    await asyncio.to_thread(_execute, postgres_url, f"{ended}(SELECT oid FROM pg_database WHERE datname = current_database())")
    with pytest.raises(AnotherInstance, match=r"was away.*\(first\)"):
        await second.start()
    await first.write(lambda store: store.put_meta("mine", "1"))
    await first.close()
    await second.start()
    await second.close()


async def test_deadline(postgres_url: str) -> None:
    """The active instance sends nothing after nine tenths of the lease since its last renewal: a standby may be active then."""
    clock = SetClock()
    database = Database(postgres_url, clock=clock, owner="first", standby_lease=timedelta(seconds=100))
    await database.start()
    clock.boot = 89.0
    assert database.may_send()
    clock.boot = 91.0
    assert not database.may_send()
    await database.write(lambda _: None)
    assert database.may_send()
    await database.close()


def _database(url: str, owner: str, *, hours: float = 1) -> Database:
    return Database(url, clock=SystemClock(), owner=owner, standby_lease=timedelta(hours=hours))


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


async def test_warnings(postgres_url: str, tmp_path: Path) -> None:
    """A clock that differs from the server's, and a server without a synchronous standby of its own, are logged."""

    class Late(SystemClock):
        def now(self) -> datetime:
            return super().now() - timedelta(seconds=31)

    config, signals = _config(tmp_path, postgres_url), Signals()
    app = App(config, clock=Late(), signals=signals, reread=lambda: config)
    with capture_logs() as logs:
        running = asyncio.create_task(app.run())
        await eventually(lambda: running.done() or app.ready.is_set(), what="active")
        signals.request_stop()
        await running
    events = {entry["event"]: entry for entry in logs}
    assert -36 < events["clock.differed"]["seconds"] < -26
    assert "synchronous_standby_names" in events["database.not_replicated"]["advice"]
    assert events["database.not_replicated"]["log_level"] == "warning"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"postgresql://monitor@127.0.0.1/monitor": "sqlite:////tmp/monitor.db"}, "several machines can't share an SQLite file"),
        ({"mode: standby": "mode: other"}, "standby"),
        ({"mode: standby": "mode: shared", "lease: 15s": "lease: 15s, turn: 59s"}, "cluster.turn"),
        ({"lease: 15s": "lease: 4s"}, "cluster.lease"),
    ],
)
def test_bad_configuration(tmp_path: Path, change: dict[str, str], said: str) -> None:
    """Each is refused with its place."""
    path = _written(tmp_path, "postgresql://monitor@127.0.0.1/monitor", "http://127.0.0.1:9/api/v1")
    text = path.read_text()
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as refused:
        load(path, check_template=templates.problems)
    assert f"{path}:4" in str(refused.value)
