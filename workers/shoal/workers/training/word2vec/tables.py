"""The two tables that are trained: the vectors of words as input, and as output, which is what is predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_CHECKED_ROWS = 10_000
LANE = 16
"""Rows are padded and aligned to whole vectors of the CPU (16 float32)."""


def padded(dim: int) -> int:
    """The padded width of a row with `dim` dimensions."""
    return -(-dim // LANE) * LANE


@dataclass(frozen=True, slots=True)
class Tables:
    """`input` and `output` (words, width) float32, rows in the order of the vocabulary. Columns from `dim` on are zero."""

    dim: int
    input: Floats
    output: Floats

    @property
    def count(self) -> int:
        """The number of words."""
        return len(self.input)

    def vectors(self) -> Floats:
        """The words' vectors (words, dim) float32, not copied."""
        return self.input[:, : self.dim]

    def trained(self) -> bool:
        """Whether any pair of words was trained: the output vectors of an initial table are zero."""
        return any(self.output[begin : begin + _CHECKED_ROWS].any() for begin in range(0, self.count, _CHECKED_ROWS))

    @staticmethod
    def empty(count: int, dim: int) -> Tables:
        """Tables of zeros."""
        return Tables(dim, aligned((count, padded(dim))), aligned((count, padded(dim))))

    @staticmethod
    def initial(count: int, dim: int, seed: int) -> Tables:
        """The start of a training: small random input vectors, and zeros as output, as in the original program."""
        tables = Tables.empty(count, dim)
        random = np.random.default_rng(seed)
        tables.vectors()[:] = (random.random((count, dim), dtype=np.float32) - np.float32(0.5)) / np.float32(dim)
        return tables


def aligned(shape: tuple[int, int]) -> Floats:
    """Zeros (float32), aligned to a cache line (64 bytes)."""
    size = 4 * shape[0] * shape[1]
    memory = np.zeros(size + 64, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(np.float32).reshape(shape)
