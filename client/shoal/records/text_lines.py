"""Reads the lines of a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shoal.records.decoding.lines import lines_of
from shoal.records.rows import BadRow, Row


def line_rows(chunks: Iterable[bytes], line_bytes: int) -> Iterator[Row | BadRow]:
    """The lines of UTF-8 text that are not blank, stripped, in the field text. Raises what `chunks` raises."""
    for number, line in enumerate(lines_of(chunks, line_bytes), start=1):
        if line is None:
            yield BadRow(number, f"the line is longer than {line_bytes} bytes")
            continue
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            yield BadRow(number, not_utf8(line, error))
            continue
        if text:
            yield Row(number, {"text": text})


def not_utf8(line: bytes, error: UnicodeDecodeError) -> str:
    """Why a line is bad that cannot be decoded."""
    return f"not UTF-8: byte {line[error.start]:#04x} in column {error.start + 1}"
