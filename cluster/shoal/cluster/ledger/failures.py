"""Failed attempts to embed a document, and the documents that were set aside after the last one."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Row,
    and_,
    bindparam,
    case,
    func,
    literal,
    null,
    or_,
    select,
    update,
)

from shoal.cluster.decisions.tokens.awaited_writes import AwaitedWrites
from shoal.cluster.ledger import catalog, schema
from shoal.cluster.ledger.connection import chunks
from shoal.cluster.ledger.records import FailedAttempt, FailedDocumentRecord, FailedDocuments

_document, _entry, _generation = schema.document, schema.entry, schema.generation


def record_failures(connection: Connection, failures: Sequence[FailedAttempt], now_ms: int) -> None:
    """See LedgerProgress.record_failures; `failures` is not empty."""
    statement = (
        update(_entry)
        .where(
            _entry.c.generation_id == bindparam("of_generation"),
            _entry.c.document_id == bindparam("of_document"),
            _entry.c.wanted_version == bindparam("of_version"),
            schema.pending(),
        )
        .values(
            error=bindparam("reason"),
            attempts=bindparam("made"),
            next_attempt_at_ms=bindparam("due"),
            failed_at_ms=case(
                (and_(bindparam("aside", type_=Boolean()), _entry.c.removal.is_(False)), literal(now_ms, BigInteger())),
                else_=null(),
            ),
        )
    )
    rows = [
        {
            "of_generation": failure.generation_id,
            "of_document": failure.id,
            "of_version": failure.version,
            "reason": failure.error,
            "made": failure.attempts,
            "due": failure.next_attempt_at_ms,
            "aside": failure.failed,
        }
        for failure in failures
    ]
    connection.execute(statement, rows)


def retry_failed(connection: Connection, collection: str, ids: Sequence[str] | None) -> int:
    """See LedgerProgress.retry_failed."""
    record = catalog.find_collection(connection, collection)
    live = [generation.id for generation in catalog.live_generations(connection, record.id)]
    statement = (
        update(_entry)
        .where(_entry.c.generation_id.in_(live), schema.failed())
        .values(failed_at_ms=None, attempts=0, next_attempt_at_ms=0)
    )
    if ids is None:
        return connection.execute(statement).rowcount
    return sum(connection.execute(statement.where(_entry.c.document_id.in_(some))).rowcount for some in chunks(ids))


def read_failed(connection: Connection, generation_id: int, limit: int) -> FailedDocuments:
    """See LedgerReader.failed."""
    aside = (_entry.c.generation_id == generation_id, schema.failed())
    total = connection.execute(select(func.count()).select_from(_entry).where(*aside)).scalar_one()
    rows = connection.execute(
        select(_entry).where(*aside).order_by(_entry.c.failed_at_ms, _entry.c.document_id).limit(limit)
    ).all()
    return FailedDocuments([_record(row) for row in rows], total)


def read_failed_writes(connection: Connection, generation_id: int, awaited: AwaitedWrites, limit: int) -> FailedDocuments:
    """See LedgerReader.failed_writes."""
    aside = select(_entry).where(_entry.c.generation_id == generation_id, schema.failed())
    rows: list[Row[Any]] = []
    for some in chunks(list(awaited.failed)[:limit]):
        rows += connection.execute(aside.where(_entry.c.document_id.in_(some))).all()
    found = {row.document_id: _record(row) for row in rows}
    total = awaited.failed_total
    if awaited.all_shards:
        # Not all write sets were read. A document's first and last change that is not shown are known.
        sequences = (_entry.c.sequence, _document.c.sequence)
        through = awaited.token.through
        named = [sequence.between(*one) for sequence in sequences for one in (*awaited.token.ranges, (1, through))]
        collection = select(_generation.c.collection_id).where(_generation.c.id == generation_id).scalar_subquery()
        same = and_(_document.c.collection_id == collection, _document.c.id == _entry.c.document_id)
        for row in connection.execute(aside.join_from(_entry, _document, same).where(or_(*named))):
            if row.document_id not in awaited.failed:
                total += 1
                if len(found) < limit:
                    found[row.document_id] = _record(row)
    return FailedDocuments(list(found.values()), total)


def _record(row: Row[Any]) -> FailedDocumentRecord:
    return FailedDocumentRecord(row.document_id, row.wanted_version, row.error, row.attempts, row.failed_at_ms)
