"""Searches through a real gateway, ledger, index workers and encoder: hits, dropped hits, and coverage."""

from __future__ import annotations

import threading
import time
from typing import Any

import grpc
import numpy as np
import pytest

from shoal.cluster.decisions.tokens.awaited_writes import AwaitedWrites
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.ledger.records import Cut
from shoal.v1 import documents_pb2, errors_pb2, search_pb2
from support.gateway.small_cluster import SmallCluster, eventually, packed, refused


def search(cluster: SmallCluster, text: str = "", **options: Any) -> search_pb2.SearchResponse:
    timeout = options.pop("timeout", 10)
    options.setdefault("collection", "papers")
    options.setdefault("k", 10)
    if text:
        options["text"] = text
    return cluster.searches.Search(search_pb2.SearchRequest(**options), timeout=timeout)


def ids(response: search_pb2.SearchResponse) -> list[str]:
    return [hit.id for hit in response.hits]


ANIMALS = {
    "tide": "the moon raises tides on the planet",
    "lock": "tidal locking keeps one side of the moon towards the planet",
    "cat": "a cat sleeps on the warm windowsill",
    "dog": "a dog barks at the postman every morning",
    "bird": "a bird sings before sunrise in spring",
}


def test_finds_what_was_written_with_score_version_payload_and_text(cluster: SmallCluster) -> None:
    cluster.create("papers")
    cluster.upsert("papers", documents_pb2.Document(id="moon", text=ANIMALS["lock"], payload='{"year": 2020}'))
    cluster.upsert_texts("papers", ANIMALS)
    cluster.coordinator.reconcile()
    response = search(cluster, ANIMALS["lock"], k=2, include_text=True)
    assert ids(response) == ["lock", "moon"]
    assert response.hits[0].score == pytest.approx(1.0, abs=1e-5)
    assert (response.hits[1].version, response.hits[1].payload) == (1, '{"year":2020}')
    assert response.hits[1].text == ANIMALS["lock"]
    coverage = response.coverage
    assert (coverage.known, coverage.reachable, coverage.pending, coverage.lag_ms) == (6, 6, 0, 0)
    assert (coverage.generation, coverage.shards, coverage.shards_reached) == (1, 2, 2)
    assert response.timings.total_us >= response.timings.shards_us > 0


def test_k_above_the_number_of_documents_gives_all_documents(cluster: SmallCluster) -> None:
    cluster.create("papers")
    assert ids(search(cluster, "anything")) == []
    cluster.upsert_texts("papers", ANIMALS)
    cluster.coordinator.reconcile()
    assert sorted(ids(search(cluster, "anything", k=1000))) == sorted(ANIMALS)


def test_a_stale_vector_is_dropped_and_the_answer_refilled(cluster: SmallCluster) -> None:
    cluster.create("papers", shards=3)
    texts = {f"d{n}": f"tidal locking of moon number {n}" for n in range(30)}
    cluster.upsert_texts("papers", texts)
    cluster.coordinator.reconcile()
    best = ids(search(cluster, "tidal locking of moon number 7", k=20))
    assert len(best) == 20
    cluster.upsert_texts("papers", dict.fromkeys(best[:12], "something else entirely"))
    response = search(cluster, "tidal locking of moon number 7", k=18)
    # Exactly the live rest, in the order of an index without the stale ones.
    everything = ids(search(cluster, "tidal locking of moon number 7", k=1000))
    assert len(everything) == 18
    assert ids(response) == everything
    assert not set(best[:12]) & set(everything)
    assert (response.coverage.pending, response.coverage.known, response.coverage.reachable) == (12, 30, 18)
    assert response.coverage.lag_ms > 0
    cluster.coordinator.reconcile()
    fresh = search(cluster, "something else entirely", k=12)
    assert sorted(ids(fresh)) == sorted(best[:12])
    assert {hit.version for hit in fresh.hits} == {2}
    assert fresh.coverage.pending == 0


