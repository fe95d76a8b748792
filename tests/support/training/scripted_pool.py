"""A pool of several learners in this process that die when a test says so; otherwise it behaves like a pool on Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from shoal.workers.training.word2vec.learner import TrainResult
from shoal.workers.training.word2vec.run.learner_pool import Assignment, LearnersLost, MachineMemory, MergeResult
from shoal.workers.training.word2vec.run.pool_learner import LearnerFactory, PoolLearner, cpu_learner
from shoal.workers.training.word2vec.run.schedule import SpanLease
from shoal.workers.training.word2vec.tables import Tables

Dies = Callable[[str, int], bool]


class ScriptedPool:
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
        self._pool_learners: dict[int, PoolLearner] = {}
        self._next = 0
        self._rounds = self._died_at = 0
        self._lr_words = 0.0
        self.lost = 0
        self.admitted = 0
        self.closed = False
        self.leased: list[tuple[int, SpanLease]] = []
        """Every lease, with its learner."""

    def map(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> Iterator[Any]:
        return map(function, arguments)

    def begin(self, assignment: Assignment) -> None:
        self._assignment = assignment

    def machines(self) -> list[MachineMemory]:
        return []

    def load(self, tables: Tables | None) -> None:
        while len(self._pool_learners) < self._count:
            self._add()
        for number in self._living("load"):
            self._pool_learners[number].load(tables)

    @property
    def learners(self) -> tuple[int, ...]:
        return tuple(sorted(self._pool_learners))

    def train(self, leases: Mapping[int, SpanLease]) -> dict[int, TrainResult]:
        self._rounds += 1
        self._lr_words += sum(lease.lr_words for lease in leases.values()) / len(self._pool_learners)
        self.leased.extend(leases.items())
        done = {number: self._pool_learners[number].train(lease) for number, lease in leases.items()}
        return {number: done[number] for number in self._living("train") if number in done}

    def merge(self, rows: int) -> MergeResult:
        members = self._living("delta") if rows and len(self._pool_learners) > 1 else self.learners
        if len(members) < 2 or not rows:
            return MergeResult(frozenset(members), 0)
        cuts = [rows * position // len(members) for position in range(len(members) + 1)]
        parts = [self._pool_learners[number].delta(rows, cuts, position) for position, number in enumerate(members)]
        merged = []
        for position, number in enumerate(members):
            others = [given[position - (position > other)] for other, given in enumerate(parts) if other != position]
            merged.append(self._pool_learners[number].merge_range(position, self._lr_words, others))
        agreed = [self._pool_learners[number].apply(rows, self._lr_words, merged) for number in self._living("apply")]
        assert len({one.digest for one in agreed}) == 1
        self._lr_words = 0.0
        return MergeResult(frozenset(members), sum(one.sent for one in agreed))

    @property
    def waiting(self) -> bool:
        return len(self._pool_learners) < self._count and self._rounds >= self._died_at + self._late

    def admit(self) -> None:
        tables = self._pool_learners[self.learners[0]].sync()
        self._lr_words = 0.0
        before = self.learners
        while len(self._pool_learners) < self._count:
            self._add()
        for number in self._living("join"):
            if number not in before:
                self._pool_learners[number].load(tables)
                self.admitted += 1

    def tables(self) -> Tables:
        return self._pool_learners[self.learners[0]].tables()

    def all_tables(self) -> list[Tables]:
        """Of each learner."""
        return [pool_learner.tables() for pool_learner in self._pool_learners.values()]

    def close(self) -> None:
        self.closed = True

    def _add(self) -> None:
        assert self._assignment is not None
        self._pool_learners[self._next] = PoolLearner(self._assignment, self._make, 1, alone=self._count == 1)
        self._next += 1

    def _living(self, moment: str) -> tuple[int, ...]:
        for number in self.learners:
            if self._dies(moment, number):
                del self._pool_learners[number]
                self.lost += 1
                self._died_at = self._rounds
        if not self._pool_learners:
            raise LearnersLost(f"the script says so, in {moment}")
        return self.learners
