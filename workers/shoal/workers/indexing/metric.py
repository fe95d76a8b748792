"""Similarity of vectors: which vectors an index accepts, and the exact score that every index kind reports."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

METRICS = ("cosine", "dot", "l2")

COMPONENT_LIMIT = 1e15
"""Largest magnitude of a component: sums of squares stay far below float32's largest number."""

_RESCORE_ROWS = 2048


def check_metric(metric: str) -> str:
    """Returns `metric`; raises ValueError unless it is one of METRICS."""
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is unknown; use one of {', '.join(METRICS)}")
    return metric


def prepare(vectors: npt.ArrayLike, metric: str, dimension: int | None = None, name: str = "vectors") -> Floats:
    """Validates rows for `exact_scores` and for an index: (n, dim) float32, C-contiguous, of unit length under cosine.

    A zero row stays zero under cosine: it scores 0 against everything. Rows that are already prepared are returned
    bit for bit. Raises ValueError naming the row for NaN, infinity or a component beyond COMPONENT_LIMIT, and for a shape
    other than (n, dimension).
    """
    check_metric(metric)
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or (dimension is not None and rows.shape[1] != dimension):
        raise ValueError(f"{name}: shape {rows.shape} is not (rows, {dimension or 'dimension'})")
    # NaN compares false with everything, so this form rejects it too.
    good = (np.abs(rows) <= COMPONENT_LIMIT).all(axis=1)
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        worst = rows[row][~(np.abs(rows[row]) <= COMPONENT_LIMIT)][0]
        raise ValueError(f"{name} row {row}: component {worst} is not a finite number up to {COMPONENT_LIMIT:g}")
    if metric != "cosine":
        return rows
    squares = np.einsum("nd,nd->n", rows, rows, dtype=np.float64)
    # Float32 unit vectors are off by about 1e-7; dividing again would only change their last bits.
    uneven = (squares > 0) & (np.abs(squares - 1) > 1e-6)
    if not uneven.any():
        return rows
    norms = np.sqrt(np.where(uneven, squares, 1.0))
    return np.ascontiguousarray(rows / norms[:, None], dtype=np.float32)


def exact_scores(query: Floats, rows: Floats, metric: str) -> Floats:
    """Scores (m,) float32 of prepared `rows` (m, dim) against one prepared `query` (dim,); higher is better.

    Summed in float64, so that equal vectors score equal at any row and in any batch; a BLAS product does not
    guarantee that, and ties would break.
    """
    wide = query.astype(np.float64)
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _RESCORE_ROWS):
        block = rows[start : start + _RESCORE_ROWS].astype(np.float64)
        if metric == "l2":
            block -= wide
            part = -np.einsum("nd,nd->n", block, block)
        else:
            part = np.einsum("nd,d->n", block, wide)
        scores[start : start + len(part)] = np.clip(part, -1.0, 1.0) if metric == "cosine" else part
    return scores
