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
        """Version and row that are held for an id; the row is NO_ROW for a deletion. None when it is unknown."""
        row = _place(self.ids, document_id)
        if row is not None:
            return int(self.versions[row]), row
        place = _place(self.deleted_ids, document_id)
        return None if place is None else (int(self.deleted_versions[place]), NO_ROW)


def _place(ordered: list[str], wanted: str) -> int | None:
    # A bisection instead of a table: a table of a million ids would take as much memory as small vectors do.
    place = bisect_left(ordered, wanted)
    return place if place < len(ordered) and ordered[place] == wanted else None
