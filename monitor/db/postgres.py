"""
PostgreSQL as a backend: one writing session that holds an advisory lock and the lease.

The advisory lock keeps a second instance from starting; it ends with the session. The lease row is the fence: every
write transaction first changes it, which fails once another instance has taken over (`epoch`), and holds it until the
commit. Its `commits` number tells after a lost connection whether the last commit came through.

The address says how TLS is used (`sslmode`); the configuration asks for a verified certificate of a server elsewhere.

Source: https://www.postgresql.org/docs/15/explicit-locking.html#ADVISORY-LOCKS
"""

import contextlib
import math
import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, QueuePool, create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from monitor.clock import Clock
from monitor.db import migrations
from monitor.db.errors import POOLER, translated
from monitor.db.files import describe
from monitor.errors import AnotherInstance, StoreUnavailable, UnsuitableServer
from monitor.logs import get_logger

# "postpost" in ASCII: no other program takes this lock.
LOCK = 0x706F7374706F7374
_READERS = 4
_STATEMENT_TIMEOUT = "10s"
_OLDEST_SERVER = 14
_LEASE = timedelta(seconds=15)
_WAIT_MILLISECONDS = 1_000
_DEADLINE = 0.9
"""For this part of the lease after its last renewal an instance of a cluster sends requests."""

_GRACE_SECONDS = 10.0

# By the server's clock: two hosts need not agree on the time.
NOW = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
# ruff: noqa: S608 - what is put into these statements are the numbers above
_TRY_LOCK = text(f"SELECT pg_try_advisory_lock({LOCK})")
_LOCK_NOW = text(f"SELECT pg_advisory_lock({LOCK})")
_LOCK_NOT_AVAILABLE = "55P03"
END_HOLDERS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND objsubid = 1"
    f" AND classid = {LOCK >> 32} AND objid = {LOCK & 0xFFFFFFFF}"
)
_HAS_TABLE = text("SELECT to_regclass(:name) IS NOT NULL")
_LIVE_MEMBERS = text(f"SELECT count(*) FROM members WHERE expires_at > {NOW}")
READ_LEASE = text(f"SELECT holder, owner, epoch, commits, expires_at > {NOW} AS valid, expires_at = 0 AS ended FROM lease WHERE id = 1")
_TAKE_LEASE = text(
    "INSERT INTO lease (id, holder, owner, epoch, commits, expires_at)"
    f" VALUES (1, :holder, :owner, 1, 0, {NOW} + :lease)"
    " ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, owner = excluded.owner, epoch = lease.epoch + 1,"
    " expires_at = excluded.expires_at RETURNING epoch"
)
_HOLD_LEASE = text(
    f"UPDATE lease SET commits = commits + 1, expires_at = {NOW} + :lease"
    " WHERE id = 1 AND holder = :holder AND epoch = :epoch RETURNING commits"
)
# The statistics begin anew when the server has ended all sessions because one of its processes crashed.
_RESTARTED = text(
    "SELECT clock_timestamp() - GREATEST(pg_postmaster_start_time(), (SELECT stats_reset FROM pg_stat_bgwriter)) < make_interval(secs => :grace)"
)
_SETTING = text("SELECT current_setting('statement_timeout')")
_UNLOCK = text(f"SELECT pg_advisory_unlock({LOCK})")

log = get_logger(__name__)


