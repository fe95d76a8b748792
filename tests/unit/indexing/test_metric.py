"""Preparing vectors and scoring them exactly."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.workers.indexing.metric import METRICS, exact_scores, prepare


def _random(count: int, dimension: int = 37) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, dimension)).astype(np.float32)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e14])
def test_cosine_rows_have_unit_length_at_any_scale(scale: float) -> None:
    prepared = prepare(_random(50) * np.float32(scale), "cosine")
    np.testing.assert_allclose(np.linalg.norm(prepared.astype(np.float64), axis=1), 1.0, atol=3e-7)


@pytest.mark.parametrize("metric", METRICS)
def test_preparing_twice_changes_no_bit(metric: str) -> None:
    once = prepare(_random(500), metric)
    np.testing.assert_array_equal(prepare(once, metric), once)


def test_a_zero_row_stays_zero_and_scores_zero() -> None:
    rows = prepare(np.zeros((1, 4)), "cosine")
    assert exact_scores(prepare(np.ones((1, 4)), "cosine")[0], rows, "cosine").tolist() == [0.0]


def test_cosine_never_exceeds_one() -> None:
    rows = prepare(_random(2000), "cosine")
    assert max(float(exact_scores(row, row[None, :], "cosine")[0]) for row in rows) <= 1.0


@pytest.mark.parametrize("metric", METRICS)
def test_equal_rows_score_equal_at_any_index(metric: str) -> None:
    rows = _random(5000)
    rows[[3, 2047, 2048, 4999]] = rows[100]
    prepared, query = prepare(rows, metric), prepare(_random(1), metric)[0]
    scores = exact_scores(query, prepared, metric)
    alone = exact_scores(query, prepared[100:101], metric)[0]
    assert set(scores[[3, 100, 2047, 2048, 4999]].tolist()) == {float(alone)}


def test_l2_of_near_vectors_far_from_the_origin_is_exact() -> None:
    # |a|^2 + |b|^2 - 2ab in float32 would give 0 or worse here.
    row = np.full((1, 8), 1000.0, dtype=np.float32)
    query = row[0] + np.float32(0.001)
    expected = -float(((row.astype(np.float64) - query.astype(np.float64)) ** 2).sum())
    assert float(exact_scores(query, row, "l2")[0]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e16])
def test_the_first_bad_row_is_named(bad: float) -> None:
    rows = _random(9)
    rows[[4, 7], 2] = bad
    with pytest.raises(ValueError, match="queries row 4"):
        prepare(rows, "dot", name="queries")


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(9, 37\)"):
        prepare(_random(9), "dot", dimension=36)
    with pytest.raises(ValueError, match="shape"):
        prepare(_random(9)[0], "dot")
