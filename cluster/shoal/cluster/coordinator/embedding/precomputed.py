"""Vectors that came with writes, until they are applied. In bounded memory only: a vector that is lost is computed from the
text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from shoal.cluster.decisions.admission import Incoming, Precomputed
from shoal.cluster.decisions.placement import shard_of

MEMORY_BYTES = 64 * 1024 * 1024
_ENTRY_BYTES = 512
"""Memory of an entry without its vector."""


@dataclass(slots=True, eq=False)
class Kept:
    """A vector that waits, and whether the write that brought it is committed."""

    id: str
    shard: int
    precomputed: Precomputed
    committed: bool = False

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return _ENTRY_BYTES + len(self.precomputed.vector)


class PrecomputedVectors:
    """At most one vector for a document, the newest that came. Belongs to the coordinator's event loop."""

    def __init__(self, shards: int, max_bytes: int = MEMORY_BYTES) -> None:
        self._shards = shards
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: dict[str, Kept] = {}

    @property
    def full(self) -> bool:
        """True when writes with vectors must be refused for now."""
        return self._bytes >= self._max_bytes

    def ids(self, shards: AbstractSet[int] | None = None) -> Iterable[str]:
        """Documents of these shards, or of all, whose vector is here: they need no encoder."""
        if shards is None:
            return self._kept.keys()
        return [kept.id for kept in self._kept.values() if kept.shard in shards]

    def put(self, documents: Iterable[Incoming]) -> list[Kept]:
        """Keeps the vectors of documents that are about to be written."""
        added = []
        for document in documents:
            if document.precomputed is not None:
                self._drop(self._kept.get(document.id))
                shard = shard_of(document.id, self._shards)
                kept = self._kept[document.id] = Kept(document.id, shard, document.precomputed)
                self._bytes += kept.bytes
                added.append(kept)
        return added

    def commit(self, added: Iterable[Kept]) -> None:
        """Their write is committed: from now on they may be applied."""
        for kept in added:
            kept.committed = True

    def withdraw(self, added: Iterable[Kept]) -> None:
        """Forgets those that are still here: their write failed, or they are being applied."""
        for kept in added:
            if self._kept.get(kept.id) is kept:
                self._drop(kept)

    def due(self, limit: int, busy: AbstractSet[str], ready: AbstractSet[int]) -> Sequence[Kept]:
        """At most `limit` vectors of committed documents, the oldest first, without those of `busy` documents.

        Those whose shard is not `ready` go on waiting, unless the memory is full.
        """
        full = self.full
        found = []
        for kept in self._kept.values():
            if len(found) == limit:
                break
            if kept.committed and kept.id not in busy and (full or kept.shard in ready):
                found.append(kept)
        return found

    def _drop(self, kept: Kept | None) -> None:
        if kept is not None:
            del self._kept[kept.id]
            self._bytes -= kept.bytes
