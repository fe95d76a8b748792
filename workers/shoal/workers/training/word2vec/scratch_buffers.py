"""Memory for changes that is used again in every round: fresh memory is cleared by the system, which takes longer than the
merge that is to go into it."""

from __future__ import annotations

import numpy as np

from shoal.workers.training.word2vec.learner import TableDelta


class ScratchBuffers:
    """What is taken from a place is overwritten by what is taken from it next."""

    def __init__(self) -> None:
        self._places: dict[int, TableDelta] = {}

    def take(self, place: int, rows: int, width: int) -> TableDelta:
        """A change of `rows` rows of `width` numbers, with anything in it."""
        held = self._places.get(place)
        if held is None or len(held.rows) < rows or held.values.shape[1] != width:
            held = TableDelta(np.empty(rows, np.int32), np.empty((rows, width), np.float32))
            self._places[place] = held
        return TableDelta(held.rows[:rows], held.values[:rows])
