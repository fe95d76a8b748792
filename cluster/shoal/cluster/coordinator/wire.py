"""Rows on their way to a shard, a shard's figures on their way back, and workers as gateways are told of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from shoal.cluster.coordinator.fleet.supervision import Watched
from shoal.cluster.decisions.reconcile import ShardFigures
from shoal.cluster.ledger.records import PendingDocument
from shoal.internal.v1 import index_pb2
from shoal.v1 import status_pb2

_KINDS = {"index": status_pb2.PROCESS_KIND_INDEX, "encoder": status_pb2.PROCESS_KIND_ENCODER}
_STATES = {
    "waiting": status_pb2.PROCESS_STATE_WAITING,
    "starting": status_pb2.PROCESS_STATE_STARTING,
    "loading": status_pb2.PROCESS_STATE_LOADING,
    "ready": status_pb2.PROCESS_STATE_READY,
    "draining": status_pb2.PROCESS_STATE_DRAINING,
    "unreachable": status_pb2.PROCESS_STATE_UNREACHABLE,
    "failed": status_pb2.PROCESS_STATE_FAILED,
}


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


def figures(state: index_pb2.ShardStats) -> ShardFigures:
    """A shard's figures as the sealing policy reads them."""
    return ShardFigures(state.live, state.sealed_rows, state.sealed_dead, state.delta_rows, state.segments)


def process_message(one: Watched) -> status_pb2.Process:
    """A process as `Status` shows it. Rates are rounded, so that small changes are not sent."""
    message = status_pb2.Process(
        kind=_KINDS[one.member.kind],
        name=one.member.name,
        address=one.address,
        state=_STATES[one.shown_state],
        detail=one.detail,
        pid=one.pid,
        node=one.node,
        model=one.member.model,
        device=one.device,
        restarts=one.restarts,
    )
    if one.member.kind == "encoder":
        load = one.load
        message.load.waiting_texts, message.load.waiting_tokens = load.waiting_texts, load.waiting_tokens
        message.load.oldest_ms = round(load.oldest_s * 1000)
        message.load.texts_per_s, message.load.tokens_per_s = round(load.texts_per_s, 1), float(round(load.tokens_per_s))
        message.load.busy = round(load.busy, 2)
    return message
