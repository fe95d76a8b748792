"""A learner, which trains tables on a device, and what it exchanges with others. Rounds and merging are elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shoal.workers.training.word2vec.tables import Floats, Tables

Ids = npt.NDArray[np.int32]

SENTENCE_END = -1
"""The id after the last word of each sentence."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """The result of training on some text."""

    words: int
    """Words of the corpus, including those that subsampling dropped."""
    loss: float
    """Sum of the losses of the measured pairs of words: -log sigmoid(x·y) of a true pair plus -log sigmoid(-x·n) of each
    of its negatives."""
    pairs: int
    """Pairs measured in `loss`: a sample of all pairs."""

    def __add__(self, other: TrainResult) -> TrainResult:
        return TrainResult(self.words + other.words, self.loss + other.loss, self.pairs + other.pairs)


@dataclass(frozen=True, slots=True)
class TableDelta:
    """The changes of a table: `values` (n, width) float32 to add to `rows` (n,) int32, which ascend."""

    rows: Ids
    values: Floats

    @property
    def nbytes(self) -> int:
        """Bytes to send."""
        return self.rows.nbytes + self.values.nbytes

    def between(self, first: int, end: int) -> TableDelta:
        """The changes of rows `first` to `end` - 1, not copied."""
        begin, stop = np.searchsorted(self.rows, (first, end))
        return TableDelta(self.rows[begin:stop], self.values[begin:stop])


@dataclass(frozen=True, slots=True)
class ModelDelta:
    """The changes of both tables."""

    input: TableDelta
    output: TableDelta

    @property
    def nbytes(self) -> int:
        """Bytes to send."""
        return self.input.nbytes + self.output.nbytes


class Learner(Protocol):
    """Holds its own tables, and a copy of them as of the last synchronization with the other learners (the base)."""

    def train(self, ids: Ids, first_rate: float, last_rate: float, seed: int) -> TrainResult:
        """Trains on `ids` (n,), sentences with SENTENCE_END after each, while the learning rate goes linearly from
        `first_rate` to `last_rate`. Blocks, without holding the GIL. With one thread, the same seed gives the same
        floats."""
        ...

    def delta(self, rows: int) -> ModelDelta:
        """The changes of the first `rows` rows since the base, without unchanged rows. The next call may overwrite them.

        Raises TrainingError when a value is not finite.
        """
        ...

    def apply(self, rows: int, *merged: ModelDelta) -> None:
        """Sets the first `rows` rows to the base plus `merged`, whose rows ascend within and across its deltas. This is the
        new base."""
        ...

    def tables(self) -> Tables:
        """The current tables, in memory of this process. The next call may change them."""
        ...

    def rows(self, which: slice) -> tuple[Floats, Floats]:
        """These rows of both tables, in memory of this process. The next call may change them."""
        ...

    def base_rows(self, rows: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """These rows (n, width) of both tables of the base, copied to memory of this process."""
        ...

    def load(self, tables: Tables) -> None:
        """Continues from a copy of `tables`, which is the new base."""
        ...

    def track(self) -> None:
        """Makes the current tables the base. Called once, before `delta`: a learner without others needs no second copy of
        the tables."""
        ...
