"""Joins words that occur together far more often than by chance ("new york" to "new_york"), before a vocabulary is built.

After Mikolov et al. 2013, "Distributed Representations of Words and Phrases and their Compositionality", section 4, and
the program published with it: the score of a pair is (count(ab) - discount) / (count(a) count(b)) times the number of
words in the corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.workers.runtime import whole_file
from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.counting import ScanSection, UnitCounts, count_section, id_blocks, read_words
from shoal.workers.training.word2vec.corpus.vocabulary import Vocabulary, merge_counts, vocabulary_of
from shoal.workers.training.word2vec.errors import TrainingError, writing
from shoal.workers.training.word2vec.learner import SENTENCE_END, Ids

JOINT = "_"
RUN_PAIRS = 4_000_000
"""Pairs held at once. More are written to several files."""
Map = Callable[[Callable[[UnitCounts], Any], Sequence[UnitCounts]], Iterable[Any]]
"""Applies a function that can be pickled to each unit, in this process or others. Yields the results in order."""

_Keys = npt.NDArray[np.int64]
"""Pairs of vocabulary ids, the first word in the upper 32 bits."""
_NO_KEYS = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Files (2, n) int64, each with the ascending keys of pairs and then their counts."""

    runs: tuple[Path, ...]


def join_phrases(
    parts: Sequence[UnitCounts], corpus_settings: CorpusSettings, folder: Path, run: Map = map
) -> list[UnitCounts]:
    """The units with phrases joined to words, `corpus_settings.phrases` times (possibly 0). Writes new files to `folder`.

    Needs memory for a vocabulary of the words that can be part of a phrase. Raises TrainingError when a file cannot be read
    or written.
    """
    joined = list(parts)
    for repetition in range(1, corpus_settings.phrases + 1):
        vocabulary = vocabulary_of(merge_counts(joined, corpus_settings.phrase_discount + 1))
        pairs = list(run(partial(count_pairs, vocabulary=vocabulary, folder=folder), joined))
        keys = choose_phrases(pairs, vocabulary, sum(part.words for part in joined), corpus_settings)
        suffix = f"-phrases{repetition}"
        joined = list(run(partial(join_unit, vocabulary=vocabulary, phrases=keys, folder=folder, suffix=suffix), joined))
    return joined


def count_pairs(part: UnitCounts, vocabulary: Vocabulary, folder: Path) -> PairCounts:
    """Counts the pairs of adjacent words in sentences, where both are in `vocabulary`."""
    runs: list[Path] = []
    held: list[_Keys] = []

    def write() -> None:
        path = folder / f"{part.unit}-{len(runs):03d}.pairs"
        with writing(path), whole_file(path, durable=False) as file:
            for column in np.unique(np.concatenate(held), return_counts=True):
                file.write(column.astype(np.int64).tobytes())
        runs.append(path)
        held.clear()

    for section in part.sections:
        vocabulary_ids = _vocabulary_ids(section, vocabulary)
        for ids in _whole_sentences(section):
            keys = _keys(vocabulary_ids[ids])
            held.append(keys[keys >= 0])
            if sum(map(len, held)) > RUN_PAIRS:
                write()
    if sum(map(len, held)):
        write()
    return PairCounts(tuple(runs))


def choose_phrases(
    pairs: Sequence[PairCounts], vocabulary: Vocabulary, words: int, corpus_settings: CorpusSettings
) -> _Keys:
    """The ascending keys (n,) of the pairs that are phrases, in a corpus of `words` words."""
    try:
        runs = [np.memmap(path, np.int64, "r").reshape(2, -1) for part in pairs for path in part.runs]
    except (OSError, ValueError) as error:
        raise TrainingError(f"pairs of words cannot be read: {error}") from error
    chosen: list[_Keys] = []
    for begin, end in _ranges(runs):
        slices = [run[:, slice(*np.searchsorted(run[0], [begin, end]))] for run in runs]
        keys, counts = _summed_pairs(np.concatenate(slices, axis=1))
        chance = vocabulary.counts[keys >> 32].astype(float) * vocabulary.counts[keys & 0xFFFFFFFF]
        score = (counts - corpus_settings.phrase_discount) / chance * words
        chosen.append(keys[score > corpus_settings.phrase_threshold])
    return np.concatenate([_NO_KEYS, *chosen])


