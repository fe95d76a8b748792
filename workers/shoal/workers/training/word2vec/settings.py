"""What is trained, and how: everything that decides the vectors but the corpus. Who does it, and where, is not said here."""

from __future__ import annotations

from dataclasses import dataclass

from shoal.workers.training.word2vec.errors import check_range

MAX_DIM = 4096
MAX_WINDOW = 256
MAX_NEGATIVE = 64
LEARNING_RATE, CBOW_LEARNING_RATE = 0.025, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Word2VecSettings:
    """Word2Vec with negative sampling (Mikolov et al. 2013, "Distributed Representations of Words and Phrases and their
    Compositionality"). Raises TrainingError when a value is out of its range."""

    dim: int = 100
    """Numbers in a word's vector."""
    window: int = 5
    """Words on each side that are a word's context; how many is drawn anew for each word, from 1 to this."""
    negative: int = 5
    """Words drawn from the vocabulary that a word is told apart from."""
    epochs: int = 5
    learning_rate: float = 0.0
    """At the beginning; 0 takes 0.025 for skip-gram and 0.05 for CBOW. It falls linearly over all words of all epochs."""
    min_learning_rate: float = 1e-4
    sample: float = 1e-3
    """Words with a larger share of the corpus are dropped at random; 0 drops none."""
    cbow: bool = False
    """Predict a word from the mean of its context, instead of each word of the context from it."""
    exact: bool = False
    """New negatives for each pair of words, as in the paper, where otherwise the context of a word shares them (Ji et al.
    2016, "Parallelizing Word2Vec in Shared and Distributed Memory")."""
    min_count: int = 5
    """Rarer words are left out."""
    max_vocabulary: int = 0
    """So many of the commonest words are kept; 0 keeps all."""
    negative_power: float = 0.75
    """A negative is drawn with a chance in proportion to its count to this power."""
    seed: int = 1

    def __post_init__(self) -> None:
        check_range("dim", self.dim, 1, MAX_DIM)
        check_range("window", self.window, 1, MAX_WINDOW)
        check_range("negative", self.negative, 1, MAX_NEGATIVE)
        check_range("epochs", self.epochs, 1, 1_000_000)
        check_range("min_count", self.min_count, 1, 1 << 40)
        check_range("max_vocabulary", self.max_vocabulary, 0, (1 << 31) - 1)
        check_range("seed", self.seed, 0, (1 << 63) - 1)
        check_range("learning_rate", self.learning_rate, 0, 10)
        check_range("min_learning_rate", self.min_learning_rate, 0, self.first_rate)
        check_range("sample", self.sample, 0, 1)
        check_range("negative_power", self.negative_power, 0, 2)

    @property
    def first_rate(self) -> float:
        """The learning rate at the beginning."""
        return self.learning_rate or (CBOW_LEARNING_RATE if self.cbow else LEARNING_RATE)

    def rate(self, done: float) -> float:
        """The learning rate once `done` (0 to 1) of all words of all epochs are trained."""
        return max(self.min_learning_rate, self.first_rate + (self.min_learning_rate - self.first_rate) * done)
