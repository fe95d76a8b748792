"""One suite over both clients: what a method does must not depend on whether it is awaited."""

# grpc's classes are generic in their type stubs alone, so annotations must not be evaluated.
from __future__ import annotations

import asyncio
import inspect
import threading
import time
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
    DeadlineExceeded,
    DimensionMismatch,
    Document,
    DocumentNotFound,
    InvalidArgument,
    LoadInfo,
    MessageTooLarge,
    Overloaded,
    PoolInfo,
    RetryPolicy,
    Unavailable,
    VersionConflict,
)
from shoal.v1 import documents_pb2, errors_pb2
from support.gateway.client_clock import Clock
from support.gateway.client_server import FakeGateway
from support.gateway.client_world import REFUSED

METHODS = sorted(name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    names = ["client", "async_client", *(f"_transport.{s}_{w}" for s in ("sync", "async") for w in ("upload", "embedding"))]
    for name in names:
        monkeypatch.setattr(f"shoal.client.{name}.time", clock)
    monkeypatch.setattr(asyncio, "sleep", clock.sleep_in_loop)
    return clock


class PausesFor:
    """A retry policy that pauses for a share of what is left, whatever that is."""

    def __init__(self, share: float) -> None:
        self._share = share

    def pause_s(self, attempt: int, elapsed_s: float, remaining_s: float, rng: object, at_least_s: float) -> float:
        return self._share * remaining_s


def documents(count: int, text: str = "text") -> list[Document]:
    return [Document(id=f"{number:04}", text=f"{text} {number}") for number in range(count)]


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


def test_a_refused_document_raises_and_the_others_stand(client: Any):
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
    assert (status.workers[0].kind, status.workers[0].state, status.coordinator_epoch) == ("encoder", "ready", 3)
    assert (status.query_cache.hits, status.query_cache.entries, status.query_cache.hit_rate) == (70, 20, 0.75)
    assert status.workers[0].load == LoadInfo(12, 0, 1.5, 250.0, 0.0, 0.5)
    assert (status.workers[0].model, status.workers[0].device, status.workers[0].restarts) == ("hashing", "cpu float32", 2)
    assert status.pools == (PoolInfo("hashing", 1, 4, 2, 1),)


def test_a_detail_reaches_the_caller(client: Any):
    with pytest.raises(DimensionMismatch) as caught:
        client.search("c", [1.0, 2.0])
    assert (caught.value.field, caught.value.limit) == ("vector", 384)


def test_unavailable_is_tried_again(client: Any, gateway: FakeGateway):
    gateway.fail("Search", grpc.StatusCode.UNAVAILABLE, times=2)
    assert len(client.search("c", "x")) == 0
    assert gateway.world.calls["Search"] == 3


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.name not in ("OK", "UNAVAILABLE")])
def test_nothing_else_is_tried_again(client: Any, gateway: FakeGateway, code: grpc.StatusCode):
    gateway.fail("Search", code, times=2)
    with pytest.raises(Exception, match=r"ordered by the test|timeout"):
        client.search("c", "x")
    assert gateway.world.calls["Search"] == 1


def test_retries_end_with_the_deadline(client: Any, gateway: FakeGateway):
    gateway.fail("Search", grpc.StatusCode.UNAVAILABLE, times=1000)
    started_at_s = time.monotonic()
    with pytest.raises(Unavailable, match="cannot reach"):
        client.search("c", "x", timeout=2.0)
    # No tighter: a machine may stand still for seconds.
    assert time.monotonic() - started_at_s < 30
    assert gateway.world.calls["Search"] >= 2


def test_a_last_attempt_without_time_hides_nothing(connect: Callable[..., Any], gateway: FakeGateway, clock: Clock):
    gateway.fail("Status", grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Unavailable, match="cannot reach"):
        connect(retry=PausesFor(1.1)).status()


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("method", ["upsert_many", "embed_many"])
def test_nor_does_that_of_a_stream(connect: Callable[..., Any], gateway: FakeGateway, clock: Clock, method: str, full: bool):
    client = connect(retry=PausesFor(1.1))
    client.create_collection("c", model="m")
    if full:
        gateway.world.batch_errors = [errors_pb2.ErrorDetail(reason=errors_pb2.ERROR_REASON_OVERLOADED, message="full")]
    gateway.world.break_after = [] if full else [0]
    gateway.world.batch_replies = threading.Semaphore(1 if full else 0)
    with pytest.raises(Overloaded if full else Unavailable, match="full" if full else "stream broken"):
        list(client.embed_many("m", ["a"])) if method == "embed_many" else client.upsert_many("c", documents(3))


