"""Counts how often a shard lost files, so that a search notices a loss that its cut did not know of."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds the count, from 0: earlier losses matter to no search, because each one reads a new cut."""
    op.add_column("shard", sa.Column("losses", sa.BigInteger, nullable=False, server_default=sa.text("0")))
