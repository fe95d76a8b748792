"""Remembers which documents came from which source, so that what is gone there can be deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Adds the table, empty: documents written before have no source."""
    op.create_table(
        "document_source",
        sa.Column(
            "collection_id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            sa.ForeignKey("collection.id"),
            primary_key=True,
        ),
        sa.Column("document_id", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
    )
