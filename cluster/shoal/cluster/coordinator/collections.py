"""Creates and drops collections, and retries documents that have failed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from shoal.cluster.clock import wall_clock_ms
from shoal.cluster.coordinator.concurrency.background_tasks import BackgroundTasks
from shoal.cluster.coordinator.fleet.pools import EncoderPools
from shoal.cluster.coordinator.generations import Generations
from shoal.cluster.coordinator.ledger_access import LedgerAccess
from shoal.cluster.coordinator.routing_board import RoutingPublisher
from shoal.cluster.errors import DimensionMismatch
from shoal.cluster.ledger.records import CollectionSettings

SHARDS_READY_S = 60.0
"""How long the shards of a new collection may take until they can take rows."""


class Collections:
    """Belongs to the coordinator's event loop.

    Changes go on when their caller leaves: a commit without what must follow it would leave a collection half made.
    """

    def __init__(
        self,
        ledger: LedgerAccess,
        pools: EncoderPools,
        generations: Generations,
        routing: RoutingPublisher,
        tasks: BackgroundTasks,
    ) -> None:
        self._ledger = ledger
        self._pools = pools
        self._generations = generations
        self._routing = routing
        self._tasks = tasks
        self._changing = asyncio.Lock()
        """Held while the generations in the ledger and those that are open may differ."""

    async def open_all(self) -> None:
        """Opens the generations that the ledger knows, and closes those that it does not know.

        They differ from those that are open at the start, and after a commit whose success the ledger could not report.
        """
        async with self._changing:
            known = {one.id: one for one in await self._ledger.threads.read(self._ledger.progress.generations)}
            opened = self._generations.opened()
            for generation in known.values():
                if generation.id not in opened:
                    await self._generations.open(generation)
            ending = {one: self._generations.retire(one) for one in opened.difference(known)}
        for gone, embedder in ending.items():
            await self._generations.close(gone, embedder)

    async def create(self, name: str, settings: CollectionSettings) -> None:
        """Loads the model, creates the collection and waits for its shards.

        Raises LedgerError, InvalidModel, DimensionMismatch, Unavailable, and TimeoutError when the shards take too long.
        """
        fingerprint, dimension = "", settings.dimension
        if settings.model:
            encoder = await self._pools.ready(settings.model)
            fingerprint = encoder.fingerprint
            if dimension and dimension != encoder.dimension:
                raise DimensionMismatch(
                    f"settings.dimension = {dimension}: model {settings.model!r} makes vectors of {encoder.dimension}",
                    field="settings.dimension",
                    value=str(dimension),
                    limit=encoder.dimension,
                )
            dimension = encoder.dimension
        with self._pools.hold(settings.model):
            generation = await self._tasks.finish(self._create(name, settings, fingerprint, dimension))
        async with asyncio.timeout(SHARDS_READY_S):
            await self._generations.wait_until_ready(generation, settings.shards)

    async def drop(self, name: str) -> int:
        """Drops a collection with its shards and files; returns how many documents it had. Raises CollectionNotFound."""
        return await self._tasks.finish(self._drop(name))

    async def retry_failed(self, name: str, ids: Sequence[str]) -> int:
        """Gives failed documents (all of them without `ids`) new attempts; raises CollectionNotFound."""
        retried = await self._ledger.threads.write(self._ledger.progress.retry_failed, name, list(ids) or None)
        self._generations.wake()
        return retried

    async def _create(self, name: str, settings: CollectionSettings, fingerprint: str, dimension: int) -> int:
        async with self._changing:
            record = await self._ledger.threads.write(
                self._ledger.writer.create_collection, name, settings, fingerprint, dimension, wall_clock_ms()
            )
            await self._generations.open(record.generation)
        return record.generation.id

    async def _drop(self, name: str) -> int:
        async with self._changing:
            dropped = await self._ledger.threads.write(self._ledger.writer.drop_collection, name)
            ending = {generation: self._generations.retire(generation) for generation in dropped.generation_ids}
        for generation, embedder in ending.items():
            await self._generations.close(generation, embedder)
        self._routing.publish()
        return dropped.documents
