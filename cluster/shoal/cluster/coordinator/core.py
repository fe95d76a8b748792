"""The coordinator as a plain object: it holds the lease, wires its parts together and carries out what gateways ask.

The parts do the work: supervision, shards, embedders. Ray and gRPC come in from outside.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from shoal.cluster.clock import wall_clock_ms
from shoal.cluster.coordinator.broadcast import RoutingBoard
from shoal.cluster.coordinator.embedding.embedder import EmbeddingPolicy, GenerationEmbedder
from shoal.cluster.coordinator.embedding.encoder_calls import EncoderCalls
from shoal.cluster.coordinator.embedding.precomputed import Kept, PrecomputedVectors
from shoal.cluster.coordinator.embedding.turns import EncoderTurns
from shoal.cluster.coordinator.fleet.fleet import Fleet, Member
from shoal.cluster.coordinator.fleet.pools import RESIZE_EVERY_S, EncoderPools
from shoal.cluster.coordinator.fleet.supervised_process import SupervisedProcess
from shoal.cluster.coordinator.fleet.supervision import Supervisor
from shoal.cluster.coordinator.garbage import GarbageCollector
from shoal.cluster.coordinator.ledger_access import LedgerAccess
from shoal.cluster.coordinator.ledger_threads import LedgerThreads
from shoal.cluster.coordinator.settings import CoordinatorSettings
from shoal.cluster.coordinator.shards.placement_loop import PlacementLoop
from shoal.cluster.coordinator.shards.replicas import ReplicaCalls
from shoal.cluster.coordinator.shards.shard_ledger import ShardLedger
from shoal.cluster.coordinator.shards.shards import ShardKeeper
from shoal.cluster.coordinator.wire import process_message
from shoal.cluster.coordinator.worker_calls import WorkerCalls
from shoal.cluster.decisions.liveness_events import LivenessState
from shoal.cluster.decisions.reconcile import BatchLimits, EmbedRetryPolicy
from shoal.cluster.decisions.sealing import SealPolicy
from shoal.cluster.errors import DimensionMismatch, Overloaded, Unavailable
from shoal.cluster.ledger.connection import migrate, open_engine
from shoal.cluster.ledger.errors import LeaseHeld, LedgerError
from shoal.cluster.ledger.lease import acquire_lease, release_lease, renew_lease
from shoal.cluster.ledger.progress import LedgerProgress
from shoal.cluster.ledger.records import CollectionSettings, GenerationRecord, WriteBatch, WriteOutcome
from shoal.cluster.ledger.writer import LedgerWriter
from shoal.cluster.rpc.channels import Channels
from shoal.cluster.rpc.gathering import Gathering
from shoal.internal.v1 import coordinator_pb2
from shoal.v1 import status_pb2
from shoal.workers.indexing import Storage

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

BATCHES_PER_COMMIT = 256
DOCUMENTS_WAITING = 20_000


class Coordinator:
    """Belongs to the event loop that `start` is awaited on. `deposed` is called when another has taken the lease."""

    def __init__(self, settings: CoordinatorSettings, fleet: Fleet, deposed: Callable[[], None]) -> None:
        self._settings = settings
        self._fleet = fleet
        self._engine = open_engine(settings.ledger_url, read_only=False)
        migrate(self._engine)
        self._storage = Storage(settings.storage_root)
        self._threads = LedgerThreads(deposed)
        self._channels = Channels()
        self._calls = WorkerCalls(self._channels, settings.secret)
        self._writes: Gathering[WriteBatch, WriteOutcome | LedgerError] = Gathering(self._commit, BATCHES_PER_COMMIT)
        self._waiting_documents = 0
        self._embedders: dict[int, tuple[GenerationEmbedder, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._changing = asyncio.Lock()
        """Held while the ledger's collections and those in care here may differ."""
        self.board = RoutingBoard()
        self.epoch = 0

    async def start(self, address: str) -> None:
        """Takes the lease, then brings up every worker, shard and embedder that the ledger knows."""
        serve = self._settings.serve
        self._address = address
        self.epoch = await self._take_lease(address)
        self._writer = LedgerWriter(self._engine, self.epoch)
        self._progress = LedgerProgress(self._engine, self.epoch)
        self._supervisor = Supervisor(self._fleet, self._calls, self._process_changed)
        ledger = self._ledger = LedgerAccess(self._threads, self._writer, self._progress, self.epoch)
        records = ShardLedger(ledger, self)
        replicas = ReplicaCalls(self._supervisor, self._calls, self.epoch)
        policy = SealPolicy(serve.index.seal_delta_rows, serve.index.seal_segments, serve.index.seal_dead_share)
        self._keeper = ShardKeeper(records, replicas, self._fleet, policy, self)
        self._garbage = GarbageCollector(
            self._storage, ledger, self._keeper, self._embedders.__contains__, serve.index.file_grace_s
        )
        self._pools = EncoderPools(serve.encoder, self._supervisor, self._fleet, self)
        turns = EncoderTurns(self._supervisor.changes)
        self._encoders = EncoderCalls(self._supervisor, self._calls, turns, self._pools.count_refusal)
        for number in range(serve.index.workers):
            self._supervisor.add(Member(f"index-{number}", "index"))
        # The lease has told callers where to ask, so some may be here already.
        async with self._changing:
            for generation in await self._threads.read(self._progress.generations):
                await self._open(generation)
        self._spawn(PlacementLoop(self._keeper, records, self._supervisor).run())
        self._spawn(self._keep_lease())
        self._spawn(self._keep_pools())
        self._spawn(self._garbage.find_leftovers())
        self._publish()
        log.info("coordinator of epoch %d at %s", self.epoch, address)

    async def stop(self) -> None:
        """Ends the coordinator's own work; workers live on. The lease is given back."""
        tasks = [*self._tasks, *(task for _, task in self._embedders.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.epoch:
            await self._keeper.stop()
            await self._garbage.close()
            await self._pools.close()
            await self._supervisor.close()
            await self._threads.write(release_lease, self._engine, self.epoch)
        await self._channels.close_all()
        self._threads.close()
        self._engine.dispose()

    async def write(self, batch: WriteBatch, timeout_s: float) -> WriteOutcome:
        """Commits a batch together with all others that arrive meanwhile; raises LedgerError, Overloaded."""
        self._need_lease()
        size = len(batch.upserts)
        if size and self._waiting_documents + size > DOCUMENTS_WAITING:
            raise Overloaded(
                f"{self._waiting_documents} documents wait to be committed, the limit is {DOCUMENTS_WAITING}",
                limit=DOCUMENTS_WAITING,
                retry_after_ms=500,
            )
        # Kept before the commit, or an encoder might be asked for a vector that is already here.
        kept = self._keep_precomputed(batch)
        self._waiting_documents += size
        committed = False
        try:
            outcome = await self._writes.submit(batch, asyncio.get_running_loop().time() + timeout_s)
            committed = isinstance(outcome, WriteOutcome)
        finally:
            self._waiting_documents -= size
            for vectors, added in kept:
                (vectors.commit if committed else vectors.withdraw)(added)
        if isinstance(outcome, LedgerError):
            raise outcome
        for embedder, _ in self._embedders.values():
            if embedder.generation.collection_id == outcome.collection_id:
                embedder.wake()
        return outcome

    async def create_collection(self, name: str, settings: CollectionSettings) -> None:
        """Loads the model, makes the collection and waits for its shards; raises LedgerError or InvalidModel."""
        self._need_lease()
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
            generation = await self._to_its_end(self._create(name, settings, fingerprint, dimension))
        async with asyncio.timeout(60):
            await self._supervisor.changes.wait_until(lambda: len(self._keeper.shards_ready(generation)) == settings.shards)

    async def drop_collection(self, name: str) -> int:
        """Drops a collection with its shards and files; returns how many documents it had. Raises CollectionNotFound."""
        self._need_lease()
        return await self._to_its_end(self._drop(name))

    async def retry_failed(self, collection: str, ids: Sequence[str]) -> int:
        """Gives failed documents (all of them without `ids`) new attempts; raises CollectionNotFound."""
        self._need_lease()
        retried = await self._threads.write(self._progress.retry_failed, collection, list(ids) or None)
        for embedder, _ in self._embedders.values():
            embedder.wake()
        return retried

    async def retain(self, model: str) -> None:
        """Makes sure that a model is loaded, and keeps it so for a while; raises InvalidModel, Unavailable."""
        self._need_lease()
        await self._pools.retain(model)

    async def _create(self, name: str, settings: CollectionSettings, fingerprint: str, dimension: int) -> int:
        async with self._changing:
            record = await self._threads.write(
                self._writer.create_collection, name, settings, fingerprint, dimension, wall_clock_ms()
            )
            await self._open(record.generation)
        return record.generation.id

    async def _drop(self, name: str) -> int:
        async with self._changing:
            dropped = await self._threads.write(self._writer.drop_collection, name)
            embedding = {generation: self._embedders.pop(generation, None) for generation in dropped.generation_ids}
        for generation, embedder in embedding.items():
            if embedder is not None:
                embedder[1].cancel()
                await asyncio.gather(embedder[1], return_exceptions=True)
            await self._keeper.close(generation)
            self._garbage.generation_dropped(generation)
        self._publish()
        return dropped.documents

    async def _to_its_end(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Goes on with work when the caller leaves: a commit without what follows from it would leave a collection half."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    def _keep_precomputed(self, batch: WriteBatch) -> list[tuple[PrecomputedVectors, list[Kept]]]:
        """Gives the vectors of a batch to the embedders whose model made them; raises Overloaded when they have too many."""
        made_by = {one.precomputed.fingerprint for one in batch.upserts if one.precomputed is not None}
        if not made_by:
            return []
        takers = [
            embedder.precomputed
            for embedder, _ in self._embedders.values()
            if embedder.generation.collection == batch.collection and {embedder.generation.fingerprint} == made_by
        ]
        if any(vectors.full for vectors in takers):
            raise Overloaded("too many vectors wait to be applied", retry_after_ms=100)
        return [(vectors, vectors.put(batch.upserts)) for vectors in takers]

    def _need_lease(self) -> None:
        if not self.epoch:
            raise Unavailable("the coordinator is starting", retry_after_ms=500)

    async def _take_lease(self, address: str) -> int:
        ttl_ms = int(self._settings.serve.lease_s * 1000)
        while True:
            try:
                return await self._threads.write(
                    acquire_lease, self._engine, self._settings.holder, address, ttl_ms, wall_clock_ms()
                )
            except LeaseHeld as held:
                log.warning("%s; waiting", held)
                await asyncio.sleep(min(held.expires_in_ms / 1000 + 0.05, 1.0))

    async def _keep_lease(self) -> None:
        ttl_s = self._settings.serve.lease_s
        while True:
            await asyncio.sleep(ttl_s / 3)
            try:
                await self._threads.write(renew_lease, self._engine, self.epoch, int(ttl_s * 1000), wall_clock_ms())
            except LedgerError as error:
                # Deposed has been told already; anything else may pass, and writes are fenced in any case.
                log.warning("the lease could not be renewed: %s", error)

    async def _commit(self, batches: Sequence[WriteBatch], _deadline: float) -> Sequence[WriteOutcome | LedgerError]:
        return await self._threads.write(self._writer.write, batches, wall_clock_ms())

    async def _open(self, generation: GenerationRecord) -> None:
        serve = self._settings.serve
        await self._keeper.open(generation)
        policy = EmbeddingPolicy(
            BatchLimits(serve.encoder.batch_documents, serve.encoder.batch_bytes),
            EmbedRetryPolicy(serve.retry.attempts, serve.retry.first_pause_s, serve.retry.longest_pause_s),
        )
        embedder = GenerationEmbedder(generation, self._keeper, self._ledger, self._encoders, policy)
        task = asyncio.create_task(embedder.run(), name=f"embed {generation.id}")
        self._embedders[generation.id] = (embedder, task)

    async def _keep_pools(self) -> None:
        await self._pools.adopt()
        while True:
            try:
                await self._pools.resize()
            except Exception:
                # The ledger may be away for a while; the pools stay as they are.
                log.exception("encoder pools could not be resized")
            await self._channels.keep(self._supervisor.addresses | {self._address})
            self._publish()
            await asyncio.sleep(RESIZE_EVERY_S)

    def models(self) -> list[str]:
        """The models of live generations."""
        return [embedder.generation.model for embedder, _ in self._embedders.values()]

    async def backlog(self, model: str, limit: int) -> int:
        """How many documents wait to be embedded by a model, counted up to a limit."""
        generations = [one.generation for one, _ in self._embedders.values() if one.generation.model == model]
        return sum([await self._threads.read(self._progress.backlog, one.id, limit) for one in generations])

    def _process_changed(self, process: SupervisedProcess) -> None:
        log.info("%s is %s at %s %s", process.member.name, process.state, process.address or "no address", process.detail)
        self._keeper.wake()
        for embedder, _ in self._embedders.values():
            embedder.wake()
        self._publish()

    def shards_changed(self) -> None:
        """Publishes where shards are now."""
        self._publish()

    def files_replaced(self, generation: GenerationRecord) -> None:
        """Clears away the generation's files that the ledger no longer names."""
        self._garbage.files_replaced(generation.id)

    def documents_damaged(self, generation: int) -> None:
        """Embeds the generation's damaged documents again."""
        found = self._embedders.get(generation)
        if found is not None:
            found[0].wake()

    def _publish(self) -> None:
        message = coordinator_pb2.WatchRoutingResponse(epoch=self.epoch)
        for shard in self._keeper.shards:
            for replica in self._keeper.serving(shard):
                message.shards.add(key=shard.id.key(), address=replica.shown_by[0], stats=replica.stats)
        message.processes.add(
            kind=status_pb2.PROCESS_KIND_COORDINATOR,
            name="coordinator",
            address=self._address,
            state=status_pb2.PROCESS_STATE_READY,
            pid=os.getpid(),
        )
        for one in self._supervisor.processes:
            if one.member.kind == "encoder" and one.state is LivenessState.READY:
                message.encoders.add(
                    model=one.member.model, fingerprint=one.fingerprint, address=one.address, draining=one.draining
                )
            message.processes.append(process_message(one))
        message.pools.extend(self._pools.shown())
        self.board.publish(message)
        self._supervisor.changes.announce()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a task of the coordinator ended", exc_info=error)
