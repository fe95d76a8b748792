"""Exact search: a blocked scan that picks candidates by a fast product and orders them by their exact scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from shoal.workers.indexing.metric import Bools, Floats, Ints, exact_scores

BLOCK_ROWS = 16384


class Candidates(NamedTuple):
    """Rows (m,) int64 with their exact scores (m,) float32, best first, equal scores by row."""

    rows: Ints
    scores: Floats


NOTHING = Candidates(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))


def scan(
    block: Callable[[int, int], Floats], count: int, queries: Floats, k: int, metric: str, alive: Bools | None = None
) -> list[Candidates]:
    """For each prepared query (q, dim) the k best of `count` rows, and every row that ties with the k-th.

    `block(start, stop)` gives prepared rows (stop - start, dim). Rows that are not `alive` (count,) are passed over.
    Fewer than k come back only when fewer are alive.
    """
    best = [NOTHING] * len(queries)
    for start in range(0, count if k > 0 else 0, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, count)
        living = None if alive is None else alive[start:stop]
        if living is not None and not living.any():
            continue
        rows = block(start, stop)
        rough, slack = _rough_scores(queries, rows, metric)
        if living is not None:
            rough[:, ~living] = -np.inf
        for i, query in enumerate(queries):
            floor = best[i].scores[k - 1] if len(best[i].scores) >= k else -np.inf
            picked = _pick(rough[i], k, float(floor), float(slack[i]))
            found = Candidates(picked + start, exact_scores(query, rows[picked], metric))
            best[i] = _cut(best[i], found, k)
    return best


def padded(found: list[Candidates], k: int) -> tuple[Ints, Floats]:
    """The first k candidates of each query as rows (q, k), padded with -1, and scores (q, k), padded with -inf."""
    rows = np.full((len(found), k), -1, dtype=np.int64)
    scores = np.full((len(found), k), -np.inf, dtype=np.float32)
    for i, one in enumerate(found):
        size = min(k, len(one.rows))
        rows[i, :size] = one.rows[:size]
        scores[i, :size] = one.scores[:size]
    return rows, scores


def ranked(query: Floats, vectors: Floats, rows: Ints, metric: str) -> Candidates:
    """The `rows` (m,) that an approximate search found, with their `vectors` (m, dim), put in exact order."""
    scores = exact_scores(query, vectors, metric)
    order = np.lexsort((rows, -scores))
    return Candidates(rows[order], scores[order])


def _rough_scores(queries: Floats, rows: Floats, metric: str) -> tuple[Floats, Floats]:
    """Scores (q, n) by one matrix product, and for each query (q,) how far two of them may be out of true order."""
    rough = queries @ rows.T
    epsilon = 2 * (rows.shape[1] + 8) * float(np.finfo(np.float32).eps)
    if metric == "cosine":
        return rough, np.full(len(queries), epsilon, dtype=np.float32)
    query_squares = np.einsum("nd,nd->n", queries, queries)
    row_squares = np.einsum("nd,nd->n", rows, rows)
    widest = np.sqrt(row_squares.max(initial=0.0))
    if metric == "dot":
        return rough, epsilon * np.sqrt(query_squares) * widest
    rough *= 2
    rough -= row_squares
    rough -= query_squares[:, None]
    return rough, epsilon * (np.sqrt(query_squares) + widest) ** 2


def _pick(rough: Floats, k: int, floor: float, slack: float) -> Ints:
    """Indexes of all rows that may be among the k best, given that only scores of at least `floor` matter."""
    if k < len(rough):
        floor = max(floor, float(np.partition(rough, len(rough) - k)[len(rough) - k]))
    return np.flatnonzero((rough >= floor - slack) & (rough > -np.inf))


def _cut(one: Candidates, other: Candidates, k: int) -> Candidates:
    rows = np.concatenate([one.rows, other.rows])
    scores = np.concatenate([one.scores, other.scores])
    order = np.lexsort((rows, -scores))
    rows, scores = rows[order], scores[order]
    if len(rows) > k:
        kept = int(np.count_nonzero(scores >= scores[k - 1]))
        rows, scores = rows[:kept], scores[:kept]
    return Candidates(rows, scores)
