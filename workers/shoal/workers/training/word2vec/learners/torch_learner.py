"""A learner with its tables on a CUDA device. `torch_step` computes the changes of a batch.

Tested with torch on the CPU; not yet tested on a GPU.

All gradients of a batch are computed from the same tables, so a word that is common in it is moved many times from one
point. The plain sum works with batches of 64 words and diverges with 1024. The norm-ratio rule within a batch, and limits
by curvature, cost more and were not better than limiting the sum of the learning rates of a row. With that limit, on the
first words of an English Wikipedia of 2015, one seed each, skip-gram, dim 100, learning rate 0.05 (WordSim-353, MEN,
analogies; gensim had 53.1, 48.1, 11.6 on 4 M words):

    words, epochs   CPU kernel         batches of 1024    4096               8192               16384
    1 M, 3          35.0, 33.3,  3.4   36.1, 32.2,  4.2   30.4, 28.0,  3.7
    4 M, 3          52.4, 48.8, 12.2                      52.8, 49.4, 12.6
    16 M, 1         58.7, 48.7, 20.8                      59.3, 48.9, 21.3   58.6, 48.1, 20.4   57.2, 46.2, 20.1
    4 M, 3, CBOW    43.7, 42.1, 10.9                      45.3, 42.0,  9.1
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shoal.workers.runtime import first_error_line
from shoal.workers.training.word2vec.errors import TrainingError, diverged
from shoal.workers.training.word2vec.kernels.sampling import Counts
from shoal.workers.training.word2vec.learner import SENTENCE_END, Ids, ModelDelta, TableDelta, TrainResult
from shoal.workers.training.word2vec.learners.torch_step import cbow_step, skip_gram_step
from shoal.workers.training.word2vec.learners.torch_windows import Sampler, WordBatch, sent
from shoal.workers.training.word2vec.learners.training_device import missing_cuda
from shoal.workers.training.word2vec.settings import Word2VecSettings
from shoal.workers.training.word2vec.tables import Floats, Tables

SMALLEST_BATCH, LARGEST_BATCH = 64, 8192
BATCHES = 1000
"""Least number of batches in an epoch: with fewer steps the vectors get worse."""
MOST_RATE = 4.8
"""Limit to the sum of the learning rates of a row in a batch. With about twice as much, batches of 4096 words diverged;
with half as much, fewer analogies were right (10.8 instead of 12.1)."""
DRAWN_AT_ONCE = 1 << 23
"""Contexts and negatives that are prepared at once; bounds the memory for them."""
COMPARED_ROWS = 1 << 16
"""Rows that are compared with the base at once."""


class TorchLearner:
    """A `Learner`: skip-gram and CBOW with shared negatives, in batches of words whose gradients are computed from the same
    tables.

    A batch that does not fit into the device's memory is halved, and so are all later ones. On the CPU the same seed gives
    the same floats; on CUDA the order of summation varies, so that two runs differ as two seeds do. Products are computed in
    float32: TF32 is off unless the process enables it (`torch.set_float32_matmul_precision`).
    """

    def __init__(
        self,
        settings: Word2VecSettings,
        counts: Counts,
        tables: Tables,
        *,
        device: str = "cuda",
        batch_words: int = 0,
    ) -> None:
        """`counts` (words,) int64. Raises TrainingError when the device is not available."""
        if settings.exact:
            raise TrainingError("exact is True, must be False for training with torch: its updates are sequential")
        if device.startswith("cuda") and (lack := missing_cuda()):
            raise TrainingError(f"device is {device!r}, but {lack}; use device 'cpu'")
        self._settings = settings
        self._device = torch.device(device)
        self._dim = tables.dim
        self._sampler = Sampler(counts, settings.sample, settings.negative_power, self._device)
        self._step = cbow_step if settings.cbow else skip_gram_step
        try:
            self._input = torch.tensor(tables.input, device=self._device)
            self._output = torch.tensor(tables.output, device=self._device)
        except torch.OutOfMemoryError as error:
            size = tables.input.nbytes + tables.output.nbytes
            raise TrainingError(
                f"{device} has too little memory for tables of {size / 1e6:,.0f} MB: {first_error_line(error)}"
            ) from error
        self._base: tuple[Tensor, Tensor] | None = None
        self.batch_words = batch_words or self._fitting_batch(int(counts.sum()))
        """Words in a batch. Halved when the device runs out of memory."""

    def train(self, ids: Ids, first_rate: float, last_rate: float, seed: int) -> TrainResult:
        """See `Learner.train`; the loss is of all pairs. Raises TrainingError when an id is not in the vocabulary, or when
        the device's memory is too small even for a small batch."""
        if len(ids) and not (ids.min() >= SENTENCE_END and ids.max() < len(self._input)):
            # On a GPU such an id would crash the process.
            raise TrainingError(
                f"the text has ids {ids.min()} to {ids.max()}, must be between -1 and {len(self._input) - 1}"
            )
        settings, words = self._settings, int(np.count_nonzero(ids != SENTENCE_END))
        fall = (last_rate - first_rate) / max(1, len(ids))
        loss = torch.zeros(2, dtype=torch.float64, device=self._device)
        self._sampler.begin(seed)
        try:
            for begin, end in pieces(ids, DRAWN_AT_ONCE // (2 * settings.window + settings.negative + 1)):
                rates = first_rate + fall * begin, first_rate + fall * end
                self._learn(self._sampler.batch(ids[begin:end], rates, settings.window, settings.negative), loss)
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"{self._device} has too little memory for {SMALLEST_BATCH} words at once: {first_error_line(error)}"
            ) from error
        total, pairs = loss.tolist()
        return TrainResult(words, total, int(pairs))

    def delta(self, rows: int) -> ModelDelta:
        """See `Learner.delta`."""
        input, output = self._tracked()
        return ModelDelta(self._table_delta(self._input, input, rows), self._table_delta(self._output, output, rows))

    def apply(self, rows: int, *merged: ModelDelta) -> None:
        """See `Learner.apply`."""
        input, output = self._tracked()
        for change in merged:
            for base, delta in ((input, change.input), (output, change.output)):
                indexes = sent(delta.rows.astype(np.int64), self._device)
                base.index_add_(0, indexes, sent(delta.values, self._device))
        self._input[:rows].copy_(input[:rows])
        self._output[:rows].copy_(output[:rows])

    def tables(self) -> Tables:
        """See `Learner.tables`. They are copied from the device."""
        tables = Tables.empty(len(self._input), self._dim)
        torch.from_numpy(tables.input).copy_(self._input)
        torch.from_numpy(tables.output).copy_(self._output)
        return tables

    def rows(self, which: slice) -> tuple[Floats, Floats]:
        """See `Learner.rows`. Only these are copied from the device."""
        return self._input[which].cpu().numpy(), self._output[which].cpu().numpy()

    def base_rows(self, rows: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """See `Learner.base_rows`. Only these are copied from the device."""
        indexes = sent(rows, self._device)
        input, output = self._tracked()
        return input[indexes].cpu().numpy(), output[indexes].cpu().numpy()

    def load(self, tables: Tables) -> None:
        """See `Learner.load`."""
        self._input.copy_(torch.tensor(tables.input))
        self._output.copy_(torch.tensor(tables.output))
        if self._base is not None:
            self.track()

    def track(self) -> None:
        """See `Learner.track`. Raises TrainingError when the device's memory is too small for a second copy of the
        tables."""
        self._base = None
        try:
            self._base = self._input.clone(), self._output.clone()
        except torch.OutOfMemoryError as error:
            size = 4 * (self._input.numel() + self._output.numel())
            raise TrainingError(
                f"{self._device} has no memory for a copy of {size / 1e6:,.0f} MB: {first_error_line(error)}"
            ) from error

    def _tracked(self) -> tuple[Tensor, Tensor]:
        if self._base is None:
            raise RuntimeError("the tables were not tracked")
        return self._base

    def _fitting_batch(self, corpus_words: int) -> int:
        free = torch.cuda.mem_get_info(self._device)[0] if self._device.type == "cuda" else sys.maxsize
        return fitting_batch(corpus_words, word_bytes(self._settings, self._input.shape[1]), free)

    def _learn(self, text: WordBatch, loss: Tensor) -> None:
        """Trains on a text in batches, and adds the sum of losses and the number of pairs to `loss` (2,). Never waits for
        the device."""
        begin = 0
        while begin < len(text):
            end = min(len(text), begin + self.batch_words)
            try:
                step = self._step(self._input, self._output, text.part(begin, end), MOST_RATE)
            except torch.OutOfMemoryError:
                if self.batch_words <= SMALLEST_BATCH:
                    raise
                # Nothing of this batch has been applied yet.
                self.batch_words //= 2
                if self._device.type == "cuda":
                    torch.cuda.empty_cache()
                continue
            step.apply(self._input, self._output)
            loss += torch.stack([step.loss, step.pairs])
            begin = end

    def _table_delta(self, table: Tensor, base: Tensor, rows: int) -> TableDelta:
        found: list[tuple[Ids, Floats]] = []
        for begin in range(0, rows, COMPARED_ROWS):
            change = table[begin : min(rows, begin + COMPARED_ROWS)] - base[begin : min(rows, begin + COMPARED_ROWS)]
            # NaN differs from 0, too.
            changed = (change != 0).any(1).nonzero().squeeze(1)
            values = change[changed]
            if not bool(torch.isfinite(values).all()):
                raise diverged(self._settings.first_rate)
            found.append(((changed + begin).int().cpu().numpy(), values.cpu().numpy()))
        if not found:
            return TableDelta(np.empty(0, np.int32), np.empty((0, table.shape[1]), np.float32))
        return TableDelta(np.concatenate([ids for ids, _ in found]), np.concatenate([values for _, values in found]))


def word_bytes(settings: Word2VecSettings, width: int) -> int:
    """Estimated memory for a word in a batch: rows of both tables, their changes, and values for each pair."""
    contexts, targets = 2 * settings.window, settings.negative + 1
    return 4 * (2 * width * (contexts + targets) + 8 * contexts * targets)


def fitting_batch(corpus_words: int, each_bytes: int, free_bytes: int) -> int:
    """The number of words in a batch, a power of two: small enough for a corpus of `corpus_words` words, and for half of the
    free memory, with `each_bytes` for a word."""
    most = min(corpus_words // BATCHES, free_bytes // (2 * each_bytes), LARGEST_BATCH)
    return max(SMALLEST_BATCH, 1 << max(0, most.bit_length() - 1))


def pieces(ids: Ids, size: int) -> Iterator[tuple[int, int]]:
    """Cuts `ids` (n,) into parts of at most `size` ids, at the end of a sentence if there is one. Yields begin and end."""
    begin = 0
    while begin < len(ids):
        end = min(len(ids), begin + size)
        ends = np.flatnonzero(ids[begin:end] == SENTENCE_END)
        if end < len(ids) and len(ends):
            end = begin + int(ends[-1]) + 1
        yield begin, end
        begin = end
