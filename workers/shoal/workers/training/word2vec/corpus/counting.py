"""Counts the words of a unit of the corpus and stores them as ids, in one pass over the text.

The ids are local to a section, assigned in order of first occurrence. `encoded_corpus` maps them to ids of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shoal.workers.encoding import composed, lowered, normal_form
from shoal.workers.runtime import error_line, whole_file
from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.text_blocks import UnitReader, read_blocks
from shoal.workers.training.word2vec.corpus.tokenizers import UNICODE, WHITESPACE
from shoal.workers.training.word2vec.corpus.units import CorpusUnit
from shoal.workers.training.word2vec.corpus.unread_rows import UnreadRow, UnreadRows
from shoal.workers.training.word2vec.corpus.whitespace_indexer import WhitespaceIndexer
from shoal.workers.training.word2vec.corpus.word_indexer import TokenizerIndexer, WordIndexer
from shoal.workers.training.word2vec.errors import TrainingError, writing
from shoal.workers.training.word2vec.learner import SENTENCE_END, Ids

MAX_DISTINCT = 2_000_000
"""Distinct words held at once. Beyond this a new section starts, with its own ids."""
PARTITIONS = 64
"""Distinct words are stored in this many partitions by checksum, so that counts are merged one partition at a time."""
_BLOCK_IDS = 1 << 18


@dataclass(frozen=True, slots=True)
class ScanSection:
    """A scanned section: a file of local ids (int32, SENTENCE_END after each sentence) and one of distinct words."""

    ids: Path
    distinct_words: Path
    distinct: int
    words: int
    sentences: int


@dataclass(frozen=True, slots=True)
class UnitCounts:
    """The scanned sections of a unit. Their words and ids are on disk."""

    unit: str
    """The name of the unit."""
    sections: tuple[ScanSection, ...]
    replaced: int
    """How many U+FFFD replaced invalid UTF-8."""

    @property
    def words(self) -> int:
        """Words in all sections."""
        return sum(section.words for section in self.sections)

    @property
    def sentences(self) -> int:
        """Sentences in all sections."""
        return sum(section.sentences for section in self.sections)


def scan_unit(
    unit: CorpusUnit, corpus_settings: CorpusSettings, folder: Path, reader: UnitReader | None = None
) -> UnitCounts:
    """Scans a unit of the corpus and writes its sections, and rows that cannot be read, to `folder`.

    Scanning again writes the same files. A unit with pieces needs a `reader`. Memory depends on neither the size of the unit
    nor its number of distinct words. Raises TrainingError when the text cannot be read, the tokenizer fails or a file cannot
    be written.
    """
    sections: list[ScanSection] = []
    with UnreadRows(folder, unit.name) as unread:
        blocks = _Blocks(unit, corpus_settings, reader, unread.add)
        while not blocks.ended:
            sections.append(_scan_section(blocks, corpus_settings, folder / f"{unit.name}-{len(sections):03d}.ids"))
    return UnitCounts(unit.name, tuple(sections), blocks.replaced)


def count_section(ids: Path, words: Sequence[str]) -> ScanSection:
    """A section from a file of local ids, where the distinct `words` are in the order of their ids. Counts the words and
    writes them to a file next to it. Raises TrainingError when a file cannot be read or written."""
    counts = np.zeros(len(words) + 1, dtype=np.int64)
    for block in id_blocks(ids):
        counts += np.bincount(block - SENTENCE_END, minlength=len(counts))
    path = ids.with_suffix(".words")
    _write_words(path, words, counts[1:])
    return ScanSection(ids, path, len(words), int(counts[1:].sum()), int(counts[0]))


def id_blocks(path: Path) -> Iterator[Ids]:
    """The ids of a file, in blocks. Raises TrainingError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            while len(ids := np.fromfile(file, dtype=np.int32, count=_BLOCK_IDS)):
                yield ids
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read: {error_line(error)}") from error


def _write_words(path: Path, words: Sequence[str], counts: npt.NDArray[np.int64]) -> None:
    """Writes a record batch for each partition."""
    partitions = np.fromiter(map(crc32, map(str.encode, words)), dtype=np.int64, count=len(words)) % PARTITIONS
    order = np.argsort(partitions, kind="stable")
    columns = [pa.array(words, pa.large_string()).take(pa.array(order)), order.astype(np.int32), counts[order]]
    table = pa.record_batch([pa.array(column) for column in columns], schema=_WORDS)
    begins = np.searchsorted(partitions[order], np.arange(PARTITIONS + 1))
    with writing(path), whole_file(path, durable=False) as file, pa.ipc.new_file(file, _WORDS) as writer:
        for begin, end in pairwise(begins.tolist()):
            writer.write_batch(table.slice(begin, end - begin))


def read_words(section: ScanSection, partition: int | None = None) -> pa.Table:
    """Columns `word`, `id` and `count` of the distinct words of a section, or of one partition of them.

    Raises TrainingError when the file cannot be read.
    """
    try:
        with pa.OSFile(str(section.distinct_words)) as file:
            reader = pa.ipc.open_file(file)
            return reader.read_all() if partition is None else pa.Table.from_batches([reader.get_batch(partition)], _WORDS)
    except (OSError, pa.ArrowException) as error:
        raise TrainingError(f"{section.distinct_words}: cannot be read: {error_line(error)}") from error


_WORDS = pa.schema([("word", pa.large_string()), ("id", pa.int32()), ("count", pa.int64())])


class _Blocks:
    """The blocks of a unit, consumed by several loops."""

    def __init__(
        self,
        unit: CorpusUnit,
        corpus_settings: CorpusSettings,
        reader: UnitReader | None,
        unread: Callable[[UnreadRow], None],
    ) -> None:
        self.ended = False
        self.replaced = 0
        self._blocks = read_blocks(unit, corpus_settings, reader, unread)

    def __iter__(self) -> Iterator[bytes]:
        for block in self._blocks:
            self.replaced += block.replaced
            yield block.utf8
        self.ended = True


def _scan_section(blocks: _Blocks, corpus_settings: CorpusSettings, path: Path) -> ScanSection:
    indexer: WordIndexer = (
        WhitespaceIndexer(corpus_settings) if corpus_settings.tokenizer == WHITESPACE else TokenizerIndexer(corpus_settings)
    )
    with writing(path), whole_file(path, durable=False) as file:
        for text in blocks:
            file.write(indexer.ids(text).tobytes())
            if len(indexer) > MAX_DISTINCT:
                break
        file.write(indexer.end().tobytes())
    # Only distinct words are normalised, not the whole text. Several ids may then have the same word. This is harmless:
    # readers look up the word of each id.
    normalised = normal_form if corpus_settings.tokenizer == UNICODE else composed
    words = [word if word.isascii() else normalised(word) for word in indexer.words()]
    return count_section(path, list(map(lowered, words)) if corpus_settings.lowercase else words)
