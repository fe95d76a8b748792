"""The routing table as gateways receive it: whole, at every change, with a revision that grows. Pure but for the waiting."""

import asyncio
from collections.abc import AsyncIterator

from shoal.internal.v1 import coordinator_pb2


class RoutingBoard:
    """Holds the newest routing message. Belongs to one event loop."""

    def __init__(self) -> None:
        self._newest = coordinator_pb2.WatchRoutingResponse()
        self._change = asyncio.Event()

    def publish(self, message: coordinator_pb2.WatchRoutingResponse) -> None:
        """Makes `message` the newest unless it says what the newest says already; sets its revision."""
        message.revision = self._newest.revision
        if message == self._newest:
            return
        message.revision += 1
        self._newest = message
        self._change.set()
        self._change = asyncio.Event()

    async def watch(self) -> AsyncIterator[coordinator_pb2.WatchRoutingResponse]:
        """The newest message now, and again after every change; a slow reader skips what it missed."""
        while True:
            change = self._change
            yield self._newest
            await change.wait()
