"""The interface of every index kind. Each kind has its own module and is listed in registry.py."""

from __future__ import annotations

from typing import Protocol, Self

from shoal.workers.indexing.metric import Floats, Ints


class VectorIndex(Protocol):
    """An immutable index over prepared rows 0..n-1, safe to search from many threads at once.

    It is built once and never changed: no library used here can be searched safely while it is updated. n may be 0, rows
    may be equal to each other, and a search never raises because there are too few rows.
    """

    @classmethod
    def build(cls, vectors: Floats, metric: str, threads: int = 1) -> Self:
        """Indexes prepared `vectors` (n, dim) float32. One thread gives the same index every time."""
        ...

    @classmethod
    def load(cls, blob: bytes | memoryview, vectors: Floats, metric: str) -> Self:
        """The index that `dump` wrote, over the same prepared `vectors` (n, dim); raises ValueError for other bytes.

        A kind that keeps the vectors inside the blob does not keep a reference to `vectors`.
        """
        ...

    def dump(self) -> bytes:
        """What `load` needs besides the vectors; may be empty."""
        ...

    def __len__(self) -> int:
        """Number of rows, n."""
        ...

    def search(self, queries: Floats, k: int) -> tuple[Ints, Floats]:
        """The k nearest rows of prepared `queries` (q, dim), k >= 1: rows (q, k) int64 and scores (q, k) float32.

        Best first, equal scores by row. Scores are exact (see metric.exact_scores) even where the choice of rows is
        approximate. A query has fewer than k rows only when n < k; the rest is padded with row -1 and score -inf.
        """
        ...

    def vectors(self, rows: Ints) -> Floats:
        """The prepared vectors (m, dim) float32 of `rows` (m,)."""
        ...

    def block(self, start: int, stop: int) -> Floats:
        """The prepared vectors of rows start..stop-1, for exact scans."""
        ...
