"""Where candidates come from: the words of a table, or words that a model embeds as texts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from shoal.workers.encoding.model import EmbeddingModel
from shoal.workers.evaluation.candidates import Candidates, Floats
from shoal.workers.evaluation.errors import EvaluationError

_TEXTS_AT_ONCE = 4096


def embedded_candidates(model: EmbeddingModel, words: Iterable[str], restrict: int = 0) -> Candidates:
    """The first `restrict` of the distinct `words` (0 for all), each with the vector that `model` gives it as a document's
    whole text. Words without one are left out. Raises EvaluationError when none has one, and ModelError."""
    distinct = list(dict.fromkeys(words))
    kept: list[str] = []
    parts: list[Floats] = []
    for start in range(0, len(distinct), _TEXTS_AT_ONCE):
        some = distinct[start : start + _TEXTS_AT_ONCE]
        encoded = model.encode(some)
        good = [place for place, error in enumerate(encoded.errors) if not error]
        kept += [some[place] for place in good]
        parts.append(encoded.vectors[good])
        if restrict and len(kept) >= restrict:
            break
    if not kept:
        raise EvaluationError(f"model {model.name!r} has a vector for none of the {len(distinct)} words")
    return Candidates(kept, np.concatenate(parts), restrict)
