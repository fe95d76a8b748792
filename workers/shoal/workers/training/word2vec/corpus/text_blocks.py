"""Reads a unit of the corpus as blocks of text, in memory that depends neither on its size nor on the length of lines."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from shoal.workers.runtime import error_line
from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.units import CorpusUnit
from shoal.workers.training.word2vec.corpus.unread_rows import UnreadRow
from shoal.workers.training.word2vec.errors import TrainingError

UnitReader = Callable[[CorpusUnit, CorpusSettings], Iterator[bytes | UnreadRow]]
"""Reads the pieces of a unit as UTF-8, in chunks of any size. Raises TrainingError."""

CHUNK_BYTES = 1 << 18
LINE_BYTES = 1 << 20
"""Longer lines are cut at white space."""
LINE_REACH, WORD_REACH = 16 << 10, 64 << 10
"""How far after its nominal start a unit searches for the end of a line, and for white space, to begin at."""
_LINE_END = b"\n"
# Unicode white space in UTF-8. A match always starts at a character, whatever the bytes around it.
_SPACE = re.compile(
    rb"[\t-\r\x1c-\x20]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80"
)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()


@dataclass(frozen=True, slots=True)
class TextBlock:
    """A piece of text. It ends at the end of a line; within a long line at white space, or at least between characters."""

    utf8: bytes
    replaced: int
    """How many U+FFFD in it replaced invalid UTF-8."""


def read_blocks(
    unit: CorpusUnit,
    corpus_settings: CorpusSettings,
    reader: UnitReader | None,
    unread: Callable[[UnreadRow], None],
) -> Iterator[TextBlock]:
    """The text of a unit, in order. The units of a file together have exactly its text, and no word is divided between two
    units unless it is longer than WORD_REACH bytes. A unit with pieces is read by `reader`; `unread` is called with the rows
    that it cannot read.

    Raises TrainingError when the file cannot be read, or changed since the units were planned.
    """
    try:
        if "://" not in unit.path:
            found = os.stat(unit.path)
            if (found.st_size, found.st_mtime_ns) != (unit.file.size, unit.file.modified_ns):
                raise TrainingError(f"{unit.path}: changed during the training")
        if unit.file.pieces is None:
            chunks = _utf8_range(unit)
        elif reader is not None:
            chunks = _gathered(reader(unit, corpus_settings), unread)
        else:
            raise TrainingError(f"{unit.path}: has no reader")
        for piece in _pieces(chunks):
            yield _checked(piece)
    except OSError as error:
        raise TrainingError(f"{unit.path}: cannot be read: {error_line(error)}") from error


def _utf8_range(unit: CorpusUnit) -> Iterator[bytes]:
    with open(unit.path, "rb") as file:
        size = unit.file.size
        chunks = _range(file, _boundary(file, unit.begin, size), _boundary(file, unit.end, size))
        for index, chunk in enumerate(chunks):
            yield chunk if index or unit.begin else chunk.removeprefix(_BYTE_ORDER_MARK)


def _gathered(parts: Iterable[bytes | UnreadRow], unread: Callable[[UnreadRow], None]) -> Iterator[bytes]:
    """Small chunks put together, because each block has a cost of its own."""
    held: list[bytes] = []
    size = 0
    for part in parts:
        if isinstance(part, UnreadRow):
            unread(part)
            continue
        held.append(part)
        size += len(part)
        if size >= CHUNK_BYTES:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


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
