"""Counts the words of a part of the corpus, and keeps them as numbers, in one pass over the text.

The numbers are the part's own, handed out as its words are first seen; `encoded_corpus` makes the vocabulary's of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import cast
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shoal.workers.training.corpus import CorpusSettings, Unit
from shoal.workers.training.errors import TrainingError
from shoal.workers.training.learner import SENTENCE_END, Ids
from shoal.workers.training.reading import read_blocks
from shoal.workers.training.tokenizers import UNICODE, WHITESPACE, tokenizer_of
from shoal.workers.training.whole_file import whole_file

MAX_WORD = 256
"""Characters of a word; the rest of a longer one is cut off, as the original program does at 100."""
MAX_DISTINCT = 2_000_000
"""Distinct words that are held at once; then a new section begins, with numbers of its own."""
PARTITIONS = 64
"""Distinct words lie on disk in so many parts by their checksum, so that the counts of all units are added part by part."""
_BLOCK_IDS = 1 << 18


@dataclass(frozen=True, slots=True)
class Section:
    """What was read in one go: a file of numbers (int32, SENTENCE_END after each sentence) and one of distinct words."""

    ids: Path
    distinct_words: Path
    distinct: int
    words: int
    sentences: int


@dataclass(frozen=True, slots=True)
class UnitCounts:
    """What is in a part of the corpus; words and numbers are on disk."""

    unit: str
    """The part's name."""
    sections: tuple[Section, ...]
    replaced: int
    """How many U+FFFD were put for bytes that were no UTF-8."""

    @property
    def words(self) -> int:
        """Words in all sections."""
        return sum(section.words for section in self.sections)

    @property
    def sentences(self) -> int:
        """Sentences in all sections."""
        return sum(section.sentences for section in self.sections)


def scan_unit(unit: Unit, reading: CorpusSettings, folder: Path) -> UnitCounts:
    """Reads a part of the corpus and writes what it finds into `folder`; doing it again writes the same files.

    Memory depends on neither the part's size nor its number of distinct words. Raises TrainingError when the text cannot
    be read, the tokenizer fails or a file cannot be written.
    """
    blocks = _Blocks(unit, reading)
    sections: list[Section] = []
    while not blocks.ended:
        sections.append(_scan_section(blocks, reading, folder / f"{unit.name}-{len(sections):03d}.ids"))
    return UnitCounts(unit.name, tuple(sections), blocks.replaced)


def count_section(ids: Path, words: Sequence[str]) -> Section:
    """A section of a file of numbers, of which the n-th of the distinct `words` has number n; writes how often each
    occurs beside it. Raises TrainingError when a file cannot be read or written."""
    counts = np.zeros(len(words) + 1, dtype=np.int64)
    for block in id_blocks(ids):
        counts += np.bincount(block - SENTENCE_END, minlength=len(counts))
    path = ids.with_suffix(".words")
    _write_words(path, words, counts[1:])
    return Section(ids, path, len(words), int(counts[1:].sum()), int(counts[0]))