def join_unit(part: UnitCounts, vocabulary: Vocabulary, phrases: _Keys, folder: Path, suffix: str) -> UnitCounts:
    """Joins the phrases in each sentence, from left to right. A word is part of at most one phrase."""
    sections = []
    for index, section in enumerate(part.sections):
        joiner = _Joiner(section, vocabulary, phrases)
        path = folder / f"{part.unit}-{index:03d}{suffix}.ids"
        with writing(path), whole_file(path, durable=False) as file:
            for ids in _whole_sentences(section):
                file.write(joiner.joined(ids).tobytes())
        sections.append(count_section(path, joiner.words()))
    return UnitCounts(part.unit, tuple(sections), part.replaced)


class _Joiner:
    """Joins phrases in the local ids of a section. Words keep their ids; phrases get the next ones."""

    def __init__(self, section: ScanSection, vocabulary: Vocabulary, phrases: _Keys) -> None:
        self._section = section
        self._vocabulary = vocabulary
        self._phrases = phrases
        self._vocabulary_ids = _vocabulary_ids(section, vocabulary)
        self._own = np.full(len(phrases), -1, dtype=np.int32)
        """The local id of each phrase that occurred."""
        self._found: list[int] = []

    def joined(self, ids: Ids) -> Ids:
        """The ids (m,) of whole sentences (n,) after joining."""
        if not len(self._phrases):
            return ids
        keys = _keys(self._vocabulary_ids[ids])
        candidates = np.searchsorted(self._phrases, keys)
        matches = self._phrases[np.minimum(candidates, len(self._phrases) - 1)] == keys
        # Of overlapping pairs ("a b", "b c", "c d") every other one is joined, starting with the first.
        index = np.arange(len(keys))
        begins = np.maximum.accumulate(np.where(matches, 0, index + 1))
        taken = np.flatnonzero(matches & ((index - begins) % 2 == 0))
        chosen = candidates[taken]
        new = np.unique(chosen[self._own[chosen] < 0])
        self._own[new] = self._section.distinct + len(self._found) + np.arange(len(new))
        self._found.extend(new.tolist())
        joined = ids.copy()
        joined[taken] = self._own[chosen]
        return np.delete(joined, taken + 1)

    def words(self) -> list[str]:
        """The words of the section and the phrases that occurred, in the order of their ids."""
        table = read_words(self._section).sort_by("id")
        names = self._vocabulary.words
        pairs = ((key >> 32, key & 0xFFFFFFFF) for key in self._phrases[self._found].tolist())
        return table["word"].to_pylist() + [names[first] + JOINT + names[second] for first, second in pairs]


def _vocabulary_ids(section: ScanSection, vocabulary: Vocabulary) -> Ids:
    """The vocabulary id, or -1, for each local id. The last element, which SENTENCE_END (-1) selects, is -1."""
    table = read_words(section)
    ids = np.full(section.distinct + 1, -1, dtype=np.int32)
    ids[table["id"].to_numpy()] = [vocabulary.word_ids.get(word, -1) for word in table["word"].to_pylist()]
    return ids


def _whole_sentences(section: ScanSection) -> Iterator[Ids]:
    """The local ids of a section, some whole sentences at a time."""
    rest = np.zeros(0, dtype=np.int32)
    for block in id_blocks(section.ids):
        ids = np.concatenate([rest, block])
        ends = np.flatnonzero(ids == SENTENCE_END)
        cut = ends[-1] + 1 if len(ends) else 0
        if cut:
            yield ids[:cut]
        rest = ids[cut:]


def _keys(ids: Ids) -> _Keys:
    """The keys (n - 1,) of each id and the next one; -1 where one of them is -1."""
    first, second = ids[:-1].astype(np.int64), ids[1:]
    return np.where((first >= 0) & (second >= 0), first << 32 | second, -1)


def _summed_pairs(pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Each key once, ascending, with the sum of its counts."""
    order = np.argsort(pairs[0], kind="stable")
    keys, counts = pairs[0][order], pairs[1][order]
    begins = np.flatnonzero(np.diff(keys, prepend=-1))
    if not len(begins):
        return pairs
    return np.stack([keys[begins], np.add.reduceat(counts, begins)])


def _ranges(runs: Sequence[npt.NDArray[np.int64]]) -> Iterator[tuple[int, int]]:
    """Ranges of keys, each with about RUN_PAIRS pairs in all runs together."""
    if not runs:
        return
    total = sum(run.shape[1] for run in runs)
    step = max(1, RUN_PAIRS // 64)
    sample = np.sort(np.concatenate([run[0, ::step] for run in runs]))
    pieces = total // RUN_PAIRS + 1
    bounds = [0, *(int(sample[len(sample) * piece // pieces]) for piece in range(1, pieces)), 1 << 62]
    yield from pairwise(bounds)
