"""Reads the rows of one file: JSON lines, CSV, TSV, Parquet or text, compressed or not. `mapping` says what a row means.

A row that cannot be read becomes a BadRow, and the next one follows. Where a file is damaged or cut short, a BadRow is its
last row.
"""

from __future__ import annotations

import csv
import gzip
import json
import lzma
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from typing import IO, Any, cast

from shoal.records.errors import InputError, needs_pyarrow, one_line, storage_errors
from shoal.records.find import InputFile, open_input
from shoal.records.formats import JSON_SUFFIXES, PARQUET_SUFFIX, TEXT_SUFFIXES, suffix_of
from shoal.records.lines import Readable, lines_of

LINE_BYTES = 64 * 1024 * 1024
"""Longest line of a file, and longest text file; what is longer is a bad row."""
_PARQUET_ROWS = 1024
_BROKEN = (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True, slots=True)
class Row:
    """One row, and its line in the file; in a Parquet file its number. Both count from 1."""

    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, or has no record in it. `line` counts as in Row; `id` is "" where it is unknown."""

    line: int
    reason: str
    id: str = ""


def read_file(file: InputFile, columns: Collection[str] | None = None) -> Iterator[Row | BadRow]:
    """The rows of a file in order; raises InputError when it cannot be opened or its storage fails."""
    try:
        with open_input(file.path, suffix_of(file.name) == PARQUET_SUFFIX) as opened:
            yield from read_rows(opened, file.name, columns)
    except storage_errors() as error:
        raise InputError(f"{file.path}: cannot be read: {one_line(error)}") from error


def first_row(file: InputFile) -> Row | None:
    """The first readable row of a file; raises InputError as `read_file` does."""
    return next((row for row in read_file(file) if isinstance(row, Row)), None)


def read_rows(file: IO[bytes] | Readable, name: str, columns: Collection[str] | None = None) -> Iterator[Row | BadRow]:
    """The rows of an open file whose `name` gives its format. Parquet columns that `columns` leaves out are not read.

    A text file is one row with the fields path (its `name`) and text. A Parquet file must be seekable, as `open_input`
    opens it. Raises OSError when the storage fails, and InputError when pyarrow is missing.
    """
    suffix = suffix_of(name)
    if suffix == PARQUET_SUFFIX:
        yield from _read_parquet(file, name, columns)
        return
    stream = _decompressed(file, name)
    number = 0
    try:
        if suffix in TEXT_SUFFIXES:
            yield _text_row(name, stream.read(LINE_BYTES + 1))
            return
        rows = _read_json_lines(stream) if suffix in JSON_SUFFIXES else _read_table(stream, suffix)
        for row in rows:
            number = row.line
            yield row
    except _BROKEN as error:
        yield BadRow(number + 1, f"the file is damaged or cut short from here on: {one_line(error)}")


def parquet_rows(file: IO[bytes]) -> int:
    """How many rows an open Parquet file has; 0 when that cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_metadata(file).num_rows
    except (pa.ArrowException, OSError):
        return 0


def _decompressed(file: Readable, name: str) -> Readable:
    plain = cast(IO[bytes], file)
    if name.endswith(".gz"):
        return gzip.GzipFile(fileobj=plain)
    return lzma.LZMAFile(plain) if name.endswith(".xz") else file


def _read_json_lines(stream: Readable) -> Iterator[Row | BadRow]:
    for number, line in enumerate(lines_of(stream, LINE_BYTES), start=1):
        if line is None:
            yield BadRow(number, f"the line is longer than {LINE_BYTES} bytes")
        elif line.strip():
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield BadRow(number, f"not JSON: {one_line(error)}")
                continue
            yield Row(number, values) if isinstance(values, dict) else BadRow(number, "not a JSON object")


def _read_table(stream: Readable, suffix: str) -> Iterator[Row | BadRow]:
    csv.field_size_limit(LINE_BYTES)
    # Bytes that are not UTF-8 become lone surrogates, so that they spoil one row and not the file.
    long: list[int] = []

    def lines() -> Iterator[str]:
        for number, line in enumerate(lines_of(stream, LINE_BYTES), start=1):
            if line is None:
                long.append(number)
            yield (line or b"\n").decode("utf-8", "surrogateescape")

    reader = csv.reader(lines(), delimiter="\t" if suffix == ".tsv" else ",", strict=True)
    header: list[str] | None = None
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            yield BadRow(reader.line_num, f"not CSV: {one_line(error)}")
            continue
        while long:
            yield BadRow(long.pop(0), f"the line is longer than {LINE_BYTES} bytes")
        if record is None:
            return
        if header is None:
            header = [name.removeprefix("\ufeff") for name in record]
        elif record and len(record) != len(header):
            yield BadRow(reader.line_num, f"{len(record)} fields, the header has {len(header)}")
        elif record:
            yield Row(reader.line_num, dict(zip(header, record, strict=True)))


def _read_parquet(file: Any, name: str, columns: Collection[str] | None) -> Iterator[Row | BadRow]:
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise needs_pyarrow(name, "Parquet") from error
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            known = table.schema_arrow.names
            wanted = None if columns is None else [column for column in known if column in columns]
            for batch in table.iter_batches(batch_size=_PARQUET_ROWS, columns=wanted):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(number, {column: _plain(value) for column, value in values.items()})
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        # Arrow raises a bare OSError for damaged pages; an error of the storage has an errno.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        yield BadRow(number + 1, f"the file cannot be read as Parquet from here on: {one_line(error)}")


def _text_row(name: str, content: bytes) -> Row | BadRow:
    if len(content) > LINE_BYTES:
        return BadRow(1, f"the file is longer than {LINE_BYTES} bytes")
    try:
        return Row(1, {"path": name, "text": content.decode("utf-8-sig")})
    except UnicodeDecodeError as error:
        return BadRow(1, f"not UTF-8 at byte {error.start}")


def _plain(value: Any) -> Any:
    """JSON has neither dates nor times."""
    return value.isoformat() if isinstance(value, date | time) else value
