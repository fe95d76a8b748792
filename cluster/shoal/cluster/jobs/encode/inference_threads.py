"""The threads that compute the batches of a part. Notices a batch that never ends, as on a GPU that hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NoReturn

from shoal.workers.encoding.engine.watchdog import StallLimits, Watchdog, was_suspended
from shoal.workers.encoding.model import EmbeddingModel, Isolated

# Longer than in a replica that answers requests: giving up a batch costs the whole part.
STALLED = StallLimits(seconds=120.0, times=20.0)
FIRST_S_PER_TOKEN = 0.01
"""Assumed before anything is measured: the speed of a large model on one core."""
_CHECKS_PER_STALL = 10


class InferenceThreads:
    """As many threads as the model can use. For one caller at a time."""

    def __init__(
        self, model: EmbeddingModel, on_stall: Callable[[str], NoReturn], limits: StallLimits | None = None
    ) -> None:
        """`on_stall` is called in the waiting thread with the reason in one line; only a new process helps then."""
        self._on_stall = on_stall
        self._limits = limits or STALLED
        self._watchdog = Watchdog(self._limits)
        self._lock = threading.Lock()
        self._busy_s, self._tokens = 0.0, 0
        self._threads = ThreadPoolExecutor(
            model.inference_threads, "shoal-inference", initializer=model.init_inference_thread
        )

    def run(
        self, compute: Callable[[Sequence[int]], Isolated], batches: Sequence[Sequence[int]], counts: Sequence[int]
    ) -> Iterator[Isolated]:
        """The results of `compute` for each batch, in order. Batches hold rows; `counts` has the tokens of each row."""
        futures = [self._threads.submit(self._timed, compute, batch, sum(counts[row] for row in batch)) for batch in batches]
        try:
            for future in futures:
                self._watch(future)
                yield future.result()
        finally:
            for future in futures:
                future.cancel()

    def _watch(self, future: Future[Isolated]) -> None:
        interval_s = self._limits.seconds / _CHECKS_PER_STALL
        checked_at = time.monotonic()
        while not wait([future], interval_s).done:
            before, checked_at = checked_at, time.monotonic()
            if was_suspended(checked_at - before, interval_s):
                continue
            with self._lock:
                reason = self._watchdog.stalled(checked_at)
            if reason:
                self._on_stall(reason)

    def _timed(self, compute: Callable[[Sequence[int]], Isolated], batch: Sequence[int], tokens: int) -> Isolated:
        thread, began = threading.get_ident(), time.monotonic()
        with self._lock:
            s_per_token = self._busy_s / self._tokens if self._tokens else FIRST_S_PER_TOKEN
            what = f"a batch of {len(batch)} texts with {tokens} tokens"
            self._watchdog.begin(thread, what, began, tokens * s_per_token)
        try:
            return compute(batch)
        finally:
            with self._lock:
                self._watchdog.end(thread)
                self._busy_s += time.monotonic() - began
                self._tokens += tokens
