"""Keeps track of every worker process: where it is, whether it answers, and when it has come back as a new one.

Ray restarts what dies; here that is noticed and told. What follows from it is for the listeners.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc.aio

from shoal.cluster.coordinator.fleet.fleet import Fleet, FleetError, Located, Member, NoRoom
from shoal.cluster.decisions.load import Load, LoadMeter
from shoal.cluster.rpc.calls import call
from shoal.cluster.rpc.channels import Channels
from shoal.internal.v1 import encoder_pb2, encoder_pb2_grpc, index_pb2, index_pb2_grpc
from shoal.workers.runtime.serving import secret_metadata

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

PROBE_S = 0.5
PROBE_TIMEOUT_S = 5.0
LOCATE_PAUSE_S = 0.2
TRIES_PER_START = 50
END_PAUSE_S = 1.0
FAILED_MODEL_PAUSE_S = 15.0
HUNG_S = 30.0
"""An encoder that has worked and then answers no probe for so long is ended by force, and another takes its place.

Counted in probes, one after another: a pause of the coordinator itself costs the probes in flight, and only these.
"""
HUNG_LOADING_S = 120.0
"""... and one that has not worked yet: some steps of loading let nothing else run."""
LOST_START_S = 300.0
"""A member that Ray cannot reach for so long, though it has room for it, is begun anew."""


@dataclass(slots=True)
class Watched:
    """A member and what is known of it."""

    member: Member
    state: str = "starting"
    """"waiting" (for resources), "starting", "loading", "ready", "unreachable" or "failed"."""
    address: str = ""
    pid: int = 0
    node: str = ""
    detail: str = ""
    fingerprint: str = ""
    dimension: int = 0
    device: str = ""
    load: Load = field(default_factory=Load)
    meter: LoadMeter = field(default_factory=LoadMeter)
    draining: bool = False
    """It is about to be ended: it finishes what it has and gets nothing new."""
    restarts: int = 0
    """How often another process has taken the place of its process."""
    worked: bool = False
    """Its process has been ready."""
    lost_at: float = 0.0
    """When it was last seen up, on the event loop's clock; what has never been up counts from when it was added."""
    suspected: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """True while it answers and may be given work."""
        return self.state == "ready" and not self.draining

    @property
    def shown_state(self) -> str:
        """The state as people are told."""
        return "draining" if self.draining and self.state == "ready" else self.state


