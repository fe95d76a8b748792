"""Rows on their way to a shard, and a shard's figures on their way back. Other messages are the worker's own."""

from collections.abc import Sequence
from dataclasses import dataclass

from shoal.cluster.ledger.records import PendingDocument
from shoal.cluster.reconcile import ShardFigures
from shoal.internal.v1 import index_pb2


@dataclass(frozen=True, slots=True)
class Row:
    """A pending document that is ready for its shard: with its vector, or as a removal."""

    document: PendingDocument
    vector: bytes
    """Packed little-endian float32; empty for a removal."""
    truncated: bool = False


def rows_message(rows: Sequence[Row]) -> index_pb2.Rows:
    """The rows of one segment, in order."""
    return index_pb2.Rows(
        ids=[row.document.id for row in rows],
        versions=[row.document.version for row in rows],
        deleted=[not row.vector for row in rows],
        vectors=b"".join(row.vector for row in rows),
    )


def figures(state: index_pb2.ShardState) -> ShardFigures:
    """A shard's figures as the sealing policy reads them."""
    return ShardFigures(state.live, state.sealed_rows, state.sealed_dead, state.delta_rows, state.segments)
