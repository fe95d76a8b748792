"""A member of a learner pool: a learner with its corpus, and its part in rounds and merges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shoal.workers.training.word2vec.averaging.contraction import Contraction
from shoal.workers.training.word2vec.averaging.merge import MergeScheme, merge
from shoal.workers.training.word2vec.corpus.encoded_corpus import EncodedCorpus
from shoal.workers.training.word2vec.errors import TrainingError
from shoal.workers.training.word2vec.learner import Learner, ModelDelta, TrainResult
from shoal.workers.training.word2vec.run.learner_pool import Assignment
from shoal.workers.training.word2vec.run.schedule import SpanLease
from shoal.workers.training.word2vec.scratch_buffers import ScratchBuffers
from shoal.workers.training.word2vec.settings import Word2VecSettings
from shoal.workers.training.word2vec.tables import Tables

LearnerFactory = Callable[[Word2VecSettings, npt.NDArray[np.int64], Tables, int], Learner]
"""Makes a learner from the settings, the counts of the words, the initial tables and the number of threads."""
COMPARED_ROWS = 64


def cpu_learner(settings: Word2VecSettings, counts: npt.NDArray[np.int64], tables: Tables, threads: int) -> Learner:
    """A learner on the CPU."""
    from shoal.workers.training.word2vec.learners.cpu_learner import CpuLearner

    return CpuLearner(settings, counts, tables, threads)


def cuda_learner(settings: Word2VecSettings, counts: npt.NDArray[np.int64], tables: Tables, threads: int) -> Learner:
    """A learner on a CUDA device. Raises TrainingError when there is none."""
    from shoal.workers.training.word2vec.learners.torch_learner import TorchLearner

    return TorchLearner(settings, counts, tables, device="cuda")


@dataclass(frozen=True, slots=True)
class SyncResult:
    """The result of a merge at one learner."""

    digest: str
    """Digest of a sample of the merged rows. It must be the same at all learners."""
    sent: int
    """Bytes that this learner sent to others."""


class PoolLearner:
    """Methods raise TrainingError. A merge is `delta`, `merge_range` and `apply`, in this order."""

    def __init__(self, assignment: Assignment, make: LearnerFactory, threads: int, alone: bool) -> None:
        """`make` makes the learner. One that is `alone` never merges."""
        self._assignment = assignment
        self._make = make
        self._threads = threads
        self._alone = alone
        self._corpus = EncodedCorpus.open(Path(assignment.corpus))
        self._contraction = Contraction(assignment.settings, self._corpus.vocabulary.counts)
        self._lr_words = np.zeros(len(self._corpus.vocabulary.words))
        self._learner: Learner | None = None
        self._own: ModelDelta | None = None
        self._buffers = ScratchBuffers(), ScratchBuffers()
        self._sent = 0

    def load(self, tables: Tables | None) -> None:
        """Continues from `tables`, or starts a new training."""
        settings = self._assignment.settings
        vocabulary = self._corpus.vocabulary
        self._lr_words[:] = 0
        if tables is None:
            tables = Tables.initial(len(vocabulary.words), settings.dim, settings.seed)
        if self._learner is None:
            self._learner = self._make(settings, vocabulary.counts, tables, self._threads)
            if not self._alone:
                self._learner.track()
        else:
            self._learner.load(tables)

    def train(self, lease: SpanLease) -> TrainResult:
        """Trains on the spans of a lease as one text."""
        ids = np.concatenate([self._corpus.ids(self._corpus.spans[span]) for span in lease.spans])
        trained = self._known().train(ids, lease.first_rate, lease.last_rate, lease.seed)
        # Counted by the spans, because learners may count differently.
        return TrainResult(lease.words, trained.loss, trained.pairs)

    def delta(self, rows: int, cuts: Sequence[int], own: int) -> list[ModelDelta]:
        """The changes of the first `rows` rows, cut at `cuts` (0 to `rows`, ascending), without part `own`, which stays here
        because this learner merges it."""
        delta = self._known().delta(rows)
        parts = [ModelDelta(delta.input.between(low, high), delta.output.between(low, high)) for low, high in pairwise(cuts)]
        self._own = parts.pop(own)
        self._sent = sum(part.nbytes for part in parts)
        return parts

    def merge_range(self, own: int, lr_words: float, others: Sequence[ModelDelta]) -> ModelDelta:
        """Merges one range of rows of all learners: the part of this learner, whose index is `own`, and those of the
        others in their order. `lr_words` is the learners' mean of words times learning rate since the last merge."""
        if self._own is None:
            raise TrainingError("delta was not called on this learner")
        scheme = self._assignment.scheme
        deltas = [*others[:own], self._own, *others[own:]]
        self._own = None
        count = len(deltas)
        pulls = None
        if scheme is MergeScheme.CONTRACTION:
            base = self._known().base_rows(self._contraction.sample)
            pulls = self._contraction.pulls(*base, self._lr_words + lr_words)
        merged = ModelDelta(
            merge(scheme, [delta.input for delta in deltas], count, pulls and pulls.input, self._buffers[0]),
            merge(scheme, [delta.output for delta in deltas], count, pulls and pulls.output, self._buffers[1]),
        )
        self._sent += merged.nbytes * (len(deltas) - 1)
        return merged

    def apply(self, rows: int, lr_words: float, ranges: Sequence[ModelDelta]) -> SyncResult:
        """Applies the merged ranges, in the order of their rows. For `lr_words` see `merge_range`."""
        learner = self._known()
        # For rows that were not merged it accumulates.
        self._lr_words += lr_words
        self._lr_words[:rows] = 0
        learner.apply(rows, *ranges)
        hashed = blake2b(digest_size=16)
        for sample in learner.rows(slice(0, rows, max(1, rows // COMPARED_ROWS))):
            hashed.update(sample.tobytes())
        return SyncResult(hashed.hexdigest(), self._sent)

    def sync(self) -> Tables:
        """The tables, which become the base of this learner, as a new learner is about to start with them."""
        learner = self._known()
        tables = learner.tables()
        learner.load(tables)
        self._lr_words[:] = 0
        return tables

    def tables(self) -> Tables:
        """The current tables. The next call may change them."""
        return self._known().tables()

    def _known(self) -> Learner:
        if self._learner is None:
            raise TrainingError("this learner has no tables yet")
        return self._learner
