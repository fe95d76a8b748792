"""Merges the changes of several learners into one. `run` decides which learners, and when."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np

from shoal.workers.runtime import compiled
from shoal.workers.training.word2vec.averaging.contraction import Pull
from shoal.workers.training.word2vec.learner import TableDelta
from shoal.workers.training.word2vec.scratch_buffers import ScratchBuffers

_f32 = np.float32


class MergeScheme(StrEnum):
    """How a row that several learners changed is merged."""

    CONTRACTION = "contraction"
    """The sum, times factors for each row and direction that follow from how far the row is pulled: see `contraction`."""
    MEAN = "mean"
    """The mean of the models. Words that few learners saw hardly change, so quality falls with each learner."""
    ADASUM = "adasum"
    """Changes in the same direction are averaged, independent ones added, pair by pair and for each row separately:
    Maleki et al. 2021, "Scaling Distributed Training with Adaptive Summation"."""
    NORM_RATIO = "norm-ratio"
    """The same for all changes at once: the sum S times min(1, q / |S|²), where q is the sum of the squared lengths of the
    changes. Needs only sums over learners."""


def merge(
    scheme: MergeScheme,
    deltas: Sequence[TableDelta],
    learners: int,
    pull: Pull | None = None,
    buffers: ScratchBuffers | None = None,
) -> TableDelta:
    """Merges the changes of `learners` learners to one table into one delta. Learners without changes may be missing.

    `pull` is needed for CONTRACTION only. `deltas` has at least one; their order matters only to ADASUM, and little. The
    result may lie in `buffers`.
    """
    if scheme is MergeScheme.ADASUM:
        return _tree(deltas)
    if scheme is MergeScheme.NORM_RATIO:
        return _norm_ratio(deltas)
    summed = _summed(deltas, buffers or ScratchBuffers())
    if scheme is MergeScheme.MEAN:
        np.multiply(summed.values, np.float32(1 / learners), out=summed.values)
    elif pull is None:
        raise ValueError("contraction needs a pull")
    else:
        pull.contract(summed.rows, summed.values, learners)
    return summed


def _summed(deltas: Sequence[TableDelta], buffers: ScratchBuffers) -> TableDelta:
    # The given deltas must not be changed: they may belong to others or lie in read-only memory.
    total = deltas[0] if len(deltas) > 1 else TableDelta(deltas[0].rows, deltas[0].values.copy())
    for index, delta in enumerate(deltas[1:]):
        into = buffers.take(index % 2, len(total.rows) + len(delta.rows), delta.values.shape[1])
        count = _sum(total.rows, total.values, delta.rows, delta.values, into.rows, into.values)
        total = TableDelta(into.rows[:count], into.values[:count])
    return total


def _norm_ratio(deltas: Sequence[TableDelta]) -> TableDelta:
    rows = np.unique(np.concatenate([delta.rows for delta in deltas]))
    sums = np.zeros((len(rows), deltas[0].values.shape[1]), np.float32)
    squares = np.zeros(len(rows), np.float32)
    for delta in deltas:
        _add_up(np.searchsorted(rows, delta.rows), delta.values, sums, squares)
    _shrink(sums, squares)
    return TableDelta(rows, sums)


def _tree(deltas: Sequence[TableDelta]) -> TableDelta:
    if len(deltas) == 1:
        return deltas[0]
    half = (len(deltas) + 1) // 2
    one, other = _tree(deltas[:half]), _tree(deltas[half:])
    rows = np.empty(len(one.rows) + len(other.rows), np.int32)
    values = np.empty((len(rows), one.values.shape[1]), np.float32)
    count = _adasum(one.rows, one.values, other.rows, other.values, rows, values)
    return TableDelta(rows[:count], values[:count])


@compiled
def _sum(rows: Any, values: Any, other_rows: Any, others: Any, merged_rows: Any, merged: Any) -> Any:
    width = merged.shape[1]
    i = j = count = 0
    while i < len(rows) or j < len(other_rows):
        take = j == len(other_rows) or (i < len(rows) and rows[i] <= other_rows[j])
        take_other = i == len(rows) or (j < len(other_rows) and other_rows[j] <= rows[i])
        merged_rows[count] = rows[i] if take else other_rows[j]
        if take and take_other:
            for d in range(width):
                merged[count, d] = values[i, d] + others[j, d]
        elif take:
            for d in range(width):
                merged[count, d] = values[i, d]
        else:
            for d in range(width):
                merged[count, d] = others[j, d]
        i += take
        j += take_other
        count += 1
    return count


@compiled
def _adasum(rows: Any, values: Any, other_rows: Any, others: Any, merged_rows: Any, merged: Any) -> Any:
    width = merged.shape[1]
    i = j = count = 0
    while i < len(rows) or j < len(other_rows):
        only_one = j == len(other_rows) or (i < len(rows) and rows[i] < other_rows[j])
        only_other = i == len(rows) or (j < len(other_rows) and other_rows[j] < rows[i])
        if only_one:
            merged_rows[count] = rows[i]
            for d in range(width):
                merged[count, d] = values[i, d]
            i += 1
        elif only_other:
            merged_rows[count] = other_rows[j]
            for d in range(width):
                merged[count, d] = others[j, d]
            j += 1
        else:
            merged_rows[count] = rows[i]
            product = square = other_square = _f32(0)
            for d in range(width):
                product += values[i, d] * others[j, d]
                square += values[i, d] * values[i, d]
                other_square += others[j, d] * others[j, d]
            # The component along the other change counts half. Squares of tiny lengths may underflow to 0.
            share = _f32(1) - (product / (_f32(2) * square) if square > 0 else _f32(0))
            other_share = _f32(1) - (product / (_f32(2) * other_square) if other_square > 0 else _f32(0))
            for d in range(width):
                merged[count, d] = share * values[i, d] + other_share * others[j, d]
            i += 1
            j += 1
        count += 1
    return count


@compiled
def _add_up(places: Any, values: Any, sums: Any, squares: Any) -> None:
    for at in range(len(places)):
        row = np.uint64(places[at])
        square = _f32(0)
        for d in range(values.shape[1]):
            value = values[at, d]
            sums[row, d] += value
            square += value * value
        squares[row] += square


@compiled
def _shrink(sums: Any, squares: Any) -> None:
    for row in range(len(sums)):
        square = _f32(0)
        for d in range(sums.shape[1]):
            square += sums[row, d] * sums[row, d]
        if square > squares[row]:
            share = squares[row] / square
            for d in range(sums.shape[1]):
                sums[row, d] *= share
