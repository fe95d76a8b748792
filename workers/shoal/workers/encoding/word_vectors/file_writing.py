"""Writes tables of word vectors as files for other programs. Model folders are written by `folder_writing`.

Formats: word2vec's text and binary, numpy's array with a vocabulary beside it, and the vocabulary alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shoal.workers.encoding.word_vectors.file_reading import vocabulary_path
from shoal.workers.encoding.word_vectors.word_table import WordTable
from shoal.workers.encoding.word_vectors.word_vector_error import WordVectorError, writing_vectors
from shoal.workers.runtime import whole_file

ROWS_AT_ONCE = 4096
_BLANK = re.compile(r"[ \r\n]")
_LINE_END = re.compile(r"[\r\n]")


def write_word2vec(file: Path, table: WordTable, binary: bool = False) -> None:
    """The format of the original word2vec: a line with the number of words and the dimension, then for each word its
    numbers, as text or as float32 and a line feed. Numbers in text read back as the same float32.

    Raises WordVectorError when a word contains a space, which is the separator, or the disk is full; an old file then stays.
    """
    check_table(file, table, _BLANK)
    with writing_vectors(file), whole_file(file) as opened:
        opened.write(f"{len(table.words)} {table.vectors.shape[1]}\n".encode())
        for first, vectors in _blocks(table.vectors):
            words = table.words[first : first + len(vectors)]
            opened.write(_packed(words, vectors) if binary else _lines(words, vectors))


def write_array(file: Path, table: WordTable) -> None:
    """Writes NAME.npy with the vectors (words, dim) float32, which can be memory-mapped, and NAME.vocab with words and
    counts, or only words if there are no counts.

    Raises WordVectorError when the name does not end in .npy, or the disk is full; old files then stay.
    """
    check_array_name(file)
    vocabulary = vocabulary_path(file)
    check_table(file, table)
    header = {"descr": "<f4", "fortran_order": False, "shape": table.vectors.shape}
    with writing_vectors(vocabulary), whole_file(vocabulary) as lines:
        lines.write(vocabulary_lines(table.words, table.counts))
        # Both files are complete before either gets its name.
        lines.flush()
        with writing_vectors(file), whole_file(file) as array:
            np.lib.format.write_array_header_1_0(array, header)
            write_rows(array, table.vectors)


def check_array_name(file: Path) -> None:
    """Raises WordVectorError unless the file name ends in .npy."""
    if file.suffix != ".npy":
        raise WordVectorError(f"{file}: the name of an array must end in .npy")


def write_counts(file: Path, table: WordTable) -> None:
    """A line "word count" for each word, like word2vec's -save-vocab and gensim's `fvocab`.

    Raises WordVectorError when the table has no counts, a word contains a space, or the disk is full; an old file
    then stays.
    """
    if table.counts is None:
        raise WordVectorError(f"{file}: the table has no counts")
    check_table(file, table, _BLANK)
    with writing_vectors(file), whole_file(file) as opened:
        opened.write(vocabulary_lines(table.words, table.counts))


def write_rows(file: IO[bytes], vectors: npt.NDArray[np.float32]) -> None:
    """Writes the vectors (rows, dim) as little-endian float32, row by row, without copying them all."""
    for _, rows in _blocks(vectors):
        file.write(rows.tobytes())


def vocabulary_lines(words: Sequence[str], counts: npt.NDArray[np.int64] | None) -> bytes:
    """A line for each word, with its count unless `counts` is None."""
    if counts is None:
        return "".join(f"{word}\n" for word in words).encode()
    return "".join(f"{word} {count}\n" for word, count in zip(words, counts.tolist(), strict=True)).encode()


def check_table(file: Path, table: WordTable, unfit: re.Pattern[str] = _LINE_END) -> None:
    """Raises WordVectorError when the table is empty, words, vectors and counts differ in number, a number is not finite, or
    a word is repeated, empty, not valid Unicode, or contains a character that is `unfit` for the file."""
    words, vectors = table.words, table.vectors
    if not len(words) or vectors.ndim != 2 or len(vectors) != len(words) or not vectors.shape[1]:
        raise WordVectorError(f"{file}: {len(words)} words have vectors of shape {vectors.shape}, expected (words, dim)")
    if table.counts is not None and table.counts.shape != (len(words),):
        raise WordVectorError(f"{file}: {len(words)} words have counts of shape {table.counts.shape}, expected one per word")
    for first, rows in _blocks(vectors):
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            word = words[first + int(finite.argmin())]
            raise WordVectorError(f"{file}: the vector of {word[:40]!r} is not finite in float32")
    seen: set[str] = set()
    for word in words:
        if not word or unfit.search(word):
            raise WordVectorError(f"{file}: the word {word[:40]!r} is empty or contains a space or line end")
        if word in seen:
            raise WordVectorError(f"{file}: the word {word[:40]!r} is repeated")
        seen.add(word)
        if not word.isascii():
            try:
                word.encode()
            except UnicodeEncodeError:
                raise WordVectorError(f"{file}: the word {word[:40]!r} is not valid Unicode") from None


def _blocks(vectors: npt.NDArray[np.float32]) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    for first in range(0, len(vectors), ROWS_AT_ONCE):
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(vectors[first : first + ROWS_AT_ONCE], dtype="<f4")
        yield first, rows


def _packed(words: Sequence[str], vectors: npt.NDArray[np.float32]) -> bytes:
    return b"".join(word.encode() + b" " + row.tobytes() + b"\n" for word, row in zip(words, vectors, strict=True))


def _lines(words: Sequence[str], vectors: npt.NDArray[np.float32]) -> bytes:
    # Arrow writes the shortest digits that read back as the same float32, many times faster than Python.
    columns = [pc.cast(pa.array(column), pa.string()) for column in vectors.T]
    lines = pc.call_function("binary_join_element_wise", [pa.array(words, pa.string()), *columns, pa.scalar(" ")])
    return "".join(f"{line}\n" for line in lines.to_pylist()).encode()
