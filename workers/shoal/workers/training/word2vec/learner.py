"""What trains tables on a device, whatever the device is. Rounds, merging and disks are others'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shoal.workers.training.word2vec.tables import Floats, Tables

Ids = npt.NDArray[np.int32]

SENTENCE_END = -1
"""Stands in ids after the last word of each sentence."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What was done with some text."""

    words: int
    """Words of the corpus, also those that sub-sampling dropped."""
    loss: float
    """Sum of the losses of the pairs of words that were looked at: -log sigmoid(x·y) of a true pair plus
    -log sigmoid(-x·n) of each of its negatives."""
    pairs: int
    """How many pairs `loss` is the sum of; only some are looked at."""

    def __add__(self, other: TrainResult) -> TrainResult:
        return TrainResult(self.words + other.words, self.loss + other.loss, self.pairs + other.pairs)


@dataclass(frozen=True, slots=True)
class TableDelta:
    """What changed in a table: `values` (n, width) float32 is to be added to `rows` (n,) int32, which ascend."""

    rows: Ids
    values: Floats

    @property
    def nbytes(self) -> int:
        """Bytes that travel."""
        return self.rows.nbytes + self.values.nbytes

    def between(self, first: int, end: int) -> TableDelta:
        """What changed in rows `first` to `end` - 1, not a copy."""
        begin, stop = np.searchsorted(self.rows, (first, end))
        return TableDelta(self.rows[begin:stop], self.values[begin:stop])


@dataclass(frozen=True, slots=True)
class ModelDelta:
    """What changed in both tables."""

    input: TableDelta
    output: TableDelta

    @property
    def nbytes(self) -> int:
        """Bytes that travel."""
        return self.input.nbytes + self.output.nbytes


class Learner(Protocol):
    """Holds tables of its own, and a copy of them as they were when they last agreed with the other learners'."""

    def train(self, ids: Ids, first_rate: float, last_rate: float, seed: int) -> TrainResult:
        """Trains on `ids` (n,), sentences with SENTENCE_END after each, while the learning rate goes linearly from
        `first_rate` to `last_rate`. Blocks without the GIL. The same seed and one thread give the same floats."""
        ...

    def delta(self, rows: int) -> ModelDelta:
        """What changed in the first `rows` rows since they last agreed; rows without a change are left out. The next
        call may write over it.

        Raises TrainingError when a number is not finite.
        """
        ...

    def apply(self, rows: int, *merged: ModelDelta) -> None:
        """Puts the first `rows` rows to what they were when they last agreed, plus `merged`, whose rows ascend also from one
        to the next; now they agree."""
        ...

    def tables(self) -> Tables:
        """The tables as they are, in memory of this process; they change with the next call."""
        ...

    def rows(self, which: slice) -> tuple[Floats, Floats]:
        """These rows of both tables, in memory of this process; they change with the next call."""
        ...

    def load(self, tables: Tables) -> None:
        """Goes on from a copy of `tables`, on which all agree."""
        ...

    def track(self) -> None:
        """Begins to remember what the learners agree on, which is the tables as they are. Called once, before `change`:
        a learner without others needs no second copy of the tables."""
        ...
