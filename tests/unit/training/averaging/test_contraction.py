"""Factors for the sums of learners' changes: known limits, and a descent that can be computed exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.workers.training.word2vec.averaging.contraction import (
    CONTRAST,
    DIRECTIONS,
    NEGATIVE_SLOPE,
    POSITIVE_SLOPE,
    Contraction,
    Directions,
    Pull,
    _factors,
)
from shoal.workers.training.word2vec.kernels.sampling import keep_probabilities
from shoal.workers.training.word2vec.settings import Word2VecSettings
from shoal.workers.training.word2vec.tables import Tables, padded

COUNTS = np.array([500_000, 20_000, 1000, 50, 5], np.int64)
Floats = npt.NDArray[np.float32]


@given(st.floats(0, 50), st.integers(1, 64))
def test_factors_lie_between_the_mean_and_the_sum(x: float, learners: int) -> None:
    factor = float(_factors(np.array([x]), learners)[0])
    assert 1 / learners * (1 - 1e-6) <= factor <= 1 + 1e-6


@given(st.integers(0, 10**6), st.integers(1, 16), st.integers(1, 90), st.integers(0, 90))
def test_learners_together_move_as_far_as_one_that_trains_all_their_text(
    seed: int, learners: int, dim: int, apart: int
) -> None:
    """Gradient descent in bowls that are steep in some directions and flat in others. Those that have no factor of their own
    are equally steep."""
    random = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(random.normal(size=(dim, dim)))
    apart = min(apart, dim)
    rest = 0.02
    curvatures = np.concatenate([np.full(dim - apart, rest), 10 ** random.uniform(-2, 1, apart)])
    steps = 10 ** random.uniform(-2, 2, 5)
    way = random.normal(size=(5, dim))

    def moved(times: int) -> npt.NDArray[np.float64]:
        return (way @ axes * -np.expm1(-steps[:, None] * times * curvatures)) @ axes.T

    directions = Directions(axes[:, dim - apart :].astype(np.float32), curvatures[dim - apart :], rest)
    rows, values = np.array([4, 1, 3], np.int32), (learners * moved(1))[[4, 1, 3]].astype(np.float32)
    Pull(directions, steps).contract(rows, values, learners)
    np.testing.assert_allclose(values, moved(learners)[rows], atol=2e-5)


def tables(words: int, dim: int, seed: int = 3) -> tuple[Floats, Floats]:
    """Padded as in a training, with a common direction and flatter ones."""
    random = np.random.default_rng(seed)
    both = Tables.empty(words, dim)
    for table in (both.input, both.output):
        table[:, :dim] = random.normal(size=(words, dim)) * np.geomspace(1, 0.05, dim) + 0.3
    return both.input, both.output


def tempered(curvature: npt.NDArray[Any], dim: int) -> npt.NDArray[np.float64]:
    """The matrix with less contrast between its directions."""
    values, vectors = np.linalg.eigh(curvature.astype(np.float64))
    mean = values.sum() / dim
    return vectors * (mean * (np.maximum(values, 0) / mean) ** CONTRAST) @ vectors.T


def matrix(directions: Directions, dim: int) -> npt.NDArray[np.float64]:
    """The curvatures that `directions` describe."""
    turn = directions.vectors.astype(np.float64)
    rest = np.eye(len(turn)) * (np.arange(len(turn)) < dim) - turn @ turn.T
    return turn * directions.curvatures @ turn.T + rest * directions.rest


@pytest.mark.parametrize("words", [5, 30_000])
def test_curvatures_are_those_of_all_rows_weighted_by_their_updates(words: int) -> None:
    settings, dim = Word2VecSettings(dim=20), 20
    counts = np.maximum(5, 4_000_000 // np.arange(1, words + 1)).astype(np.int64)
    input, output = tables(words, dim)
    contraction = Contraction(settings, counts)
    rows = contraction.sample
    assert len(rows) <= 8192 and (np.diff(rows) > 0).all()
    pulls = contraction.pulls(input[rows], output[rows], np.ones(words))
    kept = counts * keep_probabilities(counts, settings.sample)
    positive, negative = kept / kept.sum(), counts**0.75 / (counts**0.75).sum()
    weights = POSITIVE_SLOPE * positive + NEGATIVE_SLOPE * 5 * negative
    for pull, other, by in ((pulls.input, output, weights), (pulls.output, input, positive)):
        exact = tempered((other * by[:, None]).T @ other, dim)
        found = matrix(pull.directions, dim)
        assert np.linalg.norm(found - exact) < (0.03 if words > 8192 else 1e-5) * np.linalg.norm(exact)


def test_wide_tables_have_factors_of_their_own_in_the_steepest_directions_only() -> None:
    dim = 3 * DIRECTIONS
    input, output = tables(400, dim)
    counts = np.full(400, 1000, np.int64)
    contraction = Contraction(Word2VecSettings(dim=dim), counts)
    directions = contraction.pulls(input[contraction.sample], output[contraction.sample], np.ones(400)).output.directions
    exact = np.linalg.eigvalsh(tempered(input.T @ input / 400, dim))[-dim:]
    assert directions.vectors.shape == (padded(dim), DIRECTIONS)
    np.testing.assert_allclose(directions.curvatures, exact[-DIRECTIONS:], rtol=1e-3)
    assert directions.rest == pytest.approx(exact[:-DIRECTIONS].mean(), rel=1e-3)


def test_cbow_predicts_from_a_mean_in_which_only_what_is_common_stays() -> None:
    input, output = tables(400, 16)
    counts = np.full(400, 1000, np.int64)
    for cbow in (False, True):
        contraction = Contraction(Word2VecSettings(dim=16, window=5, cbow=cbow), counts)
        rows = contraction.sample
        found = matrix(contraction.pulls(input[rows], output[rows], np.ones(400)).output.directions, 16)
        mean = input.mean(axis=0)
        exact = np.outer(mean, mean) + np.cov(input.T, bias=True) / (6 if cbow else 1)
        np.testing.assert_allclose(found, tempered(exact, 16), atol=1e-5)


def changes(contraction: Contraction, lr_words: npt.NDArray[np.float64], learners: int) -> tuple[Floats, Floats]:
    """What becomes of a sum of 1 in every direction."""
    input, output = tables(len(COUNTS), 16)
    pulls = contraction.pulls(input[contraction.sample], output[contraction.sample], lr_words)
    sums = np.ones((2, len(COUNTS), 16), np.float32)
    for pull, values in zip((pulls.input, pulls.output), sums, strict=True):
        pull.contract(np.arange(len(COUNTS), dtype=np.int32), values, learners)
    return sums[0], sums[1]


@pytest.mark.parametrize("cbow", [False, True])
def test_rare_words_are_added_and_common_ones_averaged(cbow: bool) -> None:
    contraction = Contraction(Word2VecSettings(dim=16, cbow=cbow), COUNTS)
    for values in changes(contraction, np.full(len(COUNTS), 20_000 * 0.025), 4):
        # Along the steepest direction, which is the common one.
        along = values.mean(axis=1)
        assert (np.diff(along) >= 0).all()
        assert along[0] < 0.65 < 0.95 < along[-1]


def test_what_was_not_trained_is_added_and_each_row_has_its_own_past() -> None:
    contraction = Contraction(Word2VecSettings(dim=16), COUNTS)
    lr_words = np.zeros(len(COUNTS))
    np.testing.assert_allclose(changes(contraction, lr_words, 4), 1, atol=1e-5)
    # One row may have been merged long before the others.
    lr_words[2] = 100_000
    values, _ = changes(contraction, lr_words, 4)
    np.testing.assert_allclose(values[[0, 1, 3, 4]], 1, atol=1e-5)
    assert values[2].mean() < 0.5


def test_one_learner_keeps_what_it_learned() -> None:
    contraction = Contraction(Word2VecSettings(dim=16), COUNTS)
    np.testing.assert_allclose(changes(contraction, np.full(len(COUNTS), 1e6), 1), 1, atol=1e-5)


def test_tables_that_are_still_zero_pull_nowhere() -> None:
    contraction = Contraction(Word2VecSettings(dim=16), COUNTS)
    zeros = np.zeros((len(contraction.sample), 16), np.float32)
    pulls = contraction.pulls(zeros, zeros, np.full(len(COUNTS), 1e6))
    values = np.ones((1, 16), np.float32)
    pulls.input.contract(np.zeros(1, np.int32), values, 8)
    np.testing.assert_allclose(values, 1, atol=1e-5)


def steps(**settings: Any) -> npt.NDArray[np.float64]:
    """Input and output steps of five words that are equally frequent, for one word of text."""
    contraction = Contraction(Word2VecSettings(dim=16, **settings), np.full(5, 1000, np.int64))
    zeros = np.zeros((len(contraction.sample), 16), np.float32)
    pulls = contraction.pulls(zeros, zeros, np.ones(5))
    return np.concatenate([pulls.input.steps, pulls.output.steps])


def test_a_word_is_updated_once_for_each_word_in_reach_by_skip_gram_and_once_by_cbow() -> None:
    # On average (1 + window) / 2 words on each side.
    np.testing.assert_allclose(steps(window=4), 5 * steps(window=4, cbow=True))
    np.testing.assert_allclose(steps(window=9), 2 * steps(window=4))


def test_an_output_row_is_updated_by_its_word_and_as_a_negative() -> None:
    one, three = steps(negative=1)[-5:], steps(negative=3)[-5:]
    np.testing.assert_allclose(three / one, (POSITIVE_SLOPE + 3 * NEGATIVE_SLOPE) / (POSITIVE_SLOPE + NEGATIVE_SLOPE))
