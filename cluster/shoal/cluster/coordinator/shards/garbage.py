"""Deletes files that no manifest names. When to do so is decided in `decisions/garbage.py`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from shoal.cluster.clock import wall_clock_s
from shoal.cluster.coordinator.ledger_access import LedgerAccess
from shoal.cluster.coordinator.shards.shards import ShardKeeper
from shoal.cluster.decisions.garbage import (
    FilesUnnamed,
    Garbage,
    GarbageEvent,
    GenerationDropped,
    RemindSweepAt,
    Sweep,
    SweepEnded,
    SweepReminded,
    advance_garbage,
)
from shoal.cluster.ledger.errors import LedgerError
from shoal.workers.indexing import Storage, collect_garbage

log = logging.getLogger(__name__)


class GarbageCollector:
    """Belongs to the coordinator's event loop."""

    def __init__(
        self,
        storage: Storage,
        ledger: LedgerAccess,
        keeper: ShardKeeper,
        is_live: Callable[[int], bool],
        grace_s: float,
    ) -> None:
        """`is_live` says whether a generation exists, by its id. `grace_s` is how long unnamed files stay."""
        self._storage = storage
        self._ledger = ledger
        self._keeper = keeper
        self._is_live = is_live
        self._grace_s = grace_s
        self._garbage = Garbage()
        self._sweep: asyncio.Task[None] | None = None
        self._reminder: asyncio.TimerHandle | None = None

    def files_replaced(self, generation: int) -> None:
        """The generation has files that the ledger no longer names."""
        self._advance(FilesUnnamed(generation, self._is_live(generation)))

    def generation_dropped(self, generation: int) -> None:
        """All files of the generation can go."""
        self._advance(GenerationDropped(generation))

    async def find_leftovers(self) -> None:
        """Finds what earlier coordinators left: files staged or replaced, generations dropped."""
        try:
            folders = await asyncio.to_thread(self._storage.folders)
        except OSError as error:
            log.warning("the storage could not be searched for old files: %s", error)
            return
        for name in folders:
            # Other folders under the root are not ours.
            if name.isdigit():
                # Asked after the listing: a generation that had a folder by then and exists is known by now.
                self.files_replaced(int(name))

    async def close(self) -> None:
        """Stops; what is left is found by the next coordinator."""
        if self._reminder is not None:
            self._reminder.cancel()
        if self._sweep is not None:
            self._sweep.cancel()
            await asyncio.gather(self._sweep, return_exceptions=True)

    async def sweep(self, sweep: Sweep) -> None:
        """Deletes what the ledger does not name; raises OSError and LedgerError."""
        # Files that are about to be named may be older than the grace period. They are looked up before the ledger is
        # read: what is committed meanwhile is one of them.
        named = {path for shard in self._keeper.of(sweep.generation) for path in (shard.staged, shard.merged)}
        for shard in self._keeper.of(sweep.generation):
            manifest = await self._ledger.threads.read(self._ledger.progress.manifest, sweep.generation, shard.number)
            named.update(segment.path for segment in manifest.segments)
            named.update([manifest.sealed.path] if manifest.sealed else [])
        now_s = wall_clock_s()
        await asyncio.to_thread(collect_garbage, self._storage, sweep.generation, named, now_s, sweep.min_age_s)

    def _advance(self, event: GarbageEvent) -> None:
        loop = asyncio.get_running_loop()
        self._garbage, action = advance_garbage(self._garbage, event, loop.time(), self._grace_s)
        match action:
            case Sweep():
                self._sweep = asyncio.create_task(self._run(action), name=f"sweep {action.generation}")
            case RemindSweepAt(at_s):
                if self._reminder is not None:
                    self._reminder.cancel()
                self._reminder = loop.call_at(at_s, self._advance, SweepReminded())
            case None:
                pass

    async def _run(self, sweep: Sweep) -> None:
        try:
            await self.sweep(sweep)
        except (OSError, LedgerError) as error:
            log.warning("old files of generation %d could not be deleted: %s", sweep.generation, error)
        except Exception:
            log.exception("old files of generation %d could not be deleted", sweep.generation)
        self._advance(SweepEnded())
