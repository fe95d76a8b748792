"""`LedgerReader`: what gateways read. Each method is one read transaction, so what it returns belongs to one moment."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Engine, and_, select

from shoal.cluster.decisions.access import ApiKey
from shoal.cluster.decisions.tokens.awaited_writes import AwaitedWrites
from shoal.cluster.ledger import catalog, cuts, failures, schema
from shoal.cluster.ledger.access import api_keys
from shoal.cluster.ledger.connection import chunks, reading
from shoal.cluster.ledger.errors import DocumentNotFound, ResultTooLarge
from shoal.cluster.ledger.records import (
    CollectionRecord,
    Cut,
    DocumentRecord,
    ExplainRecord,
    FailedDocuments,
    GenerationExplanation,
    LiveDocument,
)
from shoal.cluster.ledger.written import write_sets
from shoal.cluster.ledger.written.sources import read_source_ids

_document, _entry = schema.document, schema.entry
# With texts and payloads; each may have tens of kilobytes.
_DOCUMENTS_PER_READ = 32


class LedgerReader:
    """Reads a ledger; takes no lock and never waits for the coordinator. Safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collections(self) -> list[CollectionRecord]:
        """Every collection, by name."""
        with reading(self._engine) as connection:
            return catalog.all_collections(connection)

    def collection(self, name: str) -> CollectionRecord:
        """Raises CollectionNotFound."""
        with reading(self._engine) as connection:
            return catalog.find_collection(connection, name)

    def cut(self, name: str, awaited: AwaitedWrites | None = None) -> Cut:
        """The state that a search of the collection rests on; raises CollectionNotFound.

        `awaited` asks whether one of these writes is not shown yet; it is brought up to date.
        """
        with reading(self._engine) as connection:
            return cuts.read_cut(connection, name, awaited)

    def cuts(self) -> list[Cut]:
        """The state of every collection, by name; the number of queries does not depend on how many there are."""
        with reading(self._engine) as connection:
            return cuts.read_cuts(connection)

    def writes_pending(self, generation_id: int, awaited: AwaitedWrites) -> bool:
        """True while one of these writes is not committed in the generation; brings `awaited` up to date.

        Documents that have failed are not waited for.
        """
        with reading(self._engine) as connection:
            return write_sets.writes_pending(connection, awaited.token.collection_id, generation_id, awaited)

    def hydrate(
        self, collection_id: int, generation_id: int, ids: Sequence[str], include_text: bool
    ) -> dict[str, LiveDocument]:
        """What is needed to validate and fill in hits. Unknown ids are left out; deleted documents are not."""
        columns = [_document.c.id, _document.c.version, _document.c.content_version, _document.c.payload]
        columns += [_document.c.deleted, _entry.c.truncated]
        if include_text:
            columns.append(_document.c.text)
        statement = select(*columns).join_from(_document, _entry, _same_document(generation_id), isouter=True)
        found: dict[str, LiveDocument] = {}
        with reading(self._engine) as connection:
            for some in chunks(ids):
                chosen = statement.where(_document.c.collection_id == collection_id, _document.c.id.in_(some))
                for row in connection.execute(chosen):
                    found[row.id] = LiveDocument(
                        row.version,
                        row.content_version,
                        row.payload,
                        row.text if include_text else None,
                        row.deleted,
                        bool(row.truncated),
                    )
        return found

    def get(self, collection: str, ids: Sequence[str], max_bytes: int | None = None) -> list[DocumentRecord]:
        """The documents that exist, in the order of `ids`. Raises CollectionNotFound.

        Raises ResultTooLarge as soon as their ids, texts and payloads have more than `max_bytes`, before more are read.
        """
        found: dict[str, DocumentRecord] = {}
        size = 0
        with reading(self._engine) as connection:
            record = catalog.find_collection(connection, collection)
            statement = (
                select(_document, (_entry.c.embedded_version >= _entry.c.wanted_version).label("embedded"), _entry.c.removal)
                .join_from(_document, _entry, _same_document(record.generation.id), isouter=True)
                .where(_document.c.collection_id == record.id, _document.c.deleted.is_(False))
            )
            for some in chunks(ids, _DOCUMENTS_PER_READ):
                for row in connection.execute(statement.where(_document.c.id.in_(some))):
                    size += sum(len(value.encode()) for value in (row.id, row.text, row.payload))
                    if max_bytes is not None and size > max_bytes:
                        raise ResultTooLarge(max_bytes)
                    found[row.id] = DocumentRecord(
                        row.id,
                        row.text,
                        row.vector or b"",
                        row.payload,
                        row.version,
                        row.changed_at_ms,
                        bool(row.embedded) and not row.removal,
                    )
        return [found[document_id] for document_id in ids if document_id in found]

    def explain(self, collection: str, document_id: str) -> ExplainRecord:
        """Why the document is found or not, deleted ones too. Raises CollectionNotFound and DocumentNotFound."""
        with reading(self._engine) as connection:
            record = catalog.find_collection(connection, collection)
            key = and_(_document.c.collection_id == record.id, _document.c.id == document_id)
            columns = (_document.c.version, _document.c.content_version, _document.c.deleted)
            document = connection.execute(select(*columns).where(key)).first()
            if document is None:
                raise DocumentNotFound(collection, document_id)
            states: list[GenerationExplanation] = []
            for generation in catalog.live_generations(connection, record.id):
                worker = select(schema.shard.c.worker).where(
                    schema.shard.c.generation_id == generation.id, schema.shard.c.number == _entry.c.shard
                )
                row = connection.execute(
                    select(_entry, worker.scalar_subquery().label("worker")).where(
                        _entry.c.generation_id == generation.id, _entry.c.document_id == document_id
                    )
                ).first()
                if row is not None:
                    failed = row.failed_at_ms is not None
                    due = row.embedded_version < row.wanted_version and not failed
                    states.append(
                        GenerationExplanation(
                            generation=generation,
                            shard=row.shard,
                            worker=row.worker or "",
                            wanted_version=row.wanted_version,
                            embedded_version=row.embedded_version,
                            truncated=row.truncated,
                            attempts=row.attempts,
                            error=row.error,
                            next_attempt_at_ms=row.next_attempt_at_ms if due else 0,
                            failed=failed,
                        )
                    )
        return ExplainRecord(document_id, document.version, document.content_version, document.deleted, states)

    def source_ids(self, collection: str, source: str, after: str, limit: int) -> list[str]:
        """At most `limit` ids of the documents of a source, those after `after`, in order. Raises CollectionNotFound."""
        with reading(self._engine) as connection:
            record = catalog.find_collection(connection, collection)
            return read_source_ids(connection, record.id, source, after, limit)

    def failed(self, collection: str, limit: int) -> FailedDocuments:
        """Documents that the active generation set aside, oldest first, at most `limit`. Raises CollectionNotFound."""
        with reading(self._engine) as connection:
            record = catalog.find_collection(connection, collection)
            return failures.read_failed(connection, record.generation.id, limit)

    def keys(self) -> list[ApiKey]:
        """Every API key, oldest first; revoked and expired ones too."""
        with reading(self._engine) as connection:
            return api_keys.all_keys(connection)

    def key(self, id: str) -> ApiKey | None:
        """The API key of that id."""
        with reading(self._engine) as connection:
            return api_keys.find_key(connection, id)

    def failed_writes(self, collection: str, awaited: AwaitedWrites, limit: int) -> FailedDocuments:
        """Documents of these writes that the active generation set aside, at most `limit`. Raises CollectionNotFound."""
        with reading(self._engine) as connection:
            record = catalog.find_collection(connection, collection)
            return failures.read_failed_writes(connection, record.generation.id, awaited, limit)


def _same_document(generation_id: int) -> ColumnElement[bool]:
    return and_(_entry.c.generation_id == generation_id, _entry.c.document_id == _document.c.id)
