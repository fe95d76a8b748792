"""Reads Parquet, group of rows by group of rows: a damaged group does not take the next one with it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import IO, Any

from shoal.records.errors import needs_pyarrow, one_line
from shoal.records.rows import BadRow, Row
from shoal.records.tables import header_fault

_BATCH_ROWS = 1024


def parquet_row_count(file: IO[bytes]) -> int:
    """How many rows an open Parquet file has; 0 when that cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_metadata(file).num_rows
    except (pa.ArrowException, OSError):
        return 0


def parquet_group_bytes(file: IO[bytes]) -> tuple[int, ...]:
    """The uncompressed size of each group of rows of an open Parquet file; empty when that cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        metadata = pyarrow.parquet.read_metadata(file)
        return tuple(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    except (pa.ArrowException, OSError):
        return ()


def parquet_rows(
    file: Any, name: str, columns: Collection[str] | None, groups: range | None = None
) -> Iterator[Row | BadRow]:
    """The rows of an open, seekable file in terms of JSON (see `json_form`); columns that `columns` leaves out are not read.

    If `groups` of rows are given, only theirs; they keep their numbers in the file. A value without a form in JSON spoils
    its row. Raises OSError when the storage fails, and InputError without pyarrow.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise needs_pyarrow(name, "Parquet") from error
    damages = (pa.ArrowException, UnicodeDecodeError, OSError)
    try:
        table = pyarrow.parquet.ParquetFile(file)
        names = table.schema_arrow.names
        counts = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
    except damages as error:
        yield BadRow(1, f"the file cannot be read as Parquet: {_damage(error)}")
        return
    with table:
        if reason := header_fault(names, columns):
            yield BadRow(1, reason, whole_file=True)
            return
        wanted = None if columns is None else [column for column in names if column in columns]
        begin = 0
        for group, count in enumerate(counts):
            if groups is not None and group not in groups:
                begin += count
                continue
            number = begin
            try:
                for batch in table.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group], columns=wanted):
                    yield from _rows(batch, number)
                    number += batch.num_rows
            except damages as error:
                yield BadRow(number + 1, _lost(number + 1, begin + count, _damage(error)))
            begin += count


def _rows(batch: Any, before: int) -> Iterator[Row | BadRow]:
    from shoal.records.json_form import NoJsonForm, column_values

    names: Sequence[str] = batch.schema.names
    columns = [column_values(column) for column in batch.columns]
    rows = zip(*columns, strict=True) if columns else ((),) * batch.num_rows
    for number, values in enumerate(rows, start=before + 1):
        bad = next((index for index, value in enumerate(values) if isinstance(value, NoJsonForm)), None)
        if bad is None:
            yield Row(number, dict(zip(names, values, strict=True)))
        else:
            yield BadRow(number, f"column {names[bad]!r} holds {values[bad]}")


def _damage(error: Exception) -> str:
    # Arrow raises a bare OSError for damaged pages; an error of the storage has an errno.
    if isinstance(error, OSError) and error.errno is not None:
        raise error
    return one_line(error)


def _lost(first: int, last: int, reason: str) -> str:
    return f"not Parquet: rows {first} to {last}: {reason}"
