"""EmbeddingService: texts to vectors with any model, without a collection. The path of a request is `embedding`'s."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from shoal.cluster.gateway.grpc.caller_deadlines import caller_deadline, stream_end
from shoal.cluster.gateway.grpc.embed_stream import EmbedStream
from shoal.cluster.gateway.paths.embedding import Embedder
from shoal.v1 import embedding_pb2, embedding_pb2_grpc

# A stream's texts wait behind all others'. Below the clients' patience, so that they are told what was waited for.
STREAM_REQUEST_S = 240.0


class EmbeddingService(embedding_pb2_grpc.EmbeddingServiceServicer):
    """The coordinator brings the model up; its replicas are asked directly."""

    def __init__(self, embedder: Embedder, window: int, default_deadline_s: float, draining: asyncio.Event) -> None:
        """`window` is how many requests of one stream are worked on at once."""
        self._embedder = embedder
        self._window = window
        self._default_deadline_s = default_deadline_s
        self._draining = draining

    async def Embed(
        self, request: embedding_pb2.EmbedRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> embedding_pb2.EmbedResponse:
        deadline = caller_deadline(context, self._default_deadline_s)
        return await self._embedder.embed(request, deadline.with_margin(), bulk=False)

    async def EmbedStream(
        self, request_iterator: AsyncIterator[embedding_pb2.EmbedStreamRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[embedding_pb2.EmbedStreamResponse]:
        ends = stream_end(context)
        stream = EmbedStream(self._embedder, self._window, ends, STREAM_REQUEST_S, self._draining)
        async for answer in stream.answers(aiter(request_iterator)):
            yield answer
