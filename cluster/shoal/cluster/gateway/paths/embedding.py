"""The path of one embedding request: validate, find the model, encode, reply. Unary calls and streams share it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

from shoal.cluster.gateway.backends.counts import GatewayCounts
from shoal.cluster.gateway.backends.encoder_messages import Priority, QueryAnswer
from shoal.cluster.gateway.backends.encoders import Encoders
from shoal.cluster.gateway.backends.models import Models
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.gateway.paths.embed_messages import Encoding, check_dimensions, embed_response, options_of, vector_bytes
from shoal.cluster.gateway.paths.room import Room
from shoal.cluster.gateway.paths.validation import check_embed_texts, check_model, check_reply_size
from shoal.cluster.limits import RequestLimits
from shoal.cluster.rpc.deadlines import Deadline
from shoal.cluster.rpc.routing import ModelId
from shoal.internal.v1 import encoder_pb2
from shoal.v1 import embedding_pb2
from shoal.workers.encoding import EncodeOptions, Role

T = TypeVar("T")

# Up to this many queries of a request are batched with those of other callers; more get their own call.
GATHERED_QUERIES = 8
# A request is split across replicas in parts of at least this size: smaller batches use the hardware poorly.
LEAST_PART = 64
_ADVICE = "send fewer texts at a time"


def plan_parts(texts: int, replicas: int) -> list[slice]:
    """Splits a request into contiguous parts of similar size, at most one per replica."""
    parts = max(1, min(replicas, texts // LEAST_PART))
    edges = [texts * part // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


class EmbedPath:
    """Answers embedding requests; belongs to one event loop."""

    def __init__(
        self, models: Models, encoders: Encoders, view: RoutingView, limits: RequestLimits, counts: GatewayCounts
    ) -> None:
        self._models = models
        self._encoders = encoders
        self._view = view
        self._limits = limits
        self._counts = counts

    async def embed(
        self, request: embedding_pb2.EmbedRequest, deadline: Deadline, room: Room, *, bulk: bool
    ) -> embedding_pb2.EmbedResponse:
        """Answers a request; `bulk` texts have the lowest priority. Raises ClusterError.

        A text that cannot be encoded gets its own error in the reply; only errors of the whole request are raised.
        """
        clock = time.monotonic
        began = clock()
        if not bulk:
            deadline = deadline.with_margin()
        check_model(request.model, "model")
        options = options_of(request, self._limits)
        rejected = check_embed_texts(request.texts, self._limits)
        texts: Sequence[str] = request.texts
        if rejected:
            # An empty text costs nothing, and keeps the positions of the others.
            texts = ["" if position in rejected else text for position, text in enumerate(texts)]
        model = await self._models.find(request.model, deadline)
        dimension = await self._encoders.dimension(model, deadline)
        if options.dimensions:
            check_dimensions(options.dimensions, dimension, request.model)
            dimension = options.dimensions
        # Before the texts are encoded, so that no reply is built that is too large or finds no room.
        size = vector_bytes(request.vector_type, len(texts), dimension)
        check_reply_size(size, self._limits.message_bytes, _ADVICE, "texts")
        await room.reserve_reply(size)
        if bulk:
            encoding = await self._texts(model, texts, options, encoder_pb2.ENCODE_PRIORITY_BACKFILL, deadline)
        elif options.role is Role.QUERY:
            encoding = await self._queries(model, texts, options, deadline)
        else:
            encoding = await self._texts(model, texts, options, encoder_pb2.ENCODE_PRIORITY_LIVE, deadline)
        encoding.errors.update(rejected)
        response = embed_response(encoding, request.vector_type, round(1e6 * (clock() - began)))
        check_reply_size(response.ByteSize(), self._limits.message_bytes, _ADVICE, "texts")
        self._counts.embedded(options.role.value, len(texts), sum(response.tokens), len(response.errors))
        return response

    async def _texts(
        self, model: ModelId, texts: Sequence[str], options: EncodeOptions, priority: Priority, deadline: Deadline
    ) -> Encoding:
        encoding = Encoding(model.fingerprint)
        parts = plan_parts(len(texts), len(self._view.table.encoders.get(model, ())))
        if len(parts) == 1:
            encoding.append(await self._encoders.texts(model, texts, options, priority, deadline))
            return encoding
        tasks = [
            asyncio.create_task(self._encoders.texts(model, texts[part], options, priority, deadline)) for part in parts
        ]
        for reply in await _all(tasks):
            encoding.append(reply)
        return encoding

    async def _queries(self, model: ModelId, texts: Sequence[str], options: EncodeOptions, deadline: Deadline) -> Encoding:
        """Encodes only texts that are not cached, each of them once."""
        known: dict[str, QueryAnswer] = {}
        missed: list[str] = []
        for text in dict.fromkeys(texts):
            answer = self._encoders.cached(model, text, options)
            if answer is None:
                missed.append(text)
            else:
                known[text] = answer
        if len(missed) > GATHERED_QUERIES:
            found = await self._encoders.many_queries(model, missed, options, deadline)
        elif len(missed) == 1:
            found = [await self._encoders.missed_query(model, missed[0], options, deadline)]
        else:
            encode = self._encoders.missed_query
            found = await _all([asyncio.create_task(encode(model, text, options, deadline)) for text in missed])
        known.update(zip(missed, found, strict=True))
        return Encoding.of_queries(model.fingerprint, [known[text] for text in texts])


async def _all(tasks: Sequence[asyncio.Task[T]]) -> list[T]:
    """The results of the tasks; the first failure cancels the others."""
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
