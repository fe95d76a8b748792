"""The cut: the state of a generation at one moment, from which a search is answered."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Column, ColumnElement, Connection, func, select

from shoal.cluster.decisions.tokens.awaited_writes import AwaitedWrites
from shoal.cluster.ledger import catalog, schema
from shoal.cluster.ledger.connection import chunks
from shoal.cluster.ledger.records import CollectionRecord, Cut, ShardCut
from shoal.cluster.ledger.written.write_sets import writes_pending

_entry, _shard, _segment, _generation = schema.entry, schema.shard, schema.segment, schema.generation
_SHARD_COLUMNS = ("generation_id", "number", "worker", "documents", "sealed_through", "damage_count")


def read_cut(connection: Connection, name: str, awaited: AwaitedWrites | None) -> Cut:
    """See LedgerReader.cut."""
    collection = catalog.find_collection(connection, name)
    # A token of another collection is refused by the caller; its numbers mean nothing here.
    token_pending = (
        awaited is not None
        and awaited.token.collection_id == collection.id
        and writes_pending(connection, collection.id, collection.generation.id, awaited)
    )
    (cut,) = _read(connection, [collection], token_pending)
    return cut


def read_cuts(connection: Connection) -> list[Cut]:
    """See LedgerReader.cuts."""
    return [cut for some in chunks(catalog.all_collections(connection)) for cut in _read(connection, some)]


def _read(connection: Connection, collections: Sequence[CollectionRecord], token_pending: bool = False) -> list[Cut]:
    """The cuts of the collections, in order, by the same number of queries for any number of collections."""
    ids = [collection.generation.id for collection in collections]
    newest = (
        select(func.max(_segment.c.ordinal))
        .where(_segment.c.generation_id == _shard.c.generation_id, _segment.c.shard == _shard.c.number)
        .scalar_subquery()
    )
    shards = connection.execute(
        select(*(_shard.c[name] for name in _SHARD_COLUMNS), newest.label("newest"))
        .where(_among(_shard.c.generation_id, ids))
        .order_by(_shard.c.generation_id, _shard.c.number)
    ).all()
    key = (_entry.c.generation_id, _entry.c.shard)
    behind = {
        (row.generation_id, row.shard, row.removal): row.entries
        for row in connection.execute(
            select(*key, _entry.c.removal, func.count().label("entries"))
            .where(_among(_entry.c.generation_id, ids), schema.pending())
            .group_by(*key, _entry.c.removal)
        )
    }
    failed = {
        (row.generation_id, row.shard): row.entries
        for row in connection.execute(
            select(*key, func.count().label("entries"))
            .where(_among(_entry.c.generation_id, ids), schema.failed())
            .group_by(*key)
        )
    }
    oldest = _oldest_changes(connection, sorted({generation for generation, _, _ in behind}))
    by_generation: dict[int, list[ShardCut]] = defaultdict(list)
    for row in shards:
        by_generation[row.generation_id].append(
            ShardCut(
                number=row.number,
                worker=row.worker,
                documents=row.documents,
                through=max(row.newest or 0, row.sealed_through or 0),
                pending_documents=behind.get((row.generation_id, row.number, False), 0),
                pending_removals=behind.get((row.generation_id, row.number, True), 0),
                failed=failed.get((row.generation_id, row.number), 0),
                damage_count=row.damage_count,
            )
        )
    return [
        Cut(
            collection=collection,
            generation=collection.generation,
            shards=(parts := by_generation[collection.generation.id]),
            pending=sum(shard.pending_documents + shard.pending_removals for shard in parts),
            failed=sum(shard.failed for shard in parts),
            oldest_changed_at_ms=oldest.get(collection.generation.id),
            token_pending=token_pending,
        )
        for collection in collections
    ]


def _oldest_changes(connection: Connection, ids: Sequence[int]) -> dict[int, int | None]:
    """When the oldest pending change of each generation was acknowledged."""
    if not ids:
        return {}
    # Sequence numbers grow with time, so the lowest is the oldest.
    oldest = (
        select(_entry.c.changed_at_ms)
        .where(_entry.c.generation_id == _generation.c.id, schema.pending())
        .order_by(_entry.c.sequence)
        .limit(1)
        .scalar_subquery()
    )
    rows = connection.execute(select(_generation.c.id, oldest.label("oldest")).where(_among(_generation.c.id, ids)))
    return {row.id: row.oldest for row in rows}


def _among(column: Column[int], ids: Sequence[int]) -> ColumnElement[bool]:
    # A search has one id, and an equation is compiled in less time than a list.
    return column == ids[0] if len(ids) == 1 else column.in_(ids)
