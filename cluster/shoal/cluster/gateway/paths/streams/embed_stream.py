"""One embedding stream: requests are worked on a few at a time and answered as they are ready, by their ids."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from shoal.cluster.errors import ClusterError, from_ledger
from shoal.cluster.gateway.paths.embedding import EmbedPath
from shoal.cluster.gateway.paths.streams.pacing import once_there_is_room, paced
from shoal.cluster.ledger.errors import LedgerError
from shoal.cluster.rpc.deadlines import Deadline
from shoal.v1 import embedding_pb2

Answering = asyncio.Task[embedding_pb2.EmbedStreamResponse]


# The texts of a stream wait behind all others. Below the clients' own timeout, so that the reply can say what was missing.
STREAM_REQUEST_S = 240.0


class EmbedStream:
    """Serves one call. At most `window` requests are read ahead of their answers: the server sets the pace."""

    def __init__(
        self, embedder: EmbedPath, window: int, end: Deadline | None, request_s: float, draining: asyncio.Event
    ) -> None:
        """`end` is the caller's deadline for the whole stream, `request_s` the time that one request may take."""
        self._embedder = embedder
        self._window = window
        self._end = end
        self._request_s = request_s
        self._draining = draining
        self._under_way: set[Answering] = set()

    async def answers(
        self, requests: AsyncIterator[embedding_pb2.EmbedStreamRequest]
    ) -> AsyncIterator[embedding_pb2.EmbedStreamResponse]:
        """One answer for each request, in no order; raises what ends the stream early."""
        line: asyncio.Queue[Answering | None] = asyncio.Queue()
        room = asyncio.Semaphore(self._window)
        reader = asyncio.create_task(self._read(requests, line, room))
        try:
            reading = True
            while reading or self._under_way:
                async with asyncio.timeout_at(self._end.at if self._end is not None else None):
                    answering = await line.get()
                if answering is None:
                    reading = False
                    continue
                self._under_way.discard(answering)
                yield answering.result()
                room.release()
            await reader
        finally:
            left = list(self._under_way)
            for task in (reader, *left):
                task.cancel()
            await asyncio.gather(reader, *left, return_exceptions=True)

    async def _read(
        self,
        requests: AsyncIterator[embedding_pb2.EmbedStreamRequest],
        line: asyncio.Queue[Answering | None],
        room: asyncio.Semaphore,
    ) -> None:
        try:
            async for request in paced(requests, room, self._draining):
                task = asyncio.create_task(self._answer(request))
                self._under_way.add(task)
                task.add_done_callback(line.put_nowait)
        finally:
            line.put_nowait(None)

    async def _answer(self, request: embedding_pb2.EmbedStreamRequest) -> embedding_pb2.EmbedStreamResponse:
        deadline = Deadline.within(self._request_s)
        if self._end is not None:
            deadline = min(deadline, self._end, key=lambda one: one.at)
        try:
            reply = await once_there_is_room(lambda: self._embedder.embed(request.embed, deadline, bulk=True), deadline)
            return embedding_pb2.EmbedStreamResponse(id=request.id, embed=reply)
        except ClusterError as error:
            return embedding_pb2.EmbedStreamResponse(id=request.id, error=error.detail())
        except LedgerError as error:
            return embedding_pb2.EmbedStreamResponse(id=request.id, error=from_ledger(error).detail())
