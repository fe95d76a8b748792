"""Remembers what each write changed, so that a token waits for its own writes alone."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds the table, empty: earlier tokens name everything up to a write, and need no set."""
    op.create_table(
        "write_set",
        sa.Column(
            "collection_id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            sa.ForeignKey("collection.id"),
            primary_key=True,
        ),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("documents", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
