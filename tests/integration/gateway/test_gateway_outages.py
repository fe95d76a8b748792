"""A model that cannot be served: search, waiting writes, embedding, status and explain say why, without waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from shoal.internal.v1 import coordinator_pb2
from shoal.v1 import collections_pb2, documents_pb2, embedding_pb2, errors_pb2, search_pb2, status_pb2
from support.gateway.small_cluster import MODEL, SmallCluster, eventually, packed, refused

REASON = f"model {MODEL!r}: its files have changed: fingerprint one is wanted, two is there"
TIMEOUT_S = 60


@pytest.fixture
def notes(cluster: SmallCluster) -> SmallCluster:
    """With a collection of one document."""
    cluster.create("notes")
    cluster.upsert_texts("notes", {"a": "the tide"})
    cluster.coordinator.reconcile()
    return cluster


def stop_serving(cluster: SmallCluster, fingerprint: str, retry_after_ms: int = 0) -> None:
    cluster.coordinator.encoders.clear()
    cluster.coordinator.outages = [
        coordinator_pb2.ModelOutage(model=MODEL, fingerprint=fingerprint, reason=REASON, retry_after_ms=retry_after_ms)
    ]
    cluster.coordinator.publish()
    eventually(lambda: not cluster.routed.encoders)


def search(cluster: SmallCluster, **fields: Any) -> search_pb2.SearchResponse:
    query: dict[str, Any] = fields or {"text": "moon"}
    request = search_pb2.SearchRequest(collection="notes", k=3, **query)
    return cluster.searches.Search(request, timeout=TIMEOUT_S)


def document(key: str, text: str) -> documents_pb2.Document:
    return documents_pb2.Document(id=key, text=text)


def upsert(cluster: SmallCluster) -> documents_pb2.UpsertResponse:
    request = documents_pb2.UpsertRequest(collection="notes", documents=[document("b", "water")], wait=True)
    return cluster.documents.Upsert(request, timeout=TIMEOUT_S)


def embed(cluster: SmallCluster) -> list[embedding_pb2.EmbedStreamResponse]:
    def requests() -> Iterator[embedding_pb2.EmbedStreamRequest]:
        yield embedding_pb2.EmbedStreamRequest(id=7, embed=embedding_pb2.EmbedRequest(model=MODEL, texts=["moon"]))

    return list(cluster.embedding.EmbedStream(requests(), timeout=TIMEOUT_S))


@pytest.mark.parametrize("ask", [search, upsert], ids=["search", "upsert with wait"])
@pytest.mark.parametrize("retry_after_ms", [0, 1000])
def test_calls_that_need_the_model_are_refused_at_once(
    notes: SmallCluster, ask: Callable[[SmallCluster], object], retry_after_ms: int
) -> None:
    stop_serving(notes, notes.coordinator.model.fingerprint, retry_after_ms)
    code, detail = refused(lambda: ask(notes))
    assert (code, detail.reason) == (grpc.StatusCode.FAILED_PRECONDITION, errors_pb2.ERROR_REASON_MODEL_NOT_SERVED)
    assert detail.message.endswith(REASON) and detail.retry_after_ms == retry_after_ms
    if ask is upsert:
        assert detail.message.startswith("the write is committed (token ")
        # It is kept, and searchable once the model is back.
        assert notes.coordinator.reconcile()


def test_calls_that_wait_already_hear_it_too(notes: SmallCluster) -> None:
    notes.coordinator.encoders.clear()
    notes.coordinator.publish()
    eventually(lambda: not notes.routed.encoders)
    with ThreadPoolExecutor(3) as callers:
        asking = [callers.submit(refused, lambda ask=ask: ask(notes)) for ask in (search, upsert)]
        answers = callers.submit(embed, notes)
        threading.Event().wait(0.2)
        assert not any(one.done() for one in asking)
        stop_serving(notes, "")
        for one in asking:
            code, detail = one.result(TIMEOUT_S)
            assert code is grpc.StatusCode.FAILED_PRECONDITION and detail.message.endswith(REASON)
        # The stream waits for a route that the coordinator has promised.
        notes.coordinator.outages.clear()
        notes.coordinator.encoders.append(notes.encoder.address)
        notes.coordinator.publish()
        assert answers.result(TIMEOUT_S)[0].id == 7


def test_a_stream_that_lost_its_model_hears_why(notes: SmallCluster) -> None:
    stop_serving(notes, "")
    # It was resolved before the model broke.
    notes.coordinator.encoders.append("127.0.0.1:1")
    notes.coordinator.publish()
    eventually(lambda: bool(notes.routed.encoders))
    with ThreadPoolExecutor(1) as callers:
        answers = callers.submit(embed, notes)
        threading.Event().wait(0.2)
        stop_serving(notes, "")
        (answer,) = answers.result(TIMEOUT_S)
    assert (answer.error.reason, answer.error.message) == (errors_pb2.ERROR_REASON_MODEL_NOT_SERVED, REASON)


def test_what_needs_no_encoder_goes_on(notes: SmallCluster) -> None:
    search(notes, text="the tide")
    stop_serving(notes, notes.coordinator.model.fingerprint)
    # The vector of this query is cached, and this one brings its own.
    assert [hit.id for hit in search(notes, text="the tide").hits] == ["a"]
    assert [hit.id for hit in search(notes, vector=packed(notes.coordinator.model.encode(["tide"]).vectors[0])).hits] == [
        "a"
    ]


def test_status_and_explain_say_why(notes: SmallCluster) -> None:
    notes.upsert_texts("notes", {"b": "water"})

    def problems() -> set[str]:
        shown = notes.status.Status(status_pb2.StatusRequest()).collections[0].problem
        request = documents_pb2.ExplainRequest(collection="notes", id="b")
        (state,) = notes.documents.Explain(request, timeout=10).explanation.generations
        got = notes.collections.GetCollection(collections_pb2.GetCollectionRequest(name="notes"), timeout=10)
        return {shown, state.problem, got.collection.problem}

    assert problems() == {""}
    stop_serving(notes, notes.coordinator.model.fingerprint)
    assert problems() == {REASON}
    # Another collection's model is no problem of this one.
    notes.coordinator.outages[0].fingerprint = "another"
    notes.coordinator.publish()
    eventually(lambda: problems() == {""})


def test_a_change_of_fingerprint_that_no_collection_needs_is_no_problem(notes: SmallCluster) -> None:
    notes.coordinator.outages = [coordinator_pb2.ModelOutage(model=MODEL, fingerprint="another", reason=REASON)]
    notes.coordinator.publish()
    eventually(lambda: bool(notes.routed.outages))
    assert [hit.id for hit in search(notes).hits] == ["a"]
    assert embed(notes)[0].embed.dimension == notes.coordinator.model.dimension
