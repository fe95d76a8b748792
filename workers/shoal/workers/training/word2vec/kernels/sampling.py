"""The random choices of a training: which words are kept, context sizes and negatives. Their tables and generator."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from shoal.workers.runtime import compiled, inlined

Counts = npt.NDArray[np.int64]
Thresholds = npt.NDArray[np.uint32]

_u32, _u64 = np.uint32, np.uint64
_ALWAYS = 2**32 - 1

STEP = np.uint64(0x9E3779B97F4A7C15)
"""Added to the state of the random numbers for each of them."""


class Sampling(NamedTuple):
    """What a kernel draws words with. A tuple, because numba compiles tuples of arrays to separate arguments."""

    keep: Thresholds
    """(words,) uint32 of subsampling: see `keep_thresholds`."""
    thresholds: Thresholds
    """(words,) uint32 of the negatives' alias table: see `alias_table`."""
    aliases: npt.NDArray[np.int32]
    """(words,) int32 of the negatives' alias table."""

    @classmethod
    def of(cls, counts: Counts, sample: float, negative_power: float) -> Sampling:
        """From the counts (words,) int64 in the whole corpus."""
        return cls(keep_thresholds(counts, sample), *alias_table(counts, negative_power))


class RateDecay(NamedTuple):
    """The learning rate, from the first to the last word of a call."""

    first: float
    last: float


def keep_probabilities(counts: Counts, sample: float) -> npt.NDArray[np.float64]:
    """(words,) probabilities that subsampling keeps an occurrence of a word; all 1 if `sample` is 0.

    The probability is sqrt(sample / f) + sample / f, where f is the word's share of all occurrences, as in word2vec.c. The
    formula in the paper has no second term.
    """
    if sample <= 0:
        return np.ones(len(counts))
    ratio = sample * counts.sum() / counts
    return np.minimum(np.sqrt(ratio) + ratio, 1)


def keep_thresholds(counts: Counts, sample: float) -> Thresholds:
    """(words,) uint32: an occurrence of word i is kept if a 32-bit random number is at most element i."""
    return (keep_probabilities(counts, sample) * _ALWAYS).astype(np.uint32)


def alias_table(counts: Counts, power: float) -> tuple[Thresholds, npt.NDArray[np.int32]]:
    """Thresholds (words,) uint32 and aliases (words,) int32: draw a word i uniformly, and take its alias if a 32-bit random
    number is above its threshold. The probability of a word is then proportional to count^power.

    Two arrays that stay in the CPU's cache, instead of a table of 10^8 entries (Walker 1977, in the form of Vose 1991).
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
    """64 random bits from a state to which `STEP` is added for each draw (splitmix64: Steele, Lea and Flood 2014)."""
    bits = (state ^ (state >> _u64(30))) * _u64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> _u64(27))) * _u64(0x94D049BB133111EB)
    return bits ^ (bits >> _u64(31))


@inlined
def below(bits: Any, limit: Any) -> Any:
    """A number from 0 to limit - 1, from the upper 32 of 64 random bits (Lemire 2019, without correcting the bias, which
    is at most limit / 2^32)."""
    return np.int64(((bits >> _u64(32)) * _u64(limit)) >> _u64(32))


@inlined
def drawn(bits: Any, thresholds: Any, aliases: Any) -> Any:
    """A word drawn with an alias table."""
    word = below(bits, len(thresholds))
    # Unsigned indices spare the check for negative ones.
    return np.int64(word if _u32(bits & _u64(0xFFFFFFFF)) <= thresholds[_u64(word)] else aliases[_u64(word)])


@inlined
def context_bounds(centre: Any, count: Any, window: Any, state: Any) -> Any:
    """The first and last position of the context of the word at `centre`, in a sentence of `count` words. The number of
    words on each side is drawn uniformly from 1 to `window`. Also returns the state of the random numbers."""
    state += STEP
    reach = 1 + below(scrambled(state), window)
    return max(0, centre - reach), min(count - 1, centre + reach), state


@inlined
def kept_words(ids: Any, index: Any, keep: Any, kept: Any, state: Any) -> Any:
    """Fills `kept` with the words that subsampling keeps of the sentence at `index`, until it is full or the sentence ends.

    Returns the number of words kept, the index after the words read, and the state of the random numbers.
    """
    count = 0
    while index < len(ids) and count < len(kept):
        word = ids[index]
        index += 1
        if word < 0:
            break
        state += STEP
        if _u32(scrambled(state) >> _u64(32)) <= keep[_u64(word)]:
            kept[count] = word
            count += 1
    return count, index, state
