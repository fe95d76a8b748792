"""Calls to the index workers that serve the replicas of shards."""

from __future__ import annotations

import grpc
import grpc.aio

from shoal.cluster.coordinator.fleet.supervised_process import SupervisedProcess
from shoal.cluster.coordinator.fleet.supervision import Supervisor
from shoal.cluster.coordinator.shards.served_shard import ServedShard, ShardReplica, ShardUnreachable
from shoal.cluster.coordinator.worker_calls import WorkerCalls
from shoal.internal.v1 import index_pb2
from shoal.workers.indexing import ManifestInfo, SegmentInfo, manifest_message, segment_of, spec_message

SYNC_TIMEOUT_S = 300.0
STAGE_TIMEOUT_S = 60.0
RELEASE_TIMEOUT_S = 10.0
STORAGE_FAILED = "storage: "
"""How an index worker's refusal begins when its storage failed."""


class ReplicaCalls:
    """Stages, syncs and releases replicas at their workers."""

    def __init__(self, supervisor: Supervisor, calls: WorkerCalls, epoch: int) -> None:
        self._supervisor = supervisor
        self._calls = calls
        self._epoch = epoch
        self.failed_storage = ""
        """Why the newest segment could not be stored; empty if it was, or if its worker could not be reached."""

    def up(self, shard: ServedShard) -> list[ShardReplica]:
        """The replicas whose worker is ready, synced or not."""
        return [replica for replica in shard.replicas if self._process(replica) is not None]

    def serving(self, shard: ServedShard) -> list[ShardReplica]:
        """The replicas whose worker is ready and still the process that opened them."""
        found: list[ShardReplica] = []
        for replica in shard.replicas:
            process = self._process(replica)
            if process is not None and replica.shown_by == (process.address, process.pid):
                found.append(replica)
        return found

    async def stage(self, shard: ServedShard, rows: index_pb2.Rows) -> SegmentInfo:
        """Makes a worker of the shard write rows as its next segment. All replicas read the same files, so one suffices.

        Raises ShardUnreachable.
        """
        replica = self._first_up(shard)
        process = self._ready(shard, replica)
        request = index_pb2.StageRequest(
            epoch=self._epoch,
            key=shard.id.key(),
            spec=spec_message(shard.generation.spec),
            ordinal=shard.next_ordinal,
            rows=rows,
        )
        try:
            reply = await self._calls.call(self._calls.index(process.address).Stage, request, STAGE_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            details = error.details() or ""
            self.failed_storage = details if details.startswith(STORAGE_FAILED) else ""
            raise self._unreachable(shard, replica, error) from error
        self.failed_storage = ""
        return segment_of(reply.segment)

    async def sync(self, shard: ServedShard, replica: ShardReplica, manifest: ManifestInfo) -> index_pb2.SyncResponse:
        """Brings a replica to the manifest, unless its reply reports damage. Raises ShardUnreachable."""
        process = self._ready(shard, replica)
        here = (process.address, process.pid)
        request = index_pb2.SyncRequest(epoch=self._epoch, manifest=manifest_message(manifest))
        try:
            reply = await self._calls.call(self._calls.index(process.address).Sync, request, SYNC_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._unreachable(shard, replica, error) from error
        if not reply.damaged_ordinals and not reply.sealed_damaged:
            replica.shown_by, replica.stats = here, reply.stats
        return reply

    async def release(self, shard: ServedShard, replica: ShardReplica) -> None:
        """Makes a worker close a replica. Raises ShardUnreachable; a worker that is down has nothing open anyway."""
        process = self._ready(shard, replica)
        request = index_pb2.ReleaseRequest(epoch=self._epoch, key=shard.id.key())
        try:
            await self._calls.call(self._calls.index(process.address).Release, request, RELEASE_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise ShardUnreachable(_reason(shard, replica, error)) from error

    def _first_up(self, shard: ServedShard) -> ShardReplica:
        candidates = self.up(shard) or list(shard.replicas)
        if not candidates:
            raise ShardUnreachable(f"shard {shard.id}: no worker is up")
        return candidates[0]

    def _process(self, replica: ShardReplica) -> SupervisedProcess | None:
        process = self._supervisor.get(replica.worker)
        return process if process is not None and process.ready else None

    def _ready(self, shard: ServedShard, replica: ShardReplica) -> SupervisedProcess:
        process = self._process(replica)
        if process is None:
            raise ShardUnreachable(f"shard {shard.id}: {replica.worker} is not up")
        return process

    def _unreachable(self, shard: ServedShard, replica: ShardReplica, error: grpc.aio.AioRpcError) -> ShardUnreachable:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            self._supervisor.suspect(replica.worker)
        return ShardUnreachable(_reason(shard, replica, error))


def _reason(shard: ServedShard, replica: ShardReplica, error: grpc.aio.AioRpcError) -> str:
    return f"shard {shard.id} at {replica.worker}: {error.details() or error.code().name}"