def id_blocks(path: Path) -> Iterator[Ids]:
    """The ids of a file, some at a time. Raises TrainingError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            while len(ids := np.fromfile(file, dtype=np.int32, count=_BLOCK_IDS)):
                yield ids
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read: {error.strerror or error}") from error


def _write_words(path: Path, words: Sequence[str], counts: npt.NDArray[np.int64]) -> None:
    """One batch for each partition."""
    partitions = np.fromiter((crc32(word.encode()) % PARTITIONS for word in words), dtype=np.int64, count=len(words))
    order = np.argsort(partitions, kind="stable")
    columns = [pa.array(words, pa.large_string()).take(pa.array(order)), order.astype(np.int32), counts[order]]
    table = pa.record_batch([pa.array(column) for column in columns], schema=_WORDS)
    begins = np.searchsorted(partitions[order], np.arange(PARTITIONS + 1))
    with whole_file(path, durable=False) as file, pa.ipc.new_file(file, _WORDS) as writer:
        for begin, end in pairwise(begins.tolist()):
            writer.write_batch(table.slice(begin, end - begin))


def read_words(section: Section, partition: int | None = None) -> pa.Table:
    """Columns `word`, `number` and `count` of the distinct words of a section, or of one partition of them.

    Raises TrainingError when the file cannot be read.
    """
    try:
        with pa.OSFile(str(section.distinct_words)) as file:
            reader = pa.ipc.open_file(file)
            return reader.read_all() if partition is None else pa.Table.from_batches([reader.get_batch(partition)], _WORDS)
    except (OSError, pa.ArrowException) as error:
        raise TrainingError(f"{section.distinct_words}: cannot be read: {' '.join(str(error).split())}") from error


_WORDS = pa.schema([("word", pa.large_string()), ("number", pa.int32()), ("count", pa.int64())])


class _Blocks:
    """The blocks of a part, of which some are taken at a time."""

    def __init__(self, unit: Unit, reading: CorpusSettings) -> None:
        self.ended = False
        self.replaced = 0
        self._blocks = read_blocks(unit, reading)

    def __iter__(self) -> Iterator[str]:
        for block in self._blocks:
            self.replaced += block.replaced
            yield block.text
        self.ended = True


def _scan_section(blocks: _Blocks, reading: CorpusSettings, path: Path) -> Section:
    lines_of = _Lines(reading)
    numbers = _Numbers(reading)
    cuts = _SentenceCuts(reading.max_sentence)
    with whole_file(path, durable=False) as file:
        for text in blocks:
            lines = lines_of(text)
            lengths = np.fromiter(map(len, lines), dtype=np.int64, count=len(lines))
            ids = numbers.of(chain.from_iterable(lines), int(lengths.sum()))
            file.write(np.insert(ids, cuts.of(lengths), SENTENCE_END).tobytes())
            if len(numbers) > MAX_DISTINCT:
                break
        if cuts.open:
            file.write(np.int32(SENTENCE_END).tobytes())
    return count_section(path, list(numbers.words))


class _Lines:
    """Text to the words of each of its lines."""

    def __init__(self, reading: CorpusSettings) -> None:
        self._name = reading.tokenizer
        self._tokenizer = tokenizer_of(reading.tokenizer)

    def __call__(self, text: str) -> list[list[str]]:
        if self._name in (WHITESPACE, UNICODE):
            # These give lists: to copy them would cost a tenth of the scan.
            return cast(list[list[str]], list(map(self._tokenizer, text.split("\n"))))
        try:
            return [list(self._tokenizer(line)) if line else [] for line in text.split("\n")]
        except Exception as error:  # A function of the user's may raise anything.
            raise TrainingError(f"tokenizer {self._name}: {type(error).__name__}: {' '.join(str(error).split())}") from error


class _Numbers(dict[str, int]):
    """Numbers words from 0 as they are first seen. Looking up a word in the dictionary itself is what makes this fast:
    Python code runs for new words alone."""

    def __init__(self, reading: CorpusSettings) -> None:
        super().__init__()
        self._lowered: dict[str, int] = {}
        self._lowercase = reading.lowercase
        self._tokenizer = reading.tokenizer
        self._checked = reading.tokenizer not in (WHITESPACE, UNICODE)

    @property
    def words(self) -> dict[str, int]:
        """Each word as it is counted, in the order of the numbers."""
        return self._lowered if self._lowercase else self

    def of(self, words: Iterable[str], count: int) -> Ids:
        """The numbers (count,) of `count` words; raises TrainingError when a tokenizer of the user's gave what is none."""
        try:
            return np.fromiter(map(self.__getitem__, words), dtype=np.int32, count=count)
        except TypeError as error:
            raise TrainingError(f"tokenizer {self._tokenizer}: gave what is no word: {error}") from error

    def __missing__(self, word: str) -> int:
        if self._checked:
            self._check(word)
        words, kept = self.words, word[:MAX_WORD]
        number = words.setdefault(kept.lower() if self._lowercase else kept, len(words))
        # A long word is looked at anew each time, for keeping it would cost what it is long.
        if len(word) <= MAX_WORD:
            self[word] = number
        return number

    def _check(self, word: object) -> None:
        if (
            not isinstance(word, str)
            or word.split() != [word]
            or any("\ud800" <= character <= "\udfff" for character in word)
        ):
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
