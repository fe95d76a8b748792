"""What is drawn at random in a training: which words are kept, and which are negatives. Tables for it, and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.workers.runtime import compiled, inlined

Counts = npt.NDArray[np.int64]
Thresholds = npt.NDArray[np.uint32]

_u32, _u64 = np.uint32, np.uint64
_ALWAYS = 2**32 - 1

STEP = np.uint64(0x9E3779B97F4A7C15)
"""What the state of the random numbers grows by with each of them."""


def keep_chances(counts: Counts, sample: float) -> npt.NDArray[np.float64]:
    """(words,) chances that an occurrence of a word is kept by sub-sampling; all 1 where `sample` is 0.

    With f the word's share of all occurrences the chance is sqrt(sample / f) + sample / f, as in word2vec.c; the paper's
    formula lacks the second term.
    """
    if sample <= 0:
        return np.ones(len(counts))
    ratio = sample * counts.sum() / counts
    return np.minimum(np.sqrt(ratio) + ratio, 1)


def keep_thresholds(counts: Counts, sample: float) -> Thresholds:
    """(words,) uint32: an occurrence of word i is kept when a 32-bit random number is at most `keep[i]`."""
    return (keep_chances(counts, sample) * _ALWAYS).astype(np.uint32)


def alias_table(counts: Counts, power: float) -> tuple[Thresholds, npt.NDArray[np.int32]]:
    """Thresholds (words,) uint32 and aliases (words,) int32: draw a word i evenly, and take its alias if a 32-bit random
    number is above its threshold. Words then come with chances in proportion to count^power.

    Two rows of numbers that stay in the CPU's cache, instead of a table of 10^8 entries (Walker 1977, in Vose's form of
    1991).
    """
    weights = counts.astype(np.float64) ** power
    scaled = weights * (len(counts) / weights.sum())
    thresholds = np.full(len(counts), _ALWAYS, dtype=np.uint32)
    aliases = np.arange(len(counts), dtype=np.int32)
    _fill_alias_table(scaled, thresholds, aliases)
    return thresholds, aliases


@compiled
def _fill_alias_table(scaled: Any, thresholds: Any, aliases: Any) -> None:
    small, large = np.empty(len(scaled), np.int32), np.empty(len(scaled), np.int32)
    smalls, larges = 0, 0
    for word in range(len(scaled)):
        if scaled[word] < 1:
            small[smalls] = word
            smalls += 1
        else:
            large[larges] = word
            larges += 1
    while smalls and larges:
        smalls -= 1
        poor, rich = small[smalls], large[larges - 1]
        thresholds[poor] = np.uint32(scaled[poor] * _ALWAYS)
        aliases[poor] = rich
        scaled[rich] -= 1 - scaled[poor]
        if scaled[rich] < 1:
            larges -= 1
            small[smalls] = rich
            smalls += 1


@inlined
def scrambled(state: Any) -> Any:
    """64 random bits of a state that grows by `STEP` with each draw (splitmix64: Steele, Lea and Flood 2014)."""
    bits = (state ^ (state >> _u64(30))) * _u64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> _u64(27))) * _u64(0x94D049BB133111EB)
    return bits ^ (bits >> _u64(31))


@inlined
def below(bits: Any, limit: Any) -> Any:
    """A number from 0 to limit - 1 of the upper 32 of 64 random bits (Lemire 2019, without the correction of its bias,
    which is at most limit / 2^32)."""
    return np.int64(((bits >> _u64(32)) * _u64(limit)) >> _u64(32))


@inlined
def drawn(bits: Any, thresholds: Any, aliases: Any) -> Any:
    """A word drawn with an alias table."""
    word = below(bits, len(thresholds))
    # Indices are unsigned: the compiler then leaves out the case that they count from the end.
    return np.int64(word if _u32(bits & _u64(0xFFFFFFFF)) <= thresholds[_u64(word)] else aliases[_u64(word)])


@inlined
def context_bounds(centre: Any, count: Any, window: Any, state: Any) -> Any:
    """The first and the last position of the context of the word at `centre` in a sentence of `count` words: up to 1 to
    `window` words on each side, drawn evenly. Also returns the state of the random numbers."""
    state += STEP
    reach = 1 + below(scrambled(state), window)
    return max(0, centre - reach), min(count - 1, centre + reach), state


@inlined
def kept_words(ids: Any, place: Any, keep: Any, kept: Any, state: Any) -> Any:
    """Fills `kept` with the words of the sentence at `place` that sub-sampling keeps, until it is full or the sentence
    ends.

    Returns how many they are, the place after what was read, and the state of the random numbers.
    """
    count = 0
    while place < len(ids) and count < len(kept):
        word = ids[place]
        place += 1
        if word < 0:
            break
        state += STEP
        if _u32(scrambled(state) >> _u64(32)) <= keep[_u64(word)]:
            kept[count] = word
            count += 1
    return count, place, state
