"""Commits writes: the batches that arrive during one transaction share the next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from shoal.cluster.clock import wall_clock_ms
from shoal.cluster.coordinator.embedding.embedders import Embedders
from shoal.cluster.coordinator.embedding.precomputed import Kept, PrecomputedVectors
from shoal.cluster.coordinator.ledger_access import LedgerAccess
from shoal.cluster.decisions.memory.byte_budget import MIB, BudgetLimits
from shoal.cluster.errors import Overloaded
from shoal.cluster.ledger.errors import LedgerError
from shoal.cluster.ledger.records import WriteBatch, WriteOutcome
from shoal.cluster.rpc.byte_gate import ByteGate
from shoal.cluster.rpc.gathering import Gathering

BATCHES_PER_COMMIT = 256
# More would keep small writes waiting while a commit stores the others.
BYTES_PER_COMMIT = 8 * MIB
MAX_WAITING_DOCUMENTS = 20_000


class GroupCommit:
    """Belongs to the coordinator's event loop."""

    def __init__(self, ledger: LedgerAccess, embedders: Embedders, budget: BudgetLimits | None = None) -> None:
        self._ledger = ledger
        self._embedders = embedders
        self._batches: Gathering[WriteBatch, WriteOutcome | LedgerError] = Gathering(
            self._commit, BATCHES_PER_COMMIT, weight=lambda batch: batch.bytes, max_weight=BYTES_PER_COMMIT
        )
        self._memory = ByteGate(budget or BudgetLimits(), "writes to the coordinator")
        self._waiting_documents = 0

    async def write(self, batch: WriteBatch, timeout_s: float) -> WriteOutcome:
        """Commits a batch; raises LedgerError, and Overloaded when too many documents, bytes or vectors wait."""
        # Gateways bound what they send; this bounds what several of them send together.
        with await self._memory.admit(batch.collection, batch.bytes):
            return await self._write(batch, timeout_s)

    async def _write(self, batch: WriteBatch, timeout_s: float) -> WriteOutcome:
        size = len(batch.upserts)
        if size and self._waiting_documents + size > MAX_WAITING_DOCUMENTS:
            raise Overloaded(
                f"{self._waiting_documents} documents wait to be committed, the limit is {MAX_WAITING_DOCUMENTS}",
                limit=MAX_WAITING_DOCUMENTS,
                retry_after_ms=500,
            )
        # Kept before the commit: otherwise an encoder might be asked for a vector that is already here.
        kept = self._keep_precomputed(batch)
        self._waiting_documents += size
        committed = False
        try:
            outcome = await self._batches.submit(batch, asyncio.get_running_loop().time() + timeout_s)
            committed = isinstance(outcome, WriteOutcome)
        finally:
            self._waiting_documents -= size
            for vectors, added in kept:
                (vectors.commit if committed else vectors.withdraw)(added)
        if isinstance(outcome, LedgerError):
            raise outcome
        self._embedders.wake_collection(outcome.collection_id)
        return outcome

    async def _commit(self, batches: Sequence[WriteBatch], _deadline: float) -> Sequence[WriteOutcome | LedgerError]:
        return await self._ledger.threads.write(self._ledger.writer.write, batches, wall_clock_ms())

    def _keep_precomputed(self, batch: WriteBatch) -> list[tuple[PrecomputedVectors, list[Kept]]]:
        """Gives the vectors of a batch to the embedders whose model made them; raises Overloaded when they have too many."""
        made_by = {one.precomputed.fingerprint for one in batch.upserts if one.precomputed is not None}
        if len(made_by) != 1:
            return []
        (fingerprint,) = made_by
        stores = self._embedders.precomputed(batch.collection, fingerprint)
        if any(vectors.full for vectors in stores):
            raise Overloaded("too many vectors wait to be applied", retry_after_ms=100)
        return [(vectors, vectors.put(batch.upserts)) for vectors in stores]
