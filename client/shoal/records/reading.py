"""Reads the rows of one file: JSON lines, CSV, TSV, Parquet or text, compressed or not.

A row that cannot be read becomes a BadRow, and reading continues. If a file is damaged or cut short, its last row is a
BadRow, after all rows that could still be read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TypeVar

from shoal.records.decoding.compression import decompressed
from shoal.records.decoding.encodings import utf8
from shoal.records.decoding.lines import Readable, chunks_of
from shoal.records.errors import Damaged, InputError, one_line, storage_errors
from shoal.records.find import InputFile, open_input
from shoal.records.formats import JSON_SUFFIXES, PARQUET_SUFFIX, TEXT_SUFFIXES, compression_of, suffix_of
from shoal.records.json_lines import json_rows
from shoal.records.mapping import Fields, TextFields
from shoal.records.parquet import parquet_rows
from shoal.records.rows import BadRow, BareRow, Row
from shoal.records.tables import bare_rows, table_rows
from shoal.records.text_lines import line_rows

SomeRow = TypeVar("SomeRow", Row | BadRow, BareRow | BadRow)

LINE_BYTES = 64 * 1024 * 1024
"""Longest line of a file, and longest text file; a longer one is a bad row."""


def read_file(file: InputFile, columns: Collection[str] | None = None) -> Iterator[Row | BadRow]:
    """The rows of a file in order; raises InputError if it cannot be opened or its storage fails."""
    with _opened(file, suffix_of(file.name) == PARQUET_SUFFIX) as opened:
        yield from read_rows(opened, file.name, columns)


def read_table(file: InputFile, delimiter: str, columns: Collection[str] | None = None) -> Iterator[Row | BadRow]:
    """The rows of a table as `read_file` reads CSV and TSV, whatever the suffix of its file."""
    with _opened(file) as opened:
        yield from _until_damage(table_rows(text_chunks(opened, file.name), delimiter, columns, LINE_BYTES))


def read_bare_table(file: InputFile, delimiter: str, comment: str) -> Iterator[BareRow | BadRow]:
    """The records of a table that may have no header. Lines that begin with `comment` are skipped.

    Bytes that are not UTF-8 become lone surrogates. Raises InputError as `read_file` does.
    """
    with _opened(file) as opened:
        yield from _until_damage(bare_rows(text_chunks(opened, file.name), delimiter, LINE_BYTES, comment))


def read_lines(file: InputFile) -> Iterator[Row | BadRow]:
    """The lines of a text that are not blank, stripped, in the field text. Raises InputError as `read_file` does."""
    with _opened(file) as opened:
        yield from _until_damage(line_rows(text_chunks(opened, file.name), LINE_BYTES))


@contextmanager
def _opened(file: InputFile, seekable: bool = False) -> Iterator[IO[bytes]]:
    try:
        with open_input(file.path, seekable) as opened:
            yield opened
    except storage_errors() as error:
        raise InputError(f"{file.path}: cannot be read: {one_line(error)}") from error


def first_row_fault(file: InputFile, fields: Fields | TextFields) -> str:
    """What is wrong with the header of a file, or what its first readable row lacks; empty if nothing.

    Raises InputError as `read_file` does.
    """
    columns = fields.columns()
    first = _first(file, columns)
    if isinstance(first, BadRow):
        return first.reason
    if first is None or not fields.missing(first.values):
        return ""
    # The message lists all fields of the row, also those that were not requested.
    whole = first if columns is None else _first(file, None)
    return fields.missing(whole.values if isinstance(whole, Row) else first.values)


def _first(file: InputFile, columns: Collection[str] | None) -> Row | BadRow | None:
    return next((row for row in read_file(file, columns) if isinstance(row, Row) or row.whole_file), None)


def read_rows(
    file: IO[bytes] | Readable, name: str, columns: Collection[str] | None = None, groups: range | None = None
) -> Iterator[Row | BadRow]:
    """The rows of an open file whose `name` gives its format. Parquet columns that `columns` leaves out are not read, nor
    groups of rows that `groups` leaves out.

    A text file is one row with the fields path (its `name`) and text. A Parquet file must be seekable, as `open_input`
    opens it. Raises OSError if the storage fails, and InputError if pyarrow is missing.
    """
    suffix = suffix_of(name)
    if suffix == PARQUET_SUFFIX:
        yield from parquet_rows(file, name, columns, groups)
        return
    text = text_chunks(file, name)
    if suffix in TEXT_SUFFIXES:
        rows = _text_row(text, name)
    elif suffix in JSON_SUFFIXES:
        rows = json_rows(text, LINE_BYTES)
    else:
        rows = table_rows(text, "\t" if suffix == ".tsv" else ",", columns, LINE_BYTES)
    yield from _until_damage(rows)


def _until_damage(rows: Iterable[SomeRow]) -> Iterator[SomeRow | BadRow]:
    number = 0
    try:
        for row in rows:
            number = row.line
            yield row
    except Damaged as error:
        yield BadRow(number + 1, damage_reason(error))


def text_chunks(file: IO[bytes] | Readable, name: str) -> Iterator[bytes]:
    """The text of an open file as UTF-8, in chunks: decompressed as its `name` says, recoded as its byte order mark says.

    Raises Damaged after everything that can be read. Bytes that are not UTF-8 are passed on.
    """
    return utf8(decompressed(chunks_of(file), compression_of(name)))


def damage_reason(error: Damaged) -> str:
    """Why a row is bad with which a damaged file ends."""
    return f"the file is damaged or cut short from here on: {error}"


def _text_row(chunks: Iterator[bytes], name: str) -> Iterator[Row | BadRow]:
    content = bytearray()
    damage: Damaged | None = None
    try:
        for chunk in chunks:
            content += chunk
            if len(content) > LINE_BYTES:
                yield BadRow(1, f"the file is longer than {LINE_BYTES} bytes")
                return
    except Damaged as error:
        if not error.complete:
            raise
        damage = error
    try:
        yield Row(1, {"path": name, "text": content.decode()})
    except UnicodeDecodeError as error:
        yield BadRow(1, f"not UTF-8 at byte {error.start}")
    if damage is not None:
        raise damage
