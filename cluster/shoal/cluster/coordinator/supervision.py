"""Keeps track of every worker process: where it is, whether it answers, and when it has come back as a new one.

Ray restarts what dies; here that is noticed and told. What follows from it is for the listeners.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import grpc.aio

from shoal.cluster.calls import call
from shoal.cluster.channels import Channels
from shoal.cluster.coordinator.fleet import Fleet, FleetError, Located, Member
from shoal.internal.v1 import encoder_pb2, encoder_pb2_grpc, index_pb2, index_pb2_grpc
from shoal.workers.serving import secret_metadata

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

PROBE_S = 0.5
PROBE_TIMEOUT_S = 5.0
LOCATE_PAUSE_S = 0.2
TRIES_PER_START = 50
FAILED_MODEL_PAUSE_S = 15.0


@dataclass(slots=True)
class Watched:
    """A member and what is known of it."""

    member: Member
    state: str = "starting"
    """"starting", "loading", "ready", "unreachable" or "failed"."""
    address: str = ""
    pid: int = 0
    node: str = ""
    detail: str = ""
    fingerprint: str = ""
    dimension: int = 0
    lost_at: float = 0.0
    """When it was last seen up, on the event loop's clock; what has never been up counts from when it was added."""
    suspected: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """True while it answers and can work."""
        return self.state == "ready"


class Supervisor:
    """Watches members, one task each; `changed` is called on the event loop at every change of state or address."""

    def __init__(self, fleet: Fleet, secret: str, channels: Channels, changed: Callable[[Watched], None]) -> None:
        self._fleet = fleet
        self._metadata = secret_metadata(secret)
        self._channels = channels
        self._changed = changed
        self._threads = ThreadPoolExecutor(max_workers=32, thread_name_prefix="shoal-fleet")
        self._watched: dict[str, Watched] = {}
        self._news = asyncio.Condition()

    @property
    def members(self) -> list[Watched]:
        """All members, by name."""
        return [self._watched[name] for name in sorted(self._watched)]

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

    async def remove(self, name: str) -> None:
        """Ends a member for good."""
        watched = self._watched.pop(name, None)
        if watched is None:
            return
        if watched.task is not None:
            watched.task.cancel()
        await self._blocking(self._fleet.stop, watched.member)
        await self._tell(watched)

    def suspect(self, name: str) -> None:
        """Someone's call found nobody: until a probe has looked, which it does at once, the member counts as unreachable.

        Else the next ones would call where nobody is, and take that for a loss of their own making.
        """
        watched = self._watched.get(name)
        if watched is not None:
            if watched.ready:
                watched.state, watched.detail = "unreachable", "a call found nobody there"
            watched.suspected.set()

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
        tasks = [watched.task for watched in self._watched.values() if watched.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _blocking(self, ask: Callable[[Member], Answer], member: Member) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, ask, member)

    async def _tell(self, watched: Watched) -> None:
        self._changed(watched)
        await self.announce()

    async def _watch(self, watched: Watched) -> None:
        tries = 0
        while True:
            try:
                # What is there is kept, so starting again now and then only matters when the fleet has lost it for good.
                if tries % TRIES_PER_START == 0:
                    await self._blocking(self._fleet.start, watched.member)
                tries += 1
                located = await self._blocking(self._fleet.locate, watched.member)
            except FleetError as error:
                log.info("%s: %s", watched.member.name, error)
                await self._set(watched, "unreachable" if watched.address else "starting", str(error))
                await asyncio.sleep(LOCATE_PAUSE_S)
                continue
            except Exception:
                # A defect of the fleet must not leave the member unwatched for ever.
                log.exception("%s could not be started or found", watched.member.name)
                await asyncio.sleep(LOCATE_PAUSE_S)
                continue
            if await self._probe_until_lost(watched, located):
                # A model that cannot be loaded may load later (a folder that was not mounted yet): try afresh.
                await asyncio.sleep(FAILED_MODEL_PAUSE_S)
                await self._blocking(self._fleet.stop, watched.member)
                tries = 0
            else:
                tries = 1

    async def _probe_until_lost(self, watched: Watched, located: Located) -> bool:
        """Probes until the process is lost (False) or its model has failed to load (True)."""
        while True:
            watched.suspected.clear()
            try:
                state, detail = await self._probe(watched, located.address)
            except grpc.aio.AioRpcError as error:
                await self._set(watched, "unreachable", error.details() or error.code().name)
                await self._channels.close(located.address)
                return False
            moved = watched.address != located.address or watched.pid != located.pid
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

    async def _probe(self, watched: Watched, address: str) -> tuple[str, str]:
        channel = self._channels.get(address)
        if watched.member.kind == "index":
            describe = index_pb2_grpc.IndexServiceStub(channel).DescribeShards
            await call(describe, index_pb2.DescribeShardsRequest(), self._metadata, PROBE_TIMEOUT_S)
            return "ready", ""
        describe = encoder_pb2_grpc.EncoderServiceStub(channel).DescribeModel
        reply = await call(describe, encoder_pb2.DescribeModelRequest(), self._metadata, PROBE_TIMEOUT_S)
        if reply.state == encoder_pb2.ENCODER_STATE_READY:
            watched.fingerprint, watched.dimension = reply.fingerprint, reply.dimension
            return "ready", watched.member.model
        if reply.state == encoder_pb2.ENCODER_STATE_FAILED:
            return "failed", reply.error
        return "loading", watched.member.model

    async def _set(self, watched: Watched, state: str, detail: str, force: bool = False) -> None:
        if watched.ready:
            watched.lost_at = asyncio.get_running_loop().time()
        different = force or (state, detail) != (watched.state, watched.detail)
        watched.state, watched.detail = state, detail
        if different and self._watched.get(watched.member.name) is watched:
            await self._tell(watched)
