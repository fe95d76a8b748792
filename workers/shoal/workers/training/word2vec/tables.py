"""The two tables that are trained: a word's vector as itself (input) and as what is predicted (output)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

LANE = 16
"""Rows are padded to whole vectors of the CPU (16 float32), and begin where such a vector does."""


def padded(dim: int) -> int:
    """The width of a row with `dim` numbers."""
    return -(-dim // LANE) * LANE


@dataclass(frozen=True, slots=True)
class Tables:
    """`input` and `output` (words, width) float32, rows in the vocabulary's order; places from `dim` on hold zeros."""

    dim: int
    input: Floats
    output: Floats

    @property
    def count(self) -> int:
        """How many words there are."""
        return len(self.input)

    def vectors(self) -> Floats:
        """The words' vectors (words, dim) float32, not a copy."""
        return self.input[:, : self.dim]

    @staticmethod
    def empty(count: int, dim: int) -> Tables:
        """Tables of zeros."""
        return Tables(dim, aligned((count, padded(dim))), aligned((count, padded(dim))))

    @staticmethod
    def initial(count: int, dim: int, seed: int) -> Tables:
        """What a training begins with: small random vectors, and zeros as output, as the original program has it."""
        tables = Tables.empty(count, dim)
        random = np.random.default_rng(seed)
        tables.vectors()[:] = (random.random((count, dim), dtype=np.float32) - np.float32(0.5)) / np.float32(dim)
        return tables


def aligned(shape: tuple[int, int]) -> Floats:
    """Zeros of float32 that begin at a whole line of the cache (64 bytes)."""
    size = 4 * shape[0] * shape[1]
    memory = np.zeros(size + 64, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(np.float32).reshape(shape)
