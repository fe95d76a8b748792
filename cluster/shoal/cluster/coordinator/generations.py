"""The live generations: their shards are served and their documents embedded."""

from __future__ import annotations

import asyncio

from shoal.cluster.coordinator.concurrency.changes import Changes
from shoal.cluster.coordinator.embedding.embedders import Embedders
from shoal.cluster.coordinator.shards.garbage import GarbageCollector
from shoal.cluster.coordinator.shards.shards import ShardKeeper
from shoal.cluster.ledger.records import GenerationRecord


class Generations:
    """Belongs to the coordinator's event loop."""

    def __init__(self, keeper: ShardKeeper, embedders: Embedders, garbage: GarbageCollector, changes: Changes) -> None:
        """`changes` announces that shards may have become ready."""
        self._keeper = keeper
        self._embedders = embedders
        self._garbage = garbage
        self._changes = changes

    async def open(self, generation: GenerationRecord) -> None:
        """Serves and embeds a generation from now on."""
        await self._keeper.open(generation)
        self._embedders.start(generation)

    def opened(self) -> frozenset[int]:
        """Ids of the generations that are served and embedded."""
        return self._embedders.generations()

    def retire(self, generation: int) -> asyncio.Task[None] | None:
        """The ledger no longer knows the generation; returns the embedder that is ending, for `close`."""
        return self._embedders.cancel(generation)

    async def close(self, generation: int, ending: asyncio.Task[None] | None) -> None:
        """Stops serving a retired generation, and lets its files be deleted."""
        if ending is not None:
            await asyncio.gather(ending, return_exceptions=True)
        await self._keeper.close(generation)
        self._garbage.generation_dropped(generation)

    async def wait_until_ready(self, generation: int, shards: int) -> None:
        """Returns when all of its shards can take rows."""
        await self._changes.wait_until(lambda: len(self._keeper.shards_ready(generation)) == shards)

    def wake(self) -> None:
        """Documents may have become pending in any of them."""
        self._embedders.wake_all()
