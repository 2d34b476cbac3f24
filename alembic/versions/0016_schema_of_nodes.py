"""
Which schema each node of a cluster needs, and why it takes no work.

Adds two columns without values. Reversible: nodes write both anew when they join.
"""

import sqlalchemy as sa

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None
reads = "0015"


def upgrade() -> None:
    op.add_column("members", sa.Column("schema", sa.Text(), nullable=True))
    op.add_column("members", sa.Column("unfit", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("members", "unfit")
    op.drop_column("members", "schema")
