"""Keeps every worker process running: starts, locates and probes it, and replaces it when it hangs.

Ray restarts processes that die; this module detects that and notifies its listener. What to do is decided in
`decisions/processes/liveness.py` and carried out here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
import grpc.aio

from shoal.cluster.coordinator.concurrency.changes import Changes
from shoal.cluster.coordinator.fleet.fleet import Fleet, FleetError, Member, NoRoom
from shoal.cluster.coordinator.fleet.supervised_process import SupervisedProcess
from shoal.cluster.coordinator.worker_calls import WorkerCalls
from shoal.cluster.decisions.processes.liveness import LivenessPolicy, Transition, advance, begin
from shoal.cluster.decisions.processes.liveness_events import (
    Announce,
    Crashed,
    Disconnect,
    Effect,
    End,
    Ended,
    EndPause,
    Event,
    LivenessState,
    Locate,
    Located,
    Missing,
    NoRoomFound,
    Pause,
    Paused,
    Probe,
    ProbeAnswered,
    ProbeRefused,
    ProbeSilent,
    Replace,
    Replaced,
    Request,
    Start,
    Started,
    Suspected,
)
from shoal.cluster.decisions.processes.load import ReplicaLoad
from shoal.internal.v1 import encoder_pb2, index_pb2

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

LIVENESS = LivenessPolicy()
END_PAUSE_S = 1.0
"""Pause before a process that could not be ended is ended again."""


class Supervisor:
    """Supervises members, one task each; `changed` is called on the event loop whenever state or location changes."""

    def __init__(self, fleet: Fleet, calls: WorkerCalls, changed: Callable[[SupervisedProcess], None]) -> None:
        self._fleet = fleet
        self._calls = calls
        self._changed = changed
        self._threads = ThreadPoolExecutor(max_workers=32, thread_name_prefix="shoal-fleet")
        self._processes: dict[str, SupervisedProcess] = {}
        self._called: Counter[str] = Counter()
        """Addresses with a probe in flight, whether or not a member is known to be there."""
        self._name_locks: dict[str, asyncio.Lock] = {}
        """Held while a member of that name is being started or ended."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.changes = Changes()
        """Announces every change of any process."""

    @property
    def processes(self) -> list[SupervisedProcess]:
        """All processes, by name."""
        return [self._processes[name] for name in sorted(self._processes)]

    @property
    def addresses(self) -> set[str]:
        """Every address that is in use, or is being probed for the first time."""
        return {process.address for process in self._processes.values()} | self._called.keys()

    def get(self, name: str) -> SupervisedProcess | None:
        """The process of that name."""
        return self._processes.get(name)

    def encoders(self, model: str) -> list[SupervisedProcess]:
        """The replicas of a model, in any state."""
        return [one for one in self.processes if one.member.kind == "encoder" and one.member.model == model]

    def add(self, member: Member) -> SupervisedProcess:
        """Starts and supervises a member; one that is supervised already is returned as it is."""
        process = self._processes.get(member.name)
        if process is None:
            transition = begin(must_answer=member.kind == "encoder", now_s=self._now)
            process = self._processes[member.name] = SupervisedProcess(member, transition.liveness)
            process.task = asyncio.create_task(self._supervise(process, transition), name=f"supervise {member.name}")
        return process

    def drain(self, name: str, draining: bool = True) -> None:
        """Stops giving work to a process, or gives it work again."""
        process = self._processes.get(name)
        if process is not None and process.draining != draining:
            process.draining = draining
            self._notify(process)

    async def remove(self, name: str) -> None:
        """Ends a member for good."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        if process.task is not None:
            process.task.cancel()
        await self.end(process.member)
        self._notify(process)

    async def end(self, member: Member) -> None:
        """Ends a member for good and retries until it is gone: an unsupervised process would keep its resources."""
        await self._exclusively(member, self._end)

    def suspect(self, name: str) -> None:
        """A call to the process failed: it is probed at once, and counts as unreachable until the probe answers."""
        process = self._processes.get(name)
        if process is None:
            return
        transition = advance(process.liveness, Suspected(), self._now, LIVENESS)
        process.liveness = transition.liveness
        if EndPause() in transition.effects:
            process.resume.set()

    async def model_of(self, member: Member) -> str:
        """The model of an encoder that is not supervised yet; raises FleetError, AioRpcError."""
        location = await self._blocking(self._fleet.locate, member)
        reply = await self._describe_model(location.address)
        return reply.model

    async def close(self) -> None:
        """Stops supervising; the processes keep running."""
        tasks = [*self._tasks, *(process.task for process in self._processes.values() if process.task is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _supervise(self, process: SupervisedProcess, transition: Transition) -> None:
        while True:
            for effect in transition.effects:
                await self._carry_out(process, effect)
            assert transition.request is not None
            try:
                event = await self._perform(process, transition.request)
            except Exception:
                # A defect must not leave the process unsupervised.
                log.exception("%s: %s failed", process.member.name, type(transition.request).__name__.lower())
                event = Crashed()
            transition = advance(process.liveness, event, self._now, LIVENESS)
            process.liveness = transition.liveness
            # Before anything else runs: whoever suspects the process from now on cuts its next pause short.
            process.resume.clear()

    async def _carry_out(self, process: SupervisedProcess, effect: Effect) -> None:
        match effect:
            case Announce():
                if self._processes.get(process.member.name) is process:
                    self._notify(process)
            case Disconnect(address):
                await self._calls.channels.close(address)
            case EndPause():
                process.resume.set()

    async def _perform(self, process: SupervisedProcess, request: Request) -> Event:
        member = process.member
        match request:
            case Start():
                return await self._started(member)
            case Locate():
                return await self._located(member)
            case Probe(location):
                return await self._probe(process, location.address)
            case Pause(seconds):
                try:
                    async with asyncio.timeout(seconds):
                        await process.resume.wait()
                except TimeoutError:
                    pass
                return Paused()
            case Replace(reason):
                await self._kill(member, reason)
                return Replaced()
            case End():
                await self.end(member)
                return Ended()

    async def _started(self, member: Member) -> Event:
        try:
            await self._exclusively(member, self._start)
        except FleetError as error:
            return _not_found(member, error)
        return Started()

    async def _located(self, member: Member) -> Event:
        try:
            return Located(await self._blocking(self._fleet.locate, member))
        except FleetError as error:
            return _not_found(member, error)

    async def _probe(self, process: SupervisedProcess, address: str) -> Event:
        try:
            if process.member.kind == "index":
                await self._describe_shards(address)
                return ProbeAnswered(LivenessState.READY)
            return self._store_report(process, await self._describe_model(address))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return ProbeSilent()
            if error.code() is grpc.StatusCode.UNKNOWN:
                # It is there, but its answer cannot be made: as unusable as a model that cannot be loaded.
                return ProbeAnswered(LivenessState.FAILED, f"it cannot describe itself: {error.details()}")
            return ProbeRefused(error.details() or error.code().name)

    def _store_report(self, process: SupervisedProcess, reply: encoder_pb2.DescribeModelResponse) -> ProbeAnswered:
        """Stores what an encoder reports about itself."""
        process.device = reply.device
        if reply.state == encoder_pb2.ENCODER_STATE_READY:
            process.fingerprint, process.dimension = reply.fingerprint, reply.dimension
            process.load = process.meter.take(reply.load, self._now)
            return ProbeAnswered(LivenessState.READY)
        process.load = ReplicaLoad()
        if reply.state == encoder_pb2.ENCODER_STATE_FAILED:
            return ProbeAnswered(LivenessState.FAILED, reply.error, reply.error_may_pass)
        return ProbeAnswered(LivenessState.LOADING, reply.progress)

    async def _describe_shards(self, address: str) -> None:
        with self._calling(address):
            method = self._calls.index(address).DescribeShards
            await self._calls.call(method, index_pb2.DescribeShardsRequest(), LIVENESS.probe_timeout_s)

    async def _describe_model(self, address: str) -> encoder_pb2.DescribeModelResponse:
        with self._calling(address):
            method = self._calls.encoder(address).DescribeModel
            return await self._calls.call(method, encoder_pb2.DescribeModelRequest(), LIVENESS.probe_timeout_s)

    @contextlib.contextmanager
    def _calling(self, address: str) -> Iterator[None]:
        self._called[address] += 1
        try:
            yield
        finally:
            self._called[address] -= 1
            self._called += Counter()

    async def _exclusively(self, member: Member, work: Callable[[Member], Coroutine[Any, Any, None]]) -> None:
        """Runs work while no other member of that name is started or ended.

        The work goes on when the caller is cancelled: its thread cannot be stopped, and the name is not free before it ends.
        """
        lock = self._name_locks.setdefault(member.name, asyncio.Lock())
        await lock.acquire()
        task = asyncio.create_task(work(member))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: lock.release())
        await asyncio.shield(task)

    async def _start(self, member: Member) -> None:
        await self._blocking(self._fleet.start, member)

    async def _end(self, member: Member) -> None:
        while True:
            try:
                return await self._blocking(self._fleet.stop, member)
            except FleetError as error:
                log.warning("ending %s again: %s", member.name, error)
            await asyncio.sleep(END_PAUSE_S)

    async def _kill(self, member: Member, reason: str) -> None:
        log.warning("killing %s: %s", member.name, reason)
        try:
            await self._blocking(self._fleet.restart, member)
        except FleetError as error:
            log.warning("%s could not be killed: %s", member.name, error)

    async def _blocking(self, work: Callable[[Member], Answer], member: Member) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, member)

    def _notify(self, process: SupervisedProcess) -> None:
        self._changed(process)
        self.changes.announce()

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _not_found(member: Member, error: FleetError) -> NoRoomFound | Missing:
    if isinstance(error, NoRoom):
        return NoRoomFound(str(error))
    log.info("%s: %s", member.name, error)
    return Missing(str(error))
