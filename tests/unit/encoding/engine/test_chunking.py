from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.workers.encoding.engine.scheduler import Priority
from shoal.workers.encoding.engine.tokenize_queue import CHUNK_CHARACTERS, CHUNK_TEXTS, Chunk, ChunkQueue

LENGTHS = st.lists(st.integers(0, 2 * CHUNK_CHARACTERS), min_size=1, max_size=400)


def drained(queue: ChunkQueue) -> list[Chunk]:
    chunks = []
    while (chunk := queue.take()) is not None:
        chunks.append(chunk)
    return chunks


@given(st.lists(st.tuples(st.sampled_from(Priority), LENGTHS), max_size=8))
def test_every_text_is_read_once_in_order_and_chunks_are_bounded(requests: list[tuple[Priority, list[int]]]) -> None:
    queue = ChunkQueue()
    for id, (priority, lengths) in enumerate(requests):
        queue.add(id, priority, lengths)
    chunks = drained(queue)
    for id, (_, lengths) in enumerate(requests):
        own = [chunk for chunk in chunks if chunk.request == id]
        assert [place for chunk in own for place in range(chunk.start, chunk.stop)] == list(range(len(lengths)))
        for chunk in own:
            characters = sum(lengths[chunk.start : chunk.stop])
            assert chunk.stop - chunk.start <= CHUNK_TEXTS
            assert characters <= CHUNK_CHARACTERS or chunk.stop == chunk.start + 1
    priorities = [list(Priority).index(requests[chunk.request][0]) for chunk in chunks]
    assert priorities == sorted(priorities)
    assert len(queue) == 0


def test_requests_of_one_priority_are_read_in_turn() -> None:
    queue = ChunkQueue()
    queue.add(1, Priority.LIVE, [10] * 5 * CHUNK_TEXTS)
    assert queue.take() == Chunk(1, 0, CHUNK_TEXTS)
    queue.add(2, Priority.LIVE, [10])
    queue.add(3, Priority.QUERY, [10])
    assert [chunk.request for chunk in drained(queue)] == [3, 1, 2, 1, 1, 1]


def test_what_is_dropped_is_not_read() -> None:
    queue = ChunkQueue()
    queue.add(1, Priority.LIVE, [10] * 300)
    queue.add(2, Priority.LIVE, [10])
    assert queue.take() == Chunk(1, 0, CHUNK_TEXTS)
    queue.drop(1)
    queue.drop(7)
    assert drained(queue) == [Chunk(2, 0, 1)]
