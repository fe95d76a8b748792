"""Calls to index workers. Searches are batched while calls are in flight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from shoal.cluster.decisions.merging import Candidate, ShardAnswer
from shoal.cluster.errors import InternalDefect, Unavailable
from shoal.cluster.gateway.backends.counts import GatewayCounts
from shoal.cluster.gateway.backends.internal_calls import call
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.rpc.channels import Channels
from shoal.cluster.rpc.deadlines import Deadline
from shoal.cluster.rpc.gathering import Gathering
from shoal.cluster.rpc.retry import retry_until
from shoal.cluster.rpc.routing import ShardId
from shoal.internal.v1 import index_pb2, index_pb2_grpc

# The worker does not have the shard, so the route is outdated.
_NOT_HERE = frozenset({grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION})
RETRY_AFTER_MS = 200
HITS_PER_CALL = 32_768
"""At most 17 MB of ids, versions and scores."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The state of a shard that searches see."""

    through: int
    """Ordinal of the newest segment."""
    damage_count: int
    """How often files had been removed from the visible manifest because they were damaged."""


def queries_at_once(k: int, queries_per_call: int) -> int:
    """How many queries for `k` hits each may share a call: its reply has at most HITS_PER_CALL, or those of one query."""
    return max(1, min(queries_per_call, HITS_PER_CALL // k))


@dataclass(frozen=True, slots=True)
class _Query:
    vector: bytes
    min_ordinal: int


@dataclass(frozen=True, slots=True)
class _ShardGroup:
    """Queries of one group may share a call. The address is included so that a new route does not wait for a hung worker."""

    address: str
    shard: ShardId
    k: int


class IndexShards:
    """Searches are retried while a worker is unavailable, since routes may change. Belongs to one event loop."""

    def __init__(self, view: RoutingView, channels: Channels, queries_per_call: int, counts: GatewayCounts) -> None:
        self._view = view
        self._queries_per_call = queries_per_call
        self._channels = channels
        self._metadata = channels.metadata
        self._counts = counts
        self._gatherings: dict[_ShardGroup, Gathering[_Query, ShardAnswer]] = {}

    async def search_shard(
        self, shard: ShardId, vector: bytes, k: int, min_ordinal: int, deadline: Deadline, patience: Deadline | None = None
    ) -> ShardAnswer:
        """The shard's `k` rows nearest to a packed float32 vector, once segment `min_ordinal` is visible."""

        async def attempt() -> ShardAnswer:
            group = _ShardGroup(self._address(shard), shard, k)
            gathering = self._gatherings.get(group)
            if gathering is None:

                async def send(queries: Sequence[_Query], latest: float) -> list[ShardAnswer]:
                    return await self._search(group, queries, Deadline(latest))

                gathering = self._gatherings[group] = Gathering(send, queries_at_once(k, self._queries_per_call))
            try:
                return await gathering.submit(_Query(vector, min_ordinal), deadline.at)
            finally:
                if gathering.idle and self._gatherings.get(group) is gathering:
                    del self._gatherings[group]

        return await retry_until(deadline, attempt, self._view.change, f"shard {shard}", patience)

    async def lookup(self, shard: ShardId, document_id: str, deadline: Deadline) -> int:
        """The version that the shard's worker serves for a document, 0 when none; one attempt."""
        address = self._address(shard)
        stub = index_pb2_grpc.IndexServiceStub(self._channels.get(address))
        request = index_pb2.LookupRequest(key=shard.key(), ids=[document_id])
        response = await call(stub.Lookup, request, deadline, self._metadata, f"shard {shard}", _NOT_HERE)
        return response.versions[0]

    async def vector(
        self, shard: ShardId, document_id: str, min_ordinal: int, deadline: Deadline, patience: Deadline | None = None
    ) -> tuple[int, bytes]:
        """Version and packed float32 vector of a document, once segment `min_ordinal` is visible; 0 and nothing if it has
        no vector. Retried like a search."""

        async def attempt() -> tuple[int, bytes]:
            stub = index_pb2_grpc.IndexServiceStub(self._channels.get(self._address(shard)))
            request = index_pb2.LookupRequest(
                key=shard.key(), ids=[document_id], include_vectors=True, min_ordinal=min_ordinal
            )
            response = await call(stub.Lookup, request, deadline, self._metadata, f"shard {shard}", _NOT_HERE)
            return response.versions[0], response.vectors

        return await retry_until(deadline, attempt, self._view.change, f"shard {shard}", patience)

    async def shown(self, address: str, deadline: Deadline) -> dict[ShardId, Shown]:
        """What searches see in each shard of a worker; one attempt."""
        stub = index_pb2_grpc.IndexServiceStub(self._channels.get(address))
        request = index_pb2.DescribeShardsRequest()
        response = await call(stub.DescribeShards, request, deadline, self._metadata, f"index worker {address}")
        return {
            ShardId(state.key.generation, state.key.shard): Shown(state.through, state.damage_count)
            for state in response.shards
        }

    def _address(self, shard: ShardId) -> str:
        location = self._view.table.shards.get(shard)
        if location is None:
            raise Unavailable(f"shard {shard} has no worker now", retry_after_ms=RETRY_AFTER_MS)
        return location.address

    async def _search(self, group: _ShardGroup, queries: Sequence[_Query], deadline: Deadline) -> list[ShardAnswer]:
        self._counts.shard_queries.add(len(queries))
        query = index_pb2.ShardQuery(
            key=group.shard.key(),
            min_ordinal=max(query.min_ordinal for query in queries),
            vectors=b"".join(query.vector for query in queries),
            k=group.k,
        )
        stub = index_pb2_grpc.IndexServiceStub(self._channels.get(group.address))
        request = index_pb2.SearchShardRequest(query=query)
        response = await call(stub.SearchShard, request, deadline, self._metadata, f"shard {group.shard}", _NOT_HERE)
        return _answers(response.hits, len(queries), group)


def _answers(hits: index_pb2.ShardHits, queries: int, group: _ShardGroup) -> list[ShardAnswer]:
    if len(hits.counts) != queries or not sum(hits.counts) == len(hits.ids) == len(hits.versions) == len(hits.scores):
        raise InternalDefect(f"shard {group.shard} at {group.address} sent a reply whose sizes do not match the request")
    answers: list[ShardAnswer] = []
    start = 0
    for count in hits.counts:
        rows = slice(start, start + count)
        found = map(Candidate, hits.ids[rows], hits.versions[rows], hits.scores[rows])
        answers.append(ShardAnswer(tuple(found), exhausted=count < group.k, damage_count=hits.damage_count))
        start += count
    return answers
