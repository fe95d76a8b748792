"""The threads around a model: its lanes compute batches, readers prepare texts with its tokenizer, and a watchdog looks on.

What they do next is the workload's and its scheduler's decision; how requests arrive is the service's.
"""

from __future__ import annotations

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
from shoal.workers.encoding.engine.watchdog import StallLimits, stood_still
from shoal.workers.encoding.engine.work_queue import Batch, Load, Reading, Workload
from shoal.workers.encoding.model import (
    AS_DOCUMENT,
    DeviceLost,
    EmbeddingModel,
    EncodeOptions,
    ModelError,
    Role,
    Tokenized,
    one_line,
)

Progress = Callable[[str], None]
"""Told what loading is at, in a few words for people to read."""

# What may wait is at least so many batches, whatever the size of a batch.
_WAITING_BATCHES = 16
_CHECKS_PER_STALL = 10


class EngineState(Enum):
    """Where the model of an engine stands."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class EngineUnavailable(Exception):
    """Another replica, or a later attempt, may answer: the model is still loading, or the engine was closed or lost."""


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of an engine's model; the numbers are 0 until it is ready."""

    state: EngineState
    model: str
    fingerprint: str = ""
    dimension: int = 0
    max_tokens: int = 0
    error: str = ""
    progress: str = ""
    """What loading is at."""
    device: str = ""
    """Where and in what precision the model computes, for people to read."""


