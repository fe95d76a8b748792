"""Reads a split into parts of records: the work of a reading task of a job. Does not depend on Ray."""

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
"""Text and payload of a part. A part ends at this or at its number of rows, whichever comes first."""
_ROW_BYTES = 64
"""Counted for each row in addition to its text and payload."""


@dataclass(frozen=True, slots=True)
class RecordPosition:
    """The file and line of a record, and how many bytes of the file were read by then."""

    source: str
    line: int
    read_bytes: int


@dataclass(frozen=True, slots=True)
class PartRecords:
    """The records of a part, before they are encoded."""

    id: PartId
    last: bool
    """True for the last part of its split."""
    records: list[tuple[RecordPosition, InputRecord]]
    bad: list[tuple[RecordPosition, BadRow]]
    input_bytes: int
    """Bytes of the input that belong to this part, as stored (compressed)."""
    sources: list[str]
    """The files that its rows are from, in order."""


def read_split(split: Split, fields: Fields, part_rows: int) -> Iterator[PartRecords]:
    """The parts of a split, the same ones in every run. Raises JobError when a file cannot be opened or read."""
    items = ((item, _weight(item[1])) for file in split.files for item in read_file(file, fields))
    starts: dict[str, int] = {}
    total = passed = 0
    for file in split.files:
        starts[file.path] = total
        total += file.bytes
    for index, (run, last) in enumerate(cut(items, part_rows, PART_BYTES)):
        end = run[-1][0] if run else None
        reached = total if last or end is None else max(passed, starts[end.source] + end.read_bytes)
        yield PartRecords(
            PartId(split.index, index),
            last,
            [(position, item) for position, item in run if isinstance(item, InputRecord)],
            [(position, item) for position, item in run if isinstance(item, BadRow)],
            reached - passed,
            list(dict.fromkeys(position.source for position, _ in run)),
        )
        passed = reached


def read_file(file: InputFile, fields: Fields) -> Iterator[tuple[RecordPosition, InputRecord | BadRow]]:
    """The records and bad rows of a file, in order, each with its position. Raises JobError as `read_split` does."""
    seekable = suffix_of(file.name) == ".parquet"
    try:
        with open_input(file.path, seekable) as opened:
            rows = parquet_row_count(opened) if seekable else 0
            stream = _CountedStream(opened)
            for row in read_rows(opened if seekable else stream, file.name, fields.columns()):
                # A Parquet file is not read in order, so progress is estimated from its rows.
                reached = file.bytes * row.line // rows if rows else stream.read_bytes
                position = RecordPosition(file.path, row.line, min(file.bytes, reached))
                if isinstance(row, Row):
                    yield position, _record(row, fields)
                else:
                    yield position, row
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
