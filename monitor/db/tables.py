"""The tables; times are whole milliseconds since 1970 (UTC). `alembic/versions` creates them, and a test compares both."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

REVISION = "0018"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite assigns ids only in a column of type INTEGER, which has 64 bits there.
_RowId = BigInteger().with_variant(Integer, "sqlite")


def _partial(name: str, where: str, *columns: str, unique: bool = False) -> Index:
    # Of PostgreSQL too, as `alembic/versions` makes it; but `postgresql_where` would import that dialect and all its drivers here.
    return Index(name, *columns, unique=unique, sqlite_where=text(where))


meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# Who may write (PostgreSQL; a file has its lock file). `commits` counts write transactions: after a connection broke
# during COMMIT it tells whether that one came through.
lease = Table(
    "lease",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("holder", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("commits", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="single"),
)

# The nodes of a cluster (PostgreSQL); `holder` is the process that has the name, `pid` its writing session. See `lease`.
members = Table(
    "members",
    metadata,
    Column("node", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("commits", BigInteger, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("joined_at", BigInteger, nullable=False),
    Column("host", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("config", Text, nullable=False),
    Column("weight", Float, nullable=False),
    Column("drained", Boolean, nullable=False),
    Column("schema", Text),
    Column("unfit", Text),
)

# What a node tends as a whole: `account:NAME`, `receiver:NAME` or `global`. `epoch` counts how often it was taken.
shards = Table(
    "shards",
    metadata,
    Column("name", Text, primary_key=True),
    Column("node", Text),
    Column("epoch", BigInteger, nullable=False),
    Column("weight", Float, nullable=False),
    Column("free_since", BigInteger, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("paused_until", BigInteger, nullable=False),
)

# What nodes learnt, for the one that tends `global`: it deletes what it has taken into account, in the same transaction.
findings = Table(
    "findings",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("member", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)

connections = Table(
    "connections",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("account", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("platform_id", Text, nullable=False),
    Column("platform", Text, nullable=False),
    Column("name", Text),
    Column("labels", Text, nullable=False),
    Column("interval_ms", BigInteger, nullable=False),
    Column("expect", Text, nullable=False),
    Column("require_permissions", Text, nullable=False),
    Column("listed", Boolean, nullable=False),
    Column("retired_at", BigInteger),
    Column("user_name", Text),
    UniqueConstraint("account", "user_id", "platform_id"),
)

connection_states = Table(
    "connection_states",
    metadata,
    Column("connection_id", ForeignKey("connections.id"), primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("health", Text, nullable=False),
    Column("document", Text, nullable=False),
    CheckConstraint("health IN ('unknown', 'ok', 'error', 'unsupported', 'missing', 'misconfigured')", name="health"),
)

scopes = Table(
    "scopes",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("document", Text, nullable=False),
)

# No foreign key refers to this table: deleting a message would search all checks. `used_at` is exact to a day.
messages = Table(
    "messages",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),
    Column("used_at", BigInteger, nullable=False),
    # Retention: `WHERE used_at < ?`
    Index(None, "used_at"),
)

# The bulk of the data: the primary key is the only index, and on SQLite the table itself. On PostgreSQL it is partitioned by `at`.
checks = Table(
    "checks",
    metadata,
    Column("connection_id", ForeignKey("connections.id"), primary_key=True, autoincrement=False),
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("http_status", Integer),
    Column("token", Text),
    Column("message_id", BigInteger),
    sqlite_with_rowid=False,
)


# Sums of checks, in milliseconds, kept for longer than the checks. Ordered by time: rows that are added up lie together.
def _sums(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("at", BigInteger, primary_key=True, autoincrement=False),
        Column("connection_id", ForeignKey("connections.id"), primary_key=True, autoincrement=False),
        Column("ok_ms", Integer, nullable=False),
        Column("down_ms", Integer, nullable=False),
        Column("excluded_ms", Integer, nullable=False),
        sqlite_with_rowid=False,
    )


uptime_hours = _sums("uptime_hours")
uptime_days = _sums("uptime_days")

incidents = Table(
    "incidents",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("scope", Text, nullable=False),
    Column("connection_id", ForeignKey("connections.id")),
    Column("level", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("reason", Text),
    Column("detail", Text, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
    Column("closed_why", Text),
    # When the first failure, at `opened_at`, was confirmed; NULL of incidents of earlier releases.
    Column("confirmed_at", BigInteger),
    UniqueConstraint("topic", "subject", "number"),
    # At most one is open; also serves `WHERE closed_at IS NULL`.
    _partial("uq_incidents_open", "closed_at IS NULL", "topic", "subject", unique=True),
    # The incidents of one connection, newest first.
    Index(None, "connection_id", "id"),
    # Retention: `WHERE closed_at < ?`
    Index(None, "closed_at"),
)

notifications = Table(
    "notifications",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("webhook_id", Text, nullable=False, unique=True),
    Column("incident_key", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("connection_id", ForeignKey("connections.id")),
    Column("seq", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    # No notification twice under two ids; also the notifications of one connection.
    _partial(
        "uq_notifications_once", "connection_id IS NOT NULL AND seq > 0", "connection_id", "topic", "number", "type", "seq", unique=True
    ),
    # The notifications of one subject, newest first.
    Index(None, "subject", "id"),
    # `receivers_notified`: the receivers of one incident.
    Index(None, "incident_key"),
    # Retention: `WHERE at < ?`
    Index(None, "at"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("notification_id", ForeignKey("notifications.id"), nullable=False),
    Column("receiver", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("queued_at", BigInteger, nullable=False),
    Column("next_attempt_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("digest_id", ForeignKey("deliveries.id", ondelete="SET NULL")),
    Column("last_reason", Text),
    Column("last_status", Integer),
    UniqueConstraint("notification_id", "receiver"),
    CheckConstraint("state IN ('pending', 'delivered', 'dead', 'cancelled')", name="state"),
    # The pending deliveries of one receiver, oldest first.
    _partial("ix_deliveries_pending", "state = 'pending'", "receiver", "id"),
    # `record_attempt`: what a digest contains ends with it.
    _partial("ix_deliveries_digest_id", "digest_id IS NOT NULL", "digest_id"),
    # Retention: `WHERE state = ? AND finished_at < ?`
    Index(None, "state", "finished_at"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("delivery_id", ForeignKey("deliveries.id", ondelete="CASCADE"), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("http_status", Integer),
    Column("detail", Text, nullable=False),
    # The attempts of one delivery.
    Index(None, "delivery_id"),
)

receiver_states = Table(
    "receiver_states",
    metadata,
    Column("name", Text, primary_key=True),
    Column("document", Text, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("failing_since", BigInteger),
)

# Commands write this and the following ones, beside the daemon, which only reads them.
silences = Table(
    "silences",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("match", Text, nullable=False),
    Column("starts_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expired_at", BigInteger),
    CheckConstraint("starts_at < ends_at", name="order"),
    # Silences that have not ended, and retention: `WHERE ends_at > ?`
    Index(None, "ends_at"),
    # An id is never used again: an operator may have noted it.
    sqlite_autoincrement=True,
)

acknowledgements = Table(
    "acknowledgements",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("level", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

# Those that a later one of the same incident replaced.
replaced_acknowledgements = Table(
    "replaced_acknowledgements",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("level", Text, nullable=False),
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

# The last one of each connection.
accepted_permissions = Table(
    "accepted_permissions",
    metadata,
    Column("connection_id", Integer, primary_key=True, autoincrement=False),
    Column("permissions", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
)
