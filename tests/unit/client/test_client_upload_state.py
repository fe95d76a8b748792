import dataclasses
from typing import Any

import pytest

from shoal.client import (
    DeadlineExceeded,
    Document,
    InvalidArgument,
    MessageTooLarge,
    ModelNotServed,
    Overloaded,
    Unavailable,
    VersionConflict,
)
from shoal.client._transport.replies import WaitState, read_server
from shoal.client._transport.upload import KEPT_REFUSALS, Upload, UploadBatch, Visibility, is_transient
from shoal.v1 import documents_pb2, errors_pb2, status_pb2

LIMITS = read_server(
    status_pb2.DescribeResponse(limits=status_pb2.Limits(message_bytes=10_000, documents_per_write=100))
).limits


def upload(batch_size: int | None = None, window: int = 4, **limits: int) -> Upload:
    return Upload("c", dataclasses.replace(LIMITS, **limits), batch_size, window)


def cut_all(state: Upload, documents: list[Document]) -> list[UploadBatch]:
    cut = [batch for document in documents if (batch := state.add(document)) is not None]
    last = state.cut()
    return cut + ([last] if last else [])


def reply(batch: UploadBatch, **errors: Any) -> documents_pb2.UpsertStreamResponse:
    results = [documents_pb2.WriteResult(id=d.id, version=1, changed=True, error=errors.get(d.id)) for d in batch.documents]
    return documents_pb2.UpsertStreamResponse(sequence=batch.sequence, results=results, token=f"1.{batch.sequence}")


def test_batches_are_cut_by_count():
    batches = cut_all(upload(batch_size=3), [Document(id=str(n)) for n in range(7)])
    assert [len(batch.documents) for batch in batches] == [3, 3, 1]
    assert [batch.sequence for batch in batches] == [1, 2, 3]
    assert [batch.positions for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]


def test_batches_are_cut_by_bytes_and_fit_into_a_message():
    state = upload()
    batches = cut_all(state, [Document(id=str(n), text="x" * (n * 37 % 4000)) for n in range(200)])
    assert sum(len(batch.documents) for batch in batches) == 200
    assert max(state.sent(batch).ByteSize() for batch in batches) <= 10_000
    assert len(batches) < 60


def test_a_full_batch_of_small_documents_stays_below_the_limit_of_a_write():
    assert [len(batch.documents) for batch in cut_all(upload(), [Document(id=str(n)) for n in range(250)])] == [100, 100, 50]


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"batch_size": 0}, "batch_size"), ({"batch_size": 101}, "batch_size"), ({"window": 0}, "window")],
)
def test_settings_beyond_their_limits(settings: dict[str, int], field: str):
    with pytest.raises(InvalidArgument) as caught:
        upload(**settings)
    assert caught.value.field == field


def test_documents_that_cannot_be_sent_are_refused_and_stop_nothing():
    state = upload()
    bad: Any = {"a": object()}
    batches = cut_all(
        state, [Document(id="a"), Document(id="b", payload=bad), Document(id="c", text="x" * 9_000), Document(id="d")]
    )
    assert [[document.id for document in batch.documents] for batch in batches] == [["a", "d"]]
    assert batches[0].positions == [0, 3]
    refusals = state.summary().refusals
    assert [(refusal.position, refusal.id, type(refusal.error)) for refusal in refusals] == [
        (1, "b", InvalidArgument),
        (2, "c", MessageTooLarge),
    ]
    assert refusals[1].error.limit == 10_000


def test_the_window_fills_and_empties():
    state = upload(batch_size=1, window=2)
    first, second = cut_all(state, [Document(id="a"), Document(id="b")])
    assert state.settled
    state.sent(first)
    assert not state.full and not state.settled
    state.sent(second)
    assert state.full
    state.settle(reply(first))
    assert not state.full
    assert [message.sequence for message in state.unanswered()] == [2]
    state.settle(reply(second))
    assert state.settled
    assert (state.summary().changed, state.summary().token) == (2, "1.2")


def test_a_reply_that_comes_twice_counts_once():
    state = upload(batch_size=1)
    (batch,) = cut_all(state, [Document(id="a")])
    state.sent(batch)
    state.settle(reply(batch))
    state.settle(reply(batch))
    assert (state.summary().changed, state.progress().acknowledged) == (1, 1)


def test_progress_reports_a_refusal_once():
    state = upload(batch_size=2)
    (batch,) = cut_all(state, [Document(id="a"), Document(id="b")])
    state.sent(batch)
    detail = errors_pb2.ErrorDetail(reason=errors_pb2.ERROR_REASON_VERSION_CONFLICT, message="no")
    state.settle(reply(batch, b=detail))
    first, second = state.progress(), state.progress()
    assert [(refusal.position, type(refusal.error)) for refusal in first.latest_refusals] == [(1, VersionConflict)]
    assert (first.sent, first.acknowledged, first.refused) == (2, 2, 1)
    assert second.latest_refusals == ()
    assert (state.summary().documents, state.summary().changed, state.summary().refused) == (2, 1, 1)


