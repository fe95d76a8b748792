"""How much of a training is finished, its speed and the time left. Pure: times are passed in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from shoal.workers.training.word2vec.learner import TrainResult

WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class RoundStats:
    """The result of one round."""

    words: int
    """Words trained in all epochs after this round. Fewer than before if a learner was lost."""
    trained: TrainResult
    rate: float
    """The learning rate at its end."""
    learners: int
    lost: int
    """Learners lost so far."""
    train_s: float
    merge_s: float
    merged_bytes: int
    """Bytes sent between learners."""


@dataclass(frozen=True, slots=True)
class TrainingStats:
    """A training at one moment. Rates cover the last minute."""

    words: int
    total_words: int
    """Words of the corpus times epochs."""
    share: float
    """Share of `total_words` that is trained, 0 to 1."""
    words_per_s: float
    loss: float
    """Mean loss of a pair of words."""
    rate: float
    learners: int
    lost: int
    """Learners lost so far."""
    merge_share: float
    """Share of the time spent merging."""
    eta_s: float | None
    """Estimated seconds left; None before there is a rate."""


@dataclass(frozen=True, slots=True)
class TrainingTotals:
    """Totals over all rounds of this run."""

    rounds: int
    words: int
    """Words trained, including those of learners that were lost afterwards."""
    train_s: float
    merge_s: float
    learner_s: float
    """Seconds of training, summed over the learners."""
    merged_bytes: int
    """Bytes sent between learners."""
    merges: int

    @property
    def words_per_s(self) -> float:
        """Words per second, including the time for merging."""
        seconds = self.train_s + self.merge_s
        return self.words / seconds if seconds else 0.0

    @property
    def words_per_s_per_learner(self) -> float:
        """Words per second of each learner, without merging."""
        return self.words / self.learner_s if self.learner_s else 0.0

    @property
    def merge_share(self) -> float:
        """Share of the time spent merging."""
        seconds = self.train_s + self.merge_s
        return self.merge_s / seconds if seconds else 0.0

    @property
    def bytes_per_merge(self) -> float:
        """Bytes sent between learners in each merge."""
        return self.merged_bytes / self.merges if self.merges else 0.0


class TrainingProgress:
    """Counts rounds. Times are seconds on the caller's clock, never before those given earlier."""

    def __init__(self, words: int, total_words: int, started_at_s: float) -> None:
        self._total_words = total_words
        self._marks: deque[tuple[float, RoundStats]] = deque(
            [(started_at_s, RoundStats(words, TrainResult(0, 0.0, 0), 0.0, 0, 0, 0, 0, 0))]
        )
        self._rounds = self._words = self._bytes = self._merges = 0
        self._train_s = self._merge_s = self._learner_s = 0.0

    def finished(self, done: RoundStats, now_s: float) -> None:
        """Counts a finished round."""
        self._rounds += 1
        self._words += done.trained.words
        self._bytes += done.merged_bytes
        self._merges += done.merged_bytes > 0
        self._train_s += done.train_s
        self._merge_s += done.merge_s
        self._learner_s += done.train_s * done.learners
        self._marks.append((now_s, done))
        while len(self._marks) > 2 and now_s - self._marks[1][0] >= WINDOW_S:
            self._marks.popleft()

    def stats(self) -> TrainingStats:
        """The training now."""
        (begin_s, first), (end_s, last) = self._marks[0], self._marks[-1]
        rounds = [done for _, done in list(self._marks)[1:]]
        elapsed_s = end_s - begin_s
        pace = max(0.0, (last.words - first.words) / elapsed_s) if elapsed_s > 0 else 0.0
        measured_pairs = sum(done.trained.pairs for done in rounds)
        busy_s = sum(done.train_s + done.merge_s for done in rounds)
        return TrainingStats(
            words=last.words,
            total_words=self._total_words,
            share=last.words / self._total_words,
            words_per_s=pace,
            loss=sum(done.trained.loss for done in rounds) / measured_pairs if measured_pairs else 0.0,
            rate=last.rate,
            learners=last.learners,
            lost=last.lost,
            merge_share=sum(done.merge_s for done in rounds) / busy_s if busy_s else 0.0,
            eta_s=(self._total_words - last.words) / pace if pace > 0 else None,
        )

    def totals(self) -> TrainingTotals:
        """The totals so far."""
        return TrainingTotals(
            self._rounds, self._words, self._train_s, self._merge_s, self._learner_s, self._bytes, self._merges
        )
