"""Reads files of word vectors: word2vec text and binary, fastText's .vec, GloVe, and numpy arrays with a vocabulary file.

The format is recognised by the content. As with gensim, blank lines after the last row do no harm, and a row without a word
is no error; Shoal also reads blank lines elsewhere and a byte order mark. A warning in the log says what was skipped.
"""

from __future__ import annotations

import codecs
import logging
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow
from pyarrow import csv

from shoal.workers.encoding.model import ModelError
from shoal.workers.encoding.word_vectors.vector_table import ArrayRows, ScatteredRows, VectorRows
from shoal.workers.encoding.word_vectors.vocabulary_file import read_vocabulary

log = logging.getLogger(__name__)

MAX_DIMENSION = 65_536
_LONGEST_WORD = 8192
_LONGEST_LINE = _LONGEST_WORD + 32 * MAX_DIMENSION
_LINES_AT_ONCE = 4096
_LINE_ENDS = b" \r\n"
_FASTTEXT_MAGIC = (793712314).to_bytes(4, "little")
_GZIP_MAGIC = b"\x1f\x8b"
_NUMPY_MAGIC = b"\x93NUMPY"
_OTHER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# No UTF-8 text begins with these bytes.
_PICKLE_MAGICS = tuple(bytes([128, protocol]) for protocol in range(2, 6))
_EMPTY = "the table is empty"
VOCABULARY_SUFFIX = ".vocab"
"""Replaces ".npy" in the name of an array's vocabulary file."""


@dataclass(frozen=True, slots=True)
class WordVectors:
    """The vector of a word is the row of its id."""

    ids: dict[str, int]
    """Of a repeated word, the first row."""
    rows: VectorRows
    counts: npt.NDArray[np.int64] | None = None
    """(rows,) occurrences of each word in the corpus; None if the file has no counts."""
    other_files: tuple[Path, ...] = ()
    """Files that were read in addition."""


def read_word_vectors(file: Path, name: str) -> WordVectors:
    """The word vectors in `file`; those of a binary file or an array are memory-mapped. `name` is its name in errors.

    Raises ModelError with the line or word, what was found and what was expected.
    """
    try:
        with file.open("rb") as opened:
            if opened.peek(len(_NUMPY_MAGIC)).startswith(_NUMPY_MAGIC):
                return _array(file, name)
            return _read(opened, name)
    except OSError as error:
        raise ModelError(name, f"the file cannot be read: {error}") from error


def _read(file: BinaryIO, name: str) -> WordVectors:
    first, line = _first_line(file)
    if first.startswith(_FASTTEXT_MAGIC):
        raise ModelError(name, "this is a fastText model with its training state; use its .vec file")
    if first.startswith(_GZIP_MAGIC):
        raise ModelError(name, "the file is compressed; decompress it first")
    if first.startswith(_PICKLE_MAGICS):
        raise ModelError(
            name,
            "this is a Python pickle, as written by gensim's save(), and loading a pickle can run any code; "
            "write the vectors with gensim's save_word2vec_format() instead",
        )
    if first.startswith(_OTHER_MARKS):
        raise ModelError(name, "the file is UTF-16 or UTF-32; convert it to UTF-8 first")
    if not first:
        raise ModelError(name, _EMPTY)
    header = _header(first)
    if header is None:
        dimension = len(_fields(first)) - 1
        if dimension < 1 or not _is_numbers(_fields(first)[1:]):
            raise ModelError(
                name, f"not word vectors: line {line} is neither a word count and dimension nor a word and its numbers"
            )
        return _text(file, [first], dimension, None, line, name)
    count, dimension = header
    if not count:
        raise ModelError(name, f"{_EMPTY}: line {line} states 0 words")
    if not 1 <= dimension <= MAX_DIMENSION:
        raise ModelError(
            name, f"line {line} states {count} words of dimension {dimension}, allowed are 1 to {MAX_DIMENSION} dimensions"
        )
    start = file.tell()
    second, _ = _first_line(file)
    if not second:
        raise ModelError(name, f"{_EMPTY}: line {line} states {count} words, and no line follows")
    file.seek(start)
    if _is_text(second):
        return _text(file, [], dimension, count, line + 1, name)
    return _binary(file, count, dimension, start, name)


