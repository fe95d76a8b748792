from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.workers.encoding.engine.scheduler import PATIENCE, Priority
from shoal.workers.encoding.engine.tokenize_queue import RANGE_CHARACTERS, RANGE_TEXTS, TextRange, TokenizeQueue

LENGTHS = st.lists(st.integers(0, 2 * RANGE_CHARACTERS), min_size=1, max_size=400)


def drained(queue: TokenizeQueue) -> list[TextRange]:
    ranges = []
    while (texts := queue.take()) is not None:
        ranges.append(texts)
    return ranges


@given(st.lists(st.tuples(st.sampled_from(Priority), LENGTHS), max_size=8))
def test_every_text_is_read_once_in_order_and_ranges_are_bounded(requests: list[tuple[Priority, list[int]]]) -> None:
    queue = TokenizeQueue()
    for id, (priority, lengths) in enumerate(requests):
        queue.add(id, priority, lengths)
    ranges = drained(queue)
    for id, (_, lengths) in enumerate(requests):
        own = [texts for texts in ranges if texts.request_id == id]
        assert [index for texts in own for index in range(texts.start, texts.stop)] == list(range(len(lengths)))
        for texts in own:
            characters = sum(lengths[texts.start : texts.stop])
            assert texts.stop - texts.start <= RANGE_TEXTS
            assert characters <= RANGE_CHARACTERS or texts.stop == texts.start + 1
    priorities = [list(Priority).index(requests[texts.request_id][0]) for texts in ranges]
    for index, priority in enumerate(priorities):
        if priority > min(priorities[index:]):
            assert index >= PATIENCE and priority not in priorities[index - PATIENCE : index]
    assert len(queue) == 0


def test_requests_of_one_priority_are_read_in_turn() -> None:
    queue = TokenizeQueue()
    queue.add(1, Priority.LIVE, [10] * 5 * RANGE_TEXTS)
    assert queue.take() == TextRange(1, 0, RANGE_TEXTS)
    queue.add(2, Priority.LIVE, [10])
    queue.add(3, Priority.QUERY, [10])
    assert [texts.request_id for texts in drained(queue)] == [3, 1, 2, 1, 1, 1]


def test_dropped_requests_are_not_tokenized() -> None:
    queue = TokenizeQueue()
    queue.add(1, Priority.LIVE, [10] * 300)
    queue.add(2, Priority.LIVE, [10])
    assert queue.take() == TextRange(1, 0, RANGE_TEXTS)
    queue.drop(1)
    queue.drop(7)
    assert drained(queue) == [TextRange(2, 0, 1)]


def test_a_stream_of_urgent_requests_does_not_keep_out_the_others() -> None:
    queue = TokenizeQueue()
    queue.add(0, Priority.BACKFILL, [5])
    order: list[int] = []
    for number in range(1, 12):
        queue.add(number, Priority.LIVE, [5])
        taken = queue.take()
        assert taken is not None
        order.append(taken.request_id)
    assert order.index(0) == PATIENCE
