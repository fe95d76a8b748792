"""Counts over a generation at one moment: the cut that a search rests on, and the documents that were set aside."""

from sqlalchemy import Connection, exists, func, select

from shoal.cluster.ledger import catalog, schema
from shoal.cluster.ledger.records import Cut, FailedDocument, FailedDocuments, ShardCut

_entry, _shard, _segment = schema.entry, schema.shard, schema.segment
_SHARD_COLUMNS = ("number", "worker", "documents", "sealed_through", "losses")


def read_cut(connection: Connection, name: str, token_sequence: int | None) -> Cut:
    """See LedgerReader.cut."""
    collection = catalog.find_collection(connection, name)
    generation = collection.generation
    newest = (
        select(func.max(_segment.c.ordinal))
        .where(_segment.c.generation_id == _shard.c.generation_id, _segment.c.shard == _shard.c.number)
        .scalar_subquery()
    )
    shards = connection.execute(
        select(*(_shard.c[name] for name in _SHARD_COLUMNS), newest.label("newest"))
        .where(_shard.c.generation_id == generation.id)
        .order_by(_shard.c.number)
    ).all()
    behind = {
        (row.shard, row.removal): row.entries
        for row in connection.execute(
            select(_entry.c.shard, _entry.c.removal, func.count().label("entries"))
            .where(_entry.c.generation_id == generation.id, schema.pending())
            .group_by(_entry.c.shard, _entry.c.removal)
        )
    }
    failed = {
        row.shard: row.entries
        for row in connection.execute(
            select(_entry.c.shard, func.count().label("entries"))
            .where(_entry.c.generation_id == generation.id, schema.failed())
            .group_by(_entry.c.shard)
        )
    }
    oldest = None
    if behind:
        # Changes are numbered in the order of time, so the first by number is the oldest.
        oldest = connection.execute(
            select(_entry.c.changed_at_ms)
            .where(_entry.c.generation_id == generation.id, schema.pending())
            .order_by(_entry.c.sequence)
            .limit(1)
        ).scalar()
    token_pending = token_sequence is not None and pending_through(connection, generation.id, token_sequence)
    return Cut(
        collection=collection,
        generation=generation,
        shards=[
            ShardCut(
                number=row.number,
                worker=row.worker,
                documents=row.documents,
                through=max(row.newest or 0, row.sealed_through or 0),
                pending_documents=behind.get((row.number, False), 0),
                pending_removals=behind.get((row.number, True), 0),
                failed=failed.get(row.number, 0),
                losses=row.losses,
            )
            for row in shards
        ],
        pending=sum(behind.values()),
        failed=sum(failed.values()),
        oldest_changed_at_ms=oldest,
        token_pending=token_pending,
    )


def pending_through(connection: Connection, generation_id: int, sequence: int) -> bool:
    """See LedgerReader.pending_through."""
    waiting = exists().where(_entry.c.generation_id == generation_id, schema.pending(), _entry.c.sequence <= sequence)
    return bool(connection.execute(select(waiting)).scalar())


def read_failed(connection: Connection, generation_id: int, limit: int) -> FailedDocuments:
    """See LedgerReader.failed."""
    aside = (_entry.c.generation_id == generation_id, schema.failed())
    total = connection.execute(select(func.count()).select_from(_entry).where(*aside)).scalar_one()
    rows = connection.execute(
        select(_entry).where(*aside).order_by(_entry.c.failed_at_ms, _entry.c.document_id).limit(limit)
    ).all()
    documents = [
        FailedDocument(row.document_id, row.wanted_version, row.error, row.attempts, row.failed_at_ms) for row in rows
    ]
    return FailedDocuments(documents, total)
