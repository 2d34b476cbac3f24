"""
SQLite as a backend: WAL, every commit on disk before it counts, one writing connection.

Readers have connections of their own that never write and never checkpoint: SQLite before 3.51.3 can damage a file
when two connections checkpoint at once.
"""

import contextlib
import math
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, NullPool, QueuePool, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError

from monitor.clock import Clock
from monitor.db import migrations
from monitor.db.errors import corrupt, translated
from monitor.db.files import DamageNote, InstanceLock, make_durable, make_private, prepare, remove_ballast
from monitor.errors import StoreCorrupt, StoreError, StoreUnavailable
from monitor.logs import get_logger

_BUSY_SECONDS = 5.0
_LOCK_SECONDS = 1.0
_FULL_BYTES = 2**20
_READERS = 4
_PAGES = 2_000
# Read within a second or two. Of a larger file only the history is large; it is examined once everything runs.
_READ_AT_START = 256 * 1024 * 1024

log = get_logger(__name__)

Report = Callable[[str], None]
"""Takes a line of progress."""

# SQLite's own steps between two reports of progress: some milliseconds.
_STEPS = 100_000


def no_report(_: str) -> None:
    """Ignores progress."""


class SqliteBackend:
    """One database file. See `Backend`."""

    heartbeat: float | None = None
    patience = (0.05, 2.0)

    def __init__(self, path: Path, *, clock: Clock, owner: str) -> None:
        self.examined = False
        self._path = path
        self._clock = clock
        self._lock = InstanceLock(path, owner)
        self._engine = writing_engine(path)
        self._readers = reading_engine(path)
        self._connection: Connection | None = None

    def open(self) -> None:
        """Take the lock, check for damage, upgrade the schema."""
        prepare(self._path)
        self._lock.acquire()
        remove_ballast(self._path)
        try:
            # By a reader: a damaged file must not even be checkpointed.
            self.examined = self._path.stat().st_size <= _READ_AT_START
            check_pages(self._path, self._readers, without="" if self.examined else "checks")
            DamageNote(self._path).remove()
            # By a reader too: the writer sets the journal mode, and another program's file must stay as it is.
            with self.reading() as reader:
                migrations.require_ours(reader)
            connection = self.begin()
            if migrations.upgrade(connection, self._backup):
                log.info("database.upgraded", path=str(self._path))
            self.commit()
        except BaseException:
            self.close()
            raise
        log.info("database.opened", path=str(self._path), sqlite=sqlite3.sqlite_version)

    def examine(self) -> None:
        """Read every page; raises StoreCorrupt when one is damaged."""
        check_pages(self._path, self._readers)

    def begin(self) -> Connection:
        """The writing connection inside BEGIN IMMEDIATE."""
        with translated():
            connection = self._live()
            connection.begin()
            return connection

    def commit(self) -> None:
        """Commit; a failed commit is a rolled back one."""
        with translated():
            self._live().commit()

    def rollback(self) -> None:
        """Roll the open transaction back."""
        if self._connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                self._connection.rollback()

    def was_committed(self) -> bool:
        """Never: when SQLite reports a failed commit, it is rolled back."""
        return False

    def recover(self, error: StoreUnavailable) -> None:
        """A new connection next time."""
        log.debug("database.connection_dropped", error=str(error))
        self._disconnect()

    def renew(self) -> None:
        """Nothing: the lock file stays locked until the process ends."""

    def lease_remaining(self) -> float:
        """There is no lease."""
        return math.inf

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A reader's connection."""
        with translated(), self._readers.connect() as connection, connection.begin():
            yield connection

    def tidy(self) -> bool:
        """Give some free pages back to the file system, empty the write-ahead log."""
        with translated():
            driver = _driver(self._live())
        try:
            # As a script: the statement returns a row for each page, and would otherwise stop after the first.
            driver.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
            driver.execute("PRAGMA optimize").fetchall()
            # The writer must not wait for a long reader, such as a backup: the log is emptied next time then.
            driver.execute("PRAGMA busy_timeout = 0").fetchall()
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            left = driver.execute("PRAGMA freelist_count").fetchone()
        except sqlite3.OperationalError as error:
            log.debug("database.tidying_postponed", error=str(error))
            return False
        finally:
            driver.execute(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}").fetchall()
        return bool(left != (0,))

    def close(self) -> None:
        """Readers first: the last connection to close is the writer's, which checkpoints."""
        self._readers.dispose()
        self._disconnect()
        self._engine.dispose()
        self._lock.release()

    def _live(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                self._connection.close()
            self._connection = None

    def _backup(self, revision: str) -> None:
        stamp = self._clock.now().strftime("%Y%m%dT%H%M%SZ")
        target = self._path.with_name(f"{self._path.name}.before-upgrade-{revision}-{stamp}")
        backup(self._path, target)
        log.info("database.backed_up", path=str(target))


def _engine(connect: Callable[[], sqlite3.Connection], begin: str, prepare: Callable[[sqlite3.Connection], None], **pool: Any) -> Engine:
    engine = create_engine("sqlite://", creator=connect, hide_parameters=True, **pool)
    event.listen(engine, "connect", lambda connection, _record: prepare(connection))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _connect(address: Path | str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(address, uri=uri, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def writing_engine(path: Path) -> Engine:
    """The engine of the one writing connection; its transactions begin with BEGIN IMMEDIATE."""
    return _engine(lambda: _connect(path), "BEGIN IMMEDIATE", _prepare_writer, poolclass=NullPool)


def _prepare_writer(connection: sqlite3.Connection) -> None:
    # Before the journal mode, which writes the first page: after that the vacuum mode is fixed, and setting it writes to the file.
    if connection.execute("PRAGMA page_count").fetchone() == (0,):
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # So many rows of an index are enough for `PRAGMA optimize`, which would otherwise read the whole history.
    connection.execute("PRAGMA analysis_limit = 400")
    connection.execute("PRAGMA trusted_schema = OFF")


def reading_engine(path: Path) -> Engine:
    """The engine of the readers; their connections can't write."""
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    pool = {"poolclass": QueuePool, "pool_size": _READERS, "max_overflow": 0, "pool_timeout": _BUSY_SECONDS}
    return _engine(lambda: _connect(address, uri=True), "BEGIN", _prepare_reader, **pool)


def lock_problem(path: Path) -> str:
    """Why no transaction that writes can begin, as after `_LOCK_SECONDS` of another one; empty when one can, or this user may not write."""
    address = f"file:{quote(str(path.absolute()))}?mode=rw"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=_LOCK_SECONDS, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            return f"{error} ({error.sqlite_errorname})" if "locked" in str(error) else ""
    return ""


def disk_problem(disk: os.statvfs_result, *, idle: bool) -> str:
    """Why a file on *disk* takes no writes; a full disk can still take some, so it is named only when the writer is *idle*."""
    if disk.f_flag & os.ST_RDONLY:
        return "attempt to write a readonly database (SQLITE_READONLY)"
    return "database or disk is full (SQLITE_FULL)" if idle and disk.f_bavail * disk.f_frsize < _FULL_BYTES else ""


def _prepare_reader(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA trusted_schema = OFF")


def _driver(connection: Connection) -> sqlite3.Connection:
    """SQLite's own connection, for statements outside a transaction, which SQLAlchemy would begin."""
    driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    return driver


def check_pages(path: Path, engine: Engine, *, without: str = "", report: Report = no_report) -> None:
    """Check the whole file, or only the tables, except the table *without*. Raises StoreCorrupt, which says how to repair it."""
    try:
        with translated(), engine.connect() as connection:
            _driver(connection).set_progress_handler(lambda: report("looking for damage"), _STEPS)
            for table in _tables(connection, without) if without else [""]:
                finding = str(connection.execute(text(f"PRAGMA integrity_check({table or 1})")).scalar())
                if finding != "ok":
                    raise corrupt(str(path), finding.replace("\n", " "))
    except StoreCorrupt as error:
        if "nothing was changed" in str(error):
            raise
        raise corrupt(str(path), str(error).partition(";")[0]) from None


def _tables(connection: Connection, without: str) -> list[str]:
    names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars()
    return [f'"{name}"' for name in names if name != without]


def backup(path: Path, target: Path, report: Report = no_report) -> None:
    """
    Copy the database, which may be in use, to *target*, which appears once the checked copy is on disk; *report* gets the progress.

    Raises:
        StoreError: *target* exists, or can't be written.
        StoreCorrupt: the database is damaged, or the copy.
    """
    if target.exists():
        raise StoreError(f"{target} exists already")
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    make_private(partial)
    try:
        _copy(path, partial, report)
        report("reading the copy")
        copied = reading_engine(partial)
        try:
            check_pages(partial, copied, report=report)
        finally:
            copied.dispose()
        make_durable(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _copy(path: Path, target: Path, report: Report) -> None:
    engine = reading_engine(path)
    try:
        with translated(), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            driver = _driver(connection)
            size = path.stat().st_size
            driver.set_progress_handler(lambda: report(f"copying: {target.stat().st_size * 100 // max(size, 1)} %"), _STEPS)
            try:
                driver.execute("PRAGMA query_only = OFF")
                driver.execute("VACUUM INTO ?", (str(target),))
            except sqlite3.Error as error:
                if str(getattr(error, "sqlite_errorname", "")).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                    raise corrupt(str(path), str(error)) from None
                raise StoreError(f"the backup to {target} failed: {error}") from None
    finally:
        engine.dispose()
