"""The factor with which the changes of parallel learners to a row are merged.

Near the optimum of a row, each update leaves a share of the remaining distance. Let r = e^-x be the share left after one
learner's text of a round. Learners that start at the same point each go 1 - r of the way; a single one that trained on the
text of all W would have gone 1 - r^W. So the mean of their changes is multiplied by (1 - r^W) / (1 - r): rows with few
updates (x near 0) change by the sum of all changes, and rows that every learner brings to the optimum by the mean.

x is the expected number of updates of a row, from the counts of the words, times the learning rate, the number of learners
and an empirical constant (`benchmarks/word2vec_averaging.py`; results in docs/quality.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shoal.workers.training.word2vec.kernels.sampling import Counts, keep_probabilities
from shoal.workers.training.word2vec.settings import Word2VecSettings
from shoal.workers.training.word2vec.tables import Floats

INPUT_PULL, OUTPUT_PULL = 0.025, 0.0025
"""What an update adds to x, divided by the learning rate. Less for output rows: they are mostly updated as negatives,
which earlier updates have already pushed away."""


@dataclass(frozen=True, slots=True)
class Factors:
    """By which the sums of changes are multiplied, for each row."""

    input: Floats
    output: Floats


class Contraction:
    """The factors for one vocabulary and one set of settings."""

    def __init__(self, settings: Word2VecSettings, counts: Counts) -> None:
        """`counts` (words,) int64 are the counts of the words in the corpus."""
        share = counts / counts.sum()
        # Per word of the text: occurrences left after subsampling, and negatives drawn.
        kept = share * keep_probabilities(counts, settings.sample)
        weights = counts.astype(np.float64) ** settings.negative_power
        negatives = settings.negative * kept.sum() * weights / weights.sum()
        # Context words on each side are drawn from 1 to `window`. CBOW makes one update for the whole context.
        contexts = 1 if settings.cbow else settings.window + 1
        self._input = INPUT_PULL * contexts * (1 + settings.negative) * kept
        self._output = OUTPUT_PULL * contexts * (kept + negatives)

    def factors(self, lr_words: npt.NDArray[np.float64], learners: int) -> Factors:
        """`lr_words` (words,) float64: for each row, the words of text times learning rate that each of `learners` learners
        has trained since the row was last merged."""
        # All learners change both tables, so their joint steps grow with their number.
        pull = lr_words * learners
        return Factors(_factors(self._input * pull, learners), _factors(self._output * pull, learners))


def _factors(x: npt.NDArray[np.float64], learners: int) -> Floats:
    # For x = 0 the factor is 1; this is close enough.
    x = np.maximum(x, 1e-9)
    return (np.expm1(-x * learners) / (learners * np.expm1(-x))).astype(np.float32)
