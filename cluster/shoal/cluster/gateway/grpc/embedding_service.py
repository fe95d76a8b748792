"""EmbeddingService over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from shoal.cluster.gateway.grpc.caller_deadlines import caller_deadline, stream_end
from shoal.cluster.gateway.grpc.interceptors import room_of_call
from shoal.cluster.gateway.paths.embedding import EmbedPath
from shoal.cluster.gateway.paths.room import ReceivedMessage
from shoal.cluster.gateway.paths.streams.embed_stream import STREAM_REQUEST_S, EmbedStream
from shoal.v1 import embedding_pb2, embedding_pb2_grpc


class EmbeddingService(embedding_pb2_grpc.EmbeddingServiceServicer):
    """Texts to vectors with any model, without a collection."""

    def __init__(self, path: EmbedPath, window: int, default_deadline_s: float, draining: asyncio.Event) -> None:
        """`window` is the number of requests of one stream that are processed concurrently."""
        self._path = path
        self._window = window
        self._default_deadline_s = default_deadline_s
        self._draining = draining

    async def Embed(
        self, request: embedding_pb2.EmbedRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> embedding_pb2.EmbedResponse:
        return await self._path.embed(
            request, caller_deadline(context, self._default_deadline_s), room_of_call(), bulk=False
        )

    async def EmbedStream(
        self, request_iterator: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[embedding_pb2.EmbedStreamResponse]:
        # The interceptor gives each message with its room.
        requests: AsyncIterator[ReceivedMessage[embedding_pb2.EmbedStreamRequest]] = aiter(request_iterator)
        end = stream_end(context)
        stream = EmbedStream(self._path, self._window, end, STREAM_REQUEST_S, self._draining)
        async for answer in stream.answers(requests):
            yield answer
