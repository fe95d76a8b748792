"""Searches for what is like a document: by its vector in the index, without the document, and never silently stale."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import pytest

from shoal.v1 import collections_pb2, documents_pb2, errors_pb2, search_pb2
from support.gateway.small_cluster import SmallCluster, packed, refused

ANIMALS = {
    "tide": "the moon raises tides on the planet",
    "lock": "tidal locking keeps one side of the moon towards the planet",
    "cat": "a cat sleeps on the warm windowsill",
    "dog": "a dog barks at the postman every morning",
}


def like(cluster: SmallCluster, document_id: str, **options: Any) -> search_pb2.SearchResponse:
    request = search_pb2.SearchRequest(**{"collection": "papers", "k": 10, **options}, like=document_id)
    return cluster.searches.Search(request, timeout=10)


def ids(response: search_pb2.SearchResponse) -> list[str]:
    return [hit.id for hit in response.hits]


def test_like_equals_a_search_for_the_text_without_the_document(cluster: SmallCluster) -> None:
    cluster.create("papers", shards=3)
    cluster.upsert_texts("papers", ANIMALS)
    cluster.coordinator.reconcile()
    for name, text in ANIMALS.items():
        request = search_pb2.SearchRequest(collection="papers", text=text, k=10)
        by_text = [hit for hit in cluster.searches.Search(request, timeout=10).hits if hit.id != name]
        found = like(cluster, name)
        assert ids(found) == [hit.id for hit in by_text] and len(found.hits) == 3
        assert [hit.score for hit in found.hits] == pytest.approx([hit.score for hit in by_text], abs=1e-5)
        assert ids(like(cluster, name, k=2)) == ids(found)[:2]
        assert found.coverage.pending == 0 and found.timings.encode_us == 0
    [first] = like(cluster, "tide", k=1, include_text=True, text_characters=13).hits
    assert (first.id, first.text) == ("lock", "tidal locking")


def test_the_vector_of_an_edited_document_is_called_stale(cluster: SmallCluster) -> None:
    cluster.create("papers")
    cluster.upsert_texts("papers", ANIMALS)
    cluster.coordinator.reconcile()
    token = cluster.upsert_texts("papers", {"tide": ANIMALS["cat"]})
    stale = like(cluster, "tide")
    # Its old vector is the query, and the answer says that a change is not shown.
    assert ids(stale)[0] == "lock" and stale.coverage.pending == 1 and stale.coverage.lag_ms > 0
    later = threading.Timer(0.2, cluster.coordinator.reconcile)
    later.start()
    fresh = like(cluster, "tide", token=token)
    later.join()
    assert ids(fresh)[0] == "cat" and fresh.coverage.pending == 0
    assert fresh.hits[0].score == pytest.approx(1.0, abs=1e-5)


def test_documents_without_a_vector_are_named(cluster: SmallCluster) -> None:
    cluster.create("papers", empty_text=collections_pb2.EMPTY_TEXT_STORE)
    cluster.upsert_texts("papers", {**ANIMALS, "empty": ""})
    code, detail = refused(lambda: like(cluster, "tide"))
    assert (code, detail.message) == (grpc.StatusCode.UNAVAILABLE, "like: document 'tide' is not embedded yet")
    assert detail.retry_after_ms > 0
    cluster.coordinator.reconcile()
    code, detail = refused(lambda: like(cluster, "empty"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (detail.field, detail.message) == ("like", "like: document 'empty' has neither text nor vector")
    cluster.documents.Delete(documents_pb2.DeleteRequest(collection="papers", ids=["cat"]))
    for name in ("none", "cat"):
        code, detail = refused(lambda name=name: like(cluster, name))
        assert (code, detail.reason) == (grpc.StatusCode.NOT_FOUND, errors_pb2.ERROR_REASON_DOCUMENT_NOT_FOUND)
        assert name in detail.message


def test_vectors_of_the_users_own(cluster: SmallCluster) -> None:
    cluster.create("papers", dimension=2, metric=collections_pb2.METRIC_L2)
    points = {"a": (0, 0), "b": (3, 0), "c": (1, 1), "d": (9, 9)}
    cluster.upsert("papers", *(documents_pb2.Document(id=one, vector=packed(at)) for one, at in points.items()))
    cluster.coordinator.reconcile()
    assert ids(like(cluster, "a")) == ["c", "b", "d"]
