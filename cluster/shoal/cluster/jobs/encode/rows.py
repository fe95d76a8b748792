"""Reads rows out of one open file: JSON lines, CSV, Parquet or text. `mapping` says what a row means, `inputs` opens files.

A record that cannot be read is a BadRow and the next one follows; so is a file that breaks off, which ends there.
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
from pathlib import PurePosixPath
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet

from shoal.cluster.jobs.encode.errors import one_line
from shoal.cluster.jobs.encode.lines import Readable, lines_of

TEXT_SUFFIXES = (".txt", ".md", ".rst")
_JSON_SUFFIXES = (".jsonl", ".ndjson")
_TABLE_SUFFIXES = (".csv", ".tsv")
_PARQUET_SUFFIX = ".parquet"
SUFFIXES = (*_JSON_SUFFIXES, *_TABLE_SUFFIXES, _PARQUET_SUFFIX, *TEXT_SUFFIXES)

LINE_BYTES = 64 * 1024 * 1024
"""Longest line of a file, and longest text file; what is longer is a bad row."""
_PARQUET_ROWS = 1024
_BROKEN = (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True, slots=True)
class Row:
    """One record, and the line (or number of the row, from 1) where it stands."""

    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A record that cannot be read, or cannot be encoded."""

    line: int
    reason: str
    id: str = ""


def suffix_of(name: str) -> str:
    """The suffix that tells the format of a file, "" when it has none that is read."""
    bare = name.removesuffix(".gz").removesuffix(".xz")
    suffix = PurePosixPath(bare).suffix.lower()
    return suffix if suffix in SUFFIXES and not (suffix == _PARQUET_SUFFIX and bare != name) else ""


def read_rows(file: pa.NativeFile | Readable, name: str, columns: Collection[str] | None = None) -> Iterator[Row | BadRow]:
    """The rows of a file whose `name` ends in one of SUFFIXES. `columns` may spare reading others, where that is of use.

    A text file is one row with the fields path (its `name`) and text. Raises OSError when the storage fails.
    """
    suffix = suffix_of(name)
    if suffix == _PARQUET_SUFFIX:
        yield from _read_parquet(cast(pa.NativeFile, file), columns)
        return
    stream = _decompressed(file, name)
    number = 0
    try:
        if suffix in TEXT_SUFFIXES:
            yield _text_row(name, stream.read(LINE_BYTES + 1))
            return
        rows = _read_json_lines(stream) if suffix in _JSON_SUFFIXES else _read_table(stream, suffix)
        for row in rows:
            number = row.line
            yield row
    except _BROKEN as error:
        yield BadRow(number + 1, f"the file is damaged or cut short from here on: {one_line(error)}")


def parquet_rows(file: pa.NativeFile) -> int:
    """How many rows a Parquet file has; 0 when that cannot be read."""
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
    # Bytes that are no UTF-8 become lone surrogates, so that they spoil one record and not the file.
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


def _read_parquet(file: pa.NativeFile, columns: Collection[str] | None) -> Iterator[Row | BadRow]:
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            known = table.schema_arrow.names
            wanted = None if columns is None else [name for name in known if name in columns]
            for batch in table.iter_batches(batch_size=_PARQUET_ROWS, columns=wanted):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(number, {name: _plain(value) for name, value in values.items()})
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        # Arrow raises a bare OSError for damaged pages; one of the storage has a number.
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
