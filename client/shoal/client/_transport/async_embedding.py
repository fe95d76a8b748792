"""Carries out `embed_many` over grpc.aio: a stream's task reads replies, the caller's task does all else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from random import Random

from shoal.client._transport.async_stream import Connection, each
from shoal.client._transport.channel import Stubs
from shoal.client._transport.embedding import EmbedRun
from shoal.client._transport.retry import Attempts, RetryPolicy
from shoal.client._transport.upload import is_passing
from shoal.client.embeddings import Embeddings, EmbedProgress
from shoal.client.errors import DeadlineExceeded, ShoalError
from shoal.v1 import embedding_pb2


async def run_embedding(
    stubs: Stubs,
    address: str,
    run: EmbedRun,
    texts: Iterable[str] | AsyncIterable[str],
    tell: Callable[[EmbedProgress], None],
    policy: RetryPolicy,
    rng: Random,
    timeout_s: float,
) -> AsyncGenerator[Embeddings, None]:
    """Yields the vectors of all texts in their order; raises what a retry cannot mend."""

    def connect() -> Connection[embedding_pb2.EmbedStreamResponse]:
        return Connection(stubs.embedding.EmbedStream, "embedding", address)

    connection = connect()

    async def take() -> None:
        """Takes one answer, over as many attempts as it needs."""
        nonlocal connection
        attempts = Attempts(policy, rng, timeout_s, time.monotonic())
        while True:
            try:
                async with asyncio.timeout(attempts.remaining_s(time.monotonic())):
                    reply = await connection.inbox.get()
            except TimeoutError:
                raise attempts.ended_by(DeadlineExceeded(f"no answer from {address} for {timeout_s:g} s")) from None
            if isinstance(reply, ShoalError):
                if not is_passing(reply):
                    raise reply
                await connection.close(kindly=False)
                await pause(attempts, reply)
                connection = connect()
                for message in run.unanswered():
                    connection.send(message)
                continue
            again = run.settle(reply)
            if again is None:
                tell(run.progress())
                return
            message, error = again
            await pause(attempts, error)
            connection.send(message)

    async def pause(attempts: Attempts, error: ShoalError) -> None:
        pause_s = attempts.pause_s(error, time.monotonic())
        if pause_s is None:
            raise error
        await asyncio.sleep(pause_s)

    finished = False
    try:
        async for text in each(texts):
            batch = run.add(text)
            if batch is None:
                continue
            connection.send(run.sent(batch))
            # The writing and the reading task run only while this one waits, and a plain iterable never does.
            await asyncio.sleep(0)
            while run.full or not connection.inbox.empty():
                await take()
                for ready in run.ready():
                    yield ready
        last = run.cut()
        if last is not None:
            connection.send(run.sent(last))
        while not run.settled:
            await take()
            for ready in run.ready():
                yield ready
        finished = True
    finally:
        await connection.close(kindly=finished)
