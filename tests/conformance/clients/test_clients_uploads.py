"""One suite over both clients: uploads of many documents."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shoal.client import (
    CollectionNotFound,
    DeadlineExceeded,
    Document,
    InvalidArgument,
    Overloaded,
    RetryPolicy,
    Unavailable,
    VersionConflict,
)
from shoal.v1 import documents_pb2, errors_pb2
from support.gateway.client_documents import documents
from support.gateway.client_server import FakeGateway
from support.gateway.client_world import REFUSED


def test_an_upload_writes_everything_once(client: Any, gateway: FakeGateway):
    reported: list[Any] = []
    summary = client.upsert_many("c", documents(95), batch_size=10, progress=reported.append)
    assert (summary.documents, summary.changed, summary.refused, summary.token) == (95, 95, 0, "1:1-10")
    assert gateway.world.batches == [list(range(1, 11))]
    assert len(gateway.world.collections["c"].documents) == 95
    assert (reported[-1].sent, reported[-1].acknowledged) == (95, 95)
    assert [state.acknowledged for state in reported] == sorted(state.acknowledged for state in reported)
    again = client.upsert_many("c", iter(documents(95)))
    assert (again.documents, again.changed) == (95, 0)


def test_an_empty_upload_sends_nothing(client: Any, gateway: FakeGateway):
    summary = client.upsert_many("c", [], wait=True)
    assert (summary.documents, summary.token) == (0, None)


def test_refusals_are_collected_with_their_indexes(client: Any, gateway: FakeGateway):
    bad: Any = {"x": object()}
    given = [*documents(3), Document(id="r", text=REFUSED), Document(id="p", payload=bad), *documents(5)[3:]]
    given += [Document(id="s", text=REFUSED), Document(id="v", text="x", expected_version=3)]
    summary = client.upsert_many("c", given, batch_size=4)
    refused = sorted((refusal.position, refusal.id, type(refusal.error)) for refusal in summary.refusals)
    assert refused == [
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
    # The first batch is refused for its other document; resent, it must not undo the later edits.
    given = [
        Document(id="a", text="old"),
        Document(id="b", text=REFUSED),
        Document(id="a", text="newer"),
        Document(id="a", text="last"),
    ]
    summary = client.upsert_many("c", given, batch_size=2)
    assert gateway.world.collections["c"].documents["a"].text == "last"
    assert (summary.documents, summary.refused) == (4, 1)


def test_an_upload_resumes_after_its_stream_broke(client: Any, gateway: FakeGateway):
    gateway.world.break_after = [3, 0, 2]
    summary = client.upsert_many("c", documents(100), batch_size=10)
    assert summary.changed == 100
    assert len(gateway.world.collections["c"].documents) == 100
    assert len(gateway.world.batches) == 4
    # Each new stream begins with the first unanswered batch and leaves none out.
    assert [stream[0] for stream in gateway.world.batches if stream] == [1, 4, 4, 6]
    for stream in gateway.world.batches:
        assert stream == list(range(stream[0], stream[0] + len(stream)))


def test_a_server_that_ends_during_an_upload_leaves_a_count_and_where_to_go_on(
    connect: Callable[..., Any], gateway: FakeGateway
):
    client = connect(retry=RetryPolicy(patience_s=0.1))
    client.create_collection("c", model="m")
    gateway.world.break_after = [3, *[0] * 1000]
    with pytest.raises(Unavailable) as ended:
        client.upsert_many("c", documents(100), batch_size=10)
    upload = ended.value.upload
    assert upload is not None
    assert str(ended.value).endswith(
        f"; 30 of {upload.documents} documents were acknowledged, the first that was not is '0030'"
    )
    assert (upload.acknowledged, upload.changed, upload.first_unacknowledged, upload.token) == (30, 30, "0030", "1:1-3")
    gateway.world.break_after = []
    again = client.upsert_many("c", documents(100), batch_size=10)
    assert (again.acknowledged, again.changed, again.first_unacknowledged) == (100, 70, None)


def test_what_ends_an_upload_from_outside_says_how_far_it_came(client: Any, gateway: FakeGateway):
    def broken() -> Iterator[Document]:
        yield from documents(40)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more") as ended:
        client.upsert_many("c", broken(), batch_size=10, window=1)
    [note] = ended.value.__notes__
    assert note == "30 of 40 documents were acknowledged, the first that was not is '0030'"


def test_an_upload_that_is_stored_but_not_searchable_in_time_says_so(client: Any, gateway: FakeGateway):
    gateway.world.pending_looks = 10_000
    with pytest.raises(DeadlineExceeded) as ended:
        client.upsert_many("c", documents(3), wait=True, timeout=0.3)
    assert str(ended.value).endswith("; 3 of 3 documents were acknowledged")
    assert ended.value.upload is not None and ended.value.upload.first_unacknowledged is None


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


def test_an_upload_into_a_missing_collection_ends_at_once(client: Any, gateway: FakeGateway):
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
    # Each wait that ends too early is followed by a look at the collection's model.
    gateway.world.pending_looks = 4
    summary = client.upsert_many("c", documents(3), wait=True)
    assert (gateway.world.calls["Wait"], set(gateway.world.awaited)) == (3, {summary.token})
    gateway.world.pending_looks = 10_000
    with pytest.raises(DeadlineExceeded, match=r"documents of c are still not searchable after 1\.5 s without progress"):
        client.upsert_many("c", documents(3), wait=True, timeout=1.5)


def test_the_documents_of_a_source(client: Any, gateway: FakeGateway):
    client.upsert_many("c", documents(5), batch_size=2, source="/notes")
    client.upsert_many("c", [Document("other", "text")])
    assert client.source_ids("c", "/notes", limit=2) == ["0000", "0001"]
    assert client.source_ids("c", "/notes", after="0001", limit=9) == ["0002", "0003", "0004"]
    client.upsert_many("c", documents(1), source="/more")
    token = client.delete("c", ["0000", "0001"], source="/notes")
    assert [result.changed for result in token.results] == [False, True]
    assert client.source_ids("c", "/notes", limit=9) == ["0002", "0003", "0004"]


def test_documents_that_cannot_be_embedded_are_in_the_summary(client: Any, gateway: FakeGateway):
    failed = documents_pb2.FailedDocument(id="0001", version=1, reason="no known word", attempts=1)
    gateway.world.collections["c"].failed = [failed]
    summary = client.upsert_many("c", documents(3), wait=True)
    assert (summary.documents, summary.refused, summary.failed) == (3, 0, 1)
    assert [(one.id, one.reason) for one in summary.failures] == [("0001", "no known word")]
    assert client.upsert_many("c", documents(3)).failed == 0, "not known without a wait"


def test_a_token_covers_batches_of_several_streams(client: Any, gateway: FakeGateway):
    gateway.world.break_after = [2]
    summary = client.upsert_many("c", documents(40), batch_size=10)
    assert summary.token == "1:1-4"
