"""The factors with which the changes of parallel learners to a row are merged, direction by direction.

Near the optimum of a row, each update leaves a share of the remaining distance. Let r = e^-x be the share left after one
learner's text of a round. Learners that start at the same point each go 1 - r of the way; a single one that trained on the
text of all W would have gone 1 - r^W. So the mean of their changes is multiplied by (1 - r^W) / (1 - r): where x is near 0
the row changes by the sum of all changes, and where every learner reaches the optimum by the mean.

x is the number of updates times the learning rate times the curvature of the loss, and the curvature depends on the
direction. An update of an input row against an output row o has the curvature s (1 - s) o oᵀ, where s is the sigmoid of
their product. Summed over all output rows, some directions are far steeper than others: the steepest, which tells common
words from rare ones and topics apart, a hundred times as much as the flattest, which hold what tells similar words apart. A
single factor for a row adds too much in the first or too little in the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shoal.workers.training.word2vec.kernels.sampling import Counts, keep_probabilities
from shoal.workers.training.word2vec.settings import Word2VecSettings
from shoal.workers.training.word2vec.tables import Floats

POSITIVE_SLOPE, NEGATIVE_SLOPE = 0.085, 0.055
"""The s (1 - s) of a pair that occurs in the text, and of a negative: half of what it is on average in trained tables."""
CONTRAST = 0.75
"""Curvatures count as this power of their ratio to the mean: while a learner trains, the other table turns as well, so that
steep and flat directions mix. With both constants merged tables have the norms and the spectrum of those of a single learner
(docs/internals/word2vec.md)."""
DIRECTIONS = 64
"""The steepest directions, which have factors of their own. The others share one."""
SAMPLED_ROWS = 8192
"""Curvatures are estimated from at most this many rows."""
_ROWS_AT_ONCE = 8192
"""Rows that are turned at once; their values stay in the CPU's cache."""

_TINY = 1e-30

_Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Directions:
    """The directions in which the rows of a table are pulled, from the other table."""

    vectors: Floats
    """(width, k), orthonormal columns: the steepest directions."""
    curvatures: _Doubles
    """(k,) curvatures in these directions."""
    rest: float
    """The mean curvature in all others."""


@dataclass(frozen=True, slots=True)
class Pull:
    """How the rows of one table were pulled since they were last merged."""

    directions: Directions
    steps: _Doubles
    """(words,): for each row, the updates by one learner times the learning rate."""

    def contract(self, rows: npt.NDArray[np.int32], values: Floats, learners: int) -> None:
        """Multiplies the sums `values` (n, width) of the changes of `learners` learners to `rows` (n,) by their factors, in
        place."""
        turn = self.directions.vectors
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            part = values[begin : begin + _ROWS_AT_ONCE]
            steps = self.steps[rows[begin : begin + _ROWS_AT_ONCE], None]
            rest = _factors(steps * self.directions.rest, learners)
            turned = part @ turn
            turned *= _factors(steps * self.directions.curvatures, learners) - rest
            part *= rest
            part += turned @ turn.T


@dataclass(frozen=True, slots=True)
class Pulls:
    """The pulls of both tables."""

    input: Pull
    output: Pull


class Contraction:
    """The pulls for one vocabulary and one set of settings."""

    def __init__(self, settings: Word2VecSettings, counts: Counts) -> None:
        """`counts` (words,) int64 are the counts of the words in the corpus."""
        share = counts / counts.sum()
        # Per word of the text: occurrences left after subsampling, and negatives drawn.
        kept = share * keep_probabilities(counts, settings.sample)
        weights = counts.astype(np.float64) ** settings.negative_power
        weights /= weights.sum()
        # Context words on each side are drawn from 1 to `window`. CBOW makes one update for the whole context.
        contexts = 1 if settings.cbow else settings.window + 1
        self._input_updates = contexts * kept
        self._output_updates = contexts * (POSITIVE_SLOPE * kept + NEGATIVE_SLOPE * settings.negative * kept.sum() * weights)
        self._dim = settings.dim
        self._averaged = settings.window + 1 if settings.cbow else 1
        positive = kept / kept.sum()
        steepness = POSITIVE_SLOPE * positive + NEGATIVE_SLOPE * settings.negative * weights
        self.sample, scale = _sample((positive + steepness / steepness.sum()) / 2)
        """(n,) int64: the rows of both tables from which `pulls` estimates the curvatures."""
        self._input_weights = (scale * positive[self.sample]).astype(np.float32)
        self._output_weights = (scale * steepness[self.sample]).astype(np.float32)

    def pulls(self, input: Floats, output: Floats, lr_words: _Doubles) -> Pulls:
        """`input` and `output` (n, width) float32 are the rows `sample` of the tables that all learners started from.
        `lr_words` (words,) float64: for each row, the words of text times learning rate that each learner has trained since
        the row was last merged."""
        inputs = (input * self._input_weights[:, None]).T @ input
        if self._averaged > 1:
            # CBOW predicts from the mean of some input rows: what they have in common stays, the rest averages out.
            mean = (self._input_weights[:, None] * input).sum(axis=0)
            common = np.outer(mean, mean)
            inputs = common + (inputs - common) / self._averaged
        return Pulls(
            Pull(
                _directions((output * self._output_weights[:, None]).T @ output, self._dim), lr_words * self._input_updates
            ),
            Pull(_directions(inputs, self._dim), lr_words * self._output_updates),
        )


def _sample(shares: _Doubles) -> tuple[npt.NDArray[np.int64], _Doubles]:
    """Rows (n,), at most SAMPLED_ROWS, drawn by `shares` (words,), and the factors of their values with which sums over
    these rows estimate sums over all."""
    if len(shares) <= SAMPLED_ROWS:
        return np.arange(len(shares)), np.ones(len(shares))
    # Evenly spaced, so that common rows are drawn exactly as often as they should be.
    draws = (np.arange(SAMPLED_ROWS) + 0.5) / SAMPLED_ROWS
    places = np.minimum(np.searchsorted(np.cumsum(shares), draws), len(shares) - 1)
    rows, times = np.unique(places, return_counts=True)
    return rows, times / SAMPLED_ROWS / shares[rows]


def _directions(curvature: Floats, dim: int) -> Directions:
    """The directions of a matrix of curvatures (width, width), of which the columns from `dim` on are zero."""
    values, vectors = np.linalg.eigh(curvature.astype(np.float64))
    # Ascending, and rounding may leave some below 0. The first belong to the padding.
    values = np.maximum(values, 0)
    padding, flat = len(values) - dim, len(values) - min(DIRECTIONS, dim)
    mean = values.sum() / dim
    values = mean * (values / max(mean, _TINY)) ** CONTRAST
    rest = float(values[padding:flat].mean()) if flat > padding else 0.0
    return Directions(np.ascontiguousarray(vectors[:, flat:], dtype=np.float32), values[flat:], rest)


def _factors(x: _Doubles, learners: int) -> Floats:
    # For x = 0 the factor is 1; this is close enough.
    x = np.maximum(x, 1e-9)
    return (np.expm1(-x * learners) / (learners * np.expm1(-x))).astype(np.float32)
