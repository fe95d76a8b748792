"""Runs `embed_many` over blocking gRPC: a thread reads replies, the caller's thread does everything else."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Iterator
from random import Random

from shoal.client._transport.channel import Stubs
from shoal.client._transport.embedding import EmbedRun
from shoal.client._transport.retry import Attempts, RetryPolicy
from shoal.client._transport.sync_stream import Connection
from shoal.client._transport.upload import is_transient
from shoal.client.embeddings import Embeddings, EmbedProgress
from shoal.client.errors import DeadlineExceeded, ShoalError
from shoal.v1 import embedding_pb2


class _Exchange:
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

    def take(self) -> None:
        """Takes one answer, retrying as often as needed; raises ShoalError if no retry can help."""
        attempts = Attempts(self._policy, self._rng, self._timeout_s, time.monotonic())
        while True:
            try:
                reply = self._connection.inbox.get(timeout=max(0.0, attempts.remaining_s(time.monotonic())))
            except queue.Empty:
                no_answer = DeadlineExceeded(f"no answer from {self._address} for {self._timeout_s:g} s")
                raise attempts.ended_by(no_answer) from None
            if isinstance(reply, ShoalError):
                if not is_transient(reply):
                    raise reply
                self._connection.close(graceful=False)
                _pause(attempts, reply)
                self._connection = self._connect()
                for message in self._run.unanswered():
                    self._connection.send(message)
                continue
            again = self._run.settle(reply)
            if again is None:
                self._report(self._run.progress())
                return
            message, error = again
            _pause(attempts, error)
            self._connection.send(message)

    def close(self, graceful: bool) -> None:
        """Ends the stream; see Connection.close."""
        self._connection.close(graceful=graceful)

    def _connect(self) -> Connection[embedding_pb2.EmbedStreamResponse]:
        return Connection(self._stubs.embedding.EmbedStream, "embedding", self._address)


def _pause(attempts: Attempts, error: ShoalError) -> None:
    pause_s = attempts.pause_s(error, time.monotonic())
    if pause_s is None:
        raise error
    time.sleep(pause_s)


def run_embedding(
    stubs: Stubs,
    address: str,
    run: EmbedRun,
    texts: Iterable[str],
    report: Callable[[EmbedProgress], None],
    policy: RetryPolicy,
    rng: Random,
    timeout_s: float,
) -> Iterator[Embeddings]:
    """Yields the vectors of all texts in their order; raises ShoalError if no retry can help."""
    exchange = _Exchange(stubs, address, run, report, policy, rng, timeout_s)
    finished = False
    try:
        for text in texts:
            batch = run.add(text)
            if batch is None:
                continue
            exchange.send(run.sent(batch))
            while run.full or exchange.has_answers:
                exchange.take()
                yield from run.ready()
        last = run.cut()
        if last is not None:
            exchange.send(run.sent(last))
        while not run.settled:
            exchange.take()
            yield from run.ready()
        finished = True
    finally:
        exchange.close(graceful=finished)
