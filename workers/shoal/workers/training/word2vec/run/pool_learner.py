"""One learner with its text: what it is asked for in a round. Where it runs, and who asks, is not known here."""

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
"""Makes a learner from the settings, the counts of the words, the tables to begin with, and a number of threads."""
COMPARED_ROWS = 64


def cpu_learner(settings: Word2VecSettings, counts: npt.NDArray[np.int64], tables: Tables, threads: int) -> Learner:
    """A learner on the CPU."""
    from shoal.workers.training.word2vec.learners.cpu_learner import CpuLearner

    return CpuLearner(settings, counts, tables, threads)


def cuda_learner(settings: Word2VecSettings, counts: npt.NDArray[np.int64], tables: Tables, threads: int) -> Learner:
    """A learner on a CUDA device; raises TrainingError where there is none."""
    from shoal.workers.training.word2vec.learners.torch_learner import TorchLearner

    return TorchLearner(settings, counts, tables, device="cuda")


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What came of a merge at one learner."""

    digest: str
    """Of some of the rows that were merged; the same at all learners, or something is wrong."""
    sent: int
    """Bytes that this learner gave to others."""


class PoolLearner:
    """Its methods raise TrainingError. A merge is `change`, `merge_range` and `agree`, in this order."""

    def __init__(self, assignment: Assignment, make: LearnerFactory, threads: int, alone: bool) -> None:
        """`make` says what kind of learner it is; one that is `alone` never merges."""
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
        """Begins with `tables`, or those of a new training."""
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
        """Trains on the spans of a lease, as one text."""
        ids = np.concatenate([self._corpus.ids(self._corpus.spans[span]) for span in lease.spans])
        trained = self._known().train(ids, lease.first_rate, lease.last_rate, lease.seed)
        # The spans say how many words count; a learner may count otherwise what is no word.
        return TrainResult(lease.words, trained.loss, trained.pairs)

    def delta(self, rows: int, cuts: Sequence[int], own: int) -> list[ModelDelta]:
        """What changed in the first `rows` rows, cut where `cuts` (0 to `rows`, ascending) say, without part `own`: this
        learner merges that one, so it stays here."""
        change = self._known().delta(rows)
        parts = [
            ModelDelta(change.input.between(low, high), change.output.between(low, high)) for low, high in pairwise(cuts)
        ]
        self._own = parts.pop(own)
        self._sent = sum(part.nbytes for part in parts)
        return parts

    def merge_range(self, own: int, lr_words: float, others: Sequence[ModelDelta]) -> ModelDelta:
        """One range of rows of all learners made one: that of this learner, which is at place `own` among them, and those of
        the others in their order. `effort` is the learners' mean of words times learning rate since the last merge."""
        if self._own is None:
            raise TrainingError("this learner was not asked for its changes")
        scheme = self._assignment.scheme
        changes = [*others[:own], self._own, *others[own:]]
        self._own = None
        count = len(changes)
        factors = self._contraction.factors(self._lr_words + lr_words, count) if scheme is MergeScheme.CONTRACTION else None
        merged = ModelDelta(
            merge(scheme, [change.input for change in changes], count, factors and factors.input, self._buffers[0]),
            merge(scheme, [change.output for change in changes], count, factors and factors.output, self._buffers[1]),
        )
        self._sent += merged.nbytes * (len(changes) - 1)
        return merged

    def apply(self, rows: int, lr_words: float, ranges: Sequence[ModelDelta]) -> SyncResult:
        """Takes over what was merged, range by range from the first row on. `effort` as in `merge_range`."""
        learner = self._known()
        # Rows that were not merged are still on their way.
        self._lr_words += lr_words
        self._lr_words[:rows] = 0
        learner.apply(rows, *ranges)
        hashed = blake2b(digest_size=16)
        for some in learner.rows(slice(0, rows, max(1, rows // COMPARED_ROWS))):
            hashed.update(some.tobytes())
        return SyncResult(hashed.hexdigest(), self._sent)

    def sync(self) -> Tables:
        """Its tables, which from now on are those that all agree on: another learner is about to begin with them."""
        learner = self._known()
        tables = learner.tables()
        learner.load(tables)
        self._lr_words[:] = 0
        return tables

    def tables(self) -> Tables:
        """The tables as they are; they change with the next call."""
        return self._known().tables()

    def _known(self) -> Learner:
        if self._learner is None:
            raise TrainingError("this learner was given no tables")
        return self._learner
