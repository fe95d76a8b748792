"""What an encoder has to do: the calls that wait, and which piece of work a thread does next. Safe for many threads, and
no more than the lock around decisions that are made elsewhere; the threads are the engine's."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from shoal.workers.encoding.engine.pending_request import Answer, OpenRequest
from shoal.workers.encoding.engine.scheduler import Priority, QueuedRequest, QueueLimits, Scheduler
from shoal.workers.encoding.engine.tokenize_queue import Chunk, ChunkQueue
from shoal.workers.encoding.engine.watchdog import StallLimits, Watchdog
from shoal.workers.encoding.engine.window import Item
from shoal.workers.encoding.model import EmbeddingModel, EncodeOptions, Tokenized, Vectors

_CHARACTERS_PER_TOKEN = 4
# No tokenizer is slower than a million characters a second.
_READ_S_PER_CHARACTER = 1e-6


class DeadlineExpired(Exception):
    """The deadline passed before all of a request was encoded."""


@dataclass(frozen=True, slots=True)
class Load:
    """What an encoder has to do, and has done since it began."""

    waiting_texts: int = 0
    """That wait or are being worked on."""
    waiting_tokens: int = 0
    """Likewise; estimated for texts that no tokenizer has read."""
    oldest_s: float = 0.0
    """How long the oldest request that is not answered has waited."""
    texts: int = 0
    tokens: int = 0
    batches: int = 0
    failed_texts: int = 0
    busy_s: float = 0.0
    """That the model computed, summed over its lanes."""
    lanes: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts that a lane computes."""

    items: Sequence[Item]
    requests: Sequence[OpenRequest]
    """Of each item."""
    texts: Sequence[Tokenized]
    tokens: int
    began: float


@dataclass(frozen=True, slots=True)
class Reading:
    """Texts that a thread reads with the tokenizer."""

    chunk: Chunk
    request: OpenRequest
    texts: Sequence[str]
    began: float


