"""A Fleet in this process: every worker is a gRPC server that can be killed, held down and poisoned."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from shoal.cluster.coordinator.fleet.fleet import FleetError, Member, NoRoom
from shoal.cluster.decisions.processes.liveness_events import Location
from shoal.internal.v1 import encoder_pb2
from shoal.workers.encoding.engine.engine import EncoderEngine
from shoal.workers.encoding.model import ModelError, Tokenized, Vectors
from shoal.workers.encoding.replica.service import EncoderService
from shoal.workers.encoding.static.hashing_model import HashingModel
from shoal.workers.indexing.files.sealing import seal
from shoal.workers.indexing.files.storage import Storage
from shoal.workers.indexing.host import ShardHost
from shoal.workers.indexing.manifest import ManifestInfo, SealedInfo
from shoal.workers.indexing.service import IndexServicer
from shoal.workers.runtime import InternalServer
from support.gateway.small_cluster import CREDENTIALS, stop

ENCODE_S = 0.02
PIDS = itertools.count(1000)


@dataclass
class Running:
    """One run of a worker."""

    server: InternalServer
    close: Callable[[], None]
    host: ShardHost | None = None
    pid: int = field(default_factory=lambda: next(PIDS))
    address: str = ""


class FragileEncoder(EncoderService):
    """An encoder that some texts break."""

    def __init__(self, engine: EncoderEngine, name: str, fleet: LocalFleet) -> None:
        super().__init__(engine)
        self._name = name
        self._fleet = fleet

    async def DescribeModel(
        self, request: encoder_pb2.DescribeModelRequest, context: Any
    ) -> encoder_pb2.DescribeModelResponse:
        while self._name in self._fleet.still:
            await asyncio.sleep(0.02)
        return await super().DescribeModel(request, context)

    async def Encode(self, request: encoder_pb2.EncodeRequest, context: Any) -> encoder_pb2.EncodeResponse:
        try:
            return await self._encode(request, context)
        except asyncio.CancelledError:
            self._fleet.cut_off += 1
            raise

    async def _encode(self, request: encoder_pb2.EncodeRequest, context: Any) -> encoder_pb2.EncodeResponse:
        self._fleet.encoded.append(list(request.texts))
        self._fleet.priorities.append(request.priority)
        whole = " ".join(request.texts)
        for word in [word for word, times in self._fleet.late.items() if times and word in whole]:
            self._fleet.late[word] -= 1
            await asyncio.sleep(60)
        if any(word in whole for word in self._fleet.refused):
            await context.abort(self._fleet.refusal, "this batch cannot be done")
        if any(word in whole for word in self._fleet.deadly):
            await asyncio.sleep(ENCODE_S / 2)
            self._fleet.deaths += 1
            threading.Thread(target=self._fleet.kill, args=(self._name,), daemon=True).start()
            await asyncio.sleep(60)
        # Long enough for concurrent calls to be lost together with the deadly one.
        await asyncio.sleep(ENCODE_S)
        return await super().Encode(request, context)


class LocalFleet:
    """A dead worker returns at its next `locate`, at another address, unless it is held down."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.refused: set[str] = set()
        self.refusal = grpc.StatusCode.INTERNAL
        self.deadly: set[str] = set()
        self.deaths = 0
        self.held_down: set[str] = set()
        self.no_room: set[str] = set()
        self.places: int | None = None
        """How many encoders there is room for; None for any number."""
        self.still: set[str] = set()
        """Encoders that do not answer."""
        self.restarted: list[str] = []
        self.unending: Counter[str] = Counter()
        """Members that do not stop, and how many stops they ignore."""
        self.defects: list[Exception] = []
        self.late: dict[str, int] = {}
        """Words, and how many calls that contain them are not answered in time."""
        self.failures: dict[str, BaseException] = {}
        """What loading a model raises."""
        self.fingerprints: dict[str, str] = {}
        """Of models whose files have changed."""
        self.loads: Counter[str] = Counter()
        """How often each model was loaded, or could not be."""
        self.pace_s = 0.0
        """How long models compute for each text."""
        self.encoded: list[list[str]] = []
        self.priorities: list[int] = []
        self.cut_off = 0
        """Calls that ended before they were answered."""
        self.seals = 0
        self._wanted: dict[str, Member] = {}
        self._running: dict[str, Running] = {}
        self._lock = threading.RLock()

    def start(self, member: Member) -> None:
        with self._lock:
            self._wanted.setdefault(member.name, member)

    def locate(self, member: Member) -> Location:
        with self._lock:
            if self.defects:
                raise self.defects.pop()
            if member.name in self.no_room:
                raise NoRoom("for 1 GPU: 0 of 0 are free")
            if member.name in self.held_down or member.name not in self._wanted:
                raise FleetError(f"{member.name} is down")
            running = self._running.get(member.name)
            if running is None and member.kind == "encoder" and self.places is not None:
                taken = sum(name in self._running for name, one in self._wanted.items() if one.kind == "encoder")
                if taken >= self.places:
                    raise NoRoom(f"for 0.5 CPU: 0 of {self.places / 2:g} are free")
            if running is None:
                running = self._running[member.name] = self._launch(member)
            return Location(running.address, running.pid, "here")

    def restart(self, member: Member) -> None:
        self.restarted.append(member.name)
        self.still.discard(member.name)
        self.kill(member.name)

    def existing(self) -> list[str]:
        with self._lock:
            return sorted(self._wanted)

    def stop(self, member: Member) -> None:
        with self._lock:
            if self.unending[member.name]:
                self.unending[member.name] -= 1
                raise FleetError(f"{member.name} is still there")
            self._wanted.pop(member.name, None)
        self.kill(member.name)

    def seal(self, manifest: ManifestInfo) -> SealedInfo:
        self.seals += 1
        return seal(str(self.root), manifest)

    def kill(self, name: str, hold_down: bool = False) -> None:
        """Ends a worker without notifying anyone."""
        with self._lock:
            if hold_down:
                self.held_down.add(name)
            running = self._running.pop(name, None)
        if running is not None:
            stop(running.server)
            running.close()

    def release(self, name: str) -> None:
        """Lets a worker that was held down return."""
        self.held_down.discard(name)

    def names(self, kind: str) -> list[str]:
        with self._lock:
            return sorted(name for name, member in self._wanted.items() if member.kind == kind)

    def running(self, name: str) -> bool:
        """Whether a process of that name is up."""
        with self._lock:
            return name in self._running

    def host_at(self, address: str) -> ShardHost:
        with self._lock:
            return next(one.host for one in self._running.values() if one.address == address and one.host is not None)

    def hosts(self) -> list[ShardHost]:
        with self._lock:
            return [one.host for one in self._running.values() if one.host is not None]

    def close(self) -> None:
        for name in list(self._running):
            self.kill(name, hold_down=True)

    def _launch(self, member: Member) -> Running:
        if member.kind == "index":
            host = ShardHost(Storage(str(self.root)))
            service = IndexServicer(host, threads=1)
            running = Running(InternalServer(service.register, CREDENTIALS), service.close, host)
        else:
            engine = EncoderEngine(member.model, load=lambda _: _load(member.model, self))
            engine.start()
            fragile = FragileEncoder(engine, member.name, self)
            running = Running(InternalServer(fragile.register, CREDENTIALS), engine.close)
        running.address = running.server.start()
        return running


class PacedModel(HashingModel):
    """A slow model."""

    def __init__(self, dimension: int, name: str, fleet: LocalFleet) -> None:
        super().__init__(dimension, name=name)
        self._fleet = fleet

    def forward(self, batch: Sequence[Tokenized]) -> Vectors:
        threading.Event().wait(self._fleet.pace_s * len(batch))
        return super().forward(batch)


def _load(model: str, fleet: LocalFleet) -> HashingModel:
    fleet.loads[model] += 1
    if model in fleet.failures:
        raise fleet.failures[model]
    kind, _, dimension = model.partition(":")
    if kind != "hashing":
        raise ModelError(model, "there is no such folder")
    loaded = PacedModel(int(dimension), model, fleet)
    loaded.fingerprint = fleet.fingerprints.get(model, loaded.fingerprint)
    return loaded
