"""
Losses of permissions that operators accept.

Adds an empty table. Reversible: without it, losses that were taken over stay accepted.
"""

import sqlalchemy as sa

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accepted_permissions",
        sa.Column("connection_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("connection_id", name=op.f("pk_accepted_permissions")),
    )


def downgrade() -> None:
    op.drop_table("accepted_permissions")