class EncoderEngine:
    """Loads a model in a thread of its own and encodes what `submit` brings. All methods are thread-safe."""

    def __init__(
        self,
        model: str,
        load: Callable[[Progress], EmbeddingModel],
        limits: QueueLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        readers: int = 1,
        stall_limits: StallLimits | None = None,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        """`model` is the name to show while `load` runs; `load` is called once, in a thread of the engine.

        `readers` threads read texts while the lanes compute. `on_lost` is called with the reason when only a new process
        helps, for the device was lost or a batch does not end; nothing has been answered then.
        """
        self._name = model
        self._load_model = load
        self._limits = limits
        self._clock = clock
        self._readers = readers
        self._stall_limits = stall_limits or StallLimits()
        self._on_lost = on_lost
        self._state = threading.Lock()
        self._ended = threading.Event()
        self._description = Description(EngineState.LOADING, model)
        self._failure: Callable[[], Exception] | None = None
        self._workload: Workload | None = None
        self._threads = [threading.Thread(target=self._run, name="shoal-encoder-lane-0", daemon=True)]

    def start(self) -> None:
        """Begins to load the model; returns at once."""
        self._threads[0].start()

    def describe(self) -> Description:
        """The model and its state, without waiting for anything."""
        return self._description

    def load(self) -> Load:
        """What there is to do and what was done; zeros until the model is ready."""
        return Load() if self._workload is None else self._workload.load()

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
        while the model loads, ModelError when it failed to load, QueueFull when too much waits, ValueError when there
        are no texts.
        """
        if not texts:
            raise ValueError("texts is empty, the least is 1")
        if self._failure is not None:
            raise self._failure()
        if self._workload is None:
            raise EngineUnavailable(f"model {self._name!r} is loading")
        if priority is None:
            priority = Priority.QUERY if options.role is Role.QUERY else Priority.LIVE
        future = self._workload.submit(texts, options, priority, timeout_s)
        if future is None:
            raise self._failure() if self._failure is not None else self._closed()
        return future

    def close(self, timeout_s: float = 10.0) -> None:
        """Fails what waits and ends the threads; waits at most `timeout_s` for batches in progress, or for loading."""
        self._end(self._closed)
        until = time.monotonic() + timeout_s
        for thread in list(self._threads):
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))
        if self._workload is not None:
            self._workload.fail_all(self._closed())

    def _closed(self) -> Exception:
        return EngineUnavailable(f"the encoder of model {self._name!r} was closed")

    def _end(self, failure: Callable[[], Exception]) -> None:
        with self._state:
            self._failure = self._failure or failure
            self._ended.set()
        if self._workload is not None:
            self._workload.end()

    def _run(self) -> None:
        """Loads the model, then is its first lane: some libraries want the thread that loaded."""
        try:
            model = self._load_model(self._show)
            self._show("warming up")
            model.enter_lane()
            workload = self._warmed(model)
        except DeviceLost as error:
            self._lose(error.reason)
            return
        except Exception as error:
            self._fail(error.reason if isinstance(error, ModelError) else one_line(error))
            return
        with self._state:
            if self._ended.is_set():
                return
            self._workload = workload
            self._description = Description(
                EngineState.READY,
                self._name,
                fingerprint=model.fingerprint,
                dimension=model.dimension,
                max_tokens=model.max_tokens,
                device=f"{model.device} {model.precision}, {model.lanes} {'lane' if model.lanes == 1 else 'lanes'}",
            )
            for number in range(1, model.lanes):
                self._begin(f"lane-{number}", lambda: self._enter_lane(model, workload))
            for number in range(self._readers):
                self._begin(f"reader-{number}", lambda: self._read_on(model, workload))
            self._begin("watchdog", lambda: self._watch(workload))
        self._work(model, workload)

    def _warmed(self, model: EmbeddingModel) -> Workload:
        began = self._clock()
        probe = model.encode([model.probe_text])
        if probe.errors[0]:
            raise ModelError(self._name, f"a first text failed: {probe.errors[0]}")
        spent = self._clock() - began
        least = max(QueueLimits().tokens, _WAITING_BATCHES * model.bounds.tokens)
        limits = self._limits or QueueLimits(tokens=least)
        return Workload(model, limits, self._stall_limits, self._clock, spent / max(1, probe.tokens[0]))

    def _begin(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"shoal-encoder-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _show(self, progress: str) -> None:
        self._description = Description(EngineState.LOADING, self._name, progress=progress)

    def _enter_lane(self, model: EmbeddingModel, workload: Workload) -> None:
        model.enter_lane()
        self._work(model, workload)

    def _work(self, model: EmbeddingModel, workload: Workload) -> None:
        while (work := workload.next_for_lane()) is not None:
            if isinstance(work, Reading):
                self._read(model, workload, work, by_lane=True)
            else:
                self._compute(model, workload, work)

    def _compute(self, model: EmbeddingModel, workload: Workload, batch: Batch) -> None:
        try:
            vectors, failed = model.forward_isolated(batch.texts)
            workload.end_batch(batch, vectors, failed)
        except DeviceLost as error:
            self._lose(error.reason)
        except ModelError as error:
            self._fail(error.reason)
        except Exception as error:
            # What no single text is to blame for is a fault of ours, and the next batch deserves its chance.
            workload.fail_batch(batch, error)

    def _read_on(self, model: EmbeddingModel, workload: Workload) -> None:
        while (reading := workload.next_for_reader()) is not None:
            self._read(model, workload, reading, by_lane=False)

    def _read(self, model: EmbeddingModel, workload: Workload, reading: Reading, by_lane: bool) -> None:
        def tokenize(texts: Sequence[str]) -> list[Tokenized]:
            return model.tokenize(texts, reading.request.options)

        try:
            read = [
                Tokenized(0, error=f"the tokenizer failed: {one_line(text)}") if isinstance(text, Exception) else text
                for text in run_isolated(reading.texts, tokenize, fatal=ModelError)
            ]
            workload.end_reading(reading, read, by_lane)
        except ModelError as error:
            self._fail(error.reason)

    def _fail(self, reason: str) -> None:
        self._break(reason, lambda: ModelError(self._name, reason))

    def _lose(self, reason: str) -> None:
        self._break(reason, lambda: EngineUnavailable(f"model {self._name!r}: {reason}"), self._on_lost)

    def _break(self, reason: str, failure: Callable[[], Exception], on_lost: Callable[[str], None] | None = None) -> None:
        self._description = Description(EngineState.FAILED, self._name, error=reason)
        self._end(failure)
        if on_lost is not None:
            # Before any call fails: callers of a process that has gone go elsewhere.
            on_lost(reason)
        if self._workload is not None:
            self._workload.fail_all(failure())

    def _watch(self, workload: Workload) -> None:
        interval_s = self._stall_limits.seconds / _CHECKS_PER_STALL
        looked_at = self._clock()
        while not self._ended.wait(interval_s):
            before, looked_at = looked_at, self._clock()
            if not stood_still(looked_at - before, interval_s) and (reason := workload.stalled()):
                self._lose(reason)
