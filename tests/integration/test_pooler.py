"""A pooler before PostgreSQL keeps neither the lock nor the settings of a session: it is refused at the start, never worked with."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from monitor.cli.main import main
from monitor.clock import SystemClock
from monitor.db import Database
from monitor.db.cluster.members import member_backend
from monitor.domain.cluster.sharing import NodeRow
from monitor.errors import EXIT_CONFIG, UnsuitableServer
from tests.e2e.processes import free_port
from tests.tools import require_tool
from tests.waiting import eventually_sync

CONFIG = """\
[databases]
* = host=127.0.0.1 port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = any
pool_mode = transaction
unix_socket_dir =
{more}
"""


@contextmanager
def _pooler(folder: Path, server: int, more: str) -> Iterator[int]:
    """A real PgBouncer before the server on port *server*; its own port."""
    port = free_port()
    # It refuses to run as root, and its user must be able to read this.
    folder.chmod(0o755)
    for parent in list(folder.parents)[:2]:
        parent.chmod(0o755)
    config = folder / "pgbouncer.ini"
    config.write_text(CONFIG.format(server=server, port=port, more=more))
    with (folder / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen([require_tool("pgbouncer"), "-u", "postgres", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        eventually_sync(lambda: b"listening on" in (folder / "pgbouncer.log").read_bytes(), what="PgBouncer listens")
        yield port
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize(
    ("more", "said"),
    [("", "unsupported startup parameter"), ("ignore_startup_parameters = options", "settings of this session were ignored")],
)
@pytest.mark.parametrize("shared", [False, True])
async def test_refused(postgres_url: str, tmp_path: Path, more: str, said: str, *, shared: bool) -> None:
    """Whether it refuses or ignores the settings of a session, the error says to connect to the server itself; to a node of a cluster too."""
    url = make_url(postgres_url)
    with _pooler(tmp_path, url.port or 0, more) as port:
        address = url.set(port=port).render_as_string(hide_password=False)
        lease, member = timedelta(minutes=1), NodeRow("node", config="c")
        backend = member_backend(address, owner="test", member=member, lease=lease, clock=SystemClock()) if shared else None
        database = Database(address, clock=SystemClock(), owner="test", backend=backend)
        with pytest.raises(UnsuitableServer, match=f"{said}.*connect to the PostgreSQL server itself") as refused:
            await database.start()
    assert refused.value.exit_code == EXIT_CONFIG


def test_server_that_is_too_old(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A server below the oldest release that is supported is refused with its version, by a start and by `db upgrade` alike."""
    monkeypatch.setattr("monitor.db.postgres._OLDEST_SERVER", 99)
    config = tmp_path / "config.yaml"
    config.write_text(f"accounts: [{{name: main, api_key: sk_0123456789abcdef}}]\ndatabase: {{url: '{postgres_url}'}}\n")
    assert main(["db", "upgrade", "--config", str(config)]) == EXIT_CONFIG
    assert re.search(r"the server is PostgreSQL \d\d, which is too old: it must be PostgreSQL 99 or newer", capsys.readouterr().err)
