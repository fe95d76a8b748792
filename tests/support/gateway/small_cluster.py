"""A whole cluster in one process, without Ray: real ledger, index workers, encoder and gateway around a small coordinator.

The coordinator here does nothing by itself: a test decides when pending documents are embedded.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from shoal.cluster.clock import wall_clock_ms
from shoal.cluster.coordinator.access.keys import Keys
from shoal.cluster.coordinator.ledger_access import LedgerAccess
from shoal.cluster.coordinator.ledger_threads import LedgerThreads
from shoal.cluster.decisions.access import AccessLevel
from shoal.cluster.decisions.admission import Incoming
from shoal.cluster.errors import ClusterError, InvalidModel, VersionConflict, from_ledger, refuse
from shoal.cluster.gateway.paths.room import GatewayMemory
from shoal.cluster.gateway.server import GatewayServer
from shoal.cluster.gateway.settings import GatewaySettings
from shoal.cluster.ledger.connection import migrate, open_engine, sqlite_url
from shoal.cluster.ledger.errors import LedgerError
from shoal.cluster.ledger.lease import acquire_lease
from shoal.cluster.ledger.progress import LedgerProgress
from shoal.cluster.ledger.records import Applied, CollectionSettings, GenerationRecord, SegmentCommit, WriteBatch
from shoal.cluster.ledger.writer import LedgerWriter
from shoal.cluster.limits import RequestLimits
from shoal.cluster.rpc.key_messages import key_message
from shoal.cluster.rpc.routing import RoutingTable
from shoal.internal.v1 import coordinator_pb2, coordinator_pb2_grpc
from shoal.v1 import collections_pb2, documents_pb2, errors_pb2, keys_pb2, status_pb2
from shoal.v1.collections_pb2_grpc import CollectionServiceStub
from shoal.v1.documents_pb2_grpc import DocumentServiceStub
from shoal.v1.embedding_pb2_grpc import EmbeddingServiceStub
from shoal.v1.search_pb2_grpc import SearchServiceStub
from shoal.v1.status_pb2_grpc import StatusServiceStub
from shoal.workers.encoding.engine.engine import EncoderEngine, EngineState
from shoal.workers.encoding.model import AS_DOCUMENT
from shoal.workers.encoding.replica.service import EncoderService
from shoal.workers.encoding.static.hashing_model import HashingModel
from shoal.workers.indexing.files.storage import Storage
from shoal.workers.indexing.host import ShardHost
from shoal.workers.indexing.messages import stats_message
from shoal.workers.indexing.rows import Rows
from shoal.workers.indexing.service import IndexServicer
from shoal.workers.runtime import InternalCredentials, InternalServer

CREDENTIALS = InternalCredentials("a secret of tests")
MODEL = "hashing:64"
DIMENSION = 64
INDEXES = {1: "flat", 2: "hnsw", 3: "ivf"}
METRICS = {1: "cosine", 2: "dot", 3: "l2"}


def packed(vector: Any) -> bytes:
    """A vector in its wire form."""
    return np.asarray(vector, dtype="<f4").tobytes()


def refused(call: Callable[[], Any]) -> tuple[grpc.StatusCode, errors_pb2.ErrorDetail]:
    """Status and detail of a failed call; the detail is empty if there was none."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    sent = dict(error.trailing_metadata() or ()).get("shoal-error-bin", b"")
    return error.code(), errors_pb2.ErrorDetail.FromString(sent)


# gRPC hands the events of all servers of a process round: one that comes late for a closed loop breaks another's. So
# loops stay open, and here they are kept from being collected as forgotten.
STOPPED: list[asyncio.AbstractEventLoop] = []


def stop(server: InternalServer) -> None:
    """Ends a server at once."""
    server.stop(0)
    STOPPED.append(server.loop)


class Worker:
    """One index worker."""

    def __init__(self, root: Path) -> None:
        self.host = ShardHost(Storage(str(root)))
        self.service = IndexServicer(self.host, threads=1)
        self.server = InternalServer(self.service.register, CREDENTIALS)
        self.address = self.server.start()
        self.alive = True

    def kill(self) -> None:
        """Ends it without notifying anyone."""
        if self.alive:
            self.alive = False
            stop(self.server)
            self.service.close()


