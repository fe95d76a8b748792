"""The next state of a shard while rows are applied to it. This is the only place that enforces version order."""

from __future__ import annotations

import numpy as np

from shoal.workers.indexing.manifest import IndexSpec
from shoal.workers.indexing.metric import Bools, Floats, prepare
from shoal.workers.indexing.rows import Rows
from shoal.workers.indexing.shard.delta import Delta, Held
from shoal.workers.indexing.shard.sealed_part import NO_ROW, SealedPart


class Draft:
    """Starts from one state, which it never changes; `finish` returns the parts of the next one."""

    def __init__(self, spec: IndexSpec, sealed: SealedPart | None, sealed_alive: Bools, delta: Delta) -> None:
        self._spec = spec
        self._sealed = sealed
        self._sealed_alive = sealed_alive.copy()
        self._delta = delta
        self._delta_alive: list[bool] = delta.alive.tolist()
        self._held = dict(delta.held)
        self._ids: list[str] = []
        self._versions: list[int] = []
        self._vectors: list[Floats] = []

    def apply(self, rows: Rows) -> None:
        """Applies each row whose version is newer than the held one of its id; deletions are held too.

        Raises ValueError, and applies nothing, when a vector is not finite or has another dimension.
        """
        vectors = prepare(rows.vectors, self._spec.metric, self._spec.dimension, "rows.vectors")
        taken: list[int] = []
        vector = -1
        for document_id, version, deleted in zip(rows.ids, rows.versions.tolist(), rows.deleted.tolist(), strict=True):
            if not deleted:
                vector += 1
            if not self._supersede(document_id, version):
                continue
            if deleted:
                self._held[document_id] = Held(version, NO_ROW)
                continue
            self._held[document_id] = Held(version, len(self._delta_alive))
            self._delta_alive.append(True)
            self._ids.append(document_id)
            self._versions.append(version)
            taken.append(vector)
        self._vectors.append(vectors[taken])

    def _supersede(self, document_id: str, version: int) -> bool:
        """Whether `version` is newer than the held one of this id; if so, marks the old row as dead."""
        held = self._held.get(document_id)
        if held is not None:
            if version <= held.version:
                return False
            if held.row != NO_ROW:
                self._delta_alive[held.row] = False
            return True
        found = self._sealed.find(document_id) if self._sealed else None
        if found is None:
            return True
        sealed_version, row = found
        if version <= sealed_version:
            return False
        if row != NO_ROW:
            self._sealed_alive[row] = False
        return True

    def finish(self) -> tuple[Bools, Delta]:
        """Which sealed rows are alive, and the delta, after all applied rows."""
        fresh = [np.empty((0, self._spec.dimension), dtype=np.float32), *self._vectors]
        delta = self._delta.extended(
            self._ids,
            np.array(self._versions, dtype=np.int64),
            np.concatenate(fresh),
            np.array(self._delta_alive, dtype=np.bool_),
            self._held,
        )
        return self._sealed_alive, delta