def test_the_best_hits_are_right_while_one_shard_is_mostly_stale(cluster: SmallCluster) -> None:
    cluster.create("papers", dimension=2, shards=2, metric=2)
    scores = {f"v{n:02}": 100.0 - n for n in range(40)}
    documents = [documents_pb2.Document(id=one, vector=packed([score, 0])) for one, score in scores.items()]
    cluster.upsert("papers", *documents)
    cluster.coordinator.reconcile()
    stale = [one for one in scores if one < "v20"]
    cluster.upsert("papers", *(documents_pb2.Document(id=one, vector=packed([-1, 0])) for one in stale))
    assert ids(search(cluster, vector=packed([1, 0]), k=5)) == ["v20", "v21", "v22", "v23", "v24"]


def test_a_delete_hides_at_once_and_a_payload_needs_no_embedding(cluster: SmallCluster) -> None:
    cluster.create("papers")
    cluster.upsert_texts("papers", ANIMALS)
    cluster.coordinator.reconcile()
    cluster.documents.Delete(documents_pb2.DeleteRequest(collection="papers", ids=["cat", "absent"]))
    cluster.upsert("papers", documents_pb2.Document(id="dog", text=ANIMALS["dog"], payload='{"loud":true}'))
    response = search(cluster, ANIMALS["cat"])
    assert "cat" not in ids(response)
    dog = next(hit for hit in response.hits if hit.id == "dog")
    assert (dog.version, dog.payload) == (2, '{"loud":true}')
    assert (response.coverage.known, response.coverage.pending) == (4, 1)


def test_a_search_waits_for_its_token(cluster: SmallCluster) -> None:
    cluster.create("papers")
    token = cluster.upsert_texts("papers", ANIMALS)
    later = threading.Timer(0.3, cluster.coordinator.reconcile)
    began = time.monotonic()
    later.start()
    response = search(cluster, ANIMALS["cat"], k=1, token=token)
    later.join()
    assert ids(response) == ["cat"] and response.coverage.pending == 0
    assert time.monotonic() - began >= 0.25


def test_a_token_does_not_wait_for_the_pending_documents_of_others(cluster: SmallCluster) -> None:
    cluster.create("papers")
    cluster.upsert_texts("papers", {"edited": "old words"})
    cluster.coordinator.reconcile()
    cluster.upsert_texts("papers", {f"new-{number}": "a new text" for number in range(50)})
    token = cluster.upsert_texts("papers", {"edited": ANIMALS["cat"]})
    cluster.coordinator.reconcile("edited")
    response = search(cluster, ANIMALS["cat"], k=1, token=token)
    assert ids(response) == ["edited"] and response.coverage.pending == 50
    waiting = documents_pb2.Document(id="edited", text=ANIMALS["cat"])
    request = documents_pb2.UpsertRequest(collection="papers", documents=[waiting], wait=True)
    assert not cluster.documents.Upsert(request, timeout=5).results[0].changed


def test_the_token_of_a_stream_covers_all_its_batches(cluster: SmallCluster) -> None:
    cluster.create("papers")
    batches = [
        documents_pb2.UpsertStreamRequest(
            collection="papers", sequence=n, documents=[documents_pb2.Document(id=f"{n}", text=ANIMALS["cat"])]
        )
        for n in (1, 2, 3)
    ]
    last = list(cluster.documents.UpsertStream(iter(batches)))[-1].token
    cluster.coordinator.reconcile("3")
    code, _ = refused(lambda: search(cluster, ANIMALS["cat"], token=last, timeout=0.4))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    cluster.coordinator.reconcile()
    assert sorted(ids(search(cluster, ANIMALS["cat"], token=last))) == ["1", "2", "3"]


