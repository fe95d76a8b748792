"""The compiled kernels against a plain numpy training with the same random numbers, and against numerical gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shoal.workers.training.word2vec.kernels import skipgram
from shoal.workers.training.word2vec.kernels.sampling import Counts
from shoal.workers.training.word2vec.kernels.targets import target_sets
from shoal.workers.training.word2vec.learner import SENTENCE_END
from shoal.workers.training.word2vec.learners import cpu_learner
from shoal.workers.training.word2vec.learners.cpu_learner import CpuLearner
from shoal.workers.training.word2vec.settings import Word2VecSettings
from shoal.workers.training.word2vec.tables import Tables
from support.training.word2vec_reference import loss, steps, take

KINDS = {"window": {}, "exact": {"exact": True}, "cbow": {"cbow": True}}


def text(words: int, sentences: int, seed: int) -> tuple[list[int], Counts]:
    """Ids of sentences of many lengths, of 1 word too, and the words' counts."""
    random = np.random.default_rng(seed)
    ids: list[int] = []
    for length in random.integers(1, 30, sentences):
        ids += [*(int(id) for id in np.minimum(random.geometric(0.08, length) - 1, words - 1)), SENTENCE_END]
    counts = np.bincount([id for id in ids if id >= 0], minlength=words).astype(np.int64) + 1
    return ids, counts


def random_tables(words: int, dim: int, seed: int) -> Tables:
    random = np.random.default_rng(seed)
    tables = Tables.empty(words, dim)
    tables.input[:, :dim] = random.normal(0, 0.3, (words, dim))
    tables.output[:, :dim] = random.normal(0, 0.3, (words, dim))
    return tables


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dim", "negative"), [(20, 5), (48, 1), (20, 20)])
def test_a_kernel_computes_what_a_plain_training_computes(kind: str, dim: int, negative: int) -> None:
    ids, counts = text(40, 40, seed=dim)
    settings = Word2VecSettings(dim=dim, negative=negative, window=4, sample=0.02, **KINDS[kind])  # pyright: ignore[reportArgumentType]
    tables = random_tables(40, dim, seed=negative)
    input, output = tables.vectors().astype(np.float64), tables.output[:, :dim].astype(np.float64)
    learner = CpuLearner(settings, counts, tables)
    trained = learner.train(np.array(ids, np.int32), 0.05, 0.01, seed=3)
    at_once = target_sets(negative, contexts=2 if kind == "window" else 1)[1]
    for together in steps(settings, counts, ids, (0.05, 0.01), seed=3):
        take(together, input, output, at_once)
    result = learner.tables()
    assert trained.words == sum(id >= 0 for id in ids)
    assert np.abs(input - tables.vectors()).max() > 0.05
    np.testing.assert_allclose(result.vectors(), input, atol=1e-5)
    np.testing.assert_allclose(result.output[:, :dim], output, atol=1e-5)
    # The padding of rows is unchanged.
    assert not result.input[:, dim:].any() and not result.output[:, dim:].any()


def test_kernels_for_shorter_vectors_give_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skipgram, "vector_lanes", lambda: 8)
    # The compiled kernels for this CPU stay unchanged.
    monkeypatch.setattr(cpu_learner, "window_kernel", skipgram.window_kernel.__wrapped__)
    test_a_kernel_computes_what_a_plain_training_computes("window", 20, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_follows_the_numerical_gradient(kind: str) -> None:
    dim, negative, rate = 20, 5, 1e-3
    ids, counts = [2, 7, 4, SENTENCE_END], np.arange(20, 8, -1).astype(np.int64)
    settings = Word2VecSettings(dim=dim, negative=negative, window=2, sample=0, **KINDS[kind])  # pyright: ignore[reportArgumentType]
    tables = random_tables(12, dim, seed=1)
    learner = CpuLearner(settings, counts, tables)
    learner.train(np.array(ids, np.int32), rate, rate, seed=5)
    objective = [step for together in steps(settings, counts, ids, (rate, rate), seed=5) for step in together]
    params = [tables.vectors().astype(np.float64), tables.output[:, :dim].astype(np.float64)]
    after = [learner.tables().vectors(), learner.tables().output[:, :dim]]
    # CBOW adds to each word of a context what the mean should grow by: as many times the gradient as there are words.
    widths = {len(step.inputs) for step in objective}
    times = [float(max(widths)), 1.0]
    assert len(widths) == 1
    for table, param in enumerate(params):
        gradient = np.zeros_like(param)
        for index in np.ndindex(*param.shape):
            gradient[index] = _slope(objective, params, table, index)
        moved = (after[table].astype(np.float64) - param) / rate
        np.testing.assert_allclose(moved, -gradient * times[table], atol=5e-3)
        assert np.abs(gradient).max() > 0.1


def _slope(objective: Any, params: list[Any], table: int, index: tuple[int, ...]) -> float:
    small, values = 1e-5, []
    for sign in (1, -1):
        moved = [param.copy() for param in params]
        moved[table][index] += sign * small
        values.append(loss(objective, moved[0], moved[1]))
    return (values[0] - values[1]) / (2 * small)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reported_loss_is_that_of_the_pairs(kind: str) -> None:
    ids, counts = text(40, 400, seed=2)
    settings = Word2VecSettings(dim=20, window=3, sample=0, **KINDS[kind])  # pyright: ignore[reportArgumentType]
    tables = random_tables(40, 20, seed=9)
    learner = CpuLearner(settings, counts, tables)
    trained = learner.train(np.array(ids, np.int32), 1e-9, 1e-9, seed=4)
    input, output = tables.vectors().astype(np.float64), tables.output[:, :20].astype(np.float64)
    every = [loss([step], input, output) for together in steps(settings, counts, ids, (0, 0), seed=4) for step in together]
    assert 0 < trained.pairs < len(every) / 16
    assert trained.loss / trained.pairs == pytest.approx(np.mean(every), rel=0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_one_thread_is_reproducible_and_the_seed_counts(kind: str) -> None:
    ids, counts = text(60, 80, seed=3)
    settings = Word2VecSettings(dim=32, **KINDS[kind])  # pyright: ignore[reportArgumentType]

    def vectors(seed: int) -> Any:
        learner = CpuLearner(settings, counts, Tables.initial(60, 32, 1))
        learner.train(np.array(ids, np.int32), 0.05, 0.01, seed)
        return learner.tables().vectors().copy()

    assert np.array_equal(vectors(1), vectors(1))
    assert not np.array_equal(vectors(1), vectors(2))
