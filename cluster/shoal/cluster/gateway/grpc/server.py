"""The gateway's process-wide shell: the public grpc.aio server on a thread of its own, its health, and its graceful end."""

# grpc's classes are generic in their type stubs alone, so annotations must not be evaluated.
from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from shoal.cluster.clock import wall_clock_ms
from shoal.cluster.errors import ListenError
from shoal.cluster.gateway.backends.coordinator_link import CoordinatorLink
from shoal.cluster.gateway.backends.counts import GatewayCounts
from shoal.cluster.gateway.backends.encoders import Encoders
from shoal.cluster.gateway.backends.index_shards import IndexShards
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.backends.models import Models
from shoal.cluster.gateway.backends.query_cache import QueryCache
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.gateway.grpc.collections_service import CollectionService
from shoal.cluster.gateway.grpc.documents_service import DocumentService
from shoal.cluster.gateway.grpc.embedding_service import EmbeddingService
from shoal.cluster.gateway.grpc.interceptors import PublicCallsInterceptor
from shoal.cluster.gateway.grpc.search_service import SearchService
from shoal.cluster.gateway.grpc.status_service import StatusService
from shoal.cluster.gateway.paths.collections import CollectionPath, CollectionViews
from shoal.cluster.gateway.paths.embedding import EmbedPath
from shoal.cluster.gateway.paths.public_calls import PublicCalls
from shoal.cluster.gateway.paths.reading import ReadPath
from shoal.cluster.gateway.paths.search import SearchPath
from shoal.cluster.gateway.paths.status import StatusPath
from shoal.cluster.gateway.paths.writing import WritePath
from shoal.cluster.ledger.connection import open_engine
from shoal.cluster.limits import RequestLimits
from shoal.cluster.rpc.channels import Channels
from shoal.cluster.settings import split_listen
from shoal.v1 import (
    collections_pb2,
    collections_pb2_grpc,
    documents_pb2,
    documents_pb2_grpc,
    embedding_pb2,
    embedding_pb2_grpc,
    search_pb2,
    search_pb2_grpc,
    status_pb2,
    status_pb2_grpc,
)
from shoal.workers.runtime import serving_loop

if TYPE_CHECKING:
    from shoal.cluster.gateway.grpc.metrics import MetricsServer

log = logging.getLogger(__name__)

T = TypeVar("T")

