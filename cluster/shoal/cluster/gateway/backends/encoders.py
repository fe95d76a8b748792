"""Calls to encoder replicas. Queries are cached, deduplicated and batched while calls are in flight; other texts are sent as
they come. Model names are resolved in `models`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import grpc

from shoal.cluster.errors import ClusterError, ModelNotServed, Overloaded, Unavailable
from shoal.cluster.gateway.backends.counts import GatewayCounts
from shoal.cluster.gateway.backends.encoder_messages import Priority, QueryAnswer, check_reply, encode_request, query_answers
from shoal.cluster.gateway.backends.internal_calls import call
from shoal.cluster.gateway.backends.query_cache import QueryCache, QueryKey
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.rpc.channels import Channels
from shoal.cluster.rpc.deadlines import Deadline
from shoal.cluster.rpc.gathering import Gathering
from shoal.cluster.rpc.retry import retry_until
from shoal.cluster.rpc.routing import ModelId
from shoal.cluster.rpc.single_flight import SingleFlight
from shoal.internal.v1 import encoder_pb2, encoder_pb2_grpc
from shoal.workers.encoding import EncodeOptions

# The replica has another model, so the route is outdated.
_NOT_HERE = frozenset({grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION})
RETRY_AFTER_MS = 200


class _EncodeGroup(NamedTuple):
    """Queries of one group may share a call."""

    model: ModelId
    options: EncodeOptions


class Encoders:
    """Unavailable replicas are retried until the deadline, since routes may change. Belongs to one event loop.

    If the coordinator knows that the model cannot be served, calls raise ModelNotServed at once.
    """

    def __init__(
        self,
        view: RoutingView,
        channels: Channels,
        cache: QueryCache,
        counts: GatewayCounts,
        queries_per_call: int,
        shared_s: float,
    ) -> None:
        """`shared_s` is the time limit of an encoding that several callers wait for; each also has its own deadline."""
        self._view = view
        self._channels = channels
        self._metadata = channels.metadata
        self._cache = cache
        self._counts = counts
        self._queries_per_call = queries_per_call
        self._shared_s = shared_s
        self._load: Counter[str] = Counter()
        self._gatherings: dict[_EncodeGroup, Gathering[str, QueryAnswer]] = {}
        self._flights: SingleFlight[QueryKey, QueryAnswer] = SingleFlight()
        self._dimensions: dict[ModelId, int] = {}

    def cached(self, model: ModelId, text: str, options: EncodeOptions) -> QueryAnswer | None:
        """A query's vector from the cache, or None."""
        found = self._cache.get(QueryKey(model.fingerprint, options, text))
        return None if found is None else QueryAnswer(found, len(found.vector) // 4)

    async def query(self, model: ModelId, text: str, options: EncodeOptions, deadline: Deadline) -> QueryAnswer:
        """One query's vector: from the cache, from an encoding of the same text in flight, or from a batched call."""
        return self.cached(model, text, options) or await self.missed_query(model, text, options, deadline)

    async def missed_query(self, model: ModelId, text: str, options: EncodeOptions, deadline: Deadline) -> QueryAnswer:
        """As `query`, after `cached` returned None."""
        key = QueryKey(model.fingerprint, options, text)
        if key in self._flights:
            self._cache.note_joined()

        async def attempt() -> QueryAnswer:
            return await self._flights.join(key, lambda: self._gathered(model, key))

        return await retry_until(deadline, attempt, self._view.change, f"model {model.model!r}")

    async def many_queries(
        self, model: ModelId, texts: Sequence[str], options: EncodeOptions, deadline: Deadline
    ) -> list[QueryAnswer]:
        """As `missed_query`, for enough texts to justify their own call."""
        answers = query_answers(await self.texts(model, texts, options, encoder_pb2.ENCODE_PRIORITY_QUERY, deadline))
        for text, answer in zip(texts, answers, strict=True):
            self._put(QueryKey(model.fingerprint, options, text), answer)
        return answers

    async def texts(
        self, model: ModelId, texts: Sequence[str], options: EncodeOptions, priority: Priority, deadline: Deadline
    ) -> encoder_pb2.EncodeResponse:
        """One call with these texts, not batched with others; raises Overloaded when every replica is full."""
        request = encode_request(texts, options, model.fingerprint, priority)
        return await retry_until(
            deadline, lambda: self._ask(model, request, deadline), self._view.change, f"model {model.model!r}"
        )

    async def dimension(self, model: ModelId, deadline: Deadline) -> int:
        """The dimension of the model's vectors. The fingerprint determines it, so it is requested only once."""
        known = self._dimensions.get(model)
        if known is None:
            known = await retry_until(
                deadline, lambda: self._describe(model, deadline), self._view.change, f"model {model.model!r}"
            )
            routed = self._view.table.encoders
            self._dimensions = {one: length for one, length in self._dimensions.items() if one in routed} | {model: known}
        return known

    async def _gathered(self, model: ModelId, key: QueryKey) -> QueryAnswer:
        group = _EncodeGroup(model, key.options)
        gathering = self._gatherings.get(group)
        if gathering is None:
            # One call at a time per replica. Two or four lowered throughput and doubled tail latency on two cores: the
            # batches are smaller, and each call costs about a millisecond.
            gathering = self._gatherings[group] = Gathering(
                self._sender(group),
                self._queries_per_call,
                max_calls=lambda: len(self._view.table.encoders.get(model, ())),
            )
        try:
            # Waiters may join and leave, each with its own deadline; the work is cancelled when the last one leaves.
            answer = await gathering.submit(key.text, Deadline.within(self._shared_s).at)
        finally:
            if gathering.idle and self._gatherings.get(group) is gathering:
                del self._gatherings[group]
        self._put(key, answer)
        return answer

    def _put(self, key: QueryKey, answer: QueryAnswer) -> None:
        if answer.encoded is not None:
            self._cache.put(key, answer.encoded)

    def _sender(self, group: _EncodeGroup) -> Callable[[Sequence[str], float], Awaitable[Sequence[QueryAnswer]]]:
        async def send(texts: Sequence[str], latest: float) -> list[QueryAnswer]:
            self._counts.encode_queries.add(len(texts))
            request = encode_request(texts, group.options, group.model.fingerprint, encoder_pb2.ENCODE_PRIORITY_QUERY)
            return query_answers(await self._ask(group.model, request, Deadline(latest)))

        return send

    async def _ask(
        self, model: ModelId, request: encoder_pb2.EncodeRequest, deadline: Deadline
    ) -> encoder_pb2.EncodeResponse:
        """Tries the replicas in order of load, until one is neither unavailable nor full."""
        peer = f"encoder of model {model.model!r}"
        failure: Unavailable | Overloaded | None = None
        # Load is counted in characters, as texts differ in length by a factor of thousands, plus a fixed cost per text.
        count, size = len(request.texts), sum(len(text) + 16 for text in request.texts)
        for address in sorted(self._view.table.encoders.get(model, ()), key=self._load.__getitem__):
            stub = encoder_pb2_grpc.EncoderServiceStub(self._channels.get(address))
            self._load[address] += size
            try:
                reply = await call(stub.Encode, request, deadline, self._metadata, peer, _NOT_HERE)
                check_reply(reply, count)
                return reply
            except (Unavailable, Overloaded) as error:
                # Overloaded wins over Unavailable: a full replica will have room again.
                failure = error if failure is None or isinstance(error, Overloaded) else failure
            finally:
                self._load[address] -= size
                if not self._load[address]:
                    del self._load[address]
        if isinstance(failure, Overloaded) and not failure.retry_after_ms:
            failure = Overloaded(failure.message, retry_after_ms=RETRY_AFTER_MS)
        raise failure or self._absent(model)

    async def _describe(self, model: ModelId, deadline: Deadline) -> int:
        failure: ClusterError = self._absent(model)
        peer = f"encoder of model {model.model!r}"
        for address in self._view.table.encoders.get(model, ()):
            stub = encoder_pb2_grpc.EncoderServiceStub(self._channels.get(address))
            try:
                reply = await call(
                    stub.DescribeModel,
                    encoder_pb2.DescribeModelRequest(),
                    deadline,
                    self._metadata,
                    peer,
                    _NOT_HERE,
                )
            except Unavailable as error:
                failure = error
                continue
            if reply.fingerprint == model.fingerprint:
                return reply.dimension
        raise failure

    def _absent(self, model: ModelId) -> ClusterError:
        outage = self._view.table.outage(model)
        if outage is not None:
            return ModelNotServed(outage.reason, field="model", value=model.model, retry_after_ms=outage.retry_after_ms)
        return Unavailable(f"no encoder of model {model.model!r} is ready now", retry_after_ms=RETRY_AFTER_MS)
