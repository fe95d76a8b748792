"""A table of word vectors as a whole, for what asks about words and not texts: evaluation, nearest words, conversion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shoal.workers.encoding.model import ModelError, Vectors
from shoal.workers.encoding.word_vectors import WordVectors, read_word_vectors


@dataclass(frozen=True, slots=True)
class WordTable:
    """Words with their vectors, in the order of the file: where a training wrote it, the commonest first."""

    words: tuple[str, ...]
    """Each once."""
    vectors: Vectors
    """(words, dim) float32, not to be written to: it may be mapped from the file."""
    counts: npt.NDArray[np.int64] | None
    """(words,) how often each was in the corpus; None where the file does not say."""


def read_word_table(path: str | Path) -> WordTable:
    """The table in a file of word vectors (see `word_vectors`).

    Raises ModelError when there is no such file, or it is malformed.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ModelError(str(path), "there is no such file")
    return _table(read_word_vectors(file, str(path)))


def _table(found: WordVectors) -> WordTable:
    rows = np.fromiter(found.numbers.values(), dtype=np.int64, count=len(found.numbers))
    return WordTable(tuple(found.numbers), found.rows.take(rows), None)
