"""
A node of a cluster: its writing session, and the session by which it takes and releases shards.

Every write transaction first changes the row of the node in `members`, and holds it until the commit. A row whose lease has run out is
deleted by any other node, after its session was ended: no transaction of it is open any more then, and every later one finds no row.

All nodes hold the instance lock in shared mode, so that an instance without a cluster and a cluster exclude each other.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from monitor.clock import Clock, from_milliseconds, to_milliseconds
from monitor.db import migrations
from monitor.db.errors import translated
from monitor.db.maintenance import parse
from monitor.db.postgres import END_HOLDERS, LOCK, NETWORK_LIMITS, NOW, READ_LEASE, PostgresBackend, has_table, writing_to
from monitor.db.store import Store
from monitor.db.tables import REVISION
from monitor.db.transaction import Reader
from monitor.domain.cluster.sharing import GLOBAL, ClusterView, NodeRow, Shard
from monitor.errors import AnotherInstance, StoreUnavailable

T = TypeVar("T")

_RENEWALS = 3
_WAITS = 5
"""In so many parts of the lease a node renews it at least once, and so many times it may wait for the rows of another node."""

_SHORTEST_WAIT = 1_000
_UPGRADE_LOCK = LOCK + 1
_SCHEMA_KNOWN_SINCE = "0016"
"""Since this schema the row of a node says which one it needs."""

_CONFIGS = "cluster_configs"
_CONFIGS_KEPT = 20

# ruff: noqa: S608 - what is put into these statements are constants
_TRY_LOCK_SHARED = text(f"SELECT pg_try_advisory_lock_shared({LOCK})")
_LOCK_UPGRADE = text(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})")
_LIVE = text(f"SELECT count(*) FROM members WHERE expires_at > {NOW} AND node <> :node")
_LOWEST = text(f"SELECT min(COALESCE(schema, '0015')) FROM members WHERE expires_at > {NOW} AND node <> :node")
_JOIN = text(
    "INSERT INTO members (node, holder, commits, pid, expires_at, joined_at, host, url, version, config, weight, drained, schema)"
    f" VALUES (:node, :holder, 0, pg_backend_pid(), {NOW} + :lease, {NOW}, :host, :url, :version, :config, :weight, FALSE, :schema)"
    " ON CONFLICT (node) DO UPDATE SET holder = excluded.holder, commits = 0, pid = excluded.pid, expires_at = excluded.expires_at,"
    " joined_at = excluded.joined_at, host = excluded.host, url = excluded.url, version = excluded.version, config = excluded.config,"
    " weight = excluded.weight, drained = FALSE, schema = excluded.schema, unfit = NULL"
    f" WHERE members.holder = excluded.holder OR members.expires_at <= {NOW} RETURNING node"
)
_RELEASE_ALL = text(f"UPDATE shards SET node = NULL, free_since = {NOW} WHERE node = :node")
_ADD_SHARD = text(
    "INSERT INTO shards (name, node, epoch, weight, free_since, since, paused_until) VALUES (:name, NULL, 0, :weight, 0, 0, 0)"
    " ON CONFLICT (name) DO UPDATE SET weight = excluded.weight WHERE shards.weight <> excluded.weight"
)
_READ_CONFIGS = text("SELECT value FROM meta WHERE key = :key FOR UPDATE")
_PUT_CONFIGS = text("INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value")

_EXPIRED = f"members.expires_at <= {NOW}"
_END_SESSIONS = text(
    "SELECT pg_terminate_backend(l.pid) FROM members JOIN pg_locks l ON l.pid = members.pid AND l.locktype = 'advisory' AND l.objsubid = 1"
    f" AND l.classid = {LOCK >> 32} AND l.objid = {LOCK & 0xFFFFFFFF} WHERE {_EXPIRED} AND members.node <> :node"
)
_FENCE = text(
    f"WITH gone AS (DELETE FROM members WHERE node IN (SELECT node FROM members WHERE {_EXPIRED} AND node <> :node FOR UPDATE SKIP LOCKED)"
    " RETURNING node, expires_at), freed AS (UPDATE shards SET node = NULL, free_since = gone.expires_at FROM gone"
    " WHERE shards.node = gone.node RETURNING name) SELECT node, (SELECT count(*) FROM freed) AS freed FROM gone"
)
_FREE_ORPHANS = text(
    "UPDATE shards SET node = NULL WHERE node IS NOT NULL AND NOT EXISTS (SELECT FROM members WHERE members.node = shards.node)"
)
_TAKE = text(
    f"UPDATE shards SET node = :node, epoch = epoch + 1, since = CASE WHEN {NOW} - free_since > :gap THEN {NOW} ELSE since END"
    " WHERE name = :name AND node IS NULL"
    f" AND EXISTS (SELECT FROM members WHERE node = :node AND holder = :holder AND expires_at > {NOW} FOR KEY SHARE)"
    " RETURNING since, paused_until"
)
_RELEASE = text(
    f"UPDATE shards SET node = NULL, free_since = {NOW} WHERE name = :name AND node = :node"
    " AND EXISTS (SELECT FROM members WHERE node = :node AND holder = :holder)"
)
_CHANGE = text("UPDATE members SET url = :url, config = :config, weight = :weight WHERE node = :node AND holder = :holder")
_PAUSE = text("UPDATE shards SET paused_until = :until WHERE name = :name AND node = :node")
_NOTE_UNFIT = text("UPDATE members SET unfit = :unfit WHERE node = :node AND holder = :holder")
_MEMBERS = text(
    f"SELECT {NOW} AS now, (SELECT value FROM meta WHERE key = :configs) AS configs,"
    f" node, holder, host, url, version, config, weight, drained, joined_at, expires_at > {NOW} AS alive, unfit"
    " FROM (SELECT) AS one LEFT JOIN members ON TRUE ORDER BY node"
)
_SHARDS = text(f"SELECT name, node, weight, {NOW} - free_since AS free_ms, since, paused_until FROM shards ORDER BY name")
_DRAIN = text("UPDATE members SET drained = TRUE WHERE node = :node OR :all")
_LOCK_SHARDS = text("SELECT name, node FROM shards WHERE name = ANY(:names) ORDER BY name FOR UPDATE")
_RENAME_SHARD = text("UPDATE shards SET name = :new WHERE name = :old")
_DROP_SHARD = text("DELETE FROM shards WHERE name = :name AND node IS NULL")


@dataclass(frozen=True, slots=True)
class Taken:
    """A shard that was taken. *since*: since when it is tended without a gap; *paused_until*: no request of the account starts before."""

    since: datetime
    paused_until: datetime


class MemberBackend(PostgresBackend):
    """
    The PostgreSQL database of a cluster. See `PostgresBackend`.

    Args:
        member: this node; its holder is set here.
        lease: after so long without a commit another node takes over.
    """

    _hold = text(
        f"UPDATE members SET commits = commits + 1, pid = pg_backend_pid(), expires_at = {NOW} + :lease"
        " WHERE node = :node AND holder = :holder RETURNING commits"
    )
    _read_commits = text("SELECT commits FROM members WHERE node = :node AND holder = :holder")
    _drop = text(
        f"WITH freed AS (UPDATE shards SET node = NULL, free_since = {NOW} WHERE node = :node"
        " AND EXISTS (SELECT FROM members WHERE node = :node AND holder = :holder)) DELETE FROM members WHERE node = :node AND holder = :holder"
    )

    def __init__(self, address: URL, *, owner: str, member: NodeRow, lease: timedelta, clock: Clock) -> None:
        super().__init__(address, owner=owner, clock=clock, lease=lease, standby=True)
        self.heartbeat = lease.total_seconds() / (_RENEWALS + 1)
        self.member = member

    @property
    def holder(self) -> str:
        """Names this process to the other nodes."""
        return self._holder

    def _writing_to(self, address: URL) -> Engine:
        # A node that is suspended within a transaction keeps rows that others need: the server ends its session before they lose their leases.
        return writing_to(address, wait_milliseconds=max(_SHORTEST_WAIT, self._lease // _WAITS))

    def begin(self) -> Connection:
        """The writing connection in a transaction that holds the node's row."""
        if self._clock.boottime() - self._renewed_at > self._lease / 1000 / _RENEWALS:
            # By itself: the works of the transaction may have to wait for rows of another node, and fail, again and again.
            super().begin()
            self.commit()
        return super().begin()

    def session(self) -> "MemberSession":
        """A session of its own for taking and releasing shards."""
        return MemberSession(self._engine, self.member.node, self._holder)

    def _join(self, connection: Connection) -> None:
        _expand(connection, self._warn, node=self.member.node)
        member = self.member
        values = {name: getattr(member, name) for name in ("host", "url", "version", "config", "weight")}
        if connection.execute(_JOIN, self._identity | values | {"lease": self._lease, "schema": REVISION}).scalar() is None:
            raise AnotherInstance(
                f"another instance runs as node {member.node}: set cluster.node, unless it is an earlier process of this one"
            )
        connection.execute(_RELEASE_ALL, {"node": member.node})
        connection.execute(_ADD_SHARD, {"name": GLOBAL, "weight": 0.1})
        _make_current(connection, member.config, adopt=False)
        self._epoch = 1

    def _take_lock(self, connection: Connection) -> None:
        """Take the instance lock in shared mode."""
        if self.locked(connection):
            return
        with connection.begin():
            lease = connection.execute(READ_LEASE).first() if has_table(connection, "lease") else None
            if lease is None or lease.valid:
                raise AnotherInstance(
                    f"an instance without cluster.mode shared holds the database: {lease.owner if lease else 'it starts'}"
                )
            connection.execute(END_HOLDERS)
        if not self.locked(connection):
            raise StoreUnavailable("the lock of an ended instance is not free yet")

    @staticmethod
    def locked(connection: Connection) -> bool:
        """Whether the session holds the instance lock in shared mode."""
        with connection.begin():
            return bool(connection.execute(_TRY_LOCK_SHARED).scalar())

    @property
    def _identity(self) -> dict[str, object]:
        return {"node": self.member.node, "holder": self._holder}


