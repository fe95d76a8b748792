"""Reads rows from files that people have: JSON lines, CSV, Parquet, and folders of text. `mapping` says what a row means."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from shoal.client.cli.failure import Failure

TEXT_SUFFIXES = (".txt", ".md", ".rst")
# A field of a CSV file may be a whole book; the csv module's own limit is 128 KiB.
CSV_FIELD_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One record, and the line (or number of the row, from 1) where it stands."""

    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A record that cannot be read."""

    line: int
    reason: str


Reader: TypeAlias = Callable[[Path], Iterator[Row | BadRow]]


def reader_of(path: Path) -> Reader:
    """How to read a file or folder, by its name; raises Failure when there is no such file or no way to read it."""
    if not path.exists():
        raise Failure(f"{path}: no such file or folder")
    if path.is_dir():
        return read_folder
    name = path.name.removesuffix(".gz").removesuffix(".xz")
    suffix = Path(name).suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return read_json_lines
    if suffix in (".csv", ".tsv"):
        return read_csv
    if suffix == ".parquet":
        return read_parquet
    if suffix in TEXT_SUFFIXES:
        return read_text
    raise Failure(f"{path}: not a .jsonl, .csv, .tsv, .parquet or text file (.gz and .xz are fine), nor a folder of text")


def read_json_lines(path: Path) -> Iterator[Row | BadRow]:
    """One row per line; blank lines are skipped."""
    with _open(path) as file:
        for number, line in enumerate(_guarded(path, file), start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield BadRow(number, f"not JSON: {error}")
                continue
            yield Row(number, values) if isinstance(values, dict) else BadRow(number, "not a JSON object")


def read_csv(path: Path) -> Iterator[Row | BadRow]:
    """One row per record, named by the first one; tabs separate in .tsv."""
    csv.field_size_limit(CSV_FIELD_BYTES)
    delimiter = "\t" if ".tsv" in path.suffixes else ","
    with _open(path) as file:
        lines = (_decoded(path, line) for line in _guarded(path, file))
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
            for record in reader:
                if not record:
                    continue
                if len(record) == len(header):
                    yield Row(reader.line_num, dict(zip(header, record, strict=True)))
                else:
                    yield BadRow(reader.line_num, f"{len(record)} fields, the header has {len(header)}")
        except csv.Error as error:
            raise Failure(f"{path}:{reader.line_num}: {error}") from error


def read_parquet(path: Path) -> Iterator[Row | BadRow]:
    """One row per row; dates and times become text, as JSON has none."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise Failure(f"{path}: reading Parquet needs pyarrow: pip install 'shoal[cluster]'") from error
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(number, {name: _plain(value) for name, value in values.items()})
    except pyarrow.ArrowException as error:
        raise Failure(f"{path}: cannot be read as Parquet after row {number}: {error}") from error


def read_text(path: Path) -> Iterator[Row | BadRow]:
    """The file as one row, with its name as the path."""
    with _open(path) as file:
        yield _text_row(path.name, b"".join(_guarded(path, file)))


def read_folder(path: Path) -> Iterator[Row | BadRow]:
    """One row per text file anywhere below, in order of their paths, which are told from the folder on."""
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in TEXT_SUFFIXES and file.is_file())
    if not files:
        raise Failure(f"{path}: no {', '.join(TEXT_SUFFIXES)} files in this folder")
    for number, file in enumerate(files, start=1):
        row = _text_row(file.relative_to(path).as_posix(), file.read_bytes())
        yield Row(number, row.values) if isinstance(row, Row) else BadRow(number, f"{file}: {row.reason}")


def _text_row(name: str, content: bytes) -> Row | BadRow:
    try:
        return Row(1, {"path": name, "text": content.decode("utf-8-sig")})
    except UnicodeDecodeError as error:
        return BadRow(1, f"not UTF-8 at byte {error.start}")


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if path.suffix == ".xz":
        return lzma.open(path, "rb")
    return path.open("rb")


def _guarded(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    try:
        yield from file
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise Failure(f"{path}: damaged or cut short: {error}") from error


def _decoded(path: Path, line: bytes) -> str:
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Failure(f"{path}: not UTF-8: {error.reason} in {line[:40]!r}") from error


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | time) else value
