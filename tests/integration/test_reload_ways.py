"""Reloads without a signal: by the port, for those who may, and when the file has changed."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from monitor.app import App
from monitor.clock import SystemClock
from monitor.config import load, watched_files
from monitor.notify import templates
from monitor.runtime.config_file import ConfigFileWatch
from monitor.runtime.signals import Signals
from tests import marked
from tests.configured import ACCOUNT, configured, refused
from tests.waiting import eventually, patience

CONFIG = """\
monitor: {{reload_on_change: true}}
api: {{base_url: "http://127.0.0.1:9/api/v1"}}
accounts: [{{name: main, api_key: {key}, discover: "off"}}]
connections: [linkedin-page1]
receivers: [{{name: {name}, url: "http://127.0.0.1:9/{path}"}}]
database: {{url: "sqlite:///{folder}/monitor.db"}}
web: {{listen: "127.0.0.1:0", token: {token}, lifecycle: {lifecycle}}}
shutdown: {{drain: 2s}}
"""
BEARER = f"Authorization: Bearer {marked.TOKEN}"


@dataclass
class Daemon:
    """A running monitor and its file."""

    app: App
    path: Path

    def write(self, name: str = "on-call", *, lifecycle: bool = True) -> None:
        """Write the file, with a receiver of this name."""
        text = CONFIG.format(
            key=marked.API_KEY,
            path=marked.PATH,
            folder=self.path.parent,
            token=marked.TOKEN,
            name=name,
            lifecycle=str(lifecycle).lower(),
        )
        self.path.write_text(text)

    async def ask(self, *headers: str, method: str = "POST", body: str = "") -> tuple[int, str]:
        """One request for a reload: status and body."""
        parts = urlsplit(self.app.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        length = [f"Content-Length: {len(body)}"] if body else []
        lines = [f"{method} /-/reload HTTP/1.1", f"Host: {parts.netloc}", "Connection: close", *length, *headers]
        writer.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        async with asyncio.timeout(patience()):
            answer = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
        return int(answer.split(" ", 2)[1]), answer.partition("\r\n\r\n")[2]

    @property
    def receivers(self) -> list[str]:
        """The receivers in force."""
        return [receiver.name for receiver in self.app.config.receivers]


@asynccontextmanager
async def a_daemon(folder: Path, *, lifecycle: bool = True) -> AsyncIterator[Daemon]:
    """A monitor that has just started; it ends with the block."""
    path, signals = folder / "config.yaml", Signals()
    daemon = Daemon.__new__(Daemon)
    daemon.path = path
    daemon.write(lifecycle=lifecycle)
    read = partial(load, path, check_template=templates.problems)
    daemon.app = App(read(), clock=SystemClock(), signals=signals, reread=read)
    running = asyncio.create_task(daemon.app.run())
    await eventually(lambda: running.done() or daemon.app.ready.is_set(), what="the start")
    yield daemon
    signals.request_stop()
    async with asyncio.timeout(patience()):
        await running


async def test_by_the_port(tmp_path: Path) -> None:
    """Who has the token may reload, and learns whether it worked; nobody else, and no other site through a browser."""
    async with a_daemon(tmp_path) as daemon:
        daemon.write("pager")
        refusals = {
            401: [daemon.ask()],
            400: [daemon.ask(BEARER, "Origin: https://evil.example"), daemon.ask(BEARER, body="x")],
            405: [daemon.ask(BEARER, method="PUT")],
        }
        for status, asked in refusals.items():
            assert {(await one)[0] for one in asked} == {status}
        assert daemon.receivers == ["on-call"]
        assert await daemon.ask(BEARER) == (200, "reloaded\n")
        assert daemon.receivers == ["pager"]
        daemon.path.write_text(f"nonsense: {marked.API_KEY}\n")
        with capture_logs() as logged:
            status, body = await daemon.ask(BEARER)
        assert (status, marked.MARK in body) == (500, False)
        assert "config.rejected" in {event["event"] for event in logged}
        assert daemon.receivers == ["pager"]


async def test_not_asked_for(tmp_path: Path) -> None:
    """Without `web.lifecycle` the port reloads nothing."""
    async with a_daemon(tmp_path, lifecycle=False) as daemon:
        daemon.write("pager")
        assert (await daemon.ask(BEARER))[0] == 405
        assert daemon.receivers == ["on-call"]


async def test_by_the_file(tmp_path: Path) -> None:
    """With `monitor.reload_on_change` a change of the file is a reload; a broken file changes nothing."""
    async with a_daemon(tmp_path) as daemon:
        watch = daemon.app._file_watch
        daemon.write("pager")
        await watch.step()
        await watch.step()
        await eventually(lambda: daemon.receivers == ["pager"], what="the new receiver")


async def test_watch(tmp_path: Path) -> None:
    """A change counts once, when two looks agree; by content, through links; a file that is away is no change."""
    changes: list[int] = []
    first, second, link = tmp_path / "one.yaml", tmp_path / "two.yaml", tmp_path / "config.yaml"
    first.write_text("a: 1\n")
    second.write_text("a: 2\n")
    link.symlink_to(first)
    watch = ConfigFileWatch(lambda: [link], lambda _: changes.append(1))

    async def steps(count: int) -> int:
        for _ in range(count):
            assert not await watch.step()
        return len(changes)

    assert await steps(3) == 0
    link.unlink()
    assert await steps(3) == 0
    link.symlink_to(second)
    assert await steps(1) == 0
    assert await steps(3) == 1
    second.write_text("a: half")
    assert await steps(1) == 1
    second.write_text("a: 3\n")
    assert await steps(1) == 1
    assert await steps(1) == 2
    assert threading.active_count() < 50


async def test_other_files(tmp_path: Path) -> None:
    """Files of `config.d`, of secrets and of authorities are watched; what a reload names for the first time has not changed."""
    secret, other, drop_ins = tmp_path / "key", tmp_path / "other", tmp_path / "config.d"
    main = tmp_path / "config.yaml"
    main.write_text("accounts: [{name: main, api_key_file: key}]\n")
    for file in (secret, other):
        file.write_text("sk_0123456789abcdef")
        file.chmod(0o600)
    config, changes = load(main, {}, check_template=templates.problems), list[str]()
    watch = ConfigFileWatch(lambda: watched_files(config), lambda files: changes.extend(file.name for file in files))

    async def change(write: Callable[[str], object], text: str) -> list[str]:
        write(text)
        await watch.step()
        await watch.step()
        found = [*changes]
        changes.clear()
        return found

    drop_ins.mkdir()
    assert await change((drop_ins / "a.yaml").write_text, "accounts: [{name: second, api_key_file: other}]\n") == ["config.d"]
    config = load(main, {}, check_template=templates.problems)
    assert await change((drop_ins / "README").write_text, "no part of it") == []
    assert await change(other.write_text, "sk_0123456789abcdeg") == ["other"]
    assert await change((drop_ins / "a.yaml").write_text, "{}") == ["config.d"]
    secret.unlink()
    assert await change((drop_ins / "README").write_text, "") == ["key"]


def test_needs_authentication() -> None:
    """Reloading by the port is refused where everybody could."""
    error = refused(ACCOUNT + "web: {lifecycle: true}\n")
    assert [problem.message for problem in error.problems] == ["web.lifecycle lets anyone reload who reaches the port"]
    assert configured(ACCOUNT + "web: {lifecycle: true, token: a-long-token-of-this-test}\n").web.lifecycle


@pytest.mark.parametrize("source", ["", "/nonexistent/config.yaml", "the environment"])
async def test_no_file(source: str) -> None:
    """Without a file there is nothing to watch."""
    watch = ConfigFileWatch(lambda: [Path(source)], lambda _: pytest.fail("changed"))
    assert not await watch.step()
    assert not await watch.step()
