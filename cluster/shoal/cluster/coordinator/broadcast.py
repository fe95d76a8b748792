"""The routing table as gateways receive it: whole, at every change, with a revision that grows. Pure but for the waiting."""

from collections.abc import AsyncIterator

from shoal.cluster.coordinator.changes import Changes
from shoal.internal.v1 import coordinator_pb2


class RoutingBoard:
    """Holds the newest routing message. Belongs to one event loop."""

    def __init__(self) -> None:
        self._newest = coordinator_pb2.WatchRoutingResponse()
        self._changes = Changes()

    def publish(self, message: coordinator_pb2.WatchRoutingResponse) -> None:
        """Makes `message` the newest unless it says what the newest says already; sets its revision."""
        message.revision = self._newest.revision
        if message == self._newest:
            return
        message.revision += 1
        self._newest = message
        self._changes.announce()

    async def watch(self) -> AsyncIterator[coordinator_pb2.WatchRoutingResponse]:
        """The newest message now, and again after every change; a slow reader skips what it missed."""
        while True:
            change = self._changes.next
            yield self._newest
            await change.wait()
