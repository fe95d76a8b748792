"""A crew of several learners in this process, who die when a test says so; otherwise it is as a crew of Ray's is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from shoal.workers.training.word2vec.learner import Trained
from shoal.workers.training.word2vec.run.learner_pool import Assignment, LearnersLost, Merge, Room
from shoal.workers.training.word2vec.run.schedule import Lease
from shoal.workers.training.word2vec.run.trainer import LearnerFactory, Trainer, cpu_learner
from shoal.workers.training.word2vec.tables import Tables

Dies = Callable[[str, int], bool]


class ScriptedCrew:
    """`dies(moment, learner)` is asked in each "load", "train", "change", "agree" and "join" of each learner. `late` rounds
    pass before another one can take the place of one that died."""

    def __init__(
        self, count: int, dies: Dies = lambda moment, learner: False, late: int = 1, make: LearnerFactory = cpu_learner
    ) -> None:
        self._count = count
        self._dies = dies
        self._late = late
        self._make = make
        self._assignment: Assignment | None = None
        self._trainers: dict[int, Trainer] = {}
        self._next = 0
        self._rounds = self._died_at = 0
        self._effort = 0.0
        self.lost = 0
        self.admitted = 0
        self.closed = False
        self.leased: list[tuple[int, Lease]] = []
        """Every lease, with its learner."""

    def map(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> Iterator[Any]:
        return map(function, arguments)

    def begin(self, assignment: Assignment) -> None:
        self._assignment = assignment

    def rooms(self) -> list[Room]:
        return []

    def load(self, tables: Tables | None) -> None:
        while len(self._trainers) < self._count:
            self._add()
        for number in self._living("load"):
            self._trainers[number].load(tables)

    @property
    def learners(self) -> tuple[int, ...]:
        return tuple(sorted(self._trainers))

    def train(self, leases: Mapping[int, Lease]) -> dict[int, Trained]:
        self._rounds += 1
        self._effort += sum(lease.effort for lease in leases.values()) / len(self._trainers)
        self.leased.extend(leases.items())
        done = {number: self._trainers[number].train(lease) for number, lease in leases.items()}
        return {number: done[number] for number in self._living("train") if number in done}

    def merge(self, rows: int) -> Merge:
        members = self._living("change") if rows and len(self._trainers) > 1 else self.learners
        if len(members) < 2 or not rows:
            return Merge(frozenset(members), 0)
        cuts = [rows * place // len(members) for place in range(len(members) + 1)]
        parts = [self._trainers[number].change(rows, cuts, place) for place, number in enumerate(members)]
        merged = []
        for place, number in enumerate(members):
            others = [given[place - (place > other)] for other, given in enumerate(parts) if other != place]
            merged.append(self._trainers[number].merge_range(place, self._effort, others))
        agreed = [self._trainers[number].agree(rows, self._effort, merged) for number in self._living("agree")]
        assert len({one.digest for one in agreed}) == 1
        self._effort = 0.0
        return Merge(frozenset(members), sum(one.sent for one in agreed))

    @property
    def waiting(self) -> bool:
        return len(self._trainers) < self._count and self._rounds >= self._died_at + self._late

    def admit(self) -> None:
        tables = self._trainers[self.learners[0]].settle()
        self._effort = 0.0
        before = self.learners
        while len(self._trainers) < self._count:
            self._add()
        for number in self._living("join"):
            if number not in before:
                self._trainers[number].load(tables)
                self.admitted += 1

    def tables(self) -> Tables:
        return self._trainers[self.learners[0]].tables()

    def all_tables(self) -> list[Tables]:
        """Of each learner."""
        return [trainer.tables() for trainer in self._trainers.values()]

    def close(self) -> None:
        self.closed = True

    def _add(self) -> None:
        assert self._assignment is not None
        self._trainers[self._next] = Trainer(self._assignment, self._make, 1, alone=self._count == 1)
        self._next += 1

    def _living(self, moment: str) -> tuple[int, ...]:
        for number in self.learners:
            if self._dies(moment, number):
                del self._trainers[number]
                self.lost += 1
                self._died_at = self._rounds
        if not self._trainers:
            raise LearnersLost(f"the script says so, in {moment}")
        return self.learners
