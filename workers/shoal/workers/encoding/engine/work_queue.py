"""The pending requests of an encoder, and the next piece of work for each thread. Thread-safe.

This is only the lock around decisions that other modules make. The threads belong to the engine.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from shoal.workers.encoding.engine.pending_request import Answer, PendingRequest
from shoal.workers.encoding.engine.scheduler import Priority, QueuedRequest, QueueLimits, Scheduler
from shoal.workers.encoding.engine.tokenize_queue import TextRange, TokenizeQueue
from shoal.workers.encoding.engine.watchdog import BatchTimes, StallLimits, Watchdog
from shoal.workers.encoding.engine.window import QueuedText
from shoal.workers.encoding.model import EmbeddingModel, EncodeOptions, Tokenized, Vectors

_CHARACTERS_PER_TOKEN = 4
# No tokenizer is slower than a million characters a second.
_TOKENIZE_S_PER_CHARACTER = 1e-6


class DeadlineExpired(Exception):
    """The deadline passed before all texts of a request were encoded."""


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """How much work an encoder has, and how much it has done since it started."""

    waiting_texts: int = 0
    """Waiting or being worked on."""
    waiting_tokens: int = 0
    """Likewise; estimated for texts that are not tokenized yet."""
    oldest_s: float = 0.0
    """How long the oldest unanswered request has waited."""
    texts: int = 0
    tokens: int = 0
    batches: int = 0
    failed_texts: int = 0
    busy_s: float = 0.0
    """Seconds in which the model computed, summed over its inference threads."""
    inference_threads: int = 0


@dataclass(frozen=True, slots=True)
class InferenceBatch:
    """Texts that an inference thread computes."""

    items: Sequence[QueuedText]
    requests: Sequence[PendingRequest]
    """The request of each item."""
    texts: Sequence[Tokenized]
    tokens: int
    began: float


@dataclass(frozen=True, slots=True)
class TokenizeTask:
    """Texts that a thread tokenizes."""

    text_range: TextRange
    request: PendingRequest
    texts: Sequence[str]
    began: float


def estimated_tokens(text: str, most: int) -> int:
    """A rough token count without a tokenizer, from 1 to `most`.

    English has about four characters per token; text outside ASCII may have one.
    """
    return min(most, 2 + (len(text) // _CHARACTERS_PER_TOKEN if text.isascii() else len(text)))


class WorkQueue:
    """The unanswered requests to one model. Times are on `clock`, in seconds."""

    def __init__(
        self,
        model: EmbeddingModel,
        limits: QueueLimits,
        stall_limits: StallLimits,
        clock: Callable[[], float],
        s_per_token: float,
    ) -> None:
        """`s_per_token` is a first estimate of the model's compute time."""
        self._model = model
        self._clock = clock
        self._lock = threading.Lock()
        self._inference = threading.Condition(self._lock)
        """Idle inference threads wait for it."""
        self._tokenizing = threading.Condition(self._lock)
        """Idle tokenizer threads wait for it."""
        self._idle_threads = 0
        """Of those that compute batches."""
        self._ended = False
        self._scheduler = Scheduler(limits, model.bounds)
        self._tokenize_queue = TokenizeQueue()
        self._pending: dict[int, PendingRequest] = {}
        self._ids = itertools.count()
        self._watchdog = Watchdog(stall_limits)
        self._computing: dict[int, int] = {}
        """Tokens by thread."""
        self._times = BatchTimes(s_per_token)
        self._texts = self._batches = self._failed_texts = 0

    def submit(
        self, texts: Sequence[str], options: EncodeOptions, priority: Priority, timeout_s: float
    ) -> Future[Answer] | None:
        """Queues at least one text; None after `end`. Cancelling the future drops what is not computed yet.

        Raises QueueFull.
        """
        request = PendingRequest(texts, options, self._model.dimension, self._clock())
        prompt = len(options.prompt or "")
        lengths = [prompt + len(text) for text in request.texts]
        most = self._model.max_tokens
        costs = [min(most, estimated_tokens(text, most) + prompt // _CHARACTERS_PER_TOKEN) for text in request.texts]
        with self._lock:
            if self._ended:
                return None
            request_id = next(self._ids)
            self._scheduler.admit(QueuedRequest(request_id, priority, costs, sum(lengths), request.arrived + timeout_s))
            self._tokenize_queue.add(request_id, priority, lengths)
            self._pending[request_id] = request
            self._wake_thread()
        request.future.add_done_callback(lambda done: self._remove(request_id) if done.cancelled() else None)
        return request.future

    def load(self) -> EngineLoad:
        """How much work there is, and how much was done."""
        with self._lock:
            oldest = next(iter(self._pending.values()), None)
            return EngineLoad(
                waiting_texts=sum(request.unfinished for request in self._pending.values()),
                waiting_tokens=sum(map(self._scheduler.tokens, Priority)) + sum(self._computing.values()),
                oldest_s=0.0 if oldest is None else max(0.0, self._clock() - oldest.arrived),
                texts=self._texts,
                tokens=self._times.tokens,
                batches=self._batches,
                failed_texts=self._failed_texts,
                busy_s=self._times.busy_s,
                inference_threads=self._model.inference_threads,
            )

    def stalled(self) -> str:
        """Describes work that has stalled in one line; empty if nothing has."""
        with self._lock:
            return self._watchdog.stalled(self._clock())

    def end(self) -> None:
        """Admits no more requests and releases the threads."""
        with self._lock:
            self._ended = True
            self._inference.notify_all()
            self._tokenizing.notify_all()

    def fail_all(self, error: Exception) -> None:
        """Fails all pending requests with `error`."""
        with self._lock:
            pending = list(self._pending)
        for request_id in pending:
            self._resolve(request_id, error)

    def next_for_inference(self) -> InferenceBatch | TokenizeTask | None:
        """Waits for a batch, or for texts to tokenize while there is none; None after `end`."""
        while True:
            work: InferenceBatch | TokenizeTask | None = None
            with self._lock:
                if self._ended:
                    return None
                expired = self._drop_expired()
                if items := self._scheduler.next_batch(self._model.bounds, self._idle_threads + 1):
                    work = self._begin_batch(items)
                elif (text_range := self._tokenize_queue.take()) is not None:
                    work = self._begin_tokenizing(text_range)
                elif not expired:
                    self._idle_threads += 1
                    self._inference.wait()
                    self._idle_threads -= 1
                if work is not None:
                    self._wake_thread()
            self._resolve_expired(expired)
            if work is not None:
                return work

    def next_to_tokenize(self) -> TokenizeTask | None:
        """Waits for texts to tokenize; None after `end`."""
        while True:
            work: TokenizeTask | None = None
            with self._lock:
                self._tokenizing.wait_for(lambda: self._ended or self._tokenize_queue)
                if self._ended:
                    return None
                expired = self._drop_expired()
                if (text_range := self._tokenize_queue.take()) is not None:
                    work = self._begin_tokenizing(text_range)
                    self._wake_thread()
            self._resolve_expired(expired)
            if work is not None:
                return work

    def end_tokenizing(self, task: TokenizeTask, tokenized: Sequence[Tokenized], by_inference_thread: bool) -> None:
        """Takes the tokenized texts of a task; an inference thread calls `next_for_inference` next."""
        with self._lock:
            self._watchdog.end(threading.get_ident())
            counts = task.request.add_tokenized(task.text_range.start, tokenized, task.began, self._clock())
            self._scheduler.make_ready(task.text_range.request_id, task.text_range.start, counts)
            finished = not task.request.unfinished
            # An inference thread computes what it tokenized itself, so no other thread is woken.
            if not by_inference_thread:
                self._wake_thread()
        if finished:
            self._answer(task.text_range.request_id, task.request)

    def end_batch(self, batch: InferenceBatch, vectors: Vectors, failed: Mapping[int, str]) -> None:
        """Takes the vectors (n, dimension) of the n texts of a batch, and by row the reasons why some have none."""
        rows: dict[int, list[int]] = {}
        for row, item in enumerate(batch.items):
            rows.setdefault(item.request_id, []).append(row)
        finished: list[tuple[int, PendingRequest]] = []
        with self._lock:
            spent = self._end_batch(batch)
            self._times.add(batch.tokens, spent)
            self._batches += 1
            for request_id, own in rows.items():
                request = batch.requests[own[0]]
                reasons = {position: failed[row] for position, row in enumerate(own) if row in failed} if failed else {}
                request.add_vectors([batch.items[row].text_index for row in own], vectors[own], reasons, spent)
                if not request.unfinished:
                    finished.append((request_id, request))
        for request_id, request in finished:
            self._answer(request_id, request)

    def fail_batch(self, batch: InferenceBatch, error: Exception) -> None:
        """Fails all requests that have texts in a batch with `error`."""
        with self._lock:
            self._end_batch(batch)
        for request_id in {item.request_id for item in batch.items}:
            self._resolve(request_id, error)

    # Called with the lock held.

    def _wake_thread(self) -> None:
        """Wakes one thread for the waiting work; that thread wakes the next if there is more.

        An inference thread without a batch tokenizes texts itself, so a lone query changes threads only once.
        """
        if self._idle_threads and (self._tokenize_queue or self._scheduler.ready):
            self._inference.notify()
        elif self._tokenize_queue:
            self._tokenizing.notify()

    def _begin_batch(self, items: Sequence[QueuedText]) -> InferenceBatch:
        now = self._clock()
        requests = [self._pending[item.request_id] for item in items]
        texts = [request.pop_tokenized(item.text_index, now) for item, request in zip(items, requests, strict=True)]
        tokens = sum(item.tokens for item in items)
        self._computing[threading.get_ident()] = tokens
        self._watchdog.begin_batch(threading.get_ident(), len(texts), tokens, now, self._times.expected_s(tokens))
        return InferenceBatch(items, requests, texts, tokens, now)

    def _end_batch(self, batch: InferenceBatch) -> float:
        self._watchdog.end(threading.get_ident())
        self._computing.pop(threading.get_ident(), None)
        return self._clock() - batch.began

    def _begin_tokenizing(self, text_range: TextRange) -> TokenizeTask:
        now, request = self._clock(), self._pending[text_range.request_id]
        texts = request.texts[text_range.start : text_range.stop]
        characters = sum(map(len, texts))
        what = f"tokenizing {len(texts)} texts of {characters} characters"
        self._watchdog.begin(threading.get_ident(), what, now, characters * _TOKENIZE_S_PER_CHARACTER)
        return TokenizeTask(text_range, request, texts, now)

    def _drop_expired(self) -> list[int]:
        expired = self._scheduler.drop_expired(self._clock())
        for request_id in expired:
            self._tokenize_queue.drop(request_id)
        return expired

    # Called without the lock: resolving a future may run the caller's own code.

    def _answer(self, request_id: int, request: PendingRequest) -> None:
        try:
            answer = request.answer(self._model)
        except Exception as error:
            self._resolve(request_id, error)
            return
        with self._lock:
            failed = sum(map(bool, answer.encoded.errors))
            self._failed_texts += failed
            self._texts += len(answer.encoded.errors) - failed
        self._resolve(request_id, answer)

    def _resolve_expired(self, expired: Iterable[int]) -> None:
        for request_id in expired:
            self._resolve(request_id, DeadlineExpired("the deadline passed before the texts were encoded"))

    def _remove(self, request_id: int) -> PendingRequest | None:
        with self._lock:
            self._scheduler.drop(request_id)
            self._tokenize_queue.drop(request_id)
            return self._pending.pop(request_id, None)

    def _resolve(self, request_id: int, outcome: Answer | Exception) -> None:
        request = self._remove(request_id)
        # The future may be cancelled at any moment, until it is marked as running.
        if request is None or not request.future.set_running_or_notify_cancel():
            return
        if isinstance(outcome, Exception):
            request.future.set_exception(outcome)
        else:
            request.future.set_result(outcome)
