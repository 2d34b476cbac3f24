"""
How much of the time connections worked: sums for hours and for days, kept for longer than single checks.

Adds two empty tables, changes none; the running program adds up the checks that are there. Reversible; going down
forgets the sums.
"""

import sqlalchemy as sa

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("uptime_hours", "uptime_days"):
        op.create_table(
            name,
            sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.Column("connection_id", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("ok_ms", sa.Integer(), nullable=False),
            sa.Column("down_ms", sa.Integer(), nullable=False),
            sa.Column("excluded_ms", sa.Integer(), nullable=False),
            sa.PrimaryKeyConstraint("at", "connection_id", name=op.f(f"pk_{name}")),
            sa.ForeignKeyConstraint(["connection_id"], ["connections.id"], name=op.f(f"fk_{name}_connection_id_connections")),
            sqlite_with_rowid=False,
        )


def downgrade() -> None:
    op.drop_table("uptime_days")
    op.drop_table("uptime_hours")
    op.execute(sa.text("DELETE FROM meta WHERE key = 'uptime_until'"))
