"""Merges the files of shards into sealed indexes. When to do so is decided in `decisions/sealing.py`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from shoal.cluster.coordinator.fleet.fleet import Fleet, FleetError
from shoal.cluster.coordinator.shards.served_shard import ServedShard, ShardSignals, ShardUnreachable
from shoal.cluster.coordinator.shards.shard_ledger import ShardLedger
from shoal.cluster.decisions.sealing import (
    MergeEnded,
    RemindAt,
    Reminded,
    SealCommitted,
    SealEvent,
    Sealing,
    SealingStats,
    SealPolicy,
    StartMerge,
    Synced,
    advance_sealing,
)
from shoal.cluster.ledger.errors import LedgerError
from shoal.cluster.rpc.routing import ShardId
from shoal.workers.indexing import DamagedFile, ManifestInfo

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _ShardSealing:
    shard: ServedShard
    sealing: Sealing = field(default_factory=Sealing)
    task: asyncio.Task[None] | None = None
    reminder: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()
        if self.reminder is not None:
            self.reminder.cancel()


class Sealer:
    """Belongs to the coordinator's event loop. Writes go on during a merge and stay as segments above the sealed index."""

    def __init__(
        self,
        records: ShardLedger,
        fleet: Fleet,
        policy: SealPolicy,
        sync: Callable[[ServedShard], Awaitable[None]],
        signals: ShardSignals,
    ) -> None:
        """`sync` brings a shard, whose lock is held, to the ledger's manifest; it raises ShardUnreachable."""
        self._records = records
        self._fleet = fleet
        self._policy = policy
        self._sync = sync
        self._signals = signals
        self._shards: dict[ShardId, _ShardSealing] = {}

    def open(self, shard: ServedShard) -> None:
        """Starts sealing the shard whenever it needs it."""
        self._shards[shard.id] = _ShardSealing(shard)

    def close(self, shard: ServedShard) -> None:
        """Stops sealing the shard. A merge in progress finishes, and its file is then removed."""
        closed = self._shards.pop(shard.id, None)
        if closed is not None:
            closed.cancel()

    async def stop(self) -> None:
        """Cancels all merges."""
        for one in self._shards.values():
            one.cancel()
        tasks = [one.task for one in self._shards.values() if one.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def synced(self, shard: ServedShard, stats: SealingStats) -> None:
        """A replica of the shard has been brought to the manifest."""
        self._advance(shard.id, Synced(stats))

    def _advance(self, key: ShardId, event: SealEvent) -> None:
        one = self._shards.get(key)
        if one is None:
            return
        loop = asyncio.get_running_loop()
        one.sealing, action = advance_sealing(one.sealing, event, loop.time(), self._policy)
        match action:
            case StartMerge():
                one.task = asyncio.create_task(self._seal(one.shard), name=f"seal {key}")
            case RemindAt(at_s):
                one.reminder = loop.call_at(at_s, self._advance, key, Reminded())
            case None:
                pass

    async def _seal(self, shard: ServedShard) -> None:
        try:
            await self._merge(shard)
        except (ShardUnreachable, FleetError, LedgerError) as error:
            # The files that the ledger names are sound, and sealing is tried again.
            log.warning("shard %s could not be sealed: %s", shard.id, error)
        except Exception:
            log.exception("shard %s could not be sealed", shard.id)
        self._advance(shard.id, MergeEnded())

    async def _merge(self, shard: ServedShard) -> None:
        manifest = await self._records.manifest(shard)
        # Cancelling does not stop the merge: it still writes its file.
        merging = asyncio.get_running_loop().run_in_executor(None, self._fleet.seal, manifest)
        merging.add_done_callback(lambda _: self._remove_if_closed(shard))
        try:
            sealed = await asyncio.shield(merging)
        except DamagedFile as error:
            async with shard.lock:
                await self._report_damaged(shard, manifest, error)
            return
        shard.merged = sealed.path
        try:
            async with shard.lock:
                current = await self._records.manifest(shard)
                kept = {segment.ordinal for segment in current.segments}
                if current.sealed != manifest.sealed or not kept.issuperset(one.ordinal for one in manifest.segments):
                    # Damage was reported meanwhile: the merged files are not those that the ledger names.
                    return
                await self._records.commit_sealed(shard, sealed)
                self._advance(shard.id, SealCommitted())
                await self._sync(shard)
        finally:
            shard.merged = ""

    def _remove_if_closed(self, shard: ServedShard) -> None:
        if shard.id not in self._shards:
            self._signals.files_replaced(shard.generation.id)

    async def _report_damaged(self, shard: ServedShard, manifest: ManifestInfo, error: DamagedFile) -> None:
        """A worker that still serves the file from its memory would not notice the damage."""
        log.warning("shard %s: %s", shard.id, error)
        ordinals = [segment.ordinal for segment in manifest.segments if segment.path == error.path]
        sealed = manifest.sealed is not None and manifest.sealed.path == error.path
        await self._records.report_damage(shard, manifest, ordinals, sealed)
        await self._sync(shard)
