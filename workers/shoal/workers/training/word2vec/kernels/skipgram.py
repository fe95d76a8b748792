"""Skip-gram: each context word, as input, is trained to predict the word at the centre, against negatives."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from shoal.workers.runtime import compiled
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
def window_kernel(width: int, negative: int) -> Any:
    """The fast kernel: all words of a context share their negatives, and are trained two at a time. See `Kernel` for its
    arguments.

    Sharing follows Ji et al. 2016, "Parallelizing Word2Vec in Shared and Distributed Memory", except that later words of a
    context see the changes of earlier ones. `width` and `negative` are compile-time constants, so no loop has a remainder.
    """
    lanes = vector_lanes()
    sets, targets = target_sets(negative, contexts=2)

    def train(
        ids: Any, input: Any, output: Any, sampling: Any, decay: Any, window: Any, state: Any, kept: Any, measure_every: Any
    ) -> Any:
        rows, coming = np.zeros(sets * targets, np.int64), np.zeros(sets * targets, np.int64)
        rates, labels = np.zeros(sets * MOST_SUMS, np.float32), np.zeros(sets * MOST_SUMS, np.float32)
        labels[0] = labels[targets] = 1
        logits = np.zeros(MOST_SUMS, np.float32)
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
                measured = centres % measure_every == 0
                position = first
                while position <= last:
                    if position == centre:
                        position += 1
                        continue
                    following = position + 1 + (position + 1 == centre)
                    one, two = np.int64(kept[position]), np.int64(kept[following]) if following <= last else np.int64(-1)
                    # A word that occurs twice in a row is trained twice, not both at once.
                    paired = following <= last and one != two
                    position = following + 1 if paired else following
                    for s in range(sets):
                        at = s * targets
                        if paired:
                            train_pairs(input, one, two, output, rows, rates, labels, logits, at, width, targets, 2, lanes)
                        else:
                            train_pairs(input, one, one, output, rows, rates, labels, logits, at, width, targets, 1, lanes)
                        if measured:
                            loss += loss_of(logits, labels, rates, s * MOST_SUMS, targets * (1 + paired))
                            pairs += (1 + paired) * (s == 0)
        return loss, pairs

    return compiled(train)


@cache
def pair_kernel(width: int, negative: int) -> Any:
    """The kernel with new negatives for each pair of words, as in Mikolov et al. 2013 ("Distributed Representations of Words
    and Phrases and their Compositionality"). See `Kernel` for its arguments."""
    lanes = vector_lanes()
    sets, targets = target_sets(negative, contexts=1)

    def train(
        ids: Any, input: Any, output: Any, sampling: Any, decay: Any, window: Any, state: Any, kept: Any, measure_every: Any
    ) -> Any:
        rows, coming = np.zeros(sets * targets, np.int64), np.zeros(sets * targets, np.int64)
        rates, labels = np.zeros(sets * MOST_SUMS + MOST_SUMS, np.float32), np.zeros(sets * MOST_SUMS, np.float32)
        labels[0] = 1
        logits = np.zeros(MOST_SUMS, np.float32)
        loss, pairs, centres, index = 0.0, 0, 0, 0
        keep, thresholds, aliases = sampling
        rate_per_word = (decay.last - decay.first) / max(1, len(ids))
        state = draw_negatives(coming, negative, thresholds, aliases, state)
        while index < len(ids):
            rate = _f32(decay.first + rate_per_word * index)
            count, index, state = kept_words(ids, index, keep, kept, state)
            for centre in range(count):
                first, last, state = context_bounds(centre, count, window, state)
                rows[0] = kept[centre]
                prefetch_next(input, output, kept, centre, count, window, width)
                centres += 1
                measured = centres % measure_every == 0
                for position in range(first, last + 1):
                    if position == centre:
                        continue
                    state = take_negatives(rows, rates, coming, rate, negative, targets, thresholds, aliases, state)
                    prefetch_rows(output, coming, negative, width)
                    one = np.int64(kept[position])
                    for s in range(sets):
                        at = s * targets
                        train_pairs(input, one, one, output, rows, rates, labels, logits, at, width, targets, 1, lanes)
                        if measured:
                            loss += loss_of(logits, labels, rates, s * MOST_SUMS, targets)
                            pairs += s == 0
        return loss, pairs

    return compiled(train)
