"""Embed and EmbedStream through a real gateway and a real encoder: options, limits, errors of single texts, streams."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from integration.gateway.watched_engine import WatchedEngine
from shoal.v1 import embedding_pb2, errors_pb2
from shoal.workers.encoding.engine.scheduler import Priority, QueueFull
from shoal.workers.encoding.model import EncodeOptions, Role, Truncation
from shoal.workers.encoding.static.hashing_model import HashingModel
from support.gateway.small_cluster import DIMENSION, MODEL, SmallCluster, eventually, refused

QUERY = embedding_pb2.ROLE_QUERY


@pytest.fixture
def watched(cluster: SmallCluster) -> Iterator[WatchedEngine]:
    engine = WatchedEngine(cluster.engine)
    yield engine
    engine.release()


def embed(cluster: SmallCluster, *texts: str, **fields: Any) -> embedding_pb2.EmbedResponse:
    fields.setdefault("model", MODEL)
    return cluster.embedding.Embed(embedding_pb2.EmbedRequest(texts=texts, **fields), timeout=10)


def matrix(response: embedding_pb2.EmbedResponse, dtype: str = "<f4") -> np.ndarray:
    return np.frombuffer(response.vectors, dtype).reshape(len(response.tokens), response.dimension)


def streamed(*requests: embedding_pb2.EmbedRequest) -> Iterator[embedding_pb2.EmbedStreamRequest]:
    for number, request in enumerate(requests):
        yield embedding_pb2.EmbedStreamRequest(id=number, embed=request)


def test_one_matrix_with_tokens_truncations_errors_and_times(cluster: SmallCluster) -> None:
    texts = [f"text number {n}" for n in range(150)]
    texts[70], texts[71] = " ", "word " * 600
    response = embed(cluster, *texts)
    good = [n for n in range(150) if n != 70]
    wanted = HashingModel(DIMENSION).encode([texts[n] for n in good]).vectors
    np.testing.assert_allclose(matrix(response)[good], wanted, atol=1e-6)
    assert not matrix(response)[70].any()
    assert (response.dimension, response.vector_type) == (DIMENSION, embedding_pb2.VECTOR_TYPE_FLOAT32)
    assert list(response.tokens) == [3] * 70 + [0, 512] + [3] * 78
    assert list(response.truncated) == [71]
    assert [(one.position, one.error.field) for one in response.errors] == [(70, "texts[70]")]
    assert response.fingerprint == cluster.coordinator.model.fingerprint
    timing = response.timing
    assert timing.infer_us > 0 and timing.tokenize_us > 0 and timing.queue_us >= 0
    assert timing.total_us >= timing.infer_us


@pytest.mark.parametrize(
    ("request_", "field", "value", "limit"),
    [
        ({"model": ""}, "model", "''", 0),
        ({"model": "other"}, "model", "", 0),
        ({"texts": []}, "texts", "", 1000),
        ({"texts": ["a"] * 1001}, "texts", "1001", 1000),
        ({"role": 9}, "role", "9", 0),
        ({"truncation": 9}, "truncation", "9", 0),
        ({"vector_type": 9}, "vector_type", "9", 0),
        ({"dimensions": -1}, "dimensions", "-1", 8192),
        ({"dimensions": 8193}, "dimensions", "8193", 8192),
        ({"dimensions": DIMENSION + 1}, "dimensions", str(DIMENSION + 1), DIMENSION),
        ({"prompt": "p" * 4097}, "prompt", "4097", 4096),
    ],
)
def test_the_error_of_a_request_names_what_is_wrong(
    cluster: SmallCluster, request_: dict[str, Any], field: str, value: str, limit: int
) -> None:
    request = embedding_pb2.EmbedRequest(**{"model": MODEL, "texts": ["a"], **request_})
    code, detail = refused(lambda: cluster.embedding.Embed(request, timeout=10))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (detail.field, detail.value, detail.limit) == (field, value, limit)
    assert detail.message.startswith((f"{field}:", "model 'other':"))


def test_one_text_that_is_too_long_does_not_affect_the_others(cluster: SmallCluster) -> None:
    for role in (embedding_pb2.ROLE_DOCUMENT, QUERY):
        response = embed(cluster, "one", "x" * 65537, "three", role=role)
        [error] = response.errors
        assert (error.position, error.error.field, error.error.value, error.error.limit) == (1, "texts[1]", "65537", 65536)
        assert matrix(response).any(axis=1).tolist() == [True, False, True]
        assert list(response.tokens) == [1, 0, 1]


def test_options_and_priority_reach_the_encoder(cluster: SmallCluster, watched: WatchedEngine) -> None:
    embed(cluster, "a")
    embed(cluster, "a", role=QUERY, prompt="", dimensions=8, normalize=False, truncation=embedding_pb2.TRUNCATION_REFUSE)
    embed(cluster, "a", prompt="find: ", normalize=True, truncation=embedding_pb2.TRUNCATION_START)
    many = [f"query {n}" for n in range(20)]
    embed(cluster, *many, role=QUERY)
    list(cluster.embedding.EmbedStream(streamed(embedding_pb2.EmbedRequest(model=MODEL, texts=["a"], role=QUERY))))
    assert watched.options == [
        EncodeOptions(),
        EncodeOptions(Role.QUERY, prompt="", dimensions=8, normalize=False, truncation=Truncation.REFUSE),
        EncodeOptions(prompt="find: ", normalize=True, truncation=Truncation.START),
        EncodeOptions(Role.QUERY),
        EncodeOptions(Role.QUERY),
    ]
    live, query, backfill = Priority.LIVE, Priority.QUERY, Priority.BACKFILL
    assert watched.priorities == [live, query, live, query, backfill]
    # Many queries are one call; it is not split.
    assert watched.calls[3] == many


def test_dimensions_prompt_and_truncation_change_the_vectors(cluster: SmallCluster) -> None:
    model = HashingModel(DIMENSION)
    text = "word " * 500 + "tail " * 500
    for fields, options in (
        ({"dimensions": 16}, EncodeOptions(dimensions=16)),
        ({"dimensions": 16, "normalize": False}, EncodeOptions(dimensions=16, normalize=False)),
        ({"prompt": "find: "}, EncodeOptions(prompt="find: ")),
        ({"truncation": embedding_pb2.TRUNCATION_START}, EncodeOptions(truncation=Truncation.START)),
    ):
        response = embed(cluster, text, **fields)
        np.testing.assert_allclose(matrix(response), model.encode([text], options).vectors, atol=1e-6)
    response = embed(cluster, "short", text, truncation=embedding_pb2.TRUNCATION_REFUSE)
    assert [(one.position, "512 tokens" in one.error.message) for one in response.errors] == [(1, True)]


def test_float16_halves_the_reply(cluster: SmallCluster) -> None:
    wide = embed(cluster, "one", "two words")
    half = embed(cluster, "one", "two words", vector_type=embedding_pb2.VECTOR_TYPE_FLOAT16)
    assert half.vector_type == embedding_pb2.VECTOR_TYPE_FLOAT16 and 2 * len(half.vectors) == len(wide.vectors)
    np.testing.assert_allclose(matrix(half, "<f2"), matrix(wide), atol=1e-3)


def test_a_full_encoder_is_reported_with_a_retry_delay(cluster: SmallCluster, watched: WatchedEngine) -> None:
    watched.errors = [QueueFull("live queue is full")]
    code, detail = refused(lambda: embed(cluster, "a"))
    assert (code, detail.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, errors_pb2.ERROR_REASON_OVERLOADED)
    assert detail.retry_after_ms > 0
    # A stream has time to wait for room.
    watched.errors = [QueueFull("backfill queue is full")] * 2
    [answer] = cluster.embedding.EmbedStream(streamed(embedding_pb2.EmbedRequest(model=MODEL, texts=["a"])))
    assert answer.HasField("embed") and len(watched.calls) == 4


def test_a_lost_replica_goes_unnoticed(cluster: SmallCluster) -> None:
    cluster.coordinator.encoders.insert(0, "127.0.0.1:1")
    cluster.coordinator.publish()
    texts = [f"text {n}" for n in range(300)]
    for role in (embedding_pb2.ROLE_DOCUMENT, QUERY):
        response = embed(cluster, *texts, role=role)
        np.testing.assert_allclose(matrix(response), HashingModel(DIMENSION).encode(texts).vectors, atol=1e-6)


def test_a_stream_answers_by_id_as_results_are_ready_and_continues_after_refusals(
    cluster: SmallCluster, watched: WatchedEngine
) -> None:
    requests = [embedding_pb2.EmbedRequest(model=MODEL, texts=[f"text {n}", " "]) for n in range(6)]
    requests[2] = embedding_pb2.EmbedRequest(model=MODEL)
    requests[4].dimensions = 1000
    answers = {one.id: one for one in cluster.embedding.EmbedStream(streamed(*requests), timeout=10)}
    assert sorted(answers) == list(range(6))
    refusals = {number: one.error.field for number, one in answers.items() if one.HasField("error")}
    assert refusals == {2: "texts", 4: "dimensions"}
    assert all(answers[n].embed.errors[0].position == 1 and answers[n].embed.timing.total_us for n in (0, 1, 3, 5))
    # The first waits at the encoder while a later one, refused by the gateway itself, is answered.
    watched.hold()
    stream = cluster.embedding.EmbedStream(streamed(requests[0], requests[2]), timeout=10)
    assert next(stream).id == 1
    watched.release()
    assert next(stream).id == 0


def test_a_stream_is_read_no_faster_than_it_is_answered(cluster: SmallCluster, watched: WatchedEngine) -> None:
    watched.hold()
    read = 0

    def requests() -> Iterator[embedding_pb2.EmbedStreamRequest]:
        nonlocal read
        # Large, so that gRPC's own buffers hold few of them.
        for number in range(100):
            read += 1
            texts = ["x" * 60_000] * 10
            yield embedding_pb2.EmbedStreamRequest(id=number, embed=embedding_pb2.EmbedRequest(model=MODEL, texts=texts))

    stream = cluster.embedding.EmbedStream(requests(), timeout=20)
    eventually(lambda: len(watched.calls) == 8)
    time.sleep(0.3)
    assert len(watched.calls) == 8 and read < 40
    watched.release()
    assert sorted(answer.id for answer in stream) == list(range(100))


def test_cancelling_a_stream_cancels_its_work(cluster: SmallCluster, watched: WatchedEngine) -> None:
    watched.hold()
    requests = [embedding_pb2.EmbedRequest(model=MODEL, texts=[f"text {n}"]) for n in range(3)]
    stream = cluster.embedding.EmbedStream(streamed(*requests), timeout=20)
    eventually(lambda: len(watched.calls) == 3)
    stream.cancel()
    eventually(lambda: watched.cancelled == 3)


def test_the_deadline_ends_a_stream_and_its_work(cluster: SmallCluster, watched: WatchedEngine) -> None:
    watched.hold()
    stream = cluster.embedding.EmbedStream(streamed(embedding_pb2.EmbedRequest(model=MODEL, texts=["a"])), timeout=3)
    eventually(lambda: len(watched.calls) == 1)
    code, _ = refused(lambda: list(stream))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: watched.cancelled == 1)


def test_a_drain_ends_a_stream_after_the_answers_in_progress(cluster: SmallCluster, watched: WatchedEngine) -> None:
    watched.hold()
    more = threading.Event()

    def requests() -> Iterator[embedding_pb2.EmbedStreamRequest]:
        yield from streamed(embedding_pb2.EmbedRequest(model=MODEL, texts=["a"]))
        more.wait(10)

    stream = cluster.embedding.EmbedStream(requests())
    eventually(lambda: len(watched.calls) == 1)
    draining = threading.Thread(target=cluster.gateway.drain, args=(8,))
    draining.start()
    time.sleep(0.2)
    watched.release()
    assert next(stream).HasField("embed")
    assert refused(lambda: next(stream))[0] is grpc.StatusCode.UNAVAILABLE
    more.set()
    draining.join(10)
