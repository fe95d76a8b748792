"""The Ray actor around one learner: forwards calls to it. Arrays go through the object store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import ray

from shoal.workers.training.word2vec.errors import TrainingError
from shoal.workers.training.word2vec.learner import ModelDelta, TrainResult
from shoal.workers.training.word2vec.run.free_memory import free_memory
from shoal.workers.training.word2vec.run.learner_pool import Assignment
from shoal.workers.training.word2vec.run.pool_learner import LearnerFactory, PoolLearner, SyncResult
from shoal.workers.training.word2vec.run.schedule import SpanLease
from shoal.workers.training.word2vec.tables import Tables


@dataclass(frozen=True, slots=True)
class LearnerHost:
    """Where an actor runs."""

    node: str
    pid: int
    free_bytes: int | None
    """Free memory there; None if unknown."""


@ray.remote
class LearnerActor:
    """Holds one learner. Create it with `options`, with as many CPUs as `threads`. Methods raise TrainingError."""

    def __init__(self, assignment: Assignment, make: LearnerFactory, threads: int, alone: bool) -> None:
        """See PoolLearner."""
        self._arguments = assignment, make, threads, alone
        self._opened: PoolLearner | None = None

    @ray.method
    def begin(self) -> LearnerHost:
        """Opens the corpus. Not in the constructor, because its errors look like a process that died."""
        self._opened = PoolLearner(*self._arguments)
        return LearnerHost(ray.get_runtime_context().get_node_id(), os.getpid(), free_memory())

    @ray.method
    def pid(self) -> int:
        """Process id of this actor."""
        return os.getpid()

    @ray.method
    def load(self, tables: Tables | None) -> None:
        """See PoolLearner."""
        self._pool_learner.load(tables)

    @ray.method
    def train(self, lease: SpanLease) -> TrainResult:
        """See PoolLearner."""
        return self._pool_learner.train(lease)

    @ray.method
    def delta(self, rows: int, cuts: list[int], own: int) -> Any:
        """See PoolLearner. Each part is a separate object, so `num_returns` is their number."""
        parts = self._pool_learner.delta(rows, cuts, own)
        return tuple(parts) if len(parts) > 1 else parts[0]

    @ray.method
    def merge_range(self, own: int, lr_words: float, *others: ModelDelta) -> ModelDelta:
        """See PoolLearner."""
        return self._pool_learner.merge_range(own, lr_words, others)

    @ray.method
    def apply(self, rows: int, lr_words: float, *ranges: ModelDelta) -> SyncResult:
        """See PoolLearner."""
        return self._pool_learner.apply(rows, lr_words, ranges)

    @ray.method
    def sync(self) -> Tables:
        """See PoolLearner."""
        return self._pool_learner.sync()

    @ray.method
    def tables(self) -> Tables:
        """See PoolLearner."""
        return self._pool_learner.tables()

    @property
    def _pool_learner(self) -> PoolLearner:
        if self._opened is None:
            raise TrainingError("begin was not called on this learner")
        return self._opened
