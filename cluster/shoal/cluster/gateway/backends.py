"""Calls to index workers and encoder replicas, gathered while busy. What is asked and what follows is decided elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from shoal.cluster.channels import Channels
from shoal.cluster.errors import InternalDefect, InvalidRequest, Unavailable
from shoal.cluster.gateway.deadlines import Deadline
from shoal.cluster.gateway.internal_calls import call, persist
from shoal.cluster.gateway.routing_view import RoutingView
from shoal.cluster.gathering import Gathering
from shoal.cluster.merging import Candidate, ShardAnswer
from shoal.cluster.routing import ModelId, ShardId
from shoal.internal.v1 import encoder_pb2, encoder_pb2_grpc, index_pb2, index_pb2_grpc
from shoal.workers.serving import secret_metadata

# A worker that does not know the shard, or a replica with another model, is not the one the route meant.
_NOT_HERE = frozenset({grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION})
RETRY_AFTER_MS = 200


@dataclass(frozen=True, slots=True)
class _Query:
    vector: bytes
    min_ordinal: int


@dataclass(frozen=True, slots=True)
class _Line:
    """Queries that may travel together. The address is a part: a new route does not queue behind a worker that hangs."""

    address: str
    shard: ShardId
    k: int


class Backends:
    """Every call fails with Unavailable only after the route has been given time to heal. Belongs to one event loop."""

    def __init__(self, view: RoutingView, secret: str, queries_per_call: int) -> None:
        self._view = view
        self._metadata = secret_metadata(secret)
        self._queries_per_call = queries_per_call
        self._channels = Channels()
        self._load: Counter[str] = Counter()
        self._shard_lines: dict[_Line, Gathering[_Query, ShardAnswer]] = {}
        self._model_lines: dict[ModelId, Gathering[str, bytes | InvalidRequest]] = {}

    async def keep_routed(self) -> None:
        """Closes the channels to addresses that no route names any more."""
        await self._channels.keep(set(self._view.table.addresses()))

    async def close(self) -> None:
        """Closes every channel."""
        await self._channels.close_all()

    async def search_shard(
        self, shard: ShardId, vector: bytes, k: int, min_ordinal: int, deadline: Deadline, patience: Deadline | None = None
    ) -> ShardAnswer:
        """The shard's `k` rows nearest to a packed float32 vector, once it shows segment `min_ordinal`."""

        async def attempt() -> ShardAnswer:
            line = _Line(self._address(shard), shard, k)
            gathering = self._shard_lines.get(line)
            if gathering is None:

                async def send(queries: Sequence[_Query], latest: float) -> list[ShardAnswer]:
                    return await self._search(line, queries, Deadline(latest))

                gathering = self._shard_lines[line] = Gathering(send, self._queries_per_call)
            try:
                return await gathering.submit(_Query(vector, min_ordinal), deadline.at)
            finally:
                if gathering.idle and self._shard_lines.get(line) is gathering:
                    del self._shard_lines[line]

        return await persist(attempt, deadline, self._view, f"shard {shard}", patience)

    async def encode_query(self, model: ModelId, text: str, deadline: Deadline) -> bytes:
        """The packed float32 vector of a query; raises InvalidRequest where the model has none for this text."""

        async def attempt() -> bytes:
            gathering = self._model_lines.get(model)
            if gathering is None:

                async def send(texts: Sequence[str], latest: float) -> list[bytes | InvalidRequest]:
                    role = encoder_pb2.ENCODE_ROLE_QUERY
                    return _rows(await self._encode(model, texts, role, Deadline(latest)), len(texts))

                gathering = self._model_lines[model] = Gathering(
                    send, self._queries_per_call, lanes=lambda: len(self._view.table.encoders.get(model, ()))
                )
            try:
                answer = await gathering.submit(text, deadline.at)
            finally:
                if gathering.idle and self._model_lines.get(model) is gathering:
                    del self._model_lines[model]
            if isinstance(answer, InvalidRequest):
                raise answer
            return answer

        return await persist(attempt, deadline, self._view, f"model {model.model!r}")

    async def encode_texts(
        self, model: ModelId, texts: Sequence[str], role: encoder_pb2.EncodeRole.ValueType, deadline: Deadline
    ) -> encoder_pb2.EncodeResponse:
        """One call with these texts, not gathered with others."""
        return await persist(
            lambda: self._encode(model, texts, role, deadline), deadline, self._view, f"model {model.model!r}"
        )

    async def lookup(self, shard: ShardId, document_id: str, deadline: Deadline) -> int:
        """The version that the shard's worker serves for a document, 0 when none; one attempt."""
        address = self._address(shard)
        stub = index_pb2_grpc.IndexServiceStub(self._channels.get(address))
        request = index_pb2.LookupRequest(key=shard.key(), ids=[document_id])
        response = await call(stub.Lookup, request, deadline, self._metadata, f"shard {shard}", _NOT_HERE)
        return response.versions[0]

    async def shown(self, address: str, deadline: Deadline) -> dict[ShardId, int]:
        """The newest segment that searches see in each shard of a worker; one attempt."""
        stub = index_pb2_grpc.IndexServiceStub(self._channels.get(address))
        request = index_pb2.DescribeShardsRequest()
        response = await call(stub.DescribeShards, request, deadline, self._metadata, f"index worker {address}")
        return {ShardId(state.key.generation, state.key.shard): state.through for state in response.shards}

    def _address(self, shard: ShardId) -> str:
        place = self._view.table.shards.get(shard)
        if place is None:
            raise Unavailable(f"shard {shard} has no worker now", retry_after_ms=RETRY_AFTER_MS)
        return place.address

    async def _search(self, line: _Line, queries: Sequence[_Query], deadline: Deadline) -> list[ShardAnswer]:
        query = index_pb2.ShardQuery(
            key=line.shard.key(),
            min_ordinal=max(query.min_ordinal for query in queries),
            vectors=b"".join(query.vector for query in queries),
            k=line.k,
        )
        stub = index_pb2_grpc.IndexServiceStub(self._channels.get(line.address))
        request = index_pb2.SearchShardRequest(query=query)
        response = await call(stub.SearchShard, request, deadline, self._metadata, f"shard {line.shard}", _NOT_HERE)
        return _answers(response.hits, len(queries), line)

    async def _encode(
        self, model: ModelId, texts: Sequence[str], role: encoder_pb2.EncodeRole.ValueType, deadline: Deadline
    ) -> encoder_pb2.EncodeResponse:
        """Asks the least loaded replica, and after it the others while they are unavailable."""
        request = encoder_pb2.EncodeRequest(texts=texts, role=role, fingerprint=model.fingerprint)
        peer = f"encoder of model {model.model!r}"
        failure = Unavailable(f"no encoder of model {model.model!r} is ready now", retry_after_ms=RETRY_AFTER_MS)
        for address in sorted(self._view.table.encoders.get(model, ()), key=self._load.__getitem__):
            stub = encoder_pb2_grpc.EncoderServiceStub(self._channels.get(address))
            self._load[address] += 1
            try:
                return await call(stub.Encode, request, deadline, self._metadata, peer, _NOT_HERE)
            except Unavailable as error:
                failure = error
            finally:
                self._load[address] -= 1
                if not self._load[address]:
                    del self._load[address]
        raise failure


def _answers(hits: index_pb2.ShardHits, queries: int, line: _Line) -> list[ShardAnswer]:
    if len(hits.counts) != queries or not sum(hits.counts) == len(hits.ids) == len(hits.versions) == len(hits.scores):
        raise InternalDefect(f"shard {line.shard} at {line.address} gave an answer that does not add up")
    answers: list[ShardAnswer] = []
    start = 0
    for count in hits.counts:
        rows = slice(start, start + count)
        found = map(Candidate, hits.ids[rows], hits.versions[rows], hits.scores[rows])
        answers.append(ShardAnswer(tuple(found), exhausted=count < line.k))
        start += count
    return answers


def _rows(response: encoder_pb2.EncodeResponse, texts: int) -> list[bytes | InvalidRequest]:
    width = 4 * response.dimension
    if len(response.items) != texts or len(response.vectors) != texts * width:
        raise InternalDefect("an encoder gave an answer that does not add up")
    return [
        InvalidRequest(f"text: {item.error}", field="text")
        if item.error
        else response.vectors[row * width : (row + 1) * width]
        for row, item in enumerate(response.items)
    ]