def estimated_tokens(text: str, most: int) -> int:
    """Tokens that a text will roughly have, at least 1, at most `most`, without a tokenizer.

    English has about four characters to a token; text outside ASCII may have one character to a token.
    """
    return min(most, 2 + (len(text) // _CHARACTERS_PER_TOKEN if text.isascii() else len(text)))


class Workload:
    """The calls to one model that were not answered. Times are on `clock`, in seconds."""

    def __init__(
        self,
        model: EmbeddingModel,
        limits: QueueLimits,
        stall_limits: StallLimits,
        clock: Callable[[], float],
        s_per_token: float,
    ) -> None:
        """`s_per_token` is a first idea of how long the model computes."""
        self._model = model
        self._clock = clock
        self._s_per_token = s_per_token
        self._lock = threading.Lock()
        self._for_lanes = threading.Condition(self._lock)
        self._for_readers = threading.Condition(self._lock)
        self._idle_lanes = 0
        self._ended = False
        self._scheduler = Scheduler(limits, model.bounds)
        self._chunks = ChunkQueue()
        self._open: dict[int, OpenRequest] = {}
        self._ids = itertools.count()
        self._watchdog = Watchdog(stall_limits)
        self._computing: dict[int, int] = {}
        """Tokens by thread."""
        self._texts = self._tokens = self._batches = self._failed_texts = 0
        self._busy_s = 0.0

    def submit(
        self, texts: Sequence[str], options: EncodeOptions, priority: Priority, timeout_s: float
    ) -> Future[Answer] | None:
        """Lets at least one text wait; None when all has ended. Cancelling the future drops what was not computed.

        Raises QueueFull.
        """
        request = OpenRequest(texts, options, self._model.dimension, self._clock())
        prompt = len(options.prompt or "")
        lengths = [prompt + len(text) for text in request.texts]
        most = self._model.max_tokens
        costs = [min(most, estimated_tokens(text, most) + prompt // _CHARACTERS_PER_TOKEN) for text in request.texts]
        with self._lock:
            if self._ended:
                return None
            request_id = next(self._ids)
            self._scheduler.admit(QueuedRequest(request_id, priority, costs, sum(lengths), request.arrived + timeout_s))
            self._chunks.add(request_id, priority, lengths)
            self._open[request_id] = request
            self._call_threads()
        request.future.add_done_callback(lambda done: self._forget(request_id) if done.cancelled() else None)
        return request.future

    def load(self) -> Load:
        """What there is to do and what was done."""
        with self._lock:
            oldest = next(iter(self._open.values()), None)
            return Load(
                waiting_texts=sum(request.unfinished for request in self._open.values()),
                waiting_tokens=sum(map(self._scheduler.tokens, Priority)) + sum(self._computing.values()),
                oldest_s=0.0 if oldest is None else max(0.0, self._clock() - oldest.arrived),
                texts=self._texts,
                tokens=self._tokens,
                batches=self._batches,
                failed_texts=self._failed_texts,
                busy_s=self._busy_s,
                lanes=self._model.lanes,
            )

    def stalled(self) -> str:
        """What takes so long that it will never end, in one line; empty when all is well."""
        with self._lock:
            return self._watchdog.stalled(self._clock())

    def end(self) -> None:
        """Lets no more in, and sends the threads home."""
        with self._lock:
            self._ended = True
            self._for_lanes.notify_all()
            self._for_readers.notify_all()

    def fail_all(self, error: Exception) -> None:
        """Answers all that is open with `error`."""
        with self._lock:
            waiting = list(self._open)
        for request_id in waiting:
            self._settle(request_id, error)

    def next_for_lane(self) -> Batch | Reading | None:
        """Waits for something to compute; texts to read where there is none; None when all has ended."""
        while True:
            work: Batch | Reading | None = None
            with self._lock:
                if self._ended:
                    return None
                expired = self._drop_expired()
                if items := self._scheduler.next_batch(self._model.bounds, self._idle_lanes + 1):
                    work = self._begin_batch(items)
                elif (chunk := self._chunks.take()) is not None:
                    work = self._begin_reading(chunk)
                elif not expired:
                    self._idle_lanes += 1
                    self._for_lanes.wait()
                    self._idle_lanes -= 1
                if work is not None:
                    self._call_threads()
            self._settle_expired(expired)
            if work is not None:
                return work

    def next_for_reader(self) -> Reading | None:
        """Waits for texts to read; None when all has ended."""
        while True:
            work: Reading | None = None
            with self._lock:
                self._for_readers.wait_for(lambda: self._ended or self._chunks)
                if self._ended:
                    return None
                expired = self._drop_expired()
                if (chunk := self._chunks.take()) is not None:
                    work = self._begin_reading(chunk)
                    self._call_threads()
            self._settle_expired(expired)
            if work is not None:
                return work

    def end_reading(self, reading: Reading, read: Sequence[Tokenized], by_lane: bool) -> None:
        """What the tokenizer made of the texts; `by_lane` tells that the calling thread goes on with `next_for_lane`."""
        with self._lock:
            self._watchdog.end(threading.get_ident())
            counts = reading.request.take_read(reading.chunk.start, read, reading.began, self._clock())
            self._scheduler.make_ready(reading.chunk.request, reading.chunk.start, counts)
            finished = not reading.request.unfinished
            # A lane computes itself what it read, and nobody need be woken.
            if not by_lane:
                self._call_threads()
        if finished:
            self._answer(reading.chunk.request, reading.request)

    def end_batch(self, batch: Batch, vectors: Vectors, failed: Mapping[int, str]) -> None:
        """Rows (n, dimension) of the n texts of a batch, and why some have none."""
        rows: dict[int, list[int]] = {}
        for row, item in enumerate(batch.items):
            rows.setdefault(item.request, []).append(row)
        finished: list[tuple[int, OpenRequest]] = []
        with self._lock:
            spent = self._end_batch(batch)
            self._busy_s += spent
            self._tokens += batch.tokens
            self._batches += 1
            self._s_per_token = self._busy_s / self._tokens
            for request_id, own in rows.items():
                request = batch.requests[own[0]]
                reasons = {place: failed[row] for place, row in enumerate(own) if row in failed} if failed else {}
                request.take_vectors([batch.items[row].place for row in own], vectors[own], reasons, spent)
                if not request.unfinished:
                    finished.append((request_id, request))
        for request_id, request in finished:
            self._answer(request_id, request)

    def fail_batch(self, batch: Batch, error: Exception) -> None:
        """Answers all requests that have texts in a batch with `error`."""
        with self._lock:
            self._end_batch(batch)
        for request_id in {item.request for item in batch.items}:
            self._settle(request_id, error)

    # With the lock held.

    def _call_threads(self) -> None:
        """Wakes one thread for what waits; that one wakes the next, if there is more.

        A lane that has nothing to compute reads texts itself: a lone query then passes from thread to thread only once.
        """
        if self._idle_lanes and (self._chunks or self._scheduler.ready):
            self._for_lanes.notify()
        elif self._chunks:
            self._for_readers.notify()

    def _begin_batch(self, items: Sequence[Item]) -> Batch:
        now = self._clock()
        requests = [self._open[item.request] for item in items]
        texts = [request.give_read(item.place, now) for item, request in zip(items, requests, strict=True)]
        tokens = sum(item.tokens for item in items)
        self._computing[threading.get_ident()] = tokens
        what = f"a batch of {len(texts)} texts with {tokens} tokens"
        self._watchdog.begin(threading.get_ident(), what, now, tokens * self._s_per_token)
        return Batch(items, requests, texts, tokens, now)

    def _end_batch(self, batch: Batch) -> float:
        self._watchdog.end(threading.get_ident())
        self._computing.pop(threading.get_ident(), None)
        return self._clock() - batch.began

    def _begin_reading(self, chunk: Chunk) -> Reading:
        now, request = self._clock(), self._open[chunk.request]
        texts = request.texts[chunk.start : chunk.stop]
        characters = sum(map(len, texts))
        what = f"the tokenizer with {len(texts)} texts of {characters} characters"
        self._watchdog.begin(threading.get_ident(), what, now, characters * _READ_S_PER_CHARACTER)
        return Reading(chunk, request, texts, now)

    def _drop_expired(self) -> list[int]:
        expired = self._scheduler.drop_expired(self._clock())
        for request_id in expired:
            self._chunks.drop(request_id)
        return expired

    # Without it: whoever waits for a future may run its own code then.

    def _answer(self, request_id: int, request: OpenRequest) -> None:
        try:
            answer = request.answer(self._model)
        except Exception as error:
            self._settle(request_id, error)
            return
        with self._lock:
            failed = sum(map(bool, answer.encoded.errors))
            self._failed_texts += failed
            self._texts += len(answer.encoded.errors) - failed
        self._settle(request_id, answer)

    def _settle_expired(self, expired: Iterable[int]) -> None:
        for request_id in expired:
            self._settle(request_id, DeadlineExpired("the deadline passed before the texts were encoded"))

    def _forget(self, request_id: int) -> OpenRequest | None:
        with self._lock:
            self._scheduler.drop(request_id)
            self._chunks.drop(request_id)
            return self._open.pop(request_id, None)

    def _settle(self, request_id: int, outcome: Answer | Exception) -> None:
        request = self._forget(request_id)
        # The future may be cancelled at any moment; only once it is marked as running is that ruled out.
        if request is None or not request.future.set_running_or_notify_cancel():
            return
        if isinstance(outcome, Exception):
            request.future.set_exception(outcome)
        else:
            request.future.set_result(outcome)
