"""Finds the words that are most similar to given words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shoal.workers.evaluation.candidates import Floats, WordCandidates
from shoal.workers.evaluation.errors import EvaluationError


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A word, and the cosine of its vector with the query."""

    word: str
    cosine: float


def nearest_words(
    candidates: WordCandidates, positive: Sequence[str], negative: Sequence[str] = (), count: int = 10
) -> list[Neighbour]:
    """The `count` candidates with the highest cosine with the query: the sum of the directions of `positive` minus those of
    `negative`. Best first, without the given words. The case of words matters.

    Raises EvaluationError when no word is given, a word is not a candidate, or the query is zero.
    """
    asked = [*positive, *negative]
    if not asked:
        raise EvaluationError("no words given")
    if count < 1:
        raise EvaluationError(f"count is {count}, must be at least 1")
    found = candidates.find(asked, ignore_case=False)
    if unknown := [word for word in asked if word not in found]:
        raise EvaluationError(_unknown(candidates, unknown[0]))
    directions = candidates.directions(np.array([found[word][0] for word in asked]))
    signs = np.array([1] * len(positive) + [-1] * len(negative), dtype=np.float32)
    query: Floats = signs @ directions
    length = float(np.linalg.norm(query))
    # The difference of equal vectors is rounding noise, without a meaningful direction.
    if length < 1e-6:
        raise EvaluationError("the vectors of the words add up to zero, so no word is near their sum")
    scores = np.empty(len(candidates), dtype=np.float32)
    for start, block, without in candidates.blocks():
        part = block @ (query / np.float32(length))
        part[without] = -np.inf
        scores[start : start + len(part)] = part
    scores[[row for rows in found.values() for row in rows]] = -np.inf
    best = np.argsort(-scores, kind="stable")[:count]
    return [Neighbour(candidates.words[int(row)], float(scores[row])) for row in best if scores[row] > -np.inf]


def _unknown(candidates: WordCandidates, word: str) -> str:
    rows = candidates.find([word], ignore_case=True).get(word)
    hint = f"; it has {candidates.words[rows[0]]!r}" if rows else ""
    return f"the model has no vector for {word!r} among {len(candidates)} words{hint}"
