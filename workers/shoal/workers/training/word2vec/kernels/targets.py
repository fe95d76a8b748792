"""What a kernel tells a word apart from: its negatives, drawn a word ahead so that their rows are near when they are
needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from shoal.workers.runtime import inlined
from shoal.workers.training.word2vec.kernels.sampling import STEP, drawn, scrambled
from shoal.workers.training.word2vec.kernels.vector_code import LINE, MOST_SUMS, prefetch

_f32, _u64 = np.float32, np.uint64


def target_sets(negative: int, contexts: int) -> tuple[int, int]:
    """How many sets of how many targets each hold a word and its negatives, for `train_pairs` with so many contexts. The
    last set may have places to spare."""
    sets = -(-(negative + 1) * contexts // MOST_SUMS)
    return sets, -(-(negative + 1) // sets)


@inlined
def draw_negatives(coming: Any, negative: Any, thresholds: Any, aliases: Any, state: Any) -> Any:
    """Draws negatives into `coming` (negative + 1,), places 1 on; returns the state of the random numbers."""
    for k in range(1, negative + 1):
        state += STEP
        coming[k] = drawn(scrambled(state), thresholds, aliases)
    return state


@inlined
def take_negatives(
    rows: Any, rates: Any, coming: Any, rate: Any, negative: Any, targets: Any, thresholds: Any, aliases: Any, state: Any
) -> Any:
    """Moves `coming` to `rows`, with `rates` for each, and draws the next ones; `rows[0]` is the word itself.

    Returns the state of the random numbers.
    """
    rates[0] = rates[targets] = rate
    for k in range(1, negative + 1):
        rows[k] = coming[k]
        at = k // targets * MOST_SUMS + k % targets
        # No word is a negative of its own.
        rates[at] = rate if rows[k] != rows[0] else _f32(0)
        if targets * 2 <= MOST_SUMS:
            rates[at + targets] = rates[at]
    for k in range(negative + 1, len(rows)):
        # Places to spare, whose rate is 0.
        rows[k] = rows[0]
    return draw_negatives(coming, negative, thresholds, aliases, state)


@inlined
def prefetch_row(table: Any, row: Any, width: Any) -> None:
    """Begins to load a row."""
    for place in range(0, width, LINE):
        prefetch(table, row, place)


@inlined
def prefetch_next(input: Any, output: Any, kept: Any, centre: Any, count: Any, window: Any, width: Any) -> None:
    """Begins to load what comes after the word at `centre`: the next word's row, and the row that its context may add."""
    if centre + 1 < count:
        prefetch_row(output, np.int64(kept[centre + 1]), width)
    if centre + 1 + window < count:
        prefetch_row(input, np.int64(kept[centre + 1 + window]), width)


@inlined
def prefetch_rows(table: Any, rows: Any, negative: Any, width: Any) -> None:
    """Begins to load the rows of negatives."""
    for k in range(1, negative + 1):
        for place in range(0, width, LINE):
            prefetch(table, rows[k], place)


@inlined
def loss_of(logits: Any, labels: Any, rates: Any, first: Any, sums: Any) -> Any:
    """The loss of the pairs whose logits `train_pairs` has left; `first` is where their set begins in `labels` and
    `rates`."""
    loss = 0.0
    for k in range(sums):
        if rates[first + k] > 0:
            loss += np.log1p(np.exp((1.0 - 2.0 * labels[first + k]) * logits[k]))
    return loss
