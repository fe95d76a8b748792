"""Carries out `embed_many` over blocking gRPC: a stream's thread reads replies, the caller's thread does all else."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Iterator
from random import Random

from shoal.client._transport.channel import Stubs
from shoal.client._transport.embedding import EmbedRun
from shoal.client._transport.retry import Attempts, RetryPolicy
from shoal.client._transport.sync_stream import Connection
from shoal.client._transport.upload import is_passing
from shoal.client.embeddings import Embeddings, EmbedProgress
from shoal.client.errors import DeadlineExceeded, ShoalError
from shoal.v1 import embedding_pb2


def run_embedding(
    stubs: Stubs,
    address: str,
    run: EmbedRun,
    texts: Iterable[str],
    tell: Callable[[EmbedProgress], None],
    policy: RetryPolicy,
    rng: Random,
    timeout_s: float,
) -> Iterator[Embeddings]:
    """Yields the vectors of all texts in their order; raises what a retry cannot mend."""

    def connect() -> Connection[embedding_pb2.EmbedStreamResponse]:
        return Connection(stubs.embedding.EmbedStream, "embedding", address)

    connection = connect()

    def take() -> None:
        """Takes one answer, over as many attempts as it needs."""
        nonlocal connection
        attempts = Attempts(policy, rng, timeout_s, time.monotonic())
        while True:
            try:
                reply = connection.inbox.get(timeout=max(0.0, attempts.remaining_s(time.monotonic())))
            except queue.Empty:
                raise attempts.ended_by(DeadlineExceeded(f"no answer from {address} for {timeout_s:g} s")) from None
            if isinstance(reply, ShoalError):
                if not is_passing(reply):
                    raise reply
                connection.close(kindly=False)
                pause(attempts, reply)
                connection = connect()
                for message in run.unanswered():
                    connection.send(message)
                continue
            again = run.settle(reply)
            if again is None:
                tell(run.progress())
                return
            message, error = again
            pause(attempts, error)
            connection.send(message)

    def pause(attempts: Attempts, error: ShoalError) -> None:
        pause_s = attempts.pause_s(error, time.monotonic())
        if pause_s is None:
            raise error
        time.sleep(pause_s)

    finished = False
    try:
        for text in texts:
            batch = run.add(text)
            if batch is None:
                continue
            connection.send(run.sent(batch))
            while run.full or not connection.inbox.empty():
                take()
                yield from run.ready()
        last = run.cut()
        if last is not None:
            connection.send(run.sent(last))
        while not run.settled:
            take()
            yield from run.ready()
        finished = True
    finally:
        connection.close(kindly=finished)
