"""One step of the torch learner against loops in plain numpy, and against the loss's numerical gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")

from shoal.workers.training.word2vec.learners.torch_step import GradientStep, cbow_step, skip_gram_step  # noqa: E402
from shoal.workers.training.word2vec.learners.torch_windows import WordBatch  # noqa: E402

Doubles = npt.NDArray[np.float64]
StepOf = Callable[[torch.Tensor, torch.Tensor, WordBatch, float], GradientStep]
WORDS, WIDTH, NEGATIVE, WINDOW, SIZE = 7, 8, 3, 2, 12
STEPS = [pytest.param(skip_gram_step, id="skip-gram"), pytest.param(cbow_step, id="cbow")]
NO_LIMIT, LIMIT = float("inf"), 0.3


def some_batch(rate: float | None = None) -> WordBatch:
    """So few words that rows repeat, words are drawn as their own negatives, and some words have no context at all."""
    draw = np.random.default_rng(3)
    within = draw.random((SIZE, 2 * WINDOW)) < 0.6
    within[4] = False
    negatives = draw.integers(0, WORDS, (SIZE, NEGATIVE))
    words = draw.integers(0, WORDS, SIZE)
    assert (negatives == words[:, None]).any()
    return WordBatch(
        targets=torch.tensor(np.column_stack([words, negatives])),
        taken=torch.tensor(np.column_stack([np.ones(SIZE, bool), negatives != words[:, None]])),
        contexts=torch.tensor(draw.integers(0, WORDS, (SIZE, 2 * WINDOW))),
        within=torch.tensor(within),
        rates=torch.tensor(draw.random(SIZE) * 0.1 if rate is None else np.full(SIZE, rate), dtype=torch.float32),
    )


def some_tables() -> tuple[Doubles, Doubles]:
    draw = np.random.default_rng(4)
    return draw.normal(size=(WORDS, WIDTH)) * 0.5, draw.normal(size=(WORDS, WIDTH)) * 0.5


def sigmoid(value: float) -> float:
    return 1 / (1 + np.exp(-value))


def inputs_of(batch: WordBatch, cbow: bool) -> list[tuple[int, list[int]]]:
    """What is trained as input, with its row: of skip-gram every word of a context, of CBOW the whole context."""
    contexts = [
        [int(word) for word, within in zip(row, there, strict=True) if within]
        for row, there in zip(batch.contexts, batch.within, strict=True)
    ]
    if cbow:
        return [(n, context) for n, context in enumerate(contexts) if context]
    return [(n, [word]) for n, context in enumerate(contexts) for word in context]


def targets(batch: WordBatch, n: int) -> list[tuple[int, int]]:
    """The word, labelled 1, and its negatives, labelled 0, except the word itself."""
    word, *negatives = batch.targets[n].tolist()
    return [(word, 1)] + [(other, 0) for other in negatives if other != word]


def loss_of(input: Doubles, output: Doubles, batch: WordBatch, cbow: bool) -> float:
    total = 0.0
    for n, context in inputs_of(batch, cbow):
        for target, label in targets(batch, n):
            logit = input[context].mean(0) @ output[target]
            total -= np.log(sigmoid(logit if label else -logit))
    return total


def changes_of(input: Doubles, output: Doubles, batch: WordBatch, cbow: bool, most: float) -> tuple[Doubles, Doubles]:
    """The changes of the tables, pair by pair; rates of a row that add up to more than `most` are scaled down to it."""
    changes = np.zeros_like(input), np.zeros_like(output)
    rates = np.zeros(WORDS), np.zeros(WORDS)
    for n, context in inputs_of(batch, cbow):
        x, rate = input[context].mean(0), float(batch.rates[n])
        for target, label in targets(batch, n):
            gradient = (label - sigmoid(x @ output[target])) * rate
            for word in context:
                changes[0][word] += gradient * output[target]
                rates[0][word] += rate
            changes[1][target] += gradient * x
            rates[1][target] += rate
    factors = [np.minimum(1, most / np.maximum(some, 1e-9)) for some in rates]
    return changes[0] * factors[0][:, None], changes[1] * factors[1][:, None]


@pytest.mark.parametrize("most", [NO_LIMIT, LIMIT])
@pytest.mark.parametrize("step_of", STEPS)
def test_a_step_equals_loops_in_numpy(step_of: StepOf, most: float) -> None:
    batch, (input, output), cbow = some_batch(), some_tables(), step_of is cbow_step
    tables = torch.tensor(input, dtype=torch.float32), torch.tensor(output, dtype=torch.float32)
    step = step_of(*tables, batch, most)
    step.apply(*tables)
    expected = changes_of(input, output, batch, cbow, most)
    np.testing.assert_allclose(tables[0].numpy() - input, expected[0], atol=1e-6)
    np.testing.assert_allclose(tables[1].numpy() - output, expected[1], atol=1e-6)
    assert float(step.loss) == pytest.approx(loss_of(input, output, batch, cbow), rel=1e-5)
    assert int(step.pairs) == len(inputs_of(batch, cbow))


def test_the_limit_takes_effect() -> None:
    batch, (input, output) = some_batch(), some_tables()
    free, bound = (changes_of(input, output, batch, False, most) for most in (NO_LIMIT, LIMIT))
    assert np.abs(bound[0]).sum() < 0.9 * np.abs(free[0]).sum()
    assert np.abs(bound[1]).sum() < 0.9 * np.abs(free[1]).sum()


def numerical_gradient(function: Callable[[], float], table: Doubles) -> Doubles:
    gradient = np.zeros_like(table)
    for index in np.ndindex(table.shape):
        before = table[index]
        table[index] = before + 1e-6
        above = function()
        table[index] = before - 1e-6
        gradient[index] = (above - function()) / 2e-6
        table[index] = before
    return gradient


@pytest.mark.parametrize("step_of", STEPS)
def test_a_step_follows_the_gradient(step_of: StepOf) -> None:
    batch, (input, output), cbow = some_batch(rate=1), some_tables(), step_of is cbow_step
    if cbow:
        # word2vec.c adds what the mean is to change by to each word undivided: the gradient only if a context has one word.
        batch.within[:, 1:] = False
    tables = torch.tensor(input), torch.tensor(output)
    step_of(*tables, batch, NO_LIMIT).apply(*tables)
    for table, before in zip(tables, (input, output), strict=True):
        gradient = numerical_gradient(lambda: loss_of(input, output, batch, cbow), before)
        np.testing.assert_allclose(table.numpy() - before, -gradient, atol=1e-6)
