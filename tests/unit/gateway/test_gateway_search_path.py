"""The search path against a ledger and shards that change at chosen moments; the real ones are in the integration tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast

import pytest

from shoal.cluster.decisions.merging import Candidate, ShardAnswer
from shoal.cluster.decisions.tokens.awaited_writes import AwaitedWrites
from shoal.cluster.errors import InvalidRequest, Unavailable
from shoal.cluster.gateway.backends.encoders import Encoders
from shoal.cluster.gateway.backends.index_shards import IndexShards
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.backends.like import check_vector_of
from shoal.cluster.gateway.backends.query_cache import EncodedText
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.gateway.paths.embed_messages import QueryAnswer
from shoal.cluster.gateway.paths.room import GatewayMemory
from shoal.cluster.gateway.paths.search import SearchPath
from shoal.cluster.gateway.paths.visibility import WriteVisibility
from shoal.cluster.ledger.records import (
    CollectionRecord,
    CollectionSettings,
    Cut,
    ExplainRecord,
    GenerationExplanation,
    GenerationRecord,
    LiveDocument,
    ShardCut,
)
from shoal.cluster.limits import RequestLimits
from shoal.cluster.rpc.deadlines import Deadline
from shoal.cluster.rpc.routing import ModelId, ShardId
from shoal.v1 import search_pb2
from shoal.workers.encoding.model import AS_QUERY, EncodeOptions

GENERATION = GenerationRecord(11, 1, "papers", 3, "active", "m", "f", 1, "flat", "dot", 1)
COLLECTION = CollectionRecord(1, "papers", CollectionSettings("m", 1, "flat", "dot", 1), 9, 0, GENERATION)
CUT = Cut(COLLECTION, GENERATION, [ShardCut(0, "w", 3, 5, 0, 0, 0)], 0, 0, None, False)


MEMORY = GatewayMemory(RequestLimits())


class Ledger:
    """Cuts in the order they are read (the last one again and again), and documents with their content versions."""

    def __init__(self, cuts: Sequence[Cut], versions: dict[str, int]) -> None:
        self.cuts = list(cuts)
        self.versions = versions
        self.reads = 0

    async def cut(self, name: str, awaited: AwaitedWrites | None = None) -> Cut:
        self.reads += 1
        await asyncio.sleep(0)
        return self.cuts.pop(0) if len(self.cuts) > 1 else self.cuts[0]

    async def explain(self, collection: str, document_id: str) -> ExplainRecord:
        state = GenerationExplanation(GENERATION, 0, "w", 1, 1, False, 0, "", 0, False)
        return ExplainRecord(document_id, 1, 1, False, [state])

    async def hydrate(self, collection_id: int, generation_id: int, ids: Sequence[str], include_text: bool) -> Any:
        return {one: LiveDocument(self.versions[one], self.versions[one], "{}", None, False, False) for one in ids}


class Shards:
    """One shard with rows at version 1, best first; records its requests."""

    def __init__(self, *ids: str, damage_count: int = 0) -> None:
        self.damage_count = damage_count
        self.rows = tuple(Candidate(one, 1, 1.0 - n) for n, one in enumerate(ids))
        self.asked: list[int] = []
        self.encoded: list[ModelId] = []
        self.searched: list[bytes] = []

    async def search_shard(
        self, shard: ShardId, vector: bytes, k: int, min_ordinal: int, deadline: Deadline, patience: Deadline | None
    ) -> ShardAnswer:
        self.asked.append(k)
        self.searched.append(vector)
        return ShardAnswer(self.rows[:k], exhausted=len(self.rows) < k, damage_count=self.damage_count)

    async def vector(
        self, shard: ShardId, document_id: str, min_ordinal: int, deadline: Deadline, patience: Deadline | None
    ) -> tuple[int, bytes]:
        assert min_ordinal == CUT.shards[0].through
        return 1, bytes(4)

    async def query(self, model: ModelId, text: str, options: EncodeOptions, deadline: Deadline) -> QueryAnswer:
        assert options == AS_QUERY
        self.encoded.append(model)
        return QueryAnswer(EncodedText(model.fingerprint.encode(), 1, False), 1)


class Clock:
    """Every read of it takes 20 ms."""

    def __init__(self) -> None:
        self.now = 1000

    def __call__(self) -> int:
        self.now += 20
        return self.now


def searched(ledger: Ledger, shards: Shards, k: int, times: int = 1, like: str = "") -> search_pb2.SearchResponse:
    async def scenario() -> search_pb2.SearchResponse:
        reads, index_shards = cast(LedgerReads, ledger), cast(IndexShards, shards)
        visibility = WriteVisibility(reads, index_shards, RoutingView())
        searcher = SearchPath(reads, visibility, index_shards, cast(Encoders, shards), RequestLimits(), Clock())
        request = search_pb2.SearchRequest(collection="papers", k=k)
        if like:
            request.like = like
        else:
            request.text = "words"
        for _ in range(times - 1):
            await searcher.search(request, Deadline.within(5), await MEMORY.admit("a caller", 1))
        return await searcher.search(request, Deadline.within(5), await MEMORY.admit("a caller", 1))

    return asyncio.run(scenario())


def test_an_edit_after_the_cut_counts_as_pending() -> None:
    shards = Shards("a", "b", "c")
    response = searched(Ledger([CUT], {"a": 2, "b": 1, "c": 1}), shards, k=2)
    assert [hit.id for hit in response.hits] == ["b", "c"]
    assert shards.asked == [2, 4]
    # Embedded again before the second cut, so neither cut knows of it; still this answer did not show it.
    assert response.coverage.pending == 1 and response.coverage.lag_ms > 0


def test_the_worse_of_both_cuts_is_reported() -> None:
    later = replace(CUT, pending=4, oldest_changed_at_ms=10)
    response = searched(Ledger([CUT, later], {"a": 2, "b": 1, "c": 1}), Shards("a", "b", "c"), k=2)
    assert response.coverage.pending == 4 and response.coverage.lag_ms > 900


def test_without_stale_hits_the_first_cut_is_enough() -> None:
    ledger = Ledger([CUT, replace(CUT, pending=4)], {"a": 1, "b": 1, "c": 1})
    assert searched(ledger, Shards("a", "b", "c"), k=2).coverage.pending == 0
    assert ledger.reads == 1


def test_an_answer_that_lacks_files_of_the_cut_is_repeated() -> None:
    later = replace(CUT, shards=[ShardCut(0, "w", 3, 5, 1, 0, 0, damage_count=1)], pending=1, oldest_changed_at_ms=10)
    ledger, shards = Ledger([CUT, later], {"a": 1, "b": 1}), Shards("a", "b", damage_count=1)
    response = searched(ledger, shards, k=3)
    assert (ledger.reads, len(shards.asked)) == (2, 2)
    assert (response.coverage.known, response.coverage.reachable, response.coverage.pending) == (3, 2, 1)


def test_losses_that_the_cut_knows_of_need_no_second_search() -> None:
    known = replace(CUT, shards=[ShardCut(0, "w", 3, 5, 0, 0, 0, damage_count=2)])
    ledger = Ledger([known], {"a": 1})
    # The worker may still show the state of before: then it has more, not less.
    for damage_count in (2, 1):
        ledger.reads = 0
        searched(ledger, Shards("a", damage_count=damage_count), k=1)
        assert ledger.reads == 1


def test_a_query_encoded_ahead_by_an_old_model_is_encoded_again() -> None:
    changed = replace(CUT, generation=replace(GENERATION, model="n", fingerprint="g"))
    shards = Shards("a")
    searched(Ledger([CUT, changed], {"a": 1}), shards, k=1, times=2)
    assert shards.encoded == [ModelId("m", "f"), ModelId("m", "f"), ModelId("n", "g")]
    assert shards.searched == [b"f", b"g"]


def test_a_query_encoded_ahead_is_used_when_the_model_still_stands() -> None:
    shards = Shards("a")
    searched(Ledger([CUT], {"a": 1}), shards, k=1, times=3)
    assert len(shards.encoded) == 3 and shards.searched == [b"f"] * 3


def test_an_edit_of_the_document_that_hits_are_like_counts_as_pending() -> None:
    shards = Shards("a", "b", "c")
    response = searched(Ledger([CUT], {"a": 2, "b": 1, "c": 1}), shards, k=2, like="a")
    assert [hit.id for hit in response.hits] == ["b", "c"] and shards.asked == [3]
    # Embedded again before the second cut; still this answer is like its old text.
    assert response.coverage.pending == 1 and response.coverage.lag_ms > 0
    failed = searched(Ledger([replace(CUT, failed=3)], {"a": 2, "b": 1, "c": 1}), shards, k=2, like="a")
    assert failed.coverage.pending == 1
    assert searched(Ledger([CUT], {"a": 1, "b": 1, "c": 1}), shards, k=2, like="a").coverage.pending == 0


@pytest.mark.parametrize(
    ("version", "embedded", "failed", "error"),
    [
        (2, 2, False, None),
        (3, 2, False, None),
        (1, 1, False, None),
        (0, 0, False, Unavailable),
        (0, 2, False, InvalidRequest),
        (0, 0, True, InvalidRequest),
        (1, 1, True, InvalidRequest),
    ],
)
def test_which_vector_may_be_a_query(version: int, embedded: int, failed: bool, error: type[Exception] | None) -> None:
    state = GenerationExplanation(GENERATION, 0, "w", 2, embedded, False, 1, "too odd", 0, failed)
    with pytest.raises(error) if error else nullcontext() as caught:
        check_vector_of("a", state, version)
    if failed:
        assert caught is not None and str(caught.value) == "like: document 'a' could not be embedded: too odd"