class Coordinator(coordinator_pb2_grpc.CoordinatorServiceServicer):
    """Commits through the real ledger and publishes routing."""

    def __init__(self, url: str, root: Path, workers: list[Worker], encoder: str) -> None:
        self.engine = open_engine(url, read_only=False)
        migrate(self.engine)
        self.workers = workers
        self.encoders = [encoder]
        self.outages: list[coordinator_pb2.ModelOutage] = []
        self.model = HashingModel(DIMENSION, name=MODEL)
        self.revision = 0
        self.lock = threading.RLock()
        self.before_write: Callable[[], object] = lambda: None
        self.writes = 0
        self._news: list[asyncio.Event] = []
        self.serve()

    def serve(self) -> None:
        """Starts, or restarts at another address with the next epoch."""
        self.server = InternalServer(
            lambda server: coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server(self, server), CREDENTIALS
        )
        self.epoch = acquire_lease(self.engine, "tests", self.server.start(), 60_000, wall_clock_ms())
        self.writer = LedgerWriter(self.engine, self.epoch)
        self.progress = LedgerProgress(self.engine, self.epoch)
        self.keys = Keys(LedgerAccess(LedgerThreads(lambda: None), self.writer, self.progress, self.epoch))

    def stop(self) -> None:
        stop(self.server)

    # Requests of the gateway.

    async def Write(self, request: coordinator_pb2.WriteRequest, context: Any) -> coordinator_pb2.WriteResponse:
        upserts = [
            Incoming(
                document.id,
                document.text,
                document.vector,
                document.payload,
                document.expected_version if document.HasField("expected_version") else None,
            )
            for document in request.upserts
        ]
        batch = WriteBatch(request.collection, upserts, list(request.deletes), request.source)

        def work() -> Any:
            self.before_write()
            self.writes += 1
            return self.writer.write([batch], wall_clock_ms())[0]

        outcome = await self._run(work, context)
        if isinstance(outcome, LedgerError):
            await refuse(context, from_ledger(outcome))
        response = coordinator_pb2.WriteResponse(token=str(outcome.token))
        for result in outcome.results:
            entry = response.results.add(id=result.id, version=result.version, changed=result.changed)
            if result.conflict_version is not None:
                entry.error.CopyFrom(VersionConflict(f"document {result.id!r} has another version").detail())
        return response

    async def CreateCollection(
        self, request: coordinator_pb2.CreateCollectionRequest, context: Any
    ) -> coordinator_pb2.CreateCollectionResponse:
        asked = request.settings
        if asked.model not in ("", MODEL):
            await refuse(context, InvalidModel(f"model {asked.model!r}: there is no such folder", field="settings.model"))
        dimension = DIMENSION if asked.model else asked.dimension
        settings = CollectionSettings(
            asked.model,
            dimension,
            INDEXES.get(asked.index, "flat"),
            METRICS.get(asked.metric, "cosine"),
            asked.shards or 2,
            "store" if asked.empty_text == collections_pb2.EMPTY_TEXT_STORE else "reject",
        )
        fingerprint = self.model.fingerprint if asked.model else ""

        def work() -> None:
            self.writer.create_collection(request.name, settings, fingerprint, dimension, wall_clock_ms())
            for generation in self.progress.generations():
                if generation.collection == request.name:
                    names = {shard: f"index-{shard % len(self.workers)}" for shard in range(settings.shards)}
                    self.progress.place(generation.id, names)
                    self.sync(generation)

        await self._run(work, context)
        self.publish()
        return coordinator_pb2.CreateCollectionResponse()

    async def DropCollection(
        self, request: coordinator_pb2.DropCollectionRequest, context: Any
    ) -> coordinator_pb2.DropCollectionResponse:
        dropped = await self._run(lambda: self.writer.drop_collection(request.name), context)
        return coordinator_pb2.DropCollectionResponse(documents=dropped.documents)

    async def RetryFailed(
        self, request: coordinator_pb2.RetryFailedRequest, context: Any
    ) -> coordinator_pb2.RetryFailedResponse:
        ids = list(request.ids) or None
        return coordinator_pb2.RetryFailedResponse(
            retried=await self._run(lambda: self.progress.retry_failed(request.collection, ids), context)
        )

    async def RetainModel(
        self, request: coordinator_pb2.RetainModelRequest, context: Any
    ) -> coordinator_pb2.RetainModelResponse:
        if request.model != MODEL:
            await refuse(context, InvalidModel(f"model {request.model!r}: there is no such folder", field="model"))
        return coordinator_pb2.RetainModelResponse()

    async def CreateKey(self, request: coordinator_pb2.CreateKeyRequest, context: Any) -> coordinator_pb2.CreateKeyResponse:
        asked = request.request
        lifetime_ms = asked.lifetime_ms if asked.HasField("lifetime_ms") else None
        key, text = await self.keys.create(asked.name, AccessLevel(asked.role), tuple(asked.collections), lifetime_ms)
        response = keys_pb2.CreateKeyResponse(key=key_message(key, wall_clock_ms()), text=text)
        return coordinator_pb2.CreateKeyResponse(response=response)

    async def RevokeKey(self, request: coordinator_pb2.RevokeKeyRequest, context: Any) -> coordinator_pb2.RevokeKeyResponse:
        key = await self._run(lambda: self.writer.revoke_key(request.id, wall_clock_ms()), context)
        return coordinator_pb2.RevokeKeyResponse(key=key_message(key, wall_clock_ms()))

    async def WatchRouting(
        self, request: coordinator_pb2.WatchRoutingRequest, context: Any
    ) -> AsyncIterator[coordinator_pb2.WatchRoutingResponse]:
        news = asyncio.Event()
        news.set()
        self._news.append(news)
        while True:
            await news.wait()
            news.clear()
            yield self.routing()

    async def _run(self, work: Callable[[], Any], context: Any) -> Any:
        def locked() -> Any:
            with self.lock:
                return work()

        try:
            return await asyncio.get_running_loop().run_in_executor(None, locked)
        except LedgerError as error:
            return await refuse(context, from_ledger(error))
        except ClusterError as error:
            return await refuse(context, error)

    # Requests of a test.

    def publish(self) -> None:
        """Publishes the current routing."""
        self.revision += 1
        for news in self._news:
            self.server.loop.call_soon_threadsafe(news.set)

    def worker_of(self, shard: int) -> Worker:
        return self.workers[shard % len(self.workers)]

    def routing(self) -> coordinator_pb2.WatchRoutingResponse:
        message = coordinator_pb2.WatchRoutingResponse(epoch=self.epoch, revision=self.revision)
        message.processes.add(
            kind=status_pb2.PROCESS_KIND_COORDINATOR, name="coordinator", state=status_pb2.PROCESS_STATE_READY
        )
        for generation in self.progress.generations():
            for number in range(generation.shards):
                worker = self.worker_of(number)
                states = dict(worker.host.describe())
                route = message.shards.add(address=worker.address)
                route.key.generation, route.key.shard = generation.id, number
                if (generation.id, number) in states:
                    key = (generation.id, number)
                    route.stats.CopyFrom(stats_message(key, states[key]))
        for address in self.encoders:
            message.encoders.add(model=MODEL, fingerprint=self.model.fingerprint, address=address)
        message.outages.extend(self.outages)
        return message

    def commit(self, *only: str) -> list[tuple[GenerationRecord, int]]:
        """Embeds everything that is pending, or `only` these documents, and commits it, but shows it to no search yet;
        returns the shards touched."""
        touched: list[tuple[GenerationRecord, int]] = []
        with self.lock:
            for generation in self.progress.generations():
                ordinals = self.progress.next_ordinals(generation.id)
                pending = self.progress.pending(generation.id, 100_000, wall_clock_ms())
                pending = [document for document in pending if not only or document.id in only]
                for shard in sorted({document.shard for document in pending}):
                    some = [document for document in pending if document.shard == shard]
                    live = [document for document in some if not document.removal]
                    vectors = [
                        np.frombuffer(document.vector, "<f4")
                        if document.vector
                        else self.model.encode([document.text], AS_DOCUMENT).vectors[0]
                        for document in live
                    ]
                    rows = Rows(
                        [document.id for document in some],
                        np.array([document.version for document in some], dtype=np.int64),
                        np.array([document.removal for document in some], dtype=bool),
                        np.array(vectors, dtype=np.float32).reshape(len(live), generation.dimension),
                    )
                    host = self.worker_of(shard).host
                    segment = host.stage(self.epoch, (generation.id, shard), generation.spec, ordinals[shard], rows)
                    applied = [Applied(document.id, document.version) for document in some]
                    self.progress.commit_segments([SegmentCommit(generation.id, shard, segment, applied)])
                    touched.append((generation, shard))
        return touched

    def sync(self, generation: GenerationRecord, shards: list[int] | None = None) -> None:
        for number in range(generation.shards) if shards is None else shards:
            outcome = self.worker_of(number).host.sync(self.epoch, self.progress.manifest(generation.id, number))
            assert not outcome.damaged_ordinals

    def reconcile(self, *only: str) -> bool:
        """Everything pending, or `only` these documents, becomes searchable; whether there was any."""
        touched = self.commit(*only)
        for generation, shard in touched:
            self.sync(generation, [shard])
        return bool(touched)


