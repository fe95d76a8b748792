"""One upsert stream: a few batches are processed at a time and answered in order; edits of one document keep their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from shoal.cluster.decisions.tokens.write_token import WriteToken
from shoal.cluster.errors import (
    ClusterError,
    CollectionMissing,
    InvalidRequest,
    MessageTooLarge,
    VersionConflict,
    from_ledger,
)
from shoal.cluster.gateway.paths.room import ReceivedMessage
from shoal.cluster.gateway.paths.streams.pacing import paced, retry_while_overloaded
from shoal.cluster.gateway.paths.writing import WritePath
from shoal.cluster.ledger.errors import CollectionNotFound, LedgerError
from shoal.cluster.rpc.deadlines import Deadline
from shoal.v1 import documents_pb2

# An error of the batch itself is its answer, and the stream continues. Any other error ends the stream: the caller resends
# from the first unanswered batch, so an older batch can never overtake a newer one.
_REFUSALS = (InvalidRequest, CollectionMissing, VersionConflict, MessageTooLarge)

Answering = asyncio.Task[documents_pb2.UpsertStreamResponse]


@dataclass(frozen=True, slots=True)
class _Batch:
    touched: frozenset[tuple[str, str]]
    task: Answering


class UpsertStream:
    """Serves one call. At most `window` batches are read ahead of the last answer: the server sets the pace."""

    def __init__(
        self,
        path: WritePath,
        window: int,
        end: Deadline | None,
        batch_s: float,
        draining: asyncio.Event,
        visible: Callable[[str], bool],
    ) -> None:
        """`end` is the caller's deadline for the whole stream, `batch_s` the time that one batch may take. `visible` says
        whether the caller may know of a collection."""
        self._path = path
        self._window = window
        self._end = end
        self._batch_s = batch_s
        self._draining = draining
        self._visible = visible
        self._in_flight: list[_Batch] = []
        self._written: dict[int, WriteToken] = {}

    async def answers(
        self, requests: AsyncIterator[ReceivedMessage[documents_pb2.UpsertStreamRequest]]
    ) -> AsyncIterator[documents_pb2.UpsertStreamResponse]:
        """One answer for each request, in order; raises the error that ends the stream early."""
        queue: asyncio.Queue[Answering | None] = asyncio.Queue()
        slots = asyncio.Semaphore(self._window)
        reader = asyncio.create_task(self._read(requests, queue, slots))
        try:
            while (answering := await queue.get()) is not None:
                yield self._with_all_writes(await answering)
                slots.release()
            await reader
        finally:
            reader.cancel()
            for batch in self._in_flight:
                batch.task.cancel()
            left = [batch.task for batch in self._in_flight]
            await asyncio.gather(reader, *left, return_exceptions=True)

    def _with_all_writes(self, answer: documents_pb2.UpsertStreamResponse) -> documents_pb2.UpsertStreamResponse:
        """Makes the token cover the earlier batches too: callers keep the last one."""
        token = WriteToken.parse(answer.token)
        if token is not None:
            written = self._written[token.collection_id] = token.merged(self._written.get(token.collection_id, token))
            answer.token = str(written)
        return answer

    async def _read(
        self,
        requests: AsyncIterator[ReceivedMessage[documents_pb2.UpsertStreamRequest]],
        queue: asyncio.Queue[Answering | None],
        slots: asyncio.Semaphore,
    ) -> None:
        try:
            async for admitted in paced(requests, slots, self._draining):
                queue.put_nowait(self._begin(admitted))
        finally:
            queue.put_nowait(None)

    def _begin(self, admitted: ReceivedMessage[documents_pb2.UpsertStreamRequest]) -> Answering:
        request = admitted.take()
        touched = frozenset((request.collection, document.id) for document in request.documents)
        self._in_flight = [batch for batch in self._in_flight if not batch.task.done()]
        before = [batch.task for batch in self._in_flight if batch.touched & touched]
        task = asyncio.create_task(self._answer(request, before))
        # Also when the task never began.
        task.add_done_callback(lambda _: admitted.room.free())
        self._in_flight.append(_Batch(touched, task))
        return task

    async def _answer(
        self, request: documents_pb2.UpsertStreamRequest, before: list[Answering]
    ) -> documents_pb2.UpsertStreamResponse:
        deadline = Deadline.within(self._batch_s).earlier(self._end)
        sequence = request.sequence
        try:
            if not self._visible(request.collection):
                raise CollectionNotFound(request.collection)
            write = await self._path.checked(request.collection, request.documents, request.source)
            # From here on the batch is there once.
            del request
            for earlier in before:
                # Its failure ends the stream, so this batch must not be written.
                await asyncio.shield(earlier)
            response = await retry_while_overloaded(lambda: self._path.commit(write, deadline), deadline)
        except LedgerError as error:
            return _refusal(sequence, from_ledger(error))
        except ClusterError as error:
            return _refusal(sequence, error)
        return documents_pb2.UpsertStreamResponse(sequence=sequence, results=response.results, token=response.token)


def _refusal(sequence: int, error: ClusterError) -> documents_pb2.UpsertStreamResponse:
    if not isinstance(error, _REFUSALS):
        raise error
    return documents_pb2.UpsertStreamResponse(sequence=sequence, error=error.detail())