class Supervisor:
    """Watches members, one task each; `changed` is called on the event loop at every change of state or address."""

    def __init__(self, fleet: Fleet, secret: str, channels: Channels, changed: Callable[[Watched], None]) -> None:
        self._fleet = fleet
        self._metadata = secret_metadata(secret)
        self._channels = channels
        self._changed = changed
        self._threads = ThreadPoolExecutor(max_workers=32, thread_name_prefix="shoal-fleet")
        self._watched: dict[str, Watched] = {}
        self._called: Counter[str] = Counter()
        """Addresses that are being called, whether or not a member is known to be there."""
        self._names: dict[str, asyncio.Lock] = {}
        """Held while a member of that name is being started or ended."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Condition()

    @property
    def members(self) -> list[Watched]:
        """All members, by name."""
        return [self._watched[name] for name in sorted(self._watched)]

    @property
    def addresses(self) -> set[str]:
        """Where members are, and where one may be that is being asked for the first time."""
        return {one.address for one in self._watched.values()} | self._called.keys()

    def get(self, name: str) -> Watched | None:
        """The member of that name."""
        return self._watched.get(name)

    def encoders(self, model: str) -> list[Watched]:
        """The replicas of a model, in whatever state."""
        return [one for one in self.members if one.member.kind == "encoder" and one.member.model == model]

    def add(self, member: Member) -> Watched:
        """Starts and watches a member; one that is watched already is returned as it is."""
        watched = self._watched.get(member.name)
        if watched is None:
            watched = self._watched[member.name] = Watched(member, lost_at=asyncio.get_running_loop().time())
            watched.task = asyncio.create_task(self._watch(watched), name=f"watch {member.name}")
        return watched

    async def drain(self, name: str, draining: bool = True) -> None:
        """Takes a member's work away, or lets it have work again."""
        watched = self._watched.get(name)
        if watched is not None and watched.draining != draining:
            watched.draining = draining
            await self._tell(watched)

    async def remove(self, name: str) -> None:
        """Ends a member for good."""
        watched = self._watched.pop(name, None)
        if watched is None:
            return
        if watched.task is not None:
            watched.task.cancel()
        await self.end(watched.member)
        await self._tell(watched)

    async def end(self, member: Member) -> None:
        """Ends a member for good, however often that takes: one that nobody watches would keep its share of the cluster."""
        await self._alone(member, self._end)

    def suspect(self, name: str) -> None:
        """Someone's call found nobody: until a probe has looked, which it does at once, the member counts as unreachable.

        Else the next ones would call where nobody is, and take that for a loss of their own making.
        """
        watched = self._watched.get(name)
        if watched is not None:
            if watched.state == "ready":
                watched.state, watched.detail = "unreachable", "a call found nobody there"
            watched.suspected.set()

    async def model_of(self, member: Member) -> str:
        """The model that an encoder serves which is not watched yet; raises FleetError, AioRpcError."""
        located = await self._blocking(self._fleet.locate, member)
        with self._calling(located.address):
            describe = encoder_pb2_grpc.EncoderServiceStub(self._channels.get(located.address)).DescribeModel
            reply = await call(describe, encoder_pb2.DescribeModelRequest(), self._metadata, PROBE_TIMEOUT_S)
        return reply.model

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Returns when `condition` holds; it is looked at after every change of any member."""
        async with self._news:
            await self._news.wait_for(condition)

    async def announce(self) -> None:
        """Something that waiters look at has changed outside: let them look again."""
        async with self._news:
            self._news.notify_all()

    async def close(self) -> None:
        """Stops watching; the members live on."""
        tasks = [*self._tasks, *(watched.task for watched in self._watched.values() if watched.task is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    @contextlib.contextmanager
    def _calling(self, address: str) -> Iterator[None]:
        self._called[address] += 1
        try:
            yield
        finally:
            self._called[address] -= 1
            self._called += Counter()

    async def _alone(self, member: Member, work: Callable[[Member], Coroutine[Any, Any, None]]) -> None:
        """Does work while no other member of that name is started or ended.

        Once begun it goes on when the caller is cancelled: its thread does so in any case, and the name is not free before.
        """
        lock = self._names.setdefault(member.name, asyncio.Lock())
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
                log.warning("%s is to be ended once more: %s", member.name, error)
            await asyncio.sleep(END_PAUSE_S)

    async def _blocking(self, ask: Callable[[Member], Answer], member: Member) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, ask, member)

    async def _tell(self, watched: Watched) -> None:
        self._changed(watched)
        await self.announce()

    async def _watch(self, watched: Watched) -> None:
        tries = 0
        missed_since: float | None = None
        while True:
            try:
                # What is there is kept, so starting again now and then only matters when the fleet has lost it for good.
                if tries % TRIES_PER_START == 0:
                    await self._alone(watched.member, self._start)
                tries += 1
                located = await self._blocking(self._fleet.locate, watched.member)
            except NoRoom as error:
                missed_since = None
                await self._set(watched, "waiting", str(error))
                await asyncio.sleep(LOCATE_PAUSE_S)
                continue
            except FleetError as error:
                log.info("%s: %s", watched.member.name, error)
                await self._set(watched, "unreachable" if watched.address else "starting", str(error))
                missed_since = missed_since or self._now
                if self._now - missed_since > LOST_START_S:
                    missed_since = None
                    await self._replace(watched, f"it could not be reached for {LOST_START_S:.0f} s")
                await asyncio.sleep(LOCATE_PAUSE_S)
                continue
            except Exception:
                # A defect of the fleet must not leave the member unwatched for ever.
                log.exception("%s could not be started or found", watched.member.name)
                await asyncio.sleep(LOCATE_PAUSE_S)
                continue
            missed_since = None
            if await self._probe_until_lost(watched, located):
                # A model that cannot be loaded may load later (a folder that was not mounted yet): try afresh.
                await asyncio.sleep(FAILED_MODEL_PAUSE_S)
                await self.end(watched.member)
                tries = 0
            else:
                tries = 1

    async def _probe_until_lost(self, watched: Watched, located: Located) -> bool:
        """Probes until the process is lost (False) or its model has failed to load (True)."""
        silent_probes = 0
        while True:
            watched.suspected.clear()
            try:
                with self._calling(located.address):
                    state, detail = await self._probe(watched, located.address)
            except grpc.aio.AioRpcError as error:
                silent = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                await self._set(watched, "unreachable", "it does not answer" if silent else _said(error))
                # Index workers may be silent while they read large files; an encoder answers whatever it does.
                if silent and watched.member.kind == "encoder":
                    # Its calls are left alone: it may only be slow.
                    limit_s = HUNG_S if watched.worked else HUNG_LOADING_S
                    silent_probes += 1
                    if not await self._moved(watched.member, located):
                        if silent_probes < math.ceil(limit_s / PROBE_TIMEOUT_S):
                            continue
                        await self._replace(watched, f"it did not answer for {limit_s:.0f} s")
                await self._channels.close(located.address)
                return False
            silent_probes = 0
            moved = watched.address != located.address or watched.pid != located.pid
            if moved and watched.pid:
                watched.restarts += 1
            if moved:
                watched.worked = False
            watched.worked = watched.worked or state == "ready"
            watched.address, watched.pid, watched.node = located.address, located.pid, located.node
            await self._set(watched, state, detail, force=moved)
            if state == "failed":
                return True
            pause = PROBE_S if state == "ready" else LOCATE_PAUSE_S
            try:
                async with asyncio.timeout(pause):
                    await watched.suspected.wait()
            except TimeoutError:
                pass

    async def _moved(self, member: Member, located: Located) -> bool:
        """Whether another process has taken its place already, as when its machine is gone."""
        try:
            return await self._blocking(self._fleet.locate, member) != located
        except FleetError:
            return False

    async def _replace(self, watched: Watched, reason: str) -> None:
        """Has a process that does nothing any more ended by force."""
        log.warning("%s is ended by force: %s", watched.member.name, reason)
        await self._set(watched, "unreachable", f"its process was ended: {reason}")
        try:
            await self._blocking(self._fleet.restart, watched.member)
        except FleetError as error:
            log.warning("%s could not be ended: %s", watched.member.name, error)

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _probe(self, watched: Watched, address: str) -> tuple[str, str]:
        channel = self._channels.get(address)
        if watched.member.kind == "index":
            describe = index_pb2_grpc.IndexServiceStub(channel).DescribeShards
            await call(describe, index_pb2.DescribeShardsRequest(), self._metadata, PROBE_TIMEOUT_S)
            return "ready", ""
        describe = encoder_pb2_grpc.EncoderServiceStub(channel).DescribeModel
        reply = await call(describe, encoder_pb2.DescribeModelRequest(), self._metadata, PROBE_TIMEOUT_S)
        watched.device = reply.device
        if reply.state == encoder_pb2.ENCODER_STATE_READY:
            watched.fingerprint, watched.dimension = reply.fingerprint, reply.dimension
            watched.load = watched.meter.take(reply.load, self._now)
            return "ready", ""
        watched.load = Load()
        if reply.state == encoder_pb2.ENCODER_STATE_FAILED:
            return "failed", reply.error
        return "loading", reply.progress

    async def _set(self, watched: Watched, state: str, detail: str, force: bool = False) -> None:
        if watched.state == "ready":
            watched.lost_at = self._now
        different = force or (state, detail) != (watched.state, watched.detail)
        watched.state, watched.detail = state, detail
        if different and self._watched.get(watched.member.name) is watched:
            await self._tell(watched)


def _said(error: grpc.aio.AioRpcError) -> str:
    return error.details() or error.code().name
