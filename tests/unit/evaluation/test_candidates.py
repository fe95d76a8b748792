from __future__ import annotations

import numpy as np
import pytest

from shoal.workers.evaluation import candidates as module
from shoal.workers.evaluation.candidates import WordCandidates
from shoal.workers.evaluation.errors import EvaluationError

WORDS = ("the", "Paris", "paris", "zero", "rome", "the")
VECTORS = np.array([[3, 4], [0, 2], [1, 0], [0, 0], [-1, 1], [5, 5]], dtype=np.float16)


def test_words_are_found_with_their_case_and_index():
    candidates = WordCandidates(WORDS, VECTORS)
    assert candidates.find(["PARIS", "rome", "oslo"], ignore_case=True) == {"PARIS": [1, 2], "rome": [4]}
    assert candidates.find(["Paris", "PARIS", "the"], ignore_case=False) == {"Paris": [1], "the": [0, 5]}


def test_words_are_found_in_any_unicode_form_and_exactly_first():
    composed, decomposed = "\u00e9t\u00e9", "e\u0301te\u0301"
    candidates = WordCandidates([decomposed, "sea", composed, "\u00c9t\u00e9"], np.ones((4, 2)))
    assert candidates.find([composed, decomposed], ignore_case=False) == {composed: [2, 0], decomposed: [0, 2]}
    assert candidates.find([composed], ignore_case=True) == {composed: [0, 2, 3]}
    assert WordCandidates([decomposed], np.ones((1, 2))).find([composed], ignore_case=False) == {composed: [0]}


def test_a_vector_of_zeros_has_no_direction():
    candidates = WordCandidates(WORDS, VECTORS)
    assert candidates.find(["zero"], ignore_case=False) == {}
    assert candidates.directions(np.array([0, 3])).tolist() == [pytest.approx([0.6, 0.8]), [0, 0]]


def test_the_first_words_alone():
    candidates = WordCandidates(WORDS, VECTORS, restrict=2)
    assert (len(candidates), tuple(candidates.words)) == (2, ("the", "Paris"))
    assert candidates.find(["rome"], ignore_case=True) == {}
    assert len(WordCandidates(WORDS, VECTORS, restrict=100)) == len(WORDS)


def test_blocks_hold_each_row_once_in_order(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 4)
    candidates = WordCandidates(WORDS, VECTORS)
    blocks = list(candidates.blocks())
    assert [(start, len(rows), without.tolist()) for start, rows, without in blocks] == [(0, 4, [3]), (4, 2, [])]
    together = np.concatenate([rows for _, rows, _ in blocks])
    assert together.dtype == np.float32
    assert np.array_equal(together, candidates.directions(slice(None)))


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite(number: float):
    vectors = VECTORS.astype(np.float32)
    vectors[4, 1] = number
    with pytest.raises(EvaluationError, match="'rome' has a value that is not finite"):
        WordCandidates(WORDS, vectors)
    assert len(WordCandidates(WORDS, vectors, restrict=4)) == 4


def test_no_words():
    with pytest.raises(EvaluationError, match="no words to choose from"):
        WordCandidates((), np.empty((0, 2), dtype=np.float32))
