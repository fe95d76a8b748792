"""Reads a split into parts of records: what the tasks of a job do before anything is encoded. Knows no Ray."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import pyarrow as pa

from shoal.cluster.jobs.encode.errors import JobError
from shoal.cluster.jobs.encode.input_record import InputRecord, input_record
from shoal.cluster.jobs.encode.parts import PartId, Split, cut
from shoal.records import (
    BadRecord,
    BadRow,
    Fields,
    InputError,
    InputFile,
    Row,
    first_row_fault,
    open_input,
    parquet_row_count,
    read_rows,
    suffix_of,
)
from shoal.workers.runtime import error_line

PART_BYTES = 32 * 1024 * 1024
"""Text and payload of a part; it closes at this or at its number of rows, whichever comes first."""
_ROW_BYTES = 64
"""What a row weighs beside its text and payload."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands: file and line, and how many bytes of the file had been read by then."""

    source: str
    line: int
    read_bytes: int


@dataclass(frozen=True, slots=True)
class PartRecords:
    """What a part is made of, before it is encoded."""

    id: PartId
    last: bool
    """True for the last part of its split."""
    records: list[tuple[Place, InputRecord]]
    bad: list[tuple[Place, BadRow]]
    input_bytes: int
    """Bytes of the input that this part stands for, as they lie in storage."""


def read_split(split: Split, fields: Fields, part_rows: int) -> Iterator[PartRecords]:
    """The parts of a split, always the same ones. Raises JobError when a file cannot be opened or read."""
    items = ((item, _weight(item[1])) for file in split.files for item in read_file(file, fields))
    starts: dict[str, int] = {}
    total = passed = 0
    for file in split.files:
        starts[file.path] = total
        total += file.bytes
    for index, (run, last) in enumerate(cut(items, part_rows, PART_BYTES)):
        place = run[-1][0] if run else None
        reached = total if last or place is None else max(passed, starts[place.source] + place.read_bytes)
        yield PartRecords(
            PartId(split.number, index),
            last,
            [(place, item) for place, item in run if isinstance(item, InputRecord)],
            [(place, item) for place, item in run if isinstance(item, BadRow)],
            reached - passed,
        )
        passed = reached


def read_file(file: InputFile, fields: Fields) -> Iterator[tuple[Place, InputRecord | BadRow]]:
    """The records of a file and its bad rows, in order, each with its place; raises JobError as `read_split` does."""
    seekable = suffix_of(file.name) == ".parquet"
    try:
        with open_input(file.path, seekable) as opened:
            rows = parquet_row_count(opened) if seekable else 0
            stream = _CountedStream(opened)
            for row in read_rows(opened if seekable else stream, file.name, fields.columns()):
                # A Parquet file is read here and there: its rows tell how far.
                reached = file.bytes * row.line // rows if rows else stream.read_bytes
                place = Place(file.path, row.line, min(file.bytes, reached))
                if isinstance(row, Row):
                    yield place, _record(row, fields)
                else:
                    yield place, row
    except (OSError, pa.ArrowException) as error:
        raise JobError(f"{file.path}: cannot be read: {error_line(error)}") from error


def check_first_row(file: InputFile, fields: Fields) -> None:
    """Raises JobError when the header of a file is wrong, or its first readable row lacks a field that is asked for."""
    try:
        fault = first_row_fault(file, fields)
    except InputError as error:
        raise JobError(str(error)) from error
    if fault:
        raise JobError(f"{file.path}: {fault}")


class _CountedStream:
    """A stream that counts the bytes read from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.read_bytes = 0

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end."""
        data = self._stream.read(size)
        self.read_bytes += len(data)
        return data


def _record(row: Row, fields: Fields) -> InputRecord | BadRow:
    try:
        return input_record(fields.record(row.values))
    except BadRecord as error:
        return BadRow(row.line, error.reason, error.id)


def _weight(item: InputRecord | BadRow) -> int:
    return _ROW_BYTES + (len(item.text) + len(item.payload) if isinstance(item, InputRecord) else len(item.reason))
