"""The coordinator as a plain object: acquires the lease and wires its parts together. Ray and gRPC come from outside."""

from __future__ import annotations

import logging
from collections.abc import Callable

from shoal.cluster.coordinator.access.keys import Keys
from shoal.cluster.coordinator.collections import Collections
from shoal.cluster.coordinator.concurrency.background_tasks import BackgroundTasks
from shoal.cluster.coordinator.concurrency.signals import Signal
from shoal.cluster.coordinator.embedding.embedder import EmbeddingPolicy
from shoal.cluster.coordinator.embedding.embedders import Embedders
from shoal.cluster.coordinator.embedding.encoder_calls import EncoderCalls
from shoal.cluster.coordinator.embedding.turns import EncoderTurns
from shoal.cluster.coordinator.fleet.fleet import Fleet, Member
from shoal.cluster.coordinator.fleet.pool_loop import PoolLoop
from shoal.cluster.coordinator.fleet.pools import EncoderPools
from shoal.cluster.coordinator.fleet.supervised_process import SupervisedProcess
from shoal.cluster.coordinator.fleet.supervision import Supervisor
from shoal.cluster.coordinator.generations import Generations
from shoal.cluster.coordinator.group_commit import GroupCommit
from shoal.cluster.coordinator.lease_keeper import LeaseKeeper
from shoal.cluster.coordinator.ledger_access import LedgerAccess
from shoal.cluster.coordinator.ledger_threads import LedgerThreads
from shoal.cluster.coordinator.problem_watch import ProblemWatch
from shoal.cluster.coordinator.routing_board import RoutingBoard, RoutingPublisher, coordinator_process
from shoal.cluster.coordinator.settings import CoordinatorSettings
from shoal.cluster.coordinator.shards.garbage import GarbageCollector
from shoal.cluster.coordinator.shards.placement_loop import PlacementLoop
from shoal.cluster.coordinator.shards.replicas import ReplicaCalls
from shoal.cluster.coordinator.shards.served_shard import ShardSignals
from shoal.cluster.coordinator.shards.shard_ledger import ShardLedger
from shoal.cluster.coordinator.shards.shards import ShardKeeper
from shoal.cluster.coordinator.worker_calls import WorkerCalls
from shoal.cluster.coordinator.write_set_cleanup import clean_write_sets
from shoal.cluster.decisions.reconcile import BatchLimits, EmbedRetryPolicy
from shoal.cluster.decisions.sealing import SealPolicy
from shoal.cluster.errors import Unavailable
from shoal.cluster.ledger.connection import open_engine
from shoal.cluster.ledger.progress import LedgerProgress
from shoal.cluster.ledger.writer import LedgerWriter
from shoal.cluster.rpc.channels import Channels
from shoal.cluster.settings import ServeSettings
from shoal.workers.indexing import Storage

log = logging.getLogger(__name__)


class Coordinator:
    """Belongs to the event loop that awaits `start`. `deposed` is called once another coordinator has acquired the lease."""

    def __init__(self, settings: CoordinatorSettings, fleet: Fleet, deposed: Callable[[], None]) -> None:
        self._settings = settings
        self._fleet = fleet
        # Created by `shoal serve` alone: a restarted coordinator must not replace a ledger that is away by an empty one.
        self._engine = open_engine(settings.ledger_url, read_only=False, create=False)
        self._threads = LedgerThreads(deposed)
        self._channels = Channels(settings.credentials)
        self._parts: CoordinatorParts | None = None
        self.board = RoutingBoard()

    @property
    def parts(self) -> CoordinatorParts:
        """What carries out the calls of gateways. Raises Unavailable until the lease is held."""
        if self._parts is None:
            raise Unavailable("the coordinator is starting", retry_after_ms=500)
        return self._parts

    async def start(self, address: str) -> None:
        """Waits for the lease, then brings up every worker, shard and embedder that the ledger knows."""
        settings = self._settings
        lease = await LeaseKeeper.acquire(self._engine, self._threads, settings.holder, address, settings.serve.lease_s)
        writer, progress = LedgerWriter(self._engine, lease.epoch), LedgerProgress(self._engine, lease.epoch)
        ledger = LedgerAccess(self._threads, writer, progress, lease.epoch)
        # Gateways have known the address since the lease was acquired, so some may be calling already.
        self._parts = CoordinatorParts(settings, self._fleet, lease, ledger, self._channels, self.board, address)
        await self._parts.start()
        log.info("coordinator of epoch %d at %s", lease.epoch, address)

    async def stop(self) -> None:
        """Ends the coordinator's own work and gives the lease back; workers keep running."""
        if self._parts is not None:
            await self._parts.stop()
        await self._channels.close_all()
        self._threads.close()
        self._engine.dispose()


