"""What every public call goes through: the deadline, the size of the reply, and errors turned into status and detail."""

# grpc's classes are generic in their type stubs alone, so annotations must not be evaluated.
from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from shoal.cluster.errors import (
    ClusterError,
    DeadlineExceeded,
    InternalDefect,
    MessageTooLarge,
    from_ledger,
    refuse,
    shortened,
)
from shoal.cluster.gateway.backends.counts import GatewayCounts
from shoal.cluster.ledger.errors import LedgerError

log = logging.getLogger(__name__)

PUBLIC_PREFIX = "/shoal.v1."


class CallsInFlight:
    """Counts public calls, so that a drain knows when the last one has ended."""

    def __init__(self, counts: GatewayCounts) -> None:
        self.counts = counts
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def __enter__(self) -> None:
        self._count += 1
        self.counts.in_flight = self._count
        self._none.clear()

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        self.counts.in_flight = self._count
        if not self._count:
            self._none.set()

    async def end(self) -> None:
        """Returns when no call is in flight."""
        await self._none.wait()


def meaning(error: Exception, method: str) -> ClusterError:
    """The error that a caller is told; what nobody foresaw is logged with its traceback."""
    if isinstance(error, ClusterError):
        return error
    if isinstance(error, LedgerError):
        return from_ledger(error)
    if isinstance(error, TimeoutError):
        return DeadlineExceeded(f"{method.rpartition('/')[2]} did not end in time")
    log.error("%s failed", method, exc_info=error)
    return InternalDefect(f"a defect in Shoal: {type(error).__name__}: {shortened(error)}")


class _Call:
    """Counts one public call when it ends."""

    __slots__ = ("_began", "_counts", "_method", "status")

    def __init__(self, counts: GatewayCounts, method: str) -> None:
        self._counts = counts
        self._method = method.rpartition("/")[2]
        # Unless something else is noted, the caller went away, or its deadline passed, before there was an answer.
        self.status = grpc.StatusCode.CANCELLED
        self._began = time.perf_counter()

    def __enter__(self) -> _Call:
        return self

    def __exit__(self, *_: object) -> None:
        self._counts.ended(self._method, self.status.name, time.perf_counter() - self._began)


class PublicCalls(grpc.aio.ServerInterceptor):
    """Wraps the methods of shoal.v1; health and reflection pass through as they are."""

    def __init__(self, in_flight: CallsInFlight, default_deadline_s: float, reply_bytes: int) -> None:
        self._in_flight = in_flight
        self._default_deadline_s = default_deadline_s
        self._reply_bytes = reply_bytes

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler: Any = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or not method.startswith(PUBLIC_PREFIX):
            return handler
        codecs = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._stream(handler.stream_stream, method), **codecs)
        return grpc.unary_unary_rpc_method_handler(self._unary(handler.unary_unary, method), **codecs)

    def _unary(self, behaviour: Callable[..., Awaitable[Any]], method: str) -> Callable[..., Awaitable[Any]]:
        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            with self._in_flight, _Call(self._in_flight.counts, method) as call:
                try:
                    remaining = context.time_remaining()
                    limit = self._default_deadline_s if remaining is None else remaining
                    if limit <= 0:
                        raise TimeoutError
                    async with asyncio.timeout(limit):
                        reply = await behaviour(request, context)
                    size = reply.ByteSize()
                    if size > self._reply_bytes:
                        raise MessageTooLarge(
                            f"the reply has {size} bytes, the limit is {self._reply_bytes}; ask for less at a time",
                            value=str(size),
                            limit=self._reply_bytes,
                        )
                    call.status = grpc.StatusCode.OK
                    return reply
                except grpc.aio.AbortError:
                    raise
                except Exception as error:
                    told = meaning(error, method)
                    call.status = told.status
                    await refuse(context, told)

        return answer

    def _stream(self, behaviour: Callable[..., AsyncIterator[Any]], method: str) -> Callable[..., AsyncIterator[Any]]:
        async def answer(requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            with self._in_flight, _Call(self._in_flight.counts, method) as call:
                try:
                    async for reply in behaviour(requests, context):
                        yield reply
                    call.status = grpc.StatusCode.OK
                except grpc.aio.AbortError:
                    raise
                except Exception as error:
                    told = meaning(error, method)
                    call.status = told.status
                    await refuse(context, told)

        return answer
