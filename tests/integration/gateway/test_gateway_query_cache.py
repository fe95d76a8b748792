"""The query cache in a running gateway: what costs an encoder call, what does not, and who waits for whom."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from integration.gateway.watched_engine import WatchedEngine
from shoal.v1 import embedding_pb2, search_pb2, status_pb2
from shoal.workers.encoding.engine.engine import EncoderEngine, EngineState
from shoal.workers.encoding.engine.scheduler import QueueFull
from shoal.workers.encoding.replica.service import EncoderService
from shoal.workers.encoding.static.hashing_model import HashingModel
from shoal.workers.runtime import InternalServer
from support.gateway.small_cluster import CREDENTIALS, DIMENSION, MODEL, SmallCluster, eventually, refused, stop

QUERY = embedding_pb2.ROLE_QUERY


@pytest.fixture
def watched(cluster: SmallCluster) -> Iterator[WatchedEngine]:
    engine = WatchedEngine(cluster.engine)
    yield engine
    engine.release()


def request(*texts: str, **fields: object) -> embedding_pb2.EmbedRequest:
    return embedding_pb2.EmbedRequest(model=MODEL, texts=texts, role=QUERY, **fields)  # type: ignore[arg-type]


def cache_stats(cluster: SmallCluster) -> status_pb2.QueryCache:
    return cluster.status.Status(status_pb2.StatusRequest()).query_cache


def test_a_repeated_query_costs_no_encoder_call(cluster: SmallCluster, watched: WatchedEngine) -> None:
    first = cluster.embedding.Embed(request("tidal locking"))
    again = cluster.embedding.Embed(request("tidal locking", "tidal locking"))
    assert watched.calls == [["tidal locking"]]
    assert again.vectors == 2 * first.vectors and list(again.tokens) == 2 * list(first.tokens)
    assert again.timing.infer_us == 0 < first.timing.infer_us and again.timing.total_us > 0
    cluster.create("papers")
    search = search_pb2.SearchRequest(collection="papers", text="tidal locking", k=1)
    cluster.searches.Search(search)
    assert len(watched.calls) == 1
    cluster.searches.Search(search_pb2.SearchRequest(collection="papers", text="moons", k=1))
    cluster.embedding.Embed(request("moons"))
    assert watched.calls[1:] == [["moons"]]
    cache = cache_stats(cluster)
    assert (cache.hits, cache.misses, cache.entries, cache.joined) == (3, 2, 2, 0)
    assert cache.limit_bytes > cache.bytes > 2 * 4 * DIMENSION


def test_only_missing_texts_are_encoded(cluster: SmallCluster, watched: WatchedEngine) -> None:
    many = [f"query {n}" for n in range(40)]
    cluster.embedding.Embed(request(*many[:20]))
    response = cluster.embedding.Embed(request(*many))
    assert watched.calls == [many[:20], many[20:]]
    wanted = HashingModel(DIMENSION).encode(many).vectors
    vectors = np.frombuffer(response.vectors, "<f4").reshape(40, DIMENSION)
    np.testing.assert_allclose(vectors, wanted, atol=1e-6)
    cluster.embedding.Embed(request(*many))
    assert len(watched.calls) == 2


def test_other_options_give_other_vectors(cluster: SmallCluster, watched: WatchedEngine) -> None:
    for _ in range(2):
        for fields in ({}, {"prompt": ""}, {"dimensions": 8}, {"normalize": False}, {"truncation": 2}):
            cluster.embedding.Embed(request("tidal locking", **fields))
    assert len(watched.calls) == 5
    # Documents are not queries, and neither ask nor fill the cache.
    document = embedding_pb2.EmbedRequest(model=MODEL, texts=["tidal locking"])
    for _ in range(2):
        cluster.embedding.Embed(document)
    assert len(watched.calls) == 7 and cache_stats(cluster).entries == 5


def test_errors_are_not_cached(cluster: SmallCluster, watched: WatchedEngine) -> None:
    for _ in range(2):
        response = cluster.embedding.Embed(request(" ", "good"))
        assert [one.position for one in response.errors] == [0] and response.tokens[1] == 1
    assert watched.calls.count([" "]) + watched.calls.count([" ", "good"]) == 2
    watched.errors = [QueueFull("queue is full")]
    code, _ = refused(lambda: cluster.embedding.Embed(request("unlucky")))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert cluster.embedding.Embed(request("unlucky")).tokens[0] == 1


def test_equal_queries_at_the_same_time_share_one_call(cluster: SmallCluster, watched: WatchedEngine) -> None:
    watched.hold()
    calls = [cluster.embedding.Embed.future(request("tidal locking"), timeout=10) for _ in range(10)]
    eventually(lambda: cache_stats(cluster).joined == 9)
    # A caller that gives up, even the first, does not cancel the others' answer.
    calls[0].cancel()
    calls[5].cancel()
    watched.release()
    answers = [call.result().vectors for position, call in enumerate(calls) if position not in (0, 5)]
    assert len(set(answers)) == 1
    assert watched.calls == [["tidal locking"]] and watched.cancelled == 0


def test_a_short_deadline_is_not_another_callers(cluster: SmallCluster, watched: WatchedEngine) -> None:
    watched.hold()
    hasty = cluster.embedding.Embed.future(request("tidal locking"), timeout=3)
    eventually(lambda: len(watched.calls) == 1)
    patient = cluster.embedding.Embed.future(request("tidal locking"), timeout=10)
    eventually(lambda: cache_stats(cluster).joined == 1)
    assert refused(hasty.result)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    watched.release()
    assert patient.result().tokens[0] == 2
    assert len(watched.calls) == 1


def test_work_without_waiters_is_cancelled(cluster: SmallCluster, watched: WatchedEngine) -> None:
    watched.hold()
    calls = [cluster.embedding.Embed.future(request("tidal locking"), timeout=10) for _ in range(3)]
    eventually(lambda: cache_stats(cluster).joined == 2)
    for call in calls:
        call.cancel()
    eventually(lambda: watched.cancelled == 1)
    watched.release()
    assert cluster.embedding.Embed(request("tidal locking")).tokens[0] == 2


class Turned(HashingModel):
    """The same texts, other vectors, another fingerprint: a new version of the model."""

    def __init__(self) -> None:
        super().__init__(DIMENSION, name=MODEL)
        self.fingerprint = "f" * 32

    def forward(self, batch):  # type: ignore[no-untyped-def]
        return -super().forward(batch)


def test_a_changed_model_is_never_answered_from_the_cache(cluster: SmallCluster, watched: WatchedEngine) -> None:
    before = cluster.embedding.Embed(request("tidal locking"))
    engine = EncoderEngine(MODEL, load=lambda _: Turned())
    engine.start()
    server = InternalServer(EncoderService(engine).register, CREDENTIALS)
    try:
        cluster.coordinator.encoders = [server.start()]
        eventually(lambda: engine.describe().state is EngineState.READY)
        cluster.coordinator.model = Turned()
        cluster.coordinator.publish()
        eventually(lambda: cluster.embedding.Embed(request("tidal locking")).fingerprint == "f" * 32)
        after = cluster.embedding.Embed(request("tidal locking"))
    finally:
        stop(server)
        engine.close()
    old, new = (np.frombuffer(one.vectors, "<f4") for one in (before, after))
    np.testing.assert_allclose(new, -old, atol=1e-6)
