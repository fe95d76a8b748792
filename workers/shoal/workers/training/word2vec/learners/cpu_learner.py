"""Trains tables on the CPU with the compiled kernels, in one thread or in several that share the tables."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shoal.workers.training.word2vec.averaging.deltas import apply_deltas, changed_rows
from shoal.workers.training.word2vec.errors import TrainingError, diverged
from shoal.workers.training.word2vec.kernels.cbow import cbow_kernel
from shoal.workers.training.word2vec.kernels.sampling import Counts, RateDecay, Sampling
from shoal.workers.training.word2vec.kernels.skipgram import pair_kernel, window_kernel
from shoal.workers.training.word2vec.learner import SENTENCE_END, Ids, ModelDelta, TableDelta, TrainResult
from shoal.workers.training.word2vec.scratch_buffers import ScratchBuffers
from shoal.workers.training.word2vec.settings import Word2VecSettings
from shoal.workers.training.word2vec.tables import Floats, Tables

MEASURE_EVERY = 64
"""The loss is computed for one word in this many, because it costs more than the step itself."""
LONGEST_SENTENCE = 10_000
"""Longer sentences are cut, as in gensim."""


class Kernel(Protocol):
    """A compiled kernel, which does not hold the GIL."""

    def __call__(
        self,
        ids: Ids,
        input: Floats,
        output: Floats,
        sampling: Sampling,
        decay: RateDecay,
        window: int,
        state: np.uint64,
        kept: Ids,
        measure_every: int,
    ) -> tuple[float, int]:
        """Trains `input` and `output` (words, width) float32 in place on `ids`: sentences with a negative id after each.

        The learning rate changes from sentence to sentence, as `decay` says (float64). `kept` is a buffer for a sentence;
        longer ones are cut. Returns the loss of the pairs of every `measure_every`-th word, and the number of these pairs.
        """
        ...


def kernel_for(settings: Word2VecSettings, width: int) -> Kernel:
    """The kernel for `settings`. It is compiled at the first call, unless it is cached on disk."""
    if settings.cbow:
        return cbow_kernel(width, settings.negative)
    return pair_kernel(width, settings.negative) if settings.exact else window_kernel(width, settings.negative)


class CpuLearner:
    """A `Learner`. Threads write to the tables without locks (Niu et al. 2011, "Hogwild!"), so the same seed gives the same
    floats only with one thread."""

    def __init__(self, settings: Word2VecSettings, counts: Counts, tables: Tables, threads: int = 1) -> None:
        """`counts` (words,) int64 are the counts of the words in the whole corpus. Trains a copy of `tables`."""
        if threads < 1:
            raise TrainingError(f"threads is {threads}, must be at least 1")
        self._settings = settings
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._sampling = Sampling.of(counts, settings.sample, settings.negative_power)
        self._kernel = kernel_for(settings, tables.input.shape[1])
        self._tables = Tables.empty(tables.count, tables.dim)
        self._base: Tables | None = None
        self._buffers = ScratchBuffers(), ScratchBuffers()
        self.load(tables)

    def train(self, ids: Ids, first_rate: float, last_rate: float, seed: int) -> TrainResult:
        """See `Learner.train`."""
        if self._threads == 1:
            return self._train(ids, first_rate, last_rate, seed, 0)
        cuts = _sentence_cuts(ids, self._threads)
        rates = [first_rate + (last_rate - first_rate) * cut / max(1, len(ids)) for cut in cuts]
        parts = [
            self._pool.submit(self._train, ids[cuts[n] : cuts[n + 1]], rates[n], rates[n + 1], seed, n)
            for n in range(self._threads)
            if cuts[n] < cuts[n + 1]
        ]
        return sum((part.result() for part in parts), TrainResult(0, 0.0, 0))

    def _train(self, ids: Ids, first_rate: float, last_rate: float, seed: int, thread: int) -> TrainResult:
        state = np.random.SeedSequence((seed, thread)).generate_state(1, np.uint64)[0]
        loss, pairs = self._kernel(
            ids,
            self._tables.input,
            self._tables.output,
            self._sampling,
            RateDecay(float(first_rate), float(last_rate)),
            self._settings.window,
            state,
            np.empty(LONGEST_SENTENCE, np.int32),
            MEASURE_EVERY,
        )
        return TrainResult(int(np.count_nonzero(ids >= 0)), loss, pairs)

    def delta(self, rows: int) -> ModelDelta:
        """See `Learner.delta`. The first call allocates memory of the size of the tables."""
        base = self._tracked()
        tables, buffers = self._tables, self._buffers
        return ModelDelta(
            self._table_delta(tables.input, base.input, rows, buffers[0]),
            self._table_delta(tables.output, base.output, rows, buffers[1]),
        )

    def _table_delta(self, table: Floats, base: Floats, rows: int, buffers: ScratchBuffers) -> TableDelta:
        found, finite = changed_rows(table, base, rows, buffers)
        if not finite:
            raise diverged(self._settings.first_rate)
        return found

    def apply(self, rows: int, *merged: ModelDelta) -> None:
        """See `Learner.apply`."""
        base = self._tracked()
        apply_deltas(self._tables.input, base.input, rows, [delta.input for delta in merged])
        apply_deltas(self._tables.output, base.output, rows, [delta.output for delta in merged])

    def tables(self) -> Tables:
        """See `Learner.tables`."""
        return self._tables

    def rows(self, which: slice) -> tuple[Floats, Floats]:
        """See `Learner.rows`."""
        return self._tables.input[which], self._tables.output[which]

    def base_rows(self, rows: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """See `Learner.base_rows`."""
        base = self._tracked()
        return base.input[rows], base.output[rows]

    def load(self, tables: Tables) -> None:
        """See `Learner.load`."""
        self._tables.input[:] = tables.input
        self._tables.output[:] = tables.output
        if self._base is not None:
            self._base.input[:] = tables.input
            self._base.output[:] = tables.output

    def track(self) -> None:
        """See `Learner.track`."""
        self._base = Tables.empty(self._tables.count, self._tables.dim)
        self.load(self._tables)

    def _tracked(self) -> Tables:
        if self._base is None:
            raise RuntimeError("the tables were not tracked")
        return self._base


def _sentence_cuts(ids: Ids, parts: int) -> list[int]:
    """parts + 1 indexes of `ids`, about evenly spaced, with whole sentences between them."""
    ends = np.flatnonzero(ids == SENTENCE_END) + 1
    cuts = [0]
    for part in range(1, parts):
        wanted = len(ids) * part // parts
        nearest = int(np.searchsorted(ends, wanted))
        cuts.append(max(cuts[-1], int(ends[nearest]) if nearest < len(ends) else len(ids)))
    return [*cuts, len(ids)]
