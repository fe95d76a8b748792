"""What changed in a table since learners agreed on it: found, and put back, in loops that run at the memory's speed."""

from __future__ import annotations

from typing import Any

import numpy as np

from shoal.workers.compilation import compiled
from shoal.workers.training.learner import Delta
from shoal.workers.training.tables import Floats


def changed_rows(table: Floats, base: Floats, rows: int) -> tuple[Delta, bool]:
    """`table` - `base`, both (words, width) float32, in those of the first `rows` rows where they differ, and whether all
    numbers in these are finite."""
    found = np.empty(rows, np.int32)
    count, finite = _differing(table, base, rows, found)
    values = np.empty((count, table.shape[1]), np.float32)
    _subtract(table, base, found, values)
    return Delta(found[:count].copy(), values), bool(finite)


def add_changes(table: Floats, delta: Delta) -> None:
    """Adds `delta` to its rows of `table` (words, width) float32, in place."""
    _add(table, delta.rows, delta.values)


# Not fast: that would let the compiler take every number for finite.
@compiled
def _differing(table: Any, base: Any, rows: Any, found: Any) -> Any:
    count, finite = 0, True
    width = table.shape[1]
    bits, before = table.view(np.int32), base.view(np.int32)
    for row in range(rows):
        different, largest = 0, 0
        for d in range(width):
            different |= bits[row, d] ^ before[row, d]
            largest = max(largest, bits[row, d] & 0x7FFFFFFF)
        # Infinities and what is no number have every bit of the exponent set.
        finite &= largest < 0x7F800000
        if different:
            found[count] = row
            count += 1
    return count, finite


@compiled
def _subtract(table: Any, base: Any, found: Any, values: Any) -> None:
    for at in range(len(values)):
        row = np.uint64(found[at])
        for d in range(values.shape[1]):
            values[at, d] = table[row, d] - base[row, d]


@compiled
def _add(table: Any, rows: Any, values: Any) -> None:
    for at in range(len(rows)):
        row = np.uint64(rows[at])
        for d in range(values.shape[1]):
            table[row, d] += values[at, d]
