"""Factors for the sums of learners' changes: known limits, and a descent that can be computed exactly."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.workers.training.word2vec.averaging.contraction import Contraction, _factors
from shoal.workers.training.word2vec.settings import Word2VecSettings

COUNTS = np.array([500_000, 20_000, 1000, 50, 5], np.int64)


@given(st.floats(0, 50), st.integers(1, 64))
def test_factors_lie_between_the_mean_and_the_sum(x: float, learners: int) -> None:
    factor = float(_factors(np.array([x]), learners)[0])
    assert 1 / learners * (1 - 1e-6) <= factor <= 1 + 1e-6


@given(st.floats(0.001, 5), st.integers(2, 16))
def test_learners_together_move_as_far_as_one_that_trains_all_their_text(x: float, learners: int) -> None:
    """Gradient descent on a bowl: each step leaves the same share of the way, in any learner."""
    start, goal = 3.0, 1.0
    alone = goal + (start - goal) * np.exp(-x * learners)
    changes = learners * (goal + (start - goal) * np.exp(-x) - start)
    assert start + float(_factors(np.array([x]), learners)[0]) * changes == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("cbow", [False, True])
def test_rare_words_are_added_and_common_ones_averaged(cbow: bool) -> None:
    contraction = Contraction(Word2VecSettings(cbow=cbow), COUNTS)
    factors = contraction.factors(np.full(len(COUNTS), 20_000 * 0.025), 4)
    for part in (factors.input, factors.output):
        assert (np.diff(part) >= 0).all() and part.dtype == np.float32
    assert factors.input[0] < 0.6 < 0.95 < factors.input[-1]


def test_what_was_not_trained_is_added_and_more_text_or_a_higher_rate_nears_the_mean() -> None:
    contraction = Contraction(Word2VecSettings(), COUNTS)
    efforts = [contraction.factors(np.full(len(COUNTS), lr_words), 4).input for lr_words in (0.0, 100.0, 1000.0, 100_000.0)]
    np.testing.assert_allclose(efforts[0], 1, atol=1e-6)
    assert all((after <= before).all() for before, after in pairwise(efforts))
    # One row may have been merged long before the others.
    lr_words = np.zeros(len(COUNTS))
    lr_words[2] = 100_000
    assert contraction.factors(lr_words, 4).input.tolist() == [
        1 if row != 2 else efforts[3][2] for row in range(len(COUNTS))
    ]


def test_one_learner_keeps_what_it_learned() -> None:
    factors = Contraction(Word2VecSettings(), COUNTS).factors(np.full(len(COUNTS), 1e6), 1)
    np.testing.assert_allclose([factors.input, factors.output], 1, atol=1e-6)


def factors(words: float, **settings: Any) -> npt.NDArray[np.float32]:
    """Input and output factors of five words that are equally frequent."""
    contraction = Contraction(Word2VecSettings(**settings), np.full(5, 1000, np.int64))
    both = contraction.factors(np.full(5, words), 4)
    return np.concatenate([both.input, both.output])


def test_a_word_is_updated_once_for_each_word_in_reach_by_skip_gram_and_once_by_cbow() -> None:
    # On average (1 + window) / 2 words on each side.
    np.testing.assert_allclose(factors(10, window=4), factors(50, window=4, cbow=True), rtol=1e-6)
    np.testing.assert_allclose(factors(10, window=9), factors(20, window=4), rtol=1e-6)


def test_a_word_and_each_negative_are_one_update() -> None:
    np.testing.assert_allclose(factors(10, negative=5), factors(20, negative=2), rtol=1e-6)
