"""The exact index: it scans every row. It serves small shards and is the oracle for the approximate kinds."""

from __future__ import annotations

from typing import Self

from shoal.workers.indexing.kinds.scan import padded, scan
from shoal.workers.indexing.metric import Floats, Ints


class FlatIndex:
    """See VectorIndex; the choice of rows is exact too."""

    def __init__(self, vectors: Floats, metric: str) -> None:
        self._vectors = vectors
        self._metric = metric

    @classmethod
    def build(cls, vectors: Floats, metric: str, threads: int = 1) -> Self:
        """See VectorIndex."""
        return cls(vectors, metric)

    @classmethod
    def load(cls, blob: bytes | memoryview, vectors: Floats, metric: str) -> Self:
        """See VectorIndex; the blob is empty."""
        if len(blob):
            raise ValueError(f"a flat index has no blob, got {len(blob)} bytes")
        return cls(vectors, metric)

    def dump(self) -> bytes:
        """See VectorIndex."""
        return b""

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, queries: Floats, k: int) -> tuple[Ints, Floats]:
        """See VectorIndex."""
        return padded(scan(self.block, len(self), queries, k, self._metric), k)

    def vectors(self, rows: Ints) -> Floats:
        """See VectorIndex."""
        return self._vectors[rows]

    def block(self, start: int, stop: int) -> Floats:
        """See VectorIndex."""
        return self._vectors[start:stop]