def _first_line(file: BinaryIO) -> tuple[bytes, int]:
    """The next line that is not blank, without a byte order mark, and its number from here; empty at the end of the file."""
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        line = line.removeprefix(codecs.BOM_UTF8)
        if line.rstrip(_LINE_ENDS):
            return line, number
    return b"", number


def vocabulary_path(array: Path) -> Path:
    """The vocabulary file of an array: words.vocab for words.npy."""
    return array.with_suffix(VOCABULARY_SUFFIX)


def _array(file: Path, name: str) -> WordVectors:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise ModelError(name, f"the array cannot be read: {error}") from error
    if array.ndim != 2 or 0 in array.shape or array.shape[1] > MAX_DIMENSION or array.dtype.kind != "f":
        raise ModelError(
            name,
            f"the array has shape {array.shape} and type {array.dtype}, "
            f"expected floats of shape (words, dim), with dim from 1 to {MAX_DIMENSION}",
        )
    vocabulary = vocabulary_path(file)
    if not vocabulary.is_file():
        raise ModelError(name, f"there is no {vocabulary.name} with the words of the array in the same folder")
    counted = read_vocabulary(vocabulary, name)
    if len(counted.words) != len(array):
        raise ModelError(name, f"the array has {len(array)} rows, {vocabulary.name} has {len(counted.words)} words")
    ids = {word: word_id for word_id, word in enumerate(counted.words)}
    return WordVectors(ids, ArrayRows(array), counted.counts, (vocabulary,))


def _header(line: bytes) -> tuple[int, int] | None:
    fields = _fields(line)
    if len(fields) != 2 or not all(field.isdigit() and len(field) < 19 for field in fields):
        return None
    return int(fields[0]), int(fields[1])


def _is_text(line: bytes) -> bool:
    """Whether the first line after a header is a word and numbers, of any count."""
    fields = _fields(line)
    return len(fields) > 1 and _is_numbers(fields[-1:]) and _is_numbers(fields[1:2])


def _fields(line: bytes) -> list[bytes]:
    # Only at spaces: words may contain other white space.
    return line.rstrip(_LINE_ENDS).split(b" ")


def _is_numbers(fields: list[bytes]) -> bool:
    try:
        return all(float(field) is not None for field in fields)
    except ValueError:
        return False


class _SkippedRows:
    """What was read past, and where that began."""

    def __init__(self) -> None:
        self.blank = self.wordless = 0
        self._first = ""

    def add(self, place: str, blank: bool) -> None:
        self.blank += blank
        self.wordless += not blank
        self._first = self._first or place

    def report(self, name: str) -> None:
        """Warns once, in the log."""
        counts = ((self.blank, "blank lines"), (self.wordless, "rows without a word"))
        if said := " and ".join(f"{count} {what}" for count, what in counts if count):
            log.warning("model %r: skipped %s; the first is %s", name, said, self._first)


def _text(file: BinaryIO, begun: list[bytes], dimension: int, count: int | None, line: int, name: str) -> WordVectors:
    """Reads the lines that have `begun`, the first of which has number `line`, and the rest of the file."""
    ids: dict[str, int] = {}
    parts: list[np.ndarray] = []
    skipped = _SkippedRows()
    found, header = 0, line - 1
    for lines in _line_blocks(file, begun):
        words, vectors = _parsed(lines, dimension, line, skipped, name)
        for word_id, word in enumerate(words, start=found):
            ids.setdefault(word.decode("utf-8", "replace"), word_id)
        parts.append(vectors)
        found += len(words)
        line += len(lines)
    if count is not None and not found <= count <= found + skipped.wordless:
        raise ModelError(name, f"line {header} states {count} words, the file has {found}")
    if not found:
        raise ModelError(name, f"{_EMPTY}: no row has a word")
    skipped.report(name)
    return WordVectors(ids, ArrayRows(np.concatenate(parts)))


def _line_blocks(file: BinaryIO, begun: list[bytes]) -> Iterator[list[bytes]]:
    lines = chain(begun, file)
    while block := list(islice(lines, _LINES_AT_ONCE)):
        yield block


def _parsed(
    lines: list[bytes], dimension: int, first: int, skipped: _SkippedRows, name: str
) -> tuple[list[bytes], np.ndarray]:
    """The words, and the vectors (words, dimension) float32."""
    return _parsed_at_once(lines, dimension) or _parsed_by_line(lines, dimension, first, skipped, name)


