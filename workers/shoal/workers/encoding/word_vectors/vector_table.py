"""A table with a vector for each word or token, and the means of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from shoal.workers.encoding.model import Vectors

Ids = npt.NDArray[np.int32]


class VectorRows(Protocol):
    """The vectors of a table, in memory or memory-mapped."""

    count: int
    dimension: int

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Vectors:
        """The vectors (n, dimension) float32 of the n `rows`."""
        ...

    def all(self) -> Vectors:
        """All vectors (count, dimension) float32, memory-mapped if possible. Read-only."""
        ...


class ArrayRows:
    """Rows of an array (count, dimension) of any number type, which may be memory-mapped."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array
        self.count, self.dimension = array.shape

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Vectors:
        """See `VectorRows.take`."""
        return np.asarray(self._array[rows], dtype=np.float32)

    def all(self) -> Vectors:
        """See `VectorRows.all`. Copied only if the array has another type."""
        return np.asarray(self._array, dtype=np.float32)


class ScatteredRows:
    """Rows of little-endian float32 that begin at any byte of a memory-mapped file; only requested rows are read."""

    def __init__(self, file: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], dimension: int) -> None:
        """`file` (bytes,) has a row of `dimension` numbers at each of `starts` (count,)."""
        self._windows = np.lib.stride_tricks.sliding_window_view(file, 4 * dimension)
        self._starts = starts
        self.count, self.dimension = len(starts), dimension

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Vectors:
        """See `VectorRows.take`."""
        return np.ascontiguousarray(self._windows[self._starts[rows]]).view("<f4").astype(np.float32, copy=False)

    def all(self) -> Vectors:
        """See `VectorRows.all`. Copied, because rows may begin at any byte."""
        return self.take(np.arange(self.count))


@dataclass(frozen=True, slots=True)
class VectorTable:
    """The vector of id i is `weights[i]` times row `mapping[i]`."""

    rows: VectorRows
    mapping: npt.NDArray[np.integer[Any]] | None = None
    """(ids,) row of each id; None if ids are rows."""
    weights: npt.NDArray[np.float32] | None = None
    """(ids,) float32; None if all are 1. Sums are divided by the number of ids, not by their weights."""

    @property
    def count(self) -> int:
        """The number of ids."""
        return self.rows.count if self.mapping is None else len(self.mapping)

    def means(self, texts: Sequence[Ids]) -> Vectors:
        """Vectors (n, dimension) float32: for each of n texts the mean of the vectors of its ids, at least one."""
        ids = np.concatenate(texts)
        lengths = np.array([len(text) for text in texts])
        vectors = self.rows.take(ids if self.mapping is None else self.mapping[ids])
        if self.weights is not None:
            vectors = vectors * self.weights[ids, None]
        starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
        sums: Vectors = np.add.reduceat(vectors, starts, axis=0)
        return np.divide(sums, lengths[:, None], dtype=np.float32)
