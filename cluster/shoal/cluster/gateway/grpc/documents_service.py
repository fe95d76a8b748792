"""DocumentService: translates its calls for the paths of reading and writing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from shoal.cluster.gateway.grpc.caller_deadlines import caller_deadline, stream_end
from shoal.cluster.gateway.grpc.upsert_stream import UpsertStream
from shoal.cluster.gateway.paths.reading import ExplainedDocument, ReadPath
from shoal.cluster.gateway.paths.writing import WritePath
from shoal.v1 import documents_pb2, documents_pb2_grpc


class DocumentService(documents_pb2_grpc.DocumentServiceServicer):
    """Writing, reading and explaining documents."""

    def __init__(
        self, reading: ReadPath, writing: WritePath, window: int, default_deadline_s: float, draining: asyncio.Event
    ) -> None:
        """`window` is how many batches of one stream are worked on at once."""
        self._reading = reading
        self._writing = writing
        self._window = window
        self._default_deadline_s = default_deadline_s
        self._draining = draining

    async def Upsert(
        self, request: documents_pb2.UpsertRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> documents_pb2.UpsertResponse:
        deadline = caller_deadline(context, self._default_deadline_s)
        response = await self._writing.upsert(request.collection, request.documents, request.wait, deadline)
        return documents_pb2.UpsertResponse(results=response.results, token=response.token)

    async def UpsertStream(
        self, request_iterator: AsyncIterator[documents_pb2.UpsertStreamRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[documents_pb2.UpsertStreamResponse]:
        ends = stream_end(context)
        stream = UpsertStream(self._writing, self._window, ends, self._default_deadline_s, self._draining)
        async for answer in stream.answers(aiter(request_iterator)):
            yield answer

    async def Delete(
        self, request: documents_pb2.DeleteRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> documents_pb2.DeleteResponse:
        deadline = caller_deadline(context, self._default_deadline_s)
        response = await self._writing.delete(request.collection, request.ids, request.wait, deadline)
        return documents_pb2.DeleteResponse(results=response.results, token=response.token)

    async def Get(
        self, request: documents_pb2.GetRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> documents_pb2.GetResponse:
        response = documents_pb2.GetResponse()
        for document in await self._reading.get(request.collection, request.ids):
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
        deadline = caller_deadline(context, self._default_deadline_s)
        explained = await self._reading.explain(request.collection, request.id, deadline)
        return documents_pb2.ExplainResponse(explanation=_explanation(explained))

    async def ListFailed(
        self, request: documents_pb2.ListFailedRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> documents_pb2.ListFailedResponse:
        failed = await self._reading.failed(request.collection, request.limit)
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
        deadline = caller_deadline(context, self._default_deadline_s)
        retried = await self._writing.retry_failed(request.collection, request.ids, deadline)
        return documents_pb2.RetryFailedResponse(retried=retried)


def _explanation(explained: ExplainedDocument) -> documents_pb2.Explanation:
    record = explained.record
    explanation = documents_pb2.Explanation(
        id=record.id, version=record.version, wanted_version=record.wanted_version, deleted=record.deleted
    )
    for state, served_version in zip(record.generations, explained.served_versions, strict=True):
        explanation.generations.add(
            generation=state.generation.number,
            active=state.generation.state == "active",
            fingerprint=state.generation.fingerprint,
            shard=state.shard,
            embedded_version=state.embedded_version,
            truncated=state.truncated,
            served_version=served_version,
            worker=state.worker,
            attempts=state.attempts,
            last_error=state.error,
            next_attempt_at_ms=state.next_attempt_at_ms,
            failed=state.failed,
        )
    return explanation
