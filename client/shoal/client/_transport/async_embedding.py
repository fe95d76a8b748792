"""Runs `embed_many` over grpc.aio: a task reads replies, the caller's task does everything else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from random import Random

from shoal.client._transport.async_stream import AsyncConnection, each
from shoal.client._transport.channel import Stubs
from shoal.client._transport.embedding import EmbedRun
from shoal.client._transport.retry import Attempts, RetryPolicy
from shoal.client._transport.upload import is_transient
from shoal.client.embeddings import Embeddings, EmbedProgress
from shoal.client.errors import DeadlineExceeded, ShoalError
from shoal.v1 import embedding_pb2


class _AsyncExchange:
    """Sends the batches of a run and takes their answers, over a stream that is replaced when it breaks."""

    def __init__(
        self,
        stubs: Stubs,
        address: str,
        run: EmbedRun,
        report: Callable[[EmbedProgress], None],
        policy: RetryPolicy,
        rng: Random,
        timeout_s: float,
    ) -> None:
        self._stubs = stubs
        self._address = address
        self._run = run
        self._report = report
        self._policy = policy
        self._rng = rng
        self._timeout_s = timeout_s
        self._connection = self._connect()

    @property
    def has_answers(self) -> bool:
        """True when an answer can be taken without waiting."""
        return not self._connection.inbox.empty()

    def send(self, message: embedding_pb2.EmbedStreamRequest) -> None:
        """Queues a message."""
        self._connection.send(message)

    async def take(self) -> None:
        """Takes one answer, retrying as often as needed; raises ShoalError if no retry can help."""
        attempts = Attempts(self._policy, self._rng, self._timeout_s, time.monotonic())
        while True:
            try:
                async with asyncio.timeout(attempts.remaining_s(time.monotonic())):
                    reply = await self._connection.inbox.get()
            except TimeoutError:
                no_answer = DeadlineExceeded(f"no answer from {self._address} for {self._timeout_s:g} s")
                raise attempts.ended_by(no_answer) from None
            if isinstance(reply, ShoalError):
                if not is_transient(reply):
                    raise reply
                await self._connection.close(graceful=False)
                await _pause(attempts, reply)
                self._connection = self._connect()
                for message in self._run.unanswered():
                    self._connection.send(message)
                continue
            again = self._run.settle(reply)
            if again is None:
                self._report(self._run.progress())
                return
            message, error = again
            await _pause(attempts, error)
            self._connection.send(message)

    async def close(self, graceful: bool) -> None:
        """Ends the connection; see AsyncConnection.close."""
        await self._connection.close(graceful=graceful)

    def _connect(self) -> AsyncConnection[embedding_pb2.EmbedStreamResponse]:
        return AsyncConnection(self._stubs.embedding.EmbedStream, "embedding", self._address)


async def _pause(attempts: Attempts, error: ShoalError) -> None:
    pause_s = attempts.pause_s(error, time.monotonic())
    if pause_s is None:
        raise error
    await asyncio.sleep(pause_s)


async def run_embedding(
    stubs: Stubs,
    address: str,
    run: EmbedRun,
    texts: Iterable[str] | AsyncIterable[str],
    report: Callable[[EmbedProgress], None],
    policy: RetryPolicy,
    rng: Random,
    timeout_s: float,
) -> AsyncGenerator[Embeddings, None]:
    """Yields the vectors of all texts in their order; raises ShoalError if no retry can help."""
    exchange = _AsyncExchange(stubs, address, run, report, policy, rng, timeout_s)
    finished = False
    try:
        async for text in each(texts):
            batch = run.add(text)
            if batch is None:
                continue
            exchange.send(run.sent(batch))
            # Lets the tasks that write and read run: a plain iterable never yields to them.
            await asyncio.sleep(0)
            while run.full or exchange.has_answers:
                await exchange.take()
                for ready in run.ready():
                    yield ready
        last = run.cut()
        if last is not None:
            exchange.send(run.sent(last))
        while not run.settled:
            await exchange.take()
            for ready in run.ready():
                yield ready
        finished = True
    finally:
        await exchange.close(graceful=finished)
