"""Small tables of word vectors, as at the end of a training."""

from __future__ import annotations

import numpy as np

from shoal.workers.encoding.word_vectors.word_table import WordTable
from shoal.workers.training.word2vec.tables import Tables

WORDS = (
    "the",
    "of",
    "tide",
    "caf\xe9",
    "new_york",
    "don't",
    "a\N{NO-BREAK SPACE}b",
    "#",
    "1,000",
    "\N{CJK UNIFIED IDEOGRAPH-6708}",
)


def trained_table(seed: int = 7, dim: int = 5, words: tuple[str, ...] = WORDS) -> WordTable:
    """Vectors of very different lengths, in rows padded as in a training."""
    random = np.random.default_rng(seed)
    tables = Tables.empty(len(words), dim)
    tables.vectors()[:] = random.normal(size=(len(words), dim)) * 10.0 ** random.integers(-7, 7, size=(len(words), 1))
    return WordTable(words, tables.vectors(), np.arange(len(words), 0, -1, dtype=np.int64) ** 3)
