"""Texts to the words that a table of word vectors knows. A rule that changes is another `RULE`, for it changes vectors."""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from shoal.workers.encoding.model import Truncation
from shoal.workers.encoding.word_vectors.vector_table import Ids

RULE = 1
# Letters, digits and underscores, with single apostrophes, points and hyphens between them. Longer words are no words.
_WORD = re.compile(r"\w{1,256}(?:['.-]\w{1,256}){0,16}")
_APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"
_PART = re.compile(r"\w+")
_CHUNK = re.compile(r"\S+")

UNICODE, WHITESPACE = "unicode", "whitespace"
"""What a text is split by: into words as `WordReader` says, or at white space alone."""
PHRASE_JOINT = "_"
"""Stands between the words of a phrase that has a vector of its own."""
_LONGEST_PHRASE = 8


@dataclass(frozen=True, slots=True)
class WordRule:
    """How the corpus became words that a table was trained on; the default suits tables of which that is not known."""

    tokenizer: str = UNICODE
    """UNICODE or WHITESPACE."""
    lowercase: bool = False
    """Whether all was brought to lower case before."""
    phrases: bool = False
    """Whether words that often follow each other were joined."""


def words_of(text: str) -> list[str]:
    """All words of a text in their order, as `WordReader` finds them, whatever a table knows."""
    return _WORD.findall(_normal(text))


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text).replace(_APOSTROPHE, "'")


AS_WRITTEN = WordRule()


class WordReader:
    """Finds words in a table.

    A word is a run of letters, digits and underscores, with single apostrophes, points and hyphens inside ("don't",
    "well-known"). It is looked up as written, then in lower case; if the table has neither, then so are its parts. What the
    table does not know is passed over. Before that, text is brought to Unicode form NFC, and apostrophes to one form.

    With a rule of WHITESPACE, what stands between white space is looked up first, and read as said above only if the table
    does not know it: so the words of the corpus are found again, and the last word of a question too. With phrases, words
    that the table knows joined are one, the longest run from the left.
    """

    def __init__(self, numbers: Mapping[str, int], max_words: int, rule: WordRule = AS_WRITTEN) -> None:
        """`numbers` has the number of each word; of a text, `max_words` words are read, known or not."""
        self._numbers = numbers
        self._max_words = max_words
        self._rule = rule
        joints = max((word.count(PHRASE_JOINT) for word in numbers), default=0) if rule.phrases else 0
        self._longest = min(joints + 1, _LONGEST_PHRASE)

    def read(self, text: str, truncation: Truncation) -> tuple[Ids, bool]:
        """Numbers (n,) int32 of the known words in their order, at most `max_words`, and whether there was more to read.

        Truncation.START reads the last words, any other the first.
        """
        words = self._words(text)
        if self._rule.lowercase:
            # As the corpus was: each word by itself, for some have more characters in lower case.
            words = (word.lower() for word in words)
        if truncation is Truncation.START:
            found = list(deque(words, self._max_words + 1))
            kept = found[-self._max_words :]
        else:
            # One word more tells whether the text was cut, and a huge text is not read to its end.
            found = list(islice(words, self._max_words + 1))
            kept = found[: self._max_words]
        joined = self._joined(kept) if self._rule.phrases else kept
        numbers = [number for word in joined for number in self._lookup(word)]
        cut = len(found) > len(kept) or len(numbers) > self._max_words
        numbers = numbers[-self._max_words :] if truncation is Truncation.START else numbers[: self._max_words]
        return np.array(numbers, dtype=np.int32), cut

    def _words(self, text: str) -> Iterator[str]:
        if self._rule.tokenizer == UNICODE:
            yield from _unicode_words(text)
            return
        for match in _CHUNK.finditer(text):
            chunk = match.group()
            if self._number(chunk) is not None:
                yield chunk
            else:
                yield from _unicode_words(chunk)

    def _joined(self, words: Sequence[str]) -> Iterator[str]:
        at = 0
        while at < len(words):
            for end in range(min(len(words), at + self._longest), at, -1):
                run = PHRASE_JOINT.join(words[at:end])
                if end == at + 1 or self._number(run) is not None:
                    yield run
                    at = end
                    break

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


def _unicode_words(text: str) -> Iterator[str]:
    return (match.group() for match in _WORD.finditer(_normal(text)))
