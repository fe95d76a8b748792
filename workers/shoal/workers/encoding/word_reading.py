"""Texts to the words that a table of word vectors knows. A rule that changes is another `RULE`, for it changes vectors."""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice

import numpy as np

from shoal.workers.encoding.model import Truncation
from shoal.workers.encoding.vector_table import Ids

RULE = 1
# Letters, digits and underscores, with single apostrophes, points and hyphens between them. Longer words are no words.
_WORD = re.compile(r"\w{1,256}(?:['.-]\w{1,256}){0,16}")
_APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"
_PART = re.compile(r"\w+")


class WordReader:
    """Finds words in a table.

    A word is a run of letters, digits and underscores, with single apostrophes, points and hyphens inside ("don't",
    "well-known"). It is looked up as written, then in lower case; if the table has neither, then so are its parts. What the
    table does not know is passed over. Before that, text is brought to Unicode form NFC, and apostrophes to one form.
    """

    def __init__(self, numbers: Mapping[str, int], max_words: int) -> None:
        """`numbers` has the number of each word; of a text, `max_words` words are read, known or not."""
        self._numbers = numbers
        self._max_words = max_words

    def read(self, text: str, truncation: Truncation) -> tuple[Ids, bool]:
        """Numbers (n,) int32 of the known words in their order, at most `max_words`, and whether there was more to read.

        Truncation.START reads the last words, any other the first.
        """
        words = _WORD.finditer(unicodedata.normalize("NFC", text).replace(_APOSTROPHE, "'"))
        if truncation is Truncation.START:
            found = [match.group() for match in deque(words, self._max_words + 1)]
            kept = found[-self._max_words :]
        else:
            # One word more tells whether the text was cut, and a huge text is not read to its end.
            found = [match.group() for match in islice(words, self._max_words + 1)]
            kept = found[: self._max_words]
        numbers = [number for word in kept for number in self._lookup(word)]
        cut = len(found) > len(kept) or len(numbers) > self._max_words
        numbers = numbers[-self._max_words :] if truncation is Truncation.START else numbers[: self._max_words]
        return np.array(numbers, dtype=np.int32), cut

    def _lookup(self, word: str) -> Iterator[int]:
        number = self._number(word)
        if number is not None:
            yield number
            return
        parts = _PART.findall(word)
        if len(parts) > 1:
            yield from (number for part in parts if (number := self._number(part)) is not None)

    def _number(self, word: str) -> int | None:
        number = self._numbers.get(word)
        return number if number is not None else self._numbers.get(word.lower())
