"""Runs public gRPC handlers within `public_calls`, and turns errors into a status with details."""

# grpc's classes are generic only in their type stubs, so annotations must not be evaluated.
from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from shoal.cluster.errors import refuse
from shoal.cluster.gateway.paths.public_calls import PublicCalls

PUBLIC_PREFIX = "/shoal.v1."


class PublicCallsInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the methods of shoal.v1; health and reflection pass through unchanged."""

    def __init__(self, calls: PublicCalls) -> None:
        self._calls = calls

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
            with self._calls.begin(method) as call:
                try:
                    return await call.answer(lambda: behaviour(request, context), context.time_remaining())
                except Exception as error:
                    await refuse(context, call.fail(error))

        return answer

    def _stream(self, behaviour: Callable[..., AsyncIterator[Any]], method: str) -> Callable[..., AsyncIterator[Any]]:
        async def answer(requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            with self._calls.begin(method) as call:
                try:
                    async for reply in behaviour(requests, context):
                        yield reply
                    call.succeed()
                except Exception as error:
                    await refuse(context, call.fail(error))

        return answer
