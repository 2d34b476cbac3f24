"""
Acknowledgements that a later one of the same incident replaced, for the audit trail.

Reversible: the one that counts is where it was.
"""

import sqlalchemy as sa

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None
reads = "0016"


def upgrade() -> None:
    op.create_table(
        "replaced_acknowledgements",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "subject", "number", "at", name=op.f("pk_replaced_acknowledgements")),
    )


def downgrade() -> None:
    op.drop_table("replaced_acknowledgements")
