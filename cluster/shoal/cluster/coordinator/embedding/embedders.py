"""The embedders of all live generations."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from shoal.cluster.coordinator.embedding.embedder import EmbeddingPolicy, GenerationEmbedder
from shoal.cluster.coordinator.embedding.encoder_calls import EncoderCalls
from shoal.cluster.coordinator.embedding.precomputed import PrecomputedVectors
from shoal.cluster.coordinator.ledger_access import LedgerAccess
from shoal.cluster.coordinator.shards.shards import ShardKeeper
from shoal.cluster.ledger.records import GenerationRecord


@dataclass(frozen=True, slots=True)
class _RunningEmbedder:
    embedder: GenerationEmbedder
    task: asyncio.Task[None]


class Embedders:
    """Starts, wakes and ends embedders. Belongs to the coordinator's event loop."""

    def __init__(self, keeper: ShardKeeper, ledger: LedgerAccess, encoders: EncoderCalls, policy: EmbeddingPolicy) -> None:
        self._keeper = keeper
        self._ledger = ledger
        self._encoders = encoders
        self._policy = policy
        self._running: dict[int, _RunningEmbedder] = {}

    def start(self, generation: GenerationRecord) -> None:
        """Embeds the generation's documents from now on."""
        embedder = GenerationEmbedder(generation, self._keeper, self._ledger, self._encoders, self._policy)
        task = asyncio.create_task(embedder.run(), name=f"embed {generation.id}")
        self._running[generation.id] = _RunningEmbedder(embedder, task)

    def cancel(self, generation: int) -> asyncio.Task[None] | None:
        """The generation is no longer live; returns its task, which is about to end."""
        running = self._running.pop(generation, None)
        if running is None:
            return None
        running.task.cancel()
        return running.task

    async def close(self) -> None:
        """Ends all embedders; what they had in hand is still pending in the ledger."""
        tasks = [self.cancel(generation) for generation in list(self._running)]
        await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)

    def generations(self) -> frozenset[int]:
        """Ids of the generations that are being embedded."""
        return frozenset(self._running)

    def is_live(self, generation: int) -> bool:
        """Whether the generation is being embedded, which it is from its creation until it is dropped."""
        return generation in self._running

    def wake(self, generation: int) -> None:
        """The generation may have pending documents."""
        if generation in self._running:
            self._running[generation].embedder.wake()

    def wake_collection(self, collection_id: int) -> None:
        """Documents of the collection were written."""
        for embedder in self._embedders():
            if embedder.generation.collection_id == collection_id:
                embedder.wake()

    def wake_all(self) -> None:
        """There may be something to do anywhere."""
        for embedder in self._embedders():
            embedder.wake()

    def precomputed(self, collection: str, fingerprint: str) -> list[PrecomputedVectors]:
        """Where vectors of a collection wait that were made by the model of this fingerprint."""
        return [
            embedder.precomputed
            for embedder in self._embedders()
            if (embedder.generation.collection, embedder.generation.fingerprint) == (collection, fingerprint)
        ]

    def models(self) -> list[str]:
        """The models of live generations; "" for a generation without one."""
        return [embedder.generation.model for embedder in self._embedders()]

    def fingerprints(self) -> set[tuple[str, str]]:
        """Model and fingerprint of each live generation that has a model."""
        generations = [embedder.generation for embedder in self._embedders()]
        return {(one.model, one.fingerprint) for one in generations if one.model}

    async def backlog(self, model: str, limit: int) -> int:
        """How many documents wait to be embedded by a model, counted in each generation up to a limit."""
        generations = [embedder.generation.id for embedder in self._embedders() if embedder.generation.model == model]
        counts = [await self._ledger.threads.read(self._ledger.progress.backlog, one, limit) for one in generations]
        return sum(counts)

    def _embedders(self) -> list[GenerationEmbedder]:
        return [running.embedder for running in self._running.values()]
