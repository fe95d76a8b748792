"""A whole table of word vectors, for evaluation, nearest words and conversion, which work on words and not on texts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shoal.workers.encoding.model import ModelError, Vectors
from shoal.workers.encoding.word_vectors.file_reading import WordVectors, read_word_vectors
from shoal.workers.encoding.word_vectors.word_folder import is_word_folder, read_word_folder


@dataclass(frozen=True, slots=True)
class WordTable:
    """Words with their vectors, in the order of the file. A training writes them by descending count."""

    words: tuple[str, ...]
    """No word twice."""
    vectors: Vectors
    """(words, dim) float32. Read-only, because it may be memory-mapped."""
    counts: npt.NDArray[np.int64] | None
    """(words,) occurrences of each word in the corpus; None if the file has no counts."""


def read_word_table(path: str | Path) -> WordTable:
    """The table in a file of word vectors (see `file_reading`) or in the folder of a training (see `word_folder`).

    Raises ModelError when there is no such file or folder, or it is malformed.
    """
    source, name = Path(os.path.expanduser(path)), str(path)
    if is_word_folder(source):
        folder = read_word_folder(source, name)
        return WordTable(tuple(folder.words), folder.vectors, folder.counts)
    if source.is_dir():
        raise ModelError(name, "the folder has no trained word vectors")
    if not source.is_file():
        raise ModelError(name, "there is no such file or folder")
    return _table(read_word_vectors(source, name))


def _table(found: WordVectors) -> WordTable:
    if len(found.ids) == found.rows.count:
        return WordTable(tuple(found.ids), found.rows.all(), found.counts)
    rows = np.fromiter(found.ids.values(), dtype=np.int64, count=len(found.ids))
    return WordTable(tuple(found.ids), found.rows.take(rows), None if found.counts is None else found.counts[rows])
