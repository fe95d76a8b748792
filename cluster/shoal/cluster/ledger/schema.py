"""The ledger's tables, as queries use them; the revisions in `migrations` create them.

Pending work has no table of its own: it is the difference between `wanted_version` and `embedded_version` of an entry,
found through partial indexes. A queue could be lost or disagree with the documents; a difference cannot.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    and_,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

SCHEMA_REVISION = "0006"
"""The newest revision in `migrations`; this code works with no other."""

# SQLite assigns row ids only in a column whose type is INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")


class Utf8(TypeDecorator[str]):
    """Text stored as UTF-8 bytes: texts may contain NUL characters, which PostgreSQL's text type refuses."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        return None if value is None else value.encode()

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else bytes(value).decode()


metadata = MetaData()

lease = Table(
    "lease",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("holder", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
)

collection = Table(
    "collection",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("model", Text, nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("index_kind", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("shards", Integer, nullable=False),
    Column("empty_text", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    # Tokens carry collection ids and file names carry generation ids, so neither may ever be reused.
    sqlite_autoincrement=True,
)

generation = Table(
    "generation",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("collection_id", _Id, ForeignKey("collection.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("index_kind", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("shards", Integer, nullable=False),
    Index("generation_number", "collection_id", "number", unique=True),
    Index(
        "generation_active",
        "collection_id",
        unique=True,
        sqlite_where=text("state = 'active'"),
        postgresql_where=text("state = 'active'"),
    ),
    sqlite_autoincrement=True,
)

document = Table(
    "document",
    metadata,
    Column("collection_id", _Id, ForeignKey("collection.id"), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("content_version", BigInteger, nullable=False),
    Column("content_hash", LargeBinary, nullable=False),
    Column("text", Utf8, nullable=False),
    Column("vector", LargeBinary),
    Column("payload", Text, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
)

_PENDING = "embedded_version < wanted_version AND failed_at_ms IS NULL"
_COMPARED = ("embedded_version", "wanted_version", "failed_at_ms")
_FAILED = "embedded_version < wanted_version AND failed_at_ms IS NOT NULL"


def _partial(name: str, predicate: str, *columns: str) -> Index:
    return Index(name, *columns, sqlite_where=text(predicate), postgresql_where=text(predicate))


entry = Table(
    "entry",
    metadata,
    Column("generation_id", _Id, ForeignKey("generation.id"), primary_key=True),
    Column("document_id", Text, primary_key=True),
    Column("shard", Integer, nullable=False),
    # The version that shards should hold, and the newest that a committed segment holds.
    Column("wanted_version", BigInteger, nullable=False),
    Column("embedded_version", BigInteger, nullable=False),
    # While the entry is pending: the oldest change that is not shown yet.
    Column("sequence", BigInteger, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("removal", Boolean, nullable=False),
    # The segment that holds embedded_version; 0 when none does.
    Column("ordinal", BigInteger, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at_ms", BigInteger, nullable=False),
    Column("error", Utf8, nullable=False),
    Column("failed_at_ms", BigInteger),
    _partial("entry_pending", _PENDING, "generation_id", "priority", "sequence"),
    _partial("entry_pending_sequence", _PENDING, "generation_id", "sequence"),
    # Includes the columns of the predicate, so that SQLite counts from the index alone, eight times as fast.
    _partial("entry_pending_count", _PENDING, "generation_id", "shard", "removal", *_COMPARED),
    _partial("entry_failed", _FAILED, "generation_id", "shard", "failed_at_ms"),
    sqlite_with_rowid=False,
)

# What the writes of tokens changed; see written/. A write whose documents have long been shown has no row any more.
write_set = Table(
    "write_set",
    metadata,
    Column("collection_id", _Id, ForeignKey("collection.id"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("created_at_ms", BigInteger, nullable=False),
    # JSON: pairs of id and content version.
    Column("documents", Utf8, nullable=False),
    sqlite_with_rowid=False,
)

# Which documents were uploaded from which source, such as a folder; see written/sources.py.
document_source = Table(
    "document_source",
    metadata,
    Column("collection_id", _Id, ForeignKey("collection.id"), primary_key=True),
    Column("document_id", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    sqlite_with_rowid=False,
)

shard = Table(
    "shard",
    metadata,
    Column("generation_id", _Id, ForeignKey("generation.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    # Documents that should be searchable.
    Column("documents", BigInteger, nullable=False),
    Column("next_ordinal", BigInteger, nullable=False),
    Column("worker", Text, nullable=False),
    # How often files were found damaged and taken out of the manifest.
    Column("damage_count", BigInteger, nullable=False, server_default=text("0")),
    Column("sealed_through", BigInteger),
    Column("sealed_path", Text),
    Column("sealed_checksum", Text),
    Column("sealed_rows", BigInteger),
    Column("sealed_bytes", BigInteger),
)

segment = Table(
    "segment",
    metadata,
    Column("generation_id", _Id, ForeignKey("generation.id"), primary_key=True),
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("ordinal", BigInteger, primary_key=True, autoincrement=False),
    Column("path", Text, nullable=False),
    Column("checksum", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    # SHA-256 of the secret, which is stored nowhere.
    Column("digest", LargeBinary, nullable=False),
    Column("role", SmallInteger, nullable=False),
    # A JSON array of names, or of beginnings of names with "*" at the end.
    Column("collections", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("revoked_at_ms", BigInteger),
)


def pending() -> ColumnElement[bool]:
    """Entries with pending work. Must equal the predicate of the partial indexes literally, or SQLite does not use them."""
    return and_(entry.c.embedded_version < entry.c.wanted_version, entry.c.failed_at_ms.is_(None))


def failed() -> ColumnElement[bool]:
    """Entries that were set aside."""
    return and_(entry.c.embedded_version < entry.c.wanted_version, entry.c.failed_at_ms.is_not(None))
