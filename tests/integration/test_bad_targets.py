"""What a person or a client can do wrong ends in one line that names it: no traceback, and no error in the log."""

import asyncio
import logging
import random
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from monitor.cli.main import main
from monitor.clock import SystemClock
from monitor.config import WebSettings
from monitor.domain.views.snapshot import ConnectionView, Snapshot
from monitor.metrics import Metrics
from monitor.web.server import WebServer
from tests import marked
from tests.builders import START, a_connection, a_state
from tests.databases import migrated_sqlite
from tests.sampling import sampled

CONFIG = """\
accounts: [{{name: main, api_key_file: {folder}/key, discover: "off"}}]
connections: [linkedin-page1]
receivers: [{{name: on-call, url_file: {folder}/url}}]
database: {{url: "sqlite:///{database}"}}
"""

READING = (
    "status",
    "history linkedin-page1",
    "incidents",
    "explain linkedin-page1",
    "silence list",
    "deliveries list",
    "replay",
    "export checks",
    "db check",
    "db backup {folder}/copy.db",
    "db copy {folder}/new-url",
)
WRITING = ("silence add --for 1h --reason x --match platform=linkedin", "ack linkedin-page1 --reason x", "db upgrade")
WITH_OUTPUT = (
    "status",
    "incidents",
    "silence list",
    "deliveries list",
    "export checks",
    "config show",
    "config schema",
)


def _config(folder: Path, database: Path) -> Path:
    path = folder / "config.yaml"
    for file, text in (
        (path, CONFIG.format(folder=folder, database=database)),
        (folder / "key", marked.API_KEY),
        (folder / "url", "http://127.0.0.1:9/hook"),
        (folder / "new-url", f"sqlite:///{folder}/new.db"),
    ):
        file.touch(mode=0o600)
        file.write_text(text)
    return path


def _run(command: str, config: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    verb = command.format(folder=config.parent).split()
    code = main([*verb, "--config", str(config)])
    return code, capsys.readouterr().err.splitlines()


def _assert_refused(code: int, lines: list[str]) -> None:
    assert code != 0
    assert lines
    assert all(line.startswith("postpost-monitor: ") for line in lines), lines


PLACES = ("missing", "a_folder", "not_a_database", "below_a_file")


@pytest.mark.parametrize(
    ("verb", "database"),
    # The upgrade creates a missing database. One place of each verb, all of them together, in every run.
    [
        case if number // len(PLACES) % len(PLACES) == number % len(PLACES) else pytest.param(*case, marks=pytest.mark.slow)
        for number, case in enumerate(product([*READING, *WRITING], PLACES))
        if case != ("db upgrade", "missing")
    ],
)
def test_bad_database(verb: str, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every verb that opens the database says what is wrong with it."""
    path = tmp_path / "monitor.db"
    if database == "a_folder":
        path.mkdir()
    elif database == "not_a_database":
        path.touch(mode=0o600)
        path.write_text("certainly not a database " * 100)
    elif database == "below_a_file":
        path.touch(mode=0o600)
        path = path / "monitor.db"
    _assert_refused(*_run(verb, _config(tmp_path, path), capsys))


@pytest.mark.parametrize("config", sampled(["missing", "a_folder", "binary"]))
@pytest.mark.parametrize("verb", [*READING, *WRITING, "run", "check", "config show", "receivers test on-call"])
def test_bad_config(verb: str, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every verb that reads the configuration names the file."""
    path = tmp_path / "config.yaml"
    if config == "a_folder":
        path.mkdir()
    elif config == "binary":
        path.touch(mode=0o600)
        path.write_bytes(bytes(range(256)))
    code, lines = _run(verb, path, capsys)
    _assert_refused(code, lines)
    assert str(path) in lines[0]


@pytest.mark.parametrize("verb", WITH_OUTPUT)
def test_full_output(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk behind the standard output is an error of one line."""
    migrated_sqlite(tmp_path / "monitor.db")
    config = _config(tmp_path, tmp_path / "monitor.db")
    with suppress(OSError), open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
        monkeypatch.setattr(sys, "stdout", full)
        code = main([*verb.split(), "--config", str(config)] if verb != "config schema" else verb.split())
        monkeypatch.undo()
        lines = capsys.readouterr().err.splitlines()
    assert (code, lines) == (1, ["postpost-monitor: the output: No space left on device"])


@pytest.mark.parametrize(
    "target", ["{folder}/monitor.db", "{folder}/none/copy.db", "{folder}/monitor.db/copy.db", "{folder}", "/proc/copy.db"]
)
@pytest.mark.parametrize("verb", ["db backup", "export checks --output"])
def test_bad_target(verb: str, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that can't be written is named; nothing is left of it."""
    migrated_sqlite(tmp_path / "monitor.db")
    config = _config(tmp_path, tmp_path / "monitor.db")
    kept = {path.name for path in tmp_path.iterdir()} | {"monitor.db-wal", "monitor.db-shm"}
    code, lines = _run(f"{verb} {target}", config, capsys)
    _assert_refused(code, lines)
    assert {path.name for path in tmp_path.iterdir()} <= kept


@pytest.mark.parametrize("target", ["", "nonsense", "sqlite:////proc/new/monitor.db", "postgresql://127.0.0.1:9/name", "a folder"])
def test_bad_target_of_a_copy(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file without the address of a database, and an address that can't be used, are named."""
    migrated_sqlite(tmp_path / "monitor.db")
    config = _config(tmp_path, tmp_path / "monitor.db")
    (tmp_path / "new-url").write_text(target)
    if target == "a folder":
        (tmp_path / "new-url").unlink()
        (tmp_path / "new-url").mkdir()
    _assert_refused(*_run("db copy {folder}/new-url", config, capsys))


@asynccontextmanager
async def _port() -> AsyncIterator[tuple[str, int]]:
    views = tuple(ConnectionView(a_connection(number), a_state()) for number in range(1500))
    snapshot = replace(Snapshot(START, views), accounts={"main": True})
    metrics = Metrics()
    metrics.prepare()
    server = WebServer(WebSettings(listen="127.0.0.1:0"), metrics, lambda: snapshot, SystemClock(), lambda: (True, "ready"))
    url = urlsplit(await server.start())
    try:
        yield url.hostname or "", url.port or 0
    finally:
        await server.close()


async def test_client_that_hangs_up(caplog: pytest.LogCaptureFixture) -> None:
    """However much of a response a client takes before it resets the connection, nothing is logged and the next one is answered."""
    chance = random.Random(7)
    async with _port() as (host, number):
        with capture_logs() as logged, caplog.at_level(logging.INFO):
            for path in ("/metrics", "/", "/api/v1/connections") * 12:
                reader, writer = await asyncio.open_connection(host, number)
                writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                if wanted := chance.choice((0, 1, 100, 70_000, 200_000)):
                    await reader.read(wanted)
                # Closing sends a reset: what is still on its way is refused.
                writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            reader, writer = await asyncio.open_connection(host, number)
            writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            assert (await reader.read(-1)).startswith(b"HTTP/1.1 200")
            writer.close()
        assert [event for event in logged if event["log_level"] not in ("debug", "info")] == []
        assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []
