"""The exact part of a shard: vectors newer than the sealed index, appended while readers hold older views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from shoal.workers.indexing.kinds.scan import Candidates, scan
from shoal.workers.indexing.metric import Bools, Floats, Ints

_FIRST_CAPACITY = 64


@dataclass(frozen=True, slots=True)
class Held:
    """What the delta knows of a document: its version, and its row or NO_ROW when it is deleted."""

    version: int
    row: int


class _Buffer:
    """Growing arrays that successive views share. Only rows beyond the end of every view are ever written."""

    def __init__(self, capacity: int, dimension: int) -> None:
        self.vectors = np.empty((capacity, dimension), dtype=np.float32)
        self.versions = np.empty(capacity, dtype=np.int64)
        self.ids: list[str] = []


@dataclass(frozen=True, slots=True)
class Delta:
    """An immutable view of the first `count` rows. Extending gives a new view and leaves this one as it is.

    Views form one line: only the newest may be extended, and only by the shard's single writer.
    """

    count: int
    alive: Bools
    """(count,): False where a row was replaced or deleted."""
    held: Mapping[str, Held]
    """Every id that a segment above the sealed part has changed."""
    _buffer: _Buffer

    @classmethod
    def empty(cls, dimension: int) -> Self:
        """No rows."""
        return cls(0, np.empty(0, dtype=np.bool_), {}, _Buffer(_FIRST_CAPACITY, dimension))

    @property
    def vectors(self) -> Floats:
        """(count, dim) float32, prepared."""
        return self._buffer.vectors[: self.count]

    @property
    def versions(self) -> Ints:
        """(count,) int64."""
        return self._buffer.versions[: self.count]

    def id_at(self, row: int) -> str:
        """The document of a row."""
        return self._buffer.ids[row]

    def extended(self, ids: Sequence[str], versions: Ints, vectors: Floats, alive: Bools, held: Mapping[str, Held]) -> Self:
        """A view with more rows: `vectors` (m, dim) are prepared; `alive` (count + m,) and `held` cover all rows."""
        total = self.count + len(ids)
        buffer = self._buffer
        if total > len(buffer.vectors):
            buffer = _Buffer(max(total, 2 * len(buffer.vectors)), buffer.vectors.shape[1])
            buffer.vectors[: self.count] = self.vectors
            buffer.versions[: self.count] = self.versions
            buffer.ids = self._buffer.ids[: self.count]
        # An abandoned extension leaves rows beyond this view's end; no reader has seen them.
        del buffer.ids[self.count :]
        buffer.ids.extend(ids)
        buffer.vectors[self.count : total] = vectors
        buffer.versions[self.count : total] = versions
        return type(self)(total, alive, held, buffer)

    def search(self, queries: Floats, k: int, metric: str) -> list[Candidates]:
        """The k best live rows of each prepared query and all that tie with the k-th; see scan."""
        vectors = self.vectors
        return scan(lambda start, stop: vectors[start:stop], self.count, queries, k, metric, self.alive)
