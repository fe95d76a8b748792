"""The immutable part of a shard in memory: live rows in order of id inside an index, and the versions of deletions."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from shoal.workers.indexing.kinds.vector_index import VectorIndex
from shoal.workers.indexing.metric import Ints

NO_ROW = -1


@dataclass(frozen=True, slots=True)
class SealedPart:
    """Row i of `index` is document ids[i] at versions[i]. Both id lists are sorted: equal scores then go by id."""

    through: int
    ids: list[str]
    versions: Ints
    index: VectorIndex
    deleted_ids: list[str]
    deleted_versions: Ints

    def find(self, document_id: str) -> tuple[int, int] | None:
        """The version and row of an id; the row is NO_ROW for a deletion. None when the id is unknown."""
        row = _index_of(self.ids, document_id)
        if row is not None:
            return int(self.versions[row]), row
        deletion = _index_of(self.deleted_ids, document_id)
        return None if deletion is None else (int(self.deleted_versions[deletion]), NO_ROW)


def _index_of(ordered: list[str], wanted: str) -> int | None:
    # Bisection instead of a dict: a dict of a million ids would take as much memory as small vectors.
    index = bisect_left(ordered, wanted)
    return index if index < len(ordered) and ordered[index] == wanted else None
