"""Text to numbers that its words get as they are first seen. Files and counts are `counting`'s business."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from shoal.workers.runtime import typed_error_line
from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.tokenizers import UNICODE, WHITESPACE, tokenizer_of
from shoal.workers.training.word2vec.errors import TrainingError
from shoal.workers.training.word2vec.learner import SENTENCE_END, Ids

MAX_WORD = 256
"""Bytes of a word in UTF-8; the rest of a longer one is cut off, as the original program does at 100."""


class WordIndexer(Protocol):
    """Numbers the words of blocks of text that follow one another."""

    def ids(self, text: bytes) -> Ids:
        """The words' numbers (n,) int32, with SENTENCE_END after each sentence that ends in `text`, which is UTF-8. Lines
        end sentences, and so does the longest number of words that one may have."""
        ...

    def end(self) -> Ids:
        """SENTENCE_END, if there are words of a sentence that has not ended."""
        ...

    def words(self) -> list[str]:
        """The words by their numbers."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...


class TokenizerIndexer:
    """A numbering of what a tokenizer makes of lines."""

    def __init__(self, corpus_settings: CorpusSettings) -> None:
        """Raises TrainingError when there is no such tokenizer; `ids` does when it fails or gives what is no word."""
        self._name = corpus_settings.tokenizer
        self._tokenizer = tokenizer_of(corpus_settings.tokenizer)
        self._known = corpus_settings.tokenizer in (WHITESPACE, UNICODE)
        self._numbers = _Numbers() if self._known else _CheckedNumbers(corpus_settings.tokenizer)
        self._cuts = _SentenceCuts(corpus_settings.max_sentence)

    def ids(self, text: bytes) -> Ids:
        """See `WordIndexer.ids`."""
        lines = self._words_of(text.decode().split("\n"))
        lengths = np.fromiter(map(len, lines), dtype=np.int64, count=len(lines))
        ids = self._numbers.of(chain.from_iterable(lines), int(lengths.sum()))
        return np.insert(ids, self._cuts.of(lengths), SENTENCE_END)

    def end(self) -> Ids:
        """See `WordIndexer.end`."""
        return np.full(1 if self._cuts.open else 0, SENTENCE_END, dtype=np.int32)

    def words(self) -> list[str]:
        """See `WordIndexer.words`."""
        return list(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def _words_of(self, lines: list[str]) -> list[list[str]]:
        if self._known:
            # These give lists; to copy them would take a tenth of the time.
            return cast(list[list[str]], list(map(self._tokenizer, lines)))
        try:
            return [list(self._tokenizer(line)) if line else [] for line in lines]
        except Exception as error:  # A function of the user's may raise anything.
            raise TrainingError(f"tokenizer {self._name}: {typed_error_line(error)}") from error


class _Numbers(dict[str, int]):
    """Words and their numbers. As the dictionary itself is looked into, Python code runs for new words alone."""

    def of(self, words: Iterable[str], count: int) -> Ids:
        """The numbers (count,) of `count` words."""
        return np.fromiter(map(self.__getitem__, words), dtype=np.int32, count=count)

    def __missing__(self, word: str) -> int:
        if len(word) * 4 > MAX_WORD and len(encoded := word.encode()) > MAX_WORD:
            # Looked at anew each time, for to keep a long word would cost what it is long.
            return self.setdefault(encoded[:MAX_WORD].decode(errors="ignore"), len(self))
        number = self[word] = len(self)
        return number


class _CheckedNumbers(_Numbers):
    """Of words that a function of the user's gave."""

    def __init__(self, tokenizer: str) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def of(self, words: Iterable[str], count: int) -> Ids:
        """Raises TrainingError when one is no word."""
        try:
            return super().of(words, count)
        except TypeError as error:
            raise TrainingError(f"tokenizer {self._tokenizer}: gave what is no word: {error}") from error

    def __missing__(self, word: object) -> int:
        if isinstance(word, str) and word.split() == [word] and not any("\ud800" <= letter <= "\udfff" for letter in word):
            return super().__missing__(word)
        raise TrainingError(f"tokenizer {self._tokenizer}: gave what is no word: {word!r:.80}")


class _SentenceCuts:
    """Where sentences end: at the ends of lines, and within a line after each `longest` words."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self.open = 0
        """Words of the sentence that has not ended yet."""

    def of(self, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Places (m,) in the words of some lines before which a sentence ends, in order, never the same one twice.

        `lengths` (n,) are the lines' words; the first line goes on where the last one of the call before stopped, and
        the last one goes on.
        """
        ends = np.cumsum(lengths)
        begins = ends - lengths
        begins[0] -= self.open
        within = [
            np.arange(begins[line] + self._longest, ends[line], self._longest)
            for line in np.flatnonzero(ends - begins > self._longest)
        ]
        last = ends[-1] - begins[-1]
        self.open = int(last - (last - 1) // self._longest * self._longest) if last else 0
        lines = ends[:-1][ends[:-1] > begins[:-1]]
        return np.sort(np.concatenate([lines, *within])) if within else lines
