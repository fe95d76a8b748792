"""Finds the words of texts in a table of word vectors."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from shoal.workers.encoding.model import Truncation
from shoal.workers.encoding.word_vectors.vector_table import Ids
from shoal.workers.encoding.words import cut_word, lowered, normal_form, parts_of, raw_words_of

_RUN = re.compile(r"\S+")

UNICODE, WHITESPACE = "unicode", "whitespace"
"""How the text of a training is split: into words (see `words`), or only at white space."""
PHRASE_JOINT = "_"
"""Joins the words of a phrase that has a vector of its own."""
_LONGEST_PHRASE = 8


@dataclass(frozen=True, slots=True)
class WordRule:
    """What the training of a table did to words. The defaults are for tables of which it is unknown."""

    lowercase: bool = False
    """Whether words were lowercased."""
    phrases: bool = False
    """Whether words that often follow each other were joined."""


AS_WRITTEN = WordRule()


class WordLookup:
    """Finds the words of a text in a table.

    What stands between white space is looked up first; if the table does not have it, its words (see `words`) are; and if
    it does not have one of these, the parts of it. Each is looked up as it is written, then in its normal form, then both in
    lower case. What the table does not have is skipped. If several words of the table have the normal form, the first one is
    found, which usually is the most frequent.

    With phrases, words that the table has joined are looked up as one, the longest run from the left.
    """

    def __init__(self, ids: Mapping[str, int], max_words: int, rule: WordRule = AS_WRITTEN) -> None:
        """`ids` has the id of each word; `max_words` limits the words of a text, known or not."""
        self._ids = ids
        self._normal_ids = _normal_ids(ids)
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
            words = (lowered(cut_word(normal_form(word))) for word in words)
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
        for match in _RUN.finditer(text):
            run = match.group()
            if self._id(run) is not None:
                yield run
            else:
                yield from raw_words_of(run)

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
        yield from (word_id for part in parts_of(word) if part != word and (word_id := self._id(part)) is not None)

    def _id(self, word: str) -> int | None:
        for form in (word, word.lower()):
            if (word_id := self._ids.get(form)) is not None:
                return word_id
            normal = cut_word(normal_form(form))
            if (word_id := self._normal_ids.get(normal, self._ids.get(normal))) is not None:
                return word_id
        return None


def _normal_ids(ids: Mapping[str, int]) -> dict[str, int]:
    """The first id by normal form, of the words that are not all in this form."""
    found: dict[str, int] = {}
    for word, word_id in ids.items():
        if (form := normal_form(word)) != word:
            found[form] = min(word_id, found.get(form, word_id), ids.get(form, word_id))
    return found
