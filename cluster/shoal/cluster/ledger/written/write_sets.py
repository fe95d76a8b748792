"""Write sets: which documents a write changed, so that a token waits for these alone."""

import json
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, insert, or_, select

from shoal.cluster.decisions.tokens.awaited_writes import HELD_DOCUMENTS, AwaitedWrites, ShownState, WriteSet
from shoal.cluster.ledger import catalog, schema
from shoal.cluster.ledger.connection import chunks

_SETS_PER_READ = 256
_READS_PER_CALL = 16
"""A token of a long upload is read in several transactions, so that other readers get a thread meanwhile."""

_document, _entry, _generation, _set = schema.document, schema.entry, schema.generation, schema.write_set


def insert_write_sets(connection: Connection, collection_id: int, sets: Sequence[WriteSet], now_ms: int) -> None:
    """Records what some new writes changed."""
    rows = [
        {
            "collection_id": collection_id,
            "sequence": one.sequence,
            "created_at_ms": now_ms,
            "documents": json.dumps(one.documents, separators=(",", ":")),
        }
        for one in sets
    ]
    if rows:
        connection.execute(insert(_set), rows)


def writes_pending(connection: Connection, collection_id: int, generation_id: int, awaited: AwaitedWrites) -> bool:
    """Whether a write of the token is not shown yet. Brings `awaited` up to date, as far as one transaction should."""
    for _ in range(_READS_PER_CALL):
        awaited.take_states(_states(connection, generation_id, list(awaited.documents)))
        if not awaited.wants_sets:
            break
        _read_sets(connection, collection_id, awaited)
    else:
        awaited.take_states(_states(connection, generation_id, list(awaited.documents)))
    if not awaited.settled:
        return True
    return _pending_through(connection, generation_id, awaited) or _forgotten_pending(connection, generation_id, awaited)


def pending_through(connection: Connection, generation_id: int, sequence: int) -> bool:
    """Whether a change up to the sequence, of any write, is not shown yet; failed documents do not count."""
    waiting = exists().where(_entry.c.generation_id == generation_id, schema.pending(), _entry.c.sequence <= sequence)
    return bool(connection.execute(select(waiting)).scalar())


def forget_write_sets(connection: Connection, shown_before_ms: int, any_before_ms: int, limit: int) -> int:
    """See LedgerProgress.forget_write_sets."""
    forgotten = 0
    for collection_id in connection.execute(select(schema.collection.c.id).order_by(schema.collection.c.id)).scalars().all():
        live = [generation.id for generation in catalog.live_generations(connection, collection_id)]
        oldest = select(func.min(_entry.c.sequence)).where(_entry.c.generation_id.in_(live), schema.pending())
        pending_from = connection.execute(oldest).scalar()
        of_collection = _set.c.collection_id == collection_id
        rows = connection.execute(
            select(_set.c.sequence, _set.c.created_at_ms)
            .where(of_collection)
            .order_by(_set.c.sequence)
            .limit(limit - forgotten)
        ).all()
        old = [
            row.sequence
            for row in rows
            if row.created_at_ms < any_before_ms
            or (row.created_at_ms < shown_before_ms and (pending_from is None or row.sequence < pending_from))
        ]
        if old:
            connection.execute(delete(_set).where(of_collection, _set.c.sequence <= old[-1]))
            forgotten += len(old)
        if forgotten >= limit:
            break
    return forgotten


def _states(connection: Connection, generation_id: int, ids: Sequence[str]) -> dict[str, ShownState]:
    columns = (_entry.c.document_id, _entry.c.embedded_version, _entry.c.shard, _entry.c.ordinal, _entry.c.failed_at_ms)
    states: dict[str, ShownState] = {}
    for some in chunks(ids):
        chosen = select(*columns).where(_entry.c.generation_id == generation_id, _entry.c.document_id.in_(some))
        for row in connection.execute(chosen):
            failed = row.failed_at_ms is not None
            states[row.document_id] = ShownState(row.embedded_version, row.shard, row.ordinal, failed)
    return states


def _read_sets(connection: Connection, collection_id: int, awaited: AwaitedWrites) -> None:
    """Reads the next sets, as many as `awaited` has room for."""
    first, last = awaited.unread[0]
    rows = connection.execute(
        select(_set.c.sequence, _set.c.documents)
        .where(_set.c.collection_id == collection_id, _set.c.sequence.between(first, last))
        .order_by(_set.c.sequence)
        .limit(_SETS_PER_READ)
    ).all()
    sets: list[WriteSet] = []
    room = HELD_DOCUMENTS - len(awaited.documents)
    for row in rows:
        if room <= 0:
            break
        sets.append(WriteSet(row.sequence, tuple((name, version) for name, version in json.loads(row.documents))))
        room -= len(sets[-1].documents)
    complete = len(sets) == len(rows) < _SETS_PER_READ
    awaited.take_sets(sets, last if complete else sets[-1].sequence)


def _pending_through(connection: Connection, generation_id: int, awaited: AwaitedWrites) -> bool:
    through = awaited.token.through
    return through > 0 and pending_through(connection, generation_id, through)


def _forgotten_pending(connection: Connection, generation_id: int, awaited: AwaitedWrites) -> bool:
    """Whether a document of a write whose set is gone is pending, because its file was damaged or it is retried."""
    if not awaited.forgotten:
        return False
    collection = select(_generation.c.collection_id).where(_generation.c.id == generation_id).scalar_subquery()
    same = and_(_document.c.collection_id == collection, _document.c.id == _entry.c.document_id)
    # The first and the last of its writes that are not shown are known.
    named = or_(_within(awaited, _entry.c.sequence), _within(awaited, _document.c.sequence))
    waiting = (
        select(_entry.c.document_id)
        .join_from(_entry, _document, same)
        .where(_entry.c.generation_id == generation_id, schema.pending(), _entry.c.sequence <= awaited.forgotten, named)
        .limit(1)
    )
    return connection.execute(waiting).first() is not None


def _within(awaited: AwaitedWrites, sequence: ColumnElement[int]) -> ColumnElement[bool]:
    return or_(*(sequence.between(first, last) for first, last in awaited.token.ranges))