def member_backend(url: str, *, owner: str, member: NodeRow, lease: timedelta, clock: Clock) -> MemberBackend:
    """The backend of the database at *url* for the node *member*; see `MemberBackend`."""
    return MemberBackend(parse(url), owner=owner, member=member, lease=lease, clock=clock)


class MemberSession:
    """Statements of one node about members and shards, each in a transaction of its own; blocking."""

    def __init__(self, engine: Engine, node: str, holder: str) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._identity = {"node": node, "holder": holder}

    def fence(self) -> list[str]:
        """End the leases that have run out, and free what these nodes tended; returns their names."""
        self._run(lambda connection: connection.execute(_END_SESSIONS, self._identity))
        gone = self._run(lambda connection: connection.execute(_FENCE, self._identity).all())
        self._run(lambda connection: connection.execute(_FREE_ORPHANS))
        return [row.node for row in gone]

    def read(self, work: Callable[[Reader], T]) -> T:
        """The result of *work* on one view of the database."""
        return self._run(lambda connection: work(Reader(connection)))

    def look(self) -> ClusterView:
        """The rows of the cluster."""
        return self.read(read_cluster)

    def take(self, name: str, gap: timedelta) -> Taken | None:
        """Tend a shard; None when it is not free. It counts as tended without a gap when it was free for less than *gap*."""
        values = self._identity | {"name": name, "gap": gap // timedelta(milliseconds=1)}
        row = self._run(lambda connection: connection.execute(_TAKE, values).first())
        return Taken(from_milliseconds(row.since), from_milliseconds(row.paused_until)) if row is not None else None

    def release(self, name: str) -> None:
        """Tend a shard no longer."""
        self._run(lambda connection: connection.execute(_RELEASE, self._identity | {"name": name}))

    def pause(self, name: str, until: datetime) -> None:
        """Note until when the API asked an account to wait."""
        values = self._identity | {"name": name, "until": to_milliseconds(until)}
        self._run(lambda connection: connection.execute(_PAUSE, values))

    def note_unfit(self, unfit: str) -> None:
        """Note why this node takes no work; empty when it does."""
        self._run(lambda connection: connection.execute(_NOTE_UNFIT, self._identity | {"unfit": unfit}))

    def change(self, member: NodeRow) -> None:
        """Take over the address, weight and configuration of this node after a reload."""

        def work(connection: Connection) -> None:
            connection.execute(_CHANGE, self._identity | {"url": member.url, "config": member.config, "weight": member.weight})
            _make_current(connection, member.config, adopt=False)

        self._run(work)

    def put_shards(self, weights: dict[str, float]) -> None:
        """Add the shards that are missing, and set their weights."""
        self._run(lambda connection: connection.execute(_ADD_SHARD, [{"name": name, "weight": weight} for name, weight in weights.items()]))

    def drop_shard(self, name: str) -> bool:
        """Remove a shard that no node tends; whether it is gone."""
        return self._run(lambda connection: connection.execute(_DROP_SHARD, {"name": name}).rowcount) == 1

    def close(self) -> None:
        """End the session."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                connection.invalidate()
                connection.close()

    def _run(self, work: Callable[[Connection], T]) -> T:
        try:
            with translated():
                if self._connection is None:
                    self._connection = self._engine.connect()
                with self._connection.begin():
                    return work(self._connection)
        except StoreUnavailable:
            self.close()
            raise


def read_cluster(reader: Reader) -> ClusterView:
    """The rows of the cluster."""
    rows = reader.rows(_MEMBERS, {"configs": _CONFIGS})
    members = [
        NodeRow(
            row.node,
            row.holder,
            row.host,
            row.url,
            row.version,
            row.config,
            row.weight,
            row.drained,
            from_milliseconds(row.joined_at),
            row.alive,
            row.unfit or "",
        )
        for row in rows
        if row.node is not None
    ]
    shards = [
        Shard(
            row.name,
            row.node,
            row.weight,
            timedelta(milliseconds=row.free_ms) if row.node is None else timedelta(0),
            from_milliseconds(row.since),
            from_milliseconds(row.paused_until),
        )
        for row in reader.rows(_SHARDS)
    ]
    *superseded, config = (rows[0].configs or "").split() or [""]
    return ClusterView(from_milliseconds(rows[0].now), members, shards, config, superseded)


def conninfo(url: str) -> str:
    """The address of a PostgreSQL database as libpq reads it."""
    address = parse(url)
    _, arguments = create_engine(address).dialect.create_connect_args(address)
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - SQLite needs none of it

    return make_conninfo(**NETWORK_LIMITS, **{name: value for name, value in arguments.items() if name not in {"context", *NETWORK_LIMITS}})


def rename_shards(store: Store, pairs: Mapping[str, str]) -> set[str]:
    """Give shards that no node tends their new names (old to new); returns the old names of those that a node tends still."""
    rows = store.rows(_LOCK_SHARDS, {"names": sorted({*pairs, *pairs.values()})})
    tended = {row.name for row in rows if row.node is not None}
    kept = {old for old, new in pairs.items() if {old, new} & tended}
    for old, new in pairs.items():
        if old not in kept:
            store.change(_DROP_SHARD, {"name": new})
            store.change(_RENAME_SHARD, {"old": old, "new": new})
    return kept


def drain_nodes(url: str, node: str | None) -> None:
    """Have one node, or all, give up their shards and take none until they are started again."""
    _operate(url, lambda connection: connection.execute(_DRAIN, {"node": node, "all": node is None}))


def adopt_config(url: str, config: str) -> None:
    """Make *config* the current configuration of the cluster."""
    _operate(url, lambda connection: _make_current(connection, config, adopt=True))


def upgrade_schema(url: str, *, contract: bool) -> bool:
    """
    Upgrade the schema beside running nodes; with *contract*, remove what only older releases need. Returns whether anything was done.

    Raises:
        AnotherInstance: an instance without `cluster.mode: shared` holds the database.
        SchemaMismatch: a node that runs can't go on after it.
    """
    engine = writing_to(parse(url))
    try:
        with translated(), engine.connect() as connection:
            if not MemberBackend.locked(connection):
                raise AnotherInstance("an instance without cluster.mode shared holds the database")
            with connection.begin():
                return _expand(connection, lambda _: None, contract=contract)
    finally:
        engine.dispose()


def _expand(connection: Connection, warn: Callable[[str], None], *, node: str = "", contract: bool = False) -> bool:
    """Upgrade the schema as far as the nodes that run, but for *node*, go on with it; one at a time."""
    connection.execute(_LOCK_UPGRADE)
    current, lowest = migrations.require_ours(connection), None
    if migrations.pending(current) and has_table(connection, "members"):
        if current is not None and current < _SCHEMA_KNOWN_SINCE:
            lowest = current if connection.execute(_LIVE, {"node": node}).scalar() else None
        else:
            lowest = connection.execute(_LOWEST, {"node": node}).scalar()
    upgraded = migrations.upgrade(connection, warn, lowest=lowest, contract=contract)
    if upgraded:
        migrations.note_reads(connection, migrations.revision(connection) or REVISION)
    return upgraded


def _operate(url: str, work: Callable[[Connection], object]) -> None:
    engine = writing_to(parse(url))
    try:
        with translated(), engine.connect() as connection, connection.begin():
            migrations.require_current(connection)
            work(connection)
    finally:
        engine.dispose()


def _make_current(connection: Connection, config: str, *, adopt: bool) -> None:
    """Make *config* current, unless it was and another one has replaced it; to *adopt* it even then."""
    row = connection.execute(_READ_CONFIGS, {"key": _CONFIGS}).first()
    known: Sequence[str] = row.value.split() if row is not None else ()
    if config not in known or (adopt and known[-1] != config):
        kept = [*(one for one in known if one != config), config][-_CONFIGS_KEPT:]
        connection.execute(_PUT_CONFIGS, {"key": _CONFIGS, "value": " ".join(kept)})