class CoordinatorParts:
    """Everything that works while the lease is held. Belongs to the coordinator's event loop."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        fleet: Fleet,
        lease: LeaseKeeper,
        ledger: LedgerAccess,
        channels: Channels,
        board: RoutingBoard,
        address: str,
    ) -> None:
        serve = settings.serve
        process_changed: Signal[[SupervisedProcess]] = Signal()
        encoders_overloaded: Signal[[str]] = Signal()
        signals = ShardSignals()
        calls = WorkerCalls(channels)
        self.lease = lease
        self._ledger = ledger
        self._supervisor = Supervisor(fleet, calls, process_changed)
        shard_ledger = ShardLedger(ledger, signals)
        replicas = ReplicaCalls(self._supervisor, calls, lease.epoch)
        self._keeper = ShardKeeper(shard_ledger, replicas, fleet, _seal_policy(serve), signals)
        turns = EncoderTurns(self._supervisor.changes)
        encoders = EncoderCalls(self._supervisor, calls, turns, encoders_overloaded)
        self._embedders = Embedders(self._keeper, ledger, encoders, _embedding_policy(serve))
        self.pools = EncoderPools(serve.encoder, self._supervisor, fleet, self._embedders)
        self._routing = RoutingPublisher(
            board,
            coordinator_process(address),
            lease.epoch,
            self._supervisor,
            self._keeper,
            self.pools,
            lambda: self.problems.problems,
        )
        storage = Storage(settings.storage_root)
        self._garbage = GarbageCollector(storage, ledger, self._keeper, self._embedders.is_live, serve.index.file_grace_s)
        generations = Generations(self._keeper, self._embedders, self._garbage, self._supervisor.changes)
        self._tasks = BackgroundTasks()
        self.collections = Collections(ledger, self.pools, generations, self._routing, self._tasks)
        self.problems = ProblemWatch(
            ledger, replicas, storage.folder, lease.renew, self._routing.publish, self.collections.open_all
        )
        self.writes = GroupCommit(ledger, self._embedders)
        self.keys = Keys(ledger)
        self._placement = PlacementLoop(self._keeper, shard_ledger, self._supervisor)
        self._pool_loop = PoolLoop(self.pools, self._supervisor, channels, self._routing.publish)
        self._index_workers = serve.index.workers

        process_changed.subscribe(self._process_changed)
        encoders_overloaded.subscribe(self.pools.count_refusal)
        signals.shards_changed.subscribe(self._routing.publish)
        signals.files_replaced.subscribe(self._garbage.files_replaced)
        signals.documents_damaged.subscribe(self._embedders.wake)

    async def start(self) -> None:
        """Starts the index workers, opens what the ledger knows, and starts the loops."""
        for index in range(self._index_workers):
            self._supervisor.add(Member(f"index-{index}", "index"))
        await self.collections.open_all()
        for loop in (
            self._placement.run(),
            self.lease.run(),
            self._pool_loop.run(),
            self._garbage.find_leftovers(),
            clean_write_sets(self._ledger),
            self.problems.run(),
        ):
            self._tasks.spawn(loop)
        self._routing.publish()

    async def stop(self) -> None:
        """Ends everything but the workers, and gives the lease back."""
        await self._tasks.close()
        await self._embedders.close()
        await self._keeper.stop()
        await self._garbage.close()
        await self.pools.close()
        await self._supervisor.close()
        await self.lease.release()

    def _process_changed(self, process: SupervisedProcess) -> None:
        name, state = process.member.name, process.state.value
        log.info("%s is %s at %s %s", name, state, process.address or "no address", process.detail)
        self._keeper.wake()
        self._embedders.wake_all()
        self._routing.publish()


def _seal_policy(serve: ServeSettings) -> SealPolicy:
    return SealPolicy(serve.index.seal_delta_rows, serve.index.seal_segments, serve.index.seal_dead_share)


def _embedding_policy(serve: ServeSettings) -> EmbeddingPolicy:
    return EmbeddingPolicy(
        BatchLimits(serve.encoder.batch_documents, serve.encoder.batch_bytes),
        EmbedRetryPolicy(serve.retry.attempts, serve.retry.first_pause_s, serve.retry.longest_pause_s),
    )
