"""CBOW: the mean of a context, as input, is trained to predict its word, against negatives."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from shoal.workers.runtime import compiled, inlined
from shoal.workers.training.word2vec.kernels.sampling import context_bounds, kept_words
from shoal.workers.training.word2vec.kernels.targets import (
    draw_negatives,
    loss_of,
    prefetch_next,
    prefetch_rows,
    take_negatives,
    target_sets,
)
from shoal.workers.training.word2vec.kernels.vector_code import MOST_SUMS, train_pairs, vector_lanes

_f32 = np.float32


@cache
def cbow_kernel(width: int, negative: int) -> Any:
    """The kernel of Mikolov et al. 2013 ("Efficient Estimation of Word Representations in Vector Space"), with negative
    sampling. See `Kernel` for its arguments.

    The change of the mean is added to each context word in full, as in word2vec.c, and not divided among them.
    """
    lanes = vector_lanes()
    sets, targets = target_sets(negative, contexts=1)

    def train(
        ids: Any, input: Any, output: Any, sampling: Any, decay: Any, window: Any, state: Any, kept: Any, measure_every: Any
    ) -> Any:
        rows, coming = np.zeros(sets * targets, np.int64), np.zeros(sets * targets, np.int64)
        rates, labels = np.zeros(sets * MOST_SUMS + MOST_SUMS, np.float32), np.zeros(sets * MOST_SUMS, np.float32)
        labels[0] = 1
        logits = np.zeros(MOST_SUMS, np.float32)
        # The mean, and its value before the step.
        mean = np.zeros((2, width), np.float32)
        loss, pairs, centres, index = 0.0, 0, 0, 0
        keep, thresholds, aliases = sampling
        rate_per_word = (decay.last - decay.first) / max(1, len(ids))
        state = draw_negatives(coming, negative, thresholds, aliases, state)
        while index < len(ids):
            rate = _f32(decay.first + rate_per_word * index)
            count, index, state = kept_words(ids, index, keep, kept, state)
            for centre in range(count):
                first, last, state = context_bounds(centre, count, window, state)
                if first == last:
                    continue
                rows[0] = kept[centre]
                state = take_negatives(rows, rates, coming, rate, negative, targets, thresholds, aliases, state)
                prefetch_rows(output, coming, negative, width)
                prefetch_next(input, output, kept, centre, count, window, width)
                centres += 1
                _take_mean(mean, input, kept, centre, first, last, width)
                for s in range(sets):
                    at = s * targets
                    train_pairs(mean, 0, 0, output, rows, rates, labels, logits, at, width, targets, 1, lanes)
                    if centres % measure_every == 0:
                        loss += loss_of(logits, labels, rates, s * MOST_SUMS, targets)
                        pairs += s == 0
                _add_change(mean, input, kept, centre, first, last, width)
        return loss, pairs

    return compiled(train)


@inlined
def _take_mean(mean: Any, input: Any, kept: Any, centre: Any, first: Any, last: Any, width: Any) -> None:
    """Sets both rows of `mean` (2, width) to the mean of the context's rows."""
    for d in range(width):
        mean[0, d] = _f32(0)
    for position in range(first, last + 1):
        if position != centre:
            row = np.uint64(kept[position])
            for d in range(width):
                mean[0, d] += input[row, d]
    share = _f32(1) / _f32(last - first)
    for d in range(width):
        mean[0, d] *= share
        mean[1, d] = mean[0, d]


@inlined
def _add_change(mean: Any, input: Any, kept: Any, centre: Any, first: Any, last: Any, width: Any) -> None:
    """Adds the difference of the two rows of `mean` (2, width) to each row of the context."""
    for d in range(width):
        mean[0, d] -= mean[1, d]
    for position in range(first, last + 1):
        if position != centre:
            row = np.uint64(kept[position])
            for d in range(width):
                input[row, d] += mean[0, d]
