"""The threads around a model: inference threads compute, tokenizer threads tokenize, a watchdog detects stalls.

The work queue and its scheduler decide what they do next. The service decides how requests arrive.
"""

from __future__ import annotations

import errno
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum

from shoal.workers.encoding.batching import run_isolated
from shoal.workers.encoding.engine.pending_request import Answer
from shoal.workers.encoding.engine.scheduler import Priority, QueueLimits
from shoal.workers.encoding.engine.watchdog import StallChecks, StallLimits
from shoal.workers.encoding.engine.work_queue import EngineLoad, InferenceBatch, TokenizeTask, WorkQueue
from shoal.workers.encoding.model import (
    AS_DOCUMENT,
    TOKENIZER_RAISED,
    DeviceLost,
    EmbeddingModel,
    EncodeOptions,
    ModelError,
    Role,
    Tokenized,
)
from shoal.workers.runtime import typed_error_line

Progress = Callable[[str], None]
"""Called with the current step of loading, in a few words for people to read."""

# The queue has room for at least this many batches, whatever their size.
_WAITING_BATCHES = 16


class EngineState(Enum):
    """State of an engine's model."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class EngineUnavailable(Exception):
    """Another replica, or a later attempt, may answer: the model is still loading, or the engine was closed or lost."""


@dataclass(frozen=True, slots=True)
class Description:
    """Describes an engine's model; the numbers are 0 until it is ready."""

    state: EngineState
    model: str
    fingerprint: str = ""
    dimension: int = 0
    max_tokens: int = 0
    error: str = ""
    error_may_pass: bool = False
    """Whether the error may pass by itself, as a lack of memory does."""
    progress: str = ""
    """The current step of loading."""
    device: str = ""
    """Device, precision and inference threads, for people to read."""