class SmallCluster:
    """Two index workers, one encoder, a coordinator, a gateway, and a client's stubs."""

    def __init__(self, folder: Path, limits: RequestLimits | None = None, **gateway: Any) -> None:
        """`gateway` are further settings of the gateway."""
        self.url = sqlite_url(folder / "ledger.sqlite")
        (folder / "vectors").mkdir()
        self.workers = [Worker(folder / "vectors"), Worker(folder / "vectors")]
        self.engine = EncoderEngine(MODEL, load=lambda _: HashingModel(DIMENSION, name=MODEL))
        self.engine.start()
        self.encoder = InternalServer(EncoderService(self.engine).register, CREDENTIALS)
        self.coordinator = Coordinator(self.url, folder, self.workers, self.encoder.start())
        settings = GatewaySettings("127.0.0.1:0", self.url, CREDENTIALS, limits=limits or RequestLimits(), **gateway)
        self.gateway = GatewayServer(settings)
        self.channel = grpc.insecure_channel(self.gateway.start(), options=[("grpc.max_send_message_length", -1)])
        self.collections = CollectionServiceStub(self.channel)
        self.documents = DocumentServiceStub(self.channel)
        self.searches = SearchServiceStub(self.channel)
        self.embedding = EmbeddingServiceStub(self.channel)
        self.status = StatusServiceStub(self.channel)

    def wait_ready(self) -> None:
        """Returns when the encoder is up and the gateway has the routing table."""
        eventually(lambda: self.engine.describe().state is EngineState.READY)
        eventually(lambda: self.status.Status(status_pb2.StatusRequest()).coordinator_epoch > 0)

    @property
    def routed(self) -> RoutingTable:
        """The gateway's current routing table."""
        core = self.gateway._core
        assert core is not None
        return core.view.table

    @property
    def memory(self) -> GatewayMemory:
        """What the gateway's calls hold."""
        core = self.gateway._core
        assert core is not None
        return core.memory

    def close(self) -> None:
        self.channel.close()
        self.gateway.drain(1)
        self.coordinator.stop()
        self.coordinator.engine.dispose()
        stop(self.encoder)
        self.engine.close()
        for worker in self.workers:
            worker.kill()

    def create(self, name: str, **settings: Any) -> collections_pb2.Collection:
        if "dimension" not in settings:
            settings.setdefault("model", MODEL)
        request = collections_pb2.CreateCollectionRequest(name=name)
        request.settings.MergeFrom(collections_pb2.CollectionSettings(**settings))
        return self.collections.CreateCollection(request, timeout=10).collection

    def upsert(self, name: str, *documents: documents_pb2.Document, **options: Any) -> documents_pb2.UpsertResponse:
        request = documents_pb2.UpsertRequest(collection=name, documents=documents, **options)
        return self.documents.Upsert(request, timeout=10)

    def upsert_texts(self, name: str, texts: dict[str, str]) -> str:
        """Upserts and returns the token."""
        return self.upsert(name, *(documents_pb2.Document(id=key, text=text) for key, text in texts.items())).token


def eventually(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    """Waits until something holds, or fails."""
    pause = threading.Event()
    for _ in range(int(within_s / 0.02)):
        if holds():
            return
        pause.wait(0.02)
    raise AssertionError(f"not within {within_s} s")
