"""Finds the words that are most like others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shoal.workers.evaluation.candidates import Floats, WordCandidates, folded
from shoal.workers.evaluation.errors import EvaluationError


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A word, and the cosine of its vector and what was asked for."""

    word: str
    cosine: float


def nearest_words(
    candidates: WordCandidates, positive: Sequence[str], negative: Sequence[str] = (), count: int = 10
) -> list[Neighbour]:
    """The `count` candidates of the greatest cosine with the sum of the directions of `positive` less those of `negative`,
    best first, without these words themselves. Words are looked up as they are written.

    Raises EvaluationError for a word that is no candidate, no word at all, and a sum of zero.
    """
    asked = [*positive, *negative]
    if not asked:
        raise EvaluationError("no word is given")
    if count < 1:
        raise EvaluationError(f"count is {count}, the least is 1")
    found = candidates.find(asked, ignore_case=False)
    if unknown := [word for word in asked if word not in found]:
        raise EvaluationError(_unknown(candidates, unknown[0]))
    directions = candidates.directions(np.array([found[word][0] for word in asked]))
    signs = np.array([1] * len(positive) + [-1] * len(negative), dtype=np.float32)
    query: Floats = signs @ directions
    length = float(np.linalg.norm(query))
    # What is left of equal vectors when they are taken from each other is rounding, and points nowhere.
    if length < 1e-6:
        raise EvaluationError("the words' vectors add up to zero, so that nothing is near to their sum")
    scores = np.empty(len(candidates), dtype=np.float32)
    for start, block, without in candidates.blocks():
        part = block @ (query / np.float32(length))
        part[without] = -np.inf
        scores[start : start + len(part)] = part
    scores[[row for rows in found.values() for row in rows]] = -np.inf
    best = np.argsort(-scores, kind="stable")[:count]
    return [Neighbour(candidates.words[int(row)], float(scores[row])) for row in best if scores[row] > -np.inf]


def _unknown(candidates: WordCandidates, word: str) -> str:
    rows = candidates.find([word], ignore_case=True).get(folded(word, True))
    hint = f"; it has {candidates.words[rows[0]]!r}" if rows else ""
    return f"the model has no vector for {word!r} among {len(candidates)} words{hint}"
