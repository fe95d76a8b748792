"""The ledger's view of shards: their manifests, their placement, and the damage that is reported to it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from shoal.cluster.coordinator.ledger_access import LedgerAccess
from shoal.cluster.coordinator.shards.served_shard import ServedShard, ShardSignals, ShardUnreachable
from shoal.cluster.ledger.errors import ShardNotFound
from shoal.cluster.ledger.records import GenerationRecord
from shoal.workers.indexing import ManifestInfo, SealedInfo

log = logging.getLogger(__name__)


class ShardLedger:
    """Reads and writes shards in the ledger. The ledger stores one worker per shard so far."""

    def __init__(self, ledger: LedgerAccess, signals: ShardSignals) -> None:
        self._ledger = ledger
        self._signals = signals

    async def shards(self, generation: GenerationRecord) -> list[ServedShard]:
        """The shards of a generation, with their placement."""
        placed = await self._ledger.threads.read(self._ledger.progress.placements)
        ordinals = await self._ledger.threads.read(self._ledger.progress.next_ordinals, generation.id)
        shards = [ServedShard(generation, number, ordinal) for number, ordinal in sorted(ordinals.items())]
        for shard in shards:
            worker = placed.get((generation.id, shard.number), "")
            shard.place((worker,) if worker else ())
        return shards

    async def place(self, generation: int, workers: Mapping[int, tuple[str, ...]]) -> None:
        """Records which workers serve some shards of a generation."""
        first = {number: names[0] for number, names in workers.items()}
        await self._ledger.threads.write(self._ledger.progress.place, generation, first)

    async def manifest(self, shard: ServedShard) -> ManifestInfo:
        """What the shard consists of; raises ShardUnreachable when its collection has been dropped."""
        try:
            return await self._ledger.threads.read(self._ledger.progress.manifest, shard.generation.id, shard.number)
        except ShardNotFound as error:
            # The coordinator is about to close it here too.
            raise ShardUnreachable(str(error)) from error

    async def commit_sealed(self, shard: ServedShard, sealed: SealedInfo) -> None:
        """Names a sealed index in place of the files it was merged from."""
        await self._ledger.threads.write(self._ledger.progress.commit_sealed, shard.generation.id, shard.number, sealed)
        self._signals.files_replaced(shard.generation.id)

    async def report_damage(self, shard: ServedShard, manifest: ManifestInfo, ordinals: Iterable[int], sealed: bool) -> None:
        """Removes damaged files from the manifest; their documents become pending again."""
        ordinals = list(ordinals)
        pending = await self._ledger.threads.write(
            self._ledger.progress.report_damage,
            shard.generation.id,
            shard.number,
            ordinals,
            sealed,
            sealed_through=manifest.sealed.through if sealed and manifest.sealed else None,
        )
        files = [f"segment {ordinal}" for ordinal in ordinals] + (["sealed index"] if sealed else [])
        log.warning("shard %s: damaged or missing: %s; embedding %d documents again", shard.id, ", ".join(files), pending)
        self._signals.documents_damaged(shard.generation.id)
