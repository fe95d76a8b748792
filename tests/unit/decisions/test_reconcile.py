"""Planning, failures and pauses: every decision of the reconcile loop, without the loop."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.decisions.admission import PRIORITY_BACKFILL, PRIORITY_EDIT, PRIORITY_NEW, is_live
from shoal.cluster.decisions.reconcile import (
    BUSY_PAUSE_S,
    LOSSES_BEFORE_BISECTING,
    BatchLimits,
    CountAttempt,
    DocumentBatch,
    EmbedRetryPolicy,
    EncodeFailure,
    RetryBatch,
    after_failure,
    next_attempt,
    plan,
)


@dataclass(frozen=True)
class Document:
    id: str
    text: str = "text"
    vector: bytes | None = None
    removal: bool = False
    shard: int = 0
    attempts: int = 0
    priority: int = PRIORITY_NEW


documents = st.lists(
    st.builds(
        Document,
        id=st.uuids().map(str),
        text=st.text(max_size=30),
        vector=st.sampled_from([None, b"", b"\0\0\0\0"]),
        removal=st.booleans(),
        shard=st.integers(0, 3),
        attempts=st.sampled_from([0, 0, 0, 1, 4]),
        priority=st.sampled_from([PRIORITY_EDIT, PRIORITY_NEW, PRIORITY_BACKFILL]),
    ),
    max_size=40,
)
limits = st.builds(BatchLimits, documents=st.integers(1, 8), text_bytes=st.integers(1, 120))


@given(pending=documents, limits=limits, ready=st.frozensets(st.integers(0, 3)))
def test_a_plan_has_every_document_of_ready_shards_once_and_in_order(
    pending: list[Document], limits: BatchLimits, ready: frozenset[int]
) -> None:
    work = plan(pending, limits, ready)
    there = [one for one in pending if one.shard in ready]
    assert list(work.apply) == [one for one in there if one.removal or one.vector]
    to_encode = [one for one in there if not one.removal and not one.vector]
    fresh = [one for batch in work.encode for one in batch.documents if not one.attempts]
    again = [one for batch in work.encode for one in batch.documents if one.attempts]
    assert fresh == [one for one in to_encode if not one.attempts]
    assert again == [one for one in to_encode if one.attempts]


@given(pending=documents, limits=limits)
def test_batches_keep_the_limits_and_are_as_large_as_possible(pending: list[Document], limits: BatchLimits) -> None:
    batches = [batch.documents for batch in plan(pending, limits, frozenset(range(4))).encode]
    mixed = [batch for batch in batches if not batch[0].attempts]
    sizes = [sum(len(one.text.encode()) for one in batch) for batch in mixed]
    for batch, size in zip(mixed, sizes, strict=True):
        assert 1 <= len(batch) <= limits.documents
        # A single text may exceed the limit: it must be sent somehow.
        assert len(batch) == 1 or size <= limits.text_bytes
        assert len({is_live(one.priority) for one in batch}) == 1
    for batch, size, following in zip(mixed, sizes, mixed[1:], strict=False):
        full = len(batch) == limits.documents or size + len(following[0].text.encode()) > limits.text_bytes
        assert full or is_live(batch[0].priority) != is_live(following[0].priority)


@given(pending=documents, limits=limits)
def test_a_document_that_failed_before_goes_alone_as_a_suspect(pending: list[Document], limits: BatchLimits) -> None:
    for batch in plan(pending, limits, frozenset(range(4))).encode:
        if any(one.attempts for one in batch.documents):
            assert len(batch.documents) == 1
            # The first loss counts: no other document can be to blame.
            assert after_failure(batch, EncodeFailure.LOST) == (CountAttempt(batch.documents[0]),)
        else:
            assert batch.strikes == 0


@given(
    size=st.integers(1, 64),
    poison=st.sets(st.integers(0, 63), min_size=1, max_size=3),
    failure=st.sampled_from([EncodeFailure.LOST, EncodeFailure.REJECTED]),
    busy_first=st.integers(0, 3),
)
def test_exactly_the_poison_is_counted_in_a_bounded_number_of_calls(
    size: int, poison: set[int], failure: EncodeFailure, busy_first: int
) -> None:
    whole = DocumentBatch(tuple(Document(str(number)) for number in range(size)))
    bad = {str(number) for number in poison if number < size}
    waiting, counted, encoded = deque([whole]), list[str](), list[str]()
    calls = 0
    while waiting:
        batch = waiting.popleft()
        calls += 1
        assert calls < 200, "does not end"
        if calls <= busy_first:
            outcome = EncodeFailure.BUSY
        elif any(one.id in bad for one in batch.documents):
            outcome = failure
        else:
            encoded += [one.id for one in batch.documents]
            continue
        for effect in after_failure(batch, outcome):
            match effect:
                case RetryBatch(again, pause_s):
                    assert pause_s >= 0
                    waiting.append(again)
                case CountAttempt(document):
                    counted.append(document.id)
    assert sorted(counted) == sorted(bad)
    assert sorted(encoded) == sorted(one.id for one in whole.documents if one.id not in bad)
    # Each poison costs two calls at each halving; the first loss is forgiven.
    assert calls <= busy_first + 2 + max(1, len(bad)) * 2 * math.ceil(math.log2(max(2, size)))


@given(size=st.integers(1, 10), strikes=st.integers(0, 5))
def test_a_busy_encoder_does_not_count_against_documents(size: int, strikes: int) -> None:
    batch = DocumentBatch(tuple(Document(str(number)) for number in range(size)), strikes)
    assert after_failure(batch, EncodeFailure.BUSY) == (RetryBatch(batch, BUSY_PAUSE_S),)


@pytest.mark.parametrize(("priority", "live"), [(PRIORITY_EDIT, True), (PRIORITY_NEW, False), (PRIORITY_BACKFILL, False)])
def test_edits_of_searchable_documents_go_before_the_rest(priority: int, live: bool) -> None:
    assert DocumentBatch((Document("a", priority=priority),)).live is live


def test_the_first_loss_is_forgiven_and_the_next_bisects() -> None:
    batch = DocumentBatch((Document("a"), Document("b"), Document("c")))
    (again,) = after_failure(batch, EncodeFailure.LOST)
    assert again == RetryBatch(DocumentBatch(batch.documents, 1), BUSY_PAUSE_S)
    halves = after_failure(DocumentBatch(batch.documents, 1), EncodeFailure.LOST)
    assert halves == (
        RetryBatch(DocumentBatch((Document("a"),), LOSSES_BEFORE_BISECTING - 1), 0.0),
        RetryBatch(DocumentBatch((Document("b"), Document("c")), LOSSES_BEFORE_BISECTING - 1), 0.0),
    )


@pytest.mark.parametrize(("attempts", "pause"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (5, None), (6, None)])
def test_pauses_double_up_to_the_longest_and_then_end(attempts: int, pause: float | None) -> None:
    assert next_attempt(attempts, EmbedRetryPolicy(5, 1.0, 5.0)) == pause


def test_an_answer_that_cannot_change_is_final_at_the_first_attempt() -> None:
    assert next_attempt(1, EmbedRetryPolicy(5, 1.0, 5.0), final=True) is None
    alone = DocumentBatch((Document("a"),))
    for failure in (EncodeFailure.INVALID, EncodeFailure.REJECTED):
        (effect,) = after_failure(alone, failure)
        assert effect == CountAttempt(Document("a"), final=failure is EncodeFailure.INVALID)
    halves = after_failure(DocumentBatch((Document("a"), Document("b"))), EncodeFailure.INVALID)
    assert halves == (RetryBatch(alone, 0.0), RetryBatch(DocumentBatch((Document("b"),)), 0.0))


def test_many_attempts_do_not_overflow() -> None:
    assert next_attempt(100_000, EmbedRetryPolicy(1_000_000, 0.001, 300.0)) == 300.0


def test_a_batch_is_filled_to_the_last_byte() -> None:
    texts = ["aaaaa", "aaa", "bb", "ccc", "ddd"]
    work = plan([Document(text, text) for text in texts], BatchLimits(8, 5), frozenset({0}))
    assert [[one.text for one in batch.documents] for batch in work.encode] == [["aaaaa"], ["aaa", "bb"], ["ccc"], ["ddd"]]
    (batch,) = plan([Document("a", "aaa"), Document("b", "bb")], BatchLimits(8, 5), frozenset({0})).encode
    assert len(batch.documents) == 2


def test_suspicion_is_carried_by_documents_that_were_in_a_lost_batch_alone() -> None:
    one, other, again = Document("a"), Document("b"), Document("c", attempts=1)
    rejected = after_failure(DocumentBatch((one, other)), EncodeFailure.REJECTED)
    assert rejected == (RetryBatch(DocumentBatch((one,), 0), 0.0), RetryBatch(DocumentBatch((other,), 0), 0.0))
    lost = after_failure(DocumentBatch((one, other), LOSSES_BEFORE_BISECTING - 1), EncodeFailure.LOST)
    assert [effect.batch.strikes for effect in lost if isinstance(effect, RetryBatch)] == [LOSSES_BEFORE_BISECTING - 1] * 2
    assert plan([again], BatchLimits(8, 5), frozenset({0})).encode == (DocumentBatch((again,), LOSSES_BEFORE_BISECTING - 1),)
