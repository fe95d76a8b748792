"""The Ray actor around one learner: what it is asked, it passes on. Arrays travel through the object store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import ray

from shoal.workers.training.word2vec.errors import TrainingError
from shoal.workers.training.word2vec.learner import Change, Trained
from shoal.workers.training.word2vec.run.free_memory import free_memory
from shoal.workers.training.word2vec.run.learner_pool import Assignment
from shoal.workers.training.word2vec.run.schedule import Lease
from shoal.workers.training.word2vec.run.trainer import Agreed, LearnerFactory, Trainer
from shoal.workers.training.word2vec.tables import Tables


@dataclass(frozen=True, slots=True)
class Place:
    """Where an actor is."""

    node: str
    pid: int
    free_bytes: int | None
    """Memory that is free there; None where the system does not tell."""


@ray.remote
class TrainerActor:
    """Holds one learner. Create it through `options`, with as many CPUs as `threads`. Its methods raise TrainingError."""

    def __init__(self, assignment: Assignment, make: LearnerFactory, threads: int, alone: bool) -> None:
        """See Trainer."""
        self._given = assignment, make, threads, alone
        self._opened: Trainer | None = None

    @ray.method
    def begin(self) -> Place:
        """Opens the corpus; not in the constructor, whose errors cannot be told from a process that died."""
        self._opened = Trainer(*self._given)
        return Place(ray.get_runtime_context().get_node_id(), os.getpid(), free_memory())

    @ray.method
    def pid(self) -> int:
        """Process id of this actor."""
        return os.getpid()

    @ray.method
    def load(self, tables: Tables | None) -> None:
        """See Trainer."""
        self._trainer.load(tables)

    @ray.method
    def train(self, lease: Lease) -> Trained:
        """See Trainer."""
        return self._trainer.train(lease)

    @ray.method
    def change(self, rows: int, cuts: list[int], own: int) -> Any:
        """See Trainer; each part is an object of its own, so `num_returns` is their number."""
        parts = self._trainer.change(rows, cuts, own)
        return tuple(parts) if len(parts) > 1 else parts[0]

    @ray.method
    def merge_range(self, own: int, effort: float, *others: Change) -> Change:
        """See Trainer."""
        return self._trainer.merge_range(own, effort, others)

    @ray.method
    def agree(self, rows: int, effort: float, *ranges: Change) -> Agreed:
        """See Trainer."""
        return self._trainer.agree(rows, effort, ranges)

    @ray.method
    def settle(self) -> Tables:
        """See Trainer."""
        return self._trainer.settle()

    @ray.method
    def tables(self) -> Tables:
        """See Trainer."""
        return self._trainer.tables()

    @property
    def _trainer(self) -> Trainer:
        if self._opened is None:
            raise TrainingError("this learner was not begun")
        return self._opened
