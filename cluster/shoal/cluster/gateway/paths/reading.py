"""Reads of single documents: stored content, indexing state, and the list of failed ones."""

from __future__ import annotations

import asyncio

from shoal.cluster.errors import ClusterError
from shoal.cluster.gateway.backends.index_shards import IndexShards
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.gateway.paths.document_messages import explain_response, failed_response, get_response
from shoal.cluster.gateway.paths.room import Room
from shoal.cluster.gateway.paths.validation import (
    check_collection_name,
    check_id,
    check_ids,
    check_source,
    page_limit,
)
from shoal.cluster.ledger.records import GenerationExplanation
from shoal.cluster.limits import RequestLimits
from shoal.cluster.rpc.deadlines import Deadline
from shoal.cluster.rpc.routing import ShardId
from shoal.v1 import documents_pb2

# The longest wait for one index worker. Explain also answers while workers are down.
_LOOKUP_S = 2.0


class ReadPath:
    """All methods raise ClusterError or LedgerError and change nothing."""

    def __init__(self, reads: LedgerReads, shards: IndexShards, view: RoutingView, limits: RequestLimits) -> None:
        self._reads = reads
        self._view = view
        self._shards = shards
        self._limits = limits

    async def get(self, request: documents_pb2.GetRequest, room: Room) -> documents_pb2.GetResponse:
        """The requested documents that exist."""
        check_collection_name(request.collection, self._limits)
        check_ids(request.ids, self._limits)
        limits = self._limits
        most = len(request.ids) * (limits.id_bytes + limits.text_bytes + limits.payload_bytes)
        await room.reserve_reply(min(limits.message_bytes, most))
        response = get_response(await self._reads.get(request.collection, list(request.ids), limits.message_bytes))
        room.shrink_reply(response.ByteSize())
        return response

    async def explain(self, request: documents_pb2.ExplainRequest, deadline: Deadline) -> documents_pb2.ExplainResponse:
        """One document's state in the ledger, and the version that each shard serves."""
        deadline = deadline.with_margin()
        check_collection_name(request.collection, self._limits)
        check_id(request.id, self._limits, "id")
        record = await self._reads.explain(request.collection, request.id)
        served = await asyncio.gather(*(self._served(state, record.id, deadline) for state in record.generations))
        return explain_response(record, served, self._view.table)

    async def list_failed(self, request: documents_pb2.ListFailedRequest) -> documents_pb2.ListFailedResponse:
        """Some of the documents that could not be embedded, and how many there are."""
        check_collection_name(request.collection, self._limits)
        return failed_response(
            await self._reads.failed(request.collection, page_limit(request.limit, self._limits.failed_per_list))
        )

    async def list_source_ids(self, request: documents_pb2.ListSourceIdsRequest) -> documents_pb2.ListSourceIdsResponse:
        """A page of the ids of the documents that came from a source."""
        check_collection_name(request.collection, self._limits)
        check_source(request.source, self._limits, needed=True)
        limit = page_limit(request.limit, self._limits.ids_per_get)
        ids = await self._reads.source_ids(request.collection, request.source, request.after, limit)
        return documents_pb2.ListSourceIdsResponse(ids=ids)

    async def _served(self, state: GenerationExplanation, document_id: str, deadline: Deadline) -> int | None:
        within = deadline.earlier(Deadline.within(_LOOKUP_S))
        try:
            return await self._shards.lookup(ShardId(state.generation.id, state.shard), document_id, within)
        except ClusterError:
            return None
