"""Embeds one generation's pending documents: fetches them, has them encoded, and hands the rows to the applier.

What to batch, retry, bisect or give up is decided in `decisions/reconcile.py` and carried out here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shoal.cluster.clock import wall_clock_ms
from shoal.cluster.coordinator.embedding.applier import Applier
from shoal.cluster.coordinator.embedding.encoder_calls import EncoderCalls, FailedCall
from shoal.cluster.coordinator.embedding.precomputed import PrecomputedVectors
from shoal.cluster.coordinator.ledger_access import LedgerAccess
from shoal.cluster.coordinator.shards.shards import ShardKeeper
from shoal.cluster.coordinator.wire import ShardRow
from shoal.cluster.decisions.admission import PRIORITY_EDIT
from shoal.cluster.decisions.embedding_shares import EmbeddingShares, room_for
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
CALLS_PER_ENCODER = 2
"""One batch is computed while the next is on its way."""
MAX_APPLYING = 4096
"""Documents that need no encoder and are on their way to their shards."""


@dataclass(frozen=True, slots=True)
class EmbeddingPolicy:
    """How documents are batched and retried."""

    limits: BatchLimits
    retry: EmbedRetryPolicy


class _FailedText(NamedTuple):
    """A document that got no vector in an attempt that counts."""

    document: PendingDocument
    reason: str
    final: bool
    """Another attempt would end in the same way."""


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
        self._applier = Applier(generation.id, keeper, ledger, self._release)
        self.precomputed = PrecomputedVectors(generation.shards)
        self._shares = EmbeddingShares()
        self._in_flight: dict[str, int] = {}
        """Priority of each document that was started."""
        self._precomputed_in_flight: set[str] = set()
        """Those whose vector came with the write: they take no encoder's time."""
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Checks for work at once: documents were written, or a worker has come back."""
        self._wake.set()

    async def run(self) -> None:
        """Runs until cancelled. What it started is cancelled too; those documents are still pending in the ledger."""
        applying = asyncio.create_task(self._applier.run(), name=f"apply {self.generation.id}")
        try:
            while True:
                self._wake.clear()
                try:
                    started = await self._start_precomputed()
                    started = await self._start_pending() or started
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

    async def _start_pending(self) -> bool:
        """Starts what there is room for; False when there was nothing to start."""
        calls = CALLS_PER_ENCODER * len(self._encoders.replicas(self.generation))
        window = calls * self._limits.documents if self.generation.model else MAX_APPLYING
        # Removals and users' own vectors are applied even while no replica is up.
        if not calls and self.generation.model:
            limit, urgent = self._limits.documents, False
        else:
            limit, urgent = room_for(self._working(), window, self._limits.documents)
        ready = self._keeper.shards_ready(self.generation.id)
        if not ready or limit <= 0:
            return False
        # Without a list of shards the ledger answers from an index alone. Nearly always all shards are up.
        shards = None if len(ready) == self.generation.shards else ready
        # Documents whose vector came with the write need no encoder.
        taken = frozenset(self._in_flight).union(self.precomputed.ids(ready))
        pending = await self._ledger.threads.read(
            self._ledger.progress.pending,
            self.generation.id,
            limit,
            wall_clock_ms(),
            taken,
            shards,
            PRIORITY_EDIT if urgent else None,
            self._shares.divide,
        )
        # More vectors may have come with writes after `taken` was made and before the ledger was read.
        precomputed = frozenset(self.precomputed.ids())
        pending = [document for document in pending if document.removal or document.id not in precomputed]
        work = plan(pending, self._limits, ready)
        self._in_flight.update((document.id, document.priority) for document in work.apply)
        self._applier.put([ShardRow(document, b"" if document.removal else document.vector) for document in work.apply])
        if calls:
            for batch in work.encode:
                self._launch(batch)
        return bool(work.apply or (calls and work.encode))

    async def _start_precomputed(self) -> bool:
        """Applies vectors that came with writes, if their documents are still pending; False when there were none."""
        ready = self._keeper.shards_ready(self.generation.id)
        room = MAX_APPLYING - len(self._precomputed_in_flight)
        if not ready or room <= 0:
            return False
        due = self.precomputed.due(room, self._in_flight.keys(), ready)
        if not due:
            return False
        by_id = {kept.id: kept for kept in due}
        pending = await self._ledger.threads.read(self._ledger.progress.pending_among, self.generation.id, list(by_id))
        rows: list[ShardRow] = []
        for document, content_hash in pending:
            precomputed = by_id[document.id].precomputed
            # If the text has changed since, this vector is not of the pending text.
            if content_hash == precomputed.content_hash and document.shard in ready:
                rows.append(ShardRow(document, precomputed.vector, precomputed.truncated))
        self._in_flight.update((row.document.id, row.document.priority) for row in rows)
        self._precomputed_in_flight.update(row.document.id for row in rows)
        self._applier.put(rows)
        self.precomputed.withdraw(due)
        return True

    def _working(self) -> Counter[int]:
        """The documents that were started and take an encoder's time, by priority."""
        return Counter(priority for one, priority in self._in_flight.items() if one not in self._precomputed_in_flight)

    def _release(self, ids: Sequence[str]) -> None:
        for one in ids:
            self._in_flight.pop(one, None)
        self._precomputed_in_flight.difference_update(ids)
        self._wake.set()

    def _launch(self, batch: DocumentBatch[PendingDocument], pause_s: float = 0.0) -> None:
        self._in_flight.update((document.id, document.priority) for document in batch.documents)
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
            # The documents are still pending in the ledger, and are fetched again.
            log.exception("generation %d: a batch of %d documents failed", self.generation.id, len(ids))
            await asyncio.sleep(POLL_S)
            self._release(ids)

    async def _take(self, batch: DocumentBatch[PendingDocument], reply: encoder_pb2.EncodeResponse) -> None:
        width = 4 * reply.dimension
        rows: list[ShardRow] = []
        failed: list[_FailedText] = []
        errors = {one.position: one for one in reply.errors}
        truncated = set(reply.truncated)
        for index, (document, _) in enumerate(zip(batch.documents, reply.tokens, strict=True)):
            if index in errors:
                failed.append(_FailedText(document, errors[index].error, final=not errors[index].may_pass))
            else:
                rows.append(ShardRow(document, reply.vectors[index * width : (index + 1) * width], index in truncated))
        self._applier.put(rows)
        await self._count_attempts(failed)

    async def _fail(self, batch: DocumentBatch[PendingDocument], failed: FailedCall) -> None:
        log.info(
            "generation %d: a batch of %d documents failed, %s: %s",
            self.generation.id,
            len(batch.documents),
            failed.failure.value,
            failed.reason,
        )
        counted: list[_FailedText] = []
        for effect in after_failure(batch, failed.failure):
            match effect:
                case RetryBatch(again, pause_s):
                    self._launch(again, pause_s)
                case CountAttempt(document, final):
                    lost = "the encoder was lost while it worked on this document"
                    reason = lost if failed.failure is EncodeFailure.LOST else failed.reason
                    counted.append(_FailedText(document, reason, final))
        await self._count_attempts(counted)

    async def _count_attempts(self, failed: Sequence[_FailedText]) -> None:
        """Records a failed attempt of each document, which may then be fetched again."""
        if not failed:
            return
        failures = []
        for document, reason, final in failed:
            attempts = document.attempts + 1
            pause_s = next_attempt(attempts, self._retry, final)
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
            self._release([one.document.id for one in failed])
