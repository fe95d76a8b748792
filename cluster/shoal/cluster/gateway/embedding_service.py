"""EmbeddingService: texts to vectors with any model, without a collection."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc.aio

from shoal.cluster.errors import InternalDefect, InvalidRequest, Unavailable
from shoal.cluster.gateway.backends import Backends
from shoal.cluster.gateway.coordinator_link import CoordinatorLink
from shoal.cluster.gateway.deadlines import Deadline
from shoal.cluster.gateway.internal_calls import persist
from shoal.cluster.gateway.routing_view import RoutingView
from shoal.cluster.gateway.validation import check_embed_texts, check_model
from shoal.cluster.limits import Limits
from shoal.cluster.routing import ModelId
from shoal.internal.v1 import encoder_pb2
from shoal.v1 import embedding_pb2, embedding_pb2_grpc

# Small enough that replicas share a request and a query need not wait long behind it.
TEXTS_PER_CALL = 64

_ROLES = {
    embedding_pb2.ROLE_UNSPECIFIED: encoder_pb2.ENCODE_ROLE_DOCUMENT,
    embedding_pb2.ROLE_DOCUMENT: encoder_pb2.ENCODE_ROLE_DOCUMENT,
    embedding_pb2.ROLE_QUERY: encoder_pb2.ENCODE_ROLE_QUERY,
}


class EmbeddingService(embedding_pb2_grpc.EmbeddingServiceServicer):
    """The coordinator brings the model up; its replicas are asked directly."""

    def __init__(
        self,
        link: CoordinatorLink,
        backends: Backends,
        view: RoutingView,
        limits: Limits,
        default_deadline_s: float,
    ) -> None:
        self._link = link
        self._backends = backends
        self._view = view
        self._limits = limits
        self._default_deadline_s = default_deadline_s

    async def Embed(
        self, request: embedding_pb2.EmbedRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> embedding_pb2.EmbedResponse:
        deadline = Deadline.of(context, self._default_deadline_s)
        check_model(request.model, "model")
        check_embed_texts(request.texts, self._limits)
        role = _ROLES.get(request.role)
        if role is None:
            known = ", ".join(embedding_pb2.Role.keys())
            raise InvalidRequest(f"role: {request.role} is not one of {known}", field="role", value=str(request.role))
        await self._link.retain_model(request.model, deadline)
        model = await persist(lambda: self._find(request.model), deadline, self._view, f"model {request.model!r}")
        return _joined(await self._encode(model, request.texts, role, deadline))

    async def _find(self, model: str) -> ModelId:
        # The coordinator may answer a moment before its routing message comes.
        for known in sorted(self._view.table.encoders_named(model)):
            return known
        raise Unavailable(f"no encoder of model {model!r} is ready now", retry_after_ms=200)

    async def _encode(
        self, model: ModelId, texts: Sequence[str], role: encoder_pb2.EncodeRole.ValueType, deadline: Deadline
    ) -> list[encoder_pb2.EncodeResponse]:
        """The answers in order of the texts; a replica works on one part while the next is on its way."""
        room = asyncio.Semaphore(2 * max(1, len(self._view.table.encoders.get(model, ()))))

        async def part(start: int) -> encoder_pb2.EncodeResponse:
            async with room:
                some = texts[start : start + TEXTS_PER_CALL]
                return await self._backends.encode_texts(model, some, role, deadline)

        tasks = [asyncio.create_task(part(start)) for start in range(0, len(texts), TEXTS_PER_CALL)]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _joined(parts: Sequence[encoder_pb2.EncodeResponse]) -> embedding_pb2.EmbedResponse:
    first = parts[0]
    if any((part.fingerprint, part.dimension) != (first.fingerprint, first.dimension) for part in parts):
        raise InternalDefect("replicas of one model answered with different fingerprints")
    response = embedding_pb2.EmbedResponse(
        fingerprint=first.fingerprint, dimension=first.dimension, vectors=b"".join(part.vectors for part in parts)
    )
    for part in parts:
        for item in part.items:
            entry = response.items.add(tokens=item.tokens, truncated=item.truncated)
            if item.error:
                position = len(response.items) - 1
                error = InvalidRequest(f"texts[{position}]: {item.error}", field=f"texts[{position}]")
                entry.error.CopyFrom(error.detail())
    return response
