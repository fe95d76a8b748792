"""Scores word similarity: whether cosines rank pairs of words as people do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.workers.evaluation.candidates import WordCandidates


@dataclass(frozen=True, slots=True)
class WordPair:
    """Two words and the human score of their similarity, on any scale; higher means more similar."""

    first: str
    second: str
    score: float


@dataclass(frozen=True, slots=True)
class SimilarityScore:
    """The score of some pairs."""

    spearman: float | None
    """-1 to 1; None if fewer than two pairs are known, or if all cosines or all scores are equal."""
    answered: int
    """Pairs whose words are both known. The others are left out."""
    asked: int

    @property
    def coverage(self) -> float:
        """Share of known pairs."""
        return self.answered / self.asked if self.asked else 0.0


def score_similarity(candidates: WordCandidates, pairs: Sequence[WordPair], ignore_case: bool = True) -> SimilarityScore:
    """Spearman's rank correlation of the pairs' cosines and scores.

    With `ignore_case`, words that differ only in case are the same word, and the first of them provides the vector.
    """
    found = candidates.find((word for pair in pairs for word in (pair.first, pair.second)), ignore_case)
    known = [
        (first[0], second[0], pair.score)
        for pair in pairs
        if (first := found.get(pair.first)) and (second := found.get(pair.second))
    ]
    rows = np.array([(first, second) for first, second, _ in known], dtype=np.int64).reshape(-1, 2)
    one, other = candidates.directions(rows[:, 0]), candidates.directions(rows[:, 1])
    cosines = np.einsum("ij,ij->i", one, other, dtype=np.float64)
    return SimilarityScore(spearman(cosines, np.array([score for _, _, score in known])), len(known), len(pairs))


def spearman(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float | None:
    """Spearman's rank correlation of two (n,) arrays: Pearson's correlation of their ranks, where equal values get their
    mean rank (Spearman 1904, "The Proof and Measurement of Association between Two Things"). None if it is not defined:
    for fewer than two values, or if all are equal."""
    if len(one) < 2:
        return None
    x, y = (ranks - ranks.mean() for ranks in (average_ranks(one), average_ranks(other)))
    spread = float(np.sqrt((x @ x) * (y @ y)))
    return float(np.clip(x @ y / spread, -1, 1)) if spread else None


def average_ranks(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The ranks (n,) of n values, from 1. Equal values get their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]
