"""DocumentService: writing, reading and explaining documents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from shoal.cluster.errors import ClusterError
from shoal.cluster.gateway.backends.coordinator_link import CoordinatorLink
from shoal.cluster.gateway.backends.deadlines import Deadline
from shoal.cluster.gateway.backends.index_shards import Backends
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.grpc.upsert_stream import UpsertStream
from shoal.cluster.gateway.paths.validation import check_collection_name, check_id, check_ids, list_limit
from shoal.cluster.gateway.paths.writing import WritePath
from shoal.cluster.ledger.records import GenerationExplanation
from shoal.cluster.limits import Limits
from shoal.cluster.rpc.routing import ShardId
from shoal.internal.v1 import coordinator_pb2
from shoal.v1 import documents_pb2, documents_pb2_grpc

_LOOKUP_S = 2.0


class DocumentService(documents_pb2_grpc.DocumentServiceServicer):
    """Reads come from the ledger; writes go to the coordinator."""

    def __init__(
        self,
        reads: LedgerReads,
        path: WritePath,
        link: CoordinatorLink,
        backends: Backends,
        limits: Limits,
        default_deadline_s: float,
        draining: asyncio.Event,
    ) -> None:
        self._reads = reads
        self._path = path
        self._link = link
        self._backends = backends
        self._limits = limits
        self._default_deadline_s = default_deadline_s
        self._draining = draining

    async def Upsert(
        self, request: documents_pb2.UpsertRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> documents_pb2.UpsertResponse:
        deadline = Deadline.of(context, self._default_deadline_s)
        response = await self._path.upsert(request.collection, request.documents, request.wait, deadline)
        return documents_pb2.UpsertResponse(results=response.results, token=response.token)

    async def UpsertStream(
        self, request_iterator: AsyncIterator[documents_pb2.UpsertStreamRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[documents_pb2.UpsertStreamResponse]:
        remaining = context.time_remaining()
        ends = None if remaining is None else Deadline.within(remaining)
        stream = UpsertStream(self._path, self._limits.stream_window, ends, self._default_deadline_s, self._draining)
        async for answer in stream.answers(aiter(request_iterator)):
            yield answer

    async def Delete(
        self, request: documents_pb2.DeleteRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> documents_pb2.DeleteResponse:
        deadline = Deadline.of(context, self._default_deadline_s)
        response = await self._path.delete(request.collection, request.ids, request.wait, deadline)
        return documents_pb2.DeleteResponse(results=response.results, token=response.token)

    async def Get(
        self, request: documents_pb2.GetRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> documents_pb2.GetResponse:
        check_collection_name(request.collection, self._limits)
        check_ids(request.ids, self._limits)
        response = documents_pb2.GetResponse()
        for document in await self._reads.get(request.collection, list(request.ids)):
            response.documents.add(
                id=document.id,
                text=document.text,
                payload=document.payload,
                version=document.version,
                changed_at_ms=document.changed_at_ms,
                searchable=document.searchable,
            )
        return response

    async def Explain(
        self, request: documents_pb2.ExplainRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> documents_pb2.ExplainResponse:
        deadline = Deadline.of(context, self._default_deadline_s).with_margin()
        check_collection_name(request.collection, self._limits)
        check_id(request.id, self._limits, "id")
        record = await self._reads.explain(request.collection, request.id)
        explanation = documents_pb2.Explanation(
            id=record.id, version=record.version, wanted_version=record.wanted_version, deleted=record.deleted
        )
        served = await asyncio.gather(*(self._served(state, record.id, deadline) for state in record.generations))
        for state, version in zip(record.generations, served, strict=True):
            explanation.generations.add(
                generation=state.generation.number,
                active=state.generation.state == "active",
                fingerprint=state.generation.fingerprint,
                shard=state.shard,
                embedded_version=state.embedded_version,
                truncated=state.truncated,
                served_version=version,
                worker=state.worker,
                attempts=state.attempts,
                last_error=state.error,
                next_attempt_at_ms=state.next_attempt_at_ms,
                failed=state.failed,
            )
        return documents_pb2.ExplainResponse(explanation=explanation)

    async def _served(self, state: GenerationExplanation, document_id: str, deadline: Deadline) -> int | None:
        within = min(deadline, Deadline.within(_LOOKUP_S), key=lambda one: one.at)
        try:
            return await self._backends.lookup(ShardId(state.generation.id, state.shard), document_id, within)
        except ClusterError:
            return None

    async def ListFailed(
        self, request: documents_pb2.ListFailedRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> documents_pb2.ListFailedResponse:
        check_collection_name(request.collection, self._limits)
        failed = await self._reads.failed(request.collection, list_limit(request.limit, self._limits))
        response = documents_pb2.ListFailedResponse(total=failed.total)
        for document in failed.documents:
            response.documents.add(
                id=document.id,
                version=document.version,
                reason=document.reason,
                attempts=document.attempts,
                failed_at_ms=document.failed_at_ms,
            )
        return response

    async def RetryFailed(
        self, request: documents_pb2.RetryFailedRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> documents_pb2.RetryFailedResponse:
        deadline = Deadline.of(context, self._default_deadline_s)
        check_collection_name(request.collection, self._limits)
        check_ids(request.ids, self._limits, needed=False)
        asked = coordinator_pb2.RetryFailedRequest(collection=request.collection, ids=request.ids)
        return documents_pb2.RetryFailedResponse(retried=await self._link.retry_failed(asked, deadline))
