"""
What the configuration calls the managed user of a connection.

Adds an empty column; the running program fills it at the next start or reload. Reversible.
"""

import sqlalchemy as sa

from alembic import op

revision = "0012"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("connections", sa.Column("user_name", sa.Text()))


def downgrade() -> None:
    op.drop_column("connections", "user_name")
