"""Works off one generation's pending documents: fetches them, has them encoded, hands the rows to the applier.

What to batch, retry, bisect or give up is reconcile's decision; here it is carried out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from shoal.cluster.clock import wall_clock_ms
from shoal.cluster.coordinator.embedding.applier import Applier
from shoal.cluster.coordinator.embedding.encoder_calls import EncoderCalls, FailedCall
from shoal.cluster.coordinator.embedding.precomputed import PrecomputedVectors
from shoal.cluster.coordinator.ledger_access import LedgerAccess
from shoal.cluster.coordinator.shards.shards import ShardKeeper
from shoal.cluster.coordinator.wire import ShardRow
from shoal.cluster.decisions.admission import PRIORITY_EDIT
from shoal.cluster.decisions.reconcile import (
    BatchLimits,
    CountAttempt,
    DocumentBatch,
    EmbedRetryPolicy,
    EncodeFailure,
    RetryBatch,
    after_failure,
    next_attempt,
    plan,
)
from shoal.cluster.ledger.records import FailedAttempt, GenerationRecord, PendingDocument
from shoal.internal.v1 import encoder_pb2

log = logging.getLogger(__name__)

POLL_S = 0.5
LANES_PER_ENCODER = 2
"""One batch is computed while the next is on its way."""
APPLY_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class EmbeddingPolicy:
    """How documents are batched and retried."""

    limits: BatchLimits
    retry: EmbedRetryPolicy


class GenerationEmbedder:
    """Reconciles one generation. Belongs to the coordinator's event loop."""

    def __init__(
        self,
        generation: GenerationRecord,
        keeper: ShardKeeper,
        ledger: LedgerAccess,
        encoders: EncoderCalls,
        policy: EmbeddingPolicy,
    ) -> None:
        self.generation = generation
        self._keeper = keeper
        self._ledger = ledger
        self._encoders = encoders
        self._limits = policy.limits
        self._retry = policy.retry
        self._applier = Applier(generation.id, keeper, ledger, self._settle)
        self.precomputed = PrecomputedVectors(generation.shards)
        self._in_flight: set[str] = set()
        self._urgent: set[str] = set()
        """Of those, the ones that were started though every lane was full."""
        self._encoded_before: set[str] = set()
        """Those in flight that take no encoder's time."""
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """There may be something to do: documents were written, or a worker has come back."""
        self._wake.set()

    async def run(self) -> None:
        """Runs until cancelled; then everything it started is cancelled with it, and stays pending in the ledger."""
        applying = asyncio.create_task(self._applier.run(), name=f"apply {self.generation.id}")
        try:
            while True:
                self._wake.clear()
                try:
                    started = await self._start_precomputed()
                    started = await self._start_what_is_pending() or started
                except Exception:
                    # The ledger may be away for a while (PostgreSQL restarts); this loop must outlive it.
                    log.exception("generation %d: pending documents could not be read", self.generation.id)
                    started = False
                if applying.done():
                    log.error("generation %d: the applier ended", self.generation.id, exc_info=applying.exception())
                    applying = asyncio.create_task(self._applier.run(), name=f"apply {self.generation.id}")
                if not started:
                    try:
                        # Not wait_for: on Python 3.11 it loses a cancellation that comes with the event.
                        async with asyncio.timeout(POLL_S):
                            await self._wake.wait()
                    except TimeoutError:
                        pass
        finally:
            for task in (applying, *self._tasks):
                task.cancel()
            await asyncio.gather(applying, *self._tasks, return_exceptions=True)

    async def _start_what_is_pending(self) -> bool:
        """Starts what there is room for; False when there was nothing to start."""
        lanes = LANES_PER_ENCODER * len(self._encoders.replicas(self.generation))
        working = len(self._in_flight) - len(self._encoded_before)
        room = (lanes * self._limits.documents if self.generation.model else APPLY_AT_ONCE) - working
        # Removals and users' vectors go on while the model is away, whatever waits for it.
        limit = room if lanes or not self.generation.model else self._limits.documents
        # Lanes full of what can wait must not keep live edits from the encoder, which puts them first.
        urgent = limit <= 0
        if urgent:
            limit = self._limits.documents - len(self._urgent)
        ready = self._keeper.shards_ready(self.generation.id)
        if not ready or limit <= 0:
            return False
        # With every shard up, as nearly always, the ledger answers from its index alone.
        shards = None if len(ready) == self.generation.shards else ready
        # Those whose vector came with the write are not the encoders' business.
        taken = frozenset(self._in_flight.union(self.precomputed.ids(ready)))
        pending = await self._ledger.threads.read(
            self._ledger.progress.pending,
            self.generation.id,
            limit,
            wall_clock_ms(),
            taken,
            shards,
            PRIORITY_EDIT if urgent else None,
        )
        # Some may have come with vectors since `taken` was made, and the ledger was read after that.
        brought = frozenset(self.precomputed.ids())
        pending = [document for document in pending if document.removal or document.id not in brought]
        work = plan(pending, self._limits, ready)
        self._in_flight.update(document.id for document in work.apply)
        self._applier.put([ShardRow(document, b"" if document.removal else document.vector) for document in work.apply])
        if lanes:
            for batch in work.encode:
                self._launch(batch)
        if urgent:
            self._urgent.update(document.id for document in pending if document.id in self._in_flight)
        return bool(work.apply or (lanes and work.encode))

    async def _start_precomputed(self) -> bool:
        """Applies vectors that came with writes where their documents still wait for them; False when there were none."""
        ready = self._keeper.shards_ready(self.generation.id)
        room = APPLY_AT_ONCE - len(self._encoded_before)
        if not ready or room <= 0:
            return False
        due = self.precomputed.due(room, self._in_flight, ready)
        if not due:
            return False
        by_id = {kept.id: kept for kept in due}
        pending = await self._ledger.threads.read(self._ledger.progress.pending_among, self.generation.id, list(by_id))
        rows: list[ShardRow] = []
        for document, content_hash in pending:
            precomputed = by_id[document.id].precomputed
            # The text may have been written anew since; what is pending then is not what this vector is of.
            if content_hash == precomputed.content_hash and document.shard in ready:
                rows.append(ShardRow(document, precomputed.vector, precomputed.truncated))
        ids = [row.document.id for row in rows]
        self._in_flight.update(ids)
        self._encoded_before.update(ids)
        self._applier.put(rows)
        self.precomputed.withdraw(due)
        return True

    def _settle(self, ids: Sequence[str]) -> None:
        self._in_flight.difference_update(ids)
        self._urgent.difference_update(ids)
        self._encoded_before.difference_update(ids)
        self._wake.set()

    def _launch(self, batch: DocumentBatch[PendingDocument], pause_s: float = 0.0) -> None:
        self._in_flight.update(document.id for document in batch.documents)
        task = asyncio.create_task(self._encode(batch, pause_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _encode(self, batch: DocumentBatch[PendingDocument], pause_s: float) -> None:
        ids = [document.id for document in batch.documents]
        try:
            await asyncio.sleep(pause_s)
            answer = await self._encoders.encode(self.generation, batch)
            if isinstance(answer, FailedCall):
                await self._fail(batch, answer)
            else:
                await self._take(batch, answer)
        except Exception:
            # Whatever it was, the documents are pending in the ledger: let them be fetched again.
            log.exception("generation %d: a batch of %d documents", self.generation.id, len(ids))
            await asyncio.sleep(POLL_S)
            self._settle(ids)

    async def _take(self, batch: DocumentBatch[PendingDocument], reply: encoder_pb2.EncodeResponse) -> None:
        width = 4 * reply.dimension
        rows: list[ShardRow] = []
        spoilt: list[tuple[PendingDocument, str]] = []
        errors = {one.position: one.error for one in reply.errors}
        truncated = set(reply.truncated)
        for number, (document, _) in enumerate(zip(batch.documents, reply.tokens, strict=True)):
            if number in errors:
                spoilt.append((document, errors[number]))
            else:
                rows.append(ShardRow(document, reply.vectors[number * width : (number + 1) * width], number in truncated))
        self._applier.put(rows)
        await self._count(spoilt)

    async def _fail(self, batch: DocumentBatch[PendingDocument], failed: FailedCall) -> None:
        log.info(
            "generation %d: a batch of %d documents: %s: %s",
            self.generation.id,
            len(batch.documents),
            failed.failure.value,
            failed.reason,
        )
        counted: list[tuple[PendingDocument, str]] = []
        for effect in after_failure(batch, failed.failure):
            match effect:
                case RetryBatch(again, pause_s):
                    self._launch(again, pause_s)
                case CountAttempt(document):
                    lost = "the encoder was lost while it worked on this document"
                    counted.append((document, lost if failed.failure is EncodeFailure.LOST else failed.reason))
        await self._count(counted)

    async def _count(self, spoilt: Sequence[tuple[PendingDocument, str]]) -> None:
        """Records a failed attempt of each document, and lets go of it."""
        if not spoilt:
            return
        failures = []
        for document, reason in spoilt:
            attempts = document.attempts + 1
            pause_s = next_attempt(attempts, self._retry)
            failures.append(
                FailedAttempt(
                    generation_id=self.generation.id,
                    id=document.id,
                    version=document.version,
                    error=reason,
                    attempts=attempts,
                    next_attempt_at_ms=0 if pause_s is None else wall_clock_ms() + int(pause_s * 1000),
                    failed=pause_s is None,
                )
            )
        try:
            await self._ledger.threads.write(self._ledger.progress.record_failures, failures, wall_clock_ms())
        finally:
            self._settle([document.id for document, _ in spoilt])
