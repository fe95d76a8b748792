"""Where candidates come from: the words of a table, or words that a model embeds as texts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from shoal.workers.encoding.loading.sources import parse_spec, split_precision
from shoal.workers.encoding.model import EmbeddingModel
from shoal.workers.encoding.word_vectors.word_folder import is_word_folder
from shoal.workers.encoding.word_vectors.word_table import read_word_table
from shoal.workers.evaluation.candidates import Floats, WordCandidates
from shoal.workers.evaluation.errors import EvaluationError

_TEXTS_AT_ONCE = 4096
_TABLE_SUFFIXES = (".txt", ".vec", ".bin", ".npy", ".gz")


def is_table(model: str) -> bool:
    """Whether `model` names a file of word vectors, or a folder of a training, which have words of their own.

    Raises EvaluationError when it looks like a file and there is none, for it is not looked for on the model hub, and
    ModelError when it can be no model's name.
    """
    place = Path(model).expanduser()
    if place.suffix in _TABLE_SUFFIXES and not place.exists():
        raise EvaluationError(f"{model}: no such file")
    parse_spec(split_precision(model)[0])
    return place.is_file() or is_word_folder(place)


def table_candidates(model: str, restrict: int = 0) -> WordCandidates:
    """The first `restrict` words (0 for all) of the table at the path `model`. Raises ModelError and EvaluationError."""
    table = read_word_table(model)
    return WordCandidates(table.words, table.vectors, restrict)


def embedded_candidates(model: EmbeddingModel, words: Iterable[str]) -> WordCandidates:
    """The distinct `words`, each with the vector that `model` gives it as a document's whole text; words without one are
    left out. Raises EvaluationError when none has one, and ModelError."""
    distinct = list(dict.fromkeys(words))
    kept: list[str] = []
    parts: list[Floats] = []
    for start in range(0, len(distinct), _TEXTS_AT_ONCE):
        some = distinct[start : start + _TEXTS_AT_ONCE]
        encoded = model.encode(some)
        good = [place for place, error in enumerate(encoded.errors) if not error]
        kept += [some[place] for place in good]
        parts.append(encoded.vectors[good])
    if not kept:
        raise EvaluationError(f"model {model.name!r} has a vector for none of the {len(distinct)} words")
    return WordCandidates(kept, np.concatenate(parts))
