"""A table of word vectors as a whole, for what asks about words and not texts: evaluation, nearest words, conversion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shoal.workers.encoding.model import ModelError, Vectors
from shoal.workers.encoding.word_vectors.file_reading import WordVectors, read_word_vectors
from shoal.workers.encoding.word_vectors.word_folder import is_word_folder, read_word_folder


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
    """The table in a file of word vectors (see `word_vectors`) or in the folder of a training (see `word_folder`).

    Raises ModelError when there is no such file or folder, or it is malformed.
    """
    place, name = Path(path).expanduser(), str(path)
    if is_word_folder(place):
        folder = read_word_folder(place, name)
        return WordTable(tuple(folder.words), folder.vectors, folder.counts)
    if place.is_dir():
        raise ModelError(name, "the folder holds no trained word vectors")
    if not place.is_file():
        raise ModelError(name, "there is no such file or folder")
    return _table(read_word_vectors(place, name))


def _table(found: WordVectors) -> WordTable:
    if len(found.numbers) == found.rows.count:
        return WordTable(tuple(found.numbers), found.rows.all(), found.counts)
    rows = np.fromiter(found.numbers.values(), dtype=np.int64, count=len(found.numbers))
    return WordTable(tuple(found.numbers), found.rows.take(rows), None if found.counts is None else found.counts[rows])
