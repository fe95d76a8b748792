"""The rows of a segment in memory. Their file form is in files/arrow_rows.py, their wire form in messages.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shoal.workers.indexing.metric import Bools, Floats, Ints


@dataclass(frozen=True, slots=True)
class Rows:
    """Row i is document ids[i] at versions[i]; it has the next vector unless deleted[i]. Rows apply in order.

    Raises ValueError naming the field when lengths differ, an id is empty or a version is below 1.
    """

    ids: list[str]
    versions: Ints
    """(n,) int64."""
    deleted: Bools
    """(n,) bool."""
    vectors: Floats
    """(rows that are not deleted, dimension) float32."""

    def __post_init__(self) -> None:
        count = len(self.ids)
        if self.versions.shape != (count,):
            raise ValueError(f"rows.versions: {len(self.versions)} versions for {count} ids")
        if self.deleted.shape != (count,):
            raise ValueError(f"rows.deleted: {len(self.deleted)} flags for {count} ids")
        live = count - int(np.count_nonzero(self.deleted))
        if self.vectors.ndim != 2 or len(self.vectors) != live:
            raise ValueError(f"rows.vectors: shape {self.vectors.shape} for {live} rows that are not deleted")
        if not all(self.ids):
            raise ValueError(f"rows.ids: the id of row {self.ids.index('')} is empty")
        if count and int(self.versions.min()) < 1:
            row = int(self.versions.argmin())
            raise ValueError(f"rows.versions: version {self.versions[row]} of row {row} is below 1")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dimension(self) -> int:
        """Number of components of each vector."""
        return self.vectors.shape[1]

    @property
    def size(self) -> int:
        """Approximate bytes in memory."""
        return self.vectors.nbytes + sum(map(len, self.ids)) + 80 * len(self.ids)
