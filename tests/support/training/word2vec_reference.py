"""A plain Word2Vec with the kernels' own random numbers: the reference for the kernels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shoal.workers.training.word2vec.kernels.sampling import alias_table, keep_thresholds
from shoal.workers.training.word2vec.settings import Word2VecSettings

MASK = 2**64 - 1


class Draws:
    """The kernels' random numbers (splitmix64)."""

    def __init__(self, seed: int) -> None:
        self.state = int(np.random.SeedSequence((seed, 0)).generate_state(1, np.uint64)[0])

    def bits(self) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        bits = self.state
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
        return bits ^ (bits >> 31)


@dataclass(frozen=True, slots=True)
class Step:
    """The mean of `inputs` (rows) is trained on `targets`, whose first is the word itself, at a rate."""

    inputs: tuple[int, ...]
    targets: tuple[int, ...]
    rate: float


def steps(
    settings: Word2VecSettings, counts: npt.NDArray[np.int64], ids: list[int], rates: tuple[float, float], seed: int
) -> Iterator[list[Step]]:
    """The steps of a training in their order; those in one list are computed from the same rows."""
    keep = keep_thresholds(counts, settings.sample)
    thresholds, aliases = alias_table(counts, settings.negative_power)
    draws = Draws(seed)

    def negatives() -> list[int]:
        drawn = []
        for _ in range(settings.negative):
            bits = draws.bits()
            word = (bits >> 32) * len(counts) >> 32
            drawn.append(word if bits & 0xFFFFFFFF <= thresholds[word] else int(aliases[word]))
        return drawn

    coming = negatives()
    position = 0
    while position < len(ids):
        rate = rates[0] + (rates[1] - rates[0]) * position / len(ids)
        kept = []
        while position < len(ids):
            position += 1
            word = ids[position - 1]
            if word < 0:
                break
            if draws.bits() >> 32 <= keep[word]:
                kept.append(word)
        for centre, word in enumerate(kept):
            reach = 1 + ((draws.bits() >> 32) * settings.window >> 32)
            context = [kept[at] for at in range(max(0, centre - reach), min(len(kept), centre + reach + 1)) if at != centre]
            if not context:
                continue
            if settings.cbow:
                coming, mine = negatives(), coming
                yield [Step(tuple(context), (word, *mine), rate)]
            elif settings.exact:
                for other in context:
                    coming, mine = negatives(), coming
                    yield [Step((other,), (word, *mine), rate)]
            else:
                coming, mine = negatives(), coming
                while context:
                    pair = context[:2] if len(set(context[:2])) == 2 else context[:1]
                    del context[: len(pair)]
                    yield [Step((other,), (word, *mine), rate) for other in pair]


def sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


def loss(together: list[Step], input: npt.NDArray[np.float64], output: npt.NDArray[np.float64]) -> float:
    """The loss of steps: -log sigmoid(x·w) of the word and -log sigmoid(-x·w) of each negative that is not the word."""
    total = 0.0
    for step in together:
        x = input[list(step.inputs)].mean(axis=0)
        for k, target in enumerate(step.targets):
            if k == 0 or target != step.targets[0]:
                total -= float(np.log(sigmoid((1.0 if k == 0 else -1.0) * (x @ output[target]))))
    return total


def take(together: list[Step], input: npt.NDArray[np.float64], output: npt.NDArray[np.float64], at_once: int) -> None:
    """Takes steps that share their targets in place, `at_once` targets at a time, whose logits are all computed first.

    A target that is there twice grows twice; what it adds to the input is from the row as it then is.
    """
    targets = together[0].targets
    rows = [list(step.inputs) for step in together]
    means = [input[some].mean(axis=0) for some in rows]
    grown = [mean.copy() for mean in means]
    for first in range(0, len(targets), at_once):
        some = targets[first : first + at_once]
        means = [mean.copy() for mean in grown]
        logits = [[mean @ output[target] for target in some] for mean in means]
        for k, target in enumerate(some, start=first):
            if k > 0 and target == targets[0]:
                continue
            before = output[target].copy()
            for c, mean in enumerate(means):
                gradient = together[c].rate * ((k == 0) - sigmoid(logits[c][k - first]))
                grown[c] += gradient * before
                output[target] += gradient * mean
    changes = [mean - input[some].mean(axis=0) for some, mean in zip(rows, grown, strict=True)]
    for step, change in zip(together, changes, strict=True):
        for row in step.inputs:
            input[row] += change
