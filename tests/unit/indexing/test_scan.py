"""The exact scan against a sort of all scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.workers.indexing.kinds import scan as scan_module
from shoal.workers.indexing.kinds.scan import padded, scan
from shoal.workers.indexing.metric import METRICS, exact_scores, prepare


@settings(max_examples=150, deadline=None)
@given(
    metric=st.sampled_from(METRICS),
    count=st.integers(0, 60),
    k=st.integers(1, 70),
    values=st.integers(1, 4),
    dead=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_a_full_sort_with_ties_and_dead_rows(
    metric: str, count: int, k: int, values: int, dead: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    rows = prepare(random.integers(-values, values, size=(count, 3)), metric)
    queries = prepare(random.integers(-values, values, size=(2, 3)), metric)
    alive = random.random(count) >= dead
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan_module, "BLOCK_ROWS", 16)
        found = scan(lambda start, stop: rows[start:stop], count, queries, k, metric, alive)
    for query, candidates in zip(queries, found, strict=True):
        scores = exact_scores(query, rows, metric)
        order = sorted(np.flatnonzero(alive).tolist(), key=lambda row: (-scores[row], row))
        last = scores[order[k - 1]] if len(order) >= k else -np.inf
        expected = [row for row in order if scores[row] >= last]
        assert candidates.rows.tolist() == expected
        assert candidates.scores.tolist() == scores[expected].tolist()


@pytest.mark.parametrize("metric", METRICS)
def test_order_is_exact_where_a_fast_product_cannot_tell_rows_apart(metric: str) -> None:
    random = np.random.default_rng(3)
    base = random.normal(size=64) * 100
    rows = prepare(base + random.normal(size=(20_000, 64)) * 1e-4, metric)
    query = prepare(base[None, :], metric)
    found = scan(lambda start, stop: rows[start:stop], len(rows), query, 10, metric)[0]
    best = np.sort(exact_scores(query[0], rows, metric))[::-1][:10]
    np.testing.assert_array_equal(found.scores[:10], best)


def test_padding() -> None:
    rows = np.eye(3, dtype=np.float32)
    found = scan(lambda start, stop: rows[start:stop], 3, rows[:1], 2, "dot")
    padded_rows, scores = padded(found, 5)
    assert padded_rows.tolist() == [[0, 1, 2, -1, -1]]
    assert scores.tolist() == [[1.0, 0.0, 0.0, -np.inf, -np.inf]]
