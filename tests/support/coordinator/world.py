"""A coordinator on its gRPC service with a local fleet and a SQLite ledger, and the checks of a test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from shoal.cluster.coordinator.core import Coordinator
from shoal.cluster.coordinator.fleet import supervision
from shoal.cluster.coordinator.service import CoordinatorService
from shoal.cluster.coordinator.settings import CoordinatorSettings
from shoal.cluster.decisions.placement import shard_of
from shoal.cluster.ledger.connection import migrate, open_engine, reading, sqlite_url
from shoal.cluster.ledger.files import read_manifest
from shoal.cluster.ledger.lease import read_lease
from shoal.cluster.ledger.reader import LedgerReader
from shoal.cluster.ledger.records import Cut, Lease
from shoal.cluster.settings import EncoderSettings, IndexSettings, RetrySettings, ServeSettings
from shoal.internal.v1 import coordinator_pb2
from shoal.internal.v1.coordinator_pb2_grpc import CoordinatorServiceStub
from shoal.v1 import collections_pb2, documents_pb2
from shoal.workers.indexing.host import UnknownShard
from shoal.workers.runtime import InternalServer
from support.coordinator.local_fleet import LocalFleet
from support.gateway.small_cluster import CREDENTIALS, STOPPED, eventually

MODEL = "hashing:16"
NAME = "notes"
SETTINGS = ServeSettings(
    lease_s=1.0,
    encoder=EncoderSettings(batch_documents=8),
    index=IndexSettings(file_grace_s=2.0),
    retry=RetrySettings(attempts=2, first_pause_s=0.05, longest_pause_s=0.05),
)


def set_liveness(monkeypatch: pytest.MonkeyPatch, **times: float) -> None:
    """Changes some time limits of supervision."""
    monkeypatch.setattr(supervision, "LIVENESS", replace(supervision.LIVENESS, **times))


class RunningCoordinator:
    """One run of the coordinator; `depositions` counts how often it was deposed."""

    def __init__(self, url: str, fleet: LocalFleet, serve: ServeSettings, holder: str) -> None:
        self.depositions = 0
        settings = CoordinatorSettings(url, str(fleet.root), CREDENTIALS, holder, serve)
        self.core = Coordinator(settings, fleet, self._deposed)
        self.server = InternalServer(CoordinatorService(self.core, serve.index.shards).register, CREDENTIALS)
        self.address = self.server.start()
        self.starting = asyncio.run_coroutine_threadsafe(self.core.start(self.address), self.server.loop)
        self.channel = grpc.insecure_channel(self.address)
        self.stub = CoordinatorServiceStub(self.channel)
        self._stopped = False

    def _deposed(self) -> None:
        self.depositions += 1

    def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self.channel.close()
        if not self.starting.done():
            self.starting.cancel()
        asyncio.run_coroutine_threadsafe(self.core.stop(), self.server.loop).result(timeout=20)
        self.server.stop(0)
        STOPPED.append(self.server.loop)


class World:
    """Coordinators change; fleet and ledger stay."""

    def __init__(self, folder: Path, ledger_url: str = "") -> None:
        """With a ledger in a file under `folder`, unless another one is named."""
        self.fleet = LocalFleet(folder / "vectors")
        self.fleet.root.mkdir()
        self.url = ledger_url or sqlite_url(folder / "ledger.sqlite")
        self.ledger_path = folder / "ledger.sqlite"
        engine = open_engine(self.url, read_only=False)
        migrate(engine)
        engine.dispose()
        self._engine = open_engine(self.url, read_only=True)
        self.reader = LedgerReader(self._engine)
        self.lives: list[RunningCoordinator] = []

    @property
    def now(self) -> RunningCoordinator:
        return self.lives[-1]

    def start(self, serve: ServeSettings = SETTINGS, holder: str = "tests", wait: bool = True) -> RunningCoordinator:
        self.lives.append(RunningCoordinator(self.url, self.fleet, serve, holder))
        if wait:
            self.now.starting.result(timeout=20)
        return self.now

    def close(self) -> None:
        for life in self.lives:
            life.stop()
        self.fleet.close()
        self._engine.dispose()

    # Requests of gateways.

    def create(self, name: str = NAME, **settings: Any) -> None:
        if "dimension" not in settings:
            settings.setdefault("model", MODEL)
        settings.setdefault("index", collections_pb2.INDEX_KIND_FLAT)
        asked = collections_pb2.CollectionSettings(**settings)
        self.now.stub.CreateCollection(coordinator_pb2.CreateCollectionRequest(name=name, settings=asked), **call_options())

    def send(
        self, upserts: Iterable[documents_pb2.Document] = (), deletes: Iterable[str] = (), name: str = NAME
    ) -> coordinator_pb2.WriteResponse:
        request = coordinator_pb2.WriteRequest(collection=name, upserts=upserts, deletes=deletes)
        return self.now.stub.Write(request, **call_options())

    def write(self, texts: Mapping[str, str], name: str = NAME) -> coordinator_pb2.WriteResponse:
        return self.send((documents_pb2.Document(id=key, text=text) for key, text in texts.items()), name=name)

    def drop(self, name: str = NAME) -> int:
        return self.now.stub.DropCollection(coordinator_pb2.DropCollectionRequest(name=name), **call_options()).documents

    def retry_failed(self, *ids: str, name: str = NAME) -> int:
        return self.now.stub.RetryFailed(
            coordinator_pb2.RetryFailedRequest(collection=name, ids=ids), **call_options()
        ).retried

    def retain(self, model: str) -> None:
        self.now.stub.RetainModel(coordinator_pb2.RetainModelRequest(model=model), **call_options())

    def routing(self) -> coordinator_pb2.WatchRoutingResponse:
        stream = self.now.stub.WatchRouting(coordinator_pb2.WatchRoutingRequest(gateway="test"), **call_options())
        try:
            return next(stream)
        finally:
            stream.cancel()

    # State.

    def cut(self, name: str = NAME) -> Cut:
        return self.reader.cut(name)

    def versions(self, ids: Iterable[str], name: str = NAME) -> dict[str, int]:
        """The version that searches see of each document; 0 for none, -1 where no worker shows its shard."""
        generation = self.cut(name).generation
        routes = {route.key.shard: route.address for route in self.routing().shards if route.key.generation == generation.id}
        found: dict[str, int] = {}
        for one in ids:
            shard = shard_of(one, generation.shards)
            try:
                found[one] = self.fleet.host_at(routes[shard]).lookup((generation.id, shard), [one])[0]
            except (KeyError, StopIteration, UnknownShard):
                found[one] = -1
        return found

    def settles(self, versions: Mapping[str, int], name: str = NAME, within_s: float = 20.0) -> None:
        """Waits until nothing is pending and searches see exactly these versions."""
        eventually(lambda: self.cut(name).pending == 0 and self.versions(versions, name) == versions, within_s)

    def lease(self) -> Lease:
        lease = read_lease(self._engine)
        assert lease is not None
        return lease

    def named_files(self, name: str = NAME) -> list[Path]:
        """The files that the ledger names."""
        generation = self.cut(name).generation
        found: list[Path] = []
        with reading(self._engine) as connection:
            manifests = [read_manifest(connection, generation.id, shard) for shard in range(generation.shards)]
        for manifest in manifests:
            found += [self.fleet.root / one.path for one in (manifest.sealed, *manifest.segments) if one is not None]
        return sorted(found)

    def files(self) -> list[Path]:
        return sorted(path for path in self.fleet.root.rglob("*") if path.is_file())


class Gate:
    """Blocks every call of a function until it is opened."""

    def __init__(self, patch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.reached, self.passed = threading.Event(), threading.Event()
        self._opened = threading.Event()
        whole = getattr(owner, name)

        def held_up(*args: Any, **kwargs: Any) -> Any:
            self.reached.set()
            assert self._opened.wait(20)
            try:
                return whole(*args, **kwargs)
            finally:
                self.passed.set()

        patch.setattr(owner, name, held_up)

    def wait(self) -> None:
        """Returns when a call is blocked."""
        assert self.reached.wait(20)

    def open(self) -> None:
        """Lets all calls through."""
        self._opened.set()


def with_index(**settings: Any) -> ServeSettings:
    """The tests' settings with changes for indexing."""
    return replace(SETTINGS, index=replace(SETTINGS.index, **settings))


def call_options() -> dict[str, Any]:
    return {"metadata": CREDENTIALS.metadata(), "timeout": 20}
