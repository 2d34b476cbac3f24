"""
When the first failure of an incident was confirmed, for the page as it was.

Adds an empty column, which is filled for incidents that open from now on. Reversible.
"""

import sqlalchemy as sa

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None
reads = "0016"


def upgrade() -> None:
    op.add_column("incidents", sa.Column("confirmed_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("incidents", "confirmed_at")
