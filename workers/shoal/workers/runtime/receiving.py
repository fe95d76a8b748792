"""Receives the messages of a gRPC call: each is read when there is room for it, and bytes that are no message are refused.

A unary call is served like a stream of one message. Then the handler decides when the message is read, what was received
is freed as soon as it is parsed, and a message that cannot be parsed is an error like any other.
"""

# grpc's classes are generic only in their type stubs, so annotations must not be evaluated.
from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


class MalformedMessage(Exception):
    """The bytes of a message are not a message of the method's type; the text is one line for the caller."""


class MessageParser:
    """Parses the requests of a server, and counts those that cannot be parsed. Belongs to one event loop."""

    def __init__(self) -> None:
        self.malformed: Counter[str] = Counter()
        """Messages that could not be parsed, by method."""

    def parse(self, method: str, deserializer: Callable[[bytes], Any] | None, received: bytes) -> Any:
        """The message; `method` is "/package.Service/Method". Raises MalformedMessage."""
        if deserializer is None:
            return received
        try:
            return deserializer(received)
        except (DecodeError, UnicodeDecodeError) as error:
            self.malformed[method] += 1
            count = self.malformed[method]
            # The first one, the tenth, the hundredth: a caller can send many.
            if str(count).strip("0") == "1":
                log.warning("%s: bytes that are no request of this method (%d so far)", method, count)
            message = f"request: the {len(received)} bytes received are no request of {method.rpartition('/')[2]}"
            raise MalformedMessage(message) from error


async def receive(context: grpc.aio.ServicerContext[Any, Any]) -> bytes | None:
    """The bytes of the caller's next message; None after its last one."""
    received: Any = await context.read()
    return None if received is grpc.aio.EOF else received


def refusing_malformed(handler: Any, method: str, parser: MessageParser) -> grpc.RpcMethodHandler[Any, Any]:
    """A handler of a grpc.aio server that answers messages that cannot be parsed with INVALID_ARGUMENT."""

    async def parsed(context: Context, received: bytes | None) -> Any:
        try:
            if received is None:
                raise MalformedMessage("request: the call ended without one")
            return parser.parse(method, handler.request_deserializer, received)
        except MalformedMessage as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    async def unary(_requests: object, context: Context) -> Any:
        return await handler.unary_unary(await parsed(context, await receive(context)), context)

    async def unary_stream(_requests: object, context: Context) -> AsyncIterator[Any]:
        async for reply in handler.unary_stream(await parsed(context, await receive(context)), context):
            yield reply

    async def unary_writing(_requests: object, context: Context) -> None:
        # It writes its replies itself.
        await handler.unary_stream(await parsed(context, await receive(context)), context)

    async def messages(context: Context) -> AsyncIterator[Any]:
        while (received := await receive(context)) is not None:
            yield await parsed(context, received)

    async def stream(_requests: object, context: Context) -> AsyncIterator[Any]:
        async for reply in handler.stream_stream(messages(context), context):
            yield reply

    if handler.unary_unary is not None:
        return grpc.stream_unary_rpc_method_handler(unary, response_serializer=handler.response_serializer)
    if handler.stream_unary is not None:
        raise ValueError(f"{method}: a stream with a single reply is not served")
    if handler.stream_stream is not None:
        behaviour: Any = stream
    elif inspect.isasyncgenfunction(handler.unary_stream):
        behaviour = unary_stream
    else:
        behaviour = unary_writing
    return grpc.stream_stream_rpc_method_handler(behaviour, response_serializer=handler.response_serializer)
