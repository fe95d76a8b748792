"""The path of one embedding request: check, find the model, encode, put the reply together. Calls and streams share it."""

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
from shoal.cluster.gateway.paths.embed_messages import Encoding, check_dimensions, embed_response, options_of
from shoal.cluster.gateway.paths.validation import check_embed_texts, check_model, check_reply_size
from shoal.cluster.limits import RequestLimits
from shoal.cluster.rpc.deadlines import Deadline
from shoal.cluster.rpc.routing import ModelId
from shoal.internal.v1 import encoder_pb2
from shoal.v1 import embedding_pb2
from shoal.workers.encoding import EncodeOptions, Role

T = TypeVar("T")

# Up to so many queries of one request travel with those of other callers; more are a call of their own.
GATHERED_QUERIES = 8
# Replicas share a request in parts no smaller than this: a batch of fewer texts uses the hardware badly.
LEAST_PART = 64


def plan_parts(texts: int, replicas: int) -> list[slice]:
    """Cuts a request into neighbouring parts of alike size, at most one for each replica."""
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
        self, request: embedding_pb2.EmbedRequest, deadline: Deadline, *, bulk: bool
    ) -> embedding_pb2.EmbedResponse:
        """The reply to a request; `bulk` texts wait for those of all others. Raises ClusterError.

        A text that breaks has an error of its own; only what is wrong with the request as a whole is raised.
        """
        clock = time.monotonic
        began = clock()
        if not bulk:
            deadline = deadline.with_margin()
        check_model(request.model, "model")
        options = options_of(request, self._limits)
        refused = check_embed_texts(request.texts, self._limits)
        texts: Sequence[str] = request.texts
        if refused:
            # An empty text costs nothing, and keeps the others' places.
            texts = ["" if position in refused else text for position, text in enumerate(texts)]
        model = await self._models.find(request.model, deadline)
        if options.dimensions:
            check_dimensions(options.dimensions, await self._encoders.dimension(model, deadline), request.model)
        if bulk:
            encoding = await self._texts(model, texts, options, encoder_pb2.ENCODE_PRIORITY_BACKFILL, deadline)
        elif options.role is Role.QUERY:
            encoding = await self._queries(model, texts, options, deadline)
        else:
            encoding = await self._texts(model, texts, options, encoder_pb2.ENCODE_PRIORITY_LIVE, deadline)
        encoding.errors.update(refused)
        response = embed_response(encoding, request.vector_type, round(1e6 * (clock() - began)))
        check_reply_size(response.ByteSize(), self._limits.message_bytes, "send fewer texts at a time", "texts")
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
        """Only texts that the cache does not know are encoded, each of them once."""
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
    """What the tasks give; the first failure cancels the others."""
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
