"""Turns text into ids of words, assigned in order of first occurrence."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from shoal.workers.encoding import LONGEST_WORD, cut_word
from shoal.workers.runtime import typed_error_line
from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.tokenizers import UNICODE, WHITESPACE, tokenizer_of
from shoal.workers.training.word2vec.errors import TrainingError
from shoal.workers.training.word2vec.learner import SENTENCE_END, Ids


class WordIndexer(Protocol):
    """Assigns ids to the words of consecutive blocks of text."""

    def ids(self, text: bytes) -> Ids:
        """The ids (n,) int32 of the words of `text` (UTF-8), with SENTENCE_END after each sentence that ends in it.
        Sentences end at the end of a line, and at the maximum number of words."""
        ...

    def end(self) -> Ids:
        """SENTENCE_END, if the last sentence has not ended; otherwise nothing."""
        ...

    def words(self) -> list[str]:
        """The words in the order of their ids."""
        ...

    def __len__(self) -> int:
        """The number of distinct words."""
        ...


class TokenizerIndexer:
    """Assigns ids to the words that a tokenizer finds in lines."""

    def __init__(self, corpus_settings: CorpusSettings) -> None:
        """Raises TrainingError when there is no such tokenizer. `ids` does when it fails or returns an invalid word."""
        self._name = corpus_settings.tokenizer
        self._tokenizer = tokenizer_of(corpus_settings.tokenizer)
        self._known = corpus_settings.tokenizer in (WHITESPACE, UNICODE)
        self._word_ids = _WordIds() if self._known else _CheckedWordIds(corpus_settings.tokenizer)
        self._cuts = _SentenceCuts(corpus_settings.max_sentence)

    def ids(self, text: bytes) -> Ids:
        """See `WordIndexer.ids`."""
        lines = self._words_of(text.decode().split("\n"))
        lengths = np.fromiter(map(len, lines), dtype=np.int64, count=len(lines))
        ids = self._word_ids.of(chain.from_iterable(lines), int(lengths.sum()))
        return np.insert(ids, self._cuts.of(lengths), SENTENCE_END)

    def end(self) -> Ids:
        """See `WordIndexer.end`."""
        return np.full(1 if self._cuts.open else 0, SENTENCE_END, dtype=np.int32)

    def words(self) -> list[str]:
        """See `WordIndexer.words`."""
        return list(self._word_ids)

    def __len__(self) -> int:
        return len(self._word_ids)

    def _words_of(self, lines: list[str]) -> list[list[str]]:
        if self._known:
            # These return lists already; copying them would add a tenth to the time.
            return cast(list[list[str]], list(map(self._tokenizer, lines)))
        try:
            return [list(self._tokenizer(line)) if line else [] for line in lines]
        except Exception as error:  # A user's function may raise anything.
            raise TrainingError(f"tokenizer {self._name}: {typed_error_line(error)}") from error


class _WordIds(dict[str, int]):
    """Words and their ids. Lookups are dict lookups, so that Python code runs only for new words."""

    def of(self, words: Iterable[str], count: int) -> Ids:
        """The ids (count,) of `count` words."""
        return np.fromiter(map(self.__getitem__, words), dtype=np.int32, count=count)

    def __missing__(self, word: str) -> int:
        if len(word) * 4 > LONGEST_WORD and (cut := cut_word(word)) != word:
            # Not cached: a long word would cost its own length in memory.
            return self.setdefault(cut, len(self))
        id = self[word] = len(self)
        return id


class _CheckedWordIds(_WordIds):
    """Checks the words, which a user's function returned."""

    def __init__(self, tokenizer: str) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def of(self, words: Iterable[str], count: int) -> Ids:
        """Raises TrainingError for an invalid word."""
        try:
            return super().of(words, count)
        except TypeError as error:
            raise TrainingError(f"tokenizer {self._tokenizer}: returned an invalid word: {error}") from error

    def __missing__(self, word: object) -> int:
        if isinstance(word, str) and word.split() == [word] and not any("\ud800" <= letter <= "\udfff" for letter in word):
            return super().__missing__(word)
        raise TrainingError(f"tokenizer {self._tokenizer}: returned an invalid word: {word!r:.80}")


class _SentenceCuts:
    """Finds where sentences end: at the ends of lines, and within a line after each `longest` words."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self.open = 0
        """Words of the unfinished sentence."""

    def of(self, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Ascending, distinct indexes (m,) into the words of some lines, before which a sentence ends.

        `lengths` (n,) are the numbers of words of the lines. The first line continues the last one of the previous call,
        and the last one is not finished.
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
