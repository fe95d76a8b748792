"""Receives the messages of a gRPC call: each is read when there is room for it, and bytes that are no message are refused.

A unary call is served like a stream of one message. Then the handler decides when the message is read, what was received
is freed as soon as it is parsed, and a message that cannot be parsed is an error like any other.
"""

# grpc's classes are generic only in their type stubs, so annotations must not be evaluated.
from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

log = logging.getLogger(__name__)


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
