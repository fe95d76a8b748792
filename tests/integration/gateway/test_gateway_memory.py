"""What callers can have the gateway hold in memory: bounds in bytes, and bytes that are no message."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from shoal.cluster.limits import RequestLimits
from shoal.v1 import collections_pb2, documents_pb2, embedding_pb2, errors_pb2, search_pb2, status_pb2
from support.gateway.small_cluster import MODEL, SmallCluster, eventually, refused

LIMITS = RequestLimits(message_bytes=300_000, requests_bytes=600_000, replies_bytes=600_000, waiting_bytes=700_000)
LARGE = 200_000
"""Bytes of a large batch; more than two do not fit."""
METHODS = [
    (f"/{service.full_name}/{method.name}", method)
    for module in (collections_pb2, documents_pb2, embedding_pb2, search_pb2, status_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallCluster]:
    cluster = SmallCluster(tmp_path_factory.mktemp("memory"), LIMITS)
    try:
        cluster.wait_ready()
        cluster.create("papers")
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def cluster(served: SmallCluster) -> Iterator[SmallCluster]:
    yield served
    served.coordinator.before_write = lambda: None
    # Whatever a test did, nothing stays counted.
    eventually(lambda: not any(counted(served)))


def counted(cluster: SmallCluster) -> list[int]:
    memory = cluster.memory
    return [memory.requests.budget.held, memory.requests.budget.waiting, memory.replies.budget.held]


def large_batch(prefix: str, sequence: int = 0) -> list[documents_pb2.Document]:
    return [documents_pb2.Document(id=f"{prefix}-{sequence}-{n}", text="word " * (LARGE // 25)) for n in range(5)]


@pytest.fixture
def closed_gate(cluster: SmallCluster) -> threading.Event:
    """Writes are not committed until the event is set."""
    gate = threading.Event()
    cluster.coordinator.before_write = lambda: gate.wait(20)
    return gate


def test_streams_of_large_batches_wait_within_the_budget_and_lose_nothing(
    cluster: SmallCluster, closed_gate: threading.Event
) -> None:
    streams, batches = 3, 5

    def upload(name: str) -> list[documents_pb2.UpsertStreamResponse]:
        requests = [
            documents_pb2.UpsertStreamRequest(collection="papers", documents=large_batch(name, n), sequence=n)
            for n in range(batches)
        ]
        return list(cluster.documents.UpsertStream(iter(requests), timeout=60))

    def stored() -> int:
        return cluster.status.Status(status_pb2.StatusRequest()).collections[0].documents

    before = stored()
    budget = cluster.memory.requests.budget
    with ThreadPoolExecutor(streams) as threads:
        uploads = [threads.submit(upload, f"stream-{n}") for n in range(streams)]
        # Two batches are worked on. Each stream has one more that waits, and the gateway reads no further.
        eventually(lambda: budget.waiting > streams * LARGE)
        assert budget.large_held < 500_000 and budget.waiting < streams * (LARGE + 1000)
        # Meanwhile others are answered.
        cluster.searches.Search(search_pb2.SearchRequest(collection="papers", text="word", k=3), timeout=10)
        assert budget.large_held < 500_000 and budget.waiting < streams * (LARGE + 1000)
        closed_gate.set()
        for answered in uploads:
            assert [len(reply.results) for reply in answered.result()] == [5] * batches
    assert stored() == before + streams * batches * 5


def test_more_waiting_bytes_than_the_limit_are_refused_by_name(cluster: SmallCluster, closed_gate: threading.Event) -> None:
    def upsert(number: int) -> Any:
        request = documents_pb2.UpsertRequest(collection="papers", documents=large_batch("refused", number))
        return cluster.documents.Upsert.future(request, timeout=30)

    budget = cluster.memory.requests.budget
    calls = [upsert(n) for n in range(5)]
    eventually(lambda: budget.waiting > 3 * LARGE)
    code, detail = refused(lambda: upsert(9).result())
    assert (code, detail.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, errors_pb2.ERROR_REASON_OVERLOADED)
    assert detail.limit == 700_000 and "the limit of 700000" in detail.message and detail.retry_after_ms > 0
    # A small write of someone else is not refused because of them.
    small = cluster.documents.Upsert.future(
        documents_pb2.UpsertRequest(collection="papers", documents=[documents_pb2.Document(id="small", text="a")]),
        timeout=30,
    )
    eventually(lambda: budget.small_held > 0)
    # Callers that give up give their bytes back.
    for call in calls[3:]:
        call.cancel()
    eventually(lambda: budget.waiting < 2 * LARGE)
    closed_gate.set()
    assert [call.result().results[0].changed for call in calls[:3]] == [True] * 3
    assert small.result().results[0].changed


def test_a_write_that_waits_to_be_searchable_no_longer_holds_its_request(cluster: SmallCluster) -> None:
    request = documents_pb2.UpsertRequest(collection="papers", documents=large_batch("waits"), wait=True)
    before = cluster.coordinator.writes
    call = cluster.documents.Upsert.future(request, timeout=30)
    eventually(lambda: cluster.coordinator.writes > before and cluster.memory.requests.budget.held == 0)
    assert not call.done()
    cluster.coordinator.reconcile()
    assert call.result().results[0].changed


def test_an_embedding_reply_that_would_be_too_large_is_refused_before_any_text_is_encoded(
    cluster: SmallCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = cluster.gateway._core
    assert core is not None
    monkeypatch.setattr(core.embedding, "_limits", RequestLimits(message_bytes=4 * 64 * 10))
    encoded = cluster.engine.load().texts
    code, detail = refused(
        lambda: cluster.embedding.Embed(embedding_pb2.EmbedRequest(model=MODEL, texts=["a"] * 11), timeout=10)
    )
    assert (code, detail.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, errors_pb2.ERROR_REASON_MESSAGE_TOO_LARGE)
    assert detail.message == "the reply has 2816 bytes, the limit is 2560; send fewer texts at a time"
    assert cluster.engine.load().texts == encoded


class Readings:
    """The documents that the gateway reads from its ledger, while the test holds it."""

    def __init__(self, cluster: SmallCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read = self.at_once = self.most_at_once = 0
        self.gate = threading.Event()
        core = cluster.gateway._core
        assert core is not None
        hydrate = core._reads.hydrate

        async def watched(*given: Any) -> Any:
            self.read += len(given[2])
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                await asyncio.to_thread(self.gate.wait, 20)
                return await hydrate(*given)
            finally:
                self.at_once -= 1

        monkeypatch.setattr(core._reads, "hydrate", watched)


@pytest.fixture(scope="module")
def long_texts(served: SmallCluster) -> str:
    """A collection of 100 documents with 10,000 characters each."""
    served.create("long")
    for batch in range(5):
        ids = [f"{batch}-{n}" for n in range(20)]
        served.upsert_texts("long", {one: f"{one} ".ljust(10_000, "x") for one in ids})
    served.coordinator.reconcile()
    return "long"


def test_a_search_reads_no_further_when_its_reply_is_too_large(
    cluster: SmallCluster, long_texts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = Readings(cluster, monkeypatch)
    readings.gate.set()
    request = search_pb2.SearchRequest(collection=long_texts, text="x", k=100, include_text=True)
    code, detail = refused(lambda: cluster.searches.Search(request, timeout=10))
    assert (code, detail.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, errors_pb2.ERROR_REASON_MESSAGE_TOO_LARGE)
    assert "the reply has more than 300000 bytes with 30 of 100 hits" in detail.message and detail.limit == 300_000
    # One part of at most 4 MiB at the largest size of a document.
    assert readings.read < 50
    request.k = 25
    assert len(cluster.searches.Search(request, timeout=10).hits) == 25
    request.k, request.include_text = 100, False
    assert len(cluster.searches.Search(request, timeout=10).hits) == 100


def test_large_replies_are_read_only_when_there_is_room_for_them(
    cluster: SmallCluster, long_texts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = Readings(cluster, monkeypatch)
    budget = cluster.memory.replies.budget
    request = search_pb2.SearchRequest(collection=long_texts, text="x", k=25, include_text=True)
    calls = [cluster.searches.Search.future(request, timeout=30) for _ in range(12)]
    # Room for one reply of the largest size.
    eventually(lambda: budget.waiting == 11 * 300_000)
    assert readings.at_once == 1 and budget.held == 300_000
    readings.gate.set()
    assert [len(call.result().hits) for call in calls] == [25] * 12
    assert readings.most_at_once == 1


def test_documents_that_are_too_large_together_are_not_read_to_the_end(cluster: SmallCluster, long_texts: str) -> None:
    ids = [f"{batch}-{n}" for batch in range(5) for n in range(20)]
    request = documents_pb2.GetRequest(collection=long_texts, ids=ids)
    code, detail = refused(lambda: cluster.documents.Get(request, timeout=10))
    assert (code, detail.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, errors_pb2.ERROR_REASON_MESSAGE_TOO_LARGE)
    assert detail.message == "the documents have more than 300000 bytes, the limit is 300000; request less at a time"
    request = documents_pb2.GetRequest(collection=long_texts, ids=ids[:29])
    assert len(cluster.documents.Get(request, timeout=10).documents) == 29


@pytest.mark.parametrize(("path", "method"), METHODS, ids=[path for path, _ in METHODS])
def test_bytes_that_are_no_message_are_an_invalid_argument(
    cluster: SmallCluster, path: str, method: Any, caplog: pytest.LogCaptureFixture
) -> None:
    code, detail = refused(lambda: send_bytes(cluster, path, method.server_streaming))
    assert (code, detail.reason, detail.field) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        errors_pb2.ERROR_REASON_INVALID_ARGUMENT,
        "request",
    )
    assert detail.message == f"request: the 3 bytes received are no request of {method.name}"
    for _ in range(3):
        refused(lambda: send_bytes(cluster, path, method.server_streaming))
    # One line for the first; the others are counted.
    assert [record.levelno for record in caplog.records if path in record.getMessage()] == [logging.WARNING]
    assert not any(record.exc_info for record in caplog.records)
    core = cluster.gateway._core
    assert core is not None and core.parser.malformed[path] == 4


@pytest.mark.parametrize(
    ("path", "streaming"),
    [
        ("/grpc.health.v1.Health/Check", False),
        ("/grpc.health.v1.Health/Watch", True),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", True),
    ],
)
def test_health_and_reflection_refuse_bytes_that_are_no_message_too(
    cluster: SmallCluster, path: str, streaming: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        send_bytes(cluster, path, streaming)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT and "the 3 bytes received" in error.details()
    assert not any(record.exc_info for record in caplog.records)


def send_bytes(cluster: SmallCluster, path: str, streaming: bool) -> None:
    """Sends bytes that no message begins with: the tag of a field, and the end."""
    if streaming:
        list(cluster.channel.stream_stream(path)(iter([b"\xff\xff\xff"]), timeout=10))
    else:
        cluster.channel.unary_unary(path)(b"\xff\xff\xff", timeout=10)


def test_a_call_without_a_request_is_an_invalid_argument(cluster: SmallCluster) -> None:
    nothing = cluster.channel.stream_unary("/shoal.v1.SearchService/Search")
    code, detail = refused(lambda: nothing(iter(()), timeout=10))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and detail.message == "request: the call ended without one"
