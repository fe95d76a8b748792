"""Entries whose newest version no committed segment holds yet: the work that the coordinator still has to do."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, and_, func, literal, select

from shoal.cluster.decisions.admission import PRIORITIES
from shoal.cluster.ledger import schema
from shoal.cluster.ledger.connection import chunks
from shoal.cluster.ledger.records import PendingDocument

Divide: TypeAlias = Callable[[int, Mapping[int, int]], Mapping[int, int]]
"""How many documents of each priority to take: from the number wanted and the number that wait, by priority."""

_document, _entry, _generation = schema.document, schema.entry, schema.generation


def read_pending(
    connection: Connection,
    generation_id: int,
    limit: int,
    now_ms: int,
    exclude_ids: Collection[str],
    shards: Collection[int] | None,
    priority_to: int | None,
    divide: Divide | None,
) -> list[PendingDocument]:
    """See LedgerProgress.pending."""
    excluded = frozenset(exclude_ids)
    columns = [_entry.c[name] for name in ("document_id", "shard", "wanted_version", "sequence", "priority", "removal")]
    due = (
        select(*columns, _entry.c.attempts)
        .where(_entry.c.generation_id == generation_id, schema.pending(), _entry.c.next_attempt_at_ms <= now_ms)
        .order_by(_entry.c.sequence)
        # Documents in work are usually the oldest ones: reading past them is cheaper than naming them all.
        .limit(limit + len(excluded))
    )
    if shards is not None:
        due = due.where(_entry.c.shard.in_(sorted(shards)))
    waiting: dict[int, list[Row[Any]]] = {}
    for priority in PRIORITIES:
        if priority_to is None or priority <= priority_to:
            found = connection.execute(due.where(_entry.c.priority == priority))
            waiting[priority] = [row for row in found if row.document_id not in excluded][:limit]
    counts = {priority: len(some) for priority, some in waiting.items()}
    chosen = counts if divide is None else divide(limit, counts)
    rows = [row for priority, some in waiting.items() for row in some[: chosen.get(priority, 0)]][:limit]
    contents: dict[str, tuple[str, bytes]] = {}
    owner = select(_generation.c.collection_id).where(_generation.c.id == generation_id).scalar_subquery()
    for some in chunks([row.document_id for row in rows if not row.removal]):
        texts = select(_document.c.id, _document.c.text, _document.c.vector).where(
            _document.c.collection_id == owner, _document.c.id.in_(some)
        )
        contents.update((row.id, (row.text, row.vector or b"")) for row in connection.execute(texts))
    return [
        PendingDocument(
            row.document_id,
            row.shard,
            row.wanted_version,
            row.sequence,
            row.priority,
            row.removal,
            *contents.get(row.document_id, ("", b"")),
            row.attempts,
        )
        for row in rows
    ]


def count_pending(connection: Connection, generation_id: int, limit: int) -> int:
    """See LedgerProgress.backlog."""
    some = (
        select(literal(1))
        .where(_entry.c.generation_id == generation_id, schema.pending(), _entry.c.removal.is_(False))
        .limit(limit)
        .subquery()
    )
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def read_pending_among(
    connection: Connection, generation_id: int, ids: Sequence[str]
) -> list[tuple[PendingDocument, bytes]]:
    """See LedgerProgress.pending_among."""
    columns = [_entry.c[name] for name in ("document_id", "shard", "wanted_version", "sequence", "priority")]
    statement = (
        select(*columns, _entry.c.attempts, _document.c.content_hash)
        .join(_generation, _generation.c.id == _entry.c.generation_id)
        .join(
            _document,
            and_(_document.c.collection_id == _generation.c.collection_id, _document.c.id == _entry.c.document_id),
        )
        .where(_entry.c.generation_id == generation_id, schema.pending(), _entry.c.removal.is_(False))
    )
    found: list[tuple[PendingDocument, bytes]] = []
    for some in chunks(ids):
        for row in connection.execute(statement.where(_entry.c.document_id.in_(some))):
            document = PendingDocument(
                row.document_id,
                row.shard,
                row.wanted_version,
                row.sequence,
                row.priority,
                removal=False,
                text="",
                vector=b"",
                attempts=row.attempts,
            )
            found.append((document, row.content_hash))
    return found
