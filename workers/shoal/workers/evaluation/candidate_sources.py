"""Makes candidates: from a table of word vectors, or from words that a model embeds as texts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from shoal.workers.encoding import EmbeddingModel, parse_spec, split_precision
from shoal.workers.encoding.word_vectors import is_word_folder, read_word_table
from shoal.workers.evaluation.candidates import Floats, WordCandidates
from shoal.workers.evaluation.errors import EvaluationError

_TEXTS_AT_ONCE = 4096
_TABLE_SUFFIXES = (".txt", ".vec", ".bin", ".npy", ".gz")


def is_table(model: str) -> bool:
    """Whether `model` is a file of word vectors or the output folder of a training, which contain a list of words.

    Raises EvaluationError when it has the suffix of such a file but does not exist (it is not looked up on the model hub),
    and ModelError when it is not a valid model name.
    """
    path = Path(os.path.expanduser(model))
    if path.suffix in _TABLE_SUFFIXES and not os.path.exists(path):
        raise EvaluationError(f"{model!r}: no such file")
    parse_spec(split_precision(model)[0])
    return path.is_file() or is_word_folder(path)


def table_candidates(model: str, restrict: int = 0) -> WordCandidates:
    """The first `restrict` words (0 for all) of the table at the path `model`. Raises ModelError and EvaluationError."""
    table = read_word_table(model)
    return WordCandidates(table.words, table.vectors, restrict)


def embedded_candidates(model: EmbeddingModel, words: Iterable[str]) -> WordCandidates:
    """The distinct `words` with their vectors from `model`, each embedded as the text of a document. Words that fail are
    left out. Raises EvaluationError when all fail, and ModelError."""
    distinct = list(dict.fromkeys(words))
    kept: list[str] = []
    parts: list[Floats] = []
    for start in range(0, len(distinct), _TEXTS_AT_ONCE):
        some = distinct[start : start + _TEXTS_AT_ONCE]
        encoded = model.encode(some)
        good = [index for index, error in enumerate(encoded.errors) if not error]
        kept += [some[index] for index in good]
        parts.append(encoded.vectors[good])
    if not kept:
        raise EvaluationError(f"model {model.name!r} could not embed any of the {len(distinct)} words")
    return WordCandidates(kept, np.concatenate(parts))