def test_why_an_upload_was_held_up_is_forgotten_with_its_next_answer(
    connect: Callable[..., Any], gateway: FakeGateway, clock: Clock
):
    client = connect(retry=PausesFor(0.9))
    client.create_collection("c", model="m")
    gateway.world.break_after, gateway.world.batch_replies = [0], threading.Semaphore(1)
    with pytest.raises(DeadlineExceeded, match="no answer"):
        client.upsert_many("c", documents(30), batch_size=10, timeout=600, progress=lambda _: clock.sleep(601))


def test_the_server_may_ask_for_a_longer_pause_than_there_is(client: Any, gateway: FakeGateway):
    fault = {"reason": errors_pb2.ERROR_REASON_UNAVAILABLE, "extra": {"retry_after_ms": 60_000}}
    gateway.fail("Search", grpc.StatusCode.UNAVAILABLE, **fault)
    with pytest.raises(Unavailable) as caught:
        client.search("c", "x")
    assert (gateway.world.calls["Search"], caught.value.retry_after_s) == (1, 60.0)


def test_a_conditional_write_is_sent_once(client: Any, gateway: FakeGateway):
    gateway.fail("Upsert", grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Unavailable):
        client.upsert("c", [Document(id="a", text="x", expected_version=0)])
    assert gateway.world.calls["Upsert"] == 1
    client.upsert("c", [Document(id="a", text="x", expected_version=0)])


def test_a_slow_answer_is_not_waited_for(client: Any, gateway: FakeGateway):
    gateway.world.delay_s = 0.5
    with pytest.raises(DeadlineExceeded, match="within the timeout"):
        client.status(timeout=0.1)


def test_a_message_beyond_the_server_is_told_as_such(client: Any):
    with pytest.raises(MessageTooLarge):
        client.upsert("c", [Document(id="a", text="x" * 5_000_000)])


def test_a_closed_client_says_so(connect: Callable[..., Any]):
    client = connect()
    client.list_collections()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.list_collections()


def test_patience_bounds_the_retries(gateway: FakeGateway, connect: Callable[..., Any]):
    gateway.fail("Status", grpc.StatusCode.UNAVAILABLE, times=1000)
    with pytest.raises(Unavailable):
        connect(retry=RetryPolicy(patience_s=0.0)).status()
    assert gateway.world.calls["Status"] == 1


def test_an_upload_writes_everything_once(client: Any, gateway: FakeGateway):
    told: list[Any] = []
    summary = client.upsert_many("c", documents(95), batch_size=10, progress=told.append)
    assert (summary.documents, summary.changed, summary.refused, summary.token) == (95, 95, 0, "1.10")
    assert gateway.world.batches == [list(range(1, 11))]
    assert len(gateway.world.collections["c"].documents) == 95
    assert (told[-1].sent, told[-1].acknowledged) == (95, 95)
    assert [state.acknowledged for state in told] == sorted(state.acknowledged for state in told)
    again = client.upsert_many("c", iter(documents(95)))
    assert (again.documents, again.changed) == (95, 0)


def test_an_empty_upload_is_none(client: Any, gateway: FakeGateway):
    summary = client.upsert_many("c", [], wait=True)
    assert (summary.documents, summary.token) == (0, None)


def test_refusals_are_collected_with_their_places(client: Any, gateway: FakeGateway):
    bad: Any = {"x": object()}
    given = [*documents(3), Document(id="r", text=REFUSED), Document(id="p", payload=bad), *documents(5)[3:]]
    given += [Document(id="s", text=REFUSED), Document(id="v", text="x", expected_version=3)]
    summary = client.upsert_many("c", given, batch_size=4)
    places = sorted((refusal.position, refusal.id, type(refusal.error)) for refusal in summary.refusals)
    assert places == [
        (3, "r", InvalidArgument),
        (4, "p", InvalidArgument),
        (7, "s", InvalidArgument),
        (8, "v", VersionConflict),
    ]
    assert (summary.documents, summary.changed, summary.refused) == (9, 5, 4)
    assert sorted(gateway.world.collections["c"].documents) == ["0000", "0001", "0002", "0003", "0004"]


