"""DocumentService over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from shoal.cluster.gateway.grpc.caller_deadlines import caller_deadline, stream_end
from shoal.cluster.gateway.grpc.interceptors import caller_of_call, room_of_call
from shoal.cluster.gateway.paths.reading import ReadPath
from shoal.cluster.gateway.paths.room import ReceivedMessage
from shoal.cluster.gateway.paths.streams.upsert_stream import UpsertStream
from shoal.cluster.gateway.paths.writing import WritePath
from shoal.v1 import documents_pb2, documents_pb2_grpc


class DocumentService(documents_pb2_grpc.DocumentServiceServicer):
    """Writing, reading and explaining documents."""

    def __init__(
        self, reading: ReadPath, writing: WritePath, window: int, default_deadline_s: float, draining: asyncio.Event
    ) -> None:
        """`window` is the number of batches of one stream that are processed concurrently."""
        self._reading = reading
        self._writing = writing
        self._window = window
        self._default_deadline_s = default_deadline_s
        self._draining = draining

    async def Upsert(
        self, request: documents_pb2.UpsertRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> documents_pb2.UpsertResponse:
        deadline = caller_deadline(context, self._default_deadline_s)
        upsert = self._writing.upsert(request, deadline, room_of_call())
        # The path frees the request when it is committed.
        del request
        return await upsert

    async def UpsertStream(
        self, request_iterator: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[documents_pb2.UpsertStreamResponse]:
        # The interceptor gives each message with its room.
        requests: AsyncIterator[ReceivedMessage[documents_pb2.UpsertStreamRequest]] = aiter(request_iterator)
        end = stream_end(context)
        stream = UpsertStream(
            self._writing, self._window, end, self._default_deadline_s, self._draining, caller_of_call().sees
        )
        async for answer in stream.answers(requests):
            yield answer

    async def Delete(
        self, request: documents_pb2.DeleteRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> documents_pb2.DeleteResponse:
        return await self._writing.delete(request, caller_deadline(context, self._default_deadline_s))

    async def Get(
        self, request: documents_pb2.GetRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> documents_pb2.GetResponse:
        return await self._reading.get(request, room_of_call())

    async def Explain(
        self, request: documents_pb2.ExplainRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> documents_pb2.ExplainResponse:
        return await self._reading.explain(request, caller_deadline(context, self._default_deadline_s))

    async def ListFailed(
        self, request: documents_pb2.ListFailedRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> documents_pb2.ListFailedResponse:
        return await self._reading.list_failed(request)

    async def ListSourceIds(
        self, request: documents_pb2.ListSourceIdsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> documents_pb2.ListSourceIdsResponse:
        return await self._reading.list_source_ids(request)

    async def Wait(
        self, request: documents_pb2.WaitRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> documents_pb2.WaitResponse:
        return await self._writing.wait(request, caller_deadline(context, self._default_deadline_s))

    async def RetryFailed(
        self, request: documents_pb2.RetryFailedRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> documents_pb2.RetryFailedResponse:
        return await self._writing.retry_failed(request, caller_deadline(context, self._default_deadline_s))
