"""Memory for deltas that every round uses again: the system clears new memory, which takes longer than the merge itself."""

from __future__ import annotations

import numpy as np

from shoal.workers.training.word2vec.learner import TableDelta


class ScratchBuffers:
    """Buffers by slot. Taking a slot again overwrites what was taken from it before."""

    def __init__(self) -> None:
        self._slots: dict[int, TableDelta] = {}

    def take(self, slot: int, rows: int, width: int) -> TableDelta:
        """An uninitialized delta of `rows` rows with `width` values."""
        held = self._slots.get(slot)
        if held is None or len(held.rows) < rows or held.values.shape[1] != width:
            held = TableDelta(np.empty(rows, np.int32), np.empty((rows, width), np.float32))
            self._slots[slot] = held
        return TableDelta(held.rows[:rows], held.values[:rows])
