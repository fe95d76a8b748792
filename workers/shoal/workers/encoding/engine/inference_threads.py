"""Inference threads for bulk work, which has its batches at hand. The engine schedules requests as they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NoReturn

from shoal.workers.encoding.engine.watchdog import BatchTimes, StallChecks, StallLimits, Watchdog
from shoal.workers.encoding.model import EmbeddingModel, Isolated

# More patient than an engine, for which callers wait: giving up a batch costs its whole part.
BULK_STALL_LIMITS = StallLimits(seconds=120.0, times=20.0)
FIRST_S_PER_TOKEN = 0.01
"""Expected before anything has been measured: that of a large model on one core."""


class InferenceThreads:
    """The inference threads of a model, and a watch over them by the caller of `run`. One caller at a time."""

    def __init__(
        self, model: EmbeddingModel, on_stall: Callable[[str], NoReturn], limits: StallLimits | None = None
    ) -> None:
        """`on_stall` is called in the caller's thread with a one-line reason when the process must be restarted."""
        self._on_stall = on_stall
        self._limits = limits or BULK_STALL_LIMITS
        self._watchdog = Watchdog(self._limits)
        self._times = BatchTimes(FIRST_S_PER_TOKEN)
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(
            model.inference_threads, "shoal-inference", initializer=model.init_inference_thread
        )

    def run(
        self, compute: Callable[[Sequence[int]], Isolated], batches: Sequence[Sequence[int]], counts: Sequence[int]
    ) -> Iterator[Isolated]:
        """The results of `compute` for each batch, in order. Batches hold rows; `counts` are the tokens of each row."""
        futures = [self._threads.submit(self._timed, compute, batch, sum(counts[row] for row in batch)) for batch in batches]
        try:
            for future in futures:
                self._watch(future)
                yield future.result()
        finally:
            for future in futures:
                future.cancel()

    def _watch(self, future: Future[Isolated]) -> None:
        checks = StallChecks(self._limits, time.monotonic())
        while not wait([future], checks.interval_s).done:
            now = time.monotonic()
            if not checks.due(now):
                continue
            with self._lock:
                reason = self._watchdog.stalled(now)
            if reason:
                self._on_stall(reason)

    def _timed(self, compute: Callable[[Sequence[int]], Isolated], batch: Sequence[int], tokens: int) -> Isolated:
        thread, began = threading.get_ident(), time.monotonic()
        with self._lock:
            self._watchdog.begin_batch(thread, len(batch), tokens, began, self._times.expected_s(tokens))
        try:
            return compute(batch)
        finally:
            with self._lock:
                self._watchdog.end(thread)
                self._times.add(tokens, time.monotonic() - began)
