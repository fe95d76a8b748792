"""All shards of the cluster, each kept at its manifest in the ledger: level-triggered."""

from __future__ import annotations

import asyncio
import logging

from shoal.cluster.coordinator.fleet.fleet import Fleet
from shoal.cluster.coordinator.shards.replicas import ReplicaCalls
from shoal.cluster.coordinator.shards.sealer import Sealer
from shoal.cluster.coordinator.shards.served_shard import ServedShard, ShardReplica, ShardSignals, ShardUnreachable
from shoal.cluster.coordinator.shards.shard_ledger import ShardLedger
from shoal.cluster.coordinator.wire import sealing_stats
from shoal.cluster.decisions.sealing import SealPolicy
from shoal.cluster.ledger.records import GenerationRecord
from shoal.cluster.rpc.routing import ShardId
from shoal.internal.v1 import index_pb2
from shoal.workers.indexing import SegmentInfo

log = logging.getLogger(__name__)


class ShardKeeper:
    """Belongs to the coordinator's event loop."""

    def __init__(
        self, records: ShardLedger, replicas: ReplicaCalls, fleet: Fleet, policy: SealPolicy, signals: ShardSignals
    ) -> None:
        self._records = records
        self._replicas = replicas
        self._signals = signals
        self._sealer = Sealer(records, fleet, policy, self.sync, signals)
        self._shards: dict[ShardId, ServedShard] = {}
        self.changed = asyncio.Event()
        """Set when shards or workers have changed, so that replicas may be behind."""

    @property
    def shards(self) -> list[ServedShard]:
        """All shards."""
        return list(self._shards.values())

    def of(self, generation: int) -> list[ServedShard]:
        """The shards of one generation."""
        return [shard for shard in self._shards.values() if shard.generation.id == generation]

    def serving(self, shard: ServedShard) -> list[ShardReplica]:
        """The replicas that can be searched now."""
        return self._replicas.serving(shard)

    def shards_ready(self, generation: int) -> frozenset[int]:
        """Numbers of the shards of a generation that can take rows."""
        return frozenset(shard.number for shard in self.of(generation) if self.serving(shard))

    async def open(self, generation: GenerationRecord) -> None:
        """Starts serving a generation's shards; they become ready as their workers do."""
        for shard in await self._records.shards(generation):
            self._shards[shard.id] = shard
            self._sealer.open(shard)
        self.wake()

    async def close(self, generation: int) -> None:
        """Stops serving a dropped generation's shards, at their workers too."""
        for shard in self.of(generation):
            del self._shards[shard.id]
            self._sealer.close(shard)
            for replica in shard.replicas:
                try:
                    # Under the lock: a sync in flight would open the shard again.
                    async with shard.lock:
                        await self._replicas.release(shard, replica)
                except ShardUnreachable as error:
                    log.info("shard %s could not be released: %s", shard.id, error)

    async def stop(self) -> None:
        """Cancels sealing; the shards stay open at their workers."""
        await self._sealer.stop()

    def mark_stale(self, shard: ServedShard) -> None:
        """The shard's workers may be behind the ledger: it counts as down until they are synced."""
        for replica in shard.replicas:
            replica.shown_by = ("", 0)
        self.wake()

    def wake(self) -> None:
        """A worker has come, gone or moved: replicas may be behind."""
        self.changed.set()

    async def stage(self, shard: ServedShard, rows: index_pb2.Rows) -> SegmentInfo:
        """Makes a worker write rows as the shard's next segment; nothing is visible before the ledger names it.

        The caller holds `shard.lock`. Raises ShardUnreachable.
        """
        segment = await self._replicas.stage(shard, rows)
        shard.staged = segment.path
        return segment

    async def sync(self, shard: ServedShard) -> None:
        """Brings the shard's replicas to the ledger's manifest; the caller holds `shard.lock`.

        Raises ShardUnreachable if that fails for all of them.
        """
        replicas = self._replicas.up(shard)
        if not replicas:
            raise ShardUnreachable(f"shard {shard.id}: {', '.join(shard.workers) or 'no worker'} is not up")
        failures: list[ShardUnreachable] = []
        for replica in replicas:
            try:
                await self._sync_replica(shard, replica)
            except ShardUnreachable as error:
                failures.append(error)
        if len(failures) == len(replicas):
            raise failures[0]
        for error in failures:
            log.info("%s", error)

    async def sync_all(self) -> None:
        """Syncs every shard with a replica that is up and behind."""
        behind = [shard for shard in self.shards if len(self._replicas.up(shard)) > len(self.serving(shard))]
        await asyncio.gather(*(self._sync_behind(shard) for shard in behind))

    async def _sync_behind(self, shard: ServedShard) -> None:
        try:
            async with shard.lock:
                await self.sync(shard)
        except ShardUnreachable as error:
            log.info("%s", error)

    async def _sync_replica(self, shard: ServedShard, replica: ShardReplica) -> None:
        """Syncs until no file is reported as damaged: each report removes damaged files from the manifest."""
        while True:
            manifest = await self._records.manifest(shard)
            reply = await self._replicas.sync(shard, replica, manifest)
            if not reply.damaged_ordinals and not reply.sealed_damaged:
                break
            await self._records.report_damage(shard, manifest, reply.damaged_ordinals, reply.sealed_damaged)
        self._signals.shards_changed()
        self._sealer.synced(shard, sealing_stats(replica.stats))
