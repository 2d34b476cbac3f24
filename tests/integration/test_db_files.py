import asyncio
import contextlib
import itertools
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.clock import SystemClock
from monitor.db import (
    CheckRow,
    Database,
    back_up,
    examine,
    list_checks,
    operator_session,
    read_meta,
    read_scopes,
    reading,
)
from monitor.db.files import file_system
from monitor.db.tables import REVISION
from monitor.domain.connections import ConnectionSpec
from monitor.errors import (
    AnotherInstance,
    ConfigError,
    Reason,
    SchemaMismatch,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    UnsafeDatabaseLocation,
)
from tests import marked
from tests.builders import MINUTE, START
from tests.sampling import sampled
from tests.waiting import eventually_sync, patience

ROOT = Path(__file__).parents[2]


def open_at(url: str) -> Database:
    return Database(url, clock=SystemClock(), owner="test")


async def test_private_files(empty_sqlite_url: str, tmp_path: Path) -> None:
    """The folder is ours alone, and so is every file in it; the file is set up as it has to be."""
    database = open_at(empty_sqlite_url)
    os.umask(0o022)
    await database.start()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    assert modes == dict.fromkeys(("monitor.db", "monitor.db-wal", "monitor.db-shm", "monitor.db.lock"), 0o600)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700

    from sqlalchemy import text

    settings = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "auto_vacuum": 2}
    found = await database.write(lambda store: {name: store.rows(text(f"PRAGMA {name}"))[0][0] for name in settings})
    assert found == settings
    await database.close()


async def test_open_file_is_closed_to_others(tmp_path: Path) -> None:
    """A file that others can read is made private."""
    path = tmp_path / "monitor.db"
    path.touch(mode=0o644)
    database = open_at(f"sqlite:///{path}")
    await database.start()
    await database.close()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content", ["CREATE TABLE posts (id INTEGER)", "CREATE TABLE alembic_version AS SELECT '1a2b3c4d5e6f' AS version_num"]
)
async def test_file_of_another_program(tmp_path: Path, content: str) -> None:
    """A file with the tables of another program, one that uses Alembic too, is refused by whoever opens it, and not one byte is changed."""
    path = tmp_path / "theirs.db"
    with contextlib.closing(sqlite3.connect(path)) as theirs:
        theirs.execute(content)
        theirs.commit()
    before = path.read_bytes()
    url = f"sqlite:///{path}"

    with pytest.raises(SchemaMismatch, match=r"another program.*database\.url") as caught:
        await open_at(url).start()
    assert caught.value.exit_code == 78
    for look in (lambda: reading(url), lambda: operator_session(url)):
        with pytest.raises(SchemaMismatch, match="another program"), look():
            pass
    assert path.read_bytes() == before


async def test_unsafe_places(tmp_path: Path) -> None:
    """Folders that others can write to, symlinks, and what is no file are refused in words, for good: nobody waits for a person's repair."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(UnsafeDatabaseLocation, match="symbolic link"):
        await open_at(f"sqlite:///{tmp_path}/link/monitor.db").start()
    (tmp_path / "real" / "monitor.db").symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(UnsafeDatabaseLocation, match="not a plain file"):
        await open_at(f"sqlite:///{tmp_path}/real/monitor.db").start()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(UnsafeDatabaseLocation, match="everybody can write"):
        await open_at(f"sqlite:///{tmp_path}/open/monitor.db").start()
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="can't be opened"):
        await open_at(f"sqlite:///{tmp_path}/file/monitor.db").start()
    assert not (tmp_path / "elsewhere.db").exists()
    assert UnsafeDatabaseLocation.exit_code == 78


@pytest.mark.parametrize(
    "url", ["", "sqlite://", "sqlite:///:memory:", "mysql://root:pw@localhost/x", "sqlite:////a.db?mode=ro", "postgresql+asyncpg://x/y"]
)
def test_unusable_addresses(url: str) -> None:
    """Addresses that can't be used are configuration problems, told without the password."""
    with pytest.raises(ConfigError) as caught:
        open_at(url)
    assert "pw" not in str(caught.value).replace("password", "")


def test_file_systems() -> None:
    """The file system of the longest mount point counts, also where its name is escaped."""
    mounts = (
        "22 1 0:21 / / rw - ext4 /dev/sda rw\n"
        "23 22 0:22 / /mnt rw shared:1 - ext4 /dev/sdb rw\n"
        "24 23 0:23 / /mnt/a\\040b rw - nfs4 server:/x rw\n"
        "odd line\n"
    )
    assert file_system(Path("/mnt/a b/state"), mounts) == "nfs4"
    assert file_system(Path("/mnt/a bc"), mounts) == "ext4"
    assert file_system(Path("/"), "") == ""


