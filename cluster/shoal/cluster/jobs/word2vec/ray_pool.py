"""A pool of learners in Ray actors: starts them, merges their tables through the object store, and replaces lost ones."""

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
"""How long to wait for the others once one actor has started. Later ones join between two rounds."""
MAX_FAILED_STARTS = 5
"""The training ends when this many actors in a row die before they join."""
MAX_MERGES = 5
"""Attempts at a merge that fails although no learner is lost."""
TASKS_PER_CPU = 2


@ray.remote(num_cpus=1)
def _apply(function: Callable[[Any], Any], argument: Any) -> Any:
    return function(argument)


@dataclass(frozen=True, slots=True)
class _PendingLearner:
    """An actor that has not joined yet, and the result of its `begin`."""

    actor: Any
    begun: Any


class RayLearnerPool:
    """A pool on the Ray cluster that this process has joined. All nodes must share the folder of the corpus."""

    def __init__(self, workers: int, threads: int = 1, gpus: float = 0.0, make: LearnerFactory = cpu_learner) -> None:
        """`workers` learners, each made by `make`, with `threads` CPU threads and `gpus` of a GPU.

        Raises TrainingError when the cluster has no room for them.
        """
        for name, value in (("workers", workers), ("threads", threads)):
            if value < 1:
                raise TrainingError(f"{name} is {value}, must be at least 1")
        self._workers = workers
        self._threads = threads
        self._gpus = gpus
        self._make = make
        self._assignment: Assignment | None = None
        self._joined: dict[int, Any] = {}
        self._pending: dict[int, _PendingLearner] = {}
        self._hosts: dict[int, LearnerHost] = {}
        self._next = self._failed_starts = 0
        self.lost = 0
        """Learners lost so far."""
        self._reason = ""
        self._lr_words = 0.0
        self._check_room()

    def map(self, function: Callable[[Argument], Result], arguments: Sequence[Argument]) -> Iterator[Result]:
        """See `LearnerPool.map`. A task whose process dies is run again."""
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
            # After a failure the other results are not needed.
            for call in waiting:
                ray.cancel(call)

    def begin(self, assignment: Assignment) -> None:
        """See `LearnerPool.begin`."""
        self._assignment = assignment
        self._gather()

    def machines(self) -> list[MachineMemory]:
        """The nodes, with the free memory that their learners report."""
        hosts = self.hosts.values()
        learners = Counter(host.node for host in hosts)
        free = {host.node: host.free_bytes for host in hosts if host.free_bytes is not None}
        return [MachineMemory(f"node {node[:8]}", count, free[node]) for node, count in learners.items() if node in free]

    @property
    def hosts(self) -> dict[int, LearnerHost]:
        """Where the current learners run, by their ids."""
        return {learner: self._hosts[learner] for learner in self.learners}

    def load(self, tables: Tables | None) -> None:
        """See `LearnerPool.load`."""
        self._gather()
        self._lr_words = 0.0
        shared = ray.put(tables)
        calls = {learner: actor.load.remote(shared) for learner, actor in self._joined.items()}
        self._collect(calls)

    @property
    def learners(self) -> tuple[int, ...]:
        """See `LearnerPool.learners`."""
        return tuple(sorted(self._joined))

    def train(self, leases: Mapping[int, SpanLease]) -> dict[int, TrainResult]:
        """See `LearnerPool.train`."""
        self._lr_words += sum(lease.lr_words for lease in leases.values()) / len(self._joined)
        return self._collect({learner: self._joined[learner].train.remote(lease) for learner, lease in leases.items()})

    def merge(self, rows: int) -> MergeResult:
        """See `LearnerPool.merge`. Every learner cuts its delta into as many ranges of rows as there are learners. Each
        learner merges one range for all, and all of them apply all merged ranges."""
        failed: dict[int, RayError] = {}
        for _ in range(MAX_MERGES):
            members = self.learners
            if len(members) < 2 or not rows:
                return MergeResult(frozenset(members), 0)
            synced: dict[int, SyncResult] = {}
            failed = {}
            for learner, call in self._begin_merge(members, rows).items():
                try:
                    synced[learner] = _answer(call)
                except RayError as error:
                    failed[learner] = error
            if synced:
                self._lr_words = 0.0
                # Learners that failed do not have the merged rows.
                for learner, error in failed.items():
                    self._lose(learner, error)
                if len({one.digest for one in synced.values()}) > 1:
                    raise TrainingError("the workers' tables diverged after a merge (bug)")
                return MergeResult(frozenset(members), sum(one.sent for one in synced.values()))
            # No learner has applied anything, so the remaining ones start again without those that died.
            self._collect({learner: self._joined[learner].pid.remote() for learner in members})
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
        joining = {learner: self._pending.pop(learner).actor for learner in ready}
        self._joined |= joining
        self._collect({learner: actor.load.remote(shared) for learner, actor in joining.items()})

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
        """Submits all calls of a merge: Ray runs each one when its arguments exist, and fails it when one is lost."""
        count = len(members)
        cuts = [rows * index // count for index in range(count + 1)]
        parts: list[list[Any]] = []
        for index, learner in enumerate(members):
            call = self._joined[learner].delta.options(num_returns=count - 1).remote(rows, cuts, index)
            given = [call] if count == 2 else list(call)
            parts.append([*given[:index], None, *given[index:]])
        merged = [
            self._joined[learner].merge_range.remote(
                index, self._lr_words, *(given[index] for given in parts if given is not parts[index])
            )
            for index, learner in enumerate(members)
        ]
        return {learner: self._joined[learner].apply.remote(rows, self._lr_words, *merged) for learner in members}

    def _first(self, method: str) -> Any:
        """The call of `method` on the first learner that completes it."""
        while True:
            learner = self.learners[0]
            call = getattr(self._joined[learner], method).remote()
            if self._collect({learner: call}):
                return call

    def _gather(self) -> None:
        """If no learner has joined yet: waits for all to start, or for those that start in time, at least one."""
        self._start_missing()
        while not self._joined:
            calls = [pending.begun for pending in self._pending.values()]
            ray.wait(calls, num_returns=1)
            ray.wait(calls, num_returns=len(calls), timeout=ALL_STARTED_S)
            for learner in self._ready():
                self._joined[learner] = self._pending.pop(learner).actor

    def _start_missing(self) -> None:
        """Starts an actor for each missing learner."""
        assert self._assignment is not None
        options: dict[str, Any] = {"num_cpus": self._threads, "num_gpus": self._gpus, "max_restarts": 0}
        while len(self._joined) + len(self._pending) < self._workers:
            actor = LearnerActor.options(**options, scheduling_strategy="SPREAD").remote(
                self._assignment, self._make, self._threads, self._workers == 1
            )
            self._pending[self._next] = _PendingLearner(actor, actor.begin.remote())
            self._next += 1

    def _ready(self) -> list[int]:
        """Ids of the pending learners that have begun. Replaces those that died."""
        calls = {pending.begun: learner for learner, pending in self._pending.items()}
        if not calls:
            return []
        done, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
        ready = []
        for call in done:
            learner = calls[call]
            if learner not in self._hosts:
                try:
                    self._hosts[learner] = _answer(call)
                except RayError as error:
                    _kill(self._pending.pop(learner).actor)
                    self._failed_starts += 1
                    if self._failed_starts == MAX_FAILED_STARTS:
                        raise TrainingError(
                            f"{MAX_FAILED_STARTS} workers in a row failed to start: {ray_error_line(error)}"
                        ) from error
                    continue
            self._failed_starts = 0
            ready.append(learner)
        self._start_missing()
        return sorted(ready)

    def _collect(self, calls: Mapping[int, Any]) -> dict[int, Any]:
        """The results of the calls; learners whose call fails are lost. Raises LearnersLost when none is left."""
        answers = {}
        for learner, call in calls.items():
            try:
                answers[learner] = _answer(call)
            except RayError as error:
                self._lose(learner, error)
        if not self._joined:
            raise LearnersLost(self._reason)
        return answers

    def _lose(self, learner: int, error: RayError) -> None:
        """Ends the process of a learner, if it is still alive, and starts a new one."""
        _kill(self._joined.pop(learner))
        self._hosts.pop(learner, None)
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
    """The CPUs of each node of the Ray cluster, in use or not."""
    return [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]


def _answer(call: Any) -> Any:
    """The result of a call. Raises TrainingError when the task failed, and RayError when a process or an object was lost."""
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
        pass  # It is already dead.
