"""How often the tables of learners are merged, which rows, and by which rule. `merge` does it."""

from __future__ import annotations

from dataclasses import dataclass

from shoal.workers.training.word2vec.averaging.merge import MergeScheme
from shoal.workers.training.word2vec.errors import check_range

MIN_ROUND_WORDS, MAX_ROUND_WORDS = 1000, 1 << 32
MAX_FULL_EVERY = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragingSettings:
    """How learners merge. Raises TrainingError when a value is out of range."""

    scheme: MergeScheme = MergeScheme.CONTRACTION
    round_words: int = 0
    """Words that each learner trains between two merges. 0 lets `schedule` choose."""
    full_every: int = 1
    """All rows are merged in every `full_every`-th round, and only `hot_rows` in the others."""
    hot_rows: int = 0
    """The number of the most frequent words whose rows are merged in every round."""

    def __post_init__(self) -> None:
        check_range("round_words", self.round_words, MIN_ROUND_WORDS if self.round_words else 0, MAX_ROUND_WORDS)
        check_range("full_every", self.full_every, 1, MAX_FULL_EVERY)
        check_range("hot_rows", self.hot_rows, 0, (1 << 31) - 1)

    def rows(self, round_number: int, words: int) -> int:
        """How many of `words` rows are merged after this round. The first round is 1."""
        return words if round_number % self.full_every == 0 else min(self.hot_rows, words)
