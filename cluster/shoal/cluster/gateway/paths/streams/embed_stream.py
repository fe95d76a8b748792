"""One embedding stream: a few requests are processed at a time, and each is answered by id as soon as it is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from shoal.cluster.errors import ClusterError, from_ledger
from shoal.cluster.gateway.paths.embedding import EmbedPath
from shoal.cluster.gateway.paths.room import ReceivedMessage, Room
from shoal.cluster.gateway.paths.streams.pacing import paced, retry_while_overloaded
from shoal.cluster.ledger.errors import LedgerError
from shoal.cluster.rpc.deadlines import Deadline
from shoal.v1 import embedding_pb2

Answering = asyncio.Task[embedding_pb2.EmbedStreamResponse]


# Long, as stream texts have the lowest priority; below the timeout of the clients, so that they receive the error.
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
        self._in_flight: dict[Answering, Room] = {}
        """Requests whose answer is not sent yet."""

    async def answers(
        self, requests: AsyncIterator[ReceivedMessage[embedding_pb2.EmbedStreamRequest]]
    ) -> AsyncIterator[embedding_pb2.EmbedStreamResponse]:
        """One answer for each request, in any order; raises the error that ends the stream early."""
        finished: asyncio.Queue[Answering | None] = asyncio.Queue()
        slots = asyncio.Semaphore(self._window)
        reader = asyncio.create_task(self._read(requests, finished, slots))
        try:
            reading = True
            while reading or self._in_flight:
                async with asyncio.timeout_at(self._end.at if self._end is not None else None):
                    answering = await finished.get()
                if answering is None:
                    reading = False
                    continue
                yield answering.result()
                self._in_flight.pop(answering).free()
                slots.release()
            await reader
        finally:
            left = list(self._in_flight)
            for task in (reader, *left):
                task.cancel()
            try:
                await asyncio.gather(reader, *left, return_exceptions=True)
            finally:
                # Also when the stream is cancelled while its tasks end.
                for room in self._in_flight.values():
                    room.free()

    async def _read(
        self,
        requests: AsyncIterator[ReceivedMessage[embedding_pb2.EmbedStreamRequest]],
        finished: asyncio.Queue[Answering | None],
        slots: asyncio.Semaphore,
    ) -> None:
        try:
            async for admitted in paced(requests, slots, self._draining):
                task = asyncio.create_task(self._answer(admitted.take(), admitted.room))
                self._in_flight[task] = admitted.room
                task.add_done_callback(finished.put_nowait)
        finally:
            finished.put_nowait(None)

    async def _answer(self, request: embedding_pb2.EmbedStreamRequest, room: Room) -> embedding_pb2.EmbedStreamResponse:
        deadline = Deadline.within(self._request_s).earlier(self._end)
        try:
            reply = await retry_while_overloaded(
                lambda: self._embedder.embed(request.embed, deadline, room, bulk=True), deadline
            )
            return embedding_pb2.EmbedStreamResponse(id=request.id, embed=reply)
        except ClusterError as error:
            return embedding_pb2.EmbedStreamResponse(id=request.id, error=error.detail())
        except LedgerError as error:
            return embedding_pb2.EmbedStreamResponse(id=request.id, error=from_ledger(error).detail())
