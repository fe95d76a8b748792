"""Receives the messages of public calls, runs their handlers within `public_calls`, and turns errors into a status with
details."""

# grpc's classes are generic only in their type stubs, so annotations must not be evaluated.
from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any, cast

import grpc
import grpc.aio

from shoal.cluster.errors import InvalidRequest, refuse
from shoal.cluster.gateway.access.guard import Caller, Guard
from shoal.cluster.gateway.paths.public_calls import PublicCalls
from shoal.cluster.gateway.paths.room import GatewayMemory, ReceivedMessage, Room
from shoal.workers.runtime import MalformedMessage, MessageParser, receive, refusing_malformed

PUBLIC_PREFIX = "/shoal.v1."

Context = grpc.aio.ServicerContext[Any, Any]
Parse = Callable[[bytes], Any]

_room: ContextVar[Room] = ContextVar("room")
_caller: ContextVar[Caller] = ContextVar("caller")


def room_of_call() -> Room:
    """The room of the unary call that runs in this context."""
    return _room.get()


def caller_of_call() -> Caller:
    """Who makes the call that runs in this context."""
    return _caller.get()


class PublicCallsInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the methods of shoal.v1. Of health and reflection it refuses bytes that are no message.

    A message is read only after the one before it was admitted to the gateway's memory, so a caller that sends too much
    is slowed down by HTTP/2's flow control.
    """

    def __init__(self, calls: PublicCalls, guard: Guard, memory: GatewayMemory, parser: MessageParser) -> None:
        self._calls = calls
        self._guard = guard
        self._memory = memory
        self._parser = parser

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler: Any = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None:
            return None
        if not method.startswith(PUBLIC_PREFIX):
            return refusing_malformed(handler, method, self._parser)

        def parse(received: bytes) -> Any:
            return self._parser.parse(method, handler.request_deserializer, received)

        # The handlers below parse what they receive.
        codecs = {"request_deserializer": None, "response_serializer": handler.response_serializer}
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._stream(handler.stream_stream, method, parse), **codecs)
        return grpc.stream_unary_rpc_method_handler(self._unary(handler.unary_unary, method, parse), **codecs)

    def _unary(self, behaviour: Callable[..., Awaitable[Any]], method: str, parse: Parse) -> Callable[..., Awaitable[Any]]:
        async def received(context: Context) -> Any:
            caller = await self._guard.admit(method, context.invocation_metadata() or ())
            admitted = await self._next(context, parse)
            if admitted is None:
                raise InvalidRequest("request: the call ended without one", field="request")
            # Until the reply is sent.
            context.add_done_callback(cast(Any, lambda _: admitted.room.free()))
            _room.set(admitted.room)
            _caller.set(caller)
            request = admitted.take()
            self._guard.check(method, caller, request)
            return await behaviour(request, context)

        async def answer(_requests: Any, context: Context) -> Any:
            with self._calls.begin(method) as call:
                try:
                    return await call.answer(lambda: received(context), context.time_remaining())
                except Exception as error:
                    await refuse(context, call.fail(error))

        return answer

    def _stream(
        self, behaviour: Callable[..., AsyncIterator[Any]], method: str, parse: Parse
    ) -> Callable[..., AsyncIterator[Any]]:
        async def messages(context: Context) -> AsyncIterator[ReceivedMessage[Any]]:
            while (admitted := await self._next(context, parse)) is not None:
                try:
                    # Again for each message, because a key may be revoked while a stream is open.
                    await self._guard.admit(method, context.invocation_metadata() or ())
                except BaseException:
                    admitted.room.free()
                    raise
                yield admitted

        async def answer(_requests: Any, context: Context) -> AsyncIterator[Any]:
            with self._calls.begin(method) as call:
                try:
                    _caller.set(await self._guard.admit(method, context.invocation_metadata() or ()))
                    async for reply in behaviour(messages(context), context):
                        yield reply
                    call.succeed()
                except Exception as error:
                    await refuse(context, call.fail(error))

        return answer

    async def _next(self, context: Context, parse: Parse) -> ReceivedMessage[Any] | None:
        received = await receive(context)
        if received is None:
            return None
        room = await self._memory.admit(context.peer(), len(received))
        try:
            return ReceivedMessage(parse(received), room)
        except MalformedMessage as error:
            room.free()
            raise InvalidRequest(str(error), field="request") from None
        except BaseException:
            room.free()
            raise
