"""Counts the losses of a shard, so that an answer can be told from a cut that did not know of them yet."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds the count; what was lost before is over, since every cut is read anew."""
    op.add_column("shard", sa.Column("losses", sa.BigInteger, nullable=False, server_default=sa.text("0")))
