"""What the rounds of a training need of those who train, wherever they are: in this process, or as actors of a cluster."""

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
    """No learner is left, and with them the tables; the message is why, in one line."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What learners are to train."""

    settings: Word2VecSettings
    corpus: str
    """Folder of the encoded corpus, which all learners can read."""
    scheme: MergeScheme
    """How they merge what they learned."""


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What came of a merge."""

    included: frozenset[int]
    """Learners whose changes are in the tables on which those who are left agree."""
    bytes: int
    """Bytes that went from one learner to another."""


@dataclass(frozen=True, slots=True)
class MachineMemory:
    """Memory of one machine."""

    name: str
    learners: int
    """How many of the learners are there."""
    free_bytes: int


class LearnerPool(Protocol):
    """Learners, each known by a number that no other ever has; some may be lost at any time and others join.

    Methods raise TrainingError when a learner cannot do what it is asked for a reason that will not go away.
    """

    def map(self, function: Callable[[Argument], Result], arguments: Sequence[Argument]) -> Iterator[Result]:
        """The results of a module's function, in the order of the arguments; several run at once where there are cores."""
        ...

    def begin(self, assignment: Assignment) -> None:
        """Brings the learners up; they have no tables yet."""
        ...

    def machines(self) -> list[MachineMemory]:
        """The machines on which the learners are."""
        ...

    def load(self, tables: Tables | None) -> None:
        """All learners, lost ones replaced, begin with `tables` or those of a new training. Raises LearnersLost."""
        ...

    @property
    def learners(self) -> tuple[int, ...]:
        """Those who take part now, ascending."""
        ...

    @property
    def lost(self) -> int:
        """How many learners were lost so far."""
        ...

    def train(self, leases: Mapping[int, SpanLease]) -> dict[int, TrainResult]:
        """What they did; a learner that is lost meanwhile does not answer. Raises LearnersLost when nobody is left."""
        ...

    def merge(self, rows: int) -> MergeResult:
        """Makes all learners agree on the first `rows` rows. Raises LearnersLost."""
        ...

    @property
    def waiting(self) -> bool:
        """Whether a learner could join now."""
        ...

    def admit(self) -> None:
        """Those who wait join with the tables of the others, who agree on all rows. Raises LearnersLost."""
        ...

    def tables(self) -> Tables:
        """The tables, when all agree; they may change with the next call. Raises LearnersLost."""
        ...

    def close(self) -> None:
        """Ends all learners."""
        ...