def _parsed_at_once(lines: list[bytes], dimension: int) -> tuple[list[bytes], np.ndarray] | None:
    """Several times faster than line by line; None if a word contains a space or a line is malformed."""
    columns = [str(column) for column in range(dimension + 1)]
    types: dict[str, pyarrow.DataType] = dict.fromkeys(columns[1:], pyarrow.float32())
    try:
        table = csv.read_csv(
            pyarrow.BufferReader(b"".join(line.rstrip(_LINE_ENDS) + b"\n" for line in lines)),
            csv.ReadOptions(column_names=columns, use_threads=False, block_size=1 << 30),
            csv.ParseOptions(delimiter=" ", quote_char=False, ignore_empty_lines=False),
            csv.ConvertOptions(column_types={**types, columns[0]: pyarrow.binary()}, null_values=[]),
        )
    except pyarrow.ArrowInvalid:
        return None
    words = table.column(0).to_pylist()
    vectors = np.stack([table.column(column).to_numpy() for column in range(1, dimension + 1)], axis=1)
    return (words, vectors) if all(words) and np.isfinite(vectors).all() else None


def _parsed_by_line(
    lines: list[bytes], dimension: int, first: int, skipped: _SkippedRows, name: str
) -> tuple[list[bytes], np.ndarray]:
    kept: list[tuple[int, list[bytes]]] = []
    for number, line in enumerate(lines, start=first):
        # Some words contain spaces, so numbers are counted from the end.
        fields = line.rstrip(_LINE_ENDS).rsplit(b" ", dimension)
        if fields == [b""] or (not fields[0] and len(fields) == dimension + 1):
            skipped.add(f"line {number}", blank=fields == [b""])
        elif len(fields) != dimension + 1 or not fields[0]:
            raise ModelError(name, f"line {number} has {len(fields) - 1} numbers, expected {dimension}")
        else:
            kept.append((number, fields))
    try:
        with np.errstate(over="ignore"):
            vectors = np.array([list(map(float, fields[1:])) for _, fields in kept], dtype=np.float32)
    except ValueError:
        vectors = np.full((len(kept), dimension), np.nan, dtype=np.float32)
    if not np.isfinite(vectors).all():
        for number, fields in kept:
            _check_numbers(fields[1:], number, name)
    return [fields[0] for _, fields in kept], vectors.reshape(-1, dimension)


def _check_numbers(fields: list[bytes], line: int, name: str) -> None:
    for field in fields:
        try:
            finite = abs(float(field)) <= float(np.finfo(np.float32).max)
        except ValueError:
            finite = False
        if not finite:
            raise ModelError(name, f"line {line} has {field.decode('utf-8', 'replace')[:40]!r}, expected a number")


def _binary(file: BinaryIO, count: int, dimension: int, start: int, name: str) -> WordVectors:
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    size, width = len(mapped), 4 * dimension
    ids: dict[str, int] = {}
    starts = np.empty(min(count, size // (width + 1) + 1), dtype=np.int64)
    skipped = _SkippedRows()
    at = start
    for word_id in range(count):
        # The original word2vec ends each vector with a line feed, other programs do not.
        if at < size and mapped[at] == 10:
            at += 1
        space = mapped.find(b" ", at, at + _LONGEST_WORD)
        if space < 0 or space + 1 + width > size:
            raise ModelError(name, f"word {word_id + 1} of {count} (dimension {dimension}) is missing or cut short")
        if space == at:
            skipped.add(f"word {word_id + 1}", blank=False)
        else:
            ids.setdefault(mapped[at:space].decode("utf-8", "replace"), word_id)
        starts[word_id] = space + 1
        at = space + 1 + width
    if size - at > _LONGEST_WORD or mapped[at:].strip(_LINE_ENDS):
        raise ModelError(name, f"line 1 states {count} words of dimension {dimension}, {size - at} more bytes follow them")
    if not ids:
        raise ModelError(name, f"{_EMPTY}: no row has a word")
    skipped.report(name)
    return WordVectors(ids, ScatteredRows(np.frombuffer(mapped, dtype=np.uint8), starts, dimension))