def test_a_batch_of_refused_documents_alone_leaves_nothing_to_send(client: Any, gateway: FakeGateway):
    summary = client.upsert_many("c", [Document(id=str(number), text=REFUSED) for number in range(6)], batch_size=3)
    assert (summary.refused, summary.changed) == (6, 0)
    assert gateway.world.collections["c"].documents == {}


def test_the_last_edit_of_a_document_wins(client: Any, gateway: FakeGateway):
    # The first batch is refused for its other document; mended, it must not undo the edits that came after it.
    given = [
        Document(id="a", text="old"),
        Document(id="b", text=REFUSED),
        Document(id="a", text="newer"),
        Document(id="a", text="last"),
    ]
    summary = client.upsert_many("c", given, batch_size=2)
    assert gateway.world.collections["c"].documents["a"].text == "last"
    assert (summary.documents, summary.refused) == (4, 1)


def test_an_upload_goes_on_after_its_stream_broke(client: Any, gateway: FakeGateway):
    gateway.world.break_after = [3, 0, 2]
    summary = client.upsert_many("c", documents(100), batch_size=10)
    assert summary.changed == 100
    assert len(gateway.world.collections["c"].documents) == 100
    assert len(gateway.world.batches) == 4
    # Each new stream begins with the first batch that had no answer, and leaves none out.
    assert [stream[0] for stream in gateway.world.batches if stream] == [1, 4, 4, 6]
    for stream in gateway.world.batches:
        assert stream == list(range(stream[0], stream[0] + len(stream)))


def test_a_full_server_is_given_time(client: Any, gateway: FakeGateway):
    full = errors_pb2.ErrorDetail(reason=errors_pb2.ERROR_REASON_OVERLOADED, message="full", retry_after_ms=50)
    gateway.world.batch_errors = [full]
    assert client.upsert_many("c", documents(30), batch_size=10).refused == 0
    assert len(gateway.world.collections["c"].documents) == 30
    # The refused batch begins the new stream: sent after a later one, it could bring back an older text.
    assert [stream[0] for stream in gateway.world.batches] == [1, 1]


def test_a_server_that_stays_full_ends_the_upload(client: Any, gateway: FakeGateway):
    full = errors_pb2.ErrorDetail(reason=errors_pb2.ERROR_REASON_OVERLOADED, message="full", retry_after_ms=700)
    gateway.world.batch_errors = [full] * 100
    client.describe()
    with pytest.raises(Overloaded):
        client.upsert_many("c", documents(30), batch_size=10, timeout=2.0)
    assert len(gateway.world.batches) <= 4


def test_an_upload_into_nothing_ends_at_once(client: Any, gateway: FakeGateway):
    with pytest.raises(CollectionNotFound):
        client.upsert_many("none", documents(30))
    assert len(gateway.world.batches) == 1


def test_a_conditional_upload_is_not_sent_twice(client: Any, gateway: FakeGateway):
    gateway.world.break_after = [0]
    with pytest.raises(Unavailable):
        client.upsert_many("c", [Document(id="a", text="x", expected_version=0)])
    assert len(gateway.world.batches) == 1


def test_an_upload_without_answers_ends(client: Any, gateway: FakeGateway):
    gateway.world.batch_replies = threading.Semaphore(0)
    # The limits come with a call of their own, which 0.3 s must not bound.
    client.describe()
    with pytest.raises(DeadlineExceeded, match=r"no answer from .* for 0\.3 s"):
        client.upsert_many("c", documents(30), batch_size=10, timeout=0.3)


def test_wait_returns_when_the_upload_is_searchable(client: Any, gateway: FakeGateway):
    gateway.world.pending_looks = 3
    client.upsert_many("c", documents(3), wait=True)
    assert gateway.world.calls["GetCollection"] == 4
    gateway.world.pending_looks = 10_000
    with pytest.raises(DeadlineExceeded, match="1 documents of c are not searchable"):
        client.upsert_many("c", documents(3), wait=True, timeout=1.5)


def test_wait_is_not_held_up_by_the_writes_of_others(client: Any, gateway: FakeGateway):
    gateway.world.pending_looks, gateway.world.lag_ms = 10_000, 30
    client.upsert_many("c", documents(3), wait=True)


def test_a_cancelled_call_is_told_as_such(client: Any, gateway: FakeGateway):
    gateway.fail("Status", grpc.StatusCode.CANCELLED, reason=errors_pb2.ERROR_REASON_CANCELLED)
    with pytest.raises(Cancelled):
        client.status()
