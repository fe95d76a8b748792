from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.workers.evaluation.candidates import WordCandidates
from shoal.workers.evaluation.similarity import (
    SimilarityScore,
    WordPair,
    average_ranks,
    score_similarity,
    spearman,
)


def test_ranks_of_equals():
    assert average_ranks(np.array([3.0, 1.0, 3.0, 2.0, 3.0])).tolist() == [4, 1, 4, 2, 4]


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=40))
def test_spearman_is_scipys(values: list[tuple[int, int]]):
    stats = pytest.importorskip("scipy.stats")
    one, other = (np.array(column, dtype=np.float64) for column in zip(*values, strict=True))
    ours = spearman(one, other)
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert ours is None
    else:
        assert ours == pytest.approx(stats.spearmanr(one, other)[0], abs=1e-12)


def test_spearman_is_not_defined_for_less_than_two():
    assert spearman(np.array([]), np.array([])) is None
    assert spearman(np.array([1.0]), np.array([1.0])) is None


WORDS = ("cat", "tiger", "car", "Cat", "nought")
VECTORS = np.array([[1, 0], [1, 0.2], [0, 1], [0, 1], [0, 0]], dtype=np.float32)


def test_pairs_with_unknown_words_are_left_out_and_counted():
    pairs = [
        WordPair("cat", "tiger", 9),
        WordPair("TIGER", "car", 3),
        WordPair("Cat", "car", 1),
        WordPair("cat", "dog", 5),
        WordPair("nought", "cat", 5),
    ]
    score = score_similarity(WordCandidates(WORDS, VECTORS), pairs)
    assert score == SimilarityScore(1.0, 3, 5) and score.coverage == 0.6
    assert score_similarity(WordCandidates(WORDS, VECTORS), pairs, ignore_case=False) == SimilarityScore(-1.0, 2, 5)
    assert score_similarity(WordCandidates(WORDS, VECTORS), pairs[3:]) == SimilarityScore(None, 0, 2)