class PostgresBackend:
    """
    One PostgreSQL database. See `Backend`.

    Args:
        lease: after so long without a commit this instance counts as gone.
        standby: whether `open` waits a moment for another instance's lock, and leaves it to that one after the server was away.
    """

    examined = True
    _hold = _HOLD_LEASE
    _read_commits = text("SELECT commits FROM lease WHERE id = 1 AND holder = :holder AND epoch = :epoch")
    _drop = text("UPDATE lease SET expires_at = 0 WHERE id = 1 AND holder = :holder AND epoch = :epoch")

    def __init__(self, address: URL, *, owner: str, clock: Clock, lease: timedelta = _LEASE, standby: bool = False) -> None:
        self.heartbeat: float | None = lease.total_seconds() / 3
        # In a cluster soon enough after the server is back to keep the lease.
        self.patience = (0.5, 2.0) if standby else (1.0, 30.0)
        self._clock = clock
        self._renewed_at = self._begun_at = self._away_at = float("-inf")
        self._owner = owner
        self._lease = lease // timedelta(milliseconds=1)
        self._standby = standby
        self._holder = secrets.token_hex(16)
        self._epoch = 0
        self._commits = 0
        self._engine = self._writing_to(address)
        self._readers = reading_from(address)
        self._connection: Connection | None = None

    def _writing_to(self, address: URL) -> Engine:
        return writing_to(address)

    def open(self) -> None:
        """Connect, take the lock, upgrade the schema, take the lease."""
        try:
            connection = self._connect()
            with translated(), connection.begin():
                connection.execute(text("SET LOCAL statement_timeout = 0"))
                connection.execute(text("SET LOCAL lock_timeout = '10s'"))
                self._begun_at = self._clock.boottime()
                self._join(connection)
            self._renewed_at = self._begun_at
        except BaseException as error:
            if isinstance(error, StoreUnavailable):
                self._away_at = self._clock.boottime()
            self._disconnect()
            raise

    def _join(self, connection: Connection) -> None:
        """In the transaction of `open`: upgrade the schema, take the lease."""
        if migrations.upgrade(connection, self._warn):
            log.info("database.upgraded")
        values = {"holder": self._holder, "owner": describe(self._owner), "lease": self._lease}
        self._epoch = int(connection.execute(_TAKE_LEASE, values).scalar_one())

    def examine(self) -> None:
        """Nothing: the server checks its pages when it reads them."""

    def begin(self) -> Connection:
        """The writing connection in a transaction that holds the lease row."""
        connection, self._begun_at = self._live(), self._clock.boottime()
        with translated():
            connection.begin()
            commits = connection.execute(self._hold, self._identity | {"lease": self._lease}).scalar()
        if commits is None:
            self.rollback()
            raise self._taken_over()
        self._commits = int(commits)
        return connection

    def commit(self) -> None:
        """Commit, the lease counts from the begin; when the connection breaks, `was_committed` knows the outcome."""
        with translated():
            self._live().commit()
        self._renewed_at = self._begun_at

    def rollback(self) -> None:
        """Roll the open transaction back."""
        if self._connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                self._connection.rollback()

    def was_committed(self) -> bool:
        """Whether the lease row carries the number of the last transaction."""
        connection = self._live()
        with translated(), connection.begin():
            commits = connection.execute(self._read_commits, self._identity).scalar()
        if commits is None:
            raise self._taken_over()
        return bool(commits >= self._commits)

    def recover(self, error: StoreUnavailable) -> None:
        """A new connection next time."""
        log.debug("database.connection_closed", error=str(error))
        self._disconnect()

    def renew(self) -> None:
        """Extend the lease."""
        self.begin()
        self.commit()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A reader's connection."""
        with translated(), self._readers.connect() as connection, connection.begin():
            yield connection

    def tidy(self) -> bool:
        """Nothing: autovacuum does it."""
        return False

    def close(self) -> None:
        """End the lease now: the next instance need not wait for it."""
        self._readers.dispose()
        if self._connection is not None and self._epoch:
            with contextlib.suppress(SQLAlchemyError):
                self._connection.rollback()
                with self._connection.begin():
                    self._connection.execute(self._drop, self._identity)
        self._disconnect()
        self._engine.dispose()

    def lease_remaining(self) -> float:
        """Seconds until nothing may be sent any more; infinite outside a cluster."""
        return math.inf if not self._standby else self._renewed_at + _DEADLINE * self._lease / 1000 - self._clock.boottime()

    @property
    def _identity(self) -> dict[str, object]:
        return {"holder": self._holder, "epoch": self._epoch}

    def _live(self) -> Connection:
        return self._connection or self._connect()

    def _connect(self) -> Connection:
        with translated():
            connection = self._engine.connect()
            try:
                _require_suitable(connection)
                self._take_lock(connection)
            except BaseException:
                connection.close()
                raise
        self._connection = connection
        return connection

    def _take_lock(self, connection: Connection) -> None:
        """Take the advisory lock, if need be by ending sessions whose process is gone."""
        with connection.begin():
            locked = bool(connection.execute(_TRY_LOCK).scalar())
        if not locked and self._waits:
            locked = self._wait_for_lock(connection, milliseconds=_WAIT_MILLISECONDS)
        with connection.begin():
            lease = connection.execute(READ_LEASE).first() if has_table(connection, "lease") else None
            if not locked and has_table(connection, "members") and (nodes := connection.execute(_LIVE_MEMBERS).scalar()):
                raise AnotherInstance(f"a cluster of {nodes} nodes holds the database: stop them, or use cluster.mode shared")
            if locked and self._waits and lease is not None and not lease.ended and self._was_away(connection):
                connection.execute(_UNLOCK)
                raise AnotherInstance(f"the server was away; {lease.owner} may return to it")
        if locked:
            return
        if lease is None:
            # The session of a killed process lasts a moment; creating the tables takes longer.
            if not self._wait_for_lock(connection, milliseconds=1_000):
                raise AnotherInstance("another instance holds the database: it is just creating the tables")
            return
        with connection.begin():
            if lease.holder != self._holder and lease.valid:
                raise AnotherInstance(f"another instance holds the database: {lease.owner}")
            # Our own session from before the connection broke, or one whose process stopped renewing.
            log.warning("database.lock_taken_over", holder=lease.owner)
            connection.execute(END_HOLDERS)
        if not self._wait_for_lock(connection, milliseconds=5_000):
            raise StoreUnavailable("the lock of an ended instance is not free yet")

    def _was_away(self, connection: Connection) -> bool:
        """Whether the server has ended all sessions so lately that the instance that was active may return to it."""
        grace = max(_GRACE_SECONDS, self._lease / 1000)
        return self._clock.boottime() - self._away_at < grace or bool(connection.execute(_RESTARTED, {"grace": grace}).scalar())

    @property
    def _waits(self) -> bool:
        """Whether this is a standby that has not been active yet."""
        return self._standby and self._epoch == 0

    @staticmethod
    def _wait_for_lock(connection: Connection, *, milliseconds: int) -> bool:
        """Whether the advisory lock was free within *milliseconds*: ending a session takes a moment."""
        try:
            with connection.begin():
                connection.execute(text(f"SET LOCAL lock_timeout = {int(milliseconds)}"))
                connection.execute(_LOCK_NOW)
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            return False
        return True

    def _taken_over(self) -> AnotherInstance:
        return AnotherInstance("another instance has taken over the database: this one must not write any more")

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                self._connection.invalidate()
                self._connection.close()
            self._connection = None

    @staticmethod
    def _warn(revision: str) -> None:
        log.warning("database.backup_skipped", schema=revision, hint="use pg_dump before upgrades")


