"""Subsampling and negatives: probabilities equal the formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.workers.runtime import compiled
from shoal.workers.training.word2vec.kernels.sampling import STEP, alias_table, drawn, keep_thresholds, scrambled


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.75, 1.0]))
def test_the_alias_table_holds_the_chances(counts: list[int], power: float) -> None:
    thresholds, aliases = alias_table(np.array(counts, np.int64), power)
    chances = np.zeros(len(counts))
    for word, (threshold, alias) in enumerate(zip(thresholds, aliases, strict=True)):
        own = (int(threshold) + 1) / 2**32
        chances[word] += own / len(counts)
        chances[alias] += (1 - own) / len(counts)
    weights = np.array(counts, dtype=np.float64) ** power
    np.testing.assert_allclose(chances, weights / weights.sum(), atol=1e-8)


@compiled
def _draw(thresholds, aliases, seed, counts):  # type: ignore[no-untyped-def]
    state = np.uint64(seed)
    for _ in range(200_000):
        state += STEP
        counts[drawn(scrambled(state), thresholds, aliases)] += 1


def test_draws_follow_the_chances() -> None:
    counts = np.array([1000, 400, 100, 20, 3], np.int64)
    found = np.zeros(5, np.int64)
    _draw(*alias_table(counts, 0.75), 11, found)
    chances = counts**0.75 / (counts**0.75).sum()
    np.testing.assert_allclose(found / found.sum(), chances, atol=5 * np.sqrt(0.25 / 200_000))


def test_common_words_are_dropped_as_word2vec_does() -> None:
    counts = np.array([60_000, 1000, 50, 10], np.int64)
    shares = counts / counts.sum()
    kept = keep_thresholds(counts, 1e-3) / (2**32 - 1)
    np.testing.assert_allclose(kept, np.minimum(1, np.sqrt(1e-3 / shares) + 1e-3 / shares), atol=1e-6)
    assert kept[0] < 0.15 and kept[3] == 1
    assert (keep_thresholds(counts, 0) == 2**32 - 1).all()


def test_all_words_are_kept_where_none_is_common() -> None:
    assert (keep_thresholds(np.full(5000, 7, np.int64), 1e-3) == 2**32 - 1).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_small_vocabularies_have_a_table(count: int) -> None:
    thresholds, aliases = alias_table(np.ones(count, np.int64), 0.75)
    assert len(thresholds) == len(aliases) == count and (aliases >= 0).all() and (aliases < count).all()
