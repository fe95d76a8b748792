"""Indexes the words between white space, compiled: one pass over the bytes, and no word becomes a Python object.

Gives the same ids as `word_indexer.TokenizerIndexer`, twice as fast (12 instead of 6 million words a second on a busy
core), without the GIL. Half of the time goes into finding the ends of words, which no CPU can predict.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from shoal.workers.runtime import compiled
from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.word_indexer import MAX_WORD
from shoal.workers.training.word2vec.learner import SENTENCE_END, Ids

_SLOTS, _LETTERS = 1 << 16, 1 << 20
"""What there is room for at the beginning; it doubles whenever it is full."""
_DISTINCT, _OPEN, _PLACE = range(3)
_NEW_LINE = 10
_HASH, _PRIME, _HALF = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3), np.uint64(32)
"""FNV-1a of 64 bits (Fowler, Noll, Vo)."""


class WhitespaceIndexer:
    """See `word_indexer.WordIndexer`."""

    def __init__(self, corpus_settings: CorpusSettings) -> None:
        self._longest = corpus_settings.max_sentence
        # A table of numbers by the words' hashes; each slot is followed by the next one when another word holds it.
        self._slots = np.full(_SLOTS, -1, dtype=np.int32)
        self._ends = np.zeros(_SLOTS // 2 + 1, dtype=np.int64)
        """Where each word ends in `_letters`; the first place is where the first one begins."""
        self._letters = np.empty(_LETTERS, dtype=np.uint8)
        self._state = np.zeros(3, dtype=np.int64)
        """Distinct words; words of the sentence that has not ended; where to go on in the text."""

    def ids(self, text: bytes) -> Ids:
        """See `word_indexer.WordIndexer.ids`."""
        data = np.frombuffer(text, dtype=np.uint8)
        ids = np.empty(len(data) + 2, dtype=np.int32)
        self._state[_PLACE] = filled = 0
        while True:
            filled = _number(data, self._state, self._slots, self._ends, self._letters, ids, filled, self._longest)
            if self._state[_PLACE] == len(data):
                return ids[:filled]
            self._grow()

    def end(self) -> Ids:
        """See `word_indexer.WordIndexer.end`."""
        return np.full(1 if self._state[_OPEN] else 0, SENTENCE_END, dtype=np.int32)

    def words(self) -> list[str]:
        """See `word_indexer.WordIndexer.words`."""
        ends = self._ends[: len(self) + 1].tolist()
        letters = self._letters[: ends[-1]].tobytes()
        return [letters[begin:end].decode() for begin, end in pairwise(ends)]

    def __len__(self) -> int:
        return int(self._state[_DISTINCT])

    def _grow(self) -> None:
        if 2 * len(self) >= len(self._slots):
            self._slots = np.full(2 * len(self._slots), -1, dtype=np.int32)
            self._ends = np.resize(self._ends, len(self._slots) // 2 + 1)
            _fill_slots(self._slots, self._ends, self._letters, len(self))
        else:
            self._letters = np.resize(self._letters, 2 * len(self._letters))


@compiled
def _space_width(data: Any, place: Any) -> Any:
    """Bytes of the white space that begins at a place; 0 where there is none. What Python's `str.split` takes as such."""
    first = data[place]
    if first <= 0x20:
        return 1 if first == 0x20 or 0x09 <= first <= 0x0D or first >= 0x1C else 0
    if first < 0xC2 or first > 0xE3:
        return 0
    if first == 0xC2:
        return 2 if data[place + 1] == 0x85 or data[place + 1] == 0xA0 else 0
    if first != 0xE1 and first != 0xE2 and first != 0xE3:
        return 0
    second, third = data[place + 1], data[place + 2]
    if first == 0xE1:
        return 3 if second == 0x9A and third == 0x80 else 0
    if first == 0xE3:
        return 3 if second == 0x80 and third == 0x80 else 0
    if second == 0x80:
        return 3 if third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF else 0
    return 3 if second == 0x81 and third == 0x9F else 0


@compiled
def _hash(data: Any, begin: Any, end: Any) -> Any:
    value = _HASH
    for place in range(begin, end):
        value = (value ^ np.uint64(data[place])) * _PRIME
    return value


@compiled
def _slot(value: Any, mask: Any) -> Any:
    # The lower bits of the hash alone know little of the first letters.
    return np.int64((value ^ (value >> _HALF)) & np.uint64(mask))


@compiled
def _number(data: Any, state: Any, slots: Any, ends: Any, letters: Any, ids: Any, filled: Any, longest: Any) -> Any:
    """Fills `ids` from `filled` on, and returns how far. Stops before a word for which there is no room."""
    size, mask = len(data), len(slots) - 1
    distinct, opened, place = state[0], state[1], state[2]
    while True:
        while place < size:
            width = _space_width(data, place)
            if width == 0:
                break
            if data[place] == _NEW_LINE and opened > 0:
                ids[filled] = SENTENCE_END
                filled += 1
                opened = 0
            place += width
        if place >= size:
            break
        begin = place
        value = _HASH
        while place < size and _space_width(data, place) == 0:
            value = (value ^ np.uint64(data[place])) * _PRIME
            place += 1
        end = place
        if end - begin > MAX_WORD:
            end = begin + MAX_WORD
            while data[end] & 0xC0 == 0x80:
                end -= 1
            value = _hash(data, begin, end)
        slot = _slot(value, mask)
        number = slots[slot]
        while number >= 0:
            first = ends[number]
            if ends[number + 1] - first == end - begin:
                same = True
                for offset in range(end - begin):
                    if letters[first + offset] != data[begin + offset]:
                        same = False
                        break
                if same:
                    break
            slot = (slot + 1) & mask
            number = slots[slot]
        if number < 0:
            first = ends[distinct]
            if 2 * distinct >= len(slots) or first + end - begin > len(letters):
                place = begin
                break
            number = distinct
            slots[slot] = number
            for offset in range(end - begin):
                letters[first + offset] = data[begin + offset]
            distinct += 1
            ends[distinct] = first + end - begin
        if opened == longest:
            ids[filled] = SENTENCE_END
            filled += 1
            opened = 0
        ids[filled] = number
        filled += 1
        opened += 1
    state[0], state[1], state[2] = distinct, opened, place
    return filled


@compiled
def _fill_slots(slots: Any, ends: Any, letters: Any, distinct: Any) -> None:
    mask = len(slots) - 1
    for number in range(distinct):
        slot = _slot(_hash(letters, ends[number], ends[number + 1]), mask)
        while slots[slot] >= 0:
            slot = (slot + 1) & mask
        slots[slot] = number
