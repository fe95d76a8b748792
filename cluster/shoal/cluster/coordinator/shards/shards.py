"""Keeps every shard open at its worker in the state that the ledger names: level-triggered, after any change or crash.

Which worker a shard belongs to is placement's decision, when to seal is reconcile's; here both are carried out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
import grpc.aio

from shoal.cluster.coordinator.fleet.fleet import Fleet, FleetError
from shoal.cluster.coordinator.fleet.supervision import Supervisor
from shoal.cluster.coordinator.ledger_threads import LedgerThreads
from shoal.cluster.coordinator.wire import figures
from shoal.cluster.decisions.placement import place_shards
from shoal.cluster.decisions.reconcile import SealPolicy, should_seal
from shoal.cluster.ledger.errors import LedgerError, ShardNotFound
from shoal.cluster.ledger.progress import LedgerProgress
from shoal.cluster.ledger.records import GenerationRecord
from shoal.cluster.rpc.calls import call
from shoal.cluster.rpc.channels import Channels
from shoal.cluster.rpc.routing import ShardId
from shoal.internal.v1 import index_pb2, index_pb2_grpc
from shoal.workers.indexing import DamagedFile, ManifestInfo, SegmentInfo, manifest_message, segment_of, spec_message
from shoal.workers.runtime.serving import secret_metadata

log = logging.getLogger(__name__)

SYNC_TIMEOUT_S = 300.0
STAGE_TIMEOUT_S = 60.0
RELEASE_TIMEOUT_S = 10.0
MEND_S = 1.0
LOST_WORKER_S = 30.0
SEAL_PAUSE_S = 10.0


class ShardUnreachable(Exception):
    """The shard's worker is down or refuses; the coordinator tries again when it is back."""


@dataclass(slots=True, eq=False)
class ServedShard:
    """One shard, where it should be and what its worker shows."""

    generation: GenerationRecord
    number: int
    worker: str
    next_ordinal: int
    shown_by: tuple[str, int] = ("", 0)
    """Address and process that show it; another process at the same worker has nothing open."""
    state: index_pb2.ShardStats = field(default_factory=index_pb2.ShardStats)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    staged: str = ""
    """File with the rows of a round that the ledger is about to name."""
    merged: str = ""
    """Sealed file that the ledger is about to name."""
    sealing: asyncio.Task[None] | None = None
    seal_after: float = 0.0

    @property
    def id(self) -> ShardId:
        """Its key."""
        return ShardId(self.generation.id, self.number)


