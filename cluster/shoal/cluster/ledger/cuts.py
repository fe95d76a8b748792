"""The cut: the state of a generation at one moment, from which a search is answered."""

from sqlalchemy import Connection, func, select

from shoal.cluster.decisions.awaited_writes import AwaitedWrites
from shoal.cluster.ledger import catalog, schema
from shoal.cluster.ledger.records import Cut, ShardCut
from shoal.cluster.ledger.write_sets import writes_pending

_entry, _shard, _segment = schema.entry, schema.shard, schema.segment
_SHARD_COLUMNS = ("number", "worker", "documents", "sealed_through", "damage_count")


def read_cut(connection: Connection, name: str, awaited: AwaitedWrites | None) -> Cut:
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
        # Sequence numbers grow with time, so the lowest is the oldest.
        oldest = connection.execute(
            select(_entry.c.changed_at_ms)
            .where(_entry.c.generation_id == generation.id, schema.pending())
            .order_by(_entry.c.sequence)
            .limit(1)
        ).scalar()
    # A token of another collection is refused by the caller; its numbers mean nothing here.
    token_pending = (
        awaited is not None
        and awaited.token.collection_id == collection.id
        and writes_pending(connection, collection.id, generation.id, awaited)
    )
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
                damage_count=row.damage_count,
            )
            for row in shards
        ],
        pending=sum(behind.values()),
        failed=sum(failed.values()),
        oldest_changed_at_ms=oldest,
        token_pending=token_pending,
    )
