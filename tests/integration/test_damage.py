"""Damaged files: found at the start and once a day, never written to, told to the receivers past the database, once."""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from monitor.app import App
from monitor.clock import SystemClock
from monitor.config import (
    AccountSettings,
    ApiSettings,
    Config,
    ConnectionSettings,
    DatabaseSettings,
    ReceiverSettings,
    RetentionSettings,
    Secret,
    WebSettings,
)
from monitor.db import CheckRow, Database, list_checks, read_connections
from monitor.domain.connections import ConnectionSpec
from monitor.errors import Reason, StoreCorrupt
from monitor.runtime.signals import Signals
from monitor.workers.group import WorkerGroup
from monitor.workers.retention import RetentionWorker
from tests.builders import DAY, HOUR, MINUTE, SECOND, START
from tests.clock import FakeClock
from tests.receiving import ReceiverServer
from tests.virtual import KEY
from tests.waiting import eventually, scaled

ROWS = 2000


def open_at(path: Path) -> Database:
    return Database(f"sqlite:///{path}", clock=SystemClock(), owner="test")


async def fill(database: Database) -> None:
    """Many rows on many pages."""
    await database.write(lambda store: store.ensure_connections([ConnectionSpec("main", "", "x-1", "x")]))
    rows = [CheckRow(1, START + n * MINUTE, Reason.OK, 1, 200, "59d 3h", f"text {n % 50}") for n in range(ROWS)]
    for start in range(0, ROWS, 250):
        await database.write(lambda store, start=start: store.record_checks(rows[start : start + 250]))  # type: ignore[misc]


async def make(path: Path) -> None:
    """A database with rows, closed properly."""
    database = open_at(path)
    await database.start()
    await fill(database)
    await database.close()


def flip(path: Path, rng: random.Random) -> None:
    """Change some bytes at one place."""
    raw = bytearray(path.read_bytes())
    place = rng.randrange(len(raw) - 8)
    for offset in range(rng.choice((1, 1, 8))):
        raw[place + offset] ^= rng.randrange(1, 256)
    path.write_bytes(raw)


async def outcome(path: Path) -> str:
    """What comes of a start: `corrupt`, having changed nothing; `unreadable`, found when it is read; or `sound`, and then it is."""
    before = contents(path)
    database = open_at(path)
    try:
        await database.start()
    except StoreCorrupt as error:
        assert (error.exit_code, "recover" in str(error), contents(path) == before) == (74, True, True)  # noqa: PT017
        return "corrupt"
    try:
        rows = await database.read(lambda reader: [*read_connections(reader), *list_checks(reader, 1, 2 * ROWS)])
    except StoreCorrupt:
        await database.close()
        return "unreadable"
    assert len(rows) == ROWS + 1
    await database.write(lambda store: store.put_meta("still", "writing"))
    await database.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",)
    return "sound"


def contents(path: Path) -> bytes:
    return path.read_bytes()


@pytest.mark.slow
async def test_flipped_bytes(tmp_path: Path) -> None:
    """Bytes flipped anywhere in the file: each start finds the damage and changes nothing, or works with a database that is sound."""
    good, path = tmp_path / "good.db", tmp_path / "state" / "monitor.db"
    await make(good)
    path.parent.mkdir(mode=0o700)
    outcomes = []
    for seed in range(40):
        shutil.copy(good, path)
        flip(path, random.Random(seed))
        outcomes.append(await outcome(path))
        for rest in path.parent.iterdir():
            rest.unlink()
    assert outcomes.count("corrupt") > 3
    assert outcomes.count("sound") > 5, "most bytes are values, not structure"


def a_config(path: Path, receiver: ReceiverServer) -> Config:
    """A monitor of that database, with that receiver."""
    return Config(
        accounts=(AccountSettings(name="main", api_key=Secret(KEY), discover="off"),),
        connections=(ConnectionSettings(id="x-1", account="main"),),
        api=ApiSettings(base_url="http://127.0.0.1:9"),
        receivers=(ReceiverSettings(name="on-call", url=Secret(receiver.url), timeout=scaled(2) * SECOND),),
        database=DatabaseSettings(url=Secret(f"sqlite:///{path}")),
        web=WebSettings(listen="127.0.0.1:0"),
    )


