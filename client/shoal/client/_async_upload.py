"""Carries out an upload over grpc.aio: one task reads replies, the caller's task does all else."""

# grpc's classes are generic in their type stubs alone, so annotations must not be evaluated.
from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from random import Random
from typing import Any

import grpc
import grpc.aio

from shoal.client._channel import Stubs
from shoal.client._retry import RetryPolicy
from shoal.client._upload import Upload, is_passing
from shoal.client.errors import DeadlineExceeded, ShoalError, Unavailable, error_from_status
from shoal.client.types import Document, UploadProgress
from shoal.v1 import documents_pb2

_CLOSE_S = 1.0
# What grpc.aio says, in place of the true status, of a stream that ends before its first message has left.
_CORE_ERROR = "Internal error from Core"


class _Connection:
    """One stream. Replies, and at last the reason of its end, come out of `inbox`."""

    def __init__(self, stubs: Stubs, address: str) -> None:
        self._address = address
        self._outbox: asyncio.Queue[documents_pb2.UpsertStreamRequest | None] = asyncio.Queue()
        self.inbox: asyncio.Queue[documents_pb2.UpsertStreamResponse | ShoalError] = asyncio.Queue()
        self._call: Any = stubs.documents.UpsertStream(self._messages())
        self._reader = asyncio.create_task(self._read(), name="shoal-upload")

    def send(self, message: documents_pb2.UpsertStreamRequest) -> None:
        self._outbox.put_nowait(message)

    async def close(self, *, kindly: bool) -> None:
        """Ends the stream and its tasks; kindly: the server gets a moment to end its side first."""
        self._outbox.put_nowait(None)
        if kindly:
            await asyncio.wait([self._reader], timeout=_CLOSE_S)
        self._call.cancel()
        self._reader.cancel()
        await asyncio.wait([self._reader])

    async def _messages(self) -> AsyncIterator[documents_pb2.UpsertStreamRequest]:
        while (message := await self._outbox.get()) is not None:
            yield message

    async def _read(self) -> None:
        try:
            async for reply in self._call:
                self.inbox.put_nowait(reply)
            self.inbox.put_nowait(Unavailable(f"the server at {self._address} ended the upload early"))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INTERNAL and error.details() == _CORE_ERROR:
                self.inbox.put_nowait(Unavailable(f"the connection to {self._address} broke as the upload began"))
                return
            self.inbox.put_nowait(
                error_from_status(error.code(), error.details() or "", error.trailing_metadata(), self._address)
            )


async def run_upload(
    stubs: Stubs,
    address: str,
    upload: Upload,
    documents: Iterable[Document] | AsyncIterable[Document],
    tell: Callable[[UploadProgress], None],
    policy: RetryPolicy,
    rng: Random,
    timeout_s: float,
) -> None:
    """Sends all documents and returns when every batch is answered; raises what a retry cannot mend."""
    connection = _Connection(stubs, address)

    async def settle(enough: Callable[[], bool]) -> None:
        nonlocal connection
        progress_at_s, attempt = time.monotonic(), 0
        while not enough():
            try:
                try:
                    async with asyncio.timeout(timeout_s - (time.monotonic() - progress_at_s)):
                        reply = await connection.inbox.get()
                except TimeoutError:
                    raise DeadlineExceeded(f"no answer from {address} for {timeout_s:g} s") from None
                if isinstance(reply, ShoalError):
                    raise reply
                again = upload.settle(reply)
                if again is not None:
                    connection.send(again)
            except ShoalError as error:
                if not is_passing(error) or not upload.repeatable:
                    raise
                attempt += 1
                elapsed_s = time.monotonic() - progress_at_s
                pause_s = policy.pause_s(attempt, elapsed_s, timeout_s - elapsed_s, rng, error.retry_after_s or 0.0)
                if pause_s is None:
                    raise
                await connection.close(kindly=False)
                await asyncio.sleep(pause_s)
                connection = _Connection(stubs, address)
                for message in upload.unanswered():
                    connection.send(message)
            else:
                progress_at_s, attempt = time.monotonic(), 0
                tell(upload.progress())

    finished = False
    try:
        async for document in _each(documents):
            batch = upload.add(document)
            if batch is not None:
                connection.send(upload.sent(batch))
                # The writing and the reading task run only while this one waits, and a plain iterable never does.
                await asyncio.sleep(0)
                await settle(lambda: not upload.full and connection.inbox.empty())
        last = upload.cut()
        if last is not None:
            connection.send(upload.sent(last))
        await settle(lambda: upload.settled)
        tell(upload.progress())
        finished = True
    finally:
        await connection.close(kindly=finished)


async def _each(documents: Iterable[Document] | AsyncIterable[Document]) -> AsyncIterator[Document]:
    if isinstance(documents, AsyncIterable):
        async for document in documents:
            yield document
    else:
        for document in documents:
            yield document
