"""A group of write batches inside one transaction: read what they touch once, decide in memory, store the result once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from shoal.cluster.decisions.admission import (
    Admitted,
    Conflict,
    Incoming,
    Stored,
    Unchanged,
    admit_delete,
    admit_upsert,
    content_hash,
)
from shoal.cluster.decisions.document_sources import SourceChanges
from shoal.cluster.decisions.placement import shard_of
from shoal.cluster.decisions.tokens.awaited_writes import WriteSet
from shoal.cluster.ledger import catalog, schema
from shoal.cluster.ledger.connection import chunks
from shoal.cluster.ledger.errors import CollectionNotFound, LedgerError, MalformedId
from shoal.cluster.ledger.records import CollectionRecord, DocumentOutcome, GenerationRecord, WriteBatch, WriteOutcome
from shoal.cluster.ledger.written.sources import read_sources, store_sources
from shoal.cluster.ledger.written.write_sets import insert_write_sets

_document, _entry, _shard = schema.document, schema.entry, schema.shard
_NOTHING = content_hash("", b"")
_STORED = [_document.c[name] for name in ("id", "version", "content_version", "content_hash", "payload", "deleted")]
_TRACKED = ("embedded_version", "wanted_version", "removal", "sequence", "changed_at_ms", "failed_at_ms")
_ENTRY = [_entry.c[name] for name in ("generation_id", "document_id", *_TRACKED)]


@dataclass(slots=True)
class _Entry:
    """An entry as it stands within the transaction."""

    embedded_version: int = 0
    wanted_version: int = 0
    removal: bool = True
    sequence: int = 0
    changed_at_ms: int = 0
    failed_at_ms: int | None = None

    @property
    def pending(self) -> bool:
        return self.embedded_version < self.wanted_version and self.failed_at_ms is None


class _Touched:
    """One collection: the documents that the group touches, as stored and as changed so far."""

    def __init__(self, connection: Connection, record: CollectionRecord, ids: Sequence[str]) -> None:
        self.record = record
        self.sequence = record.sequence
        self.generations: list[GenerationRecord] = catalog.live_generations(connection, record.id)
        self.entries: dict[tuple[int, str], _Entry] = {}
        self.stored: dict[str, Stored] = {}
        self.document_rows: dict[str, dict[str, Any]] = {}
        self.entry_rows: dict[tuple[int, str], dict[str, Any]] = {}
        self.searchable_by_shard: dict[tuple[int, int], int] = {}
        self.write_sets: list[WriteSet] = []
        self.sources = SourceChanges()
        live = [generation.id for generation in self.generations]
        for some in chunks(ids):
            entries = select(*_ENTRY).where(_entry.c.generation_id.in_(live), _entry.c.document_id.in_(some))
            for row in connection.execute(entries):
                self.entries[row.generation_id, row.document_id] = _Entry(*row[2:])
            documents = select(*_STORED).where(_document.c.collection_id == record.id, _document.c.id.in_(some))
            for row in connection.execute(documents):
                entry = self.entries.get((record.generation.id, row.id))
                embedded = entry is not None and entry.embedded_version > 0 and not entry.removal
                self.stored[row.id] = Stored(
                    row.version, row.content_version, row.content_hash, row.payload, row.deleted, embedded
                )

    def change(self, incoming: Incoming, incoming_hash: bytes, admitted: Admitted, deleted: bool, now_ms: int) -> None:
        """Records a change under the collection's next sequence number."""
        before = self.stored.get(incoming.id)
        self.stored[incoming.id] = Stored(
            version=admitted.version,
            content_version=admitted.content_version,
            content_hash=incoming_hash,
            payload=incoming.payload,
            deleted=deleted,
            embedded=before is not None and before.embedded and not admitted.removal,
        )
        self.document_rows[incoming.id] = {
            "collection_id": self.record.id,
            "id": incoming.id,
            "version": admitted.version,
            "content_version": admitted.content_version,
            "content_hash": incoming_hash,
            "text": incoming.text,
            "vector": incoming.vector or None,
            "payload": incoming.payload,
            "deleted": deleted,
            "changed_at_ms": now_ms,
            "sequence": self.sequence + 1,
        }
        if admitted.content_changed:
            for generation in self.generations:
                self._want(generation, incoming.id, admitted, now_ms)

    def not_shown(self, results: Sequence[DocumentOutcome]) -> tuple[tuple[str, int], ...]:
        """Id and content version of each document of a write whose content searches do not show yet."""
        written = dict.fromkeys(result.id for result in results if result.conflict_version is None)
        entries = {name: self.entries.get((self.record.generation.id, name)) for name in written}
        return tuple(
            (name, entry.wanted_version)
            for name, entry in entries.items()
            if entry is not None and entry.embedded_version < entry.wanted_version
        )

    def _want(self, generation: GenerationRecord, document_id: str, admitted: Admitted, now_ms: int) -> None:
        shard = shard_of(document_id, generation.shards)
        key = generation.id, document_id
        entry = self.entries.get(key)
        is_new = entry is None or (key in self.entry_rows and self.entry_rows[key]["is_new"])
        if entry is None:
            entry = self.entries[key] = _Entry()
        searchable_before = not entry.removal
        if not entry.pending:
            # A pending entry keeps its oldest change: a token for that one must wait, and lag counts from it.
            entry.sequence = self.sequence + 1
            entry.changed_at_ms = now_ms
        entry.wanted_version = admitted.version
        entry.removal = admitted.removal
        entry.failed_at_ms = None
        difference = int(not admitted.removal) - int(searchable_before)
        if difference:
            of_shard = generation.id, shard
            self.searchable_by_shard[of_shard] = self.searchable_by_shard.get(of_shard, 0) + difference
        self.entry_rows[key] = {
            "generation_id": generation.id,
            "document_id": document_id,
            "shard": shard,
            "wanted_version": admitted.version,
            # No shard holds a new document, so there is nothing to remove.
            "embedded_version": admitted.version if is_new and admitted.removal else 0,
            "sequence": entry.sequence,
            "changed_at_ms": entry.changed_at_ms,
            "priority": admitted.priority,
            "removal": admitted.removal,
            "ordinal": 0,
            "truncated": False,
            "attempts": 0,
            "next_attempt_at_ms": 0,
            "error": "",
            "failed_at_ms": None,
            "is_new": is_new,
        }


