"""Reads of single documents: what is stored, where a document stands on its way into searches, and which ones failed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from shoal.cluster.errors import ClusterError
from shoal.cluster.gateway.backends.index_shards import Backends
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.paths.validation import check_collection_name, check_id, check_ids, list_limit
from shoal.cluster.ledger.records import DocumentRecord, ExplainRecord, FailedDocuments, GenerationExplanation
from shoal.cluster.limits import RequestLimits
from shoal.cluster.rpc.deadlines import Deadline
from shoal.cluster.rpc.routing import ShardId

# The longest wait for one index worker. Explain also answers while workers are down.
_LOOKUP_S = 2.0


@dataclass(frozen=True, slots=True)
class ExplainedDocument:
    """A document's record, and the version that each of its generations serves."""

    record: ExplainRecord
    served_versions: tuple[int | None, ...]
    """One for each of the record's generations; None where the shard's worker did not answer."""


class ReadPath:
    """All methods raise ClusterError or LedgerError; nothing is changed."""

    def __init__(self, reads: LedgerReads, backends: Backends, limits: RequestLimits) -> None:
        self._reads = reads
        self._backends = backends
        self._limits = limits

    async def get(self, collection: str, ids: Sequence[str]) -> Sequence[DocumentRecord]:
        """The documents that exist."""
        check_collection_name(collection, self._limits)
        check_ids(ids, self._limits)
        return await self._reads.get(collection, list(ids))

    async def explain(self, collection: str, document_id: str, deadline: Deadline) -> ExplainedDocument:
        """What the ledger knows about one document, and what the shards serve of it."""
        deadline = deadline.with_margin()
        check_collection_name(collection, self._limits)
        check_id(document_id, self._limits, "id")
        record = await self._reads.explain(collection, document_id)
        served = await asyncio.gather(*(self._served(state, record.id, deadline) for state in record.generations))
        return ExplainedDocument(record, tuple(served))

    async def failed(self, collection: str, limit: int) -> FailedDocuments:
        """At most `limit` of the documents that could not be embedded, and how many there are."""
        check_collection_name(collection, self._limits)
        return await self._reads.failed(collection, list_limit(limit, self._limits))

    async def _served(self, state: GenerationExplanation, document_id: str, deadline: Deadline) -> int | None:
        within = min(deadline, Deadline.within(_LOOKUP_S), key=lambda one: one.at)
        try:
            return await self._backends.lookup(ShardId(state.generation.id, state.shard), document_id, within)
        except ClusterError:
            return None
