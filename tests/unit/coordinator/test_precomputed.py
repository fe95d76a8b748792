from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.coordinator.embedding.precomputed import PrecomputedVectors
from shoal.cluster.decisions.admission import Incoming, Precomputed
from shoal.cluster.decisions.placement import shard_of

NOBODY: frozenset[str] = frozenset()


def incoming(id: str, text: str = "text", size: int = 8) -> Incoming:
    return Incoming(id, text, precomputed=Precomputed(b"v" * size, "f", text.encode()))


def test_only_what_is_committed_is_due_and_busy_documents_wait():
    vectors = PrecomputedVectors(shards=1)
    first, second = vectors.put([incoming("a"), incoming("b")]), vectors.put([incoming("c")])
    assert vectors.due(10, NOBODY, {0}) == [] and set(vectors.ids()) == {"a", "b", "c"}
    vectors.commit(first)
    assert [kept.id for kept in vectors.due(10, {"a"}, {0})] == ["b"]
    assert [kept.id for kept in vectors.due(1, NOBODY, {0})] == ["a"]
    vectors.withdraw(second)
    assert set(vectors.ids()) == {"a", "b"}


def test_the_newest_takes_the_place_and_the_older_one_cannot_remove_it():
    vectors = PrecomputedVectors(shards=1)
    old = vectors.put([incoming("a", "old")])
    new = vectors.put([incoming("a", "new")])
    vectors.commit(old)
    assert vectors.due(10, NOBODY, {0}) == []
    vectors.withdraw(old)
    vectors.commit(new)
    assert [kept.precomputed.content_hash for kept in vectors.due(10, NOBODY, {0})] == [b"new"]


def test_vectors_of_a_shard_that_is_not_ready_wait_while_there_is_room():
    ids = [f"d{number}" for number in range(10)]
    vectors = PrecomputedVectors(shards=2, max_bytes=10_000)
    vectors.commit(vectors.put([incoming(id) for id in ids]))
    of_one = [id for id in ids if shard_of(id, 2) == 1]
    assert 0 < len(of_one) < len(ids)
    assert [kept.id for kept in vectors.due(100, NOBODY, {1})] == list(vectors.ids({1})) == of_one
    assert [kept.id for kept in vectors.due(100, NOBODY, {0, 1})] == list(vectors.ids()) == ids
    vectors.put([incoming("large", size=9000)])
    assert [kept.id for kept in vectors.due(100, NOBODY, {1})] == ids


def test_documents_without_a_vector_are_not_kept():
    vectors = PrecomputedVectors(shards=1)
    assert vectors.put([Incoming("a", "text")]) == []
    assert list(vectors.ids()) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3000), st.booleans())))
def test_it_is_full_exactly_when_its_vectors_fill_the_memory(steps: list[tuple[str, int, bool]]):
    vectors = PrecomputedVectors(shards=1, max_bytes=3000)
    held: dict[str, int] = {}
    for id, size, withdrawn in steps:
        added = vectors.put([incoming(id, size=size)])
        held[id] = 512 + size
        if withdrawn:
            vectors.withdraw(added)
            vectors.withdraw(added)
            del held[id]
        assert vectors.full == (sum(held.values()) >= 3000)
        assert set(vectors.ids()) == set(held)
