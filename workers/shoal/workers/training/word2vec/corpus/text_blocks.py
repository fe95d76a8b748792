"""Reads a unit of the corpus as blocks of text, in memory that depends neither on its size nor on the length of lines."""

from __future__ import annotations

import codecs
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shoal.workers.runtime import error_line
from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.units import CorpusUnit, FileKind, text_column
from shoal.workers.training.word2vec.errors import TrainingError

CHUNK_BYTES = 1 << 18
LINE_BYTES = 1 << 20
"""Longer lines are cut at white space."""
LINE_REACH, WORD_REACH = 16 << 10, 64 << 10
"""How far after its nominal start a unit searches for the end of a line, and for white space, to begin at."""
_BATCH_ROWS = 1024
_LINE_END = b"\n"
# Unicode white space in UTF-8. A match always starts at a character, whatever the bytes around it.
_SPACE = re.compile(
    rb"[\t-\r\x1c-\x20]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80"
)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# UTF-32 first: its little-endian mark begins with that of UTF-16.
_OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()


@dataclass(frozen=True, slots=True)
class TextBlock:
    """A piece of text. It ends at the end of a line; within a long line at white space, or at least between characters."""

    utf8: bytes
    replaced: int
    """How many U+FFFD in it replaced invalid UTF-8."""


def read_blocks(unit: CorpusUnit, corpus_settings: CorpusSettings) -> Iterator[TextBlock]:
    """The text of a unit, in order. The units of a file together have exactly its text, and no word is divided between two
    units unless it is longer than WORD_REACH bytes.

    Raises TrainingError when the file cannot be read, is damaged or truncated, is not UTF-8 by its byte order mark, changed
    since the units were planned, or has no text column.
    """
    try:
        found = os.stat(unit.path)
        if (found.st_size, found.st_mtime_ns) != (unit.size, unit.modified_ns):
            raise TrainingError(f"{unit.path}: changed during the training")
        for piece in _pieces(_chunks(unit, corpus_settings)):
            yield _checked(piece)
    except EOFError as error:
        raise TrainingError(f"{unit.path}: truncated") from error
    except (OSError, lzma.LZMAError, zlib.error, pa.ArrowException) as error:
        raise TrainingError(f"{unit.path}: cannot be read: {error_line(error)}") from error


def _chunks(unit: CorpusUnit, corpus_settings: CorpusSettings) -> Iterator[bytes]:
    if unit.kind is FileKind.PARQUET:
        yield from _parquet(unit, corpus_settings.text_field)
        return
    if unit.kind is FileKind.PLAIN:
        with open(unit.path, "rb") as file:
            chunks = _range(file, _boundary(file, unit.begin, unit.size), _boundary(file, unit.end, unit.size))
            yield from _unmarked(chunks, unit.path) if unit.begin == 0 else chunks
        return
    with gzip.open(unit.path) if unit.kind is FileKind.GZIP else lzma.open(unit.path) as file:
        yield from _unmarked(iter(lambda: file.read(CHUNK_BYTES), b""), unit.path)


def _boundary(file: BinaryIO, near: int, size: int) -> int:
    """Where the unit that nominally begins at byte `near` really begins. Depends only on the file and `near`, and never
    decreases with `near`, so the units before and after agree on it."""
    if near in (0, size):
        return near
    # From the byte before: if that is white space, the unit begins at its nominal start.
    begin = near - 1
    file.seek(begin)
    window = file.read(WORD_REACH)
    line_end = window.find(_LINE_END, 0, LINE_REACH)
    if line_end >= 0:
        return begin + line_end + 1
    if space := _SPACE.search(window):
        return begin + space.end()
    if begin + len(window) == size:
        return size
    following = next((offset for offset in range(1, 5) if not 0x80 <= window[offset] < 0xC0), 1) if len(window) > 4 else 1
    return begin + following


def _range(file: BinaryIO, begin: int, end: int) -> Iterator[bytes]:
    file.seek(begin)
    while begin < end and (chunk := file.read(min(CHUNK_BYTES, end - begin))):
        begin += len(chunk)
        yield chunk


def _unmarked(chunks: Iterable[bytes], path: str) -> Iterator[bytes]:
    """Removes the byte order mark at the beginning of a file; raises TrainingError when it is not that of UTF-8."""
    for index, chunk in enumerate(chunks):
        if index == 0:
            for mark, encoding in _OTHER_MARKS.items():
                if chunk.startswith(mark):
                    raise TrainingError(f"{path}: is {encoding}: convert it to UTF-8 first")
        yield chunk.removeprefix(_BYTE_ORDER_MARK) if index == 0 else chunk


def _parquet(unit: CorpusUnit, field: str) -> Iterator[bytes]:
    """The texts of some row groups, each as one or more lines."""
    with pq.ParquetFile(unit.path) as file:
        column = text_column(unit.path, file.schema_arrow, field)
        for batch in file.iter_batches(_BATCH_ROWS, row_groups=list(range(unit.begin, unit.end)), columns=[column]):
            values = pc.cast(batch.column(0), pa.large_binary()).drop_null()
            yield b"".join(value + _LINE_END for value in values.to_pylist())


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of chunks, cut at the ends of lines, and at white space within lines of more than LINE_BYTES."""
    held = b""
    for chunk in chunks:
        held += chunk
        cut = held.rfind(_LINE_END) + 1
        if not cut and len(held) > LINE_BYTES:
            cut = _last_cut(held)
        if cut:
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held


def _last_cut(data: bytes) -> int:
    """After the last white space near the end, or where the last character begins."""
    for reach in (WORD_REACH >> 6, LINE_BYTES):
        if cut := max((space.end() for space in _SPACE.finditer(data, max(0, len(data) - reach))), default=0):
            return cut
    return next((len(data) - back for back in range(1, 4) if not 0x80 <= data[-back] < 0xC0), len(data))


def _checked(data: bytes) -> TextBlock:
    try:
        data.decode()
        return TextBlock(data, 0)
    except UnicodeDecodeError:
        replaced = data.decode(errors="replace").encode()
        return TextBlock(replaced, replaced.count(_REPLACEMENT) - data.count(_REPLACEMENT))
