"""The internal gRPC server of every actor: a grpc.aio server on its own thread, guarded by the cluster secret."""

# grpc's classes are generic only in their type stubs, so annotations must not be evaluated.
from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from shoal.workers.runtime.credentials import InternalCredentials
from shoal.workers.runtime.loop_thread import LoopThread
from shoal.workers.runtime.receiving import MessageParser, refusing_malformed

Context = grpc.aio.ServicerContext[Any, Any]

INTERNAL_MESSAGE_BYTES = 256 * 1024 * 1024
UNREAD_BYTES = 1024 * 1024
START_S = 30.0


def internal_options() -> list[tuple[str, int]]:
    """Channel options for both ends of internal calls. Ports are never shared: a port in use must be an error."""
    return [
        ("grpc.max_receive_message_length", INTERNAL_MESSAGE_BYTES),
        ("grpc.max_send_message_length", INTERNAL_MESSAGE_BYTES),
        ("grpc.so_reuseport", 0),
        *flow_control_options(),
    ]


def flow_control_options() -> list[tuple[str, int]]:
    """Channel options: how much of a call's messages is received before it is read.

    gRPC would raise this limit without end on a fast connection: eight streams of 28 MB messages took 900 MB before they
    were read. A message that is being read may be larger.
    """
    return [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", UNREAD_BYTES)]


def freeze_live_objects() -> None:
    """Excludes all live objects from garbage collection (gc.freeze): they live as long as the process.

    A full collection takes 0.24 s with the 460,000 objects of a loaded transformer, and 0.06 s in a gateway, and no call is
    answered meanwhile. Later objects are collected as usual.
    """
    gc.collect()
    gc.freeze()


class _InternalCalls(grpc.aio.ServerInterceptor):
    """Refuses calls without the cluster secret before their message is read, and messages that cannot be parsed."""

    def __init__(self, credentials: InternalCredentials) -> None:
        self._credentials = credentials
        self._parser = MessageParser()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler: Any = await continuation(handler_call_details)
        if not self._credentials.admits(handler_call_details.invocation_metadata or ()):
            return grpc.stream_unary_rpc_method_handler(_refuse)
        return handler and refusing_malformed(handler, str(handler_call_details.method), self._parser)


async def _refuse(_requests: object, context: Context) -> None:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "internal call without the cluster secret")


class InternalServer:
    """Serves what `register` adds to a grpc.aio server, on a free port of `host`, from a daemon thread.

    Plain callers (an actor's constructor, a test) get `address` from `start` and need no event loop.
    """

    def __init__(
        self, register: Callable[[grpc.aio.Server], None], credentials: InternalCredentials, host: str = "127.0.0.1"
    ) -> None:
        self._register = register
        self._credentials = credentials
        self._host = host
        self._thread = LoopThread("shoal-grpc")
        self._server: grpc.aio.Server | None = None
        self.address = ""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the servicers run on."""
        return self._thread.loop

    def start(self) -> str:
        """Starts serving and returns `host:port`; raises RuntimeError when the host cannot be bound."""
        self._thread.start()
        self.address = self._thread.run(self._serve(), START_S)
        return self.address

    async def _stop(self, grace_s: float) -> None:
        if self._server is not None:
            await self._server.stop(grace_s)
            self._server = None

    async def _serve(self) -> str:
        self._server = grpc.aio.server(interceptors=[_InternalCalls(self._credentials)], options=internal_options())
        self._register(self._server)
        port = self._credentials.open_port(self._server, f"{self._host}:0")
        await self._server.start()
        return f"{self._host}:{port}"

    def stop(self, grace_s: float = 1.0) -> None:
        """Lets calls in flight end within `grace_s`, then stops serving and ends the thread."""
        if self._thread.running:
            self._thread.run(self._stop(grace_s), grace_s + 10)
        self._thread.end()
