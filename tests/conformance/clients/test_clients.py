"""One suite for both clients: a method does the same with and without await."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from shoal.client import (
    AsyncClient,
    Cancelled,
    Client,
    CollectionExists,
    CollectionNotFound,
    DimensionMismatch,
    Document,
    DocumentNotFound,
    InvalidArgument,
    LoadInfo,
    MessageTooLarge,
    PoolInfo,
    VersionConflict,
)
from shoal.v1 import documents_pb2, errors_pb2
from support.gateway.client_documents import documents
from support.gateway.client_server import FakeGateway

METHODS = sorted(name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_"))


def test_both_have_the_same_methods_and_arguments():
    assert (
        sorted(name for name, _ in inspect.getmembers(AsyncClient, inspect.isfunction) if not name.startswith("_"))
        == METHODS
    )
    for name in [*METHODS, "__init__"]:
        ours, theirs = inspect.signature(getattr(Client, name)), inspect.signature(getattr(AsyncClient, name))
        assert [(p.name, p.kind, p.default) for p in ours.parameters.values()] == [
            (p.name, p.kind, p.default) for p in theirs.parameters.values()
        ]
        iterates = name == "embed_many"
        for parameter in set(ours.parameters) - {"documents", *(["texts"] if iterates else [])}:
            assert ours.parameters[parameter].annotation == theirs.parameters[parameter].annotation, (name, parameter)
        assert ours.return_annotation == theirs.return_annotation.replace("AsyncIterator", "Iterator")
        assert name == "__init__" or inspect.iscoroutinefunction(getattr(AsyncClient, name)) != iterates


def test_collections_come_and_go(connect: Callable[..., Any]):
    client = connect()
    made = client.create_collection("papers", model="m", index="ivf", metric="dot", shards=3, empty_text="store")
    assert (made.name, made.model, made.index, made.metric, made.empty_text) == ("papers", "m", "ivf", "dot", "store")
    assert made.created_at.isoformat() == "2023-11-14T22:13:20+00:00"
    with pytest.raises(CollectionExists) as caught:
        client.create_collection("papers", model="m")
    assert caught.value.field == "name"
    client.upsert("papers", documents(2))
    assert [info.name for info in client.list_collections()] == ["papers"]
    assert client.get_collection("papers").shards[0].documents == 2
    assert client.drop_collection("papers") == 2
    with pytest.raises(CollectionNotFound):
        client.get_collection("papers")


def test_a_write_and_a_search_that_carries_its_token(client: Any, gateway: FakeGateway):
    token = client.upsert(
        "c", [Document(id="a", text="tidal locking of moons", payload={"year": 2020}), Document(id="b", text="bread")]
    )
    assert [(r.id, r.version, r.changed, r.error) for r in token.results] == [("a", 1, True, None), ("b", 1, True, None)]
    assert token == "1.7"
    hits = client.search("c", "tidal locking", k=1, token=token, include_text=True, min_coverage=0.5)
    assert len(hits) == 1
    assert (hits[0].id, hits[0].version, hits[0].payload, hits[0].text) == ("a", 1, {"year": 2020}, "tidal locking of moons")
    assert [hit.id for hit in hits] == ["a"] and hits[:1] == hits.hits
    assert hits.coverage.complete and hits.coverage.fresh
    assert hits.timings.total_s == 0.0015
    sent = gateway.search.requests[-1]
    assert (sent.token, sent.k, sent.include_text, sent.min_coverage) == ("1.7", 1, True, 0.5)


def test_a_search_for_what_is_like_a_document(client: Any, gateway: FakeGateway):
    client.upsert("c", [Document("a", "moon tides"), Document("b", "the moon of old"), Document("c", "bread")])
    hits = client.search("c", like="a", k=1, include_text=True, text_characters=8)
    assert [(hit.id, hit.text) for hit in hits] == [("b", "the moon")]
    with pytest.raises(DocumentNotFound):
        client.search("c", like="none")
    for options in ({}, {"query": "moon", "like": "a"}):
        with pytest.raises(InvalidArgument, match="either a query or the id"):
            client.search("c", **options)
    with pytest.raises(InvalidArgument, match="text_characters -1 is below 0"):
        client.search("c", "moon", text_characters=-1)


def test_a_refused_document_raises_and_the_others_are_written(client: Any):
    with pytest.raises(VersionConflict, match="has version 0, not 4") as caught:
        client.upsert("c", [Document(id="a", text="x"), Document(id="b", text="y", expected_version=4)])
    assert caught.value.token is not None
    assert [(result.id, result.error) for result in caught.value.token.results] == [("a", None), ("b", caught.value)]
    assert [document.id for document in client.get("c", ["b", "a"])] == ["a"]


def test_documents_are_read_deleted_and_explained(client: Any):
    client.upsert("c", documents(2))
    assert [(d.id, d.text, d.version, d.searchable) for d in client.get("c", ["0001", "none", "0000"])] == [
        ("0001", "text 1", 1, True),
        ("0000", "text 0", 1, True),
    ]
    explanation = client.explain("c", "0001")
    assert (explanation.version, explanation.generations[0].embedded_version) == (1, 1)
    assert (explanation.generations[0].served_version, explanation.generations[0].worker_reached) == (None, False)
    assert [result.changed for result in client.delete("c", ["0001", "none"]).results] == [True, False]
    with pytest.raises(DocumentNotFound) as caught:
        client.explain("c", "0001")
    assert (caught.value.field, caught.value.value) == ("id", "0001")


def test_failed_documents_are_listed_and_retried(client: Any, gateway: FakeGateway):
    failed = [documents_pb2.FailedDocument(id=id, version=2, reason="too odd", attempts=5) for id in ("a", "b", "d")]
    gateway.world.collections["c"].failed = failed
    assert [(document.id, document.reason) for document in client.failed("c", limit=2)] == [
        ("a", "too odd"),
        ("b", "too odd"),
    ]
    assert client.retry_failed("c", ["b"]) == 1
    assert client.retry_failed("c") == 2


def test_the_server_and_the_cluster_describe_themselves(client: Any):
    assert client.describe().limits.documents_per_write == 1000
    status = client.status()
    assert [info.name for info in status.collections] == ["c"]
    first = status.processes[0]
    assert (first.kind, first.state, status.coordinator_epoch) == ("encoder", "ready", 3)
    assert (status.query_cache.hits, status.query_cache.entries, status.query_cache.hit_rate) == (70, 20, 0.75)
    assert first.load == LoadInfo(12, 0, 1.5, 250.0, 0.0, 0.5)
    assert (first.model, first.device, first.restarts) == ("hashing", "cpu float32", 2)
    assert status.pools == (PoolInfo("hashing", 1, 4, 2, 1),)


def test_a_detail_reaches_the_caller(client: Any):
    with pytest.raises(DimensionMismatch) as caught:
        client.search("c", [1.0, 2.0])
    assert (caught.value.field, caught.value.limit) == ("vector", 384)


def test_a_message_above_the_servers_limit_raises_its_own_error(client: Any):
    with pytest.raises(MessageTooLarge):
        client.upsert("c", [Document(id="a", text="x" * 5_000_000)])


def test_a_closed_client_says_so(connect: Callable[..., Any]):
    client = connect()
    client.list_collections()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.list_collections()


def test_a_cancelled_call_raises_its_own_error(client: Any, gateway: FakeGateway):
    gateway.fail("Status", grpc.StatusCode.CANCELLED, reason=errors_pb2.ERROR_REASON_CANCELLED)
    with pytest.raises(Cancelled):
        client.status()
