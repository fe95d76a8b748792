"""What the streams of the gateway share: the server sets the pace of reading, and waits when what is behind it is full."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from shoal.cluster.errors import Overloaded, Unavailable
from shoal.cluster.rpc.deadlines import Deadline

Request = TypeVar("Request")
Answer = TypeVar("Answer")

_FULL_PAUSE_S = 0.1


async def paced(
    requests: AsyncIterator[Request], room: asyncio.Semaphore, draining: asyncio.Event
) -> AsyncIterator[Request]:
    """The requests of a stream, each read once there is `room`, which its answer gives back.

    Raises Unavailable when the gateway drains.
    """
    stop = asyncio.create_task(draining.wait())
    try:
        while True:
            await room.acquire()
            incoming = asyncio.ensure_future(anext(requests, None))
            await asyncio.wait((incoming, stop), return_when=asyncio.FIRST_COMPLETED)
            if not incoming.done():
                incoming.cancel()
                raise Unavailable("this gateway is shutting down", retry_after_ms=100)
            request = incoming.result()
            if request is None:
                return
            yield request
    finally:
        stop.cancel()


async def once_there_is_room(attempt: Callable[[], Awaitable[Answer]], deadline: Deadline) -> Answer:
    """The answer of `attempt`, repeated while it raises Overloaded; raises the last when the deadline leaves no time."""
    while True:
        try:
            return await attempt()
        except Overloaded as error:
            pause = error.retry_after_ms / 1000 or _FULL_PAUSE_S
            if deadline.remaining_s <= pause:
                raise
        await asyncio.sleep(pause)