def has_table(connection: Connection, name: str) -> bool:
    """Whether the database has a table of this name."""
    return bool(connection.execute(_HAS_TABLE, {"name": name}).scalar())


def _require_suitable(connection: Connection) -> None:
    major, *_ = connection.dialect.server_version_info or (_OLDEST_SERVER,)
    if int(major) < _OLDEST_SERVER:
        raise UnsuitableServer(f"the server is PostgreSQL {major}, which is too old: it must be PostgreSQL {_OLDEST_SERVER} or newer")
    with connection.begin():
        if connection.execute(_SETTING).scalar() != _STATEMENT_TIMEOUT:
            raise UnsuitableServer(f"the settings of this session were ignored; {POOLER}")


def reading_from(address: URL) -> Engine:
    """The engine of the readers: read-only, one consistent view for each transaction."""
    return create_engine(
        address,
        poolclass=QueuePool,
        pool_size=_READERS,
        max_overflow=0,
        pool_timeout=5.0,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args=_connect_arguments(),
        execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
    )


def writing_to(address: URL, *, wait_milliseconds: int | None = None) -> Engine:
    """The engine of a writing session; with *wait_milliseconds* it neither waits longer for a row nor keeps one longer while it does nothing."""
    arguments = _connect_arguments()
    if wait_milliseconds is not None:
        limits = f" -c lock_timeout={wait_milliseconds} -c idle_in_transaction_session_timeout={wait_milliseconds}"
        arguments["options"] = f"{arguments['options']}{limits}"
    return create_engine(address, poolclass=NullPool, hide_parameters=True, connect_args=arguments)


NETWORK_LIMITS: dict[str, Any] = {"connect_timeout": 10, "tcp_user_timeout": 10_000, "keepalives_idle": 10, "keepalives_interval": 5}
"""So soon a session notices that the server is out of reach, whether or not something is on its way."""


def _connect_arguments() -> dict[str, object]:
    return {
        "application_name": "postpost-monitor",
        **NETWORK_LIMITS,
        # Compiling a query of many partitions takes longer than running it.
        "options": f"-c jit=off -c statement_timeout={_STATEMENT_TIMEOUT} -c idle_in_transaction_session_timeout=60s -c synchronous_commit=on",
    }