async def test_damage_is_told(tmp_path: Path) -> None:
    """
    A start with a damaged database ends with 74, and tells the receivers so past it; however often it is started, they hear
    it once in six hours. A sound start makes the next damage news again.
    """
    path = tmp_path / "state" / "monitor.db"
    await make(path)
    good = contents(path)
    damaged = good[:8192] + b"\xff" * 300 + good[8492:]
    clock = FakeClock()
    async with a_receiver() as receiver:

        async def start() -> list[str]:
            app = App(a_config(path, receiver), clock=clock, signals=Signals(), reread=lambda: a_config(path, receiver))
            with pytest.raises(StoreCorrupt, match="damaged"):
                await app.run()
            return [message.type for message in receiver.received]

        path.write_bytes(damaged)
        assert await start() == ["storage.failed"]
        assert await start() == ["storage.failed"]
        assert "monitor has stopped" in receiver.received[0].body.decode()
        await clock.advance(7 * HOUR)
        assert await start() == ["storage.failed"] * 2
        assert contents(path) == damaged

        path.write_bytes(good)
        database = open_at(path)
        await database.start()
        await database.close()
        path.write_bytes(damaged)
        assert await start() == ["storage.failed"] * 3


async def test_found_while_running(tmp_path: Path) -> None:
    """Once a day all of the file is looked at; damage ends the monitor with 74, and the receivers are told."""
    path = tmp_path / "monitor.db"
    clock = FakeClock()
    async with a_receiver() as receiver:
        config, signals = a_config(path, receiver), Signals()
        app = App(config, clock=SystemClock(), signals=signals, reread=lambda: config)
        running = asyncio.create_task(app.run())
        await eventually(lambda: running.done() or app.ready.is_set(), what="the start")
        await fill(app._database)
        retention = RetentionWorker(app._database, clock, config.retention)
        await retention.step()
        await app._database.tidy()
        raw = contents(path)
        path.write_bytes(raw[:-8192] + b"\x13" * 4096 + raw[-4096:])
        await retention.step()
        await clock.advance(DAY)
        with pytest.raises(StoreCorrupt):
            await retention.step()
        assert isinstance(app._workers, WorkerGroup)
        app._workers._tasks["retention"].cancel()
        app._database._ended.put_nowait(StoreCorrupt("found by retention"))
        with pytest.raises(BaseExceptionGroup):
            await running
        assert [message.type for message in receiver.received] == ["storage.failed"]


async def test_a_large_history_is_looked_at_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start with a large file looks at all but the history, and the first step of retention looks at that."""
    path = tmp_path / "monitor.db"
    await make(path)
    monkeypatch.setattr("monitor.db.sqlite._READ_AT_START", 1000)
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'checks'").fetchone()
        (other,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'messages'").fetchone()
    good = contents(path)
    history = damaged_at(good, root)
    path.write_bytes(history)
    database = open_at(path)
    await database.start()
    assert not database.examined
    with pytest.raises(StoreCorrupt):
        await RetentionWorker(database, SystemClock(), RetentionSettings()).step()
    await database.close()
    path.write_bytes(damaged_at(good, other))
    with pytest.raises(StoreCorrupt, match="recover"):
        await open_at(path).start()


def damaged_at(raw: bytes, page: int) -> bytes:
    """The file with that page (counted from 1) overwritten."""
    return raw[: (page - 1) * 4096] + b"\x13" * 4096 + raw[page * 4096 :]


@asynccontextmanager
async def a_receiver() -> AsyncIterator[ReceiverServer]:
    receiver = ReceiverServer()
    await receiver.start()
    try:
        yield receiver
    finally:
        await receiver.close()
