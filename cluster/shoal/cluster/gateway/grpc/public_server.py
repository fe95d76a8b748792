"""The public grpc.aio server: services, health, reflection, and a graceful shutdown."""

# grpc's classes are generic only in their type stubs, so annotations must not be evaluated.
from __future__ import annotations

import asyncio
import contextlib

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from shoal.cluster.errors import ListenError
from shoal.cluster.gateway.access.method_rules import PUBLIC_FILES
from shoal.cluster.gateway.core import GatewayCore
from shoal.cluster.gateway.grpc.collections_service import CollectionService
from shoal.cluster.gateway.grpc.documents_service import DocumentService
from shoal.cluster.gateway.grpc.embedding_service import EmbeddingService
from shoal.cluster.gateway.grpc.interceptors import PublicCallsInterceptor
from shoal.cluster.gateway.grpc.keys_service import KeyService
from shoal.cluster.gateway.grpc.search_service import SearchService
from shoal.cluster.gateway.grpc.status_service import StatusService
from shoal.cluster.gateway.settings import GatewaySettings
from shoal.cluster.settings import split_listen
from shoal.v1 import (
    collections_pb2_grpc,
    documents_pb2_grpc,
    embedding_pb2_grpc,
    keys_pb2_grpc,
    search_pb2_grpc,
    status_pb2_grpc,
)
from shoal.workers.runtime import flow_control_options, open_public_port

SERVICES = tuple(service.full_name for file in PUBLIC_FILES for service in file.services_by_name.values())
_STOP_S = 30.0


class PublicServer:
    """Serves the paths of a core; belongs to one event loop."""

    def __init__(self, core: GatewayCore, settings: GatewaySettings) -> None:
        self._core = core
        self._settings = settings
        self._health = health.aio.HealthServicer()  # pyright: ignore[reportAttributeAccessIssue]
        options = [
            ("grpc.max_receive_message_length", settings.limits.message_bytes),
            ("grpc.max_send_message_length", settings.limits.message_bytes),
            # A port in use must be an error, not a port shared with another process.
            ("grpc.so_reuseport", 0),
            *flow_control_options(),
        ]
        interceptor = PublicCallsInterceptor(core.calls, core.guard, core.memory, core.parser)
        self._server = grpc.aio.server(interceptors=[interceptor], options=options)

    async def start(self) -> str:
        """Starts serving and returns `host:port`; raises ListenError. Health is NOT_SERVING until `set_healthy`."""
        host, wanted = split_listen(self._settings.listen)
        shown = f"[{host}]" if ":" in host else host
        try:
            port = open_public_port(self._server, f"{shown}:{wanted}")
        except RuntimeError as error:
            raise ListenError(
                f"cannot listen on {self._settings.listen}: the port is in use, or the host is not a local address"
            ) from error
        address = f"{shown}:{port}"
        self._register(address)
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.start()
        return address

    async def set_healthy(self) -> None:
        """Health of all services is SERVING from now on."""
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, grace_s: float) -> None:
        """Stops accepting, lets calls in flight end within `grace_s`, and stops."""
        await self._health.enter_graceful_shutdown()
        self._core.draining.set()
        # Only stops accepting calls; open ones are ended below.
        refusing = asyncio.create_task(self._server.stop(grace_s + _STOP_S))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._core.calls.in_flight.end()
        # No call waits for an answer now; an open health watch would use up the whole grace period. One stop at a time:
        # of two, one may cancel calls of a server that the other has already freed, which crashes the process.
        refusing.cancel()
        await asyncio.gather(refusing, return_exceptions=True)
        await self._server.stop(None)

    def _register(self, address: str) -> None:
        core, server, default_s = self._core, self._server, self._settings.default_deadline_s
        window = self._settings.limits.stream_window
        collections_pb2_grpc.add_CollectionServiceServicer_to_server(CollectionService(core.collections, default_s), server)
        documents_pb2_grpc.add_DocumentServiceServicer_to_server(
            DocumentService(core.reading, core.writing, window, default_s, core.draining), server
        )
        search_pb2_grpc.add_SearchServiceServicer_to_server(SearchService(core.search, default_s), server)
        embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(
            EmbeddingService(core.embedding, window, default_s, core.draining), server
        )
        keys_pb2_grpc.add_KeyServiceServicer_to_server(KeyService(core.keys, default_s), server)
        status_pb2_grpc.add_StatusServiceServicer_to_server(StatusService(core.status, address), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        for service in ("", *SERVICES):
            await self._health.set(service, status)
