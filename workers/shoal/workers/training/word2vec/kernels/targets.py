"""The targets of a training step: a word and its negatives. Negatives are drawn one word ahead, so that their rows are in
the cache when they are needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from shoal.workers.runtime import inlined
from shoal.workers.training.word2vec.kernels.sampling import STEP, drawn, scrambled
from shoal.workers.training.word2vec.kernels.vector_code import LINE, MOST_SUMS, prefetch

_f32, _u64 = np.float32, np.uint64


def target_sets(negative: int, contexts: int) -> tuple[int, int]:
    """Divides a word and its negatives into sets for `train_pairs` with this number of contexts. Returns the number of sets,
    and of targets in each. The last set may be padded."""
    sets = -(-(negative + 1) * contexts // MOST_SUMS)
    return sets, -(-(negative + 1) // sets)


@inlined
def draw_negatives(coming: Any, negative: Any, thresholds: Any, aliases: Any, state: Any) -> Any:
    """Draws negatives into `coming` (negative + 1,), from index 1 on. Returns the state of the random numbers."""
    for k in range(1, negative + 1):
        state += STEP
        coming[k] = drawn(scrambled(state), thresholds, aliases)
    return state


@inlined
def take_negatives(
    rows: Any, rates: Any, coming: Any, rate: Any, negative: Any, targets: Any, thresholds: Any, aliases: Any, state: Any
) -> Any:
    """Moves `coming` to `rows`, sets their `rates`, and draws the next negatives. `rows[0]` is the word itself.

    Returns the state of the random numbers.
    """
    rates[0] = rates[targets] = rate
    for k in range(1, negative + 1):
        rows[k] = coming[k]
        at = k // targets * MOST_SUMS + k % targets
        # A word is not a negative of itself.
        rates[at] = rate if rows[k] != rows[0] else _f32(0)
        if targets * 2 <= MOST_SUMS:
            rates[at + targets] = rates[at]
    for k in range(negative + 1, len(rows)):
        # Padding, with a rate of 0.
        rows[k] = rows[0]
    return draw_negatives(coming, negative, thresholds, aliases, state)


@inlined
def prefetch_row(table: Any, row: Any, width: Any) -> None:
    """Prefetches a row."""
    for column in range(0, width, LINE):
        prefetch(table, row, column)


@inlined
def prefetch_next(input: Any, output: Any, kept: Any, centre: Any, count: Any, window: Any, width: Any) -> None:
    """Prefetches what the word after `centre` needs: its output row, and the input row that its context may add."""
    if centre + 1 < count:
        prefetch_row(output, np.int64(kept[centre + 1]), width)
    if centre + 1 + window < count:
        prefetch_row(input, np.int64(kept[centre + 1 + window]), width)


@inlined
def prefetch_rows(table: Any, rows: Any, negative: Any, width: Any) -> None:
    """Prefetches the rows of negatives."""
    for k in range(1, negative + 1):
        for column in range(0, width, LINE):
            prefetch(table, rows[k], column)


@inlined
def loss_of(logits: Any, labels: Any, rates: Any, first: Any, sums: Any) -> Any:
    """The loss of the pairs whose logits `train_pairs` has computed. Their set starts at index `first` of `labels` and
    `rates`."""
    loss = 0.0
    for k in range(sums):
        if rates[first + k] > 0:
            loss += np.log1p(np.exp((1.0 - 2.0 * labels[first + k]) * logits[k]))
    return loss