async def test_damage(empty_sqlite_url: str, tmp_path: Path) -> None:
    """A damaged file is never opened for writing: the start says what it found and how to repair it, and changes nothing."""
    path = tmp_path / "state" / "monitor.db"
    database = open_at(empty_sqlite_url)
    await database.start()
    rows = [CheckRow(1, START + n * MINUTE, Reason.OK, 1) for n in range(3000)]
    await database.write(lambda store: store.ensure_connections([ConnectionSpec("main", "", "x-1", "x")]))
    await database.write(lambda store: store.record_checks(rows))
    await database.close()
    assert "sound" in examine(empty_sqlite_url)

    for offset, junk in ((0, b"no database at all"), (8192, b"\xff" * 200), (path.stat().st_size - 4096, b"\x13" * 2000)):
        good = path.read_bytes()
        path.write_bytes(good[:offset] + junk + good[offset + len(junk) :])
        before = path.read_bytes()
        with pytest.raises(StoreCorrupt, match=r"damaged.*recover") as caught:
            await open_at(empty_sqlite_url).start()
        assert (caught.value.exit_code, path.read_bytes() == before) == (74, True), offset
        with pytest.raises(StoreCorrupt):
            examine(empty_sqlite_url)
        path.write_bytes(good)
    await database.start()
    assert len(await database.read(lambda reader: list_checks(reader, 1, 5000))) == 3000
    await database.close()


async def test_backup(empty_sqlite_url: str, tmp_path: Path) -> None:
    """A copy can be made while the monitor runs, is complete and private, and never overwrites anything."""
    database = open_at(empty_sqlite_url)
    await database.start()
    await database.write(lambda store: store.save_scopes({"api": (0, b"{}")}))
    target = tmp_path / "copy.db"
    assert back_up(empty_sqlite_url, target, START) == f"Copied to {target}"
    assert back_up(empty_sqlite_url, None, START).endswith("/state/monitor.db.backup-20300101T000000Z")
    assert target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreError, match="exists already"):
        back_up(empty_sqlite_url, target, START)
    await database.close()

    copy = open_at(f"sqlite:///{target}")
    await copy.start()
    assert await copy.read(read_scopes) == {"api": (1, b"{}")}
    await copy.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_backup_of_a_working_database(empty_sqlite_url: str, tmp_path: Path) -> None:
    """
    A copy made while checks come in is one moment of them, and `restore` as the documentation has it goes on from there: the
    files beside the database are removed, the copy takes its place. Whoever waits hears how far it is.
    """
    database = open_at(empty_sqlite_url)
    await database.start()
    ids = await database.write(lambda store: store.ensure_connections([ConnectionSpec("main", "", "x-1", "x")]))
    (number,) = ids.values()

    numbers = itertools.count()

    async def check(count: int) -> None:
        for _ in range(count):
            rows = [CheckRow(number, START + next(numbers) * MINUTE, Reason.OK, 1, 200, "59d", f"text {n}") for n in range(50)]
            await database.write(lambda store, rows=rows: store.record_checks(rows))  # type: ignore[misc]

    await check(100)
    heard: list[str] = []
    target = tmp_path / "copy.db"
    copying = asyncio.create_task(asyncio.to_thread(back_up, empty_sqlite_url, target, START, heard.append))
    while not copying.done():
        await check(1)
    assert await copying == f"Copied to {target}"
    await check(3)
    total = len(await database.read(lambda reader: list_checks(reader, number, 10**6)))
    await database.close()
    assert heard[-1] in ("reading the copy", "looking for damage")
    assert names(tmp_path) == ["copy.db", "state"], "nothing half done is left"

    path = tmp_path / "state" / "monitor.db"
    for name in ("monitor.db-wal", "monitor.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    shutil.copy(target, path)
    assert "sound" in examine(empty_sqlite_url)
    await database.start()
    history = await database.read(lambda reader: list_checks(reader, number, 10**6))
    assert 5000 <= len(history) < total
    assert [row.at for row in reversed(history)] == [START + n * MINUTE for n in range(len(history))], "one moment, no gap"
    await database.close()


async def test_backup_of_a_damaged_database(empty_sqlite_url: str, tmp_path: Path) -> None:
    """Of a damaged database there is no copy, not even half of one; nor where the disk has no room for it."""
    database = open_at(empty_sqlite_url)
    await database.start()
    await database.write(lambda store: store.ensure_connections([ConnectionSpec("main", "", "x-1", "x")]))
    await database.write(lambda store: store.record_checks([CheckRow(1, START + n * MINUTE, Reason.OK, 1) for n in range(3000)]))
    await database.close()
    path = tmp_path / "state" / "monitor.db"
    good = path.read_bytes()
    path.write_bytes(good[:-8192] + b"\x13" * 4096 + good[-4096:])
    with pytest.raises(StoreCorrupt, match="damaged"):
        back_up(empty_sqlite_url, tmp_path / "copy.db", START)
    with pytest.raises(StoreUnavailable, match="can't be written"):
        back_up(empty_sqlite_url, tmp_path / "nowhere" / "copy.db", START)
    assert not (tmp_path / "copy.db").exists()
    assert not (tmp_path / "copy.db.partial").exists()


async def test_an_old_ballast_is_removed(sqlite_url: str, tmp_path: Path) -> None:
    """Earlier versions kept a reserve beside the database; a start gives its room back."""
    ballast = tmp_path / "state" / "monitor.db.ballast"
    ballast.parent.mkdir(mode=0o700, exist_ok=True)
    ballast.write_bytes(b"\0" * 4096)
    database = open_at(sqlite_url)
    await database.start()
    await database.close()
    assert not ballast.exists()


_HOLDS = """
import asyncio, sys
from monitor.clock import SystemClock
from monitor.db import Database
from monitor.errors import MonitorError

async def main():
    database = Database(sys.argv[1], clock=SystemClock(), owner="holder")
    await database.start()
    print("up", flush=True)
    await asyncio.Event().wait()

try:
    asyncio.run(main())
except MonitorError as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
"""


@pytest.mark.slow
def test_five_starters(empty_database_url: str, tmp_path: Path) -> None:
    """Of five that start together exactly one runs; the others end with 75 within two seconds and say who it is."""
    logs = [(tmp_path / f"log{n}").open("w+") for n in range(5)]
    command = [sys.executable, "-c", _HOLDS, empty_database_url]
    starters = [subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT) for log in logs]
    try:
        eventually_sync(lambda: sum(one.poll() == 75 for one in starters) == 4)
        (winner,) = [one for one in starters if one.poll() is None]
        for one, log in zip(starters, logs, strict=True):
            word = "up\n" if one is winner else "another instance holds the database"
            eventually_sync(lambda log=log, word=word: word in Path(log.name).read_text())  # type: ignore[misc]
        late = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=patience())
        assert (late.returncode, f"pid {winner.pid} on host" in late.stdout) == (75, True), late

        winner.send_signal(signal.SIGKILL)
        winner.wait(patience())
        asyncio.run(_starts(empty_database_url))
    finally:
        for one, log in zip(starters, logs, strict=True):
            one.kill()
            one.wait(patience())
            log.close()


