"""Splits texts into the words of a table of word vectors. Changed rules change vectors, so they need a new `RULE`."""

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
# Letters, digits and underscores, with single apostrophes, periods and hyphens between them. Longer runs are split.
_WORD = re.compile(r"\w{1,256}(?:['.-]\w{1,256}){0,16}")
_APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"
_PART = re.compile(r"\w+")
_RUN = re.compile(r"\S+")

UNICODE, WHITESPACE = "unicode", "whitespace"
"""How a text is split: into words by the rules of `WordLookup`, or only at white space."""
PHRASE_JOINT = "_"
"""Joins the words of a phrase that has a vector of its own."""
_LONGEST_PHRASE = 8


@dataclass(frozen=True, slots=True)
class WordRule:
    """How the training corpus of a table was split into words. The defaults are for tables whose rule is unknown."""

    tokenizer: str = UNICODE
    """UNICODE or WHITESPACE."""
    lowercase: bool = False
    """Whether words were lowercased."""
    phrases: bool = False
    """Whether words that often follow each other were joined."""


def words_of(text: str) -> list[str]:
    """All words of a text, in order, by the rules of `WordLookup` without a table."""
    return _WORD.findall(_normal(text))


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text).replace(_APOSTROPHE, "'")


AS_WRITTEN = WordRule()


class WordLookup:
    """Finds the words of a text in a table.

    A word is a run of letters, digits and underscores, with single apostrophes, periods and hyphens inside ("don't",
    "well-known"). It is looked up as written, then in lower case, then its parts are. Words that the table does not have
    are skipped. Before that, text is brought to Unicode form NFC, and all apostrophes to one form.

    With the rule WHITESPACE, runs between white space are looked up first, and split as above only if the table does not
    have them: this finds the words of the corpus, and the last word of a question too. With phrases, words that the table
    has joined are looked up as one, the longest run from the left.
    """

    def __init__(self, ids: Mapping[str, int], max_words: int, rule: WordRule = AS_WRITTEN) -> None:
        """`ids` has the id of each word; `max_words` limits the words of a text, known or not."""
        self._ids = ids
        self._max_words = max_words
        self._rule = rule
        joints = max((word.count(PHRASE_JOINT) for word in ids), default=0) if rule.phrases else 0
        self._longest = min(joints + 1, _LONGEST_PHRASE)

    def find(self, text: str, truncation: Truncation) -> tuple[Ids, bool]:
        """Ids (n,) int32 of the known words in order, at most `max_words`, and whether the text was truncated.

        Truncation.START keeps the last words, any other the first.
        """
        words = self._words(text)
        if self._rule.lowercase:
            # Word by word like the corpus, because some words have more characters in lower case.
            words = (word.lower() for word in words)
        if truncation is Truncation.START:
            found = list(deque(words, self._max_words + 1))
            kept = found[-self._max_words :]
        else:
            # One word more than the limit shows whether the text is truncated, without scanning a huge text to its end.
            found = list(islice(words, self._max_words + 1))
            kept = found[: self._max_words]
        joined = self._joined(kept) if self._rule.phrases else kept
        ids = [word_id for word in joined for word_id in self._lookup(word)]
        truncated = len(found) > len(kept) or len(ids) > self._max_words
        ids = ids[-self._max_words :] if truncation is Truncation.START else ids[: self._max_words]
        return np.array(ids, dtype=np.int32), truncated

    def _words(self, text: str) -> Iterator[str]:
        if self._rule.tokenizer == UNICODE:
            yield from _unicode_words(text)
            return
        for match in _RUN.finditer(text):
            run = match.group()
            if self._id(run) is not None:
                yield run
            else:
                yield from _unicode_words(run)

    def _joined(self, words: Sequence[str]) -> Iterator[str]:
        at = 0
        while at < len(words):
            for end in range(min(len(words), at + self._longest), at, -1):
                run = PHRASE_JOINT.join(words[at:end])
                if end == at + 1 or self._id(run) is not None:
                    yield run
                    at = end
                    break

    def _lookup(self, word: str) -> Iterator[int]:
        word_id = self._id(word)
        if word_id is not None:
            yield word_id
            return
        parts = _PART.findall(word)
        if len(parts) > 1:
            yield from (word_id for part in parts if (word_id := self._id(part)) is not None)

    def _id(self, word: str) -> int | None:
        word_id = self._ids.get(word)
        return word_id if word_id is not None else self._ids.get(word.lower())


def _unicode_words(text: str) -> Iterator[str]:
    return (match.group() for match in _WORD.finditer(_normal(text)))
