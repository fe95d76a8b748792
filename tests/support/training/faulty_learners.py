"""Learners that fail once: they die at a moment that a test chooses, or diverge from the others."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shoal.workers.training.word2vec.learner import Ids, ModelDelta, TrainResult
from shoal.workers.training.word2vec.learners.cpu_learner import CpuLearner
from shoal.workers.training.word2vec.settings import Word2VecSettings
from shoal.workers.training.word2vec.tables import Tables

CALLS = 5


class DyingLearner(CpuLearner):
    """Dies in the fifth call of `method`, unless another has: that makes the file `died`."""

    method = ""
    died = Path()
    _calls = 0

    def train(self, ids: Ids, first_rate: float, last_rate: float, seed: int) -> TrainResult:
        """Or dies."""
        self._live("train")
        return super().train(ids, first_rate, last_rate, seed)

    def delta(self, rows: int) -> ModelDelta:
        """Or dies."""
        self._live("delta")
        return super().delta(rows)

    def apply(self, rows: int, *merged: ModelDelta) -> None:
        """Or dies."""
        self._live("apply")
        super().apply(rows, *merged)

    def _live(self, method: str) -> None:
        self._calls += method == self.method
        if self._calls >= CALLS and method == self.method:
            try:
                self.died.touch(exist_ok=False)
            except FileExistsError:
                return
            os._exit(1)


def dying_learner(
    settings: Word2VecSettings, counts: npt.NDArray[np.int64], tables: Tables, threads: int, method: str, died: str
) -> DyingLearner:
    """A LearnerFactory, once `method` and `died` are given."""
    learner = DyingLearner(settings, counts, tables, threads)
    learner.method, learner.died = method, Path(died)
    return learner


class StrayingLearner(CpuLearner):
    """Does not apply a merge, unless another learner already did so: that makes the file `strayed`."""

    strayed = Path()

    def apply(self, rows: int, *merged: ModelDelta) -> None:
        """Or strays."""
        super().apply(rows, *merged)
        try:
            self.strayed.touch(exist_ok=False)
        except FileExistsError:
            return
        self.tables().input[0] += 1


def straying_learner(
    settings: Word2VecSettings, counts: npt.NDArray[np.int64], tables: Tables, threads: int, strayed: str
) -> StrayingLearner:
    """A LearnerFactory, once `strayed` is given."""
    learner = StrayingLearner(settings, counts, tables, threads)
    learner.strayed = Path(strayed)
    return learner