class Group:
    """The batches of one transaction. `admit` each in order, then `store` once."""

    def __init__(self, connection: Connection, batches: Sequence[WriteBatch], now_ms: int) -> None:
        self._connection = connection
        self._now_ms = now_ms
        self._touched: dict[str, _Touched] = {}
        ids: dict[str, dict[str, None]] = {}
        for batch in batches:
            wanted = ids.setdefault(batch.collection, {})
            wanted.update((incoming.id, None) for incoming in batch.upserts)
            wanted.update((document_id, None) for document_id in batch.deletes)
        for name, wanted in ids.items():
            try:
                record = catalog.find_collection(connection, name)
            except CollectionNotFound:
                continue
            storable = [document_id for document_id in wanted if "\x00" not in document_id]
            self._touched[name] = _Touched(connection, record, storable)
            gone = [one for batch in batches if batch.collection == name and batch.source for one in batch.deletes]
            if gone:
                self._touched[name].sources = SourceChanges(read_sources(connection, record.id, gone))

    def admit(self, batch: WriteBatch) -> WriteOutcome | LedgerError:
        """Decides one batch on top of the earlier ones; a batch that gets an error changes nothing."""
        touched = self._touched.get(batch.collection)
        if touched is None:
            return CollectionNotFound(batch.collection)
        for document_id in (*(incoming.id for incoming in batch.upserts), *batch.deletes):
            if "\x00" in document_id:
                return MalformedId(document_id)
        results = [self._upsert(touched, incoming, batch.source) for incoming in batch.upserts]
        results += [self._delete(touched, document_id, batch.source) for document_id in batch.deletes]
        not_shown = touched.not_shown(results)
        # A repeated write changes nothing, but the first one may still be pending.
        recorded = bool(not_shown) or any(result.changed for result in results)
        if recorded:
            touched.sequence += 1
            touched.write_sets.append(WriteSet(touched.sequence, not_shown))
        return WriteOutcome(touched.record.id, touched.sequence, tuple(results), recorded)

    def _upsert(self, touched: _Touched, incoming: Incoming, source: str) -> DocumentOutcome:
        incoming_hash = content_hash(incoming.text, incoming.vector)
        decision = admit_upsert(touched.stored.get(incoming.id), incoming, incoming_hash)
        if source and not isinstance(decision, Conflict):
            touched.sources.add(incoming.id, source)
        match decision:
            case Conflict(version):
                return DocumentOutcome(incoming.id, version, False, version)
            case Unchanged(version):
                return DocumentOutcome(incoming.id, version, False)
            case Admitted() as admitted:
                touched.change(incoming, incoming_hash, admitted, False, self._now_ms)
                return DocumentOutcome(incoming.id, admitted.version, True)

    def _delete(self, touched: _Touched, document_id: str, source: str) -> DocumentOutcome:
        if source and touched.sources.remove(document_id, source):
            stored = touched.stored.get(document_id)
            return DocumentOutcome(document_id, 0 if stored is None else stored.version, False)
        touched.sources.clear(document_id)
        match admit_delete(touched.stored.get(document_id)):
            case Unchanged(version):
                return DocumentOutcome(document_id, version, False)
            case Admitted() as admitted:
                # Only the version outlives a delete, so that a later insert continues it.
                touched.change(Incoming(document_id, ""), _NOTHING, admitted, True, self._now_ms)
                return DocumentOutcome(document_id, admitted.version, True)

    def store(self) -> None:
        """Writes the result of all batches, with one statement per table."""
        for touched in self._touched.values():
            store_sources(self._connection, touched.record.id, touched.sources)
            if touched.sequence == touched.record.sequence:
                continue
            collection = schema.collection
            self._connection.execute(
                update(collection).where(collection.c.id == touched.record.id).values(sequence=touched.sequence)
            )
            self._put(_document, list(touched.document_rows.values()), kept=())
            rows = [{column.name: row[column.name] for column in _entry.c} for row in touched.entry_rows.values()]
            # A write leaves alone what shards hold, except in entries that it creates.
            self._put(_entry, rows, kept=("embedded_version", "ordinal", "truncated"))
            self._count(touched.searchable_by_shard)
            insert_write_sets(self._connection, touched.record.id, touched.write_sets, self._now_ms)

    def _put(self, table: Any, rows: list[dict[str, Any]], kept: Sequence[str]) -> None:
        if not rows:
            return
        insert = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        statement = insert(table)
        keys = [column.name for column in table.primary_key]
        replaced = {name: statement.excluded[name] for name in rows[0] if name not in keys and name not in kept}
        self._connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=replaced), rows)

    def _count(self, differences: dict[tuple[int, int], int]) -> None:
        rows = [
            {"of_generation": generation_id, "of_shard": shard, "difference": difference}
            for (generation_id, shard), difference in differences.items()
            if difference
        ]
        if rows:
            statement = update(_shard).where(
                _shard.c.generation_id == bindparam("of_generation"), _shard.c.number == bindparam("of_shard")
            )
            self._connection.execute(statement.values(documents=_shard.c.documents + bindparam("difference")), rows)
