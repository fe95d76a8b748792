"""Flow control of the gateway's streams: limited reading ahead, and retries while the backends are full."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from shoal.cluster.errors import Overloaded, Unavailable
from shoal.cluster.gateway.paths.room import ReceivedMessage
from shoal.cluster.rpc.deadlines import Deadline

Request = TypeVar("Request")
Answer = TypeVar("Answer")

_FULL_PAUSE_S = 0.1


async def paced(
    requests: AsyncIterator[ReceivedMessage[Request]], slots: asyncio.Semaphore, draining: asyncio.Event
) -> AsyncIterator[ReceivedMessage[Request]]:
    """The requests of a stream, each read after acquiring one of the `slots`, which the caller releases with the answer.

    The caller frees the room of each request. Raises Unavailable when the gateway drains.
    """
    stop = asyncio.create_task(draining.wait())
    incoming: asyncio.Future[ReceivedMessage[Request] | None] | None = None
    try:
        while True:
            await slots.acquire()
            incoming = asyncio.ensure_future(anext(requests, None))
            await asyncio.wait((incoming, stop), return_when=asyncio.FIRST_COMPLETED)
            if not incoming.done():
                raise Unavailable("this gateway is shutting down", retry_after_ms=100)
            request, incoming = incoming.result(), None
            if request is None:
                return
            yield request
    finally:
        stop.cancel()
        if incoming is not None:
            # A request that arrived as the stream ended.
            incoming.add_done_callback(_free)
            incoming.cancel()


def _free(incoming: asyncio.Future[ReceivedMessage[Request] | None]) -> None:
    if not incoming.cancelled() and incoming.exception() is None:
        request = incoming.result()
        if request is not None:
            request.room.free()


async def retry_while_overloaded(attempt: Callable[[], Awaitable[Answer]], deadline: Deadline) -> Answer:
    """Retries `attempt` while it raises Overloaded; raises the last error when the deadline leaves no time."""
    while True:
        try:
            return await attempt()
        except Overloaded as error:
            pause = error.retry_after_ms / 1000 or _FULL_PAUSE_S
            if deadline.remaining_s <= pause:
                raise
        await asyncio.sleep(pause)
