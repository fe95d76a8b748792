"""A pool of Ray actors: starts them, has them merge through the object store, and puts new ones in the place of the dead."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from shoal.cluster.ray_runtime.error_lines import ray_error_line
from shoal.workers.training.word2vec import (
    Assignment,
    LearnerActor,
    LearnerFactory,
    LearnerHost,
    LearnersLost,
    MachineMemory,
    MergeResult,
    SpanLease,
    SyncResult,
    Tables,
    TrainingError,
    TrainResult,
    cpu_learner,
)

Argument = TypeVar("Argument")
Result = TypeVar("Result")

ALL_STARTED_S = 30.0
"""Once one actor has started, the others may take so much longer; those that come later join between two rounds."""
MAX_STILLBORN = 5
"""So many actors in a row may die before they join."""
MAX_MERGES = 5
"""How often a merge is tried in which nobody dies, and yet something gets lost."""
TASKS_PER_CPU = 2


@ray.remote(num_cpus=1)
def _apply(function: Callable[[Any], Any], argument: Any) -> Any:
    return function(argument)


@dataclass(frozen=True, slots=True)
class _PendingLearner:
    """An actor that has not joined yet, and its answer to `begin`."""

    actor: Any
    begun: Any


class RayLearnerPool:
    """On the Ray cluster that this process has joined, all of whose nodes reach the folder of the corpus."""

    def __init__(self, workers: int, threads: int = 1, gpus: float = 0.0, make: LearnerFactory = cpu_learner) -> None:
        """`workers` learners with so many threads, and that share of a GPU, each; `make` says what kind they are.

        Raises TrainingError when the cluster has no room for them.
        """
        for name, value in (("workers", workers), ("threads", threads)):
            if value < 1:
                raise TrainingError(f"{name} is {value}, allowed is 1 or more")
        self._workers = workers
        self._threads = threads
        self._gpus = gpus
        self._make = make
        self._assignment: Assignment | None = None
        self._joined: dict[int, Any] = {}
        self._pending: dict[int, _PendingLearner] = {}
        self._hosts: dict[int, LearnerHost] = {}
        self._next = self._stillborn = 0
        self.lost = 0
        """How many learners were lost so far."""
        self._reason = ""
        self._lr_words = 0.0
        self._check_room()

    def map(self, function: Callable[[Argument], Result], arguments: Sequence[Argument]) -> Iterator[Result]:
        """See `LearnerPool.map`; a task whose process dies is run again."""
        shared = ray.put(function)
        ahead = TASKS_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting: deque[Any] = deque()
        try:
            for argument in arguments:
                waiting.append(_apply.remote(shared, argument))
                if len(waiting) > ahead:
                    yield _answer(waiting.popleft())
            while waiting:
                yield _answer(waiting.popleft())
        finally:
            # After a failure nobody wants the others' results.
            for call in waiting:
                ray.cancel(call)

    def begin(self, assignment: Assignment) -> None:
        """See `LearnerPool.begin`."""
        self._assignment = assignment
        self._gather()

    def machines(self) -> list[MachineMemory]:
        """The nodes, by what their learners found there."""
        hosts = self.hosts.values()
        learners = Counter(host.node for host in hosts)
        free = {host.node: host.free_bytes for host in hosts if host.free_bytes is not None}
        return [MachineMemory(f"node {node[:8]}", count, free[node]) for node, count in learners.items() if node in free]

    @property
    def hosts(self) -> dict[int, LearnerHost]:
        """Where the learners are that take part now, by their numbers."""
        return {number: self._hosts[number] for number in self.learners}

    def load(self, tables: Tables | None) -> None:
        """See `LearnerPool.load`."""
        self._gather()
        self._lr_words = 0.0
        shared = ray.put(tables)
        calls = {number: actor.load.remote(shared) for number, actor in self._joined.items()}
        self._collect(calls)

    @property
    def learners(self) -> tuple[int, ...]:
        """See `LearnerPool.learners`."""
        return tuple(sorted(self._joined))

    def train(self, leases: Mapping[int, SpanLease]) -> dict[int, TrainResult]:
        """See `LearnerPool.train`."""
        self._lr_words += sum(lease.lr_words for lease in leases.values()) / len(self._joined)
        return self._collect({number: self._joined[number].train.remote(lease) for number, lease in leases.items()})

    def merge(self, rows: int) -> MergeResult:
        """See `LearnerPool.merge`. Every learner cuts its delta into as many ranges of rows as there are learners. Each
        merges one range of all learners, and all apply all merged ranges."""
        failed: dict[int, RayError] = {}
        for _ in range(MAX_MERGES):
            members = self.learners
            if len(members) < 2 or not rows:
                return MergeResult(frozenset(members), 0)
            agreed: dict[int, SyncResult] = {}
            failed = {}
            for number, call in self._begin_merge(members, rows).items():
                try:
                    agreed[number] = _answer(call)
                except RayError as error:
                    failed[number] = error
            if agreed:
                self._lr_words = 0.0
                # Those who failed have not got what the others agree on.
                for number, error in failed.items():
                    self._lose(number, error)
                if len({one.digest for one in agreed.values()}) > 1:
                    raise TrainingError("the workers' tables diverged after a merge (bug)")
                return MergeResult(frozenset(members), sum(one.sent for one in agreed.values()))
            # Nobody has taken anything over, so those who are left do it again without the dead.
            self._collect({number: self._joined[number].pid.remote() for number in members})
        reasons = {ray_error_line(error) for error in failed.values()}
        raise TrainingError(f"merging failed {MAX_MERGES} times in a row: {', '.join(sorted(reasons))}")

    @property
    def waiting(self) -> bool:
        """See `LearnerPool.waiting`."""
        return bool(self._ready())

    def admit(self) -> None:
        """See `LearnerPool.admit`."""
        ready = self._ready()
        shared = self._first("sync")
        self._lr_words = 0.0
        joining = {number: self._pending.pop(number).actor for number in ready}
        self._joined |= joining
        self._collect({number: actor.load.remote(shared) for number, actor in joining.items()})

    def tables(self) -> Tables:
        """See `LearnerPool.tables`."""
        return _answer(self._first("tables"))

    def close(self) -> None:
        """See `LearnerPool.close`."""
        for actor in [*self._joined.values(), *(pending.actor for pending in self._pending.values())]:
            _kill(actor)
        self._joined.clear()
        self._pending.clear()

    def _begin_merge(self, members: Sequence[int], rows: int) -> dict[int, Any]:
        """All calls of a merge at once: Ray runs each when what it needs is there, and none of which something is lost."""
        count = len(members)
        cuts = [rows * place // count for place in range(count + 1)]
        parts: list[list[Any]] = []
        for place, number in enumerate(members):
            call = self._joined[number].delta.options(num_returns=count - 1).remote(rows, cuts, place)
            given = [call] if count == 2 else list(call)
            parts.append([*given[:place], None, *given[place:]])
        merged = [
            self._joined[number].merge_range.remote(
                place, self._lr_words, *(given[place] for given in parts if given is not parts[place])
            )
            for place, number in enumerate(members)
        ]
        return {number: self._joined[number].apply.remote(rows, self._lr_words, *merged) for number in members}

    def _first(self, method: str) -> Any:
        """The finished call of the first learner that can answer it."""
        while True:
            number = self.learners[0]
            call = getattr(self._joined[number], method).remote()
            if self._collect({number: call}):
                return call

    def _gather(self) -> None:
        """When nobody has joined: has as many as are wanted join, or as many as start in time, but at least one."""
        self._start_missing()
        while not self._joined:
            calls = [pending.begun for pending in self._pending.values()]
            ray.wait(calls, num_returns=1)
            ray.wait(calls, num_returns=len(calls), timeout=ALL_STARTED_S)
            for number in self._ready():
                self._joined[number] = self._pending.pop(number).actor

    def _start_missing(self) -> None:
        """Starts an actor for each that is missing."""
        assert self._assignment is not None
        options: dict[str, Any] = {"num_cpus": self._threads, "num_gpus": self._gpus, "max_restarts": 0}
        while len(self._joined) + len(self._pending) < self._workers:
            actor = LearnerActor.options(**options, scheduling_strategy="SPREAD").remote(
                self._assignment, self._make, self._threads, self._workers == 1
            )
            self._pending[self._next] = _PendingLearner(actor, actor.begin.remote())
            self._next += 1

    def _ready(self) -> list[int]:
        """Recruits that have begun; those who died are replaced."""
        calls = {pending.begun: number for number, pending in self._pending.items()}
        if not calls:
            return []
        done, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
        ready = []
        for call in done:
            number = calls[call]
            if number not in self._hosts:
                try:
                    self._hosts[number] = _answer(call)
                except RayError as error:
                    _kill(self._pending.pop(number).actor)
                    self._stillborn += 1
                    if self._stillborn == MAX_STILLBORN:
                        raise TrainingError(
                            f"{MAX_STILLBORN} workers in a row did not start: {ray_error_line(error)}"
                        ) from error
                    continue
            self._stillborn = 0
            ready.append(number)
        self._start_missing()
        return sorted(ready)

    def _collect(self, calls: Mapping[int, Any]) -> dict[int, Any]:
        """The answers of learners; those who give none are lost. Raises LearnersLost when nobody is left."""
        answers = {}
        for number, call in calls.items():
            try:
                answers[number] = _answer(call)
            except RayError as error:
                self._lose(number, error)
        if not self._joined:
            raise LearnersLost(self._reason)
        return answers

    def _lose(self, number: int, error: RayError) -> None:
        """Its process is dead, or is ended now, and another one takes its place."""
        _kill(self._joined.pop(number))
        self._hosts.pop(number, None)
        self.lost += 1
        self._reason = ray_error_line(error)
        self._start_missing()

    def _check_room(self) -> None:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = 0
        for node in nodes:
            fits = int(node.get("CPU", 0)) // self._threads
            room += min(fits, int(node.get("GPU", 0) / self._gpus)) if self._gpus > 0 else fits
        if self._workers > room:
            gpus = f" and {self._gpus:g} GPUs" if self._gpus > 0 else ""
            raise TrainingError(
                f"workers is {self._workers}: with {self._threads} threads{gpus} each, the Ray cluster has room for {room}"
            )


def node_cpus() -> list[int]:
    """How many CPUs each node of the Ray cluster has, in use or not."""
    return [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]


def _answer(call: Any) -> Any:
    """The result of a call. Raises TrainingError where the task itself failed, and RayError where something was lost."""
    try:
        return ray.get(call)
    except RayTaskError as error:
        cause: BaseException | None = error
        while isinstance(cause, RayTaskError):
            cause = cause.cause
        if isinstance(cause, TrainingError):
            raise TrainingError(str(cause)) from error
        if isinstance(cause, RayError) or cause is None:
            raise RayError(str(cause or error)) from error
        raise TrainingError(f"a worker failed: {type(cause).__name__}: {ray_error_line(cause)}") from error


def _kill(actor: Any) -> None:
    try:
        ray.kill(actor, no_restart=True)
    except (RayError, ValueError):
        pass  # It is dead already.
