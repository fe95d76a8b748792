"""One bidirectional stream over grpc.aio, with a task that reads its replies."""

# grpc's classes are generic only in their type stubs, so annotations must not be evaluated.
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio

from shoal.client.errors import ShoalError, Unavailable, error_from_status

Item = TypeVar("Item")
Reply = TypeVar("Reply")

_CLOSE_S = 1.0
# grpc.aio reports this instead of the true status of a stream that ends before its first message is sent.
_CORE_ERROR = "Internal error from Core"


class AsyncConnection(Generic[Reply]):
    """One stream. Its replies, and finally the error that ended it, arrive in `inbox`."""

    def __init__(self, method: Any, name: str, address: str) -> None:
        """`method` is a method of a stub; `name` is what messages call the stream."""
        self._name = name
        self._address = address
        self._outbox: asyncio.Queue[Any] = asyncio.Queue()
        self.inbox: asyncio.Queue[Reply | ShoalError] = asyncio.Queue()
        self._call: Any = method(self._messages())
        self._reader = asyncio.create_task(self._read(), name=f"shoal-{name}")

    def send(self, message: Any) -> None:
        """Queues a message."""
        self._outbox.put_nowait(message)

    async def close(self, *, graceful: bool) -> None:
        """Ends the stream and its tasks; `graceful` gives the server a moment to end its side first."""
        self._outbox.put_nowait(None)
        if graceful:
            await asyncio.wait([self._reader], timeout=_CLOSE_S)
        self._call.cancel()
        self._reader.cancel()
        await asyncio.wait([self._reader])

    async def _messages(self) -> AsyncIterator[Any]:
        while (message := await self._outbox.get()) is not None:
            yield message

    async def _read(self) -> None:
        try:
            async for reply in self._call:
                self.inbox.put_nowait(reply)
            self.inbox.put_nowait(Unavailable(f"the server at {self._address} ended the {self._name} early"))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INTERNAL and error.details() == _CORE_ERROR:
                self.inbox.put_nowait(Unavailable(f"the connection to {self._address} broke as the {self._name} began"))
                return
            self.inbox.put_nowait(
                error_from_status(error.code(), error.details() or "", error.trailing_metadata(), self._address)
            )


async def each(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[Item]:
    """The items of a plain or asynchronous iterable."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
