"""Places shards on index workers, and syncs replicas that are behind after any change or crash."""

from __future__ import annotations

import asyncio
import logging

from shoal.cluster.coordinator.fleet.supervision import Supervisor
from shoal.cluster.coordinator.shards.shard_ledger import ShardLedger
from shoal.cluster.coordinator.shards.shards import ShardKeeper
from shoal.cluster.decisions.placement import place_shards

log = logging.getLogger(__name__)

CHECK_EVERY_S = 1.0
LOST_WORKER_S = 30.0
"""The shards of an index worker that has not been ready for this long move to others."""
REPLICAS = 1
"""Replicas of each shard. The ledger and the routing table hold only one so far."""


class PlacementLoop:
    """Belongs to the coordinator's event loop."""

    def __init__(self, keeper: ShardKeeper, records: ShardLedger, supervisor: Supervisor) -> None:
        self._keeper = keeper
        self._records = records
        self._supervisor = supervisor

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            self._keeper.changed.clear()
            try:
                await self._place()
                await self._keeper.sync_all()
            except Exception:
                # The ledger may be away for a while (PostgreSQL restarts); this loop must outlive it.
                log.exception("shards could not be placed or synced")
            try:
                # Not wait_for: on Python 3.11 it loses a cancellation that comes with the event.
                async with asyncio.timeout(CHECK_EVERY_S):
                    await self._keeper.changed.wait()
            except TimeoutError:
                pass

    async def _place(self) -> None:
        """Gives shards without a worker, or whose worker has been lost, to others."""
        now_s = asyncio.get_running_loop().time()
        workers = [one for one in self._supervisor.processes if one.member.kind == "index"]
        usable = [one.member.name for one in workers if one.ready or now_s - one.last_ready_s < LOST_WORKER_S]
        if not usable:
            return
        # All generations together: many small collections must not all land on the first worker.
        current = {shard.id: shard.workers for shard in self._keeper.shards}
        moved: dict[int, dict[int, tuple[str, ...]]] = {}
        for shard_id, placed in place_shards(sorted(current), usable, current, REPLICAS).items():
            if current[shard_id] != placed:
                moved.setdefault(shard_id.generation, {})[shard_id.shard] = placed
        for generation, workers_of in moved.items():
            await self._records.place(generation, workers_of)
            for shard in self._keeper.of(generation):
                shard.place(workers_of.get(shard.number, shard.workers))
