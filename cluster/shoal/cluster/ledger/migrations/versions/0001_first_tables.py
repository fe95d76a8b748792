"""The first tables. Written out in full, so that later changes to `schema` do not change what this revision made."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_PENDING = sa.text("embedded_version < wanted_version AND failed_at_ms IS NULL")
_FAILED = sa.text("embedded_version < wanted_version AND failed_at_ms IS NOT NULL")
_COMPARED = ("embedded_version", "wanted_version", "failed_at_ms")
_ACTIVE = sa.text("state = 'active'")


def _index(name: str, table: str, columns: list[str], predicate: sa.TextClause | None, unique: bool = False) -> None:
    op.create_index(name, table, columns, unique=unique, sqlite_where=predicate, postgresql_where=predicate)


def upgrade() -> None:
    """Makes every table and index of an empty ledger."""
    op.create_table(
        "lease",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "collection",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("dimension", sa.Integer, nullable=False),
        sa.Column("index_kind", sa.Text, nullable=False),
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("shards", sa.Integer, nullable=False),
        sa.Column("empty_text", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "generation",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("collection_id", _ID, sa.ForeignKey("collection.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("dimension", sa.Integer, nullable=False),
        sa.Column("index_kind", sa.Text, nullable=False),
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("shards", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    _index("generation_number", "generation", ["collection_id", "number"], None, unique=True)
    _index("generation_active", "generation", ["collection_id"], _ACTIVE, unique=True)
    op.create_table(
        "document",
        sa.Column("collection_id", _ID, sa.ForeignKey("collection.id"), primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("content_version", sa.BigInteger, nullable=False),
        sa.Column("content_hash", sa.LargeBinary, nullable=False),
        sa.Column("text", sa.LargeBinary, nullable=False),
        sa.Column("vector", sa.LargeBinary),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "entry",
        sa.Column("generation_id", _ID, sa.ForeignKey("generation.id"), primary_key=True),
        sa.Column("document_id", sa.Text, primary_key=True),
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("wanted_version", sa.BigInteger, nullable=False),
        sa.Column("embedded_version", sa.BigInteger, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("removal", sa.Boolean, nullable=False),
        sa.Column("ordinal", sa.BigInteger, nullable=False),
        sa.Column("truncated", sa.Boolean, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_at_ms", sa.BigInteger, nullable=False),
        sa.Column("error", sa.LargeBinary, nullable=False),
        sa.Column("failed_at_ms", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    _index("entry_pending", "entry", ["generation_id", "priority", "sequence"], _PENDING)
    _index("entry_pending_sequence", "entry", ["generation_id", "sequence"], _PENDING)
    _index("entry_pending_count", "entry", ["generation_id", "shard", "removal", *_COMPARED], _PENDING)
    _index("entry_failed", "entry", ["generation_id", "shard", "failed_at_ms"], _FAILED)
    op.create_table(
        "shard",
        sa.Column("generation_id", _ID, sa.ForeignKey("generation.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("documents", sa.BigInteger, nullable=False),
        sa.Column("next_ordinal", sa.BigInteger, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("sealed_through", sa.BigInteger),
        sa.Column("sealed_path", sa.Text),
        sa.Column("sealed_checksum", sa.Text),
        sa.Column("sealed_rows", sa.BigInteger),
        sa.Column("sealed_bytes", sa.BigInteger),
    )
    op.create_table(
        "segment",
        sa.Column("generation_id", _ID, sa.ForeignKey("generation.id"), primary_key=True),
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("ordinal", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("checksum", sa.Text, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )
