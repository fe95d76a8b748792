"""Runs an upload over grpc.aio: a task reads replies, the caller's task does everything else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Callable, Iterable
from random import Random

from shoal.client._transport.async_stream import AsyncConnection, each
from shoal.client._transport.channel import Stubs
from shoal.client._transport.retry import Attempts, RetryPolicy
from shoal.client._transport.upload import Upload, is_transient
from shoal.client.errors import DeadlineExceeded, ShoalError
from shoal.client.types import Document, UploadProgress
from shoal.v1 import documents_pb2


async def run_upload(
    stubs: Stubs,
    address: str,
    upload: Upload,
    documents: Iterable[Document] | AsyncIterable[Document],
    report: Callable[[UploadProgress], None],
    policy: RetryPolicy,
    rng: Random,
    timeout_s: float,
) -> None:
    """Sends all documents and returns when every batch is answered; raises ShoalError if no retry can help."""

    def connect() -> AsyncConnection[documents_pb2.UpsertStreamResponse]:
        return AsyncConnection(stubs.documents.UpsertStream, "upload", address)

    connection = connect()

    async def settle(enough: Callable[[], bool]) -> None:
        nonlocal connection
        attempts = Attempts(policy, rng, timeout_s, time.monotonic())
        while not enough():
            try:
                async with asyncio.timeout(attempts.remaining_s(time.monotonic())):
                    reply = await connection.inbox.get()
            except TimeoutError:
                raise attempts.ended_by(DeadlineExceeded(f"no answer from {address} for {timeout_s:g} s")) from None
            try:
                if isinstance(reply, ShoalError):
                    raise reply
                again = upload.settle(reply)
                if again is not None:
                    connection.send(again)
            except ShoalError as error:
                if not is_transient(error) or not upload.repeatable:
                    raise
                pause_s = attempts.pause_s(error, time.monotonic())
                if pause_s is None:
                    raise
                await connection.close(graceful=False)
                await asyncio.sleep(pause_s)
                connection = connect()
                for message in upload.unanswered():
                    connection.send(message)
            else:
                attempts = Attempts(policy, rng, timeout_s, time.monotonic())
                report(upload.progress())

    finished = False
    try:
        async for document in each(documents):
            batch = upload.add(document)
            if batch is not None:
                connection.send(upload.sent(batch))
                # Lets the tasks that write and read run: a plain iterable never yields to them.
                await asyncio.sleep(0)
                await settle(lambda: not upload.full and connection.inbox.empty())
        last = upload.cut()
        if last is not None:
            connection.send(upload.sent(last))
        await settle(lambda: upload.settled)
        report(upload.progress())
        finished = True
    except BaseException as error:
        upload.ended_by(error)
        raise
    finally:
        await connection.close(graceful=finished)