def test_a_token_whose_write_stays_pending_ends_with_the_deadline(cluster: SmallCluster) -> None:
    cluster.create("papers")
    token = cluster.upsert_texts("papers", ANIMALS)
    code, _ = refused(lambda: search(cluster, "cat", token=token, timeout=0.4))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_search_waits_for_commits_that_are_not_shown_yet(cluster: SmallCluster) -> None:
    cluster.create("papers")
    cluster.upsert_texts("papers", ANIMALS)
    touched = cluster.coordinator.commit()

    def show() -> None:
        for generation, shard in touched:
            cluster.coordinator.sync(generation, [shard])

    later = threading.Timer(0.2, show)
    later.start()
    assert sorted(ids(search(cluster, "a cat"))) == sorted(ANIMALS)
    later.join()


@pytest.mark.parametrize("token", ["nonsense", "1", "999.1", "{id}.999", "999:1", "{id}:1-999"])
def test_a_bad_token_is_refused(cluster: SmallCluster, token: str) -> None:
    cluster.create("papers")
    real = cluster.upsert_texts("papers", ANIMALS)
    code, detail = refused(lambda: search(cluster, "cat", token=token.format(id=real.split(":")[0])))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (detail.reason, detail.field) == (errors_pb2.ERROR_REASON_INVALID_ARGUMENT, "token")