def test_all_refusals_are_counted_though_only_some_are_kept():
    state = upload()
    bad: Any = None
    for number in range(KEPT_REFUSALS + 5):
        state.add(Document(id=str(number), payload=bad))
    assert (state.summary().refused, len(state.summary().refusals)) == (KEPT_REFUSALS + 5, KEPT_REFUSALS)


def test_a_refused_batch_stays_unanswered():
    state = upload(batch_size=1)
    (batch,) = cut_all(state, [Document(id="a")])
    state.sent(batch)
    detail = errors_pb2.ErrorDetail(reason=errors_pb2.ERROR_REASON_OVERLOADED, message="full", retry_after_ms=200)
    with pytest.raises(Overloaded) as caught:
        state.settle(documents_pb2.UpsertStreamResponse(sequence=1, error=detail))
    assert is_transient(caught.value) and caught.value.retry_after_s == 0.2
    assert [message.sequence for message in state.unanswered()] == [1]
    assert is_transient(Unavailable("x")) and not is_transient(InvalidArgument("x"))


def test_a_condition_makes_an_upload_unrepeatable_while_it_is_unanswered():
    state = upload(batch_size=1)
    plain, conditional = cut_all(state, [Document(id="a"), Document(id="b", expected_version=0)])
    state.sent(plain)
    assert state.repeatable
    state.sent(conditional)
    assert not state.repeatable
    state.settle(reply(conditional))
    assert state.repeatable


def test_an_upload_is_visible_when_nothing_of_it_is_pending():
    assert Visibility("c", 100.0, 30.0).reached(WaitState(0), "", 100.1)
    assert not Visibility("c", 100.0, 30.0).reached(WaitState(5), "", 100.1)


def test_visibility_does_not_wait_for_a_model_that_cannot_be_served():
    visibility = Visibility("c", 100.0, 30.0)
    # Documents that came with vectors go on.
    assert not any(visibility.reached(WaitState(n), "the model is gone", at_s) for n, at_s in ((2, 100.1), (1, 100.7)))
    with pytest.raises(ModelNotServed, match="documents of c are still not searchable: the model is gone"):
        visibility.reached(WaitState(1), "the model is gone", 101.2)


def test_visibility_gives_up_after_no_progress_only():
    visibility = Visibility("c", 100.0, 30.0)
    assert not any(visibility.reached(WaitState(n), "", at_s) for n, at_s in ((9, 129.0), (8, 158.0), (8, 187.0)))
    with pytest.raises(DeadlineExceeded, match="documents of c are still not searchable after 30 s"):
        visibility.reached(WaitState(8), "", 188.0)


def test_a_call_waits_two_seconds_or_half_of_the_timeout_after_a_first_look():
    for timeout_s, expected in ((30.0, [0.5, 2.0]), (0.4, [0.2, 0.2])):
        visibility = Visibility("c", 0.0, timeout_s)
        first = visibility.longest_s
        visibility.reached(WaitState(1), "", 0.1)
        assert [first, visibility.longest_s] == expected


def refused(batch: UploadBatch, field: str) -> documents_pb2.UpsertStreamResponse:
    detail = errors_pb2.ErrorDetail(
        reason=errors_pb2.ERROR_REASON_DIMENSION_MISMATCH, message=f"{field} is bad", field=field
    )
    return documents_pb2.UpsertStreamResponse(sequence=batch.sequence, error=detail)


def test_a_batch_holds_a_document_once():
    batches = cut_all(upload(batch_size=10), [Document(id=id) for id in "abcabdd"])
    assert [[document.id for document in batch.documents] for batch in batches] == [["a", "b", "c"], ["a", "b", "d"], ["d"]]


def test_a_batch_refused_for_one_document_is_resent_without_it():
    state = upload(batch_size=3)
    first, second = cut_all(state, [Document(id=id) for id in "abcdef"])
    state.sent(first)
    state.sent(second)
    again = state.settle(refused(first, "documents[1].vector"))
    assert again is not None
    assert (again.sequence, [document.id for document in again.documents]) == (1, ["a", "c"])
    assert state.settle(reply(second)) is None
    assert state.settle(reply(first)) is None
    assert state.settled
    summary = state.summary()
    assert [(refusal.position, refusal.id) for refusal in summary.refusals] == [(1, "b")]
    assert (summary.changed, summary.refused, state.progress().acknowledged) == (5, 1, 6)


def test_a_resent_batch_does_not_overtake_a_later_edit():
    state = upload(batch_size=2)
    first, second = cut_all(state, [Document(id=id) for id in "abac"])
    state.sent(first)
    state.sent(second)
    with pytest.raises(Unavailable) as caught:
        state.settle(refused(first, "documents[1].text"))
    assert is_transient(caught.value)
    assert [[document.id for document in message.documents] for message in state.unanswered()] == [["a"], ["a", "c"]]


@pytest.mark.parametrize("field", ["collection", "documents", "documents[2].text", ""])
def test_a_batch_refused_for_something_else_ends_the_upload(field: str):
    state = upload(batch_size=2)
    (batch,) = cut_all(state, [Document(id="a"), Document(id="b")])
    state.sent(batch)
    with pytest.raises(InvalidArgument):
        state.settle(refused(batch, field))
    assert not state.settled
