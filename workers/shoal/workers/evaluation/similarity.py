"""Scores word similarity: whether cosines order pairs of words as people do."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.workers.evaluation.candidates import WordCandidates, folded
from shoal.workers.evaluation.errors import EvaluationError
from shoal.workers.evaluation.text_lines import read_lines


@dataclass(frozen=True, slots=True)
class WordPair:
    """Two words, and how alike people found them; larger is more alike, on whatever scale."""

    first: str
    second: str
    score: float


@dataclass(frozen=True, slots=True)
class SimilarityScore:
    """How some pairs went."""

    spearman: float | None
    """-1 to 1; None where fewer than two pairs are known, or all cosines or all scores are equal."""
    answered: int
    """Pairs of which both words are known; the others are left out."""
    asked: int

    @property
    def coverage(self) -> float:
        """Answered of asked."""
        return self.answered / self.asked if self.asked else 0.0


def read_pairs(path: Path) -> list[WordPair]:
    """The pairs of a file with word1, word2 and score, parted by tabs, commas (with "" quotes) or white space; lines that
    begin with "#" are passed over. A first line whose third column is no number is a header; if it names word1, word2 and
    score, those columns are taken, otherwise the first three. Raises EvaluationError with file and line.
    """
    lines = [(number, line) for number, line in read_lines(path) if not line.startswith("#")]
    rows = [(number, _fields(line)) for number, line in lines]
    places = (0, 1, 2)
    if rows and (len(rows[0][1]) < 3 or _number(rows[0][1][2]) is None):
        header = [field.lower() for field in rows.pop(0)[1]]
        if {"word1", "word2", "score"} <= {*header}:
            places = (header.index("word1"), header.index("word2"), header.index("score"))
    if not rows:
        raise EvaluationError(f"{path}: there are no pairs in this file; expected are lines of word1, word2 and score")
    return [_pair(path, number, fields, places) for number, fields in rows]


def score_similarity(candidates: WordCandidates, pairs: Sequence[WordPair], ignore_case: bool = True) -> SimilarityScore:
    """Spearman's rank correlation of the pairs' cosines and scores.

    With `ignore_case`, words that differ in case alone are the same word, and the first of them gives the vector.
    """
    found = candidates.find((word for pair in pairs for word in (pair.first, pair.second)), ignore_case)
    known = [
        (first[0], second[0], pair.score)
        for pair in pairs
        if (first := found.get(folded(pair.first, ignore_case))) and (second := found.get(folded(pair.second, ignore_case)))
    ]
    rows = np.array([(first, second) for first, second, _ in known], dtype=np.int64).reshape(-1, 2)
    one, other = candidates.directions(rows[:, 0]), candidates.directions(rows[:, 1])
    cosines = np.einsum("ij,ij->i", one, other, dtype=np.float64)
    return SimilarityScore(spearman(cosines, np.array([score for _, _, score in known])), len(known), len(pairs))


def spearman(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float | None:
    """Spearman's rank correlation of two (n,) arrays: Pearson's of their ranks, equal values having the mean of their ranks
    (Spearman 1904, "The Proof and Measurement of Association between Two Things"). None where it is not defined: fewer than
    two values, or all equal."""
    if len(one) < 2:
        return None
    x, y = (ranks - ranks.mean() for ranks in (average_ranks(one), average_ranks(other)))
    spread = float(np.sqrt((x @ x) * (y @ y)))
    return float(np.clip(x @ y / spread, -1, 1)) if spread else None


def average_ranks(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Ranks (n,) from 1 on of n values; equal values share the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[places]


def _fields(line: str) -> list[str]:
    if "\t" in line:
        return [field.strip() for field in line.split("\t")]
    if "," in line:
        return [field.strip() for field in next(csv.reader([line]))]
    return line.split()


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _pair(path: Path, number: int, fields: Sequence[str], places: tuple[int, int, int]) -> WordPair:
    if len(fields) <= max(places):
        raise EvaluationError(f"{path}:{number}: {len(fields)} columns, expected are word1, word2 and score")
    first, second, told = (fields[place] for place in places)
    score = _number(told)
    if score is None:
        raise EvaluationError(f"{path}:{number}: the score is {told!r}, expected is a number")
    if not first or not second:
        raise EvaluationError(f"{path}:{number}: a word is missing")
    return WordPair(first, second, score)
