"""Data and oracle for the suite that every kind of index must pass."""

from __future__ import annotations

import numpy as np

from shoal.workers.indexing.kinds.registry import build_index, index_class
from shoal.workers.indexing.kinds.vector_index import VectorIndex
from shoal.workers.indexing.manifest import IndexSpec
from shoal.workers.indexing.metric import Floats, Ints, prepare


def clustered(count: int, dimension: int, seed: int, spread: float = 0.7) -> Floats:
    """Rows (count, dimension) around random centres, of lengths between a half and two."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(max(1, min(count, 60)), dimension))
    rows = centres[random.integers(0, len(centres), count)] + spread * random.normal(size=(count, dimension))
    return (rows * random.uniform(0.5, 2.0, size=(count, 1))).astype(np.float32)


def reloaded(spec: IndexSpec, vectors: Floats) -> VectorIndex:
    """An index built and then read back from its own bytes, as a worker gets it."""
    built = build_index(spec, vectors)
    return index_class(spec.kind).load(memoryview(built.dump()), prepare(vectors, spec.metric), spec.metric)


def true_scores(vectors: Floats, queries: Floats, metric: str) -> np.ndarray:
    """Scores (q, n) float64, written out by definition and sharing no code with what is tested."""
    wide, asked = vectors.astype(np.float64), queries.astype(np.float64)
    if metric == "l2":
        return np.stack([-((wide - one) ** 2).sum(axis=1) for one in asked]) if len(asked) else np.empty((0, len(wide)))
    if metric == "cosine":
        wide = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-300)
        asked = asked / np.maximum(np.linalg.norm(asked, axis=1, keepdims=True), 1e-300)
    return asked @ wide.T


def recall(rows: Ints, scores: np.ndarray, k: int) -> float:
    """Share of the k hits whose row scores no worse than the true k-th, so that ties count as found."""
    kth = np.sort(scores, axis=1)[:, -k]
    found = [np.count_nonzero(scores[i, rows[i]] >= kth[i] - 1e-6 * abs(kth[i])) for i in range(len(rows))]
    return float(np.mean(found)) / k
