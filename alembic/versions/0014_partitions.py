"""
On PostgreSQL the history is partitioned by time, and the pages of states keep room for their next versions.

The table as it is becomes the partition of everything until tomorrow: no row is copied. It is read once, to prove that no row is
later; what a wrong clock wrote later is moved to the partition of everything from tomorrow on. The running program makes a partition
for each day to come. SQLite: nothing. Reversible; going down copies every row.
"""

from datetime import UTC, datetime

import sqlalchemy as sa

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_DAY = 86_400_000
_TABLE = """
    CREATE TABLE checks (
        connection_id INTEGER NOT NULL,
        at BIGINT NOT NULL,
        reason TEXT NOT NULL,
        duration_ms INTEGER NOT NULL,
        http_status INTEGER,
        token TEXT,
        message_id BIGINT,
        CONSTRAINT pk_checks PRIMARY KEY (connection_id, at),
        CONSTRAINT fk_checks_connection_id_connections FOREIGN KEY (connection_id) REFERENCES connections (id)
    )
"""
_COLUMNS = "connection_id, at, reason, duration_ms, http_status, token, message_id"
_NOW = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
# One seek for each connection.
_LAST = "SELECT max((SELECT max(at) FROM {table} WHERE connection_id = connections.id)) FROM connections"
_RIGHTS = (
    "SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE CAST(CAST(grantee AS regrole) AS TEXT) END, privilege_type"
    " FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = CAST(:table AS regclass) AND grantee <> relowner"
)
_OWNER = "SELECT CAST(CAST(relowner AS regrole) AS TEXT) FROM pg_class WHERE oid = CAST(:table AS regclass)"


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("ALTER TABLE connection_states SET (fillfactor = 70)")
    tomorrow = (_number(_NOW) // _DAY + 1) * _DAY
    day = f"{datetime.fromtimestamp(tomorrow / 1000, UTC):%Y%m%d}"
    old, new = f"checks_until_{day}", f"checks_from_{day}"
    op.execute(f"ALTER TABLE checks RENAME TO {old}")
    op.execute(f"ALTER TABLE {old} RENAME CONSTRAINT pk_checks TO {old}_pkey")
    op.execute(f"{_TABLE} PARTITION BY RANGE (at)")
    _give_rights_of(old)
    op.execute(f"CREATE TABLE {new} PARTITION OF checks FOR VALUES FROM ({tomorrow}) TO (MAXVALUE)")
    if _number(_LAST.format(table=old)) >= tomorrow:
        op.execute(
            f"WITH moved AS (DELETE FROM {old} WHERE at >= {tomorrow} RETURNING {_COLUMNS}) INSERT INTO checks SELECT * FROM moved"  # noqa: S608
        )
    op.execute(f"ALTER TABLE checks ATTACH PARTITION {old} FOR VALUES FROM (MINVALUE) TO ({tomorrow})")


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("ALTER TABLE connection_states RESET (fillfactor)")
    op.execute("ALTER TABLE checks RENAME TO checks_partitioned")
    op.execute("ALTER TABLE checks_partitioned RENAME CONSTRAINT pk_checks TO pk_checks_partitioned")
    op.execute(_TABLE)
    _give_rights_of("checks_partitioned")
    op.execute(f"INSERT INTO checks SELECT {_COLUMNS} FROM checks_partitioned")  # noqa: S608
    op.execute("DROP TABLE checks_partitioned")


def _number(query: str) -> int:
    return int(op.get_bind().execute(sa.text(query)).scalar() or 0)


def _give_rights_of(table: str) -> None:
    """The owner and the rights of *table* for the new `checks`."""
    bind = op.get_bind()
    rights = bind.execute(sa.text(_RIGHTS), {"table": table}).all()
    owner = bind.execute(sa.text(_OWNER), {"table": table}).scalar_one()
    for role, right in rights:
        op.execute(f"GRANT {right} ON checks TO {role}")
    op.execute(f"ALTER TABLE checks OWNER TO {owner}")
