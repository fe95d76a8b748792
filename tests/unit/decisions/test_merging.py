"""Merging against a naive sort, and settled hits against shards whose rows are all known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.decisions.merging import Candidate, ShardAnswer, merge, rank, settled

# Few values, so that ties and repeated ids are common.
scores = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0])
candidates = st.builds(Candidate, st.sampled_from("abcdefgh"), st.integers(1, 3), scores)
sorted_lists = st.lists(st.lists(candidates, max_size=8).map(lambda hits: sorted(hits, key=rank)), max_size=5)


def naive(lists: list[list[Candidate]]) -> list[Candidate]:
    best: dict[str, Candidate] = {}
    for hits in lists:
        for hit in hits:
            held = best.get(hit.id)
            if held is None or (hit.version, hit.score) > (held.version, held.score):
                best[hit.id] = hit
    return sorted(best.values(), key=lambda hit: (-hit.score, hit.id))


@given(sorted_lists, st.one_of(st.none(), st.integers(0, 10)))
def test_merge_is_a_sort_of_the_newest(lists: list[list[Candidate]], k: int | None) -> None:
    assert merge(lists, k) == naive(lists)[:k]


def test_newest_version_wins_over_a_better_score() -> None:
    assert merge([[Candidate("a", 1, 0.9)], [Candidate("a", 2, 0.1)]]) == [Candidate("a", 2, 0.1)]


def test_ties_go_by_id() -> None:
    assert [hit.id for hit in merge([[Candidate("b", 1, 0.5)], [Candidate("a", 1, 0.5)]])] == ["a", "b"]


@st.composite
def whole_shards(draw: st.DrawFn) -> list[list[Candidate]]:
    """Every row of some shards; an id is in one shard only."""
    rows = draw(st.dictionaries(st.integers(0, 40).map(lambda n: f"{n:02}"), scores, max_size=25))
    shards: list[list[Candidate]] = [[] for _ in range(draw(st.integers(1, 4)))]
    for document_id, score in rows.items():
        shards[int(document_id) % len(shards)].append(Candidate(document_id, 1, score))
    return [sorted(shard, key=rank) for shard in shards]


@given(whole_shards(), st.integers(1, 12))
def test_settled_hits_are_a_prefix_of_the_full_result(shards: list[list[Candidate]], k: int) -> None:
    answers = [ShardAnswer(tuple(shard[:k]), exhausted=len(shard) < k) for shard in shards]
    certain = settled(answers)
    whole = merge(shards)
    assert certain == whole[: len(certain)]
    assert len(certain) >= min(k, len(whole))
    if all(answer.exhausted for answer in answers):
        assert certain == whole


def test_nothing_is_settled_beyond_the_tail_of_a_shard_with_more_rows() -> None:
    more = ShardAnswer((Candidate("a", 1, 0.9), Candidate("b", 1, 0.8)), exhausted=False)
    last = ShardAnswer((Candidate("c", 1, 0.7),), exhausted=True)
    assert [hit.id for hit in settled([more, last])] == ["a", "b"]


def test_no_answers_settle_nothing() -> None:
    assert settled([]) == []
    assert settled([ShardAnswer((), exhausted=True)]) == []


def test_an_answer_has_no_damage_unless_it_says_so() -> None:
    assert ShardAnswer((), exhausted=True).damage_count == 0
