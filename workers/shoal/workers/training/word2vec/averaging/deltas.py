"""Finds and applies the changes of a table since it was last merged, in loops that run at memory speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from shoal.workers.runtime import compiled
from shoal.workers.training.word2vec.learner import TableDelta
from shoal.workers.training.word2vec.scratch_buffers import ScratchBuffers
from shoal.workers.training.word2vec.tables import Floats


def changed_rows(table: Floats, base: Floats, rows: int, buffers: ScratchBuffers) -> tuple[TableDelta, bool]:
    """`table` - `base`, both (words, width) float32, for those of the first `rows` rows that differ, and whether all values
    in these rows are finite. The delta lies in `buffers`."""
    delta = buffers.take(0, rows, table.shape[1])
    count, finite = _differences(table, base, rows, delta.rows, delta.values)
    return TableDelta(delta.rows[:count], delta.values[:count]), bool(finite)


def apply_deltas(table: Floats, base: Floats, rows: int, merged: Sequence[TableDelta]) -> None:
    """Adds `merged`, whose rows ascend within and across its deltas, to `base` (words, width) float32, and copies the first
    `rows` rows of `base` to `table`."""
    begin = 0
    for delta in merged:
        if len(delta.rows):
            end = int(delta.rows[-1]) + 1
            _apply(table, base, begin, end, delta.rows, delta.values)
            begin = end
    table[begin:rows] = base[begin:rows]


@compiled
def _differences(table: Any, base: Any, rows: int, found: Any, values: Any) -> Any:
    count, finite = 0, True
    width = table.shape[1]
    bits, before = table.view(np.int32), base.view(np.int32)
    for row in range(rows):
        different, largest = 0, 0
        for d in range(width):
            different |= bits[row, d] ^ before[row, d]
            largest = max(largest, bits[row, d] & 0x7FFFFFFF)
        # Infinities and NaN have all bits of the exponent set. (Bits, because fast math assumes finite values.)
        finite &= largest < 0x7F800000
        if different:
            found[count] = row
            for d in range(width):
                values[count, d] = table[row, d] - base[row, d]
            count += 1
    return count, finite


@compiled
def _apply(table: Any, base: Any, begin: int, end: int, merged: Any, values: Any) -> None:
    at = 0
    for row in range(begin, end):
        if merged[at] == row:
            for d in range(table.shape[1]):
                base[row, d] += values[at, d]
            at += 1
        for d in range(table.shape[1]):
            table[row, d] = base[row, d]
