"""Words with the directions of their vectors, from which the answers to questions are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.workers.encoding import normal_form
from shoal.workers.evaluation.errors import EvaluationError

Floats = npt.NDArray[np.float32]
RowIds = npt.NDArray[np.int64]

BLOCK_ROWS = 4096
"""Vectors are processed in blocks, because a table may be larger than memory."""


def folded(word: str, ignore_case: bool) -> str:
    """The form of a word that is used for comparison: its normal form, which models look up in their tables too."""
    return normal_form(normal_form(word).casefold()) if ignore_case else normal_form(word)


class WordCandidates:
    """The first `restrict` words of a table, in order. The vectors are not copied; they may be mapped from a file."""

    def __init__(self, words: Sequence[str], vectors: npt.NDArray[Any], restrict: int = 0) -> None:
        """`vectors` (len(words), dimension) have any floating point type. If `restrict` is 0, all words are used.

        Raises EvaluationError when there are no words, or a value is not finite.
        """
        count = min(restrict, len(words)) if restrict else len(words)
        if not count:
            raise EvaluationError("no words to choose from")
        self.words: Sequence[str] = words if count == len(words) else tuple(islice(words, count))
        self._vectors = vectors[:count]
        self._norms: Floats = np.empty(count, dtype=np.float32)
        for start in range(0, count, BLOCK_ROWS):
            norms = np.linalg.norm(self._raw(slice(start, start + BLOCK_ROWS)), axis=1)
            if not np.isfinite(norms).all():
                word = self.words[start + int(np.flatnonzero(~np.isfinite(norms))[0])]
                raise EvaluationError(f"the vector of {word!r} has a value that is not finite")
            self._norms[start : start + BLOCK_ROWS] = norms

    def __len__(self) -> int:
        return len(self._norms)

    def find(self, words: Iterable[str], ignore_case: bool) -> dict[str, list[int]]:
        """The rows of each of `words`, unless it is unknown or its vector is zero. There are several if the table has a word
        twice, in several Unicode forms or in several cases. The first one represents the word; if case matters, rows of
        exactly this word come first."""
        asked = list(dict.fromkeys(words))
        rows: dict[str, list[int]] = {folded(word, ignore_case): [] for word in asked}
        for row, word in enumerate(self.words):
            of_word = rows.get(folded(word, ignore_case))
            if of_word is not None and self._norms[row] > 0:
                of_word.append(row)
        found = {word: some for word in asked if (some := rows[folded(word, ignore_case)])}
        if ignore_case:
            return found
        return {word: sorted(some, key=lambda row: self.words[row] != word) for word, some in found.items()}

    def directions(self, rows: RowIds | slice) -> Floats:
        """The vectors (n, dimension) float32 of n rows, scaled to unit length. Zero vectors stay zero."""
        norms = self._norms[rows]
        lengths: Floats = np.where(norms == 0, np.float32(1), norms)
        return self._raw(rows) / lengths[:, None]

    def blocks(self) -> Iterator[tuple[int, Floats, RowIds]]:
        """All rows in blocks: the first row, the directions (n, dimension) float32, and the indexes of zero vectors among
        n."""
        for start in range(0, len(self), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            yield start, self.directions(rows), np.flatnonzero(self._norms[rows] == 0)

    def _raw(self, rows: RowIds | slice) -> Floats:
        return np.asarray(self._vectors[rows], dtype=np.float32)
