from __future__ import annotations

import numpy as np
import pytest

from shoal.workers.evaluation import candidates as module
from shoal.workers.evaluation.candidates import WordCandidates
from shoal.workers.evaluation.errors import EvaluationError
from shoal.workers.evaluation.nearest import nearest_words

WORDS = ("man", "king", "Paris", "woman", "nought", "queen", "paris")
VECTORS = np.array([[0, 4, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0], [1, 0, 1], [2, 0.1, 0]], dtype=np.float32)


@pytest.fixture(params=[2, 4096])
def candidates(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> WordCandidates:
    monkeypatch.setattr(module, "BLOCK_ROWS", request.param)
    return WordCandidates(WORDS, VECTORS)


def test_the_most_similar_come_first_without_the_word_itself(candidates: WordCandidates):
    found = nearest_words(candidates, ["man"], count=2)
    assert [one.word for one in found] == ["king", "paris"]
    assert [one.cosine for one in found] == pytest.approx([2**-0.5, 0.1 / 4.01**0.5])


def test_sums_and_differences(candidates: WordCandidates):
    (best,) = nearest_words(candidates, ["king", "woman"], ["man"], count=1)
    # With s = sqrt(1/2), what is asked for is (s, s - 1, 1).
    side = 2**-0.5
    assert (best.word, best.cosine) == ("queen", pytest.approx((side + 1) * side / (side**2 + (side - 1) ** 2 + 1) ** 0.5))


def test_fewer_words_than_asked_for(candidates: WordCandidates):
    found = nearest_words(candidates, ["man"], count=100)
    assert {one.word for one in found} == {*WORDS} - {"man", "nought"}


@pytest.mark.parametrize(
    ("positive", "negative", "count", "message"),
    [
        (["oslo"], [], 10, "the model has no vector for 'oslo' among 7 words$"),
        (["king"], ["PARIS"], 10, "no vector for 'PARIS' among 7 words; it has 'Paris'"),
        (["nought"], [], 10, "no vector for 'nought'"),
        ([], [], 10, "no words given"),
        (["king"], [], 0, "count is 0, must be at least 1"),
        (["king"], ["king"], 10, "add up to zero"),
    ],
)
def test_questions_without_an_answer(
    candidates: WordCandidates, positive: list[str], negative: list[str], count: int, message: str
):
    with pytest.raises(EvaluationError, match=message):
        nearest_words(candidates, positive, negative, count)
