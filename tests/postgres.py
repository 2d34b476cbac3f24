"""A private PostgreSQL server for tests: its own folder and port, nothing durable, gone when the tests are."""

import contextlib
import ctypes
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests import marked
from tests.tools import require_tool
from tests.waiting import eventually_sync, patience

_PR_SET_PDEATHSIG = 1

_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "50",
    "shared_buffers": "16MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


@dataclass(eq=False)
class PostgresServer:
    """
    One running server on a loopback port.

    Attributes:
        folder: data, socket and log; removed by `stop`.
        port: where it listens, on 127.0.0.1 only.
        settings: what it has beside the settings of all.
    """

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    settings: Mapping[str, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, database: str) -> str:
        """The address of *database*; understood by SQLAlchemy 2.1 and by psycopg alike."""
        return f"postgresql://postgres:{marked.PASSWORD}@127.0.0.1:{self.port}/{database}"

    def run(self, statement: str) -> None:
        """One statement outside of any transaction, in the maintenance database."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def create_database(self, template: str = "template0") -> str:
        """The address of a new database, empty or a copy of the database named *template*."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove the database at *url*, whoever is connected."""
        self.run(f"DROP DATABASE IF EXISTS {url.rsplit('/', 1)[1]} WITH (FORCE)")

    def crash(self) -> None:
        """Stop the server at once, as `pg_ctl stop -m immediate` does: sessions break, and the next start recovers from the log."""
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(timeout=patience())
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=10)

    def start_again(self) -> None:
        """Start a crashed server at its old address; returns when it answers."""
        self.process = _run(require_tool("postgres"), self.folder, self.port, _server_user(), self.settings)
        eventually_sync(lambda: _answers(self), what="PostgreSQL answers")

    def kill(self) -> None:
        """Kill the server with its sessions, as when its machine fails."""
        sessions = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for process in (self.process.pid, *map(int, sessions)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait(timeout=10)

    def stop(self) -> None:
        """Stop the server at once and remove its folder; what it held is lost on purpose."""
        self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)


def start_postgres() -> PostgresServer:
    """A fresh server that answers; about a second."""
    initdb, postgres = require_tool("initdb"), require_tool("postgres")
    user = _server_user()
    folder = Path(tempfile.mkdtemp(prefix="postpost-pg-"))
    try:
        os.chown(folder, user.pw_uid, user.pw_gid)
        _initialise(initdb, folder / "data", user)
        return _start(postgres, folder, user)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def start_pair() -> tuple[PostgresServer, PostgresServer]:
    """A server, and its synchronous standby server: no commit is answered before both have it."""
    user, folders = _server_user(), [Path(tempfile.mkdtemp(prefix="postpost-pg-")) for _ in range(2)]
    for folder in folders:
        os.chown(folder, user.pw_uid, user.pw_gid)
    _initialise(require_tool("initdb"), folders[0] / "data", user)
    # Before its first start: the standby server follows from there.
    subprocess.run(["cp", "-a", folders[0] / "data", folders[1] / "data"], check=True)
    (folders[1] / "data" / "standby.signal").touch()
    replicated = {"wal_level": "replica", "max_wal_senders": "10", "max_connections": "100", "wal_keep_size": "1GB"}
    primary = _start(require_tool("postgres"), folders[0], user, replicated | {"synchronous_standby_names": "*"})
    source = f"host=127.0.0.1 port={primary.port} user=postgres"
    return primary, _start(require_tool("postgres"), folders[1], user, replicated | {"primary_conninfo": source})


def _server_user() -> pwd.struct_passwd:
    """Who the server runs as: we ourselves, or someone else where we are root, which PostgreSQL refuses."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid())
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres")
    return pwd.getpwnam("nobody")


def _initialise(initdb: Path, data: Path, user: pwd.struct_passwd) -> None:
    command: list[str | Path] = [
        initdb,
        "-D",
        data,
        "-U",
        "postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
        "--no-instructions",
    ]
    done = subprocess.run(command, capture_output=True, check=False, cwd="/", preexec_fn=_become(user))
    assert done.returncode == 0, f"initdb failed: {done.stderr.decode(errors='replace')}"


def _start(postgres: Path, folder: Path, user: pwd.struct_passwd, more: Mapping[str, str] | None = None) -> PostgresServer:
    port = _free_port()
    process = _run(postgres, folder, port, user, more or {})
    server = PostgresServer(folder, port, process, more or {})
    try:
        eventually_sync(lambda: _answers(server), what="PostgreSQL answers")
    except BaseException:
        server.stop()
        raise
    return server


def _run(postgres: Path, folder: Path, port: int, user: pwd.struct_passwd, more: Mapping[str, str]) -> subprocess.Popen[bytes]:
    settings = {**_SETTINGS, **more, "port": str(port), "listen_addresses": "127.0.0.1", "unix_socket_directories": str(folder)}
    options = itertools.chain.from_iterable(("-c", f"{name}={value}") for name, value in settings.items())
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [postgres, "-D", folder / "data", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            preexec_fn=_become(user),  # noqa: PLW1509
        )


def _become(user: pwd.struct_passwd) -> Callable[[], None]:
    """
    What the child does before it becomes the server: be *user*, and end with the tests, even when they are killed.

    Only the child itself can ask the kernel for that signal, and only after it changed its user.
    """
    prctl = ctypes.CDLL(None).prctl

    def become() -> None:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
        prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)

    return become


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _answers(server: PostgresServer) -> bool:
    status = server.process.poll()
    if status is not None:
        log = (server.folder / "log").read_text(errors="replace")
        raise AssertionError(f"PostgreSQL ended with status {status}: {log}")
    try:
        server.run("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True
