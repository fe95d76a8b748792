"""A pool of one learner with several threads, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from shoal.workers.training.word2vec.errors import TrainingError
from shoal.workers.training.word2vec.learner import TrainResult
from shoal.workers.training.word2vec.run.free_memory import free_memory
from shoal.workers.training.word2vec.run.learner_pool import Assignment, MachineMemory, MergeResult
from shoal.workers.training.word2vec.run.pool_learner import LearnerFactory, PoolLearner, cpu_learner
from shoal.workers.training.word2vec.run.schedule import SpanLease
from shoal.workers.training.word2vec.tables import Tables

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class LocalLearnerPool:
    """A pool with a single learner, so nothing is ever merged."""

    def __init__(self, threads: int = 1, make: LearnerFactory = cpu_learner) -> None:
        """`make` makes the learner. Raises TrainingError when `threads` is below 1."""
        if threads < 1:
            raise TrainingError(f"threads is {threads}, must be at least 1")
        self._threads = threads
        self._make = make
        self._pool_learner: PoolLearner | None = None

    def map(self, function: Callable[[Argument], Result], arguments: Sequence[Argument]) -> Iterator[Result]:
        """In threads: the whitespace tokenizer does not hold the GIL."""
        with ThreadPoolExecutor(self._threads) as pool:
            yield from pool.map(function, arguments)

    def begin(self, assignment: Assignment) -> None:
        """Opens the corpus."""
        self._pool_learner = PoolLearner(assignment, self._make, self._threads, alone=True)

    def machines(self) -> list[MachineMemory]:
        """This machine."""
        free = free_memory()
        return [] if free is None else [MachineMemory("this machine", 1, free)]

    def load(self, tables: Tables | None) -> None:
        """Continues from `tables`, or starts a new training."""
        self._known().load(tables)

    @property
    def learners(self) -> tuple[int, ...]:
        """The only learner."""
        return (0,)

    @property
    def lost(self) -> int:
        """Always 0: the learner lives in this process."""
        return 0

    def train(self, leases: Mapping[int, SpanLease]) -> dict[int, TrainResult]:
        """Trains in this process, in the learner's threads."""
        return {learner: self._known().train(lease) for learner, lease in leases.items()}

    def merge(self, rows: int) -> MergeResult:
        """Nothing to merge."""
        return MergeResult(frozenset(self.learners), 0)

    @property
    def waiting(self) -> bool:
        """No learner ever joins."""
        return False

    def admit(self) -> None:
        """No learner ever joins."""

    def tables(self) -> Tables:
        """The learner's tables. The next call may change them."""
        return self._known().tables()

    def close(self) -> None:
        """Releases the learner's memory."""
        self._pool_learner = None

    def _known(self) -> PoolLearner:
        if self._pool_learner is None:
            raise TrainingError("begin was not called on the learner pool")
        return self._pool_learner
