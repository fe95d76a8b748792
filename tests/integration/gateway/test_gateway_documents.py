"""Writing and reading documents through a real gateway: refusals, waiting, streams and explanations."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from shoal.cluster.errors import Overloaded
from shoal.cluster.ledger.records import FailedAttempt
from shoal.v1 import documents_pb2 as pb
from shoal.v1 import errors_pb2, search_pb2
from support.gateway.small_cluster import SmallCluster, eventually, packed, refused

INVALID = errors_pb2.ERROR_REASON_INVALID_ARGUMENT


def document(document_id: str = "a", text: str = "words", **values: Any) -> pb.Document:
    return pb.Document(id=document_id, text=text, **values)


def batch(sequence: int, *documents: pb.Document, collection: str = "papers") -> pb.UpsertStreamRequest:
    return pb.UpsertStreamRequest(collection=collection, documents=documents, sequence=sequence)


def versions(cluster: SmallCluster, *ids: str) -> dict[str, int]:
    response = cluster.documents.Get(pb.GetRequest(collection="papers", ids=ids))
    return {stored.id: stored.version for stored in response.documents}


@pytest.mark.parametrize(
    ("documents", "field", "reason"),
    [
        ([document("")], "documents[0].id", INVALID),
        ([document("a"), document("b"), document("a")], "documents[2].id", INVALID),
        ([document(text="")], "documents[0].text", INVALID),
        ([document("a"), document("b", "x" * 100_000)], "documents[1].text", INVALID),
        ([document(vector=packed([1.0] * 63))], "documents[0].vector", errors_pb2.ERROR_REASON_DIMENSION_MISMATCH),
        ([document(vector=packed([np.nan] * 64))], "documents[0].vector[0]", INVALID),
        ([document(vector=packed([np.inf] * 64))], "documents[0].vector[0]", INVALID),
        ([document(payload="[1, 2]")], "documents[0].payload", INVALID),
        ([], "documents", INVALID),
        ([document(f"d{n}") for n in range(1001)], "documents", INVALID),
    ],
)
def test_a_bad_batch_is_refused_whole(cluster: SmallCluster, documents: list[pb.Document], field: str, reason: int) -> None:
    cluster.create("papers")
    code, detail = refused(lambda: cluster.upsert("papers", *documents))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (detail.reason, detail.field) == (reason, field)
    assert cluster.coordinator.writes == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda cluster: cluster.upsert("nothing", document()),
        lambda cluster: cluster.documents.Delete(pb.DeleteRequest(collection="nothing", ids=["a"])),
        lambda cluster: cluster.documents.Get(pb.GetRequest(collection="nothing", ids=["a"])),
        lambda cluster: cluster.documents.Explain(pb.ExplainRequest(collection="nothing", id="a")),
        lambda cluster: cluster.documents.ListFailed(pb.ListFailedRequest(collection="nothing")),
        lambda cluster: cluster.documents.RetryFailed(pb.RetryFailedRequest(collection="nothing")),
        lambda cluster: cluster.searches.Search(search_pb2.SearchRequest(collection="nothing", text="a", k=1)),
        lambda cluster: cluster.searches.Search(search_pb2.SearchRequest(collection="nothing", vector=b"1234", k=1)),
    ],
)
def test_an_unknown_collection(cluster: SmallCluster, call: Any) -> None:
    code, detail = refused(lambda: call(cluster))
    assert code is grpc.StatusCode.NOT_FOUND
    assert detail.reason == errors_pb2.ERROR_REASON_COLLECTION_NOT_FOUND and "nothing" in detail.message


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"text": "a", "k": 0}, "k"),
        ({"text": "a", "k": 1001}, "k"),
        ({"k": 1}, "query"),
        ({"text": " ", "k": 1}, "text"),
        ({"text": "x" * 70_000, "k": 1}, "text"),
        ({"vector": packed([1.0] * 5), "k": 1}, "vector"),
        ({"vector": packed([np.nan] * 64), "k": 1}, "vector[0]"),
        ({"vector": packed([0.0] * 64), "k": 1}, "vector"),
        ({"text": "a", "k": 1, "min_coverage": 1.5}, "min_coverage"),
    ],
)
def test_a_bad_search(cluster: SmallCluster, values: dict[str, Any], field: str) -> None:
    cluster.create("papers")
    code, detail = refused(lambda: cluster.searches.Search(search_pb2.SearchRequest(collection="papers", **values)))
    assert (code, detail.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


def test_a_collection_without_a_model_takes_no_text_without_a_vector(cluster: SmallCluster) -> None:
    cluster.create("papers", dimension=3)
    assert refused(lambda: cluster.upsert("papers", document()))[1].field == "documents[0].vector"
    search = search_pb2.SearchRequest(collection="papers", text="a", k=1)
    assert refused(lambda: cluster.searches.Search(search))[1].field == "text"


def test_empty_text_is_stored_on_request(cluster: SmallCluster) -> None:
    cluster.create("papers", empty_text=2)
    cluster.upsert("papers", document("empty", ""), document("full", "words"))
    cluster.coordinator.reconcile()
    found = cluster.searches.Search(search_pb2.SearchRequest(collection="papers", text="words", k=5))
    assert [hit.id for hit in found.hits] == ["full"]
    assert (found.coverage.known, found.coverage.reachable, found.coverage.pending) == (1, 1, 0)
    assert versions(cluster, "empty") == {"empty": 1}


def test_writes_are_idempotent_and_conditions_are_checked_one_by_one(cluster: SmallCluster) -> None:
    cluster.create("papers")
    first = cluster.upsert("papers", document("a", payload='{"b":1, "a":2}'))
    again = cluster.upsert("papers", document("a", payload='{"a":2,"b":1}'))
    assert [(one.version, one.changed) for one in (*first.results, *again.results)] == [(1, True), (1, False)]
    mixed = cluster.upsert("papers", document("a", "new", expected_version=7), document("b", expected_version=0))
    assert mixed.results[0].error.reason == errors_pb2.ERROR_REASON_VERSION_CONFLICT
    assert (mixed.results[1].version, mixed.results[1].changed) == (1, True)


def test_waiting_holds_the_reply_until_a_search_finds_it(cluster: SmallCluster) -> None:
    cluster.create("papers")
    # By then it is written, unless the machine pauses.
    later = threading.Timer(0.3, lambda: eventually(cluster.coordinator.reconcile))
    began = time.monotonic()
    later.start()
    cluster.upsert("papers", document("a", "words"), wait=True)
    assert time.monotonic() - began >= 0.25
    later.join()
    shown = [state for worker in cluster.workers for _, state in worker.host.describe()]
    assert sum(state.live for state in shown) == 1


def test_waiting_continues_after_a_commit_that_no_worker_shows_yet(cluster: SmallCluster) -> None:
    cluster.create("papers")
    call = cluster.documents.Upsert.future(
        pb.UpsertRequest(collection="papers", documents=[document()], wait=True), timeout=10
    )
    touched = []
    while not touched:
        touched = cluster.coordinator.commit()
    time.sleep(0.3)
    assert not call.done()
    for generation, shard in touched:
        cluster.coordinator.sync(generation, [shard])
    assert call.result().results[0].version == 1


@pytest.mark.usefixtures("early_answers")
def test_a_wait_that_times_out_says_that_the_write_is_stored(cluster: SmallCluster) -> None:
    cluster.create("papers")
    request = pb.UpsertRequest(collection="papers", documents=[document()], wait=True)
    with pytest.raises(grpc.RpcError) as caught:
        cluster.documents.Upsert(request, timeout=3)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "the write is committed" in error.details()
    assert versions(cluster, "a") == {"a": 1}


def test_a_stream_answers_in_order_and_continues_after_a_bad_batch(cluster: SmallCluster) -> None:
    cluster.create("papers")

    def batches() -> Iterator[pb.UpsertStreamRequest]:
        for n in range(40):
            if n == 7:
                yield batch(n, document(""))
            elif n == 9:
                yield batch(n, document(), collection="nothing")
            else:
                yield batch(n, document(f"d{n}"), document("shared", f"edit {n}"))

    replies = list(cluster.documents.UpsertStream(batches(), timeout=30))
    assert [reply.sequence for reply in replies] == list(range(40))
    assert replies[7].error.field == "documents[0].id"
    assert replies[9].error.reason == errors_pb2.ERROR_REASON_COLLECTION_NOT_FOUND
    # Every edit of the shared document came in order, though batches are worked on at once.
    good = [reply for reply in replies if not reply.HasField("error")]
    assert [reply.results[1].version for reply in good] == list(range(1, 39))
    stored = cluster.documents.Get(pb.GetRequest(collection="papers", ids=["shared"])).documents[0]
    assert (stored.text, stored.version) == ("edit 39", 38)


def test_a_stream_reads_no_further_than_its_window(cluster: SmallCluster) -> None:
    cluster.create("papers")
    gate = threading.Event()
    cluster.coordinator.before_write = lambda: gate.wait(10)
    sent: list[int] = []

    def batches() -> Iterator[pb.UpsertStreamRequest]:
        for n in range(300):
            sent.append(n)
            yield batch(n, *(document(f"d{n}-{m}", "x" * 60_000) for m in range(10)))

    stream = cluster.documents.UpsertStream(batches(), timeout=60)
    time.sleep(1.0)
    # The window and what the transport buffers, far less than all.
    assert len(sent) < 40
    gate.set()
    assert next(stream).sequence == 0
    stream.cancel()


def test_a_full_coordinator_slows_a_stream_down_and_does_not_break_it(cluster: SmallCluster) -> None:
    cluster.create("papers")
    refusals = [Overloaded("the queue is full", retry_after_ms=50) for _ in range(3)]

    def full() -> None:
        if refusals:
            raise refusals.pop()

    cluster.coordinator.before_write = full
    replies = list(cluster.documents.UpsertStream(iter([batch(1, document()), batch(2, document("b"))]), timeout=10))
    assert [len(reply.results) for reply in replies] == [1, 1] and not refusals


@pytest.mark.usefixtures("impatient_gateway")
def test_a_lost_coordinator_ends_a_stream(cluster: SmallCluster) -> None:
    cluster.create("papers")
    cluster.coordinator.stop()
    stream = cluster.documents.UpsertStream(iter([batch(1, document()), batch(2, document("b"))]), timeout=10)
    code, detail = refused(lambda: list(stream))
    assert (code, detail.reason) == (grpc.StatusCode.UNAVAILABLE, errors_pb2.ERROR_REASON_UNAVAILABLE)


def test_delete_and_get(cluster: SmallCluster) -> None:
    cluster.create("papers")
    cluster.upsert("papers", document("a"), document("b", payload='{"x":1}'))
    deleted = cluster.documents.Delete(pb.DeleteRequest(collection="papers", ids=["a", "never"]))
    assert [(one.id, one.changed) for one in deleted.results] == [("a", True), ("never", False)]
    cluster.coordinator.reconcile()
    response = cluster.documents.Get(pb.GetRequest(collection="papers", ids=["b", "a"]))
    [stored] = response.documents
    assert (stored.id, stored.text, stored.payload, stored.searchable) == ("b", "words", '{"x":1}', True)
    assert refused(lambda: cluster.documents.Get(pb.GetRequest(collection="papers")))[1].field == "ids"
    twice = pb.DeleteRequest(collection="papers", ids=["b", "b"])
    assert refused(lambda: cluster.documents.Delete(twice))[1].field == "ids[1]"


def test_explain_asks_the_worker_what_it_serves(cluster: SmallCluster) -> None:
    cluster.create("papers")
    cluster.upsert("papers", document("a"))
    cluster.coordinator.reconcile()
    cluster.upsert("papers", document("a", "edited"))
    explanation = cluster.documents.Explain(pb.ExplainRequest(collection="papers", id="a")).explanation
    [state] = explanation.generations
    assert (explanation.version, explanation.wanted_version, explanation.deleted) == (2, 2, False)
    assert (state.generation, state.active, state.embedded_version, state.served_version) == (1, True, 1, 1)
    for worker in cluster.workers:
        worker.kill()
    explanation = cluster.documents.Explain(pb.ExplainRequest(collection="papers", id="a"), timeout=10).explanation
    assert not explanation.generations[0].HasField("served_version")
    code, _ = refused(lambda: cluster.documents.Explain(pb.ExplainRequest(collection="papers", id="never")))
    assert code is grpc.StatusCode.NOT_FOUND


def test_failed_documents_are_listed_and_retried(cluster: SmallCluster) -> None:
    cluster.create("papers")
    cluster.upsert("papers", document("good"), document("poison"))
    coordinator = cluster.coordinator
    [generation] = coordinator.progress.generations()
    coordinator.progress.record_failures([FailedAttempt(generation.id, "poison", 1, "no vector", 5, 0, True)], 1234)
    coordinator.reconcile()
    failed = cluster.documents.ListFailed(pb.ListFailedRequest(collection="papers"))
    assert failed.total == 1
    [one] = failed.documents
    assert (one.id, one.reason, one.attempts, one.failed_at_ms) == ("poison", "no vector", 5, 1234)
    search = search_pb2.SearchRequest(collection="papers", text="words", k=5)
    coverage = cluster.searches.Search(search).coverage
    assert (coverage.known, coverage.reachable, coverage.failed, coverage.pending) == (2, 1, 1, 0)
    assert cluster.documents.RetryFailed(pb.RetryFailedRequest(collection="papers")).retried == 1
    coordinator.reconcile()
    assert len(cluster.searches.Search(search).hits) == 2
    too_many = pb.ListFailedRequest(collection="papers", limit=1001)
    assert refused(lambda: cluster.documents.ListFailed(too_many))[1].limit == 1000


def test_documents_of_a_source_through_the_gateway(cluster: SmallCluster) -> None:
    cluster.create("papers")
    sent = batch(1, document("a"), document("b"))
    sent.source = "/notes"
    list(cluster.documents.UpsertStream(iter([sent]), timeout=10))
    cluster.upsert("papers", document("c"))
    request = pb.ListSourceIdsRequest(collection="papers", source="/notes")
    assert list(cluster.documents.ListSourceIds(request).ids) == ["a", "b"]
    cluster.documents.Delete(pb.DeleteRequest(collection="papers", ids=["a"], source="/notes"))
    assert list(cluster.documents.ListSourceIds(request).ids) == ["b"]
    for field, bad in (
        ("source", pb.ListSourceIdsRequest(collection="papers")),
        ("source", pb.ListSourceIdsRequest(collection="papers", source="a\nb")),
        ("limit", pb.ListSourceIdsRequest(collection="papers", source="/notes", limit=10_000)),
    ):
        assert refused(lambda bad=bad: cluster.documents.ListSourceIds(bad))[1].field == field


def wait(cluster: SmallCluster, token: str, longest_ms: int = 0) -> pb.WaitResponse:
    return cluster.documents.Wait(pb.WaitRequest(collection="papers", token=token, longest_ms=longest_ms), timeout=10)


def fail(cluster: SmallCluster, document_id: str, version: int = 1) -> None:
    (generation,) = cluster.coordinator.progress.generations()
    attempt = FailedAttempt(generation.id, document_id, version, "no known word", 1, 0, failed=True)
    cluster.coordinator.progress.record_failures([attempt], 1000)


def test_a_wait_for_a_token_names_the_documents_that_cannot_be_embedded(cluster: SmallCluster) -> None:
    cluster.create("papers")
    written = cluster.upsert("papers", document("a"), document("b"), document("c"))
    assert wait(cluster, written.token, longest_ms=60).pending > 0
    fail(cluster, "b")
    cluster.upsert("papers", document("other"))
    cluster.coordinator.reconcile("a", "c")
    state = wait(cluster, written.token)
    assert (state.pending, state.failed_total) == (0, 1)
    assert [(one.id, one.reason, one.attempts) for one in state.failed] == [("b", "no known word", 1)]
    # Also when the ledger has forgotten what the write changed.
    cluster.coordinator.reconcile()
    far = 10**15
    assert cluster.coordinator.progress.forget_write_sets(far, far, 100) == 2
    assert [one.id for one in wait(cluster, written.token).failed] == ["b"]
    older = written.token.replace(":", ".")
    assert [one.id for one in wait(cluster, older).failed] == ["b"]


def test_an_upsert_that_waits_says_which_document_cannot_be_embedded(cluster: SmallCluster) -> None:
    cluster.create("papers")
    cluster.upsert("papers", document("a"))
    fail(cluster, "a")
    later = threading.Timer(0.1, cluster.coordinator.reconcile)
    later.start()
    request = pb.UpsertRequest(collection="papers", documents=[document("a"), document("b")], wait=True)
    first, second = cluster.documents.Upsert(request, timeout=10).results
    later.join()
    assert (first.version, first.error.reason) == (1, errors_pb2.ERROR_REASON_NOT_EMBEDDED)
    assert first.error.message == "document 'a' is stored, but cannot be embedded: no known word"
    assert (second.version, second.HasField("error")) == (1, False)


@pytest.mark.parametrize(
    ("token", "longest_ms", "field"), [("nonsense", 0, "token"), ("", 0, "token"), ("1:1", -1, "longest_ms")]
)
def test_a_bad_wait_is_refused(cluster: SmallCluster, token: str, longest_ms: int, field: str) -> None:
    cluster.create("papers")
    code, detail = refused(lambda: wait(cluster, token, longest_ms))
    assert (code, detail.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