async def _starts(url: str) -> None:
    database = open_at(url)
    await database.start()
    await database.close()


_WRITES = """
import asyncio, itertools, sys
from monitor.clock import SystemClock
from monitor.db import Database, read_scopes

async def main():
    database = Database(sys.argv[1], clock=SystemClock(), owner="writer")
    await database.start()
    begin = len(await database.read(read_scopes))
    async def write(lane):
        for n in itertools.count():
            name = f"{begin}.{lane}.{n}"
            await database.write(lambda store: store.save_scopes({name: (0, b"{}")}))
            print(name, flush=True)
    await asyncio.gather(*(write(lane) for lane in range(8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("runs", sampled([1, 4]))
def test_kill_loses_nothing(empty_sqlite_url: str, tmp_path: Path, runs: int) -> None:
    """Whatever was told to be written is there after kill -9, every time, and the file is sound."""
    told: set[str] = set()
    for run in range(runs):
        with (tmp_path / f"log{run}").open("w+") as log:
            writer = subprocess.Popen([sys.executable, "-c", _WRITES, empty_sqlite_url], stdout=log, cwd=ROOT)
            path = Path(log.name)
            eventually_sync(lambda path=path: path.read_text().count("\n") > 100)  # type: ignore[misc]
            writer.kill()
            writer.wait(patience())
            told |= {line for line in path.read_text().split("\n")[:-1] if re.fullmatch(r"\d+\.\d+\.\d+", line)}
        examine(empty_sqlite_url)
    connection = sqlite3.connect(empty_sqlite_url.removeprefix("sqlite:///"))
    found = {name for (name,) in connection.execute("SELECT name FROM scopes")}
    connection.close()
    assert len(told) > 90 * runs
    assert told - found == set()


async def test_two_in_one_process(empty_sqlite_url: str) -> None:
    """A second writing connection is refused even within one process, and harms the first one nothing."""
    first, second = open_at(empty_sqlite_url), open_at(empty_sqlite_url)
    await first.start()
    with pytest.raises(AnotherInstance, match=rf"pid {os.getpid()} on host .*\(test\)"):
        await second.start()
    await second.close()
    assert await first.write(lambda store: read_meta(store, "instance_id")) == first.instance_id
    await first.close()


def test_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`db upgrade` makes the schema, `db check` finds it sound, `db backup` copies it."""
    from monitor.cli.main import build_parser

    config = tmp_path / "config.yaml"
    (tmp_path / "key").write_text(marked.API_KEY + "\n")
    (tmp_path / "key").chmod(0o600)
    config.write_text(f"accounts: [{{name: main, api_key_file: {tmp_path}/key}}]\ndatabase: {{url: 'sqlite:///{tmp_path}/state/m.db'}}\n")
    config.chmod(0o600)

    def run(*words: str) -> str:
        args = build_parser(["db"]).parse_args(["db", *words, "--config", str(config)])
        assert args.run(args) == 0
        return capsys.readouterr().out

    with pytest.raises(StoreUnavailable, match="no database"):
        run("check")
    assert "up to date" in run("upgrade")
    assert f"sound: schema {REVISION}, 0 checks" in run("check")
    assert f"Copied to {tmp_path}/copy.db" in run("backup", f"{tmp_path}/copy.db")
    (tmp_path / "empty.db").touch()
    with pytest.raises(SchemaMismatch, match="db upgrade"):
        examine(f"sqlite:///{tmp_path}/empty.db")
