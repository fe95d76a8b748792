"""Messages of the coordinator: rows for a shard, a shard's stats, and processes as `Status` shows them."""

from collections.abc import Sequence
from dataclasses import dataclass

from shoal.cluster.coordinator.fleet.supervised_process import SupervisedProcess
from shoal.cluster.decisions.processes.liveness_events import LivenessState
from shoal.cluster.decisions.sealing import SealingStats
from shoal.cluster.ledger.records import PendingDocument
from shoal.internal.v1 import index_pb2
from shoal.v1 import status_pb2

_KINDS = {"index": status_pb2.PROCESS_KIND_INDEX, "encoder": status_pb2.PROCESS_KIND_ENCODER}
_STATES = {
    LivenessState.WAITING: status_pb2.PROCESS_STATE_WAITING,
    LivenessState.STARTING: status_pb2.PROCESS_STATE_STARTING,
    LivenessState.LOADING: status_pb2.PROCESS_STATE_LOADING,
    LivenessState.READY: status_pb2.PROCESS_STATE_READY,
    LivenessState.DRAINING: status_pb2.PROCESS_STATE_DRAINING,
    LivenessState.UNREACHABLE: status_pb2.PROCESS_STATE_UNREACHABLE,
    LivenessState.FAILED: status_pb2.PROCESS_STATE_FAILED,
}


@dataclass(frozen=True, slots=True)
class ShardRow:
    """A pending document that is ready for its shard: with its vector, or as a removal."""

    document: PendingDocument
    vector: bytes
    """Packed little-endian float32; empty for a removal."""
    truncated: bool = False


def rows_message(rows: Sequence[ShardRow]) -> index_pb2.Rows:
    """The rows of one segment, in order."""
    return index_pb2.Rows(
        ids=[row.document.id for row in rows],
        versions=[row.document.version for row in rows],
        deleted=[not row.vector for row in rows],
        vectors=b"".join(row.vector for row in rows),
    )


def sealing_stats(stats: index_pb2.ShardStats) -> SealingStats:
    """The stats of a shard that sealing is decided by."""
    return SealingStats(stats.live, stats.sealed_rows, stats.sealed_dead, stats.delta_rows, stats.segments)


def process_message(one: SupervisedProcess) -> status_pb2.Process:
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
