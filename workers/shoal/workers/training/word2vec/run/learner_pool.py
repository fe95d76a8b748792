"""The interface of a pool of learners, in this process or as actors on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from shoal.workers.training.word2vec.averaging.merge import MergeScheme
from shoal.workers.training.word2vec.learner import TrainResult
from shoal.workers.training.word2vec.run.schedule import SpanLease
from shoal.workers.training.word2vec.settings import Word2VecSettings
from shoal.workers.training.word2vec.tables import Tables

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class LearnersLost(Exception):
    """All learners are lost, and with them the tables. The message is the reason, in one line."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the learners train."""

    settings: Word2VecSettings
    corpus: str
    """Folder of the encoded corpus. All learners must be able to read it."""
    scheme: MergeScheme
    """How they merge their changes."""


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The result of a merge."""

    included: frozenset[int]
    """The learners whose changes are in the merged tables."""
    bytes: int
    """Bytes sent between learners."""


@dataclass(frozen=True, slots=True)
class MachineMemory:
    """The free memory of a machine."""

    name: str
    learners: int
    """Learners on this machine."""
    free_bytes: int


class LearnerPool(Protocol):
    """Learners, each with an id that is never used again. Learners may be lost at any time, and others join.

    Methods raise TrainingError when a learner fails for a permanent reason.
    """

    def map(self, function: Callable[[Argument], Result], arguments: Sequence[Argument]) -> Iterator[Result]:
        """The results of a function (importable from a module), in the order of the arguments. Calls run in parallel."""
        ...

    def begin(self, assignment: Assignment) -> None:
        """Starts the learners. They have no tables yet."""
        ...

    def machines(self) -> list[MachineMemory]:
        """The machines of the learners."""
        ...

    def load(self, tables: Tables | None) -> None:
        """Replaces lost learners, and gives all of them `tables`, or those of a new training. Raises LearnersLost."""
        ...

    @property
    def learners(self) -> tuple[int, ...]:
        """The ids of the current learners, ascending."""
        ...

    @property
    def lost(self) -> int:
        """Learners lost so far."""
        ...

    def train(self, leases: Mapping[int, SpanLease]) -> dict[int, TrainResult]:
        """Trains each lease. Learners that are lost meanwhile have no result. Raises LearnersLost when none is left."""
        ...

    def merge(self, rows: int) -> MergeResult:
        """Merges the first `rows` rows of all learners. Raises LearnersLost."""
        ...

    @property
    def waiting(self) -> bool:
        """Whether a new learner is ready to join."""
        ...

    def admit(self) -> None:
        """Lets waiting learners join with the tables of the others, right after a merge of all rows. Raises LearnersLost."""
        ...

    def tables(self) -> Tables:
        """The tables after a merge of all rows. The next call may change them. Raises LearnersLost."""
        ...

    def close(self) -> None:
        """Ends all learners."""
        ...
