"""How often learners' tables are merged, how much of them, and by which rule. Merging itself is `averaging`'s."""

from __future__ import annotations

from dataclasses import dataclass

from shoal.workers.training.word2vec.averaging.merge import MergeScheme
from shoal.workers.training.word2vec.errors import check_range

MIN_ROUND_WORDS, MAX_ROUND_WORDS = 1000, 1 << 32
MAX_FULL_EVERY = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragingSettings:
    """Raises TrainingError when a value is out of its range."""

    scheme: MergeScheme = MergeScheme.CONTRACTION
    round_words: int = 0
    """Words that each learner trains between two merges; 0 leaves it to `schedule`."""
    full_every: int = 1
    """All rows are merged in every so many-th round; in the others `hot_rows` alone."""
    hot_rows: int = 0
    """The rows of so many of the commonest words are merged in every round."""

    def __post_init__(self) -> None:
        check_range("round_words", self.round_words, MIN_ROUND_WORDS if self.round_words else 0, MAX_ROUND_WORDS)
        check_range("full_every", self.full_every, 1, MAX_FULL_EVERY)
        check_range("hot_rows", self.hot_rows, 0, (1 << 31) - 1)

    def rows(self, round_number: int, words: int) -> int:
        """How many rows of `words` are merged after the round of this number, of which the first is 1."""
        return words if round_number % self.full_every == 0 else min(self.hot_rows, words)