START_S = 30.0
SETTLE_S = 0.05
SERVICES = tuple(
    service.full_name
    for module in (collections_pb2, documents_pb2, search_pb2, embedding_pb2, status_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Everything that a gateway is told."""

    listen: str
    """HOST:PORT; port 0 takes a free one."""
    ledger_url: str
    secret: str
    """The cluster secret, for calls inside the cluster."""
    name: str = "gateway"
    limits: RequestLimits = field(default_factory=RequestLimits)
    default_deadline_s: float = 60.0
    """For calls that come without a deadline, and for each batch of a stream."""
    query_cache_bytes: int = 64 * 1024 * 1024
    query_cache_entries: int = 100_000
    retain_every_s: float = 10.0
    """How often the coordinator is told that a model is in use; well below its `encoder.idle_s`."""
    metrics_listen: str = ""
    """HOST:PORT for Prometheus; empty serves none."""


class GatewayServer:
    """Serves the public API from a daemon thread. Plain callers (an actor's constructor, a test) need no event loop."""

    def __init__(self, settings: GatewaySettings, now_ms: Callable[[], int] = wall_clock_ms) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._thread: _LoopThread | None = None
        self._running: _Running | None = None
        self._metrics: MetricsServer | None = None
        self.address = ""

    def start(self) -> str:
        """Starts serving and returns `host:port`.

        Raises ListenError when a port cannot be bound, LedgerUnreadable when there is no ledger to read, SettingsError
        when `listen` is not HOST:PORT.
        """
        host, port = split_listen(self._settings.listen)
        _check_free(host, port)
        reads = LedgerReads(open_engine(self._settings.ledger_url, read_only=True))
        thread = self._thread = _LoopThread()
        try:
            self._running = thread.run(_Running.start(self._settings, reads, self._now_ms), START_S)
        except BaseException:
            reads.close()
            thread.end()
            raise
        self.address = self._running.address
        if self._settings.metrics_listen:
            try:
                self._metrics = self._running.serve_metrics()
            except BaseException:
                self.drain(0)
                raise
        return self.address

    @property
    def metrics_address(self) -> str:
        """Where figures are served; empty when they are not."""
        return self._metrics.address if self._metrics is not None else ""

    def drain(self, grace_s: float) -> None:
        """Stops accepting, lets calls in flight end within `grace_s`, then closes everything. A second call does nothing."""
        running, self._running = self._running, None
        if running is None or self._thread is None:
            return
        self._thread.run(running.drain(grace_s), grace_s + START_S)
        if self._metrics is not None:
            self._metrics.stop()
        self._thread.end()


class _LoopThread:
    """An event loop on a daemon thread of its own."""

    def __init__(self) -> None:
        self._loop = serving_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="shoal-gateway", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Runs a coroutine on the loop and waits for what comes of it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def end(self) -> None:
        """Stops and closes the loop."""
        # gRPC still has events for calls that have just ended; one that finds its loop closed is an error in the log.
        self.run(asyncio.sleep(SETTLE_S), START_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        if not self._thread.is_alive():
            self._loop.close()


class _Running:
    """What lives on the event loop between start and drain."""

    def __init__(self, settings: GatewaySettings, reads: LedgerReads, now_ms: Callable[[], int]) -> None:
        self._settings = settings
        self._reads = reads
        self._now_ms = now_ms
        self._view = RoutingView()
        self._channels = Channels()
        self._counts = GatewayCounts()
        self._cache = QueryCache(settings.query_cache_bytes, settings.query_cache_entries)
        queries = settings.limits.queries_per_call
        self._index_shards = IndexShards(self._view, self._channels, settings.secret, queries, self._counts)
        self._encoders = Encoders(
            self._view,
            self._channels,
            settings.secret,
            self._cache,
            self._counts,
            queries,
            settings.default_deadline_s,
        )
        self._link = CoordinatorLink(reads, self._view, settings.secret, settings.name, self._routed)
        self._models = Models(self._link, self._view, settings.retain_every_s)
        self._calls = PublicCalls(self._counts, settings.default_deadline_s, settings.limits.message_bytes)
        self._draining = asyncio.Event()
        self._health = health.aio.HealthServicer()  # pyright: ignore[reportAttributeAccessIssue]
        options = [
            ("grpc.max_receive_message_length", settings.limits.message_bytes),
            ("grpc.max_send_message_length", settings.limits.message_bytes),
            # A port in use must be an error, not a port shared with a stranger.
            ("grpc.so_reuseport", 0),
        ]
        self._server = grpc.aio.server(interceptors=[PublicCallsInterceptor(self._calls)], options=options)
        self._following: asyncio.Task[None] | None = None
        self.address = ""

    @classmethod
    async def start(cls, settings: GatewaySettings, reads: LedgerReads, now_ms: Callable[[], int]) -> _Running:
        running = cls(settings, reads, now_ms)
        host, wanted = split_listen(settings.listen)
        shown = f"[{host}]" if ":" in host else host
        try:
            port = running._server.add_insecure_port(f"{shown}:{wanted}")
        except RuntimeError as error:
            raise ListenError(f"cannot listen on {settings.listen}: the port is in use or not of this machine") from error
        running.address = f"{shown}:{port}"
        running._register()
        for service in ("", *SERVICES):
            await running._health.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
        await running._server.start()
        running._following = asyncio.create_task(running._link.run(), name="follow the coordinator")
        running._following.add_done_callback(_log_defect)
        return running

    def _register(self) -> None:
        settings, limits, default_s = self._settings, self._settings.limits, self._settings.default_deadline_s
        reads, link, view, index_shards = self._reads, self._link, self._view, self._index_shards
        views = CollectionViews(reads, view, self._now_ms)
        reading = ReadPath(reads, index_shards, limits)
        writing = WritePath(reads, link, index_shards, view, limits)
        searcher = SearchPath(reads, index_shards, self._encoders, limits, self._now_ms)
        embedder = EmbedPath(self._models, self._encoders, view, limits, self._counts)
        collections_pb2_grpc.add_CollectionServiceServicer_to_server(
            CollectionService(CollectionPath(views, link, limits), default_s), self._server
        )
        documents_pb2_grpc.add_DocumentServiceServicer_to_server(
            DocumentService(reading, writing, limits.stream_window, default_s, self._draining), self._server
        )
        search_pb2_grpc.add_SearchServiceServicer_to_server(SearchService(searcher, default_s), self._server)
        embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(
            EmbeddingService(embedder, limits.stream_window, default_s, self._draining), self._server
        )
        status_pb2_grpc.add_StatusServiceServicer_to_server(
            StatusService(StatusPath(views, view, self._cache, limits, settings.name), self.address), self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    def serve_metrics(self) -> MetricsServer:
        """Opens the port for figures; raises ListenError."""
        # Imported only where they are asked for.
        from shoal.cluster.gateway.grpc.metrics import GatewayCollector, MetricsServer

        return MetricsServer(self._settings.metrics_listen, GatewayCollector(self._counts, self._cache, self._view))

    async def _routed(self) -> None:
        await self._channels.keep(set(self._view.table.addresses()))
        for service in ("", *SERVICES):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, grace_s: float) -> None:
        await self._health.enter_graceful_shutdown()
        self._draining.set()
        # Only to accept nothing more: what is still open is ended below.
        refusing = asyncio.create_task(self._server.stop(grace_s + START_S))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._calls.in_flight.end()
        # Nobody waits for an answer now; a health watch alone would use up the whole grace. One stop at a time:
        # where two run, one may cancel the calls of a server that the other has freed, which ends the process.
        refusing.cancel()
        await asyncio.gather(refusing, return_exceptions=True)
        await self._server.stop(None)
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self._models.close()
        await self._link.close()
        await self._channels.close_all()
        await asyncio.get_running_loop().run_in_executor(None, self._reads.close)


def _check_free(host: str, port: int) -> None:
    """Says in one line why a port cannot be bound; gRPC itself only says that it cannot."""
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As gRPC does, so that a port just left by another server can be taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ListenError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


def _log_defect(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("the gateway does not follow the coordinator any more", exc_info=task.exception())