class EncoderEngine:
    """Loads a model in a thread of its own and encodes what `submit` queues. All methods are thread-safe."""

    def __init__(
        self,
        model: str,
        load: Callable[[Progress], EmbeddingModel],
        limits: QueueLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        tokenizer_threads: int = 1,
        stall_limits: StallLimits | None = None,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        """`model` is the name to show while `load` runs; `load` is called once, in a thread of the engine.

        `tokenizer_threads` tokenize texts while the model computes. `on_lost` is called with the reason when the process
        must be restarted, because the device was lost or a batch does not end; no call has failed by then.
        """
        self._name = model
        self._load_model = load
        self._limits = limits
        self._clock = clock
        self._tokenizer_threads = tokenizer_threads
        self._stall_limits = stall_limits or StallLimits()
        self._on_lost = on_lost
        self._state = threading.Lock()
        self._ended = threading.Event()
        self._description = Description(EngineState.LOADING, model)
        self._failure: Callable[[], Exception] | None = None
        self._work_queue: WorkQueue | None = None
        self._threads = [threading.Thread(target=self._run, name="shoal-encoder-inference-0", daemon=True)]

    def start(self) -> None:
        """Begins to load the model; returns at once."""
        self._threads[0].start()

    def describe(self) -> Description:
        """The model and its state. Never blocks."""
        return self._description

    def load(self) -> EngineLoad:
        """How much work there is and how much was done; zeros until the model is ready."""
        return EngineLoad() if self._work_queue is None else self._work_queue.load()

    def submit(
        self,
        texts: Sequence[str],
        options: EncodeOptions = AS_DOCUMENT,
        priority: Priority | None = None,
        timeout_s: float = math.inf,
    ) -> Future[Answer]:
        """Queues texts; cancelling the future drops those not yet encoded.

        `priority` None is QUERY for queries and LIVE for documents. The future raises DeadlineExpired after `timeout_s`,
        EngineUnavailable when the engine is closed or lost, ModelError when the model breaks. Raises EngineUnavailable
        while the model loads, ModelError when it failed to load, QueueFull when the queue has no room, ValueError when
        there are no texts.
        """
        if not texts:
            raise ValueError("texts is empty, at least 1 is needed")
        if self._failure is not None:
            raise self._failure()
        if self._work_queue is None:
            raise EngineUnavailable(f"model {self._name!r} is loading")
        if priority is None:
            priority = Priority.QUERY if options.role is Role.QUERY else Priority.LIVE
        future = self._work_queue.submit(texts, options, priority, timeout_s)
        if future is None:
            raise self._failure() if self._failure is not None else self._closed()
        return future

    def close(self, timeout_s: float = 10.0) -> None:
        """Fails pending requests and ends the threads; waits at most `timeout_s` for running batches, or for loading."""
        self._end(self._closed)
        until = time.monotonic() + timeout_s
        for thread in list(self._threads):
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))
        if self._work_queue is not None:
            self._work_queue.fail_all(self._closed())

    def _closed(self) -> Exception:
        return EngineUnavailable(f"the encoder of model {self._name!r} was closed")

    def _end(self, failure: Callable[[], Exception]) -> None:
        with self._state:
            self._failure = self._failure or failure
            self._ended.set()
        if self._work_queue is not None:
            self._work_queue.end()

    def _run(self) -> None:
        """Loads the model, then becomes its first inference thread: some libraries need the thread that loaded."""
        try:
            model = self._load_model(self._show)
            self._show("warming up")
            model.init_inference_thread()
            work_queue = self._warm_up(model)
        except DeviceLost as error:
            self._lose(error.reason)
            return
        except BaseException as error:
            # A panic in a Rust library (tokenizers, safetensors) is no Exception.
            self._fail(error.reason if isinstance(error, ModelError) else typed_error_line(error), may_pass(error))
            return
        threads = model.inference_threads
        with self._state:
            if self._ended.is_set():
                return
            self._work_queue = work_queue
            self._description = Description(
                EngineState.READY,
                self._name,
                fingerprint=model.fingerprint,
                dimension=model.dimension,
                max_tokens=model.max_tokens,
                device=f"{model.device} {model.precision}, {threads} inference {'thread' if threads == 1 else 'threads'}",
            )
            for index in range(1, threads):
                self._start_thread(f"inference-{index}", lambda: self._run_inference_thread(model, work_queue))
            for index in range(self._tokenizer_threads):
                self._start_thread(f"tokenizer-{index}", lambda: self._tokenize_loop(model, work_queue))
            self._start_thread("watchdog", lambda: self._watch(work_queue))
        self._inference_loop(model, work_queue)

    def _warm_up(self, model: EmbeddingModel) -> WorkQueue:
        began = self._clock()
        probe = model.encode([model.probe_text])
        if probe.errors[0]:
            raise ModelError(self._name, f"the probe text failed: {probe.errors[0]}")
        spent = self._clock() - began
        tokens = max(QueueLimits().tokens, _WAITING_BATCHES * model.bounds.tokens)
        limits = self._limits or QueueLimits(tokens=tokens)
        return WorkQueue(model, limits, self._stall_limits, self._clock, spent / max(1, probe.tokens[0]))

    def _start_thread(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"shoal-encoder-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _show(self, progress: str) -> None:
        self._description = Description(EngineState.LOADING, self._name, progress=progress)

    def _run_inference_thread(self, model: EmbeddingModel, work_queue: WorkQueue) -> None:
        model.init_inference_thread()
        self._inference_loop(model, work_queue)

    def _inference_loop(self, model: EmbeddingModel, work_queue: WorkQueue) -> None:
        while (work := work_queue.next_for_inference()) is not None:
            if isinstance(work, TokenizeTask):
                self._tokenize(model, work_queue, work, by_inference_thread=True)
            else:
                self._compute(model, work_queue, work)

    def _compute(self, model: EmbeddingModel, work_queue: WorkQueue, batch: InferenceBatch) -> None:
        try:
            vectors, failed = model.forward_isolated(batch.texts)
            work_queue.end_batch(batch, vectors, failed)
        except DeviceLost as error:
            self._lose(error.reason)
        except ModelError as error:
            self._fail(error.reason)
        except Exception as error:
            # Not the fault of a single text, so a bug of Shoal: the batch fails, the engine goes on with the next.
            work_queue.fail_batch(batch, error)

    def _tokenize_loop(self, model: EmbeddingModel, work_queue: WorkQueue) -> None:
        while (task := work_queue.next_to_tokenize()) is not None:
            self._tokenize(model, work_queue, task, by_inference_thread=False)

    def _tokenize(self, model: EmbeddingModel, work_queue: WorkQueue, task: TokenizeTask, by_inference_thread: bool) -> None:
        def tokenize(texts: Sequence[str]) -> list[Tokenized]:
            return model.tokenize(texts, task.request.options)

        try:
            tokenized = [
                Tokenized(0, error=f"{TOKENIZER_RAISED}{typed_error_line(text)}") if isinstance(text, Exception) else text
                for text in run_isolated(task.texts, tokenize, fatal=ModelError)
            ]
            work_queue.end_tokenizing(task, tokenized, by_inference_thread)
        except ModelError as error:
            self._fail(error.reason)

    def _fail(self, reason: str, may_pass: bool = False) -> None:
        self._break(reason, lambda: ModelError(self._name, reason), may_pass=may_pass)

    def _lose(self, reason: str) -> None:
        self._break(reason, lambda: EngineUnavailable(f"model {self._name!r}: {reason}"), self._on_lost)

    def _break(
        self,
        reason: str,
        failure: Callable[[], Exception],
        on_lost: Callable[[str], None] | None = None,
        may_pass: bool = False,
    ) -> None:
        self._description = Description(EngineState.FAILED, self._name, error=reason, error_may_pass=may_pass)
        self._end(failure)
        if on_lost is not None:
            # Before any call fails: callers of a process that is gone try another replica.
            on_lost(reason)
        if self._work_queue is not None:
            self._work_queue.fail_all(failure())

    def _watch(self, work_queue: WorkQueue) -> None:
        checks = StallChecks(self._stall_limits, self._clock())
        while not self._ended.wait(checks.interval_s):
            if checks.due(self._clock()) and (reason := work_queue.stalled()):
                self._lose(reason)


def may_pass(error: BaseException) -> bool:
    """Whether a failure to load comes from a lack of memory, and so may pass by itself."""
    cause: BaseException | None = error
    while cause is not None:
        # torch and its OutOfMemoryError need not be installed. On a CPU torch raises a RuntimeError.
        if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
            return True
        if isinstance(cause, OSError) and cause.errno == errno.ENOMEM:
            return True
        if isinstance(cause, RuntimeError) and "DefaultCPUAllocator" in str(cause):
            return True
        cause = cause.__cause__
    return False
