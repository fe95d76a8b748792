"""How far learners that train side by side come with each row, and what their changes together are then worth.

Near where a row would stay, each of its updates leaves a share of the distance to go. If one learner's part of a round
leaves the share r = e^-x, then learners from the same start each go 1 - r of the way, where one that trained on the text
of all W would have gone 1 - r^W. So the mean of their changes is taken (1 - r^W) / (1 - r) times: rows that are updated
rarely (x near 0) change by the sum of all changes, and those that every learner brings to their place by the mean.

x is what a row's updates come to by the counts of the words, times the learning rate and the number of learners, times a
number that was found by trying (`benchmarks/word2vec_averaging.py`; docs/quality.md has what it gave).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shoal.workers.training.word2vec.kernels.sampling import Counts, keep_chances
from shoal.workers.training.word2vec.settings import Word2VecSettings
from shoal.workers.training.word2vec.tables import Floats

INPUT_PULL, OUTPUT_PULL = 0.025, 0.0025
"""What an update, times the learning rate, adds to x. It is less for output rows: most of their updates are as
negatives, which were pushed away before."""


@dataclass(frozen=True, slots=True)
class Factors:
    """By which the sums of changes are multiplied, row by row."""

    input: Floats
    output: Floats


class Contraction:
    """For one vocabulary and one set of settings."""

    def __init__(self, settings: Word2VecSettings, counts: Counts) -> None:
        """`counts` (words,) int64 are the words' occurrences in the corpus."""
        share = counts / counts.sum()
        # What is left of a word of the text after sub-sampling, and how often a negative is drawn for it.
        kept = share * keep_chances(counts, settings.sample)
        weights = counts.astype(np.float64) ** settings.negative_power
        negatives = settings.negative * kept.sum() * weights / weights.sum()
        # The window's reach is drawn from 1 to `window`, on both sides; CBOW makes one update of it.
        contexts = 1 if settings.cbow else settings.window + 1
        self._input = INPUT_PULL * contexts * (1 + settings.negative) * kept
        self._output = OUTPUT_PULL * contexts * (kept + negatives)

    def factors(self, lr_words: npt.NDArray[np.float64], learners: int) -> Factors:
        """`effort` (words,): for each row, words of text times learning rate that each of `learners` learners has
        trained since all agreed on the row."""
        # All learners pull at both tables: a step goes the further, the more they are.
        pull = lr_words * learners
        return Factors(_factors(self._input * pull, learners), _factors(self._output * pull, learners))


def _factors(x: npt.NDArray[np.float64], learners: int) -> Floats:
    # Where x is 0 the factor is 1, to which this is near enough.
    x = np.maximum(x, 1e-9)
    return (np.expm1(-x * learners) / (learners * np.expm1(-x))).astype(np.float32)
