"""The settings of a training: everything that decides the vectors, except the corpus."""

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
    Compositionality"). Raises TrainingError when a value is out of range."""

    dim: int = 100
    """Dimensions of a word's vector."""
    window: int = 5
    """Largest number of context words on each side. The actual number is drawn for each word, from 1 to this."""
    negative: int = 5
    """Negative samples for each word, drawn from the vocabulary."""
    epochs: int = 5
    learning_rate: float = 0.0
    """At the start; 0 means 0.025 for skip-gram and 0.05 for CBOW. It falls linearly over all words of all epochs."""
    min_learning_rate: float = 1e-4
    sample: float = 1e-3
    """Words with a larger share of the corpus are randomly dropped. 0 drops none."""
    cbow: bool = False
    """Predict a word from the mean of its context, instead of each context word from the word."""
    exact: bool = False
    """Draw new negatives for each pair of words, as in the paper. Otherwise all context words of a word share them (Ji et
    al. 2016, "Parallelizing Word2Vec in Shared and Distributed Memory")."""
    min_count: int = 5
    """Words that occur less often are ignored."""
    max_vocabulary: int = 0
    """Only this number of the most frequent words is kept. 0 keeps all."""
    negative_power: float = 0.75
    """Negatives are drawn with probability proportional to count to this power."""
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
        """The learning rate at the start."""
        return self.learning_rate or (CBOW_LEARNING_RATE if self.cbow else LEARNING_RATE)

    def rate(self, done: float) -> float:
        """The learning rate once `done` (0 to 1) of all words of all epochs are trained."""
        return max(self.min_learning_rate, self.first_rate + (self.min_learning_rate - self.first_rate) * done)
