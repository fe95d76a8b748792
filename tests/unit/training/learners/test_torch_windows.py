"""Sampling of the torch learner: kept words, their contexts, negatives and learning rates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shoal.workers.training.word2vec.learner import SENTENCE_END, Ids  # noqa: E402
from shoal.workers.training.word2vec.learners.torch_step import GradientStep, cbow_step, skip_gram_step  # noqa: E402
from shoal.workers.training.word2vec.learners.torch_windows import Sampler, WordBatch, windows  # noqa: E402

CPU = torch.device("cpu")
COUNTS = np.array([5000, 900, 300, 60, 20], dtype=np.int64)
WINDOW, NEGATIVE = 3, 4


def some_text(words: int, sentence: int = 7) -> Ids:
    """Words as often as `COUNTS` has them, in sentences of `sentence` words."""
    drawn = np.random.default_rng(1).choice(len(COUNTS), words, p=COUNTS / COUNTS.sum())
    return np.concatenate(
        [np.append(part, SENTENCE_END) for part in np.split(drawn, range(sentence, words, sentence))]
    ).astype(np.int32)


def drawn(ids: Ids, sample: float = 0.0, seed: int = 1, power: float = 0.75) -> WordBatch:
    sampler = Sampler(COUNTS, sample, power, CPU)
    sampler.begin(seed)
    return sampler.batch(ids, (0.1, 0.02), WINDOW, NEGATIVE)


def test_contexts_stay_in_the_sentence_and_in_reach() -> None:
    draw = np.random.default_rng(2)
    sentences = [draw.integers(0, 100, length).tolist() for length in (1, 9, 2, 5, 30)]
    reaches = draw.integers(1, WINDOW + 1, sum(map(len, sentences)))
    numbers = np.repeat(np.arange(len(sentences)), [len(sentence) for sentence in sentences])
    words = [word for sentence in sentences for word in sentence]
    contexts, within = windows(torch.tensor(words), torch.tensor(numbers), torch.tensor(reaches), WINDOW)
    positions = [(sentence, position) for sentence in sentences for position in range(len(sentence))]
    for row, (sentence, position) in enumerate(positions):
        reach = int(reaches[row])
        expected = sentence[max(0, position - reach) : position] + sentence[position + 1 : position + 1 + reach]
        assert contexts[row][within[row]].tolist() == expected


def test_contexts_reach_from_one_word_to_the_window() -> None:
    within = drawn(some_text(9000, sentence=9000)).within[WINDOW:-WINDOW]
    reaches = within.sum(1) // 2
    np.testing.assert_allclose(np.bincount(reaches.numpy()) / len(reaches), [0, 1 / 3, 1 / 3, 1 / 3], atol=0.02)


def test_words_are_dropped_with_word2vecs_chance() -> None:
    ids = some_text(40_000)
    sample = 0.02
    words = drawn(ids, sample).targets[:, 0].numpy()
    shares = COUNTS / COUNTS.sum()
    expected = np.minimum(1, np.sqrt(sample / shares) + sample / shares)
    had, has = (np.bincount(some[some >= 0], minlength=len(COUNTS)) for some in (ids, words))
    np.testing.assert_allclose(has / had, expected, atol=0.02)
    assert expected[0] < 0.2 and expected[-1] == 1
    assert drawn(ids).targets[:, 0].tolist() == ids[ids >= 0].tolist()


def test_contexts_reach_over_dropped_words() -> None:
    batch = drawn(some_text(2000, sentence=2000), sample=0.02)
    assert 200 < len(batch) < 1500
    # The next kept word is always in the context, however far it stood away.
    assert batch.within[:-1, WINDOW].all() and not batch.within[-1, WINDOW]
    assert torch.equal(batch.contexts[:-1, WINDOW], batch.targets[1:, 0])


@pytest.mark.parametrize("power", [0.0, 0.75, 1.0])
def test_negatives_come_in_proportion_to_a_power_of_the_count(power: float) -> None:
    batch = drawn(some_text(20_000), power=power)
    negatives = batch.targets[:, 1:].numpy()
    assert negatives.shape == (20_000, NEGATIVE)
    weights = COUNTS.astype(float) ** power
    np.testing.assert_allclose(np.bincount(negatives.ravel()) / negatives.size, weights / weights.sum(), atol=0.01)


def test_a_word_is_no_negative_of_its_own() -> None:
    batch = drawn(some_text(500))
    assert batch.taken[:, 0].all()
    assert torch.equal(batch.taken[:, 1:], batch.targets[:, 1:] != batch.targets[:, :1])
    assert not batch.taken.all()


def test_the_rate_falls_with_the_place_in_the_text() -> None:
    ids = some_text(700)
    positions = np.flatnonzero(ids >= 0)
    np.testing.assert_allclose(drawn(ids).rates.numpy(), 0.1 - 0.08 * positions / len(ids), rtol=1e-5)


def test_a_seed_decides_what_is_drawn() -> None:
    ids = some_text(500)
    first, same, other = drawn(ids, 0.02, seed=5), drawn(ids, 0.02, seed=5), drawn(ids, 0.02, seed=6)
    assert torch.equal(first.targets, same.targets) and torch.equal(first.within, same.within)
    assert not torch.equal(first.targets[:50], other.targets[:50])


@pytest.mark.parametrize("ids", [[], [SENTENCE_END], [SENTENCE_END, SENTENCE_END]])
def test_a_text_without_words_is_empty(ids: list[int]) -> None:
    assert len(drawn(np.array(ids, dtype=np.int32))) == 0


@pytest.mark.parametrize("step_of", [skip_gram_step, cbow_step])
def test_processing_a_text_never_waits_for_the_device(step_of: Callable[..., GradientStep]) -> None:
    """On the device `meta` tensors have a shape and no numbers: what depends on a number, for which a GPU would be waited
    for, is an error there, and so is a tensor that lies on the CPU."""
    text = drawn(some_text(50))
    away = WordBatch(*(getattr(text, field).to("meta") for field in WordBatch.__slots__))
    input, output = (torch.zeros(len(COUNTS), 16, device="meta") for _ in range(2))
    step = step_of(input, output, away.part(10, 40), 0.5)
    step.apply(input, output)
    assert step.input_values.shape == (30 * 2 * WINDOW, 16) and step.output_values.shape == (30 * (1 + NEGATIVE), 16)
    assert step.loss.device.type == "meta"
    with pytest.raises(RuntimeError):
        step.pairs.item()