def test_a_file_found_lost_while_a_search_waits_is_reported(cluster: SmallCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.create("papers", shards=1)
    for name, text in ANIMALS.items():
        cluster.upsert_texts("papers", {name: text})
        cluster.coordinator.reconcile()
    worker, progress, epoch = cluster.coordinator.worker_of(0), cluster.coordinator.progress, cluster.coordinator.epoch
    (generation,) = progress.generations()
    worker.host.release(epoch, (generation.id, 0))
    cut_read = threading.Event()
    read_cut = LedgerReads.cut

    async def watched(reads: LedgerReads, name: str, awaited: AwaitedWrites | None = None) -> Cut:
        cut = await read_cut(reads, name, awaited)
        cut_read.set()
        return cut

    monkeypatch.setattr(LedgerReads, "cut", watched)

    def find_damage_and_show() -> None:
        # By now the search expects five documents as soon as segment 5 is shown.
        assert cut_read.wait(10)
        progress.report_damage(generation.id, 0, [2], sealed=False)
        cluster.coordinator.sync(generation, [0])

    later = threading.Thread(target=find_damage_and_show)
    later.start()
    response = search(cluster, "a cat")
    later.join()
    assert (len(response.hits), response.coverage.known) == (4, 5)
    assert (response.coverage.reachable, response.coverage.pending) == (4, 1)
    assert response.coverage.lag_ms > 0


@pytest.mark.usefixtures("early_answers")
def test_a_dead_shard_fails_the_search_unless_the_minimum_coverage_allows_it(cluster: SmallCluster) -> None:
    cluster.create("papers", shards=2)
    cluster.upsert_texts("papers", {f"d{n}": f"moon number {n}" for n in range(40)})
    cluster.coordinator.reconcile()
    assert len(search(cluster, "moon", k=40).hits) == 40
    cluster.workers[1].kill()
    code, detail = refused(lambda: search(cluster, "moon", timeout=3))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert detail.reason == errors_pb2.ERROR_REASON_UNAVAILABLE and "shard" in detail.message

    partial = search(cluster, "moon", k=40, min_coverage=0.1)
    assert 0 < len(partial.hits) < 40
    assert partial.coverage.known == 40
    assert partial.coverage.reachable == len(partial.hits)
    assert (partial.coverage.shards, partial.coverage.shards_reached) == (2, 1)

    code, detail = refused(lambda: search(cluster, "moon", k=40, min_coverage=0.95))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert detail.reason == errors_pb2.ERROR_REASON_COVERAGE
    assert (detail.field, detail.value) == ("min_coverage", "0.95")


def test_a_search_survives_the_move_of_a_shard(cluster: SmallCluster) -> None:
    cluster.create("papers", shards=2)
    cluster.upsert_texts("papers", ANIMALS)
    cluster.coordinator.reconcile()
    cluster.workers[1].kill()
    found: list[list[str]] = []
    asking = threading.Thread(target=lambda: found.append(ids(search(cluster, "moon"))))
    asking.start()
    time.sleep(0.3)
    assert not found
    del cluster.coordinator.workers[1]
    for generation in cluster.coordinator.progress.generations():
        cluster.coordinator.sync(generation)
    cluster.coordinator.publish()
    asking.join(10)
    assert sorted(found[0]) == sorted(ANIMALS)


@pytest.mark.usefixtures("impatient_gateway")
def test_searches_continue_while_the_coordinator_is_away_and_writes_resume(cluster: SmallCluster) -> None:
    cluster.create("papers")
    cluster.upsert_texts("papers", ANIMALS)
    cluster.coordinator.reconcile()
    cluster.coordinator.stop()
    assert len(search(cluster, "moon").hits) == 5
    code, detail = refused(lambda: cluster.upsert_texts("papers", {"new": "text"}))
    assert code is grpc.StatusCode.UNAVAILABLE and detail.retry_after_ms > 0
    cluster.coordinator.serve()
    # The new address is found by the lease, within the same call.
    assert cluster.upsert_texts("papers", {"new": "text"})
    cluster.coordinator.reconcile()
    assert "new" in ids(search(cluster, "text"))


def test_an_encoder_that_returns_at_another_address_is_found(cluster: SmallCluster) -> None:
    cluster.create("papers")
    cluster.upsert_texts("papers", ANIMALS)
    cluster.coordinator.reconcile()
    [address] = cluster.coordinator.encoders
    cluster.coordinator.encoders = []
    cluster.coordinator.publish()
    # The change has not arrived yet: a search before it does would be answered, and its query cached.
    eventually(lambda: not cluster.routed.encoders)
    eventually(lambda: refused(lambda: search(cluster, "cat", timeout=0.3))[0] is grpc.StatusCode.UNAVAILABLE)
    threading.Timer(0.2, lambda: (cluster.coordinator.encoders.append(address), cluster.coordinator.publish())).start()
    assert ids(search(cluster, ANIMALS["cat"], k=1)) == ["cat"]


def test_a_cancelled_search_does_not_harm_the_gateway(cluster: SmallCluster) -> None:
    cluster.create("papers")
    cluster.upsert_texts("papers", ANIMALS)
    cluster.coordinator.commit()
    request = search_pb2.SearchRequest(collection="papers", text="cat", k=3)
    # They all wait for a segment that no worker shows.
    calls = [cluster.searches.Search.future(request, timeout=10) for _ in range(5)]
    time.sleep(0.2)
    for call in calls:
        call.cancel()
    for generation in cluster.coordinator.progress.generations():
        cluster.coordinator.sync(generation)
    assert len(search(cluster, "cat", k=3).hits) == 3


def test_a_deadline_of_one_millisecond(cluster: SmallCluster) -> None:
    cluster.create("papers")
    cluster.upsert_texts("papers", ANIMALS)
    cluster.coordinator.commit()
    code, _ = refused(lambda: search(cluster, "cat", timeout=0.001))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_concurrent_searches_agree_with_a_single_one(cluster: SmallCluster) -> None:
    cluster.create("papers", dimension=16)
    random = np.random.default_rng(7)
    rows = random.standard_normal((200, 16)).astype(np.float32)
    cluster.upsert("papers", *(documents_pb2.Document(id=f"r{n}", vector=packed(row)) for n, row in enumerate(rows)))
    cluster.coordinator.reconcile()
    queries = random.standard_normal((60, 16)).astype(np.float32)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    calls = [
        cluster.searches.Search.future(search_pb2.SearchRequest(collection="papers", vector=packed(query), k=7), timeout=10)
        for query in queries
    ]
    for query, call in zip(queries, calls, strict=True):
        order = np.argsort(-(units @ query), kind="stable")[:7]
        assert ids(call.result()) == [f"r{n}" for n in order]
