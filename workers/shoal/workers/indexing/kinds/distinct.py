"""Which rows of a matrix are equal, so that a graph index can hold each distinct vector once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from shoal.workers.indexing.metric import Floats, Ints


@dataclass(frozen=True, slots=True)
class Distinct:
    """Rows 0..n-1 grouped into nodes 0..m-1 of equal vectors; nodes are in the order of their first rows."""

    node_of_row: Ints
    first_rows: Ints
    """Lowest row of each node, (m,)."""
    _rows: Ints
    _starts: Ints

    @classmethod
    def of(cls, vectors: Floats) -> Self:
        """Groups the rows of `vectors` (n, dim) by their bytes."""
        if len(vectors) == 0:
            return cls.from_nodes(np.empty(0, dtype=np.int64))
        keys = np.ascontiguousarray(vectors).view(np.dtype((np.void, vectors.shape[1] * 4))).ravel()
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        rank = np.empty(len(first), dtype=np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        return cls.from_nodes(rank[inverse])

    @classmethod
    def from_nodes(cls, node_of_row: Ints) -> Self:
        """From each row's node (n,), as `of` numbered them."""
        rows = np.argsort(node_of_row, kind="stable").astype(np.int64)
        sizes = np.bincount(node_of_row) if len(node_of_row) else np.empty(0, dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return cls(node_of_row, rows[starts[:-1]], rows, starts)

    def expand(self, nodes: Ints, k: int) -> Ints:
        """The rows of `nodes`, in that order, until there are at least k."""
        if len(self.first_rows) == len(self.node_of_row):
            return self.first_rows[nodes]
        sizes = np.cumsum(self._starts[nodes + 1] - self._starts[nodes])
        enough = int(np.searchsorted(sizes, k)) + 1
        return np.concatenate([self._rows[self._starts[node] : self._starts[node + 1]] for node in nodes[:enough]])
