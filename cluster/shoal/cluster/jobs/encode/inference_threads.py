"""The threads that compute a part's batches, and who notices that one of them never comes back, as on a GPU that hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NoReturn

from shoal.workers.encoding.engine.watchdog import StallLimits, Watchdog, was_suspended
from shoal.workers.encoding.model import EmbeddingModel, Isolated

# More patient than the replicas that somebody waits for: a batch given up costs the whole part.
STALLED = StallLimits(seconds=120.0, times=20.0)
FIRST_S_PER_TOKEN = 0.01
"""Expected before anything has been measured: of a large model on one core."""
_CHECKS_PER_STALL = 10


class Lanes:
    """As many threads as the model has lanes. One caller at a time."""

    def __init__(
        self, model: EmbeddingModel, on_stall: Callable[[str], NoReturn], limits: StallLimits | None = None
    ) -> None:
        """`on_stall` is called by whoever waits, with what takes so long in one line; nothing helps but a new process."""
        self._on_stall = on_stall
        self._limits = limits or STALLED
        self._watchdog = Watchdog(self._limits)
        self._lock = threading.Lock()
        self._busy_s, self._tokens = 0.0, 0
        self._threads = ThreadPoolExecutor(model.inference_threads, "shoal-lane", initializer=model.init_inference_thread)

    def run(
        self, compute: Callable[[Sequence[int]], Isolated], batches: Sequence[Sequence[int]], counts: Sequence[int]
    ) -> Iterator[Isolated]:
        """What `compute` makes of each batch, in order. Batches hold rows, and `counts` the tokens of each row."""
        futures = [self._threads.submit(self._timed, compute, batch, sum(counts[row] for row in batch)) for batch in batches]
        try:
            for future in futures:
                self._attend(future)
                yield future.result()
        finally:
            for future in futures:
                future.cancel()

    def _attend(self, future: Future[Isolated]) -> None:
        interval_s = self._limits.seconds / _CHECKS_PER_STALL
        looked_at = time.monotonic()
        while not wait([future], interval_s).done:
            before, looked_at = looked_at, time.monotonic()
            if was_suspended(looked_at - before, interval_s):
                continue
            with self._lock:
                reason = self._watchdog.stalled(looked_at)
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