class ShardKeeper:
    """All shards of all generations. Belongs to the coordinator's event loop."""

    def __init__(
        self,
        *,
        threads: LedgerThreads,
        progress: LedgerProgress,
        epoch: int,
        supervisor: Supervisor,
        fleet: Fleet,
        channels: Channels,
        secret: str,
        policy: SealPolicy,
        tidy: Callable[[GenerationRecord], None],
        changed: Callable[[], None],
        damaged: Callable[[int], None],
    ) -> None:
        """`tidy` is told of a generation with files to clear away, `damaged` of one with documents to embed again."""
        self._threads = threads
        self._progress = progress
        self._epoch = epoch
        self._supervisor = supervisor
        self._fleet = fleet
        self._channels = channels
        self._metadata = secret_metadata(secret)
        self._policy = policy
        self._tidy = tidy
        self._changed = changed
        self._damaged = damaged
        self._shards: dict[ShardId, ServedShard] = {}
        self._news = asyncio.Event()

    @property
    def shards(self) -> list[ServedShard]:
        """All shards."""
        return list(self._shards.values())

    def of(self, generation: int) -> list[ServedShard]:
        """The shards of one generation."""
        return [shard for shard in self._shards.values() if shard.generation.id == generation]

    def ready(self, shard: ServedShard) -> bool:
        """True while the process that shows the shard is up."""
        watched = self._supervisor.get(shard.worker)
        return watched is not None and watched.ready and shard.shown_by == (watched.address, watched.pid)

    def shards_ready(self, generation: int) -> frozenset[int]:
        """Numbers of the shards of a generation that can take rows."""
        return frozenset(shard.number for shard in self.of(generation) if self.ready(shard))

    async def open(self, generation: GenerationRecord) -> None:
        """Takes a generation's shards into care; they come up as their workers do."""
        placed = await self._threads.read(self._progress.placements)
        ordinals = await self._threads.read(self._progress.next_ordinals, generation.id)
        for number, ordinal in sorted(ordinals.items()):
            shard = ServedShard(generation, number, placed.get((generation.id, number), ""), ordinal)
            self._shards[shard.id] = shard
        self._news.set()

    async def close(self, generation: int) -> None:
        """Lets go of a dropped generation's shards, at their workers too."""
        for shard in self.of(generation):
            del self._shards[shard.id]
            if shard.sealing is not None:
                shard.sealing.cancel()
            try:
                request = index_pb2.ReleaseRequest(epoch=self._epoch, key=shard.id.key())
                # Not beside a sync that is on its way: that would open the shard again.
                async with shard.lock:
                    await call(self._stub(shard).Release, request, self._metadata, RELEASE_TIMEOUT_S)
            except (grpc.aio.AioRpcError, ShardUnreachable) as error:
                # A worker that is down has nothing open any more.
                log.info("shard %s could not be released: %s", shard.id, error)

    async def stop(self) -> None:
        """Ends sealing that is under way; the shards stay open at their workers."""
        tasks = [shard.sealing for shard in self.shards if shard.sealing is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def doubt(self, shard: ServedShard) -> None:
        """The shard's worker may be behind the ledger: it is synced before it counts as up again."""
        shard.shown_by = ("", 0)
        self._news.set()

    def wake(self) -> None:
        """A worker has come, gone or moved: look at the shards at once."""
        self._news.set()

    async def mend(self) -> None:
        """Runs for ever: places shards, and syncs those that their worker does not show."""
        while True:
            self._news.clear()
            try:
                await self._place()
                behind = [shard for shard in self.shards if self._open_here(shard) and not self.ready(shard)]
                await asyncio.gather(*(self._mend_one(shard) for shard in behind))
            except Exception:
                # The ledger may be away for a while (PostgreSQL restarts); this loop must outlive it.
                log.exception("shards could not be mended")
            try:
                async with asyncio.timeout(MEND_S):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def stage(self, shard: ServedShard, rows: index_pb2.Rows) -> SegmentInfo:
        """Has the shard's worker write rows as the next segment; nothing is visible before the ledger names it.

        The caller holds `shard.lock`. Raises ShardUnreachable.
        """
        request = index_pb2.StageRequest(
            epoch=self._epoch,
            key=shard.id.key(),
            spec=spec_message(shard.generation.spec),
            ordinal=shard.next_ordinal,
            rows=rows,
        )
        try:
            reply = await call(self._stub(shard).Stage, request, self._metadata, STAGE_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self._suspect(shard, error)
            raise ShardUnreachable(f"shard {shard.id} at {shard.worker}: {error.details() or error.code().name}") from error
        segment = segment_of(reply.segment)
        shard.staged = segment.path
        return segment

    async def show(self, shard: ServedShard) -> None:
        """Brings the worker to the ledger's manifest; the caller holds `shard.lock`. Raises ShardUnreachable."""
        while True:
            watched = self._supervisor.get(shard.worker)
            if watched is None or not watched.ready:
                raise ShardUnreachable(f"shard {shard.id}: {shard.worker or 'no worker'} is not up")
            here = (watched.address, watched.pid)
            manifest = await self._manifest(shard)
            request = index_pb2.SyncRequest(epoch=self._epoch, manifest=manifest_message(manifest))
            try:
                reply = await call(self._stub(shard).Sync, request, self._metadata, SYNC_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                self._suspect(shard, error)
                raise ShardUnreachable(
                    f"shard {shard.id} at {shard.worker}: {error.details() or error.code().name}"
                ) from error
            if not reply.damaged_ordinals and not reply.sealed_damaged:
                break
            await self._report_damage(shard, manifest, list(reply.damaged_ordinals), reply.sealed_damaged)
        shard.shown_by, shard.state = here, reply.stats
        self._changed()
        self._consider_sealing(shard)

    def _stub(self, shard: ServedShard) -> index_pb2_grpc.IndexServiceAsyncStub:
        watched = self._supervisor.get(shard.worker)
        if watched is None or not watched.ready:
            raise ShardUnreachable(f"shard {shard.id}: {shard.worker or 'no worker'} is not up")
        return index_pb2_grpc.IndexServiceStub(self._channels.get(watched.address))

    def _suspect(self, shard: ServedShard, error: grpc.aio.AioRpcError) -> None:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            self._supervisor.suspect(shard.worker)

    def _open_here(self, shard: ServedShard) -> bool:
        watched = self._supervisor.get(shard.worker)
        return watched is not None and watched.ready

    async def _mend_one(self, shard: ServedShard) -> None:
        try:
            async with shard.lock:
                await self.show(shard)
        except ShardUnreachable as error:
            log.info("%s", error)

    async def _place(self) -> None:
        """Gives shards without a worker, or whose worker has been away for long, to the others."""
        loop_time = asyncio.get_running_loop().time()
        workers = [one for one in self._supervisor.members if one.member.kind == "index"]
        usable = [one.member.name for one in workers if one.ready or loop_time - one.lost_at < LOST_WORKER_S]
        if not usable:
            return
        # All generations together: many small collections must not all land on the first worker.
        current = {shard.id: shard.worker for shard in self.shards}
        placed = place_shards(sorted(current), usable, current)
        moved: dict[int, dict[int, str]] = {}
        for shard_id, worker in placed.items():
            if current[shard_id] != worker:
                moved.setdefault(shard_id.generation, {})[shard_id.number] = worker
        for generation, workers_of in moved.items():
            await self._threads.write(self._progress.place, generation, workers_of)
            for shard in self.of(generation):
                shard.worker = workers_of.get(shard.number, shard.worker)

    async def _manifest(self, shard: ServedShard) -> ManifestInfo:
        try:
            return await self._threads.read(self._progress.manifest, shard.generation.id, shard.number)
        except ShardNotFound as error:
            # Its collection has been dropped meanwhile; the coordinator is about to close it here too.
            raise ShardUnreachable(str(error)) from error

    async def _report_damage(self, shard: ServedShard, manifest: ManifestInfo, ordinals: list[int], sealed: bool) -> None:
        again = await self._threads.write(
            self._progress.report_damage,
            shard.generation.id,
            shard.number,
            ordinals,
            sealed,
            sealed_through=manifest.sealed.through if sealed and manifest.sealed else None,
        )
        what = [f"segment {ordinal}" for ordinal in ordinals] + (["sealed index"] if sealed else [])
        log.warning("shard %s: %s damaged or missing; %d documents are embedded again", shard.id, ", ".join(what), again)
        self._damaged(shard.generation.id)

    def _consider_sealing(self, shard: ServedShard) -> None:
        if shard.sealing is not None and not shard.sealing.done():
            return
        if asyncio.get_running_loop().time() < shard.seal_after or not should_seal(figures(shard.state), self._policy):
            return
        shard.sealing = asyncio.create_task(self._seal(shard), name=f"seal {shard.id}")

    async def _seal(self, shard: ServedShard) -> None:
        """Merges what the shard shows now into a sealed index; writes go on meanwhile and stay as segments above it."""
        shard.seal_after = asyncio.get_running_loop().time() + SEAL_PAUSE_S
        try:
            await self._merge(shard)
        except (ShardUnreachable, FleetError, LedgerError) as error:
            # Whatever the ledger names now is sound, and sealing is tried again.
            log.warning("shard %s could not be sealed: %s", shard.id, error)

    async def _merge(self, shard: ServedShard) -> None:
        manifest = await self._manifest(shard)
        # It goes on, and writes its file, though the shard is let go meanwhile.
        sealing = asyncio.get_running_loop().run_in_executor(None, self._fleet.seal, manifest)
        sealing.add_done_callback(lambda _: self._clear_away_dropped(shard))
        try:
            sealed = await asyncio.shield(sealing)
        except DamagedFile as error:
            async with shard.lock:
                await self._damaged_while_sealing(shard, manifest, error)
            return
        shard.merged = sealed.path
        try:
            async with shard.lock:
                current = await self._manifest(shard)
                kept = {segment.ordinal for segment in current.segments}
                if current.sealed != manifest.sealed or not kept.issuperset(one.ordinal for one in manifest.segments):
                    # Damage was reported meanwhile: what was merged is not what the ledger names.
                    return
                await self._threads.write(self._progress.commit_sealed, shard.generation.id, shard.number, sealed)
                self._tidy(shard.generation)
                await self.show(shard)
        finally:
            shard.merged = ""

    def _clear_away_dropped(self, shard: ServedShard) -> None:
        if shard.id not in self._shards:
            self._tidy(shard.generation)

    async def _damaged_while_sealing(self, shard: ServedShard, manifest: ManifestInfo, error: DamagedFile) -> None:
        """A worker may still serve the file from its memory, so it would not notice by itself."""
        log.warning("shard %s: %s", shard.id, error)
        ordinals = [segment.ordinal for segment in manifest.segments if segment.path == error.path]
        sealed = manifest.sealed is not None and manifest.sealed.path == error.path
        await self._report_damage(shard, manifest, ordinals, sealed)
        await self.show(shard)
