"""How changes of several learners are merged: against plain formulas, and the promises of the schemes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.workers.training.word2vec.averaging.contraction import Directions, Pull
from shoal.workers.training.word2vec.averaging.merge import MergeScheme, merge
from shoal.workers.training.word2vec.learner import TableDelta

WORDS, WIDTH = 12, 16
Dense = npt.NDArray[np.float32]
STEPS = np.linspace(0.01, 3, WORDS)
# Equally steep in all directions.
PULL = Pull(Directions(np.zeros((WIDTH, 0), np.float32), np.zeros(0), 1.0), STEPS)


@st.composite
def changes(draw: st.DrawFn) -> list[Dense]:
    """The changes of several learners, as whole tables; some rows are unchanged."""
    learners = draw(st.integers(1, 6))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    moved = random.random((learners, WORDS, 1)) < draw(st.floats(0, 1))
    return list((random.normal(0, 1, (learners, WORDS, WIDTH)) * moved).astype(np.float32))


def sparse(table: Dense) -> TableDelta:
    rows = np.flatnonzero(table.any(axis=1)).astype(np.int32)
    return TableDelta(rows, table[rows])


def dense(delta: TableDelta) -> Dense:
    table = np.zeros((WORDS, WIDTH), np.float32)
    table[delta.rows] = delta.values
    return table


def adasum(tables: Sequence[Dense]) -> Dense:
    if len(tables) == 1:
        return tables[0]
    half = (len(tables) + 1) // 2
    a, b = adasum(tables[:half]), adasum(tables[half:])
    product = (a * b).sum(axis=1, keepdims=True)
    squares = [np.maximum((table * table).sum(axis=1, keepdims=True), 1e-30) for table in (a, b)]
    return (1 - product / (2 * squares[0])) * a + (1 - product / (2 * squares[1])) * b


def norm_ratio(tables: Sequence[Dense]) -> Dense:
    total = np.sum(tables, axis=0)
    squares = np.sum([(table * table).sum(axis=1, keepdims=True) for table in tables], axis=0)
    return total * np.minimum(1, squares / np.maximum((total * total).sum(axis=1, keepdims=True), 1e-30))


# Compiling takes longer than hypothesis allows.
@settings(deadline=None)
@given(changes())
def test_schemes_equal_their_formulas(tables: list[Dense]) -> None:
    deltas = [sparse(table) for table in tables]
    expected = {
        MergeScheme.MEAN: np.mean(tables, axis=0),
        MergeScheme.ADASUM: adasum(tables),
        MergeScheme.NORM_RATIO: norm_ratio(tables),
    }
    shares = np.expm1(-STEPS * len(tables)) / (len(tables) * np.expm1(-STEPS))
    expected[MergeScheme.CONTRACTION] = np.sum(tables, axis=0) * shares[:, None]
    for scheme, table in expected.items():
        merged = merge(scheme, deltas, len(deltas), PULL)
        assert (np.diff(merged.rows) > 0).all() and merged.rows.dtype == np.int32 and merged.values.dtype == np.float32
        np.testing.assert_allclose(dense(merged), table, atol=1e-5)


# Compiling takes longer than hypothesis allows.
@settings(deadline=None)
@given(changes(), st.integers(0, WORDS), st.integers(0, WORDS))
def test_ranges_of_rows_merge_by_themselves(tables: list[Dense], one: int, other: int) -> None:
    deltas = [sparse(table) for table in tables]
    cuts = [0, *sorted((one, other)), WORDS]
    for scheme in MergeScheme:
        parts = [
            merge(scheme, [delta.between(first, end) for delta in deltas], len(deltas), PULL)
            for first, end in pairwise(cuts)
        ]
        whole = merge(scheme, deltas, len(deltas), PULL)
        assert np.concatenate([part.rows for part in parts]).tolist() == whole.rows.tolist()
        np.testing.assert_allclose(np.concatenate([part.values for part in parts]), whole.values, atol=1e-6)


@pytest.mark.parametrize("scheme", [MergeScheme.ADASUM, MergeScheme.NORM_RATIO])
@pytest.mark.parametrize("learners", [2, 4, 8])
def test_agreeing_changes_are_averaged_and_independent_ones_added(scheme: MergeScheme, learners: int) -> None:
    same = np.full((1, WIDTH), 0.25, np.float32)
    row = np.array([3], np.int32)
    np.testing.assert_allclose(merge(scheme, [TableDelta(row, same)] * learners, learners).values, same, rtol=1e-5)
    apart = [TableDelta(row, np.eye(1, WIDTH, k, dtype=np.float32)) for k in range(learners)]
    expected = (np.arange(WIDTH) < learners).astype(np.float32)[None]
    np.testing.assert_allclose(merge(scheme, apart, learners).values, expected, atol=1e-6)


@pytest.mark.parametrize("scheme", [MergeScheme.ADASUM, MergeScheme.NORM_RATIO])
def test_a_row_that_one_learner_changed_keeps_its_change(scheme: MergeScheme) -> None:
    one, other = (
        TableDelta(np.array([1, 5], np.int32), np.ones((2, WIDTH), np.float32)),
        TableDelta(np.array([2], np.int32), np.full((1, WIDTH), 2, np.float32)),
    )
    merged = merge(scheme, [one, other], 4)
    assert merged.rows.tolist() == [1, 2, 5] and merged.values[:, 0].tolist() == [1, 2, 1]


def test_tiny_changes_whose_squares_vanish_do_no_harm() -> None:
    row, tiny = np.array([0], np.int32), np.full((1, WIDTH), 1e-30, np.float32)
    for scheme in MergeScheme:
        merged = merge(scheme, [TableDelta(row, tiny)] * 3, 3, PULL)
        assert np.isfinite(merged.values).all()
